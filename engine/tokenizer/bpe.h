/*
 * bpe.h -- byte-pair encoding: the characters of a word, merged pair by pair in the order
 * in which the merges were learned (Sennrich, Haddow, Birch: "Neural machine translation of
 * rare words with subword units", ACL 2016).
 *
 * Of all neighbours that a merge exists for, the one of least rank is merged first, the
 * leftmost among equals.  With a heap of candidates and a linked list of symbols a word of n
 * characters takes O(n log n).
 *
 * Immutable after load: safe from any thread with a scratch of its own.
 */
#ifndef ENGINE_TOKENIZER_BPE_H
#define ENGINE_TOKENIZER_BPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/json.h"
#include "engine/tokenizer/tokens.h"
#include "engine/tokenizer/vocab.h"

struct bpe_merge {
    uint64_t pair; /* left id << 32 | right id; BPE_NO_PAIR: a free slot */
    uint32_t rank;
    int32_t id; /* of the two together */
};

struct bpe {
    struct vocab vocab;
    struct bpe_merge *merges; /* hash table by pair, a power of two of slots */
    size_t slots;
    int32_t byte_ids[256]; /* of <0xHH>; -1: none */
    int32_t unknown_id;    /* of unk_token; -1: none, and what is unknown is left out */
    bool byte_fallback;
    bool fuse_unknown;  /* a run of unknown characters is one unknown token */
    bool ignore_merges; /* a word that is a token as a whole is not cut up */
};

/* From the member "model" of a tokenizer.json.  ERR_FORMAT begins with `where`.  Release in
 * either case. */
enum err_code bpe_load(struct bpe *bpe, const json_t *model, const char *where,
                       struct err *err);
void bpe_release(struct bpe *bpe); /* harmless on one that is all zero */

struct bpe_scratch { /* {0} to begin with; grows to the longest word */
    struct bpe_symbol *symbols;
    size_t n, symbols_cap;
    struct bpe_candidate *heap;
    size_t heap_n, heap_cap;
};
void bpe_scratch_release(struct bpe_scratch *scratch);

/* Append the ids of one word, n > 0 bytes of well-formed UTF-8.  `banned` (by id, NULL:
 * none) are tokens that a word is never merged into.  ERR_NOMEM. */
enum err_code bpe_encode(const struct bpe *bpe, const char *word, size_t n, const bool *banned,
                         struct bpe_scratch *scratch, struct tokens *out, struct err *err);

#endif

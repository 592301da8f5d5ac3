/*
 * tokenizer.h -- text to token ids and back, as tokenizer.json says.
 *
 * BPE, byte-level (GPT-2, Llama 3, Qwen2, StarCoder, DeepSeek) and SentencePiece style with
 * byte fallback (Llama 2, Mistral).  Pipeline: added tokens are cut out, then normalizer,
 * pre-tokenizer, BPE merges, post-processor; decoder on the way back.  A component that is
 * not known is an error at load that names it, never a silent difference.
 *
 * Immutable after load: safe from any thread, except that each call allocates scratch.
 */
#ifndef ENGINE_TOKENIZER_H
#define ENGINE_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/hash.h"

struct tokenizer;

/* Read dir/tokenizer.json.  NULL, and ERR_FORMAT naming the file and the component at fault,
 * ERR_IO or ERR_NOMEM.  The caller frees it with tokenizer_free. */
struct tokenizer *tokenizer_load(const char *dir, struct err *err);
void tokenizer_free(struct tokenizer *tokenizer);

/* What tokenizer_load would read: SHA-256 of dir/tokenizer.json.  ERR_IO where it cannot. */
enum err_code tokenizer_hash(struct hash *out, const char *dir, struct err *err);

/* Greatest id + 1. */
uint32_t tokenizer_vocabulary(const struct tokenizer *tokenizer);

struct tokens {
    int32_t *ids;
    size_t n;
    size_t cap;
};
void tokens_release(struct tokens *tokens); /* free the ids; harmless twice */

/* Append the ids of `text` (n bytes of UTF-8) to `out` (start from {0}).  `special`: run the
 * post-processor, which adds e.g. <s>.  Added tokens such as <|im_end|> in the text become
 * their single id.  ERR_VALUE where the text is not UTF-8 (names the byte), too long, or more
 * than a pattern's limit; ERR_NOMEM. */
enum err_code tokenizer_encode(const struct tokenizer *tokenizer, const char *text, size_t n,
                               bool special, struct tokens *out, struct err *err);

/* As above, but added tokens in the text are ordinary text: for what a stranger wrote. */
enum err_code tokenizer_encode_plain(const struct tokenizer *tokenizer, const char *text,
                                     size_t n, struct tokens *out, struct err *err);

/* Append the text of the ids to `out`.  `skip_special` leaves out special added tokens.
 * ERR_VALUE where an id is outside the vocabulary; ERR_NOMEM. */
enum err_code tokenizer_decode(const struct tokenizer *tokenizer, const int32_t *ids, size_t n,
                               bool skip_special, struct buf *out, struct err *err);

/* The id of an added or vocabulary token by its exact content; -1: none. */
int32_t tokenizer_id(const struct tokenizer *tokenizer, const char *content);

/* Is each id one token to both?  ERR_USAGE, beginning with `where`, names the first of the ids
 * below n that is not: vocabularies of one size may well be of two families.  What only one of
 * them knows does not count: a token may have been added. */
enum err_code tokenizer_compare(const struct tokenizer *own, const struct tokenizer *policy,
                                uint32_t n, const char *where, struct err *err);

#endif

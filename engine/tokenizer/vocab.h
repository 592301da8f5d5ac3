/*
 * vocab.h -- contents of tokens and their ids, both ways.
 *
 * Immutable once filled: safe from any thread.
 */
#ifndef ENGINE_TOKENIZER_VOCAB_H
#define ENGINE_TOKENIZER_VOCAB_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

#define VOCAB_ID_MAX    ((1 << 21) - 1)
#define VOCAB_BYTES_MAX (256u << 20) /* of contents together */

struct vocab_entry {
    uint32_t begin; /* in `bytes` */
    uint32_t size;
    int32_t id;
};

struct vocab {
    struct buf bytes;
    struct vocab_entry *entries; /* in order of addition */
    size_t n, cap;
    uint32_t *table; /* by content: entry + 1, or 0; a power of two of slots */
    size_t slots;
    uint32_t *by_id; /* entry + 1, or 0; ids of them */
    size_t ids;      /* greatest id + 1 */
};

/* For at most n tokens with ids up to `id_max` <= VOCAB_ID_MAX.  ERR_NOMEM. */
enum err_code vocab_init(struct vocab *vocab, size_t n, int32_t id_max, struct err *err);
void vocab_release(struct vocab *vocab);

/* Add one more.  ERR_FORMAT, beginning with `where`, where the content or the id is there
 * already. */
enum err_code vocab_add(struct vocab *vocab, const char *content, size_t n, int32_t id,
                        const char *where, struct err *err);

/* The id of a content; -1: none. */
int32_t vocab_find(const struct vocab *vocab, const char *content, size_t n);

/* The content of an id, not NUL-terminated; NULL: none. */
const char *vocab_content(const struct vocab *vocab, int32_t id, size_t *n);

#endif

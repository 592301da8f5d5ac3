/*
 * pack.h -- sequences side by side in one batch for engine/pass.h, without padding.
 *
 *     ids     | s0 ........ | s1 ... | s2 ...... |
 *     offset  0             ^        ^           ^ offset[seqs]
 */
#ifndef OFFLINE_PACK_H
#define OFFLINE_PACK_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "engine/pass.h"

struct pack {
    int32_t *ids;     /* (tokens_max) */
    uint32_t *offset; /* (tokens_max + 1) */
    size_t seqs, tokens_max;
};

/* ERR_NOMEM.  The caller releases it with pack_release, also on failure. */
enum err_code pack_init(struct pack *pack, size_t tokens_max, struct err *err);
void pack_release(struct pack *pack);

void pack_clear(struct pack *pack);
size_t pack_tokens(const struct pack *pack);

/* Append a sequence of n > 0 tokens, which must fit; its first row. */
uint32_t pack_put(struct pack *pack, const int32_t *ids, size_t n);

/* For pass_forward: borrowed until the pack changes. */
struct pass_batch pack_batch(const struct pack *pack);

#endif

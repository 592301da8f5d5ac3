/*
 * cache.h -- key/value caches, and the trunk of a model run token by token over them.
 *
 * What engine/generate.c uses, and nobody else.  There are `rows_max` caches of `tokens_max`
 * positions.  A call takes any mixture of tokens: whole prompts of some rows, the next token
 * of others.  The hidden state of each is bitwise that of pass_forward at the same place,
 * because both use the functions of engine/block.h and attention sums in one order.
 */
#ifndef ENGINE_CACHE_H
#define ENGINE_CACHE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "engine/model.h"
#include "engine/pool.h"

struct cache;

/* Room for calls of up to batch_max tokens.  The model is borrowed; the caller frees the
 * caches with cache_free.  Memory is touched as the positions of a row fill, in huge pages where
 * the system has them.  NULL, and ERR_NOMEM, where there is no memory. */
struct cache *cache_new(const struct model *model, struct pool *pool, size_t rows_max,
                        size_t tokens_max, size_t batch_max, struct err *err);
void cache_free(struct cache *cache);

/* Pack the weights again if they have changed; what was cached is then void. */
void cache_refresh(struct cache *cache);

/* Token i has id ids[i] and stands at position[i] of row[i].  All earlier positions of that
 * row were given before, or come before i in this call.  n is 1 .. batch_max. */
void cache_forward(struct cache *cache, const int32_t *ids, const uint32_t *row,
                   const uint32_t *position, size_t n);

/* Row `to` gets what row `from` holds of its first `tokens` positions.  Whole pieces of them
 * (ATTENTION_PIECE) the two then share: they are read once for all rows that have them, for as
 * long as any goes on from there, and what cache_forward computes for such a position is not
 * stored.  A row begins anew with its position 0 or as the target of a copy. */
void cache_copy(struct cache *cache, uint32_t from, uint32_t to, size_t tokens);

/* Vocabulary logits (n, V) after token at[i] of the last cache_forward, n at most
 * CACHE_LOGIT_ROWS.  Valid until the next call. */
#define CACHE_LOGIT_ROWS 32
const float *cache_logits(struct cache *cache, const uint32_t *at, size_t n);

#endif

/* cache.c -- see cache.h. */
#include "engine/cache.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "engine/block.h"

struct cache {
    const struct model *model;
    struct pool *pool;
    struct block *block;
    size_t rows_max, tokens_max, batch_max;
    size_t positions;                  /* of a row's cache: tokens_max and what fills a block */
    size_t keys_floats, values_floats; /* of one layer of a row */
    float *keys;                       /* (L, rows_max, keys_floats), see attention.h */
    float *values;                     /* (L, rows_max, values_floats) */

    struct block_rows rows; /* arrays for batch_max rows */
    float *x, *hidden;      /* (batch_max, C); x is the residual stream */
    const float **k, **v;   /* (batch_max) where the keys of a token's row begin */
    uint32_t *seen;         /* (batch_max) keys that a token attends to */
    float *picked;          /* (CACHE_LOGIT_ROWS, C) */
    float *logits;          /* (CACHE_LOGIT_ROWS, V) */
    struct arena arena;
    bool short_of_memory; /* while being built */
};

static float *cache_floats(struct cache *cache, size_t n)
{
    float *floats = arena_array(&cache->arena, n, sizeof *floats);
    cache->short_of_memory = cache->short_of_memory || !floats;
    return floats;
}

/* Bytes of everything in the arena, or SIZE_MAX where that is beyond counting. */
static size_t cache_bytes(const struct cache *cache)
{
    const struct model_config *c = &cache->model->config;
    const double caches = (double)c->L * (double)cache->rows_max *
                          (double)(cache->keys_floats + cache->values_floats);
    const double width = 5.0 * c->C + 3.0 * (c->H + 2.0 * c->G) * c->D + 3.0 * c->F + 8.0;
    const double heads = CACHE_LOGIT_ROWS * ((double)c->V + c->C);
    const double bytes =
        4.0 * (caches + (double)cache->batch_max * width + heads) + 32.0 * ARENA_ALIGN;
    return bytes < 1e15 ? (size_t)bytes : SIZE_MAX;
}

static void cache_lay_out(struct cache *cache)
{
    const struct model_config *c = &cache->model->config;
    const size_t M = cache->batch_max, caches = (size_t)c->L * cache->rows_max;
    cache->keys = cache_floats(cache, caches * cache->keys_floats);
    cache->values = cache_floats(cache, caches * cache->values_floats);
    cache->x = cache_floats(cache, M * c->C);
    cache->hidden = cache_floats(cache, M * c->C);
    cache->rows = (struct block_rows){
        .x = cache->x,
        .x_mid = cache_floats(cache, M * c->C),
        .x_out = cache->x,
        .norm = cache_floats(cache, M * c->C),
        .qkv = cache_floats(cache, M * cache->block->qkv_width),
        .qk_raw = c->qk_norm ? cache_floats(cache, M * (c->H + c->G) * c->D) : NULL,
        .att = cache_floats(cache, M * c->H * c->D),
        .up = cache_floats(cache, M * cache->block->up_width),
        .act = cache_floats(cache, M * c->F),
    };
    cache->picked = cache_floats(cache, (size_t)CACHE_LOGIT_ROWS * c->C);
    cache->logits = cache_floats(cache, (size_t)CACHE_LOGIT_ROWS * c->V);
    cache->k = arena_array(&cache->arena, M, sizeof *cache->k);
    cache->v = arena_array(&cache->arena, M, sizeof *cache->v);
    cache->seen = arena_array(&cache->arena, M, sizeof *cache->seen);
    assert(!cache->short_of_memory && cache->k && cache->v && cache->seen); /* cache_bytes */
}

struct cache *cache_new(const struct model *model, struct pool *pool, size_t rows_max,
                        size_t tokens_max, size_t batch_max, struct err *err)
{
    struct cache *cache = calloc(1, sizeof *cache);
    if (!cache) {
        err_set(err, ERR_NOMEM, "no memory for a key/value cache");
        return NULL;
    }
    *cache = (struct cache){.model = model,
                            .pool = pool,
                            .rows_max = rows_max,
                            .tokens_max = tokens_max,
                            .batch_max = batch_max,
                            .positions = attention_cache_positions(tokens_max)};
    cache->block = block_new(model, pool, tokens_max, false, err);
    if (!cache->block) {
        cache_free(cache);
        return NULL;
    }
    const struct attention *attention = &cache->block->attention;
    cache->keys_floats = attention_cache_keys(attention, cache->positions);
    cache->values_floats = attention_cache_values(attention, cache->positions);
    if (arena_init(&cache->arena, cache_bytes(cache), "the key/value caches", err)) {
        cache_free(cache);
        return NULL;
    }
    cache_lay_out(cache);
    return cache;
}

void cache_free(struct cache *cache)
{
    if (!cache)
        return;
    block_free(cache->block);
    arena_release(&cache->arena);
    free(cache);
}

void cache_refresh(struct cache *cache)
{
    block_refresh(cache->block);
}

/* Store the new keys and values of a layer, and say where each token finds those it needs. */
static void cache_store(struct cache *cache, size_t layer, const uint32_t *row,
                        const uint32_t *position, size_t n)
{
    const struct attention *a = &cache->block->attention;
    for (size_t i = 0; i < n; i++) {
        const size_t at = layer * cache->rows_max + row[i];
        float *k = cache->keys + at * cache->keys_floats;
        float *v = cache->values + at * cache->values_floats;
        const float *k_new = cache->rows.qkv + i * a->kv_stride + a->H * a->D;
        attention_cache_put(a, k, v, cache->positions, position[i], k_new, k_new + a->G * a->D);
        cache->k[i] = k;
        cache->v[i] = v;
    }
}

void cache_forward(struct cache *cache, const int32_t *ids, const uint32_t *row,
                   const uint32_t *position, size_t n)
{
    assert(n > 0 && n <= cache->batch_max);
    cache->rows.M = n;
    cache->rows.position = position;
    for (size_t i = 0; i < n; i++) {
        assert(row[i] < cache->rows_max && position[i] < cache->tokens_max);
        cache->seen[i] = position[i] + 1;
    }

    block_embed(cache->block, cache->x, ids, position, n);
    for (size_t layer = 0; layer < cache->model->config.L; layer++) {
        block_attention_in(cache->block, layer, &cache->rows);
        cache_store(cache, layer, row, position, n);
        attention_decode(cache->pool, &cache->block->attention, cache->rows.att,
                         cache->rows.qkv, cache->k, cache->v, cache->seen, n, cache->positions);
        block_attention_out(cache->block, layer, &cache->rows);
    }
    block_final(cache->block, cache->hidden, NULL, NULL, cache->x, n);
}

void cache_copy(struct cache *cache, uint32_t from, uint32_t to, size_t tokens)
{
    assert(from < cache->rows_max && to < cache->rows_max && tokens <= cache->tokens_max);
    for (size_t layer = 0; layer < cache->model->config.L; layer++) {
        const size_t a = layer * cache->rows_max + from, b = layer * cache->rows_max + to;
        attention_cache_copy(&cache->block->attention, cache->keys + b * cache->keys_floats,
                             cache->values + b * cache->values_floats,
                             cache->keys + a * cache->keys_floats,
                             cache->values + a * cache->values_floats, cache->positions,
                             tokens);
    }
}

const float *cache_logits(struct cache *cache, const uint32_t *at, size_t n)
{
    assert(n <= CACHE_LOGIT_ROWS);
    const size_t C = cache->model->config.C;
    for (size_t i = 0; i < n; i++)
        memcpy(cache->picked + i * C, cache->hidden + at[i] * C, C * sizeof *cache->picked);
    block_head(cache->block, cache->logits, cache->model->config.V, cache->picked, n);
    return cache->logits;
}

/* cache.c -- see cache.h. */
#include "engine/cache.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "engine/block.h"

enum {
    CACHE_STORE_TOKENS = 4,    /* of a task */
    CACHE_STORE_ALONE = 16384, /* floats that do not repay waking a thread */
};

struct cache {
    const struct model *model;
    struct pool *pool;
    struct block *block;
    size_t rows_max, tokens_max, batch_max;
    size_t pieces;       /* of a row: what tokens_max positions take */
    size_t piece_floats; /* of one layer, see attention.h */
    float *kv;           /* (rows_max, pieces, L, piece_floats): a row fills from the front */

    /* (rows_max) The first positions of a row, whole pieces, that lie in that of its owner, which
     * shares none itself; 0: none. */
    uint32_t *shared, *owner;

    struct block_rows rows;          /* arrays for batch_max rows */
    float *x, *hidden;               /* (batch_max, C); x is the residual stream */
    const float **kv_of;             /* (batch_max) where the cache of a token's row begins */
    uint32_t *seen;                  /* (batch_max) keys that a token attends to */
    struct attention_prefix *prefix; /* (batch_max) what a token's row shares */
    float *picked;                   /* (CACHE_LOGIT_ROWS, C) */
    float *logits;                   /* (CACHE_LOGIT_ROWS, V) */
    struct arena arena;
    bool short_of_memory; /* while being built */
};

/* Floats from a piece to the next one of the same layer. */
static size_t cache_step(const struct cache *cache)
{
    return cache->model->config.L * cache->piece_floats;
}

static size_t cache_pieces(size_t tokens)
{
    return (tokens + ATTENTION_PIECE - 1) / ATTENTION_PIECE;
}

static float *cache_row(const struct cache *cache, size_t row)
{
    return cache->kv + row * cache->pieces * cache_step(cache);
}

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
    const double caches = (double)cache->rows_max * (double)cache->pieces * (double)c->L *
                          (double)cache->piece_floats;
    const double width = 5.0 * c->C + 3.0 * (c->H + 2.0 * c->G) * c->D + 3.0 * c->F + 8.0;
    const double heads = CACHE_LOGIT_ROWS * ((double)c->V + c->C);
    const double bytes = 4.0 * (caches + (double)cache->batch_max * width + heads +
                                2.0 * (double)cache->rows_max) +
                         32.0 * ARENA_ALIGN;
    return bytes < 1e15 ? (size_t)bytes : SIZE_MAX;
}

static void cache_lay_out(struct cache *cache)
{
    const struct model_config *c = &cache->model->config;
    const size_t M = cache->batch_max;
    cache->kv = cache_floats(cache, cache->rows_max * cache->pieces * cache_step(cache));
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
    cache->kv_of = arena_array(&cache->arena, M, sizeof *cache->kv_of);
    cache->seen = arena_array(&cache->arena, M, sizeof *cache->seen);
    cache->prefix = arena_array(&cache->arena, M, sizeof *cache->prefix);
    cache->shared = arena_array(&cache->arena, cache->rows_max, sizeof *cache->shared);
    cache->owner = arena_array(&cache->arena, cache->rows_max, sizeof *cache->owner);
    assert(!cache->short_of_memory && cache->kv_of && cache->seen && cache->prefix &&
           cache->shared && cache->owner); /* cache_bytes */
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
                            .pieces = cache_pieces(tokens_max)};
    cache->block = block_new(model, pool, tokens_max, false, err);
    if (!cache->block) {
        cache_free(cache);
        return NULL;
    }
    cache->piece_floats = attention_piece_floats(&cache->block->attention);
    if (arena_init(&cache->arena, cache_bytes(cache), "the key/value caches", err)) {
        cache_free(cache);
        return NULL;
    }
    arena_prefer_huge(&cache->arena);
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
    memset(cache->shared, 0, cache->rows_max * sizeof *cache->shared);
    block_refresh(cache->block);
}

struct cache_store_job {
    const struct cache *cache;
    size_t layer, n;
    const uint32_t *row, *position;
};

static void cache_store_task(void *arg, size_t i)
{
    const struct cache_store_job *job = arg;
    const struct cache *cache = job->cache;
    const struct attention *a = &cache->block->attention;
    for (size_t t = i * CACHE_STORE_TOKENS; t < job->n && t < (i + 1) * CACHE_STORE_TOKENS;
         t++) {
        const uint32_t row = job->row[t], shared = cache->shared[row];
        const size_t at = job->layer * cache->piece_floats;
        float *to = cache_row(cache, row) + at;
        cache->kv_of[t] = to;
        cache->prefix[t] = (struct attention_prefix){
            shared > 0 ? cache_row(cache, cache->owner[row]) + at : NULL, shared};
        if (job->position[t] < shared) /* it is there, and others read it */
            continue;
        const float *k = cache->rows.qkv + t * a->kv_stride + a->H * a->D;
        attention_cache_put(a, to, cache_step(cache), job->position[t], k, k + a->G * a->D);
    }
}

/* Store the new keys and values of a layer, and say where each token finds those it needs. */
static void cache_store(struct cache *cache, size_t layer, const uint32_t *row,
                        const uint32_t *position, size_t n)
{
    struct cache_store_job job = {cache, layer, n, row, position};
    const bool few = n * cache->piece_floats < (size_t)CACHE_STORE_ALONE * ATTENTION_PIECE;
    pool_run(few ? NULL : cache->pool, (n + CACHE_STORE_TOKENS - 1) / CACHE_STORE_TOKENS,
             cache_store_task, &job);
}

static void cache_copy_pieces(struct cache *cache, size_t from, size_t to, size_t begin,
                              size_t end)
{
    const size_t step = cache_step(cache);
    memcpy(cache_row(cache, to) + begin * step, cache_row(cache, from) + begin * step,
           (end - begin) * step * sizeof(float));
}

/* Row r begins anew.  Of those that share its positions the one that shares most gets them for
 * its own, and the others read them there. */
static void cache_leave(struct cache *cache, uint32_t r)
{
    cache->shared[r] = 0;
    uint32_t heir = r, most = 0;
    for (uint32_t o = 0; o < cache->rows_max; o++)
        if (cache->owner[o] == r && cache->shared[o] > most) {
            heir = o;
            most = cache->shared[o];
        }
    if (most == 0)
        return;
    cache_copy_pieces(cache, r, heir, 0, most / ATTENTION_PIECE);
    for (uint32_t o = 0; o < cache->rows_max; o++)
        if (cache->owner[o] == r)
            cache->owner[o] = heir;
    cache->shared[heir] = 0;
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
        if (position[i] == 0)
            cache_leave(cache, row[i]);
    }

    block_embed(cache->block, cache->x, ids, position, n);
    for (size_t layer = 0; layer < cache->model->config.L; layer++) {
        block_attention_in(cache->block, layer, &cache->rows);
        cache_store(cache, layer, row, position, n);
        attention_decode(cache->pool, &cache->block->attention, cache->rows.att,
                         cache->rows.qkv, cache->kv_of, cache_step(cache), cache->seen,
                         cache->prefix, n);
        block_attention_out(cache->block, layer, &cache->rows);
    }
    block_final(cache->block, cache->hidden, NULL, NULL, cache->x, n);
}

void cache_copy(struct cache *cache, uint32_t from, uint32_t to, size_t tokens)
{
    assert(from < cache->rows_max && to < cache->rows_max && from != to);
    assert(tokens <= cache->tokens_max);
    cache_leave(cache, to);
    const uint32_t borrowed = cache->shared[from];
    const uint32_t owner = borrowed > 0 ? cache->owner[from] : from;
    uint32_t shared = (uint32_t)(tokens / ATTENTION_PIECE * ATTENTION_PIECE);
    if (borrowed > 0 && shared > borrowed)
        shared = borrowed;
    if (!attention_shares(&cache->block->attention))
        shared = 0;
    cache->owner[to] = owner;
    cache->shared[to] = shared;
    /* Of what it borrowed, row `from` has nothing itself. */
    cache_copy_pieces(cache, tokens <= borrowed ? owner : from, to, shared / ATTENTION_PIECE,
                      cache_pieces(tokens));
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

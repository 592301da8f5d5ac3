/* attention_cache.c -- over caches; see attention.h.  A token alone is many small products of a
 * row, of all heads together (attention_chain.h); a run of them goes head by head.  Small heads
 * go side by side (attention_side.h). */
#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "engine/kernels/attention.h"
#include "engine/kernels/attention_block.h"
#include "engine/kernels/attention_chain.h"
#include "engine/kernels/attention_side.h"
#include "engine/kernels/isa.h"

enum {
    ATTENTION_PIECES = ATTENTION_KEYS / ATTENTION_PIECE, /* of a block */
    ATTENTION_CHAINS = 128,                              /* built before they are run */
    ATTENTION_SHARES = 4, /* tasks a thread, so that an uneven machine still shares evenly */
};

/* Of one head in a piece. */
static size_t attention_k_floats(const struct attention *shape)
{
    return shape->D * ATTENTION_PIECE;
}

static size_t attention_v_floats(const struct attention *shape)
{
    return attention_wide(shape->D) * ATTENTION_PIECE;
}

size_t attention_piece_floats(const struct attention *shape)
{
    if (attention_side_groups(shape) > 0)
        return 2 * shape->G * shape->D * ATTENTION_PIECE;
    return shape->G * (attention_k_floats(shape) + attention_v_floats(shape));
}

/* 16 channels are a line of the values, and lie in 16 lines of the keys. */
static inline ISA_BODY void attention_put_body(const struct attention *shape,
                                               float *restrict k_at, float *restrict v_at,
                                               const float *restrict k, const float *restrict v)
{
    const size_t D = shape->D;
    for (size_t g = 0; g < shape->G; g++, k += D, v += D) {
        for (size_t d = 0; d < D; d++, k_at += ATTENTION_PIECE)
            *k_at = k[d];
        for (size_t d = 0; d < D; d += GEMM_PANEL, v_at += ATTENTION_PIECE * GEMM_PANEL) {
            if (d + GEMM_PANEL <= D) {
                memcpy(v_at, v + d, GEMM_PANEL * sizeof(float));
                continue;
            }
            for (size_t i = 0; i < GEMM_PANEL; i++)
                v_at[i] = d + i < D ? v[d + i] : 0.0f;
        }
    }
}
ISA_FUNCTION(attention_put,
             (const struct attention *shape, float *k_at, float *v_at, const float *k,
              const float *v),
             (shape, k_at, v_at, k, v))

void attention_cache_put(const struct attention *shape, float *cache, size_t step,
                         size_t position, const float *k, const float *v)
{
    const size_t line = position % ATTENTION_PIECE;
    float *piece = cache + position / ATTENTION_PIECE * step;
    if (attention_side_groups(shape) > 0) {
        attention_side_put(shape, piece, line, k, v);
        return;
    }
    attention_put(shape, piece + line,
                  piece + shape->G * attention_k_floats(shape) + line * GEMM_PANEL, k, v);
}

struct attention_decode_job {
    const struct attention *shape;
    float *out;
    const float *q, *const *cache;
    size_t step;
    const uint32_t *keys;
    const struct attention_prefix *prefix; /* or NULL */
    size_t tokens, shares; /* shares: tasks of a token, each some groups of heads */
};

/* Positions of token i that lie in another's cache. */
static uint32_t attention_shared(const struct attention_decode_job *job, size_t i)
{
    return job->prefix ? job->prefix[i].keys : 0;
}

/* True if token i does not go on where the one before it stands.  A run also ends at each
 * multiple of ATTENTION_ROWS positions: so everyone can see where one begins. */
static bool attention_run_begins(const struct attention_decode_job *job, size_t i)
{
    return i == 0 || job->cache[i - 1] != job->cache[i] ||
           job->keys[i - 1] + 1 != job->keys[i] || (job->keys[i] - 1) % ATTENTION_ROWS == 0 ||
           attention_shared(job, i) > 0;
}

static size_t attention_run_length(const struct attention_decode_job *job, size_t i)
{
    size_t n = 1;
    while (i + n < job->tokens && !attention_run_begins(job, i + n))
        n++;
    return n;
}

/* The tokens that begin with i, one head that reads the keys and values of group g. */
static void attention_run_head(const struct attention_decode_job *job,
                               const struct attention_queries *a, size_t i, size_t g)
{
    const struct attention *s = job->shape;
    struct attention_work work;
    struct attention_panels panels = {.k = job->cache[i] + g * attention_k_floats(s),
                                      .k_step = job->step,
                                      .v_step = ATTENTION_PIECE * GEMM_PANEL,
                                      .v_lines = ATTENTION_PIECE,
                                      .v_jump = job->step};
    panels.v = job->cache[i] + s->G * attention_k_floats(s) + g * attention_v_floats(s);
    attention_start(&work, a);
    for (size_t j = 0; j < a->keys + (a->rows - 1) * a->step; j += ATTENTION_KEYS) {
        attention_block(&work, a, j, &panels);
        panels.k += ATTENTION_PIECES * job->step;
        panels.v += ATTENTION_PIECES * job->step;
    }
    attention_end(&work, a, NULL);
}

/* ---- a token alone ---- */

/* Some groups of heads of one token, at most ATTENTION_ROWS heads. */
struct attention_token {
    const struct attention *shape;
    const float *q;            /* of its first head */
    const float *k, *v;        /* of its first group, in the first piece of the block */
    size_t step, groups, keys; /* keys: seen in the block */
    size_t rows;               /* heads */
    size_t ahead;              /* bytes to the next token's cache, wrapping: it is read next */
    size_t shared;             /* of keys, those that are `leap` floats before, wrapping */
    size_t leap;
    bool join; /* not the first block */
};

/* Chains, run whenever there are enough of them. */
struct attention_list {
    struct attention_chain chain[ATTENTION_CHAINS];
    size_t n;
    struct attention_span span;
};

static inline void attention_list_run(struct attention_list *list)
{
    attention_chains(list->chain, list->n, &list->span);
    list->n = 0;
}

static inline void attention_list_add(struct attention_list *list,
                                      const struct attention_chain *chain)
{
    list->chain[list->n++] = *chain;
    if (list->n == ATTENTION_CHAINS)
        attention_list_run(list);
}

/* Floats `at` behind a place, which wraps, in the part of the block that is shared or not. */
static inline const float *attention_token_at(const struct attention_token *t,
                                              const float *from, size_t at, bool shared)
{
    return (const float *)((uintptr_t)from + (at - (shared ? t->leap : 0)) * sizeof(float));
}

static void attention_token_scores(struct attention_work *work, struct attention_list *list,
                                   const struct attention_token *t)
{
    const struct attention *s = t->shape;
    const size_t D = s->D, group = t->rows / t->groups, k_floats = attention_k_floats(s);
    list->span = (struct attention_span){.depth = D, .lines = D};
    const float *q = t->q;
    float *p = work->p;
    for (size_t g = 0; g < t->groups; g++)
        for (size_t h = 0; h < group; h++, q += D, p += ATTENTION_KEYS)
            for (size_t j = 0; j < t->keys; j += ATTENTION_PIECE) {
                const size_t at = g * k_floats + j / ATTENTION_PIECE * t->step;
                const bool shared = j < t->shared;
                attention_list_add(list, &(struct attention_chain){
                                             .a = q,
                                             .panel = attention_token_at(t, t->k, at, shared),
                                             .c = p + j,
                                             .ahead = shared ? 0 : t->ahead});
            }
    attention_list_run(list);
}

static void attention_token_values(struct attention_work *work, struct attention_list *list,
                                   const struct attention_token *t)
{
    const size_t wide = attention_wide(t->shape->D), group = t->rows / t->groups;
    list->span = (struct attention_span){.depth = t->keys,
                                         .lines = ATTENTION_PIECE,
                                         .step = t->step,
                                         .bend = t->shared,
                                         .leap = t->shared > 0 ? t->leap : 0,
                                         .join = t->join};
    for (size_t r = 0; r < t->rows; r++)
        for (size_t d = 0; d < wide; d += GEMM_PANEL) {
            const size_t at = (r / group * wide + d) * ATTENTION_PIECE;
            attention_list_add(list,
                               &(struct attention_chain){
                                   .a = work->p + r * ATTENTION_KEYS,
                                   .panel = attention_token_at(t, t->v, at, t->shared > 0),
                                   .c = work->sum + r * wide + d,
                                   .keep = work->soft.keep[r],
                                   .ahead = t->ahead});
        }
    attention_list_run(list);
}

/* Token i, groups [begin, end). */
static void attention_token(const struct attention_decode_job *job, size_t i, size_t begin,
                            size_t end)
{
    const struct attention *s = job->shape;
    const size_t group = s->H / s->G, k_floats = attention_k_floats(s);
    const size_t block = ATTENTION_PIECES * job->step, keys = job->keys[i];
    const size_t shared = attention_min(attention_shared(job, i), keys);
    struct attention_work work;
    struct attention_list list = {.n = 0};
    const struct attention_queries a = {.out =
                                            job->out + i * s->out_stride + begin * group * s->D,
                                        .out_stride = s->D,
                                        .rows = (end - begin) * group,
                                        .D = s->D};
    struct attention_token t = {.shape = s,
                                .q = job->q + i * s->q_stride + begin * group * s->D,
                                .k = job->cache[i] + begin * k_floats,
                                .step = job->step,
                                .groups = end - begin,
                                .rows = a.rows};
    if (i + 1 < job->tokens)
        t.ahead = (size_t)((uintptr_t)job->cache[i + 1] - (uintptr_t)job->cache[i]);
    if (shared > 0)
        t.leap = ((uintptr_t)job->cache[i] - (uintptr_t)job->prefix[i].cache) / sizeof(float);
    t.v = job->cache[i] + s->G * k_floats + begin * attention_v_floats(s);
    attention_start(&work, &a);
    for (size_t j = 0; j < keys; j += ATTENTION_KEYS, t.k += block, t.v += block) {
        t.keys = attention_min(keys - j, ATTENTION_KEYS);
        t.shared = shared > j ? attention_min(shared - j, t.keys) : 0;
        attention_token_scores(&work, &list, &t);
        attention_soften(&work.soft, work.p, 0, t.rows, t.keys, 0, s->scale);
        attention_token_values(&work, &list, &t);
        t.join = true;
    }
    attention_end(&work, &a, NULL);
}

/* ---- small heads ---- */

/* The run of `rows` tokens that begins with token i, groups side by side in bunches [begin,
 * end). */
static void attention_run_side(const struct attention_decode_job *job, size_t i, size_t rows,
                               size_t begin, size_t end)
{
    const struct attention *s = job->shape;
    const size_t together = attention_side_together(s), after = i + rows;
    struct attention_side_tokens t = {.cache = job->cache[i],
                                      .step = job->step,
                                      .shared = attention_shared(job, i)};
    if (t.shared > 0)
        t.prefix = job->prefix[i].cache;
    for (; i < after; i += t.tokens) {
        t.out = job->out + i * s->out_stride;
        t.q = job->q + i * s->q_stride;
        t.tokens = attention_min(after - i, together);
        t.keys = job->keys[i];
        if (i + t.tokens == after && after < job->tokens) {
            t.next = job->cache[after];
            t.next_begin = attention_shared(job, after);
            t.next_end = job->keys[after];
        }
        attention_side_run(s, &t, begin, end);
    }
}

/* Task: the run that begins with a token, if one does; some groups of heads. */
static void attention_decode_task(void *arg, size_t task)
{
    const struct attention_decode_job *job = arg;
    const struct attention *s = job->shape;
    const size_t i = task / job->shares, share = task % job->shares, group = s->H / s->G;
    const size_t end = s->G * (share + 1) / job->shares;
    if (!attention_run_begins(job, i))
        return;
    const size_t rows = attention_run_length(job, i);
    if (attention_side_groups(s) > 0) {
        const size_t bunches = s->G / attention_side_groups(s);
        attention_run_side(job, i, rows, bunches * share / job->shares,
                           bunches * (share + 1) / job->shares);
        return;
    }
    const size_t groups = ATTENTION_ROWS / group; /* that go together */
    for (size_t g = s->G * share / job->shares; g < end;) {
        if (rows == 1 && groups > 0) {
            const size_t stop = attention_min(end, g + groups);
            attention_token(job, i, g, stop);
            g = stop;
            continue;
        }
        for (size_t h = g * group; h < (g + 1) * group; h++)
            attention_run_head(
                job,
                &(struct attention_queries){.out = job->out + i * s->out_stride + h * s->D,
                                            .q = job->q + i * s->q_stride + h * s->D,
                                            .out_stride = s->out_stride,
                                            .q_stride = s->q_stride,
                                            .rows = rows,
                                            .keys = job->keys[i],
                                            .step = 1,
                                            .D = s->D,
                                            .scale = s->scale},
                i, g);
        g++;
    }
}

bool attention_shares(const struct attention *shape)
{
    return shape->H / shape->G <= ATTENTION_ROWS;
}

void attention_decode(struct pool *pool, const struct attention *shape, float *out,
                      const float *q, const float *const *cache, size_t step,
                      const uint32_t *keys, const struct attention_prefix *prefix,
                      size_t tokens)
{
    attention_check(shape);
    const size_t want = ATTENTION_SHARES * pool_threads(pool);
    struct attention_decode_job job = {shape, out,    q,      cache,      step,
                                       keys,  prefix, tokens, .shares = 1};
    if (tokens < want && pool_threads(pool) > 1)
        job.shares = attention_min(shape->G, (want + tokens - 1) / tokens);
    pool_run(pool, tokens * job.shares, attention_decode_task, &job);
}

/* attention.c -- see attention.h. */
#include "engine/kernels/attention.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "engine/kernels/isa.h"
#include "engine/kernels/lanes.h"
#include "engine/kernels/rows.h"
#include "engine/kernels/vmath.h"

enum {
    ATTENTION_TASK = 32, /* query rows of a task of the forward pass */
    ATTENTION_GROUP = 4, /* query rows of one head that meet a block of keys together */
    ATTENTION_SPAN = 8,  /* the same, of the backward pass */
    ATTENTION_KEYS = ATTENTION_BLOCK, /* 64: four times LANES */
    ATTENTION_NEAR = 128              /* the greatest head size whose blocks are copied */
};

/*
 * A block of rows that many queries will read, side by side.  In place they lie a token apart,
 * which is often so near a power of two that they push each other out of the cache.
 */
struct attention_near {
    _Alignas(64) float rows[ATTENTION_KEYS * ATTENTION_NEAR];
};

static void attention_fetch(struct attention_near *near, const float *x, size_t stride,
                            size_t rows, size_t D)
{
    for (size_t j = 0; j < rows; j++)
        memcpy(near->rows + j * D, x + j * stride, D * sizeof(float));
}

/* What is known of a softmax after some blocks of keys: the sums are relative to `max`. */
struct attention_state {
    float max, sum;
};

/*
 * Take a block of scores into the softmax (Milakov and Gimelshein, arXiv:1805.02867): p holds
 * `keys` dot products and comes back as weights relative to the new maximum, 0 from `keys` on.
 * Returns what the sums so far are to be multiplied by.
 */
static inline ISA_BODY void attention_soften_body(float *keep, struct attention_state *state,
                                                  float *p, size_t keys, float scale)
{
    for (size_t j = keys; j < ATTENTION_KEYS; j++)
        p[j] = -INFINITY;
    float lane[LANES];
    for (size_t l = 0; l < LANES; l++) {
        const float a = p[l + 16] > p[l] ? p[l + 16] : p[l];
        const float b = p[l + 48] > p[l + 32] ? p[l + 48] : p[l + 32];
        lane[l] = (b > a ? b : a) * scale; /* scale > 0: rounding keeps order */
    }
    const float here = lanes_max(lane);
    const float max = here > state->max ? here : state->max;

    float sum[LANES] = {0};
    for (size_t j = 0; j < ATTENTION_KEYS; j += LANES)
        for (size_t l = 0; l < LANES; l++) {
            p[j + l] = vmath_exp(p[j + l] * scale - max);
            sum[l] += p[j + l];
        }
    *keep = vmath_exp(state->max - max);
    state->sum = fmaf(state->sum, *keep, lanes_tree(sum));
    state->max = max;
}
ISA_FUNCTION(attention_soften,
             (float *keep, struct attention_state *state, float *p, size_t keys, float scale),
             (keep, state, p, keys, scale))

static inline ISA_BODY void attention_scale_body(float *x, float by, size_t D)
{
    for (size_t d = 0; d < D; d++)
        x[d] *= by;
}
ISA_FUNCTION(attention_scale, (float *x, float by, size_t D), (x, by, D))

/* Some consecutive queries of one head against the keys of their sequence: row r sees the
 * first keys + r. */
struct attention_queries {
    float *out;
    const float *q, *k, *v;
    size_t out_stride, q_stride, kv_stride;
    size_t rows, keys; /* rows <= ATTENTION_TASK */
    size_t D;
    float scale;
};

/* Rows r .. r+n-1 (n <= ATTENTION_GROUP) and the keys j .. j+ATTENTION_KEYS-1, which are at k
 * and v, kv_stride apart. */
static void attention_group(const struct attention_queries *a, struct attention_state *state,
                            size_t r, size_t n, size_t j, const float *k, const float *v,
                            size_t kv_stride)
{
    float p[ATTENTION_GROUP][ATTENTION_KEYS];
    size_t seen[ATTENTION_GROUP]; /* keys of the block that a row sees; grows with the row */
    for (size_t i = 0; i < n; i++) {
        const size_t left = a->keys + r + i > j ? a->keys + r + i - j : 0;
        seen[i] = left < ATTENTION_KEYS ? left : ATTENTION_KEYS;
    }
    float *out = a->out + r * a->out_stride;
    rows_dot(p[0], ATTENTION_KEYS, a->q + r * a->q_stride, a->q_stride, n, k, kv_stride,
             seen[n - 1], a->D);
    for (size_t i = 0; i < n; i++) {
        if (seen[i] == 0)
            continue;
        float keep = 1.0f;
        attention_soften(&keep, &state[r + i], p[i], seen[i], a->scale);
        if (keep != 1.0f)
            attention_scale(out + i * a->out_stride, keep, a->D);
    }
    /* What all rows see, together; then the few keys that only later rows see. */
    rows_combine(out, a->out_stride, n, p[0], ATTENTION_KEYS, 1, v, kv_stride, seen[0], a->D);
    for (size_t i = 1; i < n; i++)
        rows_combine(out + i * a->out_stride, a->out_stride, 1, p[i] + seen[0], 0, 1,
                     v + seen[0] * kv_stride, kv_stride, seen[i] - seen[0], a->D);
}

/* One block of keys for all rows. */
static void attention_block(const struct attention_queries *a, struct attention_state *state,
                            size_t j)
{
    struct attention_near near_k, near_v;
    const float *k = a->k + j * a->kv_stride, *v = a->v + j * a->kv_stride;
    size_t stride = a->kv_stride;
    if (a->rows > ATTENTION_GROUP && a->D <= ATTENTION_NEAR) {
        const size_t left = a->keys + a->rows - 1 - j;
        const size_t keys = left < ATTENTION_KEYS ? left : ATTENTION_KEYS;
        attention_fetch(&near_k, k, stride, keys, a->D);
        attention_fetch(&near_v, v, stride, keys, a->D);
        k = near_k.rows;
        v = near_v.rows;
        stride = a->D;
    }
    for (size_t r = 0; r < a->rows; r += ATTENTION_GROUP) {
        const size_t n = a->rows - r < ATTENTION_GROUP ? a->rows - r : ATTENTION_GROUP;
        if (a->keys + r + n - 1 > j) /* the last of them sees a key of this block */
            attention_group(a, state, r, n, j, k, v, stride);
    }
}

/* Write out, and lse (rows). */
static void attention_run(const struct attention_queries *a, float *lse)
{
    struct attention_state state[ATTENTION_TASK];
    for (size_t r = 0; r < a->rows; r++) {
        state[r] = (struct attention_state){-INFINITY, 0.0f};
        memset(a->out + r * a->out_stride, 0, a->D * sizeof(float));
    }
    for (size_t j = 0; j < a->keys + a->rows - 1; j += ATTENTION_KEYS)
        attention_block(a, state, j);
    for (size_t r = 0; r < a->rows; r++) {
        attention_scale(a->out + r * a->out_stride, 1.0f / state[r].sum, a->D);
        lse[r] = state[r].max + vmath_log(state[r].sum);
    }
}

float attention_row(float *out, const float *q, const float *k, const float *v,
                    size_t kv_stride, size_t keys, size_t D, float scale)
{
    assert(keys >= 1 && D >= 1 && D <= ATTENTION_D_MAX && scale > 0.0f);
    const struct attention_queries a = {.out = out,
                                        .q = q,
                                        .k = k,
                                        .v = v,
                                        .out_stride = D,
                                        .q_stride = D,
                                        .kv_stride = kv_stride,
                                        .rows = 1,
                                        .keys = keys,
                                        .D = D,
                                        .scale = scale};
    float lse;
    attention_run(&a, &lse);
    return lse;
}

static void attention_check(const struct attention *shape)
{
    assert(shape->scale > 0.0f);
    assert(shape->D >= 1 && shape->D <= ATTENTION_D_MAX);
    assert(shape->G >= 1 && shape->H % shape->G == 0);
    assert(shape->q_stride >= shape->H * shape->D && shape->out_stride >= shape->H * shape->D);
    assert(shape->kv_stride >= shape->G * shape->D);
}

/* ---- one token a sequence ---- */

struct attention_decode_job {
    const struct attention *shape;
    float *out;
    const float *q, *const *k, *const *v;
    const uint32_t *keys;
};

static void attention_decode_task(void *arg, size_t i)
{
    const struct attention_decode_job *job = arg;
    const struct attention *a = job->shape;
    const size_t row = i / a->H, h = i % a->H, g = h / (a->H / a->G);
    attention_row(job->out + row * a->out_stride + h * a->D,
                  job->q + row * a->q_stride + h * a->D, job->k[row] + g * a->D,
                  job->v[row] + g * a->D, a->kv_stride, job->keys[row], a->D, a->scale);
}

void attention_decode(struct pool *pool, const struct attention *shape, float *out,
                      const float *q, const float *const *k, const float *const *v,
                      const uint32_t *keys, size_t rows)
{
    attention_check(shape);
    struct attention_decode_job job = {shape, out, q, k, v, keys};
    pool_run(pool, rows * shape->H, attention_decode_task, &job);
}

/* ---- packed sequences ---- */

struct attention_job {
    const struct attention *shape;
    float *out, *lse, *dq, *dk, *dv;
    const float *dout, *q, *k, *v, *out_in, *lse_in;
    const uint32_t *offset;
    size_t seqs, blocks; /* blocks: of ATTENTION_TASK packed rows */
};

/* Rows [n, end), at most ATTENTION_TASK, of a sequence that begins at row `first`; one head. */
static void attention_forward_rows(const struct attention_job *job, size_t first, size_t n,
                                   size_t end, size_t h)
{
    const struct attention *a = job->shape;
    const size_t g = h / (a->H / a->G);
    const struct attention_queries queries = {.out = job->out + n * a->out_stride + h * a->D,
                                              .q = job->q + n * a->q_stride + h * a->D,
                                              .k = job->k + first * a->kv_stride + g * a->D,
                                              .v = job->v + first * a->kv_stride + g * a->D,
                                              .out_stride = a->out_stride,
                                              .q_stride = a->q_stride,
                                              .kv_stride = a->kv_stride,
                                              .rows = end - n,
                                              .keys = n - first + 1,
                                              .D = a->D,
                                              .scale = a->scale};
    float lse[ATTENTION_TASK];
    attention_run(&queries, lse);
    for (size_t r = 0; job->lse && r < end - n; r++)
        job->lse[(n + r) * a->H + h] = lse[r];
}

/* Task: ATTENTION_TASK packed rows (which may span sequences), one head. */
static void attention_forward_task(void *arg, size_t i)
{
    const struct attention_job *job = arg;
    const size_t H = job->shape->H, total = job->offset[job->seqs];
    /* The last rows have the most keys: they go first, so that the tasks end together. */
    const size_t begin = (job->blocks - 1 - i / H) * ATTENTION_TASK;
    const size_t end = begin + ATTENTION_TASK < total ? begin + ATTENTION_TASK : total;
    size_t seq = 0;
    for (size_t n = begin; n < end;) {
        while (job->offset[seq + 1] <= n)
            seq++;
        const size_t stop = job->offset[seq + 1] < end ? job->offset[seq + 1] : end;
        attention_forward_rows(job, job->offset[seq], n, stop, i % H);
        n = stop;
    }
}

void attention_forward(struct pool *pool, const struct attention *shape, float *out, float *lse,
                       const float *q, const float *k, const float *v, const uint32_t *offset,
                       size_t seqs)
{
    attention_check(shape);
    struct attention_job job = {.shape = shape,
                                .out = out,
                                .lse = lse,
                                .q = q,
                                .k = k,
                                .v = v,
                                .offset = offset,
                                .seqs = seqs};
    job.blocks = (offset[seqs] + ATTENTION_TASK - 1) / ATTENTION_TASK;
    pool_run(pool, job.blocks * shape->H, attention_forward_task, &job);
}

/*
 * With p recomputed from lse, and delta[i] = dout[i] . out[i],
 *
 *     ds[j] = p[j] (dout[i] . v[j] - delta[i])
 *     dq[i] = scale sum_j ds[j] k[j]      dk[j] += scale ds[j] q[i]      dv[j] += p[j] dout[i]
 */
static inline ISA_BODY void attention_slope_body(float *p, float *ds, size_t keys, float scale,
                                                 float lse, float delta)
{
    for (size_t j = keys; j < ATTENTION_KEYS; j++) {
        p[j] = -INFINITY; /* the weight 0 */
        ds[j] = 0.0f;
    }
    for (size_t j = 0; j < ATTENTION_KEYS; j++) {
        p[j] = vmath_exp(scale * p[j] - lse);
        ds[j] = scale * p[j] * (ds[j] - delta);
    }
}
/* From dot products q . k in p and dout . v in ds to p and scale times ds. */
ISA_FUNCTION(attention_slope,
             (float *p, float *ds, size_t keys, float scale, float lse, float delta),
             (p, ds, keys, scale, lse, delta))

/* A block of keys of one head, and its gradients, near or in place. */
struct attention_keys {
    const float *k, *v;
    float *dk, *dv;
    size_t stride, keys;
};

/* Queries n .. n+rows-1 (rows <= ATTENTION_SPAN) of head h, the first of which sees `seen` of
 * the keys, the next one more. */
static void attention_span(const struct attention_job *job, const struct attention_keys *b,
                           size_t h, size_t n, size_t rows, size_t seen)
{
    const struct attention *a = job->shape;
    const size_t D = a->D, row = n * a->q_stride + h * D, out = n * a->out_stride + h * D;
    const float *q = job->q + row, *dout = job->dout + out;
    const size_t width = seen + rows - 1 < b->keys ? seen + rows - 1 : b->keys;

    float p[ATTENTION_SPAN][ATTENTION_KEYS], ds[ATTENTION_SPAN][ATTENTION_KEYS];
    rows_dot(p[0], ATTENTION_KEYS, q, a->q_stride, rows, b->k, b->stride, width, D);
    rows_dot(ds[0], ATTENTION_KEYS, dout, a->out_stride, rows, b->v, b->stride, width, D);
    for (size_t r = 0; r < rows; r++) {
        float delta;
        rows_dot(&delta, 1, dout + r * a->out_stride, a->out_stride, 1,
                 job->out_in + out + r * a->out_stride, a->out_stride, 1, D);
        attention_slope(p[r], ds[r], seen + r < width ? seen + r : width, a->scale,
                        job->lse_in[(n + r) * a->H + h], delta);
    }
    /* A key that a query does not see has the weight 0 in its sums. */
    rows_combine(job->dq + row, a->q_stride, rows, ds[0], ATTENTION_KEYS, 1, b->k, b->stride,
                 width, D);
    rows_combine(b->dk, b->stride, width, ds[0], 1, ATTENTION_KEYS, q, a->q_stride, rows, D);
    rows_combine(b->dv, b->stride, width, p[0], 1, ATTENTION_KEYS, dout, a->out_stride, rows,
                 D);
}

/* All queries, of all heads of the group g, that see the block of keys from j on. */
static void attention_backward_block(const struct attention_job *job, size_t seq, size_t g,
                                     size_t j)
{
    const struct attention *a = job->shape;
    const size_t group = a->H / a->G, first = job->offset[seq] + j, end = job->offset[seq + 1];
    const size_t keys = end - first < ATTENTION_KEYS ? end - first : ATTENTION_KEYS;
    const size_t kv = first * a->kv_stride + g * a->D;
    struct attention_keys b = {job->k + kv,  job->v + kv,  job->dk + kv,
                               job->dv + kv, a->kv_stride, keys};
    struct attention_near k, v, dk, dv;
    const bool near = a->D <= ATTENTION_NEAR;
    if (near) {
        attention_fetch(&k, b.k, b.stride, keys, a->D);
        attention_fetch(&v, b.v, b.stride, keys, a->D);
        memset(dk.rows, 0, keys * a->D * sizeof(float));
        memset(dv.rows, 0, keys * a->D * sizeof(float));
        b = (struct attention_keys){k.rows, v.rows, dk.rows, dv.rows, a->D, keys};
    }
    for (size_t h = g * group; h < (g + 1) * group; h++)
        for (size_t n = first; n < end; n += ATTENTION_SPAN)
            attention_span(job, &b, h, n, end - n < ATTENTION_SPAN ? end - n : ATTENTION_SPAN,
                           n - first + 1);
    for (size_t i = 0; near && i < keys; i++) {
        memcpy(job->dk + kv + i * a->kv_stride, dk.rows + i * a->D, a->D * sizeof(float));
        memcpy(job->dv + kv + i * a->kv_stride, dv.rows + i * a->D, a->D * sizeof(float));
    }
}

static void attention_backward_task(void *arg, size_t i)
{
    const struct attention_job *job = arg;
    const struct attention *a = job->shape;
    const size_t seq = i / a->G, g = i % a->G, group = a->H / a->G;
    const size_t first = job->offset[seq], tokens = job->offset[seq + 1] - first;
    for (size_t n = first; n < first + tokens; n++) {
        memset(job->dq + n * a->q_stride + g * group * a->D, 0, group * a->D * sizeof(float));
        memset(job->dk + n * a->kv_stride + g * a->D, 0, a->D * sizeof(float));
        memset(job->dv + n * a->kv_stride + g * a->D, 0, a->D * sizeof(float));
    }
    /* Keys outermost: their block and its gradients stay in cache for all queries. */
    for (size_t j = 0; j < tokens; j += ATTENTION_KEYS)
        attention_backward_block(job, seq, g, j);
}

void attention_backward(struct pool *pool, const struct attention *shape, float *dq, float *dk,
                        float *dv, const float *dout, const float *q, const float *k,
                        const float *v, const float *out, const float *lse,
                        const uint32_t *offset, size_t seqs)
{
    attention_check(shape);
    struct attention_job job = {.shape = shape,
                                .dq = dq,
                                .dk = dk,
                                .dv = dv,
                                .dout = dout,
                                .q = q,
                                .k = k,
                                .v = v,
                                .out_in = out,
                                .lse_in = lse,
                                .offset = offset,
                                .seqs = seqs};
    pool_run(pool, seqs * shape->G, attention_backward_task, &job);
}

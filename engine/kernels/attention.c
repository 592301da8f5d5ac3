/* attention.c -- see attention.h. */
#include "engine/kernels/attention.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

#include "engine/kernels/isa.h"
#include "engine/kernels/lanes.h"
#include "engine/kernels/vmath.h"

enum { ATTENTION_ROWS = 32 }; /* query rows of a task of the forward pass */

/* What is known of a softmax after some blocks of keys: the sums are relative to `max`. */
struct attention_state {
    float max, sum;
    float out[ATTENTION_D_MAX];
};

/* s[j] = scale q . k[j]; -infinity, the weight 0, where there is no key. */
static inline ISA_BODY void attention_scores(float *s, const float *q, const float *k,
                                             size_t stride, size_t keys, size_t D, float scale)
{
    for (size_t j = 0; j < keys; j++)
        s[j] = scale * lanes_dot(q, k + j * stride, D);
    for (size_t j = keys; j < ATTENTION_BLOCK; j++)
        s[j] = -INFINITY;
}

static inline ISA_BODY float attention_max(const float *s, float max)
{
    float lane[LANES];
    for (size_t l = 0; l < LANES; l++)
        lane[l] = max;
    for (size_t j = 0; j < ATTENTION_BLOCK; j += LANES)
        for (size_t l = 0; l < LANES; l++)
            lane[l] = s[j + l] > lane[l] ? s[j + l] : lane[l];
    for (size_t half = LANES / 2; half > 0; half /= 2)
        for (size_t l = 0; l < half; l++)
            lane[l] = lane[l + half] > lane[l] ? lane[l + half] : lane[l];
    return lane[0];
}

/* Take one more block of keys into the softmax (Milakov and Gimelshein, arXiv:1805.02867). */
static inline ISA_BODY void attention_block(struct attention_state *state, const float *q,
                                            const float *k, const float *v, size_t stride,
                                            size_t keys, size_t D, float scale)
{
    float p[ATTENTION_BLOCK];
    attention_scores(p, q, k, stride, keys, D, scale);
    const float max = attention_max(p, state->max);
    const float keep = vmath_exp(state->max - max);

    float lane[LANES] = {0};
    for (size_t j = 0; j < ATTENTION_BLOCK; j += LANES)
        for (size_t l = 0; l < LANES; l++) {
            p[j + l] = vmath_exp(p[j + l] - max);
            lane[l] += p[j + l];
        }
    state->sum = fmaf(state->sum, keep, lanes_tree(lane));
    state->max = max;

    float *out = state->out;
    for (size_t d = 0; d < D; d++)
        out[d] *= keep;
    for (size_t j = 0; j < keys; j++)
        for (size_t d = 0; d < D; d++)
            out[d] = fmaf(p[j], v[j * stride + d], out[d]);
}

static inline ISA_BODY void attention_any_body(float *lse, float *out, const float *q,
                                               const float *k, const float *v, size_t stride,
                                               size_t keys, size_t D, float scale)
{
    struct attention_state state;
    state.max = -INFINITY;
    state.sum = 0.0f;
    memset(state.out, 0, D * sizeof(float));
    for (size_t j = 0; j < keys; j += ATTENTION_BLOCK) {
        const size_t n = keys - j < ATTENTION_BLOCK ? keys - j : ATTENTION_BLOCK;
        attention_block(&state, q, k + j * stride, v + j * stride, stride, n, D, scale);
    }
    const float inverse = 1.0f / state.sum;
    for (size_t d = 0; d < D; d++)
        out[d] = state.out[d] * inverse;
    *lse = state.max + vmath_log(state.sum);
}

/* The usual head sizes, as constants: `out` then stays in registers. */
static inline ISA_BODY void attention_64_body(float *lse, float *out, const float *q,
                                              const float *k, const float *v, size_t stride,
                                              size_t keys, float scale)
{
    attention_any_body(lse, out, q, k, v, stride, keys, 64, scale);
}

static inline ISA_BODY void attention_128_body(float *lse, float *out, const float *q,
                                               const float *k, const float *v, size_t stride,
                                               size_t keys, float scale)
{
    attention_any_body(lse, out, q, k, v, stride, keys, 128, scale);
}

ISA_FUNCTION(attention_any,
             (float *lse, float *out, const float *q, const float *k, const float *v,
              size_t stride, size_t keys, size_t D, float scale),
             (lse, out, q, k, v, stride, keys, D, scale))
ISA_FUNCTION(attention_64,
             (float *lse, float *out, const float *q, const float *k, const float *v,
              size_t stride, size_t keys, float scale),
             (lse, out, q, k, v, stride, keys, scale))
ISA_FUNCTION(attention_128,
             (float *lse, float *out, const float *q, const float *k, const float *v,
              size_t stride, size_t keys, float scale),
             (lse, out, q, k, v, stride, keys, scale))

float attention_row(float *out, const float *q, const float *k, const float *v,
                    size_t kv_stride, size_t keys, size_t D, float scale)
{
    assert(keys >= 1 && D >= 1 && D <= ATTENTION_D_MAX);
    float lse;
    if (D == 64)
        attention_64(&lse, out, q, k, v, kv_stride, keys, scale);
    else if (D == 128)
        attention_128(&lse, out, q, k, v, kv_stride, keys, scale);
    else
        attention_any(&lse, out, q, k, v, kv_stride, keys, D, scale);
    return lse;
}

static void attention_check(const struct attention *shape)
{
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
    size_t seqs, blocks; /* blocks: of ATTENTION_ROWS packed rows */
};

/* Task: a block of packed rows (which may span sequences), one head. */
static void attention_forward_task(void *arg, size_t i)
{
    const struct attention_job *job = arg;
    const struct attention *a = job->shape;
    /* The last rows have the most keys: they go first, so that the tasks end together. */
    const size_t block = job->blocks - 1 - i / a->H;
    const size_t h = i % a->H, g = h / (a->H / a->G);
    const size_t begin = block * ATTENTION_ROWS, total = job->offset[job->seqs];
    size_t seq = 0;
    for (size_t n = begin; n < total && n < begin + ATTENTION_ROWS; n++) {
        while (job->offset[seq + 1] <= n)
            seq++;
        const size_t first = job->offset[seq];
        const float lse = attention_row(
            job->out + n * a->out_stride + h * a->D, job->q + n * a->q_stride + h * a->D,
            job->k + first * a->kv_stride + g * a->D, job->v + first * a->kv_stride + g * a->D,
            a->kv_stride, n - first + 1, a->D, a->scale);
        if (job->lse)
            job->lse[n * a->H + h] = lse;
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
    job.blocks = (offset[seqs] + ATTENTION_ROWS - 1) / ATTENTION_ROWS;
    pool_run(pool, job.blocks * shape->H, attention_forward_task, &job);
}

/*
 * With p recomputed from lse, and delta[i] = dout[i] . out[i],
 *
 *     ds[j] = p[j] (dout[i] . v[j] - delta[i])
 *     dq[i] = scale sum_j ds[j] k[j]      dk[j] += scale ds[j] q[i]      dv[j] += p[j] dout[i]
 */
struct attention_span { /* one query row and head against one block of keys */
    const float *q, *dout, *k, *v;
    float *dq, *dk, *dv;
    size_t stride, keys, D;
    float scale, lse, delta;
};

static inline ISA_BODY void attention_span_any(const struct attention_span *span, size_t D)
{
    const float *restrict q = span->q, *restrict dout = span->dout;
    float *restrict dq = span->dq;
    float p[ATTENTION_BLOCK], ds[ATTENTION_BLOCK];
    attention_scores(p, q, span->k, span->stride, span->keys, D, span->scale);
    for (size_t j = 0; j < span->keys; j++)
        ds[j] = lanes_dot(dout, span->v + j * span->stride, D);
    for (size_t j = span->keys; j < ATTENTION_BLOCK; j++)
        ds[j] = 0.0f;
    for (size_t j = 0; j < ATTENTION_BLOCK; j++) {
        p[j] = vmath_exp(p[j] - span->lse);
        ds[j] = span->scale * p[j] * (ds[j] - span->delta);
    }
    for (size_t j = 0; j < span->keys; j++) {
        const float *restrict k = span->k + j * span->stride;
        float *restrict dk = span->dk + j * span->stride;
        float *restrict dv = span->dv + j * span->stride;
        for (size_t d = 0; d < D; d++) {
            dq[d] = fmaf(ds[j], k[d], dq[d]);
            dk[d] = fmaf(ds[j], q[d], dk[d]);
            dv[d] = fmaf(p[j], dout[d], dv[d]);
        }
    }
}

static inline ISA_BODY void attention_span_body(const struct attention_span *span)
{
    if (span->D == 64)
        attention_span_any(span, 64);
    else if (span->D == 128)
        attention_span_any(span, 128);
    else
        attention_span_any(span, span->D);
}
ISA_FUNCTION(attention_span, (const struct attention_span *span), (span))

static inline ISA_BODY void attention_delta_body(float *delta, const float *dout,
                                                 const float *out, size_t D)
{
    *delta = lanes_dot(dout, out, D);
}
ISA_FUNCTION(attention_delta, (float *delta, const float *dout, const float *out, size_t D),
             (delta, dout, out, D))

/* All queries of head h that see the keys [j, j + keys) of their sequence. */
static void attention_backward_block(const struct attention_job *job, size_t seq, size_t h,
                                     size_t j, size_t keys)
{
    const struct attention *a = job->shape;
    const size_t first = job->offset[seq], g = h / (a->H / a->G);
    const size_t kv = (first + j) * a->kv_stride + g * a->D;
    struct attention_span span = {.k = job->k + kv,
                                  .v = job->v + kv,
                                  .dk = job->dk + kv,
                                  .dv = job->dv + kv,
                                  .stride = a->kv_stride,
                                  .D = a->D,
                                  .scale = a->scale};
    for (size_t n = first + j; n < job->offset[seq + 1]; n++) {
        const size_t seen = n - first - j + 1;
        const size_t at = n * a->out_stride + h * a->D;
        span.q = job->q + n * a->q_stride + h * a->D;
        span.dq = job->dq + n * a->q_stride + h * a->D;
        span.dout = job->dout + at;
        span.keys = seen < keys ? seen : keys;
        span.lse = job->lse_in[n * a->H + h];
        attention_delta(&span.delta, span.dout, job->out_in + at, a->D);
        attention_span(&span);
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
    for (size_t j = 0; j < tokens; j += ATTENTION_BLOCK) {
        const size_t keys = tokens - j < ATTENTION_BLOCK ? tokens - j : ATTENTION_BLOCK;
        for (size_t h = g * group; h < (g + 1) * group; h++)
            attention_backward_block(job, seq, h, j, keys);
    }
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

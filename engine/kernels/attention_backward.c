/* attention_backward.c -- packed sequences, backward; see attention.h.  By tiles where there are
 * such (attention_tiles.h); else blocks of keys and values are laid out as panels, so that the work
 * is small products (gemm_part) and what the softmax does to their results. */
#include <math.h>
#include <string.h>

#include "engine/kernels/attention_block.h"
#include "engine/kernels/attention_tiles.h"
#include "engine/kernels/isa.h"
#include "engine/kernels/lanes.h"
#include "engine/kernels/vmath_rows.h"

enum { ATTENTION_SPAN = 64 }; /* query rows that meet a block together */

/*
 * With p recomputed from lse, and delta[i] = dout[i] . out[i],
 *
 *     ds[j] = p[j] (dout[i] . v[j] - delta[i])
 *     dq[i] = scale sum_j ds[j] k[j]      dk[j] += scale ds[j] q[i]      dv[j] += p[j] dout[i]
 */
static inline ISA_BODY void attention_slope_body(float *p, float *ds, size_t keys, size_t width,
                                                 float scale, float lse, const float *dout,
                                                 const float *out, size_t D)
{
    const float delta = lanes_dot(dout, out, D);
    const size_t last = (keys - 1) / LANES * LANES, end = last + LANES;
    lanes_end(p + last, keys - last, -INFINITY); /* the weight 0 */
    lanes_end(ds + last, keys - last, 0.0f);
    for (size_t j = 0; j < end; j++)
        p[j] = fmaf(scale, p[j], -lse);
    vmath_rows_exp(p, p, end);
    for (size_t j = 0; j < end; j++)
        ds[j] = scale * p[j] * (ds[j] - delta);
    for (size_t j = end; j < width; j++)
        p[j] = ds[j] = 0.0f;
}
/* From dot products q . k in p and dout . v in ds to p and scale times ds; 0 from keys on. */
ISA_FUNCTION(attention_slope,
             (float *p, float *ds, size_t keys, size_t width, float scale, float lse,
              const float *dout, const float *out, size_t D),
             (p, ds, keys, width, scale, lse, dout, out, D))

/* A block of keys of one head as the products want it, and its gradients. */
struct attention_keys {
    _Alignas(64) float k[ATTENTION_KEYS * ATTENTION_D_MAX]; /* channels ascend */
    float k_rows[ATTENTION_KEYS * ATTENTION_D_MAX];         /* keys ascend */
    float v[ATTENTION_KEYS * ATTENTION_D_MAX];              /* channels ascend */
    float dk[ATTENTION_KEYS * ATTENTION_D_MAX];             /* (keys, wide D) */
    float dv[ATTENTION_KEYS * ATTENTION_D_MAX];
    size_t keys;
};

/* Scores of queries (rows, D) against a block's panels into s (rows, ATTENTION_KEYS). */
static void attention_scores(float *s, const float *q, size_t q_stride, size_t rows,
                             const float *panels, size_t width, size_t D)
{
    gemm_part(&(struct gemm_part){.c = s,
                                  .c_stride = ATTENTION_KEYS,
                                  .left = q,
                                  .left_stride = q_stride,
                                  .panels = panels,
                                  .panel_step = D * GEMM_PANEL,
                                  .rows = rows,
                                  .cols = attention_wide(width),
                                  .depth = D});
}

/* d (keys, wide D) += the transpose of s (rows, ATTENTION_KEYS) times x (rows, D). */
static void attention_gather(float *d, const float *s, const float *x, size_t x_stride,
                             size_t rows, size_t keys, size_t D)
{
    _Alignas(64) float panels[ATTENTION_SPAN * ATTENTION_D_MAX];
    attention_lay_rows(panels, ATTENTION_SPAN, x, x_stride, rows, D);
    gemm_part(&(struct gemm_part){.c = d,
                                  .c_stride = attention_wide(D),
                                  .left = s,
                                  .left_stride = ATTENTION_KEYS,
                                  .left_turned = true,
                                  .panels = panels,
                                  .panel_step = ATTENTION_SPAN * GEMM_PANEL,
                                  .rows = keys,
                                  .cols = attention_wide(D),
                                  .depth = rows,
                                  .into = GEMM_ADD});
}

/* to = from, rows of D, with the zeros positive: the sign of one may depend on how many weights of
 * 0 were added to it. */
static inline ISA_BODY void attention_positive_body(float *to, size_t to_stride,
                                                    const float *from, size_t from_stride,
                                                    size_t rows, size_t D)
{
    for (size_t r = 0; r < rows; r++, to += to_stride, from += from_stride)
        for (size_t d = 0; d < D; d++)
            to[d] = from[d] + 0.0f;
}
ISA_FUNCTION(attention_positive,
             (float *to, size_t to_stride, const float *from, size_t from_stride, size_t rows,
              size_t D),
             (to, to_stride, from, from_stride, rows, D))

/* Queries n .. n+rows-1 (rows <= ATTENTION_SPAN) of head h, the first of which sees `seen` of
 * the keys, the next one more. */
static void attention_span(const struct attention_back *job, struct attention_keys *b, size_t h,
                           size_t n, size_t rows, size_t seen)
{
    const struct attention *a = job->shape;
    const size_t D = a->D, row = n * a->q_stride + h * D, out = n * a->out_stride + h * D;
    const float *q = job->q + row, *dout = job->dout + out;
    const size_t width = attention_min(seen + rows - 1, b->keys);

    _Alignas(64) float p[ATTENTION_SPAN * ATTENTION_KEYS], ds[ATTENTION_SPAN * ATTENTION_KEYS];
    attention_scores(p, q, a->q_stride, rows, b->k, width, D);
    attention_scores(ds, dout, a->out_stride, rows, b->v, width, D);
    for (size_t r = 0; r < rows; r++)
        attention_slope(p + r * ATTENTION_KEYS, ds + r * ATTENTION_KEYS,
                        attention_min(seen + r, width), width, a->scale,
                        job->lse[(n + r) * a->H + h], dout + r * a->out_stride,
                        job->out + out + r * a->out_stride, D);
    /* A key that a query does not see has the weight 0 in its sums. */
    gemm_part(&(struct gemm_part){.c = job->dq + row,
                                  .c_stride = a->q_stride,
                                  .left = ds,
                                  .left_stride = ATTENTION_KEYS,
                                  .panels = b->k_rows,
                                  .panel_step = ATTENTION_KEYS * GEMM_PANEL,
                                  .rows = rows,
                                  .cols = D,
                                  .depth = width,
                                  .into = GEMM_ADD});
    attention_gather(b->dk, ds, q, a->q_stride, rows, width, D);
    attention_gather(b->dv, p, dout, a->out_stride, rows, width, D);
}

/* All queries, of all heads of the group g, that see the block of keys from j on. */
static void attention_backward_block(const struct attention_back *job, size_t seq, size_t g,
                                     size_t j)
{
    const struct attention *a = job->shape;
    const size_t group = a->H / a->G, first = job->offset[seq] + j, end = job->offset[seq + 1];
    const size_t kv = first * a->kv_stride + g * a->D, wide = attention_wide(a->D);
    struct attention_keys b;
    b.keys = attention_min(end - first, ATTENTION_KEYS);
    attention_lay_columns(b.k, job->k + kv, a->kv_stride, b.keys, a->D);
    attention_lay_rows(b.k_rows, ATTENTION_KEYS, job->k + kv, a->kv_stride, b.keys, a->D);
    attention_lay_columns(b.v, job->v + kv, a->kv_stride, b.keys, a->D);
    memset(b.dk, 0, b.keys * wide * sizeof(float));
    memset(b.dv, 0, b.keys * wide * sizeof(float));
    for (size_t h = g * group; h < (g + 1) * group; h++)
        for (size_t n = first; n < end; n += ATTENTION_SPAN)
            attention_span(job, &b, h, n, attention_min(end - n, ATTENTION_SPAN),
                           n - first + 1);
    attention_positive(job->dk + kv, a->kv_stride, b.dk, wide, b.keys, a->D);
    attention_positive(job->dv + kv, a->kv_stride, b.dv, wide, b.keys, a->D);
}

static void attention_backward_task(void *arg, size_t i)
{
    const struct attention_back *job = arg;
    const struct attention *a = job->shape;
    const size_t seq = i / a->G, g = i % a->G, group = a->H / a->G;
    if (attention_tiles_take(a)) {
        attention_tiles_backward(job, seq, g);
        return;
    }
    const size_t first = job->offset[seq], tokens = job->offset[seq + 1] - first;
    float *dq = job->dq + first * a->q_stride + g * group * a->D;
    for (size_t n = 0; n < tokens; n++)
        memset(dq + n * a->q_stride, 0, group * a->D * sizeof(float));
    /* Keys outermost: their block and its gradients stay in cache for all queries. */
    for (size_t j = 0; j < tokens; j += ATTENTION_KEYS)
        attention_backward_block(job, seq, g, j);
    attention_positive(dq, a->q_stride, dq, a->q_stride, tokens, group * a->D);
}

void attention_backward(struct pool *pool, const struct attention *shape, float *dq, float *dk,
                        float *dv, const float *dout, const float *q, const float *k,
                        const float *v, const float *out, const float *lse,
                        const uint32_t *offset, size_t seqs)
{
    attention_check(shape);
    struct attention_back job = {.shape = shape,
                                 .dq = dq,
                                 .dk = dk,
                                 .dv = dv,
                                 .dout = dout,
                                 .q = q,
                                 .k = k,
                                 .v = v,
                                 .out = out,
                                 .lse = lse,
                                 .offset = offset,
                                 .seqs = seqs};
    pool_run(pool, seqs * shape->G, attention_backward_task, &job);
}

/* attention.c -- packed sequences; see attention.h.  Blocks of keys and values are laid out as
 * panels, so that the work is small products (gemm_part) and what the softmax does to their
 * results. */
#include "engine/kernels/attention.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "engine/kernels/attention_block.h"
#include "engine/kernels/isa.h"
#include "engine/kernels/lanes.h"
#include "engine/kernels/panel.h"
#include "engine/kernels/vmath_rows.h"

enum {
    ATTENTION_STRIP = 128, /* packed rows of a task of the way forward */
    ATTENTION_SHARES = 4,  /* strips a thread from which on a task has all heads of one */
    ATTENTION_SPAN = 64,   /* query rows that meet a block together on the way back */
};

/* A block of keys or values laid out on the stack. */
struct attention_near {
    _Alignas(64) float panels[ATTENTION_KEYS * ATTENTION_D_MAX];
};

/* `rows` rows of x with channels ascending in a panel: what a product over channels wants.
 * Rows that are not there are zeros, so that nobody reads what was never written. */
static void attention_lay_columns(float *panels, const float *x, size_t stride, size_t rows,
                                  size_t D)
{
    for (size_t r = 0; r < rows; r += GEMM_PANEL)
        panel_columns(panels + r * D, x + r * stride, stride,
                      attention_min(rows - r, GEMM_PANEL), D);
}

/* With rows ascending: what a product over rows wants. */
static void attention_lay_rows(float *panels, const float *x, size_t stride, size_t rows,
                               size_t D)
{
    panel_rows(panels, ATTENTION_KEYS * GEMM_PANEL, x, stride, rows, D);
}

struct attention_job {
    const struct attention *shape;
    float *out, *lse, *dq, *dk, *dv;
    const float *dout, *q, *k, *v, *out_in, *lse_in;
    const uint32_t *offset;
    size_t seqs, strips; /* strips: of ATTENTION_STRIP packed rows */
    size_t heads;        /* of a task of the way forward */
};

/* Blocks of keys and values of one head laid out for all queries of a task: as many as have
 * room, then the first ones are laid over. */
struct attention_laid {
    struct attention_near k, v;
    size_t blocks;                             /* that have room */
    size_t held[ATTENTION_D_MAX / GEMM_PANEL]; /* at place i: the block's number + 1, or 0 */
};

static void attention_laid_clear(struct attention_laid *laid, size_t D)
{
    laid->blocks = ATTENTION_D_MAX / attention_wide(D);
    memset(laid->held, 0, laid->blocks * sizeof *laid->held);
}

/* The panels of a block of `keys` keys; k and v are its first rows. */
static struct attention_panels attention_laid_block(struct attention_laid *laid, size_t block,
                                                    size_t keys, const struct attention *s,
                                                    const float *k, const float *v)
{
    const size_t at = block % laid->blocks;
    float *k_at = laid->k.panels + at * ATTENTION_KEYS * attention_wide(s->D);
    float *v_at = laid->v.panels + at * ATTENTION_KEYS * attention_wide(s->D);
    if (laid->held[at] != block + 1) {
        attention_lay_columns(k_at, k, s->kv_stride, keys, s->D);
        attention_lay_rows(v_at, v, s->kv_stride, keys, s->D);
        laid->held[at] = block + 1;
    }
    return (struct attention_panels){.k = k_at,
                                     .k_step = s->D * GEMM_PANEL,
                                     .v = v_at,
                                     .v_step = ATTENTION_KEYS * GEMM_PANEL,
                                     .v_lines = ATTENTION_KEYS};
}

/* Rows [n, end), at most ATTENTION_ROWS, of the sequence in rows [first, stop); one head. */
static void attention_forward_rows(const struct attention_job *job, struct attention_laid *laid,
                                   size_t first, size_t stop, size_t n, size_t end, size_t h)
{
    const struct attention *s = job->shape;
    const size_t g = h / (s->H / s->G), D = s->D;
    const struct attention_queries a = {.out = job->out + n * s->out_stride + h * D,
                                        .q = job->q + n * s->q_stride + h * D,
                                        .out_stride = s->out_stride,
                                        .q_stride = s->q_stride,
                                        .rows = end - n,
                                        .keys = n - first + 1,
                                        .step = 1,
                                        .D = D,
                                        .scale = s->scale};
    struct attention_work work;
    attention_start(&work, &a);
    for (size_t j = 0; j < end - first; j += ATTENTION_KEYS) {
        /* All keys of the block, also those that only later rows see. */
        const size_t keys = attention_min(stop - first - j, ATTENTION_KEYS);
        const size_t at = (first + j) * s->kv_stride + g * D;
        const struct attention_panels panels =
            attention_laid_block(laid, j / ATTENTION_KEYS, keys, s, job->k + at, job->v + at);
        attention_block(&work, &a, j, &panels);
    }
    float lse[ATTENTION_ROWS];
    attention_end(&work, &a, job->lse ? lse : NULL);
    for (size_t r = 0; job->lse && r < end - n; r++)
        job->lse[(n + r) * s->H + h] = lse[r];
}

/* Ask for what the next group of heads reads of some rows: neighbours in memory for which the
 * processor does not look by itself, as rows are far apart. */
static void attention_fetch_next(const struct attention_job *job, size_t n, size_t end,
                                 size_t h)
{
    const struct attention *s = job->shape;
    const size_t D = s->D, g = h / (s->H / s->G) + 1;
    if (g == s->G || job->heads == 1)
        return;
    for (; n < end; n++) {
        for (size_t d = 0; d < D; d += GEMM_PANEL) {
            __builtin_prefetch(job->k + n * s->kv_stride + g * D + d);
            __builtin_prefetch(job->v + n * s->kv_stride + g * D + d);
        }
        for (size_t d = 0; d < s->H / s->G * D; d += GEMM_PANEL)
            __builtin_prefetch(job->q + n * s->q_stride + g * (s->H / s->G) * D + d);
    }
}

/* Rows [n, last) of the sequence in rows [first, stop); one head. */
static void attention_forward_head(const struct attention_job *job, struct attention_laid *laid,
                                   size_t first, size_t stop, size_t n, size_t last, size_t h)
{
    const size_t group = job->shape->H / job->shape->G;
    if (h % group == 0 || job->heads == 1) /* of a group all read the same keys and values */
        attention_laid_clear(laid, job->shape->D);
    for (size_t rows; n < last; n += rows) {
        rows = attention_min(last - n, ATTENTION_ROWS);
        if (h % group == 0)
            attention_fetch_next(job, n, n + rows, h);
        attention_forward_rows(job, laid, first, stop, n, n + rows, h);
    }
}

/* Task: ATTENTION_STRIP packed rows (which may span sequences), some heads. */
static void attention_forward_task(void *arg, size_t i)
{
    const struct attention_job *job = arg;
    const size_t shares = job->shape->H / job->heads, total = job->offset[job->seqs];
    /* The last rows have the most keys: they go first, so that the tasks end together. */
    const size_t begin = (job->strips - 1 - i / shares) * ATTENTION_STRIP;
    const size_t end = attention_min(begin + ATTENTION_STRIP, total);
    struct attention_laid laid;
    size_t seq = 0;
    for (size_t n = begin, last; n < end; n = last) {
        while (job->offset[seq + 1] <= n)
            seq++;
        const size_t stop = job->offset[seq + 1], h = i % shares * job->heads;
        last = attention_min(stop, end);
        for (size_t k = 0; k < job->heads; k++)
            attention_forward_head(job, &laid, job->offset[seq], stop, n, last, h + k);
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
    job.strips = (offset[seqs] + ATTENTION_STRIP - 1) / ATTENTION_STRIP;
    job.heads = job.strips < ATTENTION_SHARES * pool_threads(pool) ? 1 : shape->H;
    pool_run(pool, job.strips * (shape->H / job.heads), attention_forward_task, &job);
}

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

/* A block of keys of one head as the products on the way back want it, and its gradients. */
struct attention_keys {
    struct attention_near k, k_rows, v;
    _Alignas(64) float dk[ATTENTION_KEYS * ATTENTION_D_MAX]; /* (keys, wide D) */
    float dv[ATTENTION_KEYS * ATTENTION_D_MAX];
    size_t keys;
};

/* Scores of queries (rows, D) against a block's panels into s (rows, ATTENTION_KEYS). */
static void attention_scores(float *s, const float *q, size_t q_stride, size_t rows,
                             const struct attention_near *panels, size_t width, size_t D)
{
    gemm_part(&(struct gemm_part){.c = s,
                                  .c_stride = ATTENTION_KEYS,
                                  .left = q,
                                  .left_stride = q_stride,
                                  .panels = panels->panels,
                                  .panel_step = D * GEMM_PANEL,
                                  .rows = rows,
                                  .cols = attention_wide(width),
                                  .depth = D});
}

/* d (keys, wide D) += the transpose of s (rows, ATTENTION_KEYS) times x (rows, D). */
static void attention_gather(float *d, const float *s, const float *x, size_t x_stride,
                             size_t rows, size_t keys, size_t D)
{
    struct attention_near near;
    attention_lay_rows(near.panels, x, x_stride, rows, D);
    gemm_part(&(struct gemm_part){.c = d,
                                  .c_stride = attention_wide(D),
                                  .left = s,
                                  .left_stride = ATTENTION_KEYS,
                                  .left_turned = true,
                                  .panels = near.panels,
                                  .panel_step = ATTENTION_KEYS * GEMM_PANEL,
                                  .rows = keys,
                                  .cols = attention_wide(D),
                                  .depth = rows,
                                  .into = GEMM_ADD});
}

/* Queries n .. n+rows-1 (rows <= ATTENTION_SPAN) of head h, the first of which sees `seen` of
 * the keys, the next one more. */
static void attention_span(const struct attention_job *job, struct attention_keys *b, size_t h,
                           size_t n, size_t rows, size_t seen)
{
    const struct attention *a = job->shape;
    const size_t D = a->D, row = n * a->q_stride + h * D, out = n * a->out_stride + h * D;
    const float *q = job->q + row, *dout = job->dout + out;
    const size_t width = attention_min(seen + rows - 1, b->keys);

    _Alignas(64) float p[ATTENTION_SPAN * ATTENTION_KEYS], ds[ATTENTION_SPAN * ATTENTION_KEYS];
    attention_scores(p, q, a->q_stride, rows, &b->k, width, D);
    attention_scores(ds, dout, a->out_stride, rows, &b->v, width, D);
    for (size_t r = 0; r < rows; r++)
        attention_slope(p + r * ATTENTION_KEYS, ds + r * ATTENTION_KEYS,
                        attention_min(seen + r, width), width, a->scale,
                        job->lse_in[(n + r) * a->H + h], dout + r * a->out_stride,
                        job->out_in + out + r * a->out_stride, D);
    /* A key that a query does not see has the weight 0 in its sums. */
    gemm_part(&(struct gemm_part){.c = job->dq + row,
                                  .c_stride = a->q_stride,
                                  .left = ds,
                                  .left_stride = ATTENTION_KEYS,
                                  .panels = b->k_rows.panels,
                                  .panel_step = ATTENTION_KEYS * GEMM_PANEL,
                                  .rows = rows,
                                  .cols = D,
                                  .depth = width,
                                  .into = GEMM_ADD});
    attention_gather(b->dk, ds, q, a->q_stride, rows, width, D);
    attention_gather(b->dv, p, dout, a->out_stride, rows, width, D);
}

/* All queries, of all heads of the group g, that see the block of keys from j on. */
static void attention_backward_block(const struct attention_job *job, size_t seq, size_t g,
                                     size_t j)
{
    const struct attention *a = job->shape;
    const size_t group = a->H / a->G, first = job->offset[seq] + j, end = job->offset[seq + 1];
    const size_t kv = first * a->kv_stride + g * a->D, wide = attention_wide(a->D);
    struct attention_keys b;
    b.keys = attention_min(end - first, ATTENTION_KEYS);
    attention_lay_columns(b.k.panels, job->k + kv, a->kv_stride, b.keys, a->D);
    attention_lay_rows(b.k_rows.panels, job->k + kv, a->kv_stride, b.keys, a->D);
    attention_lay_columns(b.v.panels, job->v + kv, a->kv_stride, b.keys, a->D);
    memset(b.dk, 0, b.keys * wide * sizeof(float));
    memset(b.dv, 0, b.keys * wide * sizeof(float));
    for (size_t h = g * group; h < (g + 1) * group; h++)
        for (size_t n = first; n < end; n += ATTENTION_SPAN)
            attention_span(job, &b, h, n, attention_min(end - n, ATTENTION_SPAN),
                           n - first + 1);
    for (size_t i = 0; i < b.keys; i++) {
        memcpy(job->dk + kv + i * a->kv_stride, b.dk + i * wide, a->D * sizeof(float));
        memcpy(job->dv + kv + i * a->kv_stride, b.dv + i * wide, a->D * sizeof(float));
    }
}

static void attention_backward_task(void *arg, size_t i)
{
    const struct attention_job *job = arg;
    const struct attention *a = job->shape;
    const size_t seq = i / a->G, g = i % a->G, group = a->H / a->G;
    const size_t first = job->offset[seq], tokens = job->offset[seq + 1] - first;
    for (size_t n = first; n < first + tokens; n++)
        memset(job->dq + n * a->q_stride + g * group * a->D, 0, group * a->D * sizeof(float));
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

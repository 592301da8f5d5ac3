/* attention.c -- see attention.h.  Blocks of keys and values are laid out as panels, so that the
 * work is small products (gemm_part) and what the softmax does to their results. */
#include "engine/kernels/attention.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "engine/kernels/gemm.h"
#include "engine/kernels/isa.h"
#include "engine/kernels/lanes.h"
#include "engine/kernels/panel.h"
#include "engine/kernels/vmath.h"

enum {
    ATTENTION_ROWS = 32, /* query rows of a task of the forward pass */
    ATTENTION_SPAN = 64, /* query rows that meet a block together on the way back */
    ATTENTION_KEYS = ATTENTION_BLOCK, /* 64: four panels, four times LANES */
};

static size_t attention_min(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* D rounded up to whole panels. */
static size_t attention_wide(size_t D)
{
    return (D + GEMM_PANEL - 1) / GEMM_PANEL * GEMM_PANEL;
}

/* A block of keys or values laid out on the stack. */
struct attention_near {
    _Alignas(64) float panels[ATTENTION_KEYS * ATTENTION_D_MAX];
};

/* `rows` rows of x with channels ascending in a panel: what a product over channels wants.
 * Rows that are not there are zeros, so that nobody reads what was never written. */
static void attention_lay_columns(struct attention_near *near, const float *x, size_t stride,
                                  size_t rows, size_t D)
{
    for (size_t r = 0; r < rows; r += GEMM_PANEL)
        panel_columns(near->panels + r * D, x + r * stride, stride,
                      attention_min(rows - r, GEMM_PANEL), D);
}

/* With rows ascending: what a product over rows wants. */
static void attention_lay_rows(struct attention_near *near, const float *x, size_t stride,
                               size_t rows, size_t D)
{
    panel_rows(near->panels, ATTENTION_KEYS * GEMM_PANEL, x, stride, rows, D);
}

/* What is known of a softmax after some blocks of keys: the sums are relative to `max`. */
struct attention_state {
    float max, sum;
};

/*
 * Take a block of scores into the softmax (Milakov and Gimelshein, arXiv:1805.02867): p holds
 * `keys` dot products and comes back as weights relative to the new maximum, 0 from `keys` to
 * the end of the last panel begun.  Returns what the sums so far are to be multiplied by.
 */
static inline ISA_BODY void attention_soften_body(float *keep, struct attention_state *state,
                                                  float *p, size_t keys, float scale)
{
    const size_t end = (keys + LANES - 1) / LANES * LANES;
    for (size_t j = keys; j < end; j++)
        p[j] = -INFINITY;
    float lane[LANES];
    for (size_t l = 0; l < LANES; l++)
        lane[l] = p[l];
    for (size_t j = LANES; j < end; j += LANES)
        for (size_t l = 0; l < LANES; l++)
            lane[l] = p[j + l] > lane[l] ? p[j + l] : lane[l];
    const float here = lanes_max(lane) * scale; /* scale > 0: rounding keeps order */
    const float max = here > state->max ? here : state->max;

    float sum[LANES] = {0};
    for (size_t j = 0; j < end; j += LANES)
        for (size_t l = 0; l < LANES; l++) {
            p[j + l] = vmath_exp_negative(fmaf(p[j + l], scale, -max));
            sum[l] += p[j + l];
        }
    *keep = vmath_exp_negative(state->max - max);
    state->sum = fmaf(state->sum, *keep, lanes_tree(sum));
    state->max = max;
}
ISA_FUNCTION(attention_soften,
             (float *keep, struct attention_state *state, float *p, size_t keys, float scale),
             (keep, state, p, keys, scale))

/* sum = keep sum + part, for a row of D. */
static inline ISA_BODY void attention_join_body(float *restrict sum, float keep,
                                                const float *restrict part, size_t D)
{
    for (size_t d = 0; d < D; d++)
        sum[d] = fmaf(sum[d], keep, part[d]);
}
ISA_FUNCTION(attention_join, (float *sum, float keep, const float *part, size_t D),
             (sum, keep, part, D))

/* out = sum / total.  Adding 0 makes a zero positive: the sign of one may depend on how many
 * keys of weight 0 were added to it, which a row does not choose. */
static inline ISA_BODY void attention_finish_body(float *out, const float *sum, float by,
                                                  size_t D)
{
    for (size_t d = 0; d < D; d++)
        out[d] = sum[d] * by + 0.0f;
}
ISA_FUNCTION(attention_finish, (float *out, const float *sum, float by, size_t D),
             (out, sum, by, D))

/* Some queries against the keys of one head: row r sees the first keys + r * step of them.
 * Step is 1 for consecutive tokens of one head, 0 for the heads of one token. */
struct attention_queries {
    float *out;
    const float *q;
    size_t out_stride, q_stride;
    size_t rows, keys, step; /* rows <= ATTENTION_ROWS */
    size_t D;
    float scale;
};

/* What a task holds of its queries while blocks of keys go by. */
struct attention_work {
    struct attention_state state[ATTENTION_ROWS];
    _Alignas(64) float p[ATTENTION_ROWS * ATTENTION_KEYS];
    float sum[ATTENTION_ROWS * ATTENTION_D_MAX];  /* (rows, wide D) */
    float part[ATTENTION_ROWS * ATTENTION_D_MAX]; /* of sum: one block's */
};

static void attention_start(struct attention_work *work, const struct attention_queries *a)
{
    for (size_t r = 0; r < a->rows; r++)
        work->state[r] = (struct attention_state){-INFINITY, 0.0f};
    memset(work->sum, 0, a->rows * attention_wide(a->D) * sizeof(float));
}

/* The keys j .. j+ATTENTION_KEYS-1, whose panels of 16 keys are at k, one after the other, and
 * whose values' panels of 16 channels are at v, v_step apart. */
static void attention_block(struct attention_work *work, const struct attention_queries *a,
                            size_t j, const float *k, const float *v, size_t v_step)
{
    const size_t D = a->D, wide = attention_wide(D);
    const size_t first = a->keys > j ? 0 : j + 1 - a->keys; /* row that sees a key of it */
    const size_t rows = a->rows - first;
    const size_t width = attention_min(a->keys + (a->rows - 1) * a->step - j, ATTENTION_KEYS);
    gemm_part(&(struct gemm_part){.c = work->p,
                                  .c_stride = ATTENTION_KEYS,
                                  .left = a->q + first * a->q_stride,
                                  .left_stride = a->q_stride,
                                  .panels = k,
                                  .panel_step = D * GEMM_PANEL,
                                  .rows = rows,
                                  .cols = attention_wide(width),
                                  .depth = D});
    float keep[ATTENTION_ROWS];
    for (size_t r = 0; r < rows; r++) {
        const size_t seen = attention_min(a->keys + (first + r) * a->step - j, ATTENTION_KEYS);
        float *p = work->p + r * ATTENTION_KEYS;
        attention_soften(&keep[r], &work->state[first + r], p, seen, a->scale);
        for (size_t end = attention_wide(seen); end < width; end++)
            p[end] = 0.0f; /* what only later rows see */
    }
    gemm_part(&(struct gemm_part){.c = work->part,
                                  .c_stride = wide,
                                  .left = work->p,
                                  .left_stride = ATTENTION_KEYS,
                                  .panels = v,
                                  .panel_step = v_step,
                                  .rows = rows,
                                  .cols = wide,
                                  .depth = width});
    for (size_t r = 0; r < rows; r++)
        attention_join(work->sum + (first + r) * wide, keep[r], work->part + r * wide, wide);
}

/* Write out, and lse (rows) unless NULL. */
static void attention_end(const struct attention_work *work, const struct attention_queries *a,
                          float *lse)
{
    for (size_t r = 0; r < a->rows; r++) {
        attention_finish(a->out + r * a->out_stride, work->sum + r * attention_wide(a->D),
                         1.0f / work->state[r].sum, a->D);
        if (lse)
            lse[r] = work->state[r].max + vmath_log(work->state[r].sum);
    }
}

static void attention_check(const struct attention *shape)
{
    assert(shape->scale > 0.0f);
    assert(shape->D >= 1 && shape->D <= ATTENTION_D_MAX);
    assert(shape->G >= 1 && shape->H % shape->G == 0);
    assert(shape->q_stride >= shape->H * shape->D && shape->out_stride >= shape->H * shape->D);
    assert(shape->kv_stride >= shape->G * shape->D);
}

/* ---- over caches ---- */

size_t attention_cache_positions(size_t tokens)
{
    return (tokens + ATTENTION_KEYS - 1) / ATTENTION_KEYS * ATTENTION_KEYS;
}

size_t attention_cache_keys(const struct attention *shape, size_t positions)
{
    return shape->G * positions * shape->D;
}

size_t attention_cache_values(const struct attention *shape, size_t positions)
{
    return shape->G * positions * attention_wide(shape->D);
}

void attention_cache_put(const struct attention *shape, float *k_cache, float *v_cache,
                         size_t positions, size_t position, const float *k, const float *v)
{
    const size_t D = shape->D, panel = position / GEMM_PANEL, lane = position % GEMM_PANEL;
    assert(position < positions && positions % GEMM_PANEL == 0);
    for (size_t g = 0; g < shape->G; g++, k += D, v += D) {
        float *column = k_cache + g * positions * D + panel * D * GEMM_PANEL + lane;
        for (size_t d = 0; d < D; d++)
            column[d * GEMM_PANEL] = k[d];
        panel_rows(v_cache + g * positions * attention_wide(D) + position * GEMM_PANEL,
                   positions * GEMM_PANEL, v, D, 1, D);
    }
}

void attention_cache_copy(const struct attention *shape, float *k_to, float *v_to,
                          const float *k_from, const float *v_from, size_t positions,
                          size_t tokens)
{
    const size_t D = shape->D, wide = attention_wide(D);
    assert(tokens <= positions);
    for (size_t g = 0; g < shape->G; g++) { /* keys in whole panels: what is too much is void */
        const size_t at = g * positions * D;
        memcpy(k_to + at, k_from + at, attention_wide(tokens) * D * sizeof(float));
        for (size_t p = 0; p < wide / GEMM_PANEL; p++) {
            const size_t v = g * positions * wide + p * positions * GEMM_PANEL;
            memcpy(v_to + v, v_from + v, tokens * GEMM_PANEL * sizeof(float));
        }
    }
}

struct attention_decode_job {
    const struct attention *shape;
    float *out;
    const float *q, *const *k, *const *v;
    const uint32_t *keys;
    size_t tokens, positions;
};

/* True if token i does not go on where the one before it stands.  A run also ends at each
 * multiple of ATTENTION_ROWS positions: so everyone can see where one begins. */
static bool attention_run_begins(const struct attention_decode_job *job, size_t i)
{
    return i == 0 || job->k[i - 1] != job->k[i] || job->keys[i - 1] + 1 != job->keys[i] ||
           (job->keys[i] - 1) % ATTENTION_ROWS == 0;
}

static size_t attention_run_length(const struct attention_decode_job *job, size_t i)
{
    size_t n = 1;
    while (i + n < job->tokens && !attention_run_begins(job, i + n))
        n++;
    return n;
}

/* Ask for what will be read soon: streams of a few KiB each, too short for the processor to
 * foresee. */
static void attention_fetch(const float *x, size_t floats)
{
    for (size_t i = 0; i < floats; i += GEMM_PANEL)
        __builtin_prefetch(x + i, 0, 2);
}

static void attention_decode_queries(const struct attention_decode_job *job,
                                     const struct attention_queries *a, size_t i, size_t g)
{
    struct attention_work work;
    const float *k = job->k[i] + g * job->positions * a->D;
    const float *v = job->v[i] + g * job->positions * attention_wide(a->D);
    const size_t keys = a->keys + (a->rows - 1) * a->step, v_step = job->positions * GEMM_PANEL;
    attention_start(&work, a);
    for (size_t j = 0; j < keys; j += ATTENTION_KEYS) {
        const bool last = j + ATTENTION_KEYS >= keys;
        const size_t here = attention_min(keys - j, ATTENTION_KEYS);
        const size_t next =
            attention_min(last ? keys : keys - j - ATTENTION_KEYS, ATTENTION_KEYS);
        for (size_t p = 0; p < attention_wide(a->D) / GEMM_PANEL; p++)
            attention_fetch(v + p * v_step + j * GEMM_PANEL, here * GEMM_PANEL);
        if (!last)
            attention_fetch(k + (j + ATTENTION_KEYS) * a->D, next * a->D);
        else if (g + 1 < job->shape->G)
            attention_fetch(k + job->positions * a->D, next * a->D);
        attention_block(&work, a, j, k + j * a->D, v + j * GEMM_PANEL, v_step);
    }
    attention_end(&work, a, NULL);
}

/* Task: the run that begins with a token, if one does; one group of heads.  A run of tokens
 * goes head by head, the heads of a single token together. */
static void attention_decode_task(void *arg, size_t task)
{
    const struct attention_decode_job *job = arg;
    const struct attention *s = job->shape;
    const size_t i = task / s->G, g = task % s->G, group = s->H / s->G;
    if (!attention_run_begins(job, i))
        return;
    struct attention_queries a = {.out = job->out + i * s->out_stride + g * group * s->D,
                                  .q = job->q + i * s->q_stride + g * group * s->D,
                                  .out_stride = s->out_stride,
                                  .q_stride = s->q_stride,
                                  .rows = attention_run_length(job, i),
                                  .keys = job->keys[i],
                                  .step = 1,
                                  .D = s->D,
                                  .scale = s->scale};
    if (a.rows == 1 && group <= ATTENTION_ROWS) {
        a.rows = group;
        a.step = 0;
        a.out_stride = a.q_stride = s->D;
        attention_decode_queries(job, &a, i, g);
        return;
    }
    for (size_t h = 0; h < group; h++, a.q += s->D, a.out += s->D)
        attention_decode_queries(job, &a, i, g);
}

void attention_decode(struct pool *pool, const struct attention *shape, float *out,
                      const float *q, const float *const *k, const float *const *v,
                      const uint32_t *keys, size_t tokens, size_t positions)
{
    attention_check(shape);
    struct attention_decode_job job = {shape, out, q, k, v, keys, tokens, positions};
    pool_run(pool, tokens * shape->G, attention_decode_task, &job);
}

/* ---- packed sequences ---- */

struct attention_job {
    const struct attention *shape;
    float *out, *lse, *dq, *dk, *dv;
    const float *dout, *q, *k, *v, *out_in, *lse_in;
    const uint32_t *offset;
    size_t seqs, blocks; /* blocks: of ATTENTION_ROWS packed rows */
};

/* Rows [n, end), at most ATTENTION_ROWS, of a sequence that begins at row `first`; one head. */
static void attention_forward_rows(const struct attention_job *job, size_t first, size_t n,
                                   size_t end, size_t h)
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
    struct attention_near k, v;
    attention_start(&work, &a);
    for (size_t j = 0; j < end - first; j += ATTENTION_KEYS) {
        const size_t keys = attention_min(end - first - j, ATTENTION_KEYS);
        const size_t at = (first + j) * s->kv_stride + g * D;
        attention_lay_columns(&k, job->k + at, s->kv_stride, keys, D);
        attention_lay_rows(&v, job->v + at, s->kv_stride, keys, D);
        attention_block(&work, &a, j, k.panels, v.panels, ATTENTION_KEYS * GEMM_PANEL);
    }
    float lse[ATTENTION_ROWS];
    attention_end(&work, &a, lse);
    for (size_t r = 0; job->lse && r < end - n; r++)
        job->lse[(n + r) * s->H + h] = lse[r];
}

/* Task: ATTENTION_ROWS packed rows (which may span sequences), one head. */
static void attention_forward_task(void *arg, size_t i)
{
    const struct attention_job *job = arg;
    const size_t H = job->shape->H, total = job->offset[job->seqs];
    /* The last rows have the most keys: they go first, so that the tasks end together. */
    const size_t begin = (job->blocks - 1 - i / H) * ATTENTION_ROWS;
    const size_t end = begin + ATTENTION_ROWS < total ? begin + ATTENTION_ROWS : total;
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
    job.blocks = (offset[seqs] + ATTENTION_ROWS - 1) / ATTENTION_ROWS;
    pool_run(pool, job.blocks * shape->H, attention_forward_task, &job);
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
    const size_t end = (keys + LANES - 1) / LANES * LANES;
    for (size_t j = keys; j < end; j++) {
        p[j] = -INFINITY; /* the weight 0 */
        ds[j] = 0.0f;
    }
    for (size_t j = 0; j < end; j++) {
        p[j] = vmath_exp(fmaf(scale, p[j], -lse));
        ds[j] = scale * p[j] * (ds[j] - delta);
    }
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
    attention_lay_rows(&near, x, x_stride, rows, D);
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
    attention_lay_columns(&b.k, job->k + kv, a->kv_stride, b.keys, a->D);
    attention_lay_rows(&b.k_rows, job->k + kv, a->kv_stride, b.keys, a->D);
    attention_lay_columns(&b.v, job->v + kv, a->kv_stride, b.keys, a->D);
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

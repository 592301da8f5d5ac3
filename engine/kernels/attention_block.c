/* attention_block.c -- see attention_block.h. */
#include "engine/kernels/attention_block.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "engine/kernels/attention_lanes.h"
#include "engine/kernels/isa.h"
#include "engine/kernels/lanes.h"
#include "engine/kernels/panel.h"
#include "engine/kernels/vmath.h"

void attention_check(const struct attention *shape)
{
    assert(shape->scale > 0.0f);
    assert(shape->D >= 1 && shape->D <= ATTENTION_D_MAX);
    assert(shape->G >= 1 && shape->H % shape->G == 0);
    assert(shape->q_stride >= shape->H * shape->D && shape->out_stride >= shape->H * shape->D);
    assert(shape->kv_stride >= shape->G * shape->D);
}

void attention_lay_columns(float *panels, const float *x, size_t stride, size_t rows, size_t D)
{
    for (size_t r = 0; r < rows; r += GEMM_PANEL)
        panel_columns(panels + r * D, x + r * stride, stride,
                      attention_min(rows - r, GEMM_PANEL), D);
}

void attention_lay_rows(float *panels, size_t lines, const float *x, size_t stride, size_t rows,
                        size_t D)
{
    panel_rows(panels, lines * GEMM_PANEL, x, stride, rows, D);
}

/* The greatest of the first `keys` scores; in the lines of LANES that hold them, those beyond
 * become -infinity. */
static inline ISA_BODY float attention_greatest(float *restrict p, size_t keys)
{
    const size_t last = (keys - 1) / LANES * LANES;
    lanes_end(p + last, keys - last, -INFINITY);
    return lanes_max(p, last / LANES + 1);
}

/* Scores to weights, 0 beyond the lines that hold `keys` of them; their sum. */
static inline ISA_BODY float attention_weigh(float *restrict p, size_t keys, float scale,
                                             float max)
{
    float sum[LANES] = {0};
    size_t j = 0;
    for (; j < keys; j += LANES)
        for (size_t l = 0; l < LANES; l++) {
            p[j + l] = vmath_exp_negative(fmaf(p[j + l], scale, -max));
            sum[l] += p[j + l];
        }
    for (; j < ATTENTION_KEYS; j += LANES)
        memset(p + j, 0, LANES * sizeof *p);
    return lanes_tree(sum);
}

/* All maxima before all sums: a row waits for itself, but not for its neighbours. */
static inline ISA_BODY void attention_soften_rows_body(float *restrict max, float *restrict sum,
                                                       float *restrict keep, float *restrict p,
                                                       size_t rows, size_t keys, size_t step,
                                                       float scale)
{
    float before[ATTENTION_ROWS];
    size_t seen[ATTENTION_ROWS];
    for (size_t r = 0; r < rows; r++) {
        const size_t most = keys + r * step;
        seen[r] = most < ATTENTION_KEYS ? most : ATTENTION_KEYS;
        const float here = attention_greatest(p + r * ATTENTION_KEYS, seen[r]) *
                           scale; /* scale > 0: rounding keeps order */
        before[r] = max[r];
        max[r] = here > max[r] ? here : max[r];
    }
    for (size_t r = 0; r < rows; r++)
        keep[r] = vmath_exp_negative(before[r] - max[r]);
    for (size_t r = 0; r < rows; r++)
        sum[r] = fmaf(sum[r], keep[r],
                      attention_weigh(p + r * ATTENTION_KEYS, seen[r], scale, max[r]));
}
ISA_FUNCTION(attention_soften_rows,
             (float *max, float *sum, float *keep, float *p, size_t rows, size_t keys,
              size_t step, float scale),
             (max, sum, keep, p, rows, keys, step, scale))

void attention_soften(struct attention_soft *soft, float *p, size_t first, size_t rows,
                      size_t keys, size_t step, float scale)
{
    attention_soften_rows(soft->max + first, soft->sum + first, soft->keep + first, p, rows,
                          keys, step, scale);
}

/* sum = keep sum + part, row by row of D. */
static inline ISA_BODY void attention_join_body(float *restrict sum, const float *restrict keep,
                                                const float *restrict part, size_t rows,
                                                size_t D)
{
    for (size_t r = 0; r < rows; r++, sum += D, part += D)
        for (size_t d = 0; d < D; d++)
            sum[d] = fmaf(sum[d], keep[r], part[d]);
}
ISA_FUNCTION(attention_join,
             (float *sum, const float *keep, const float *part, size_t rows, size_t D),
             (sum, keep, part, rows, D))

void attention_start(struct attention_work *work, const struct attention_queries *a)
{
    work->turned = attention_lanes_take(a);
    if (work->turned) {
        attention_lanes_start(work, a);
        return;
    }
    for (size_t r = 0; r < a->rows; r++) {
        work->soft.max[r] = -INFINITY;
        work->soft.sum[r] = 0.0f;
    }
    memset(work->sum, 0, a->rows * attention_wide(a->D) * sizeof(float));
}

/* part = weights times values: one chain over the keys, in parts where they lie apart. */
static void attention_values(struct attention_work *work, size_t rows, size_t width,
                             size_t wide, const struct attention_panels *panels)
{
    struct gemm_part part = {.c = work->part,
                             .c_stride = wide,
                             .left_stride = ATTENTION_KEYS,
                             .panels = panels->v,
                             .panel_step = panels->v_step,
                             .rows = rows,
                             .cols = wide};
    for (size_t t = 0; t < width; t += panels->v_lines) {
        part.left = work->p + t;
        part.depth = attention_min(width - t, panels->v_lines);
        gemm_part(&part);
        part.panels += panels->v_jump;
        part.into = GEMM_ADD;
    }
}

void attention_block(struct attention_work *work, const struct attention_queries *a, size_t j,
                     const struct attention_panels *panels)
{
    if (work->turned) {
        attention_lanes_block(work, a, j, panels);
        return;
    }
    const size_t D = a->D, wide = attention_wide(D);
    const size_t first = a->keys > j ? 0 : j + 1 - a->keys; /* row that sees a key of it */
    const size_t rows = a->rows - first;
    const size_t width = attention_min(a->keys + (a->rows - 1) * a->step - j, ATTENTION_KEYS);
    gemm_part(&(struct gemm_part){.c = work->p,
                                  .c_stride = ATTENTION_KEYS,
                                  .left = a->q + first * a->q_stride,
                                  .left_stride = a->q_stride,
                                  .panels = panels->k,
                                  .panel_step = panels->k_step,
                                  .rows = rows,
                                  .cols = attention_wide(width),
                                  .depth = D});
    attention_soften(&work->soft, work->p, first, rows, a->keys + first * a->step - j, a->step,
                     a->scale);
    attention_values(work, rows, width, wide, panels);
    attention_join(work->sum + first * wide, work->soft.keep + first, work->part, rows, wide);
}

/* out = sum / total.  Adding 0 makes a zero positive: the sign of one may depend on how many
 * keys of weight 0 were added to it, which a row does not choose. */
static inline ISA_BODY void attention_finish_body(float *restrict out, size_t out_stride,
                                                  const float *restrict sum, size_t sum_stride,
                                                  const float *restrict total, size_t rows,
                                                  size_t D)
{
    float by[ATTENTION_ROWS];
    for (size_t r = 0; r < rows; r++)
        by[r] = 1.0f / total[r];
    for (size_t r = 0; r < rows; r++, out += out_stride, sum += sum_stride)
        for (size_t d = 0; d < D; d++)
            out[d] = sum[d] * by[r] + 0.0f;
}
ISA_FUNCTION(attention_finish,
             (float *out, size_t out_stride, const float *sum, size_t sum_stride,
              const float *total, size_t rows, size_t D),
             (out, out_stride, sum, sum_stride, total, rows, D))

static inline ISA_BODY void attention_lse_body(float *restrict lse, const float *restrict max,
                                               const float *restrict sum, size_t rows)
{
    for (size_t r = 0; r < rows; r++)
        lse[r] = max[r] + vmath_log(sum[r]);
}
ISA_FUNCTION(attention_lse, (float *lse, const float *max, const float *sum, size_t rows),
             (lse, max, sum, rows))

void attention_end(const struct attention_work *work, const struct attention_queries *a,
                   float *lse)
{
    if (work->turned)
        attention_lanes_end(work, a);
    else
        attention_finish(a->out, a->out_stride, work->sum, attention_wide(a->D), work->soft.sum,
                         a->rows, a->D);
    if (lse)
        attention_lse(lse, work->soft.max, work->soft.sum, a->rows);
}

/* gelu.c -- see gelu.h. */
#include "engine/kernels/gelu.h"

#include <math.h>
#include <string.h>

#include "engine/kernels/isa.h"
#include "engine/kernels/vmath_rows.h"

#define GELU_ROOT  0.797884561f /* sqrt(2 / pi) */
#define GELU_CUBIC 0.044715f

enum { GELU_TASK = 16384, GELU_BLOCK = 256 };

struct gelu_job {
    float *out, *y; /* y: of the backward pass */
    const float *x, *dy;
    size_t n;
};

/* What the hyperbolic tangent is taken of, and it: t (n), n <= GELU_BLOCK. */
static inline ISA_BODY void gelu_tanh(float *restrict t, const float *restrict x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        t[i] = GELU_ROOT * fmaf(GELU_CUBIC * x[i], x[i] * x[i], x[i]);
    vmath_rows_tanh(t, t, n);
}

static inline ISA_BODY void gelu_values_body(float *restrict y, const float *restrict x,
                                             size_t n)
{
    float t[GELU_BLOCK];
    for (size_t at = 0; at < n; at += GELU_BLOCK) {
        const size_t end = n - at < GELU_BLOCK ? n : at + GELU_BLOCK;
        gelu_tanh(t, x + at, end - at);
        for (size_t i = at; i < end; i++)
            y[i] = 0.5f * x[i] * (1.0f + t[i - at]);
    }
}
ISA_FUNCTION(gelu_values, (float *y, const float *x, size_t n), (y, x, n))

static inline ISA_BODY void gelu_slope_block(float *restrict d, float *restrict y,
                                             const float *dy, const float *x, size_t n)
{
    float all[GELU_BLOCK];
    gelu_tanh(all, x, n);
    for (size_t i = 0; i < n; i++) {
        const float v = x[i], square = v * v, t = all[i];
        const float inner = GELU_ROOT * fmaf(3.0f * GELU_CUBIC, square, 1.0f);
        d[i] = dy[i] * (0.5f * (1.0f + t) + 0.5f * v * ((1.0f - t * t) * inner));
        y[i] = 0.5f * v * (1.0f + t);
    }
}

/* In blocks, read before written: dx may be dy or x.  y is written beside where it is not
 * wanted: the loop is the same. */
static inline ISA_BODY void gelu_slopes_body(float *dx, float *y, const float *dy,
                                             const float *x, size_t n)
{
    float d[GELU_BLOCK], beside[GELU_BLOCK];
    float *to = y ? y : beside;
    const size_t step = y ? GELU_BLOCK : 0;
    size_t at = 0;
    for (; at + GELU_BLOCK <= n; at += GELU_BLOCK, to += step) {
        gelu_slope_block(d, to, dy + at, x + at, GELU_BLOCK);
        memcpy(dx + at, d, sizeof d);
    }
    gelu_slope_block(d, to, dy + at, x + at, n - at);
    memcpy(dx + at, d, (n - at) * sizeof(float));
}
ISA_FUNCTION(gelu_slopes, (float *dx, float *y, const float *dy, const float *x, size_t n),
             (dx, y, dy, x, n))

static void gelu_task(void *arg, size_t i)
{
    const struct gelu_job *job = arg;
    const size_t at = i * GELU_TASK;
    const size_t n = job->n - at < GELU_TASK ? job->n - at : GELU_TASK;
    if (job->dy)
        gelu_slopes(job->out + at, job->y ? job->y + at : NULL, job->dy + at, job->x + at, n);
    else
        gelu_values(job->out + at, job->x + at, n);
}

void gelu_forward(struct pool *pool, float *y, const float *x, size_t n)
{
    struct gelu_job job = {.out = y, .x = x, .n = n};
    pool_run(pool, (n + GELU_TASK - 1) / GELU_TASK, gelu_task, &job);
}

void gelu_backward(struct pool *pool, float *dx, float *y, const float *dy, const float *x,
                   size_t n)
{
    struct gelu_job job = {.out = dx, .y = y, .x = x, .dy = dy, .n = n};
    pool_run(pool, (n + GELU_TASK - 1) / GELU_TASK, gelu_task, &job);
}

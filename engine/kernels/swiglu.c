/* swiglu.c -- see swiglu.h. */
#include "engine/kernels/swiglu.h"

#include <assert.h>

#include "engine/kernels/isa.h"
#include "engine/kernels/vmath.h"

enum { SWIGLU_ROWS = 8 }; /* rows of a task */

struct swiglu_job {
    float *out, *dgate, *dup;
    const float *gate, *up, *dout;
    size_t stride, N, F;
};

static inline ISA_BODY void swiglu_row_body(const struct swiglu_job *job, size_t n)
{
    const float *gate = job->gate + n * job->stride, *up = job->up + n * job->stride;
    float *restrict out = job->out + n * job->F;
    for (size_t f = 0; f < job->F; f++)
        out[f] = gate[f] * vmath_sigmoid(gate[f]) * up[f];
}
ISA_FUNCTION(swiglu_row, (const struct swiglu_job *job, size_t n), (job, n))

static void swiglu_forward_task(void *arg, size_t i)
{
    const struct swiglu_job *job = arg;
    for (size_t n = i * SWIGLU_ROWS; n < job->N && n < (i + 1) * SWIGLU_ROWS; n++)
        swiglu_row(job, n);
}

void swiglu_forward(struct pool *pool, float *out, const float *gate, const float *up,
                    size_t stride, size_t N, size_t F)
{
    assert(stride >= F);
    struct swiglu_job job = {
        .out = out, .gate = gate, .up = up, .stride = stride, .N = N, .F = F};
    pool_run(pool, (N + SWIGLU_ROWS - 1) / SWIGLU_ROWS, swiglu_forward_task, &job);
}

/* silu'(z) = s + z s (1 - s) with s = 1 / (1 + e^-z).  The blocks of 64 are there so that dgate
 * and dup may be gate and up: a block is read before it is written. */
static inline ISA_BODY void swiglu_slope_body(const struct swiglu_job *job, size_t n)
{
    enum { BLOCK = 64 };
    float g[BLOCK], u[BLOCK];
    for (size_t at = 0; at < job->F; at += BLOCK) {
        const size_t m = job->F - at < BLOCK ? job->F - at : BLOCK;
        const float *gate = job->gate + n * job->stride + at;
        const float *up = job->up + n * job->stride + at;
        const float *dout = job->dout + n * job->F + at;
        for (size_t f = 0; f < m; f++) {
            const float s = vmath_sigmoid(gate[f]);
            const float silu = gate[f] * s;
            g[f] = dout[f] * up[f] * fmaf(silu, 1.0f - s, s);
            u[f] = dout[f] * silu;
        }
        memcpy(job->dgate + n * job->stride + at, g, m * sizeof(float));
        memcpy(job->dup + n * job->stride + at, u, m * sizeof(float));
    }
}
ISA_FUNCTION(swiglu_slope, (const struct swiglu_job *job, size_t n), (job, n))

static void swiglu_backward_task(void *arg, size_t i)
{
    const struct swiglu_job *job = arg;
    for (size_t n = i * SWIGLU_ROWS; n < job->N && n < (i + 1) * SWIGLU_ROWS; n++)
        swiglu_slope(job, n);
}

void swiglu_backward(struct pool *pool, float *dgate, float *dup, const float *dout,
                     const float *gate, const float *up, size_t stride, size_t N, size_t F)
{
    assert(stride >= F);
    struct swiglu_job job = {.dgate = dgate,
                             .dup = dup,
                             .dout = dout,
                             .gate = gate,
                             .up = up,
                             .stride = stride,
                             .N = N,
                             .F = F};
    pool_run(pool, (N + SWIGLU_ROWS - 1) / SWIGLU_ROWS, swiglu_backward_task, &job);
}

/* swiglu.c -- see swiglu.h. */
#include "engine/kernels/swiglu.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "engine/kernels/isa.h"
#include "engine/kernels/vmath_avx512.h"
#include "engine/kernels/vmath_rows.h"

enum {
    SWIGLU_ROWS = 8,    /* of a task */
    SWIGLU_BLOCK = 256, /* numbers that go by together */
    SWIGLU_LANES = 16,
};

struct swiglu_job {
    float *out, *dgate, *dup;
    const float *gate, *up, *dout;
    size_t stride, N, F;
};

static inline ISA_BODY void swiglu_row_body(const struct swiglu_job *job, size_t n)
{
    const float *gate = job->gate + n * job->stride, *up = job->up + n * job->stride;
    float *restrict out = job->out + n * job->F;
    float s[SWIGLU_BLOCK];
    for (size_t at = 0; at < job->F; at += SWIGLU_BLOCK) {
        const size_t end = job->F - at < SWIGLU_BLOCK ? job->F : at + SWIGLU_BLOCK;
        vmath_rows_sigmoid(s, gate + at, end - at);
        for (size_t f = at; f < end; f++)
            out[f] = gate[f] * s[f - at] * up[f];
    }
}
ISA_FUNCTION(swiglu_row, (const struct swiglu_job *job, size_t n), (job, n))

#if defined(__x86_64__)
/* The same bits, all at once: what is multiplied costs nothing while a division is under way. */
ISA_TARGET_AVX512 static inline ISA_BODY void swiglu_sixteen(float *out, const float *gate,
                                                             const float *up, __mmask16 some)
{
    const __m512 g = _mm512_maskz_loadu_ps(some, gate), u = _mm512_maskz_loadu_ps(some, up);
    const __m512 silu = _mm512_mul_ps(g, vmath_avx512_sigmoid(g));
    _mm512_mask_storeu_ps(out, some, _mm512_mul_ps(silu, u));
}

ISA_TARGET_AVX512 static void swiglu_lanes(const struct swiglu_job *job, size_t n)
{
    const float *gate = job->gate + n * job->stride, *up = job->up + n * job->stride;
    float *out = job->out + n * job->F;
    size_t f = 0;
    for (; f + SWIGLU_LANES <= job->F; f += SWIGLU_LANES)
        swiglu_sixteen(out + f, gate + f, up + f, 0xffff);
    if (f < job->F)
        swiglu_sixteen(out + f, gate + f, up + f, (__mmask16)((1u << (job->F - f)) - 1u));
}
#endif

static void swiglu_one(const struct swiglu_job *job, size_t n)
{
#if defined(__x86_64__)
    if (isa_used() == ISA_AVX512) {
        swiglu_lanes(job, n);
        return;
    }
#endif
    swiglu_row(job, n);
}

static void swiglu_forward_task(void *arg, size_t i)
{
    const struct swiglu_job *job = arg;
    for (size_t n = i * SWIGLU_ROWS; n < job->N && n < (i + 1) * SWIGLU_ROWS; n++)
        swiglu_one(job, n);
}

void swiglu_forward(struct pool *pool, float *out, const float *gate, const float *up,
                    size_t stride, size_t N, size_t F)
{
    assert(stride >= F);
    struct swiglu_job job = {
        .out = out, .gate = gate, .up = up, .stride = stride, .N = N, .F = F};
    pool_run(pool, (N + SWIGLU_ROWS - 1) / SWIGLU_ROWS, swiglu_forward_task, &job);
}

/* silu'(z) = s + z s (1 - s) with s = 1 / (1 + e^-z). */
static inline ISA_BODY void swiglu_slope_block(float *restrict g, float *restrict u,
                                               float *restrict out, const float *dout,
                                               const float *gate, const float *up, size_t n)
{
    float s[SWIGLU_BLOCK];
    vmath_rows_sigmoid(s, gate, n);
    for (size_t f = 0; f < n; f++) {
        const float silu = gate[f] * s[f];
        g[f] = dout[f] * up[f] * fmaf(silu, 1.0f - s[f], s[f]);
        u[f] = dout[f] * silu;
        out[f] = silu * up[f];
    }
}

/* In blocks, read before written: dgate and dup may be gate and up.  out is written beside where
 * it is not wanted: the loop is the same. */
static inline ISA_BODY void swiglu_slope_body(const struct swiglu_job *job, size_t n)
{
    float g[SWIGLU_BLOCK], u[SWIGLU_BLOCK], beside[SWIGLU_BLOCK];
    float *out = job->out ? job->out + n * job->F : beside;
    const size_t step = job->out ? SWIGLU_BLOCK : 0;
    const float *gate = job->gate + n * job->stride, *up = job->up + n * job->stride;
    const float *dout = job->dout + n * job->F;
    float *dgate = job->dgate + n * job->stride, *dup = job->dup + n * job->stride;
    size_t f = 0;
    for (; f + SWIGLU_BLOCK <= job->F; f += SWIGLU_BLOCK, out += step) {
        swiglu_slope_block(g, u, out, dout + f, gate + f, up + f, SWIGLU_BLOCK);
        memcpy(dgate + f, g, sizeof g);
        memcpy(dup + f, u, sizeof u);
    }
    swiglu_slope_block(g, u, out, dout + f, gate + f, up + f, job->F - f);
    memcpy(dgate + f, g, (job->F - f) * sizeof(float));
    memcpy(dup + f, u, (job->F - f) * sizeof(float));
}
ISA_FUNCTION(swiglu_slope, (const struct swiglu_job *job, size_t n), (job, n))

#if defined(__x86_64__)
ISA_TARGET_AVX512 static inline ISA_BODY void
swiglu_slope_sixteen(const struct swiglu_job *job, size_t n, size_t f, __mmask16 some)
{
    const size_t at = n * job->stride + f;
    const __m512 gate = _mm512_maskz_loadu_ps(some, job->gate + at);
    const __m512 up = _mm512_maskz_loadu_ps(some, job->up + at);
    const __m512 dout = _mm512_maskz_loadu_ps(some, job->dout + n * job->F + f);
    const __m512 s = vmath_avx512_sigmoid(gate), silu = _mm512_mul_ps(gate, s);
    const __m512 rest = _mm512_sub_ps(_mm512_set1_ps(1.0f), s);
    const __m512 slope = _mm512_fmadd_ps(silu, rest, s);
    _mm512_mask_storeu_ps(job->dgate + at, some, _mm512_mul_ps(_mm512_mul_ps(dout, up), slope));
    _mm512_mask_storeu_ps(job->dup + at, some, _mm512_mul_ps(dout, silu));
    if (job->out)
        _mm512_mask_storeu_ps(job->out + n * job->F + f, some, _mm512_mul_ps(silu, up));
}

ISA_TARGET_AVX512 static void swiglu_slope_lanes(const struct swiglu_job *job, size_t n)
{
    size_t f = 0;
    for (; f + SWIGLU_LANES <= job->F; f += SWIGLU_LANES)
        swiglu_slope_sixteen(job, n, f, 0xffff);
    if (f < job->F)
        swiglu_slope_sixteen(job, n, f, (__mmask16)((1u << (job->F - f)) - 1u));
}
#endif

static void swiglu_slope_one(const struct swiglu_job *job, size_t n)
{
#if defined(__x86_64__)
    if (isa_used() == ISA_AVX512) {
        swiglu_slope_lanes(job, n);
        return;
    }
#endif
    swiglu_slope(job, n);
}

static void swiglu_backward_task(void *arg, size_t i)
{
    const struct swiglu_job *job = arg;
    for (size_t n = i * SWIGLU_ROWS; n < job->N && n < (i + 1) * SWIGLU_ROWS; n++)
        swiglu_slope_one(job, n);
}

void swiglu_backward(struct pool *pool, float *dgate, float *dup, float *out, const float *dout,
                     const float *gate, const float *up, size_t stride, size_t N, size_t F)
{
    assert(stride >= F);
    struct swiglu_job job = {.out = out,
                             .dgate = dgate,
                             .dup = dup,
                             .dout = dout,
                             .gate = gate,
                             .up = up,
                             .stride = stride,
                             .N = N,
                             .F = F};
    pool_run(pool, (N + SWIGLU_ROWS - 1) / SWIGLU_ROWS, swiglu_backward_task, &job);
}

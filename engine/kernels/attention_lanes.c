/* attention_lanes.c -- see attention_lanes.h. */
#include "engine/kernels/attention_lanes.h"

#include <math.h>
#include <string.h>

#include "engine/kernels/isa.h"
#include "engine/kernels/panel.h"
#include "engine/kernels/vmath_avx512.h"

enum {
    ATTENTION_LANES_MIN = 5, /* queries that repay sixteen */
    ATTENTION_CHANNELS = 8,  /* D is a multiple: half a panel of values */
    ATTENTION_MAXIMA = 4,    /* of scores, side by side */
};

bool attention_lanes_take(const struct attention_queries *a)
{
#if defined(__x86_64__)
    return a->step == 1 && a->rows >= ATTENTION_LANES_MIN && a->D % ATTENTION_CHANNELS == 0 &&
           isa_used() == ISA_AVX512;
#else
    (void)a;
    return false;
#endif
}

#if defined(__x86_64__)

/* Sixteen of the queries, and where what is theirs lies in the arrays of a work. */
struct attention_lanes {
    const float *q;     /* (D) lines of lanes */
    float *p;           /* (ATTENTION_KEYS): scores, then weights */
    float *sum;         /* (D) */
    float *max, *total; /* one line */
    const struct attention_panels *panels;
    size_t keys;     /* of the block that some lane sees */
    ptrdiff_t whole; /* of these that all lanes see; -1: of the first two lanes none sees any */
    size_t D;
    float scale;
};

/* The lanes that see key j: each sees one more than the lane before it. */
static inline __mmask16 attention_lanes_seen(const struct attention_lanes *lanes, size_t j)
{
    const ptrdiff_t blind = (ptrdiff_t)j + 1 - lanes->whole; /* lanes; at most 30 */
    return (__mmask16)(0xffffu << (blind < 0 ? 0 : blind));
}

/* Scores of a panel of keys, j being the first of them; what a lane does not see is -infinity.
 * most[i % 4] becomes the greatest of itself and of key i: one maximum would wait for itself. */
ISA_TARGET_AVX512 static inline ISA_BODY void
attention_lanes_scores(const struct attention_lanes *lanes, size_t j,
                       __m512 most[ATTENTION_MAXIMA])
{
    const float *q = lanes->q;
    const float *k = lanes->panels->k + j / GEMM_PANEL * lanes->panels->k_step;
    float *p = lanes->p + j * ATTENTION_LANES;
    __m512 s[GEMM_PANEL];
    ISA_UNROLL
    for (size_t i = 0; i < GEMM_PANEL; i++)
        s[i] = _mm512_setzero_ps();
    for (size_t d = 0; d < lanes->D; d++, q += ATTENTION_LANES, k += GEMM_PANEL) {
        const __m512 one = _mm512_loadu_ps(q);
        for (size_t i = 0; i < GEMM_PANEL; i++)
            s[i] = _mm512_fmadd_ps(_mm512_set1_ps(k[i]), one, s[i]);
    }
    if ((ptrdiff_t)(j + GEMM_PANEL) > lanes->whole)
        ISA_UNROLL
    for (size_t i = 0; i < GEMM_PANEL; i++)
        s[i] = _mm512_mask_mov_ps(_mm512_set1_ps(-INFINITY), attention_lanes_seen(lanes, j + i),
                                  s[i]);
    ISA_UNROLL
    for (size_t i = 0; i < GEMM_PANEL; i++) {
        _mm512_storeu_ps(p + i * ATTENTION_LANES, s[i]);
        most[i % ATTENTION_MAXIMA] = /* NaN is never greater */
            _mm512_max_ps(s[i], most[i % ATTENTION_MAXIMA]);
    }
}

/* The weights of keys l, l + 16, ... of `panels` panels; their sum. */
ISA_TARGET_AVX512 static inline ISA_BODY __m512 attention_lanes_line(float *p, size_t panels,
                                                                     __m512 scale, __m512 max)
{
    const size_t step = GEMM_PANEL * ATTENTION_LANES;
    __m512 sum = _mm512_setzero_ps();
    for (size_t i = 0; i < panels; i++) {
        const __m512 s = _mm512_loadu_ps(p + i * step);
        const __m512 e = vmath_avx512_exp_negative(_mm512_fmsub_ps(s, scale, max));
        _mm512_storeu_ps(p + i * step, e);
        sum = _mm512_add_ps(sum, e);
    }
    return sum;
}

/* Scores to weights; their sum, in the order of lanes.h. */
ISA_TARGET_AVX512 static inline ISA_BODY __m512
attention_lanes_weigh(const struct attention_lanes *lanes, size_t panels, __m512 max)
{
    const __m512 scale = _mm512_set1_ps(lanes->scale);
    __m512 sum[GEMM_PANEL];
    for (size_t l = 0; l < GEMM_PANEL; l++)
        sum[l] = attention_lanes_line(lanes->p + l * ATTENTION_LANES, panels, scale, max);
    for (size_t l = 0; l < 8; l++)
        sum[l] = _mm512_add_ps(sum[l], sum[l + 8]);
    for (size_t l = 0; l < 4; l++)
        sum[l] = _mm512_add_ps(sum[l], sum[l + 4]);
    return _mm512_add_ps(_mm512_add_ps(sum[0], sum[2]), _mm512_add_ps(sum[1], sum[3]));
}

/* sum = keep sum + the weights times some channels of the values. */
ISA_TARGET_AVX512 static inline ISA_BODY void
attention_lanes_values(const struct attention_lanes *lanes, size_t channel, size_t channels,
                       __m512 keep)
{
    const struct attention_panels *panels = lanes->panels;
    const float *v = panels->v + channel / GEMM_PANEL * panels->v_step;
    const float *p = lanes->p;
    __m512 part[GEMM_PANEL];
    ISA_UNROLL
    for (size_t i = 0; i < channels; i++)
        part[i] = _mm512_setzero_ps();
    for (size_t t = 0; t < lanes->keys; t += panels->v_lines, v += panels->v_jump) {
        const size_t lines = attention_min(lanes->keys - t, panels->v_lines);
        const float *line = v;
        for (size_t j = 0; j < lines; j++, p += ATTENTION_LANES, line += GEMM_PANEL) {
            const __m512 weight = _mm512_loadu_ps(p);
            ISA_UNROLL
            for (size_t i = 0; i < channels; i++)
                part[i] = _mm512_fmadd_ps(_mm512_set1_ps(line[i]), weight, part[i]);
        }
    }
    float *sum = lanes->sum + channel * ATTENTION_LANES;
    ISA_UNROLL
    for (size_t i = 0; i < channels; i++) {
        float *at = sum + i * ATTENTION_LANES;
        _mm512_storeu_ps(at, _mm512_fmadd_ps(_mm512_loadu_ps(at), keep, part[i]));
    }
}

ISA_TARGET_AVX512 static void attention_lanes_run(const struct attention_lanes *lanes)
{
    const size_t panels = (lanes->keys + GEMM_PANEL - 1) / GEMM_PANEL;
    const __m512 least = _mm512_set1_ps(-INFINITY);
    __m512 most[ATTENTION_MAXIMA] = {least, least, least, least};
    for (size_t i = 0; i < panels; i++)
        attention_lanes_scores(lanes, i * GEMM_PANEL, most);
    most[0] = _mm512_max_ps(_mm512_max_ps(most[0], most[1]), _mm512_max_ps(most[2], most[3]));

    const __m512 before = _mm512_loadu_ps(lanes->max);
    const __m512 max =
        _mm512_max_ps(_mm512_mul_ps(most[0], _mm512_set1_ps(lanes->scale)), before);
    const __m512 keep = vmath_avx512_exp_negative(_mm512_sub_ps(before, max));
    __m512 sum;
    switch (panels) {
    case 1: sum = attention_lanes_weigh(lanes, 1, max); break;
    case 2: sum = attention_lanes_weigh(lanes, 2, max); break;
    case 3: sum = attention_lanes_weigh(lanes, 3, max); break;
    default: sum = attention_lanes_weigh(lanes, 4, max); break;
    }
    _mm512_storeu_ps(lanes->max, max);
    _mm512_storeu_ps(lanes->total, _mm512_fmadd_ps(_mm512_loadu_ps(lanes->total), keep, sum));

    size_t channel = 0;
    for (; channel + GEMM_PANEL <= lanes->D; channel += GEMM_PANEL)
        attention_lanes_values(lanes, channel, GEMM_PANEL, keep);
    if (channel < lanes->D)
        attention_lanes_values(lanes, channel, ATTENTION_CHANNELS, keep);
}

/* out (rows, D) = sum / total; see attention_finish. */
ISA_TARGET_AVX512 static void attention_lanes_finish(float *out, size_t out_stride,
                                                     const float *sum, const float *total,
                                                     size_t rows, size_t D)
{
    _Alignas(64) uint32_t turned[GEMM_PANEL * ATTENTION_LANES],
        lines[GEMM_PANEL * ATTENTION_LANES];
    const __m512 by = _mm512_div_ps(_mm512_set1_ps(1.0f), _mm512_loadu_ps(total));
    for (size_t d = 0; d < D; d += GEMM_PANEL, out += GEMM_PANEL) {
        const size_t channels = attention_min(D - d, GEMM_PANEL);
        for (size_t i = 0; i < GEMM_PANEL; i++, sum += ATTENTION_LANES) {
            const __m512 one = i < channels ? _mm512_loadu_ps(sum) : _mm512_setzero_ps();
            _mm512_store_ps(turned + i * ATTENTION_LANES,
                            _mm512_add_ps(_mm512_mul_ps(one, by), _mm512_setzero_ps()));
        }
        panel_turn(lines, turned, false);
        const __mmask16 some = (__mmask16)(0xffffu >> (GEMM_PANEL - channels));
        for (size_t r = 0; r < rows; r++)
            _mm512_mask_storeu_ps(out + r * out_stride, some,
                                  _mm512_load_ps(lines + r * GEMM_PANEL));
    }
}
#endif

void attention_lanes_start(struct attention_work *work, const struct attention_queries *a)
{
    const size_t D = a->D;
    for (size_t r = 0; r < a->rows; r += ATTENTION_LANES) {
        panel_columns(work->part + r * D, a->q + r * a->q_stride, a->q_stride,
                      attention_min(a->rows - r, ATTENTION_LANES), D);
        for (size_t i = 0; i < ATTENTION_LANES; i++) {
            work->soft.max[r + i] = -INFINITY;
            work->soft.sum[r + i] = 0.0f;
        }
        memset(work->sum + r * D, 0, ATTENTION_LANES * D * sizeof(float));
    }
}

void attention_lanes_block(struct attention_work *work, const struct attention_queries *a,
                           size_t j, const struct attention_panels *panels)
{
#if defined(__x86_64__)
    for (size_t r = 0; r < a->rows; r += ATTENTION_LANES) {
        const size_t rows = attention_min(a->rows - r, ATTENTION_LANES);
        const size_t first = a->keys + r * a->step, last = first + (rows - 1) * a->step;
        if (last <= j)
            continue;
        const struct attention_lanes lanes = {.q = work->part + r * a->D,
                                              .p = work->p,
                                              .sum = work->sum + r * a->D,
                                              .max = work->soft.max + r,
                                              .total = work->soft.sum + r,
                                              .panels = panels,
                                              .keys = attention_min(last - j, ATTENTION_KEYS),
                                              .whole = (ptrdiff_t)first - (ptrdiff_t)j,
                                              .D = a->D,
                                              .scale = a->scale};
        attention_lanes_run(&lanes);
    }
#else
    (void)work, (void)a, (void)j, (void)panels;
#endif
}

void attention_lanes_end(const struct attention_work *work, const struct attention_queries *a)
{
#if defined(__x86_64__)
    for (size_t r = 0; r < a->rows; r += ATTENTION_LANES)
        attention_lanes_finish(a->out + r * a->out_stride, a->out_stride, work->sum + r * a->D,
                               work->soft.sum + r, attention_min(a->rows - r, ATTENTION_LANES),
                               a->D);
#else
    (void)work, (void)a;
#endif
}

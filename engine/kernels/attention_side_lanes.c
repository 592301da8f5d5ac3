/* attention_side_lanes.c -- a block of attention_side.h by AVX-512: a line is a register. */
#include <math.h>

#include "engine/kernels/attention_side.h"
#include "engine/kernels/isa.h"
#include "engine/kernels/vmath_avx512.h"

#if defined(__x86_64__)

enum { ATTENTION_SIDE_SUMS = 16 }; /* lines that are under way together */

/* What is common to W heads, for all lanes. */
ISA_TARGET_AVX512 static inline ISA_BODY __m512 attention_side_spread(const float *x, size_t W)
{
    return W == 8 ? _mm512_broadcast_f32x8(_mm256_loadu_ps(x))
                  : _mm512_broadcast_f32x4(_mm_loadu_ps(x));
}

/* The lanes of the same head that are half a register away, and a quarter (where W is 4). */
ISA_TARGET_AVX512 static inline ISA_BODY __m512 attention_side_half(__m512 x)
{
    return _mm512_shuffle_f32x4(x, x, 0x4e);
}

ISA_TARGET_AVX512 static inline ISA_BODY __m512 attention_side_quarter(__m512 x)
{
    return _mm512_shuffle_f32x4(x, x, 0xb1);
}

/* -infinity where a line's key is not among the first `seen` of its piece. */
ISA_TARGET_AVX512 static inline ISA_BODY void attention_side_hide(__m512 s[ATTENTION_SIDE_MAX],
                                                                  size_t W, size_t seen)
{
    const size_t lanes = seen * W;
    for (size_t l = 0; l < W; l++) {
        const size_t left = lanes > l * LANES ? lanes - l * LANES : 0;
        const __mmask16 some = (__mmask16)(left < LANES ? (1u << left) - 1u : 0xffffu);
        s[l] = _mm512_mask_mov_ps(_mm512_set1_ps(-INFINITY), some, s[l]);
    }
}

/* Scores of a piece; the greatest of them and of `most`. */
ISA_TARGET_AVX512 static inline ISA_BODY void
attention_side_scores(const struct attention_side *side, size_t piece, size_t W, size_t Q,
                      __m512 *most)
{
    const float *k = side->k[piece], *next = side->k_next[piece], *q = side->q;
    const size_t D = side->D, first = piece * ATTENTION_PIECE;
    float *p = side->p + first * W;
    __m512 s[ATTENTION_SIDE_SUMS / 4][ATTENTION_SIDE_MAX];
    for (size_t x = 0; x < Q; x++)
        for (size_t l = 0; l < W; l++)
            s[x][l] = _mm512_setzero_ps();
    for (size_t d = 0; d < D; d++, q += W) {
        __m512 one[ATTENTION_SIDE_SUMS / 4];
        for (size_t x = 0; x < Q; x++)
            one[x] = attention_side_spread(q + x * D * W, W);
        for (size_t l = 0; l < W; l++, k += LANES, next += LANES) {
            const __m512 line = _mm512_loadu_ps(k);
            __builtin_prefetch(next, 0, 2);
            for (size_t x = 0; x < Q; x++)
                s[x][l] = _mm512_fmadd_ps(line, one[x], s[x][l]);
        }
    }
    for (size_t x = 0; x < Q; x++, p += ATTENTION_KEYS * W) {
        const size_t seen = side->seen[x] > first ? side->seen[x] - first : 0;
        if (seen < ATTENTION_PIECE)
            attention_side_hide(s[x], W, seen);
        for (size_t l = 0; l < W; l++) {
            _mm512_storeu_ps(p + l * LANES, s[x][l]);
            most[x] = _mm512_max_ps(s[x][l], most[x]); /* NaN is never greater */
        }
    }
}

/* Scores of a query to weights; their sum, in the order of lanes.h. */
ISA_TARGET_AVX512 static inline ISA_BODY __m512
attention_side_weigh(const struct attention_side *side, float *p, size_t W, __m512 max)
{
    const __m512 scale = _mm512_set1_ps(side->scale);
    __m512 sum[ATTENTION_SIDE_MAX];
    for (size_t l = 0; l < W; l++)
        sum[l] = _mm512_setzero_ps();
    for (size_t j = 0; j < side->keys; j += ATTENTION_PIECE)
        for (size_t l = 0; l < W; l++, p += LANES) {
            const __m512 s = _mm512_loadu_ps(p);
            const __m512 e = vmath_avx512_exp_negative(_mm512_fmsub_ps(s, scale, max));
            _mm512_storeu_ps(p, e);
            sum[l] = _mm512_add_ps(sum[l], e);
        }
    for (size_t half = W / 2; half > 0; half /= 2)
        for (size_t l = 0; l < half; l++)
            sum[l] = _mm512_add_ps(sum[l], sum[l + half]);
    const __m512 all = _mm512_add_ps(sum[0], attention_side_half(sum[0]));
    return W == 4 ? _mm512_add_ps(all, attention_side_quarter(all)) : all;
}

/* Scores of query x to weights; what the sums so far are to be multiplied by. */
ISA_TARGET_AVX512 static inline ISA_BODY __m512
attention_side_soften(const struct attention_side *side, size_t x, size_t W, __m512 most)
{
    float *max = side->max + x * LANES, *total = side->total + x * LANES;
    most = _mm512_max_ps(attention_side_half(most), most);
    if (W == 4)
        most = _mm512_max_ps(attention_side_quarter(most), most);
    const __m512 before = _mm512_loadu_ps(max);
    const __m512 now = _mm512_max_ps(_mm512_mul_ps(most, _mm512_set1_ps(side->scale)), before);
    const __m512 keep = vmath_avx512_exp_negative(_mm512_sub_ps(before, now));
    const __m512 sum = attention_side_weigh(side, side->p + x * ATTENTION_KEYS * W, W, now);
    _mm512_storeu_ps(max, now);
    _mm512_storeu_ps(total, _mm512_fmadd_ps(_mm512_loadu_ps(total), keep, sum));
    return keep;
}

/* sum = keep sum + weights times values: `lines` lines of each key, from line `at` on. */
ISA_TARGET_AVX512 static inline ISA_BODY void
attention_side_values(const struct attention_side *side, size_t at, size_t lines, size_t W,
                      size_t Q, const __m512 *keep)
{
    const size_t step = side->D * W;
    const float *p = side->p;
    __m512 part[ATTENTION_SIDE_SUMS / 4][ATTENTION_SIDE_SUMS];
    for (size_t x = 0; x < Q; x++)
        for (size_t l = 0; l < lines; l++)
            part[x][l] = _mm512_setzero_ps();
    for (size_t j = 0; j < side->keys; j++, p += W) {
        const size_t line_at = j % ATTENTION_PIECE * step + at * LANES;
        const float *v = side->v[j / ATTENTION_PIECE] + line_at;
        const float *next = side->v_next[j / ATTENTION_PIECE] + line_at;
        __m512 weight[ATTENTION_SIDE_SUMS / 4];
        for (size_t x = 0; x < Q; x++)
            weight[x] = attention_side_spread(p + x * ATTENTION_KEYS * W, W);
        for (size_t l = 0; l < lines; l++) {
            const __m512 line = _mm512_loadu_ps(v + l * LANES);
            __builtin_prefetch(next + l * LANES, 0, 2);
            for (size_t x = 0; x < Q; x++)
                part[x][l] = _mm512_fmadd_ps(line, weight[x], part[x][l]);
        }
    }
    for (size_t x = 0; x < Q; x++) {
        float *sum = side->sum + x * step + at * LANES;
        for (size_t l = 0; l < lines; l++, sum += LANES)
            _mm512_storeu_ps(sum, _mm512_fmadd_ps(_mm512_loadu_ps(sum), keep[x], part[x][l]));
    }
}

ISA_TARGET_AVX512 static inline ISA_BODY void
attention_side_take(const struct attention_side *side, size_t W, size_t Q)
{
    __m512 most[ATTENTION_SIDE_SUMS / 4], keep[ATTENTION_SIDE_SUMS / 4];
    for (size_t x = 0; x < Q; x++)
        most[x] = _mm512_set1_ps(-INFINITY);
    for (size_t j = 0; j < side->keys; j += ATTENTION_PIECE)
        attention_side_scores(side, j / ATTENTION_PIECE, W, Q, most);
    for (size_t x = 0; x < Q; x++)
        keep[x] = attention_side_soften(side, x, W, most[x]);

    const size_t lines = side->D * W / LANES;
    size_t at = 0;
    for (; Q <= 2 && at + 8 <= lines; at += 8)
        attention_side_values(side, at, 8, W, Q, keep);
    for (; at + 4 <= lines; at += 4)
        attention_side_values(side, at, 4, W, Q, keep);
    for (; at + 2 <= lines; at += 2)
        attention_side_values(side, at, 2, W, Q, keep);
    for (; at < lines; at++)
        attention_side_values(side, at, 1, W, Q, keep);
}

#define ATTENTION_SIDE_TAKE(W, Q)                                                             \
    ISA_TARGET_AVX512 static void attention_side_##W##_##Q(const struct attention_side *side) \
    {                                                                                         \
        attention_side_take(side, W, Q);                                                      \
    }
ATTENTION_SIDE_TAKE(8, 1)
ATTENTION_SIDE_TAKE(8, 2)
ATTENTION_SIDE_TAKE(4, 1)
ATTENTION_SIDE_TAKE(4, 2)
ATTENTION_SIDE_TAKE(4, 4)
#endif

void attention_side_lanes(const struct attention_side *side)
{
#if defined(__x86_64__)
    if (side->W == 8 && side->queries == 1)
        attention_side_8_1(side);
    else if (side->W == 8)
        attention_side_8_2(side);
    else if (side->queries == 1)
        attention_side_4_1(side);
    else if (side->queries == 2)
        attention_side_4_2(side);
    else
        attention_side_4_4(side);
#else
    (void)side;
#endif
}

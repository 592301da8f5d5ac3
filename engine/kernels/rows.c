/* rows.c -- see rows.h.  Intrinsics, because no compiler finds the tree over 16 dot products or
 * keeps the sums of a combination in registers. */
#include "engine/kernels/rows.h"

#include <math.h>
#include <stdint.h>

#include "engine/kernels/isa.h"
#include "engine/kernels/lanes.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

/* ---- any machine ---- */

static void rows_dot_plain(float *s, const float *q, const float *x, size_t x_stride, size_t J,
                           size_t D)
{
    for (size_t j = 0; j < J; j++)
        s[j] = lanes_dot(q, x + j * x_stride, D);
}

static void rows_combine_plain(float *restrict out, const float *w, size_t w_step,
                               const float *restrict x, size_t x_stride, size_t J, size_t D)
{
    for (size_t j = 0; j < J; j++)
        for (size_t d = 0; d < D; d++)
            out[d] = fmaf(w[j * w_step], x[j * x_stride + d], out[d]);
}

#if defined(__x86_64__)

static size_t rows_min(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* ---- AVX-512 ---- */

/* The lanes of q . x, not yet added. */
ISA_TARGET_AVX512 static inline ISA_BODY __m512 rows_lanes_avx512(const float *q,
                                                                  const float *x, size_t D)
{
    __m512 lane = _mm512_setzero_ps();
    size_t d = 0;
    for (; d + 16 <= D; d += 16)
        lane = _mm512_fmadd_ps(_mm512_loadu_ps(q + d), _mm512_loadu_ps(x + d), lane);
    if (d < D) { /* lanes beyond D are left alone, as in lanes_dot */
        const __mmask16 rest = (__mmask16)((1u << (D - d)) - 1u);
        lane = _mm512_mask3_fmadd_ps(_mm512_maskz_loadu_ps(rest, q + d),
                                     _mm512_maskz_loadu_ps(rest, x + d), lane, rest);
    }
    return lane;
}

/* The first two levels of the tree, lanes 8 and then 4 apart, for rows j, j+4, j+8, j+12: a
 * quarter of the result each.  Rows from J on are not there; row J-1 stands in. */
ISA_TARGET_AVX512 static inline ISA_BODY __m512 rows_quarters_avx512(const float *q,
                                                                     const float *x,
                                                                     size_t stride, size_t j,
                                                                     size_t J, size_t D)
{
    const __m512 a = rows_lanes_avx512(q, x + rows_min(j, J - 1) * stride, D);
    const __m512 b = rows_lanes_avx512(q, x + rows_min(j + 4, J - 1) * stride, D);
    const __m512 c = rows_lanes_avx512(q, x + rows_min(j + 8, J - 1) * stride, D);
    const __m512 d = rows_lanes_avx512(q, x + rows_min(j + 12, J - 1) * stride, D);
    const __m512 ab =
        _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
    const __m512 cd =
        _mm512_add_ps(_mm512_shuffle_f32x4(c, d, 0x44), _mm512_shuffle_f32x4(c, d, 0xee));
    return _mm512_add_ps(_mm512_shuffle_f32x4(ab, cd, 0x88),
                         _mm512_shuffle_f32x4(ab, cd, 0xdd));
}

ISA_TARGET_AVX512 static inline ISA_BODY void rows_dot_avx512_body(float *s, const float *q,
                                                                   const float *x,
                                                                   size_t stride, size_t J,
                                                                   size_t D)
{
    for (size_t j = 0; j < J; j += 16) {
        const __m512 a = rows_quarters_avx512(q, x, stride, j, J, D);
        const __m512 b = rows_quarters_avx512(q, x, stride, j + 1, J, D);
        const __m512 c = rows_quarters_avx512(q, x, stride, j + 2, J, D);
        const __m512 d = rows_quarters_avx512(q, x, stride, j + 3, J, D);
        /* lanes 2 apart, then 1 */
        const __m512 ab =
            _mm512_add_ps(_mm512_shuffle_ps(a, b, 0x44), _mm512_shuffle_ps(a, b, 0xee));
        const __m512 cd =
            _mm512_add_ps(_mm512_shuffle_ps(c, d, 0x44), _mm512_shuffle_ps(c, d, 0xee));
        const __m512 all =
            _mm512_add_ps(_mm512_shuffle_ps(ab, cd, 0x88), _mm512_shuffle_ps(ab, cd, 0xdd));
        const size_t n = rows_min(J - j, 16);
        _mm512_mask_storeu_ps(s + j, (__mmask16)(0xffffu >> (16 - n)), all);
    }
}

ISA_TARGET_AVX512 static void rows_dot_avx512(float *s, const float *q, const float *x,
                                              size_t stride, size_t J, size_t D)
{
    if (D == 64) /* the loop over D unrolls */
        rows_dot_avx512_body(s, q, x, stride, J, 64);
    else if (D == 128)
        rows_dot_avx512_body(s, q, x, stride, J, 128);
    else
        rows_dot_avx512_body(s, q, x, stride, J, D);
}

/* I rows of `out` (1, 2 or 4), 16 `wide` of their columns (1 to 4). */
ISA_TARGET_AVX512 static inline ISA_BODY void
rows_combine_tile_avx512(float *out, size_t out_stride, size_t I, const float *w, size_t w_row,
                         size_t w_step, const float *x, size_t x_stride, size_t J, size_t wide,
                         __mmask16 mask)
{
    __m512 sum[4][4];
    for (size_t i = 0; i < I; i++)
        for (size_t c = 0; c < wide; c++)
            sum[i][c] = _mm512_maskz_loadu_ps(mask, out + i * out_stride + c * 16);
    for (size_t j = 0; j < J; j++) {
        __m512 row[4];
        for (size_t c = 0; c < wide; c++)
            row[c] = _mm512_maskz_loadu_ps(mask, x + j * x_stride + c * 16);
        for (size_t i = 0; i < I; i++) {
            const __m512 weight = _mm512_set1_ps(w[i * w_row + j * w_step]);
            for (size_t c = 0; c < wide; c++)
                sum[i][c] = _mm512_fmadd_ps(weight, row[c], sum[i][c]);
        }
    }
    for (size_t i = 0; i < I; i++)
        for (size_t c = 0; c < wide; c++)
            _mm512_mask_storeu_ps(out + i * out_stride + c * 16, mask, sum[i][c]);
}

ISA_TARGET_AVX512 static inline ISA_BODY void
rows_combine_avx512_body(float *out, size_t out_stride, size_t I, const float *w, size_t w_row,
                         size_t w_step, const float *x, size_t x_stride, size_t J, size_t D)
{
    size_t d = 0;
    for (; d + 64 <= D; d += 64)
        rows_combine_tile_avx512(out + d, out_stride, I, w, w_row, w_step, x + d, x_stride, J,
                                 4, 0xffff);
    for (; d + 16 <= D; d += 16)
        rows_combine_tile_avx512(out + d, out_stride, I, w, w_row, w_step, x + d, x_stride, J,
                                 1, 0xffff);
    if (d < D)
        rows_combine_tile_avx512(out + d, out_stride, I, w, w_row, w_step, x + d, x_stride, J,
                                 1, (__mmask16)((1u << (D - d)) - 1u));
}

ISA_TARGET_AVX512 static void rows_combine_avx512(float *out, size_t out_stride, size_t I,
                                                  const float *w, size_t w_row, size_t w_step,
                                                  const float *x, size_t x_stride, size_t J,
                                                  size_t D)
{
    size_t i = 0;
    for (; i + 4 <= I; i += 4)
        rows_combine_avx512_body(out + i * out_stride, out_stride, 4, w + i * w_row, w_row,
                                 w_step, x, x_stride, J, D);
    for (; i < I; i++)
        rows_combine_avx512_body(out + i * out_stride, out_stride, 1, w + i * w_row, w_row,
                                 w_step, x, x_stride, J, D);
}

/* ---- AVX2 ---- */

/* Eight bits of ones for the first n of 8 lanes. */
ISA_TARGET_AVX2 static inline ISA_BODY __m256i rows_mask_avx2(size_t n)
{
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int32_t)n), lane);
}

/* The lanes of q . x after the first level of the tree: lane l plus lane l+8. */
ISA_TARGET_AVX2 static inline ISA_BODY __m256 rows_lanes_avx2(const float *q, const float *x,
                                                              size_t D)
{
    __m256 lane[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    size_t d = 0;
    for (; d + 16 <= D; d += 16)
        for (size_t h = 0; h < 2; h++)
            lane[h] = _mm256_fmadd_ps(_mm256_loadu_ps(q + d + h * 8),
                                      _mm256_loadu_ps(x + d + h * 8), lane[h]);
    for (size_t h = 0; d < D; d += 8, h++) {
        const __m256i rest = rows_mask_avx2(rows_min(D - d, 8));
        const __m256 sum = _mm256_fmadd_ps(_mm256_maskload_ps(q + d, rest),
                                           _mm256_maskload_ps(x + d, rest), lane[h]);
        lane[h] = _mm256_blendv_ps(lane[h], sum, _mm256_castsi256_ps(rest));
        if (D - d <= 8)
            break;
    }
    return _mm256_add_ps(lane[0], lane[1]);
}

/* The second level, lanes 4 apart, for rows j and j+4: a half of the result each. */
ISA_TARGET_AVX2 static inline ISA_BODY __m256 rows_halves_avx2(const float *q, const float *x,
                                                               size_t stride, size_t j,
                                                               size_t J, size_t D)
{
    const __m256 a = rows_lanes_avx2(q, x + rows_min(j, J - 1) * stride, D);
    const __m256 b = rows_lanes_avx2(q, x + rows_min(j + 4, J - 1) * stride, D);
    return _mm256_add_ps(_mm256_permute2f128_ps(a, b, 0x20),
                         _mm256_permute2f128_ps(a, b, 0x31));
}

ISA_TARGET_AVX2 static inline ISA_BODY void
rows_dot_avx2_body(float *s, const float *q, const float *x, size_t stride, size_t J, size_t D)
{
    for (size_t j = 0; j < J; j += 8) {
        const __m256 a = rows_halves_avx2(q, x, stride, j, J, D);
        const __m256 b = rows_halves_avx2(q, x, stride, j + 1, J, D);
        const __m256 c = rows_halves_avx2(q, x, stride, j + 2, J, D);
        const __m256 d = rows_halves_avx2(q, x, stride, j + 3, J, D);
        const __m256 ab =
            _mm256_add_ps(_mm256_shuffle_ps(a, b, 0x44), _mm256_shuffle_ps(a, b, 0xee));
        const __m256 cd =
            _mm256_add_ps(_mm256_shuffle_ps(c, d, 0x44), _mm256_shuffle_ps(c, d, 0xee));
        const __m256 all =
            _mm256_add_ps(_mm256_shuffle_ps(ab, cd, 0x88), _mm256_shuffle_ps(ab, cd, 0xdd));
        _mm256_maskstore_ps(s + j, rows_mask_avx2(rows_min(J - j, 8)), all);
    }
}

ISA_TARGET_AVX2 static void rows_dot_avx2(float *s, const float *q, const float *x,
                                          size_t stride, size_t J, size_t D)
{
    if (D == 64)
        rows_dot_avx2_body(s, q, x, stride, J, 64);
    else if (D == 128)
        rows_dot_avx2_body(s, q, x, stride, J, 128);
    else
        rows_dot_avx2_body(s, q, x, stride, J, D);
}

/* I rows (1 or 2), 8 `wide` of their columns (1 or 4). */
ISA_TARGET_AVX2 static inline ISA_BODY void
rows_combine_tile_avx2(float *out, size_t out_stride, size_t I, const float *w, size_t w_row,
                       size_t w_step, const float *x, size_t x_stride, size_t J, size_t wide,
                       __m256i mask)
{
    __m256 sum[2][4];
    for (size_t i = 0; i < I; i++)
        for (size_t c = 0; c < wide; c++)
            sum[i][c] = _mm256_maskload_ps(out + i * out_stride + c * 8, mask);
    for (size_t j = 0; j < J; j++) {
        __m256 row[4];
        for (size_t c = 0; c < wide; c++)
            row[c] = wide > 1 ? _mm256_loadu_ps(x + j * x_stride + c * 8)
                              : _mm256_maskload_ps(x + j * x_stride + c * 8, mask);
        for (size_t i = 0; i < I; i++) {
            const __m256 weight = _mm256_set1_ps(w[i * w_row + j * w_step]);
            for (size_t c = 0; c < wide; c++)
                sum[i][c] = _mm256_fmadd_ps(weight, row[c], sum[i][c]);
        }
    }
    for (size_t i = 0; i < I; i++)
        for (size_t c = 0; c < wide; c++)
            _mm256_maskstore_ps(out + i * out_stride + c * 8, mask, sum[i][c]);
}

ISA_TARGET_AVX2 static inline ISA_BODY void
rows_combine_avx2_body(float *out, size_t out_stride, size_t I, const float *w, size_t w_row,
                       size_t w_step, const float *x, size_t x_stride, size_t J, size_t D)
{
    size_t d = 0;
    for (; d + 32 <= D; d += 32)
        rows_combine_tile_avx2(out + d, out_stride, I, w, w_row, w_step, x + d, x_stride, J, 4,
                               rows_mask_avx2(8));
    for (; d < D; d += 8)
        rows_combine_tile_avx2(out + d, out_stride, I, w, w_row, w_step, x + d, x_stride, J, 1,
                               rows_mask_avx2(rows_min(D - d, 8)));
}

ISA_TARGET_AVX2 static void rows_combine_avx2(float *out, size_t out_stride, size_t I,
                                              const float *w, size_t w_row, size_t w_step,
                                              const float *x, size_t x_stride, size_t J,
                                              size_t D)
{
    size_t i = 0;
    for (; i + 2 <= I; i += 2)
        rows_combine_avx2_body(out + i * out_stride, out_stride, 2, w + i * w_row, w_row,
                               w_step, x, x_stride, J, D);
    if (i < I)
        rows_combine_avx2_body(out + i * out_stride, out_stride, 1, w + i * w_row, w_row,
                               w_step, x, x_stride, J, D);
}
#endif

void rows_dot(float *s, size_t s_stride, const float *q, size_t q_stride, size_t I,
              const float *x, size_t x_stride, size_t J, size_t D)
{
    if (J == 0)
        return;
    const enum isa isa = isa_used();
    for (size_t i = 0; i < I; i++) {
#if defined(__x86_64__)
        if (isa == ISA_AVX512) {
            rows_dot_avx512(s + i * s_stride, q + i * q_stride, x, x_stride, J, D);
            continue;
        }
        if (isa == ISA_AVX2) {
            rows_dot_avx2(s + i * s_stride, q + i * q_stride, x, x_stride, J, D);
            continue;
        }
#endif
        rows_dot_plain(s + i * s_stride, q + i * q_stride, x, x_stride, J, D);
    }
    (void)isa;
}

void rows_combine(float *out, size_t out_stride, size_t I, const float *w, size_t w_row,
                  size_t w_step, const float *x, size_t x_stride, size_t J, size_t D)
{
#if defined(__x86_64__)
    if (isa_used() == ISA_AVX512) {
        rows_combine_avx512(out, out_stride, I, w, w_row, w_step, x, x_stride, J, D);
        return;
    }
    if (isa_used() == ISA_AVX2) {
        rows_combine_avx2(out, out_stride, I, w, w_row, w_step, x, x_stride, J, D);
        return;
    }
#endif
    for (size_t i = 0; i < I; i++)
        rows_combine_plain(out + i * out_stride, w + i * w_row, w_step, x, x_stride, J, D);
}

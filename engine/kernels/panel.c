/* panel.c -- see panel.h. */
#include "engine/kernels/panel.h"

#include <assert.h>
#include <string.h>

#include "engine/kernels/gemm.h"
#include "engine/kernels/isa.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

static void panel_columns_plain(float *panel, const float *x, size_t stride, size_t rows,
                                size_t depth)
{
    for (size_t d = 0; d < depth; d++) {
        for (size_t r = 0; r < rows; r++)
            panel[d * GEMM_PANEL + r] = x[r * stride + d];
        for (size_t r = rows; r < GEMM_PANEL; r++)
            panel[d * GEMM_PANEL + r] = 0.0f;
    }
}

#if defined(__x86_64__)
/* 16 rows of 16, turned: pairs of rows, then of pairs, then of quarters of a register. */
ISA_TARGET_AVX512 static inline ISA_BODY void panel_turn_avx512(__m512 a[GEMM_PANEL])
{
    __m512 b[GEMM_PANEL];
    for (size_t i = 0; i < 16; i += 2) {
        b[i] = _mm512_unpacklo_ps(a[i], a[i + 1]);
        b[i + 1] = _mm512_unpackhi_ps(a[i], a[i + 1]);
    }
    for (size_t i = 0; i < 16; i += 4) { /* column c, c+4, c+8, c+12 of rows i .. i+3 */
        a[i] = _mm512_shuffle_ps(b[i], b[i + 2], 0x44);
        a[i + 1] = _mm512_shuffle_ps(b[i], b[i + 2], 0xee);
        a[i + 2] = _mm512_shuffle_ps(b[i + 1], b[i + 3], 0x44);
        a[i + 3] = _mm512_shuffle_ps(b[i + 1], b[i + 3], 0xee);
    }
    for (size_t c = 0; c < 4; c++) {
        const __m512 even = _mm512_shuffle_f32x4(a[c], a[4 + c], 0x88);
        const __m512 odd = _mm512_shuffle_f32x4(a[c], a[4 + c], 0xdd);
        const __m512 even_8 = _mm512_shuffle_f32x4(a[8 + c], a[12 + c], 0x88);
        const __m512 odd_8 = _mm512_shuffle_f32x4(a[8 + c], a[12 + c], 0xdd);
        b[c] = _mm512_shuffle_f32x4(even, even_8, 0x88);
        b[4 + c] = _mm512_shuffle_f32x4(odd, odd_8, 0x88);
        b[8 + c] = _mm512_shuffle_f32x4(even, even_8, 0xdd);
        b[12 + c] = _mm512_shuffle_f32x4(odd, odd_8, 0xdd);
    }
    for (size_t i = 0; i < 16; i++)
        a[i] = b[i];
}

/* A line of a panel; `past` the caches, which also spares reading what is overwritten. */
ISA_TARGET_AVX512 static inline ISA_BODY void panel_store_avx512(float *line, __m512 a,
                                                                 bool past)
{
    if (past)
        _mm512_stream_ps(line, a);
    else
        _mm512_storeu_ps(line, a);
}

ISA_TARGET_AVX512 static inline ISA_BODY void panel_columns_avx512(float *panel, const float *x,
                                                                   size_t stride, size_t rows,
                                                                   size_t depth, bool past)
{
    for (size_t d = 0; d < depth; d += 16) {
        const size_t lines = depth - d < 16 ? depth - d : 16;
        const __mmask16 some = (__mmask16)(0xffffu >> (16 - lines));
        __m512 a[GEMM_PANEL];
        for (size_t r = 0; r < 16; r++)
            a[r] =
                _mm512_maskz_loadu_ps(r < rows ? some : 0, x + (r < rows ? r : 0) * stride + d);
        panel_turn_avx512(a);
        for (size_t i = 0; i < 16; i++)
            if (i < lines)
                panel_store_avx512(panel + (d + i) * GEMM_PANEL, a[i], past);
    }
}

ISA_TARGET_AVX512 static void panel_turn_words_avx512(uint32_t *to, const uint32_t *from,
                                                      bool past)
{
    __m512 a[GEMM_PANEL]; /* moved, not computed with: any bits */
    for (size_t r = 0; r < 16; r++)
        a[r] = _mm512_loadu_ps(from + r * GEMM_PANEL);
    panel_turn_avx512(a);
    for (size_t c = 0; c < 16; c++)
        panel_store_avx512((float *)(void *)(to + c * GEMM_PANEL), a[c], past);
}
#endif

void panel_turn(uint32_t *to, const uint32_t *from, bool past)
{
    (void)past;
#if defined(__x86_64__)
    if (isa_used() == ISA_AVX512) {
        panel_turn_words_avx512(to, from, past);
        return;
    }
#endif
    for (size_t r = 0; r < GEMM_PANEL; r++)
        for (size_t c = 0; c < GEMM_PANEL; c++)
            to[c * GEMM_PANEL + r] = from[r * GEMM_PANEL + c];
}

#if defined(__x86_64__)
ISA_TARGET_AVX512 static void panel_columns_near(float *panel, const float *x, size_t stride,
                                                 size_t rows, size_t depth)
{
    panel_columns_avx512(panel, x, stride, rows, depth, false);
}

ISA_TARGET_AVX512 static void panel_columns_far(float *panel, const float *x, size_t stride,
                                                size_t rows, size_t depth)
{
    panel_columns_avx512(panel, x, stride, rows, depth, true);
}
#endif

void panel_columns(float *panel, const float *x, size_t stride, size_t rows, size_t depth)
{
    assert(rows > 0 && rows <= GEMM_PANEL);
#if defined(__x86_64__)
    if (isa_used() == ISA_AVX512) {
        panel_columns_near(panel, x, stride, rows, depth);
        return;
    }
#endif
    panel_columns_plain(panel, x, stride, rows, depth);
}

void panel_past_end(void)
{
#if defined(__x86_64__)
    _mm_sfence();
#endif
}

void panel_columns_past(float *panel, const float *x, size_t stride, size_t rows, size_t depth)
{
#if defined(__x86_64__)
    if (isa_used() == ISA_AVX512) {
        assert(rows > 0 && rows <= GEMM_PANEL);
        panel_columns_far(panel, x, stride, rows, depth);
        return;
    }
#endif
    panel_columns(panel, x, stride, rows, depth);
}

static inline ISA_BODY void panel_lay_body(float *restrict panels, size_t step,
                                           const float *restrict x, size_t stride, size_t rows,
                                           size_t depth)
{
    const size_t whole = depth / GEMM_PANEL, rest = depth % GEMM_PANEL;
    for (size_t r = 0; r < rows; r++) {
        const float *from = x + r * stride;
        float *to = panels + r * GEMM_PANEL;
        for (size_t c = 0; c < whole; c++, from += GEMM_PANEL, to += step)
            memcpy(to, from, GEMM_PANEL * sizeof(float));
        if (rest > 0) {
            memset(to, 0, GEMM_PANEL * sizeof(float));
            memcpy(to, from, rest * sizeof(float));
        }
    }
}
ISA_FUNCTION(panel_lay,
             (float *panels, size_t step, const float *x, size_t stride, size_t rows,
              size_t depth),
             (panels, step, x, stride, rows, depth))

void panel_rows(float *panels, size_t step, const float *x, size_t stride, size_t rows,
                size_t depth)
{
    panel_lay(panels, step, x, stride, rows, depth);
}

/* vmath_rows.c -- see vmath_rows.h. */
#include "engine/kernels/vmath_rows.h"

#include "engine/kernels/isa.h"
#include "engine/kernels/vmath.h"
#include "engine/kernels/vmath_avx512.h"

/* vmath_rows_NAME by VMATH_NAME, sixteen at a time or one. */
#if defined(__x86_64__)
#define VMATH_ROWS_AVX512(name)                                                              \
    ISA_TARGET_AVX512 static void vmath_rows_##name##_avx512(float *y, const float *x,       \
                                                             size_t n)                       \
    {                                                                                        \
        size_t i = 0;                                                                        \
        for (; i + 16 <= n; i += 16)                                                         \
            _mm512_storeu_ps(y + i, vmath_avx512_##name(_mm512_loadu_ps(x + i)));            \
        const __mmask16 rest = (__mmask16)((1u << (n - i)) - 1u);                            \
        if (rest)                                                                            \
            _mm512_mask_storeu_ps(y + i, rest,                                               \
                                  vmath_avx512_##name(_mm512_maskz_loadu_ps(rest, x + i)));  \
    }                                                                                        \
    ISA_TARGET_AVX2 static void vmath_rows_##name##_avx2(float *y, const float *x, size_t n) \
    {                                                                                        \
        vmath_rows_##name##_body(y, x, n);                                                   \
    }
#define VMATH_ROWS_PICK(name)                \
    if (isa_used() == ISA_AVX512)            \
        vmath_rows_##name##_avx512(y, x, n); \
    else if (isa_used() == ISA_AVX2)         \
        vmath_rows_##name##_avx2(y, x, n);   \
    else
#else
#define VMATH_ROWS_AVX512(name)
#define VMATH_ROWS_PICK(name)
#endif

#define VMATH_ROWS(name)                                                                     \
    static inline ISA_BODY void vmath_rows_##name##_body(float *y, const float *x, size_t n) \
    {                                                                                        \
        for (size_t i = 0; i < n; i++)                                                       \
            y[i] = vmath_##name(x[i]);                                                       \
    }                                                                                        \
    VMATH_ROWS_AVX512(name)                                                                  \
    void vmath_rows_##name(float *y, const float *x, size_t n)                               \
    {                                                                                        \
        VMATH_ROWS_PICK(name)                                                                \
        vmath_rows_##name##_body(y, x, n);                                                   \
    }

VMATH_ROWS(exp)
VMATH_ROWS(tanh)
VMATH_ROWS(sigmoid)

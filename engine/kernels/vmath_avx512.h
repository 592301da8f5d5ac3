/*
 * vmath_avx512.h -- vmath.h for sixteen numbers at once, to the bit, where the compiler's own
 * vectors of it are half as fast.
 *
 * For functions of the target ISA_TARGET_AVX512, in the engine's mode (flush-to-zero on): VSCALEFPS
 * is both factors of vmath_exp in one, and a mask its range.
 */
#ifndef ENGINE_KERNELS_VMATH_AVX512_H
#define ENGINE_KERNELS_VMATH_AVX512_H

#if defined(__x86_64__)
#include <immintrin.h>

#include "engine/kernels/isa.h"

/* vmath_exp_negative: x <= 1 or NaN. */
ISA_TARGET_AVX512 static inline ISA_BODY __m512 vmath_avx512_exp_negative(__m512 x)
{
    const __m512 turn = _mm512_set1_ps(12582912.0f), one = _mm512_set1_ps(1.0f);
    const __mmask16 normal =
        _mm512_cmp_ps_mask(x, _mm512_set1_ps(-87.3365402f), _CMP_NLT_UQ); /* NaN stays */
    const __m512 turned = _mm512_fmadd_ps(x, _mm512_set1_ps(1.44269504f), turn);
    const __m512 n = _mm512_sub_ps(turned, turn);
    __m512 r = _mm512_fmadd_ps(n, _mm512_set1_ps(-0.693145752f), x);
    r = _mm512_fmadd_ps(n, _mm512_set1_ps(-1.42860677e-6f), r);

    __m512 p = _mm512_set1_ps(1.98756912e-4f); /* vmath_exp_near */
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.39819994e-3f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(8.33345205e-3f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(4.16657962e-2f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.66666657e-1f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(5.0e-1f));
    const __m512 y = _mm512_add_ps(_mm512_fmadd_ps(p, _mm512_mul_ps(r, r), r), one);
    return _mm512_maskz_scalef_ps(normal, y, n);
}

/* vmath_exp. */
ISA_TARGET_AVX512 static inline ISA_BODY __m512 vmath_avx512_exp(__m512 x)
{
    return vmath_avx512_exp_negative(_mm512_min_ps(_mm512_set1_ps(89.0f), x));
}

/* vmath_tanh. */
ISA_TARGET_AVX512 static inline ISA_BODY __m512 vmath_avx512_tanh(__m512 x)
{
    const __m512 z = _mm512_mul_ps(x, x), one = _mm512_set1_ps(1.0f);
    __m512 p = _mm512_set1_ps(-5.70498872745e-3f);
    p = _mm512_fmadd_ps(p, z, _mm512_set1_ps(2.06390887954e-2f));
    p = _mm512_fmadd_ps(p, z, _mm512_set1_ps(-5.37397155531e-2f));
    p = _mm512_fmadd_ps(p, z, _mm512_set1_ps(1.33314422036e-1f));
    p = _mm512_fmadd_ps(p, z, _mm512_set1_ps(-3.33332819422e-1f));
    const __m512 near = _mm512_fmadd_ps(_mm512_mul_ps(p, z), x, x);

    const __m512 sign = _mm512_and_ps(x, _mm512_set1_ps(-0.0f)), a = _mm512_abs_ps(x);
    const __m512 e = vmath_avx512_exp(_mm512_add_ps(a, a));
    const __m512 two = _mm512_set1_ps(2.0f);
    const __m512 far = _mm512_sub_ps(one, _mm512_div_ps(two, _mm512_add_ps(e, one)));
    return _mm512_mask_mov_ps(_mm512_or_ps(far, sign),
                              _mm512_cmp_ps_mask(a, _mm512_set1_ps(0.625f), _CMP_LT_OQ), near);
}

/* vmath_sigmoid. */
ISA_TARGET_AVX512 static inline ISA_BODY __m512 vmath_avx512_sigmoid(__m512 x)
{
    const __m512 one = _mm512_set1_ps(1.0f);
    const __m512 e = vmath_avx512_exp(_mm512_sub_ps(_mm512_setzero_ps(), x));
    return _mm512_div_ps(one, _mm512_add_ps(one, e));
}
#endif

#endif

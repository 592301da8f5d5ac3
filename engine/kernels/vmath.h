/*
 * vmath.h -- the engine's own exp, log, tanh and logistic function, in float.
 *
 * Plain arithmetic and fmaf() only, so the bits are the same from every compiler, at every
 * vector width and on every CPU with a correctly rounded fma; and loops over them vectorise.
 * libm promises neither.  Greatest error over all finite inputs, in units in the last place
 * of the true value (tests/unit/test_kernel_vmath.c sweeps them):
 *
 *     vmath_exp 1.1      vmath_log 0.9      vmath_tanh 1.4      vmath_sigmoid 2.5
 *
 * Results below the smallest normal number are 0 (the engine runs with flush-to-zero on, and
 * so does the same without it).  NaN in, NaN out.
 */
#ifndef ENGINE_KERNELS_VMATH_H
#define ENGINE_KERNELS_VMATH_H

#include <math.h>
#include <stdint.h>
#include <string.h>

static inline uint32_t vmath_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float vmath_float(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* e^r for |r| <= ln(2) / 2: 0.70 .. 1.42. */
static inline float vmath_exp_near(float r)
{
    float p = 1.98756912e-4f;
    p = fmaf(p, r, 1.39819994e-3f);
    p = fmaf(p, r, 8.33345205e-3f);
    p = fmaf(p, r, 4.16657962e-2f);
    p = fmaf(p, r, 1.66666657e-1f);
    p = fmaf(p, r, 5.0e-1f);
    return fmaf(p, r * r, r) + 1.0f;
}

/* e^x.  0 below -87.33 (where e^x is no longer normal), +infinity above 88.72; exact at 0. */
static inline float vmath_exp(float x)
{
    const float turn = 12582912.0f; /* 1.5 * 2^23: adding it rounds to an integer */
    const float above = -88.0f > x ? -88.0f : x; /* NaN stays, here and below */
    const float at = 89.0f < above ? 89.0f : above;
    const float turned = fmaf(at, 1.44269504f, turn);
    const float n = turned - turn; /* round(x / ln 2), -127 .. 128 */
    const float r = fmaf(n, -1.42860677e-6f, fmaf(n, -0.693145752f, at)); /* x - n ln 2 */

    const float y = vmath_exp_near(r);

    /* 2^n in two factors: 2^128 and 2^-127 are no normal floats.  Too great an x overflows in
     * the second product. */
    const uint32_t whole = vmath_bits(turned) - vmath_bits(turn);
    const uint32_t half = (uint32_t)((int32_t)whole >> 1);
    const float scaled =
        y * vmath_float((half + 127u) << 23) * vmath_float((whole - half + 127u) << 23);
    return x < -87.3365402f ? 0.0f : scaled;
}

/* vmath_exp(x), to the bit, for x <= 1 (-infinity too) or NaN: no overflow to take care of. */
static inline float vmath_exp_negative(float x)
{
    const float turn = 12582912.0f;
    const float at = -88.0f > x ? -88.0f : x;
    const float turned = fmaf(at, 1.44269504f, turn);
    const float n = turned - turn; /* -127 .. 1 */
    const float r = fmaf(n, -1.42860677e-6f, fmaf(n, -0.693145752f, at));
    const float y = vmath_exp_near(r);
    const float scaled = y * vmath_float((vmath_bits(turned) - vmath_bits(turn) + 127u) << 23);
    return x < -87.3365402f ? 0.0f : scaled;
}

/* Natural logarithm of a normal x > 0.  0 gives -infinity, and +infinity itself. */
static inline float vmath_log(float x)
{
    /* x = 2^n m with m in [sqrt(1/2), sqrt(2)) */
    const uint32_t bits = vmath_bits(x) - 0x3f3504f3u; /* sqrt(1/2) */
    const float n = (float)((int32_t)bits >> 23);
    const float f = vmath_float((bits & 0x007fffffu) + 0x3f3504f3u) - 1.0f;

    float p = 7.0376836292e-2f;
    p = fmaf(p, f, -1.1514610310e-1f);
    p = fmaf(p, f, 1.1676998740e-1f);
    p = fmaf(p, f, -1.2420140846e-1f);
    p = fmaf(p, f, 1.4249322787e-1f);
    p = fmaf(p, f, -1.6668057665e-1f);
    p = fmaf(p, f, 2.0000714765e-1f);
    p = fmaf(p, f, -2.4999993993e-1f);
    p = fmaf(p, f, 3.3333331174e-1f);
    const float square = f * f;
    const float small = fmaf(n, -2.12194440e-4f, fmaf(p * f, square, -0.5f * square));
    const float y = fmaf(n, 0.693359375f, f + small);
    return x < 1.17549435e-38f ? -INFINITY : x > 3.40282347e38f ? INFINITY : x != x ? x : y;
}

/* Hyperbolic tangent. */
static inline float vmath_tanh(float x)
{
    const float z = x * x;
    float p = -5.70498872745e-3f;
    p = fmaf(p, z, 2.06390887954e-2f);
    p = fmaf(p, z, -5.37397155531e-2f);
    p = fmaf(p, z, 1.33314422036e-1f);
    p = fmaf(p, z, -3.33332819422e-1f);
    const float near = fmaf(p * z, x, x);

    const float a = x < 0.0f ? -x : x;
    const float far = 1.0f - 2.0f / (vmath_exp(2.0f * a) + 1.0f);
    return a < 0.625f ? near : x < 0.0f ? -far : x != x ? x : far;
}

/* 1 / (1 + e^-x). */
static inline float vmath_sigmoid(float x)
{
    return 1.0f / (1.0f + vmath_exp(-x));
}

#endif

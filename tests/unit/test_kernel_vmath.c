/*
 * test_kernel_vmath.c -- the engine's exp, log, tanh and sigmoid against libm in double.
 *
 * glibc's double functions are good to a few units of the double's last place, 2^29 times
 * finer than what is measured here.  The sweep takes every STEP-th float, so every exponent
 * and, the step being odd, mantissas without pattern.
 */
#include "engine/kernels/vmath.h"
#include "engine/kernels/vmath_avx512.h"
#include "engine/kernels/vmath_rows.h"
#include "tests/kernel_test.h"

enum { STEP = 977 }; /* about 4.4 million of the 2^32 floats */

/* The spacing of floats at |want|. */
static double ulp(double want)
{
    int exponent;
    (void)frexp(want, &exponent);
    return ldexp(1.0, exponent - 24);
}

struct worst {
    double ulps;
    float at;
};

static void compare(struct worst *worst, float x, float got, double want)
{
    if (fabs(want) < 1.17549436e-38) { /* flushed, or the smallest normal */
        if (!(fabs((double)got) <= 1.1754944e-38))
            fail_msg("at %a: %a, want about 0", (double)x, (double)got);
        return;
    }
    if (fabs(want) > 3.4028235e38) {
        if (!(fabs((double)got) > 3.402e38))
            fail_msg("at %a: %a, want infinity", (double)x, (double)got);
        return;
    }
    const double ulps = fabs((double)got - want) / ulp(want);
    if (!(ulps <= worst->ulps))
        *worst = (struct worst){ulps, x};
}

static void sweep(const char *name, float (*got)(float), double (*want)(double), float from,
                  double limit)
{
    struct worst worst = {0};
    for (uint64_t bits = 0; bits < UINT64_C(0x100000000); bits += STEP) {
        const float x = vmath_float((uint32_t)bits);
        if (isnan(x) || x < from || (x != 0.0f && fabsf(x) < 1.17549435e-38f))
            continue;
        compare(&worst, x, got(x), want((double)x));
    }
    print_message("%s: %.3f ulp at %a\n", name, worst.ulps, (double)worst.at);
    if (!(worst.ulps <= limit))
        fail_msg("%s is off by %.3f ulp at %a, more than %.1f", name, worst.ulps,
                 (double)worst.at, limit);
}

static double sigmoid(double x)
{
    return 1.0 / (1.0 + exp(-x));
}

static void exp_is_within_its_stated_error(void **state)
{
    (void)state;
    sweep("exp", vmath_exp, exp, -INFINITY, 1.1);
}

static void exp_of_the_negative_has_the_bits_of_exp(void **state)
{
    (void)state;
    for (uint64_t bits = 0; bits < UINT64_C(0x100000000); bits += STEP) {
        const float x = vmath_float((uint32_t)bits);
        if (x <= 1.0f) {
            const float got = vmath_exp_negative(x), want = vmath_exp(x);
            check_same_bits(&got, &want, 1);
        }
    }
    assert_true(vmath_exp_negative(-INFINITY) == 0.0f);
    assert_true(isnan(vmath_exp_negative(NAN)));
}

static void log_is_within_its_stated_error(void **state)
{
    (void)state;
    sweep("log", vmath_log, log, 1.17549435e-38f, 0.9);
}

static void tanh_is_within_its_stated_error(void **state)
{
    (void)state;
    sweep("tanh", vmath_tanh, tanh, -INFINITY, 1.4);
}

static void sigmoid_is_within_its_stated_error(void **state)
{
    (void)state;
    sweep("sigmoid", vmath_sigmoid, sigmoid, -INFINITY, 2.5);
}

static void the_ends_are_what_arithmetic_says(void **state)
{
    (void)state;
    assert_true(vmath_exp(0.0f) == 1.0f);
    assert_true(vmath_exp(-INFINITY) == 0.0f);
    assert_true(vmath_exp(INFINITY) == INFINITY);
    assert_true(vmath_exp(-200.0f) == 0.0f);
    assert_true(vmath_exp(200.0f) == INFINITY);
    assert_true(isnan(vmath_exp(NAN)));
    assert_true(vmath_log(1.0f) == 0.0f);
    assert_true(vmath_log(0.0f) == -INFINITY);
    assert_true(vmath_log(INFINITY) == INFINITY);
    assert_true(isnan(vmath_log(NAN)));
    assert_true(vmath_tanh(0.0f) == 0.0f);
    assert_true(vmath_tanh(INFINITY) == 1.0f);
    assert_true(vmath_tanh(-INFINITY) == -1.0f);
    assert_true(isnan(vmath_tanh(NAN)));
    assert_true(vmath_sigmoid(-INFINITY) == 0.0f);
    assert_true(vmath_sigmoid(INFINITY) == 1.0f);
    assert_true(vmath_sigmoid(0.0f) == 0.5f);
    assert_true(isnan(vmath_sigmoid(NAN)));
}

/* A loop over x by each function, compiled for each instruction set. */
static inline ISA_BODY void all_body(float *out, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = vmath_exp(x[i]);
    for (size_t i = 0; i < n; i++)
        out[n + i] = vmath_log(x[i] < 0.0f ? -x[i] : x[i]);
    for (size_t i = 0; i < n; i++)
        out[2 * n + i] = vmath_tanh(x[i]);
    for (size_t i = 0; i < n; i++)
        out[3 * n + i] = vmath_sigmoid(x[i]);
    vmath_rows_exp(out + 4 * n, x, n);
    vmath_rows_tanh(out + 5 * n, x, n);
    vmath_rows_sigmoid(out + 6 * n, x, n);
}
ISA_FUNCTION(all, (float *out, const float *x, size_t n), (out, x, n))

static void vectorised_loops_give_the_same_bits(void **state)
{
    (void)state;
    enum { N = 4099 };
    static float x[N], want[7 * N], got[7 * N];
    uint64_t seed = 7;
    for (size_t i = 0; i < N; i++)
        x[i] = kernel_uniform(&seed) * (i % 3 == 0 ? 100.0f : i % 3 == 1 ? 5.0f : 0.3f);
    isa_force(ISA_PLAIN);
    all(want, x, N);
    check_same_bits(want + 4 * N, want, N);
    check_same_bits(want + 5 * N, want + 2 * N, 2 * N);
    KERNEL_EACH_ISA(isa)
    {
        all(got, x, N);
        check_same_bits(got, want, 7 * N);
    }
}

#if defined(__x86_64__)
enum { AT_ONCE = 16 };

ISA_TARGET_AVX512 static void at_once(float *out, const float *x)
{
    const __m512 all = _mm512_loadu_ps(x);
    _mm512_storeu_ps(out, vmath_avx512_exp(all));
    _mm512_storeu_ps(out + AT_ONCE, vmath_avx512_sigmoid(all));
    _mm512_storeu_ps(out + 3 * AT_ONCE, vmath_avx512_tanh(all));
    _mm512_storeu_ps(out + 2 * AT_ONCE,
                     vmath_avx512_exp_negative(_mm512_min_ps(_mm512_set1_ps(1.0f), all)));
}

static void sixteen_at_once_have_the_bits_of_each(void **state)
{
    (void)state;
    if (!isa_has(ISA_AVX512))
        skip();
    pool_thread_init();
    for (uint64_t bits = 0; bits < UINT64_C(0x100000000); bits += AT_ONCE * STEP) {
        float x[AT_ONCE], want[4 * AT_ONCE], got[4 * AT_ONCE];
        for (size_t i = 0; i < AT_ONCE; i++) {
            x[i] = vmath_float((uint32_t)(bits + i * STEP));
            want[i] = vmath_exp(x[i]);
            want[AT_ONCE + i] = vmath_sigmoid(x[i]);
            want[3 * AT_ONCE + i] = vmath_tanh(x[i]);
            want[2 * AT_ONCE + i] = vmath_exp_negative(1.0f < x[i] ? 1.0f : x[i]);
        }
        at_once(got, x);
        for (size_t i = 0; i < 4 * AT_ONCE; i++)
            if (!isnan(want[i]))
                check_same_bits(&got[i], &want[i], 1);
            else
                assert_true(isnan(got[i])); /* of which only the payload may differ */
    }
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exp_is_within_its_stated_error),
        cmocka_unit_test(exp_of_the_negative_has_the_bits_of_exp),
        cmocka_unit_test(log_is_within_its_stated_error),
        cmocka_unit_test(tanh_is_within_its_stated_error),
        cmocka_unit_test(sigmoid_is_within_its_stated_error),
        cmocka_unit_test(the_ends_are_what_arithmetic_says),
        cmocka_unit_test(vectorised_loops_give_the_same_bits),
#if defined(__x86_64__)
        cmocka_unit_test(sixteen_at_once_have_the_bits_of_each),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

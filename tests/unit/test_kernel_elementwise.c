/*
 * test_kernel_elementwise.c -- SwiGLU, GELU, embeddings and sums, against their formulas in
 * double with libm, and their gradients against the slopes of those.
 */
#include "engine/kernels/embedding.h"
#include "engine/kernels/gelu.h"
#include "engine/kernels/residual.h"
#include "engine/kernels/swiglu.h"
#include "tests/kernel_test.h"

enum { N = 11, F = 67, WIDE = 2 * F + 3 };

static double silu_times(double gate, double up)
{
    return gate / (1.0 + exp(-gate)) * up;
}

static double gelu(double x)
{
    return x / 2.0 * (1.0 + tanh(sqrt(2.0 / acos(-1.0)) * (x + 0.044715 * x * x * x)));
}

static float slope_of(double above, double below)
{
    return (float)((above - below) / 2e-5);
}

static void swiglu_is_its_formula_and_its_slope(void **state)
{
    (void)state;
    float *in = kernel_random(N * WIDE, 1), *dout = kernel_random(N * F, 2);
    float *d = kernel_random(N * WIDE, 3), out[N * F], again[N * F];
    for (size_t i = 0; i < N * WIDE; i++)
        in[i] *= 6.0f;
    struct pool *pool = kernel_pool(2);
    KERNEL_EACH_ISA(isa)
    {
        swiglu_forward(pool, out, in, in + F, WIDE, N, F);
        swiglu_backward(pool, d, d + F, again, dout, in, in + F, WIDE, N, F);
        check_same_bits(again, out, N * F);
        for (size_t i = 0; i < N * F; i++) {
            const size_t at = i / F * WIDE + i % F;
            const double g = (double)in[at], u = (double)in[at + F], h = 1e-5;
            const float want = (float)silu_times(g, u);
            const float slope[2] = {dout[i] *
                                        slope_of(silu_times(g + h, u), silu_times(g - h, u)),
                                    dout[i] * (float)silu_times(g, 1.0)};
            check_close(&out[i], &want, 1, 1e-6, 1e-7);
            check_close(&d[at], &slope[0], 1, 2e-6, 2e-6);
            check_close(&d[at + F], &slope[1], 1, 2e-6, 1e-7);
        }
    }
    float *in_place = kernel_copy(in, N * WIDE);
    swiglu_backward(NULL, in_place, in_place + F, NULL, dout, in_place, in_place + F, WIDE, N,
                    F);
    for (size_t n = 0; n < N; n++)
        check_same_bits(in_place + n * WIDE, d + n * WIDE, 2 * F);
    pool_free(pool);
    free(in);
    free(dout);
    free(d);
    free(in_place);
}

static void gelu_is_its_formula_and_its_slope(void **state)
{
    (void)state;
    enum { MANY = 40000 }; /* three tasks */
    float *x = kernel_random(MANY, 1), *dy = kernel_random(MANY, 2);
    float *y = kernel_copy(x, MANY), *dx = kernel_copy(x, MANY), *again = kernel_copy(x, MANY);
    for (size_t i = 0; i < MANY; i++)
        x[i] *= 6.0f;
    struct pool *pool = kernel_pool(2);
    KERNEL_EACH_ISA(isa)
    {
        gelu_forward(pool, y, x, MANY);
        gelu_backward(pool, dx, again, dy, x, MANY);
        check_same_bits(again, y, MANY);
        for (size_t i = 0; i < MANY; i += isa == ISA_PLAIN ? 17 : 3) {
            const double v = (double)x[i];
            const float want = (float)gelu(v);
            const float slope = dy[i] * slope_of(gelu(v + 1e-5), gelu(v - 1e-5));
            check_close(&y[i], &want, 1, 1e-6, 5e-7);
            check_close(&dx[i], &slope, 1, 2e-6, 2e-6);
        }
    }
    gelu_backward(NULL, x, NULL, dy, x, MANY); /* in place */
    check_same_bits(x, dx, MANY);
    pool_free(pool);
    float *const all[] = {x, dy, y, dx, again};
    for (size_t i = 0; i < COUNT(all); i++)
        free(all[i]);
}

static void elementwise_bits_do_not_depend_on_the_instruction_set(void **state)
{
    (void)state;
    float *x = kernel_random(N * WIDE, 1), *dy = kernel_random(N * WIDE, 2);
    float want[4][N * WIDE] = {{0}}, got[4][N * WIDE] = {{0}};
    for (int isa = ISA_PLAIN; isa <= ISA_AVX512; isa++) {
        if (!isa_has((enum isa)isa))
            continue;
        isa_force((enum isa)isa);
        memset(got, 0, sizeof got); /* nothing is left of the level before */
        swiglu_forward(NULL, got[0], x, x + F, WIDE, N, F);
        swiglu_backward(NULL, got[1], got[1] + F, NULL, dy, x, x + F, WIDE, N, F);
        gelu_forward(NULL, got[2], x, N * WIDE);
        gelu_backward(NULL, got[3], NULL, dy, x, N * WIDE);
        if (isa == ISA_PLAIN)
            memcpy(want, got, sizeof want);
        check_same_bits(got[0], want[0], COUNT(got) * N * WIDE);
    }
    free(x);
    free(dy);
}

static void embedding_gathers_and_scatters(void **state)
{
    (void)state;
    enum { V = 7, T = 4, C = 150, TOKENS = 6 };
    const int32_t ids[TOKENS] = {3, 0, 3, 6, 3, 1};
    const uint32_t position[TOKENS] = {0, 1, 2, 3, 0, 1};
    float *wte = kernel_random(V * C, 1), *wpe = kernel_random(T * C, 2);
    float *dx = kernel_random(TOKENS * C, 3), x[TOKENS * C], plain[TOKENS * C];
    struct pool *pool = kernel_pool(2);
    embedding_forward(pool, x, ids, wte, position, wpe, TOKENS, C);
    embedding_forward(pool, plain, ids, wte, NULL, NULL, TOKENS, C);
    float *dwte = kernel_copy(wte, V * C), *dwpe = kernel_copy(wpe, T * C);
    float *want_wte = kernel_copy(wte, V * C), *want_wpe = kernel_copy(wpe, T * C);
    embedding_backward(pool, dwte, dwpe, dx, ids, position, TOKENS, C);
    for (size_t i = 0; i < TOKENS * C; i++) {
        const float token = wte[(size_t)ids[i / C] * C + i % C];
        assert_true(plain[i] == token);
        assert_true(x[i] == token + wpe[position[i / C] * C + i % C]);
        want_wte[(size_t)ids[i / C] * C + i % C] += dx[i];
        want_wpe[position[i / C] * C + i % C] += dx[i];
    }
    check_same_bits(dwte, want_wte, V * C);
    check_same_bits(dwpe, want_wpe, T * C);
    embedding_backward(NULL, want_wte, NULL, dx, ids, NULL, TOKENS, C);
    pool_free(pool);
    float *const all[] = {wte, wpe, dx, dwte, dwpe, want_wte, want_wpe};
    for (size_t i = 0; i < COUNT(all); i++)
        free(all[i]);
}

static void residual_add_adds_every_element(void **state)
{
    (void)state;
    enum { MANY = 70001 };
    float *x = kernel_random(MANY, 1), *y = kernel_random(MANY, 2);
    float *want = kernel_copy(x, MANY);
    for (size_t i = 0; i < MANY; i++)
        want[i] += y[i];
    struct pool *pool = kernel_pool(2);
    residual_add(pool, x, y, MANY);
    check_same_bits(x, want, MANY);
    pool_free(pool);
    free(x);
    free(y);
    free(want);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(swiglu_is_its_formula_and_its_slope),
        cmocka_unit_test(gelu_is_its_formula_and_its_slope),
        cmocka_unit_test(elementwise_bits_do_not_depend_on_the_instruction_set),
        cmocka_unit_test(embedding_gathers_and_scatters),
        cmocka_unit_test(residual_add_adds_every_element),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

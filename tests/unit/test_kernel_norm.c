/*
 * test_kernel_norm.c -- RMSNorm and LayerNorm: forward against the formula in double, backward
 * against its slope.
 *
 * The loss is L = sum(dy * y) with y in double precision, so a central difference with
 * h = 1e-5 is good to about nine digits, and the tolerance is the float kernel's alone.
 */
#include "engine/kernels/layernorm.h"
#include "engine/kernels/rmsnorm.h"
#include "tests/kernel_test.h"

#define EPS 1e-5f

enum { N = 3, C = 37 }; /* two groups of 16 lanes and a rest */

/* The same inputs in float, for the kernel, and in double, for the formula. */
struct inputs {
    float x[N * C], w[C], b[C], dy[N * C];
    double x64[N * C], w64[C], b64[C];
};

static struct inputs inputs_of(uint64_t seed)
{
    struct inputs in;
    for (size_t i = 0; i < N * C; i++) {
        in.x64[i] = (double)(in.x[i] = kernel_uniform(&seed) + 0.3f);
        in.dy[i] = kernel_uniform(&seed);
    }
    for (size_t c = 0; c < C; c++) {
        in.w64[c] = (double)(in.w[c] = kernel_uniform(&seed));
        in.b64[c] = (double)(in.b[c] = kernel_uniform(&seed));
    }
    return in;
}

static double rms_formula(const struct inputs *in, size_t n, size_t c)
{
    double squares = 0.0;
    for (size_t k = 0; k < C; k++)
        squares += in->x64[n * C + k] * in->x64[n * C + k];
    return in->x64[n * C + c] / sqrt(squares / C + (double)EPS) * in->w64[c];
}

static double layer_formula(const struct inputs *in, size_t n, size_t c)
{
    double mean = 0.0, variance = 0.0;
    for (size_t k = 0; k < C; k++)
        mean += in->x64[n * C + k] / C;
    for (size_t k = 0; k < C; k++)
        variance += pow(in->x64[n * C + k] - mean, 2.0) / C;
    return (in->x64[n * C + c] - mean) / sqrt(variance + (double)EPS) * in->w64[c] + in->b64[c];
}

static double loss_of(const struct inputs *in,
                      double (*formula)(const struct inputs *, size_t, size_t))
{
    double sum = 0.0;
    for (size_t n = 0; n < N; n++)
        for (size_t c = 0; c < C; c++)
            sum += (double)in->dy[n * C + c] * formula(in, n, c);
    return sum;
}

static double rms_loss(const void *in)
{
    return loss_of(in, rms_formula);
}

static double layer_loss(const void *in)
{
    return loss_of(in, layer_formula);
}

static void rmsnorm_forward_is_the_formula(void **state)
{
    (void)state;
    const struct inputs in = inputs_of(42);
    float y[N * C], r[N], want[N * C];
    for (size_t i = 0; i < N * C; i++)
        want[i] = (float)rms_formula(&in, i / C, i % C);
    KERNEL_EACH_ISA(isa)
    {
        rmsnorm_forward(NULL, y, C, r, in.x, C, in.w, N, C, EPS);
        check_close(y, want, N * C, 1e-6, 1e-7);
    }
}

static void rmsnorm_backward_is_the_slope_of_forward(void **state)
{
    (void)state;
    struct inputs in = inputs_of(43);
    float y[N * C], r[N], dx[N * C] = {0}, dw[C] = {0};
    rmsnorm_forward(NULL, y, C, r, in.x, C, in.w, N, C, EPS);
    rmsnorm_backward(NULL, dx, C, dw, in.dy, C, in.x, C, in.w, r, N, C);

    float want_dx[N * C], want_dw[C];
    for (size_t i = 0; i < N * C; i++)
        want_dx[i] = (float)kernel_slope(&in.x64[i], rms_loss, &in);
    for (size_t c = 0; c < C; c++)
        want_dw[c] = (float)kernel_slope(&in.w64[c], rms_loss, &in);
    check_close(dx, want_dx, N * C, 1e-5, 1e-6);
    check_close(dw, want_dw, C, 1e-5, 1e-6);
}

static void layernorm_forward_is_the_formula(void **state)
{
    (void)state;
    const struct inputs in = inputs_of(44);
    float y[N * C], mean[N], r[N], want[N * C];
    for (size_t i = 0; i < N * C; i++)
        want[i] = (float)layer_formula(&in, i / C, i % C);
    KERNEL_EACH_ISA(isa)
    {
        layernorm_forward(NULL, y, mean, r, in.x, in.w, in.b, N, C, EPS);
        check_close(y, want, N * C, 1e-6, 1e-6);
    }
}

static void layernorm_backward_is_the_slope_of_forward(void **state)
{
    (void)state;
    struct inputs in = inputs_of(45);
    float y[N * C], mean[N], r[N], dx[N * C] = {0}, dw[C] = {0}, db[C] = {0};
    layernorm_forward(NULL, y, mean, r, in.x, in.w, in.b, N, C, EPS);
    layernorm_backward(NULL, dx, dw, db, in.dy, in.x, in.w, mean, r, N, C);

    float want_dx[N * C], want_dw[C], want_db[C];
    for (size_t i = 0; i < N * C; i++)
        want_dx[i] = (float)kernel_slope(&in.x64[i], layer_loss, &in);
    for (size_t c = 0; c < C; c++) {
        want_dw[c] = (float)kernel_slope(&in.w64[c], layer_loss, &in);
        want_db[c] = (float)kernel_slope(&in.b64[c], layer_loss, &in);
    }
    check_close(dx, want_dx, N * C, 1e-5, 2e-6);
    check_close(dw, want_dw, C, 1e-5, 1e-6);
    check_close(db, want_db, C, 1e-5, 1e-6);
}

/* Inputs with many rows, gaps between them, and old gradients to add to. */
struct big {
    float y[2 * 50 * 70], r[50], mean[50], dx[2 * 50 * 70], dw[200], db[200];
};

static void big_run(struct big *out, struct pool *pool, const float *x, const float *dy,
                    const float *w)
{
    enum { ROWS = 50, COLS = 70, WIDE = 140 };
    memset(out, 0, sizeof *out);
    for (size_t i = 0; i < COUNT(out->dx); i++)
        out->dx[i] = (float)i;
    out->dw[0] = 1.0f;
    rmsnorm_forward(pool, out->y, WIDE, out->r, x, WIDE, w, ROWS, COLS, EPS);
    rmsnorm_backward(pool, out->dx, WIDE, out->dw, dy, WIDE, x, WIDE, w, out->r, ROWS, COLS);
    layernorm_forward(pool, out->y + COLS, out->mean, out->r, x, w, w, ROWS / 2, COLS, EPS);
    layernorm_backward(pool, out->dx, out->dw, out->db, dy, x, w, out->mean, out->r, ROWS / 2,
                       COLS);
}

static void bits_depend_on_neither_threads_nor_instruction_set(void **state)
{
    (void)state;
    float *x = kernel_random(50 * 140, 1), *dy = kernel_random(50 * 140, 2);
    float *w = kernel_random(200, 3);
    static struct big want, got;
    struct pool *pools[] = {NULL, kernel_pool(2), kernel_pool(3)};
    isa_force(ISA_PLAIN);
    big_run(&want, NULL, x, dy, w);
    for (size_t p = 0; p < COUNT(pools); p++)
        KERNEL_EACH_ISA(isa)
        {
            big_run(&got, pools[p], x, dy, w);
            check_same_bits((const float *)&got, (const float *)&want,
                            sizeof want / sizeof(float));
        }
    for (size_t p = 0; p < COUNT(pools); p++)
        pool_free(pools[p]);
    free(x);
    free(dy);
    free(w);
}

static void a_residual_is_added_before_the_norm(void **state)
{
    (void)state;
    enum { ROWS = 50, COLS = 70, ALL = ROWS * COLS };
    float *x = kernel_random(ALL, 1), *add = kernel_random(ALL, 2);
    float *w = kernel_random(COLS, 3), *b = kernel_random(COLS, 4);
    static float sum[ALL], got[ALL], want_y[2][ALL], want_mean[ROWS], want_r[2][ROWS];
    static float y[ALL], mean[ROWS], r[ROWS];
    for (size_t i = 0; i < ALL; i++)
        sum[i] = x[i] + add[i];
    rmsnorm_forward(NULL, want_y[0], COLS, want_r[0], sum, COLS, w, ROWS, COLS, EPS);
    layernorm_forward(NULL, want_y[1], want_mean, want_r[1], sum, w, b, ROWS, COLS, EPS);
    struct pool *pool = kernel_pool(2);
    KERNEL_EACH_ISA(isa)
    {
        memcpy(got, x, sizeof got);
        rmsnorm_residual_forward(pool, y, r, got, add, w, ROWS, COLS, EPS);
        check_same_bits(got, sum, ALL);
        check_same_bits(y, want_y[0], ALL);
        check_same_bits(r, want_r[0], ROWS);
        memcpy(got, x, sizeof got);
        layernorm_residual_forward(pool, y, mean, r, got, add, w, b, ROWS, COLS, EPS);
        check_same_bits(got, sum, ALL);
        check_same_bits(y, want_y[1], ALL);
        check_same_bits(mean, want_mean, ROWS);
        check_same_bits(r, want_r[1], ROWS);
    }
    pool_free(pool);
    free(x);
    free(add);
    free(w);
    free(b);
}

static void a_row_of_zeros_is_not_divided_by_zero(void **state)
{
    (void)state;
    const float x[C] = {0}, w[C] = {1}, zero[C] = {0};
    float y[C], mean[1], r[1];
    rmsnorm_forward(NULL, y, C, NULL, x, C, w, 1, C, EPS);
    check_close(y, zero, C, 0, 1e-30);
    layernorm_forward(NULL, y, mean, r, x, w, zero, 1, C, EPS);
    check_close(y, zero, C, 0, 1e-30);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rmsnorm_forward_is_the_formula),
        cmocka_unit_test(rmsnorm_backward_is_the_slope_of_forward),
        cmocka_unit_test(layernorm_forward_is_the_formula),
        cmocka_unit_test(layernorm_backward_is_the_slope_of_forward),
        cmocka_unit_test(bits_depend_on_neither_threads_nor_instruction_set),
        cmocka_unit_test(a_residual_is_added_before_the_norm),
        cmocka_unit_test(a_row_of_zeros_is_not_divided_by_zero),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

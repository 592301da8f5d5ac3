/*
 * test_kernel_gemm.c -- the products against the chain that gemm.h promises, to the bit.
 *
 * The oracle is that promise written down: one fmaf() after the other over ascending index.
 * fmaf is correctly rounded by the C standard's Annex F, so the oracle needs no tolerance.
 */
#include "engine/kernels/gemm.h"
#include "tests/kernel_test.h"

struct sizes {
    size_t M, N, K;
};

/* Odd sizes; below, at and above a panel (16), a tile (14 rows), a depth block (384) and
 * the rows of dw that are turned at once (252); a weight that is packed past the caches. */
static const struct sizes sizes_all[] = {
    {1, 1, 1},     {1, 16, 16},   {3, 17, 5},    {14, 32, 64},   {15, 33, 65},
    {29, 48, 384}, {2, 130, 385}, {70, 7, 800},  {300, 200, 30}, {5, 600, 16},
    {31, 64, 777}, {1, 300, 129}, {33, 270, 40}, {400, 137, 20}, {2, 600, 501},
};

struct case_data {
    struct sizes s;
    float *x, *w, *dy, *bias, *y0, *dx0, *dw0, *storage;
    struct gemm_packed packed;
};

static struct case_data case_new(struct sizes s)
{
    struct case_data c = {.s = s};
    c.x = kernel_random(s.M * s.K, 1);
    c.w = kernel_random(s.N * s.K, 2);
    c.dy = kernel_random(s.M * s.N, 3);
    c.bias = kernel_random(s.N, 4);
    c.y0 = kernel_random(s.M * s.N, 5);
    c.dx0 = kernel_random(s.M * s.K, 6);
    c.dw0 = kernel_random(s.N * s.K, 7);
    c.storage = kernel_random(gemm_packed_floats(s.N, s.K), 8);
    gemm_pack(NULL, &c.packed, c.storage, c.w, s.K, s.N, s.K);
    return c;
}

static void case_free(struct case_data *c)
{
    free(c->x);
    free(c->w);
    free(c->dy);
    free(c->bias);
    free(c->y0);
    free(c->dx0);
    free(c->dw0);
    free(c->storage);
}

/* from + sum over i of a[i * a_step] b[i * b_step] */
static float chain(float from, const float *a, size_t a_step, const float *b, size_t b_step,
                   size_t n)
{
    for (size_t i = 0; i < n; i++)
        from = fmaf(a[i * a_step], b[i * b_step], from);
    return from;
}

static void forward_case(const struct case_data *c, struct pool *pool, bool add, bool bias)
{
    const struct sizes s = c->s;
    float *want = kernel_copy(c->y0, s.M * s.N), *got = kernel_copy(c->y0, s.M * s.N);
    for (size_t m = 0; m < s.M; m++)
        for (size_t n = 0; n < s.N; n++) {
            float from = add ? c->y0[m * s.N + n] : 0.0f;
            from = bias ? from + c->bias[n] : from;
            want[m * s.N + n] = chain(from, c->x + m * s.K, 1, c->w + n * s.K, 1, s.K);
        }
    gemm_forward(pool, got, s.N, c->x, s.K, &c->packed, bias ? c->bias : NULL, s.M,
                 add ? GEMM_ADD : GEMM_SET);
    check_same_bits(got, want, s.M * s.N);
    free(want);
    free(got);
}

static void dx_case(const struct case_data *c, struct pool *pool, bool add)
{
    const struct sizes s = c->s;
    float *want = kernel_copy(c->dx0, s.M * s.K), *got = kernel_copy(c->dx0, s.M * s.K);
    for (size_t m = 0; m < s.M; m++)
        for (size_t k = 0; k < s.K; k++)
            want[m * s.K + k] =
                chain(add ? c->dx0[m * s.K + k] : 0.0f, c->dy + m * s.N, 1, c->w + k, s.K, s.N);
    gemm_dx(pool, got, s.K, c->dy, s.N, c->w, s.K, s.M, s.N, s.K, add ? GEMM_ADD : GEMM_SET);
    check_same_bits(got, want, s.M * s.K);
    free(want);
    free(got);
}

static void dw_case(const struct case_data *c, struct pool *pool, bool add)
{
    const struct sizes s = c->s;
    float *want = kernel_copy(c->dw0, s.N * s.K), *got = kernel_copy(c->dw0, s.N * s.K);
    for (size_t n = 0; n < s.N; n++)
        for (size_t k = 0; k < s.K; k++)
            want[n * s.K + k] =
                chain(add ? c->dw0[n * s.K + k] : 0.0f, c->dy + n, s.N, c->x + k, s.K, s.M);
    gemm_dw(pool, got, s.K, c->dy, s.N, c->x, s.K, s.M, s.N, s.K, add ? GEMM_ADD : GEMM_SET);
    check_same_bits(got, want, s.N * s.K);
    free(want);
    free(got);
}

static void every_product_is_one_chain_of_fmas(void **state)
{
    (void)state;
    struct pool *pools[] = {NULL, kernel_pool(2), kernel_pool(3)};
    for (size_t i = 0; i < COUNT(sizes_all); i++) {
        struct case_data c = case_new(sizes_all[i]);
        KERNEL_EACH_ISA(isa)
        {
            for (size_t p = 0; p < COUNT(pools); p++) {
                if (isa == ISA_PLAIN && p == 2)
                    continue; /* fmaf without hardware is slow */
                for (int form = 0; form < 4; form++)
                    forward_case(&c, pools[p], form & 1, form & 2);
                dx_case(&c, pools[p], false);
                dx_case(&c, pools[p], true);
                dw_case(&c, pools[p], false);
                dw_case(&c, pools[p], true);
            }
        }
        case_free(&c);
    }
    for (size_t p = 0; p < COUNT(pools); p++)
        pool_free(pools[p]);
}

static void a_row_has_the_same_bits_in_every_batch(void **state)
{
    (void)state;
    const struct sizes s = {70, 96, 500};
    struct case_data c = case_new(s);
    struct pool *pool = kernel_pool(2);
    float *want = kernel_copy(c.y0, s.M * s.N), *got = kernel_copy(c.y0, s.M * s.N);
    isa_force(ISA_PLAIN);
    gemm_forward(NULL, want, s.N, c.x, s.K, &c.packed, c.bias, s.M, GEMM_SET);
    KERNEL_EACH_ISA(isa)
    {
        for (size_t M = 1; M <= s.M && isa != ISA_PLAIN; M++) {
            const size_t first = s.M - M; /* rows first .. 69, so places change as well */
            gemm_forward(M % 2 ? pool : NULL, got, s.N, c.x + first * s.K, s.K, &c.packed,
                         c.bias, M, GEMM_SET);
            check_same_bits(got, want + first * s.N, M * s.N);
        }
    }
    pool_free(pool);
    free(want);
    free(got);
    case_free(&c);
}

/* Rows with gaps between them: what lies in the gaps must stay. */
static void strides_leave_the_gaps_alone(void **state)
{
    (void)state;
    const struct sizes s = {9, 21, 37};
    const size_t gap = 5;
    struct case_data c = case_new(s);
    float *x = kernel_random(s.M * (s.K + gap), 11), *w = kernel_random(s.N * (s.K + gap), 12);
    for (size_t m = 0; m < s.M; m++)
        memcpy(x + m * (s.K + gap), c.x + m * s.K, s.K * sizeof(float));
    for (size_t n = 0; n < s.N; n++)
        memcpy(w + n * (s.K + gap), c.w + n * s.K, s.K * sizeof(float));
    struct gemm_packed packed;
    gemm_pack(NULL, &packed, c.storage, w, s.K + gap, s.N, s.K);

    float *wide = kernel_random(s.M * (s.N + gap), 13), *want = kernel_copy(c.y0, s.M * s.N);
    float *before = kernel_copy(wide, s.M * (s.N + gap));
    gemm_forward(NULL, wide, s.N + gap, x, s.K + gap, &packed, NULL, s.M, GEMM_SET);
    gemm_forward(NULL, want, s.N, c.x, s.K, &c.packed, NULL, s.M, GEMM_SET);
    for (size_t m = 0; m < s.M; m++) {
        check_same_bits(wide + m * (s.N + gap), want + m * s.N, s.N);
        check_same_bits(wide + m * (s.N + gap) + s.N, before + m * (s.N + gap) + s.N, gap);
    }

    float *dx = kernel_copy(x, s.M * (s.K + gap)), *dw = kernel_copy(w, s.N * (s.K + gap));
    gemm_dx(NULL, dx, s.K + gap, c.dy, s.N, w, s.K + gap, s.M, s.N, s.K, GEMM_SET);
    gemm_dw(NULL, dw, s.K + gap, c.dy, s.N, x, s.K + gap, s.M, s.N, s.K, GEMM_ADD);
    for (size_t m = 0; m < s.M; m++)
        check_same_bits(dx + m * (s.K + gap) + s.K, x + m * (s.K + gap) + s.K, gap);
    for (size_t n = 0; n < s.N; n++)
        check_same_bits(dw + n * (s.K + gap) + s.K, w + n * (s.K + gap) + s.K, gap);
    float *const all[] = {x, w, wide, want, before, dx, dw};
    for (size_t i = 0; i < COUNT(all); i++)
        free(all[i]);
    case_free(&c);
}

static void bias_gradient_is_the_column_sum(void **state)
{
    (void)state;
    const size_t M = 37, N = 600;
    float *dy = kernel_random(M * N, 21), *got = kernel_random(N, 22);
    float *want = kernel_copy(got, N);
    for (size_t n = 0; n < N; n++)
        for (size_t m = 0; m < M; m++)
            want[n] += dy[m * N + n];
    struct pool *pool = kernel_pool(2);
    gemm_db(pool, got, dy, N, M, N);
    check_same_bits(got, want, N);
    pool_free(pool);
    free(dy);
    free(got);
    free(want);
}

static void nothing_in_gives_nothing_out(void **state)
{
    (void)state;
    const struct sizes s = {4, 20, 8};
    struct case_data c = case_new(s);
    float *y = kernel_copy(c.y0, s.M * s.N), *dw = kernel_copy(c.dw0, s.N * s.K);
    gemm_forward(NULL, y, s.N, c.x, s.K, &c.packed, NULL, 0, GEMM_SET);
    check_same_bits(y, c.y0, s.M * s.N);
    gemm_dw(NULL, dw, s.K, c.dy, s.N, c.x, s.K, 0, s.N, s.K, GEMM_ADD);
    check_same_bits(dw, c.dw0, s.N * s.K);
    gemm_dw(NULL, dw, s.K, c.dy, s.N, c.x, s.K, 0, s.N, s.K, GEMM_SET);
    for (size_t i = 0; i < s.N * s.K; i++)
        assert_true(dw[i] == 0.0f && !signbit(dw[i]));
    free(y);
    free(dw);
    case_free(&c);
}

/* Other bits, the same numbers: the error of a sum of 400 terms below 1. */
static void openblas_computes_the_same_products(void **state)
{
    (void)state;
    const struct sizes s = {50, 70, 400};
    struct case_data c = case_new(s);
    float *own[2] = {kernel_copy(c.dx0, s.M * s.K), kernel_copy(c.dw0, s.N * s.K)};
    float *blas[2] = {kernel_copy(c.dx0, s.M * s.K), kernel_copy(c.dw0, s.N * s.K)};
    for (int pass = 0; pass < 2; pass++) {
        float **out = pass == 0 ? own : blas;
        gemm_backward_use(pass == 0 ? GEMM_OWN : GEMM_OPENBLAS);
        gemm_dx(NULL, out[0], s.K, c.dy, s.N, c.w, s.K, s.M, s.N, s.K, GEMM_ADD);
        gemm_dw(NULL, out[1], s.K, c.dy, s.N, c.x, s.K, s.M, s.N, s.K, GEMM_ADD);
    }
    gemm_backward_use(GEMM_OWN);
    check_close(blas[0], own[0], s.M * s.K, 1e-5, 1e-5);
    check_close(blas[1], own[1], s.N * s.K, 1e-5, 1e-5);
    for (int i = 0; i < 2; i++) {
        free(own[i]);
        free(blas[i]);
    }
    case_free(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_product_is_one_chain_of_fmas),
        cmocka_unit_test(a_row_has_the_same_bits_in_every_batch),
        cmocka_unit_test(strides_leave_the_gaps_alone),
        cmocka_unit_test(bias_gradient_is_the_column_sum),
        cmocka_unit_test(nothing_in_gives_nothing_out),
        cmocka_unit_test(openblas_computes_the_same_products),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * test_kernel_rows.c -- products between rows against the order that rows.h promises, to the
 * bit: 16 lanes and a tree for a dot product, one chain of fmaf() for a combination.
 */
#include "engine/kernels/rows.h"
#include "tests/kernel_test.h"

enum { GAP = 3, D_MAX = 130, J_MAX = 70, I_MAX = 9 };

/* Lane d % 16, then lanes 8, 4, 2, 1 apart. */
static float dot(const float *a, const float *b, size_t D)
{
    float lane[16] = {0};
    for (size_t d = 0; d < D; d++)
        lane[d % 16] = fmaf(a[d], b[d], lane[d % 16]);
    for (size_t apart = 8; apart > 0; apart /= 2)
        for (size_t l = 0; l < apart; l++)
            lane[l] += lane[l + apart];
    return lane[0];
}

static void check_dot(const float *q, const float *x, size_t I, size_t J, size_t D)
{
    float got[I_MAX * (J_MAX + GAP)], want[I_MAX * (J_MAX + GAP)];
    for (size_t i = 0; i < I * (J + GAP); i++)
        got[i] = want[i] = 55.0f; /* the gaps must stay so */
    for (size_t i = 0; i < I; i++)
        for (size_t j = 0; j < J; j++)
            want[i * (J + GAP) + j] = dot(q + i * (D + GAP), x + j * (D + GAP), D);
    rows_dot(got, J + GAP, q, D + GAP, I, x, D + GAP, J, D);
    check_same_bits(got, want, I * (J + GAP));
}

/* w[i,j] at w[i * row + j * step]. */
static void check_combine(const float *w, size_t row, size_t step, const float *x, size_t I,
                          size_t J, size_t D)
{
    static float got[J_MAX * (D_MAX + GAP)], want[J_MAX * (D_MAX + GAP)];
    for (size_t i = 0; i < I * (D + GAP); i++)
        got[i] = want[i] = (float)i * 0.125f;
    for (size_t i = 0; i < I; i++)
        for (size_t d = 0; d < D; d++)
            for (size_t j = 0; j < J; j++)
                want[i * (D + GAP) + d] =
                    fmaf(w[i * row + j * step], x[j * (D + GAP) + d], want[i * (D + GAP) + d]);
    rows_combine(got, D + GAP, I, w, row, step, x, D + GAP, J, D);
    check_same_bits(got, want, I * (D + GAP));
}

static const size_t sizes_d[] = {1, 6, 8, 15, 16, 17, 31, 33, 63, 64, 80, 96, 127, 128, D_MAX};
static const size_t sizes_j[] = {1, 2, 7, 15, 16, 17, 33, 64, J_MAX};
static const size_t sizes_i[] = {1, 2, 3, 4, 7, I_MAX};

static void every_product_is_in_the_promised_order(void **state)
{
    (void)state;
    float *x = kernel_random(J_MAX * (D_MAX + GAP), 1);
    float *q = kernel_random(J_MAX * (D_MAX + GAP), 2);
    KERNEL_EACH_ISA(isa)
    for (size_t d = 0; d < COUNT(sizes_d); d++)
        for (size_t j = 0; j < COUNT(sizes_j); j++)
            for (size_t i = 0; i < COUNT(sizes_i); i++) {
                const size_t I = sizes_i[i], J = sizes_j[j], D = sizes_d[d];
                check_dot(q, x, I, J, D);
                check_combine(q, J_MAX, 1, x, I, J, D);
                check_combine(q, 1, J_MAX, x, J, I, D); /* as of a gradient of keys */
            }
    free(x);
    free(q);
}

static void no_rows_change_nothing(void **state)
{
    (void)state;
    KERNEL_EACH_ISA(isa)
    {
        float out[2] = {1, 2}, s[2] = {3, 4};
        const float x[2] = {5, 6};
        rows_combine(out, 2, 1, x, 1, 1, x, 2, 0, 2);
        rows_dot(s, 2, x, 2, 1, x, 2, 0, 2);
        assert_true(out[0] == 1 && out[1] == 2 && s[0] == 3 && s[1] == 4);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_product_is_in_the_promised_order),
        cmocka_unit_test(no_rows_change_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

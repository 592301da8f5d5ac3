/*
 * test_kernel_rope.c -- rotary embedding against what transformers computes
 * (tests/golden/rope.py made the numbers), and its backward as the inverse rotation.
 */
#include "engine/kernels/rope.h"
#include "tests/kernel_test.h"

#include "tests/golden/rope_golden.h"

enum { D = 16, T = 4096, POSITIONS = COUNT(golden_position) };

static struct model_config config_of(enum rope_scaling scaling)
{
    return (struct model_config){.D = D,
                                 .rope_theta = 10000.0f,
                                 .rope_scaling = scaling,
                                 .rope_factor = scaling == ROPE_LINEAR ? 4.0f : 8.0f,
                                 .rope_low_freq_factor = 1.0f,
                                 .rope_high_freq_factor = 4.0f,
                                 .rope_original_T = 256};
}

static float cosine[T * D / 2], sine[T * D / 2];

/* A last-place difference in a frequency (relative 1e-7) turns the angle at position 4095 by
 * 4e-4 of a radian at most: hence the tolerance of the tables. */
static void tables_are_those_of_transformers(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(golden_rope); i++) {
        const struct model_config config = config_of(golden_rope[i].scaling);
        float f[D / 2];
        rope_frequencies(f, &config);
        check_close(f, golden_rope[i].f, D / 2, 2e-7, 0);
        rope_tables(cosine, sine, golden_rope[i].f, T, D);
        for (size_t p = 0; p < POSITIONS; p++) {
            const size_t at = golden_position[p] * D / 2;
            check_close(cosine + at, golden_rope[i].cosine[p], D / 2, 2e-7, 1e-7);
            check_close(sine + at, golden_rope[i].sine[p], D / 2, 2e-7, 1e-7);
        }
    }
}

static void rotation_is_that_of_transformers(void **state)
{
    (void)state;
    enum { STRIDE = 2 * D + 3 };
    struct pool *pool = kernel_pool(2);
    KERNEL_EACH_ISA(isa)
    for (size_t i = 0; i < COUNT(golden_rope); i++) {
        rope_tables(cosine, sine, golden_rope[i].f, T, D);
        float x[POSITIONS * STRIDE];
        for (size_t j = 0; j < COUNT(x); j++)
            x[j] = 77.0f;
        for (size_t p = 0; p < POSITIONS; p++)
            for (size_t h = 0; h < 2; h++)
                memcpy(x + p * STRIDE + h * D, golden_x, sizeof golden_x);
        rope_forward(pool, x, STRIDE, golden_position, cosine, sine, POSITIONS, 2, D);
        for (size_t p = 0; p < POSITIONS; p++) {
            check_close(x + p * STRIDE, golden_rope[i].y[p], D, 3e-7, 3e-7);
            check_close(x + p * STRIDE + D, golden_rope[i].y[p], D, 3e-7, 3e-7);
            assert_true(x[p * STRIDE + 2 * D] == 77.0f); /* not past the heads */
        }
    }
    pool_free(pool);
}

/* Heads of all kinds of sizes, against the formula of rope.h in double: angles are turned by
 * eights, fours and ones. */
static void heads_of_any_size_are_turned_by_the_formula(void **state)
{
    (void)state;
    enum { HEADS = 3, ROWS = 5 };
    static const size_t sizes[] = {2, 6, 8, 10, 16, 24, 26, 44, 64};
    const uint32_t position[ROWS] = {0, 3, 1, 7, 3};
    KERNEL_EACH_ISA(isa)
    for (size_t i = 0; i < COUNT(sizes); i++) {
        const size_t size = sizes[i], half = size / 2, row = HEADS * size;
        float *c = kernel_random(8 * half, 1), *s = kernel_random(8 * half, 2);
        float *x = kernel_random(ROWS * row, 3), *y = kernel_copy(x, ROWS * row);
        rope_forward(NULL, y, row, position, c, s, ROWS, HEADS, size);
        for (size_t j = 0; j < ROWS * row; j++) {
            const size_t n = j / row, d = j % size, angle = position[n] * half + d % half;
            const double other = (double)x[d < half ? j + half : j - half];
            const double turned = (d < half ? -other : other) * (double)s[angle];
            const float want = (float)((double)x[j] * (double)c[angle] + turned);
            check_close(&y[j], &want, 1, 3e-7, 3e-7);
        }
        float *const all[] = {c, s, x, y};
        for (size_t k = 0; k < COUNT(all); k++)
            free(all[k]);
    }
}

/* A rotation R has R^T = R^-1, and the gradient of y = R x is dx = R^T dy. */
static void backward_undoes_forward(void **state)
{
    (void)state;
    enum { HEADS = 3, ROWS = 40 };
    float *x = kernel_random(ROWS * HEADS * D, 1), *y = kernel_copy(x, ROWS * HEADS * D);
    uint32_t position[ROWS];
    for (uint32_t n = 0; n < ROWS; n++)
        position[n] = n * 101;
    rope_tables(cosine, sine, golden_rope[0].f, T, D);
    rope_forward(NULL, y, HEADS * D, position, cosine, sine, ROWS, HEADS, D);
    assert_true(y[HEADS * D] != x[HEADS * D]);
    rope_backward(NULL, y, HEADS * D, position, cosine, sine, ROWS, HEADS, D);
    check_close(y, x, ROWS * HEADS * D, 1e-6, 1e-6);
    free(x);
    free(y);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_are_those_of_transformers),
        cmocka_unit_test(rotation_is_that_of_transformers),
        cmocka_unit_test(heads_of_any_size_are_turned_by_the_formula),
        cmocka_unit_test(backward_undoes_forward),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

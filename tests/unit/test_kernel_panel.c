/*
 * test_kernel_panel.c -- panels against the index formulas of panel.h, element by element.
 */
#include "engine/kernels/gemm.h"
#include "engine/kernels/panel.h"
#include "tests/kernel_test.h"

enum { ROWS = 40, DEPTH = 70, STRIDE = DEPTH + 3, STEP = ROWS * GEMM_PANEL };

static const size_t depths[] = {1, 7, 15, 16, 17, 31, 32, 48, 63, DEPTH};

/* x with not one float after the last row's. */
static float *rows_of(size_t rows, size_t depth)
{
    return kernel_random((rows - 1) * STRIDE + depth, 1);
}

static void check_columns(size_t rows, size_t depth, bool past)
{
    _Alignas(64) float got[(DEPTH + 1) * GEMM_PANEL];
    float *x = rows_of(rows, depth);
    for (size_t i = 0; i < COUNT(got); i++)
        got[i] = 55.0f;
    if (past) {
        panel_columns_past(got, x, STRIDE, rows, depth);
        panel_past_end();
    } else {
        panel_columns(got, x, STRIDE, rows, depth);
    }
    for (size_t d = 0; d <= depth; d++)
        for (size_t r = 0; r < GEMM_PANEL; r++) {
            const float want = d == depth ? 55.0f : r < rows ? x[r * STRIDE + d] : 0.0f;
            check_same_bits(&got[d * GEMM_PANEL + r], &want, 1);
        }
    free(x);
}

static void columns_lie_side_by_side(void **state)
{
    (void)state;
    KERNEL_EACH_ISA(isa)
    for (size_t rows = 1; rows <= GEMM_PANEL; rows++)
        for (size_t d = 0; d < COUNT(depths); d++) {
            check_columns(rows, depths[d], false);
            check_columns(rows, depths[d], true);
        }
}

static void check_rows(size_t rows, size_t depth)
{
    static float got[(DEPTH / GEMM_PANEL + 2) * STEP];
    const size_t panels = (depth + GEMM_PANEL - 1) / GEMM_PANEL;
    float *x = rows_of(rows, depth);
    for (size_t i = 0; i < COUNT(got); i++)
        got[i] = 55.0f;
    panel_rows(got, STEP, x, STRIDE, rows, depth);
    for (size_t i = 0; i < COUNT(got); i++) {
        const size_t c = i / STEP, r = i % STEP / GEMM_PANEL;
        const size_t d = c * GEMM_PANEL + i % GEMM_PANEL;
        const bool there = c < panels && r < rows;
        const float want = !there ? 55.0f : d < depth ? x[r * STRIDE + d] : 0.0f;
        check_same_bits(&got[i], &want, 1);
    }
    free(x);
}

static void rows_lie_sixteen_channels_wide(void **state)
{
    (void)state;
    KERNEL_EACH_ISA(isa)
    for (size_t rows = 1; rows <= ROWS; rows += 13)
        for (size_t d = 0; d < COUNT(depths); d++)
            check_rows(rows, depths[d]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(columns_lie_side_by_side),
        cmocka_unit_test(rows_lie_sixteen_channels_wide),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* gemm_cut.c -- see gemm_cut.h. */
#include "engine/kernels/gemm_cut.h"

#include <stdbool.h>

enum {
    GEMM_CUT_ALONE = 400000, /* floating-point operations that do not repay waking a thread */
    GEMM_CUT_UNIT = 32,      /* columns: whole pairs of panels */
};

static size_t gemm_cut_ceil(size_t a, size_t b)
{
    return (a + b - 1) / b;
}

struct gemm_cut gemm_cut_make(struct pool *pool, size_t rows, size_t cols, size_t depth,
                              struct gemm_cut_limits limits)
{
    const size_t threads = pool_threads(pool);
    const bool alone = threads == 1 || 2.0 * (double)rows * (double)cols * (double)depth <
                                           (double)GEMM_CUT_ALONE;
    size_t col_tasks = gemm_cut_ceil(cols, limits.cols), row_tasks = 1;
    if (!alone) {
        const size_t want = limits.shares * threads;
        row_tasks = gemm_cut_ceil(rows, limits.rows);
        if (row_tasks * col_tasks < want)
            col_tasks = gemm_cut_ceil(want, row_tasks);
    }
    struct gemm_cut cut = {.rows = gemm_cut_ceil(rows, row_tasks), .pool = alone ? NULL : pool};
    cut.row_tasks = gemm_cut_ceil(rows, cut.rows);
    cut.cols = gemm_cut_ceil(gemm_cut_ceil(cols, col_tasks), GEMM_CUT_UNIT) * GEMM_CUT_UNIT;
    if (cut.cols > limits.cols)
        cut.cols = limits.cols;
    cut.tasks = cut.row_tasks * gemm_cut_ceil(cols, cut.cols);
    return cut;
}

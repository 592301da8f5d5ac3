/*
 * gemm_cut.h -- a product's result cut into rectangles, one a task of the pool.
 *
 * How it is cut changes the speed alone: an element's sum never leaves its task.
 */
#ifndef ENGINE_KERNELS_GEMM_CUT_H
#define ENGINE_KERNELS_GEMM_CUT_H

#include <stddef.h>

#include "engine/pool.h"

struct gemm_cut_limits {
    size_t rows;   /* of a task, roughly: enough to repay the packing of its columns */
    size_t cols;   /* of a task, at most: a multiple of 32 */
    size_t shares; /* tasks a thread, at least: more of them share an uneven machine evenly */
};

struct gemm_cut {
    size_t rows, cols; /* of a task; the last ones have less */
    size_t row_tasks, tasks;
    struct pool *pool; /* NULL: too small to wake a thread for */
};

/* Task i has the rows from i % row_tasks * rows on, and the columns from i / row_tasks * cols.
 * rows and cols, of the result, are not 0; depth is the terms of a sum. */
struct gemm_cut gemm_cut_make(struct pool *pool, size_t rows, size_t cols, size_t depth,
                              struct gemm_cut_limits limits);

#endif

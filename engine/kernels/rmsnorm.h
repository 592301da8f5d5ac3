/*
 * rmsnorm.h -- root-mean-square normalization of each row, forward and backward.
 *
 *     y[n,c] = x[n,c] * r[n] * w[c]        r[n] = 1 / sqrt(mean_c(x[n,c]^2) + eps)
 *
 * Shapes, row-major, channel fastest; N rows, C channels:
 *     x, y, dx, dy  (N,C)        w, dw  (C)        r  (N)
 * x_stride and the like are floats from one row to the next (C where rows are dense; more for
 * one head of many).  No array may overlap another.  No allocation.  The sum of squares is
 * taken in double, so a row's bits depend on the row alone.
 */
#ifndef ENGINE_KERNELS_RMSNORM_H
#define ENGINE_KERNELS_RMSNORM_H

#include <stddef.h>

#include "engine/pool.h"

/* Write y, and r for rmsnorm_backward (r may be NULL). */
void rmsnorm_forward(struct pool *pool, float *y, size_t y_stride, float *r, const float *x,
                     size_t x_stride, const float *w, size_t N, size_t C, float eps);

/* The same of the sum x + add, all rows dense: x (N,C) += add (N,C), then y and r of it. */
void rmsnorm_residual_forward(struct pool *pool, float *y, float *r, float *x, const float *add,
                              const float *w, size_t N, size_t C, float eps);

/* Add the gradients to dx and dw (+=).  x, w and r are those of the forward pass. */
void rmsnorm_backward(struct pool *pool, float *dx, size_t dx_stride, float *dw,
                      const float *dy, size_t dy_stride, const float *x, size_t x_stride,
                      const float *w, const float *r, size_t N, size_t C);

#endif

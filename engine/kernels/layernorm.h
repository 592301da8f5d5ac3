/*
 * layernorm.h -- normalization of each row to mean 0 and variance 1, forward and backward.
 *
 *     y[n,c] = (x[n,c] - mean[n]) * r[n] * w[c] + b[c]
 *     mean[n] = mean_c(x[n,c])       r[n] = 1 / sqrt(mean_c((x[n,c] - mean[n])^2) + eps)
 *
 * Shapes, row-major, channel fastest; N rows, C channels, rows dense:
 *     x, y, dx, dy  (N,C)        w, b, dw, db  (C)        mean, r  (N)
 * No array may overlap another.  No allocation.  Mean and variance are taken in double, so a
 * row's bits depend on the row alone.
 */
#ifndef ENGINE_KERNELS_LAYERNORM_H
#define ENGINE_KERNELS_LAYERNORM_H

#include <stddef.h>

#include "engine/pool.h"

/* Write y, and mean and r for layernorm_backward (both may be NULL). */
void layernorm_forward(struct pool *pool, float *y, float *mean, float *r, const float *x,
                       const float *w, const float *b, size_t N, size_t C, float eps);

/* The same of the sum x + add: x (N,C) += add (N,C), then y, mean and r of it. */
void layernorm_residual_forward(struct pool *pool, float *y, float *mean, float *r, float *x,
                                const float *add, const float *w, const float *b, size_t N,
                                size_t C, float eps);

/* Add the gradients to dx, dw and db (+=).  x, w, mean, r are those of the forward pass. */
void layernorm_backward(struct pool *pool, float *dx, float *dw, float *db, const float *dy,
                        const float *x, const float *w, const float *mean, const float *r,
                        size_t N, size_t C);

#endif

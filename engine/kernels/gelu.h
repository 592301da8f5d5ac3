/*
 * gelu.h -- Gaussian error linear unit in the tanh form (GPT-2's gelu_new), both passes.
 *
 *     y = x/2 (1 + tanh( sqrt(2/pi) (x + 0.044715 x^3) ))
 *
 * Shapes: x, y, dx, dy (n) dense.  Elementwise.
 */
#ifndef ENGINE_KERNELS_GELU_H
#define ENGINE_KERNELS_GELU_H

#include <stddef.h>

#include "engine/pool.h"

void gelu_forward(struct pool *pool, float *y, const float *x, size_t n);

/* Write (not add) dx; it may be dy or x itself (in place).  y gets what the forward pass wrote,
 * the same bits, or is NULL. */
void gelu_backward(struct pool *pool, float *dx, float *y, const float *dy, const float *x,
                   size_t n);

#endif

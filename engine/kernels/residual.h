/*
 * residual.h -- sums of whole arrays: the residual stream.
 *
 *     x[i] += y[i]
 */
#ifndef ENGINE_KERNELS_RESIDUAL_H
#define ENGINE_KERNELS_RESIDUAL_H

#include <stddef.h>

#include "engine/pool.h"

/* x (n) += y (n).  Its backward is the same call on the gradients. */
void residual_add(struct pool *pool, float *x, const float *y, size_t n);

#endif

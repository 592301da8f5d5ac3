/*
 * residual.h -- sums of whole arrays: the residual stream.
 *
 *     x[i] += y[i]
 */
#ifndef ENGINE_KERNELS_RESIDUAL_H
#define ENGINE_KERNELS_RESIDUAL_H

#include <stddef.h>

#include "engine/kernels/isa.h"

#include "engine/pool.h"

/* x (n) += y (n).  Its backward is the same call on the gradients. */
void residual_add(struct pool *pool, float *x, const float *y, size_t n);

/* A part of it, as a body for ISA_FUNCTION: what is added to before it is read again. */
static inline ISA_BODY void residual_row(float *restrict x, const float *restrict y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] += y[i];
}

#endif

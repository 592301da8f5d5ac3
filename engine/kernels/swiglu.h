/*
 * swiglu.h -- the gated activation of Llama's feed-forward layer, forward and backward.
 *
 *     out[n,f] = silu(gate[n,f]) * up[n,f]        silu(z) = z / (1 + e^-z)
 *
 * Shapes, row-major: gate, up, dgate, dup (N,F), `stride` floats from row to row (so that both
 * may be halves of one product); out, dout (N,F) dense.  Elementwise: no order to keep.
 */
#ifndef ENGINE_KERNELS_SWIGLU_H
#define ENGINE_KERNELS_SWIGLU_H

#include <stddef.h>

#include "engine/pool.h"

void swiglu_forward(struct pool *pool, float *out, const float *gate, const float *up,
                    size_t stride, size_t N, size_t F);

/* Write (not add) dgate and dup.  They may be gate and up themselves (same pointer, in place).
 * out gets what the forward pass wrote, the same bits, or is NULL. */
void swiglu_backward(struct pool *pool, float *dgate, float *dup, float *out, const float *dout,
                     const float *gate, const float *up, size_t stride, size_t N, size_t F);

#endif

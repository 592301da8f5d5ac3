/*
 * embedding.h -- rows of a table chosen by id, forward and backward.
 *
 *     x[n,c] = wte[ids[n], c]  (+ wpe[position[n], c])
 *
 * Shapes: x, dx (N,C)   wte, dwte (V,C)   wpe, dwpe (T,C)   ids, position (N).
 * The caller has checked every id and position.  wpe NULL: no learned positions.
 */
#ifndef ENGINE_KERNELS_EMBEDDING_H
#define ENGINE_KERNELS_EMBEDDING_H

#include <stddef.h>
#include <stdint.h>

#include "engine/pool.h"

void embedding_forward(struct pool *pool, float *x, const int32_t *ids, const float *wte,
                       const uint32_t *position, const float *wpe, size_t N, size_t C);

/* dwte[ids[n]] += dx[n], dwpe[position[n]] += dx[n] (dwpe may be NULL), in ascending n. */
void embedding_backward(struct pool *pool, float *dwte, float *dwpe, const float *dx,
                        const int32_t *ids, const uint32_t *position, size_t N, size_t C);

#endif

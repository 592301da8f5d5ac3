/*
 * rope.h -- rotary position embedding, half-split as in Hugging Face's Llama.
 *
 *     y[d]       = x[d] cos(t f[d]) - x[d+D/2] sin(t f[d])        d < D/2, position t
 *     y[d + D/2] = x[d+D/2] cos(t f[d]) + x[d] sin(t f[d])
 *
 * f[d] = theta^(-2d/D), then scaled (transformers, modeling_rope_utils.py):
 *     linear   f / factor
 *     llama3   f / factor where the wavelength 2 pi / f exceeds original_T / low_freq_factor,
 *              f where it is below original_T / high_freq_factor, between them a blend
 *
 * Shapes: x (N, heads*D) with `stride` floats from row to row; tables (T, D/2).
 * The backward of a rotation is the rotation by the opposite angle.
 */
#ifndef ENGINE_KERNELS_ROPE_H
#define ENGINE_KERNELS_ROPE_H

#include <stddef.h>
#include <stdint.h>

#include "engine/config.h"
#include "engine/pool.h"

/* f (D/2).  Rounded to float as transformers holds it; D even. */
void rope_frequencies(float *f, const struct model_config *config);

/* cos, sin (T, D/2) for positions 0 .. T-1.  The angle is rounded to float as transformers
 * does; its cosine and sine are those of that float, rounded once. */
void rope_tables(float *cos_table, float *sin_table, const float *f, size_t T, size_t D);

/* Rotate in place: row n by position[n] (< T of the tables). */
void rope_forward(struct pool *pool, float *x, size_t stride, const uint32_t *position,
                  const float *cos_table, const float *sin_table, size_t N, size_t heads,
                  size_t D);

/* Rotate a gradient in place, back. */
void rope_backward(struct pool *pool, float *dx, size_t stride, const uint32_t *position,
                   const float *cos_table, const float *sin_table, size_t N, size_t heads,
                   size_t D);

#endif

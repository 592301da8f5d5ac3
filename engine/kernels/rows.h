/*
 * rows.h -- small products between rows of arrays: what attention is made of.
 *
 *     rows_dot        s[i,j]   = q[i] . x[j]
 *     rows_combine    out[i,d] += sum_j w[i,j] x[j,d]
 *
 * Shapes: q (I,D)   x (J,D)   out (I,D); a stride is floats from one row to the next.
 * A dot product is summed as lanes_dot of lanes.h does; an element of a combination is one
 * chain of fused multiply-adds over ascending j, begun at its old value.  Neither depends on
 * how many rows are computed together or on the instruction set.  No array may overlap a
 * result.  Nothing allocates.
 */
#ifndef ENGINE_KERNELS_ROWS_H
#define ENGINE_KERNELS_ROWS_H

#include <stddef.h>

/* s[i * s_stride + j] for i < I, j < J. */
void rows_dot(float *s, size_t s_stride, const float *q, size_t q_stride, size_t I,
              const float *x, size_t x_stride, size_t J, size_t D);

/* w[i,j] is w[i * w_row + j * w_step]. */
void rows_combine(float *out, size_t out_stride, size_t I, const float *w, size_t w_row,
                  size_t w_step, const float *x, size_t x_stride, size_t J, size_t D);

#endif

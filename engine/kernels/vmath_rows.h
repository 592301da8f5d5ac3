/*
 * vmath_rows.h -- vmath.h over arrays, by the widest registers there are.
 *
 *     y[i] = f(x[i])      i < n
 *
 * The bits are those of vmath.h in the engine's mode (flush-to-zero on); of a NaN only the payload
 * may differ.  y may be x.  What a compiler makes of a loop over vmath_exp is half as fast.
 */
#ifndef ENGINE_KERNELS_VMATH_ROWS_H
#define ENGINE_KERNELS_VMATH_ROWS_H

#include <stddef.h>

void vmath_rows_exp(float *y, const float *x, size_t n);
void vmath_rows_tanh(float *y, const float *x, size_t n);
void vmath_rows_sigmoid(float *y, const float *x, size_t n);

#endif

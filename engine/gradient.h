/*
 * gradient.h -- in what the gradients of micro-batches are summed, and sent.
 *
 *     fp32   T(a, 1) = leaf a        T(a, n) = T(a, p) + T(a + p, n - p)
 *     bf16   T(a, 1) = r(leaf a)     T(a, n) = r(T(a, p) + T(a + p, n - p))
 *
 * along the tree of control/summation.h, where an addition is of float32 and r rounds to bfloat16
 * (engine/kernels/bf16.h: to nearest, ties to even).  Every sum is rounded, the whole one too, also
 * where one process computes them all: so each of them can be sent in half of the bytes, packed,
 * and nothing is lost by that, whoever computes which.
 *
 * The error of bf16.  r changes a number by at most u = 2^-8 of its size, and a leaf passes d + 1
 * roundings, d = ceil(log2 n): so the sum of n leaves is off by at most
 *
 *     ((1 + u)^(d + 1) - 1) (|leaf 0| + ... + |leaf n-1|)
 *
 * beyond what float32 loses, 2.4 % of 32 leaves.  Roundings to nearest go up as often as down: of
 * 32 random leaves it is 0.14 % in the mean.  The range is float32's, so no scale is needed, but
 * for subnormals, which become zeros.  Infinite stays infinite, and a NaN one; what passes 3.39e38
 * becomes infinite: a gradient that cannot be used is noticed as before.
 *
 * A packed sum is n bfloat16 at the front of the memory of n floats.  A node is packed as it
 * becomes final, from the back, and so to the back of its memory: what is not final yet is not
 * written over.  None of these allocates.
 */
#ifndef ENGINE_GRADIENT_H
#define ENGINE_GRADIENT_H

#include <stddef.h>

#include "engine/precision.h"

/* Of a packed number: 4 or 2. */
size_t gradient_bytes(enum precision kind);

/* leaf (n) becomes r(leaf). */
void gradient_round(enum precision kind, float *leaf, size_t n);

/* into (n) becomes T's sum of from and into, which were rounded. */
void gradient_add(enum precision kind, float *into, const float *from, size_t n);

/* The same of packed numbers into a third array, which may be one of them. */
void gradient_add_packed(enum precision kind, void *out, const void *from, const void *into,
                         size_t n);

/* Where the packed numbers of x (n) come to lie. */
void *gradient_packed(enum precision kind, float *x, size_t n);

/* Numbers first .. end-1 of x (n), rounded before, to packed, in place; those from `end` on are
 * packed already. */
void gradient_pack(enum precision kind, float *x, size_t n, size_t first, size_t end);

/* x, n packed numbers at the front, to floats, in place. */
void gradient_unpack(enum precision kind, float *x, size_t n);

#endif

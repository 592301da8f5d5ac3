/*
 * bgemm.h -- the products of a linear layer from operands in bfloat16, summed in float32.
 *
 *     y[m,n]  = b[n] + sum_k x[m,k] w[n,k]        bgemm_multiply, w packed by bgemm_pack
 *     dx[m,k] =        sum_n dy[m,n] w[n,k]       bgemm_multiply, w turned by bgemm_pack_both
 *     dw[n,k] =        sum_m dy[m,n] x[m,k]       bgemm_dw
 *
 * Shapes, row-major, float32: x, dx (M,K)   w, dw (N,K)   y, dy (M,N)   b (N).  Operands are
 * rounded by engine/kernels/bf16.h on their way into the product; b and the old values of a
 * result are not.
 *
 * The promise: with a, b the rounded operands, an element c of a result begins at 0, at the
 * bias or (adding) at the old value, and becomes, for each BGEMM_STEP terms of ascending
 * index counted from 0,
 *
 *     even = fma(a[30],b[30], ... fma(a[2],b[2], fma(a[0],b[0], +0)))        of 16 even terms
 *     odd  = fma(a[31],b[31], ... fma(a[3],b[3], fma(a[1],b[1], +0)))        of 16 odd terms
 *     c    = c + (even + odd)
 *
 * the last step filled up with zeros.  Each fma and each + rounds to nearest, ties to even, to
 * float32; each reads a subnormal operand as zero and makes of a subnormal result a zero of its
 * sign, where what rounds up to 2^-126 in 24 bits of unlimited exponent is none.  That is what
 * one TDPBF16PS does to a tile (Intel's Software Developer's Manual, volume 2, describes it;
 * the tests hold instruction and words to each other), and what the path for other CPUs does
 * with their fma.  So an element has the same bits for every M, every neighbour in the batch,
 * every number of threads and every x86-64 CPU.  Only the payload of a NaN is not promised.
 *
 * Against exact sums of the rounded operands, of n terms in s = ceil(n / 32) steps:
 *     |c - exact| <= (16 + 1 + s) 2^-24 (|start| + sum |a b|) (1 + 2^-10)
 * for s below 2^13, and a subnormal's size each operation.
 *
 * No result may overlap an input.  Nothing allocates; each thread uses up to 1 MiB of stack.
 */
#ifndef ENGINE_KERNELS_BGEMM_H
#define ENGINE_KERNELS_BGEMM_H

#include <stddef.h>
#include <stdint.h>

#include "engine/kernels/gemm.h"
#include "engine/pool.h"

#define BGEMM_STEP 32 /* terms of the sum that one step adds */

/* The right operand, turned into panels of GEMM_PANEL columns of the result: a word is a pair of
 * neighbouring terms, panels[p][i][j] = terms 2i and 2i+1 of column p * GEMM_PANEL + j, i below
 * depth rounded up to steps; zeros where there is none. */
struct bgemm_packed {
    const uint32_t *panels; /* bgemm_packed_words(cols, depth), the caller's */
    size_t cols, depth;
};

size_t bgemm_packed_words(size_t cols, size_t depth);

/* Fill `storage` (64-byte aligned; it must live as long as the result is used) from w (N,K):
 * for y, N columns of K terms; turned, for dx, K columns of N terms.  Both ways at once, w is
 * read from memory once. */
void bgemm_pack(struct pool *pool, struct bgemm_packed *packed, uint32_t *storage,
                const float *w, size_t w_stride, size_t N, size_t K);
void bgemm_pack_both(struct pool *pool, struct bgemm_packed *packed, uint32_t *storage,
                     struct bgemm_packed *turned, uint32_t *turned_storage, const float *w,
                     size_t w_stride, size_t N, size_t K);

/* c (M, cols) from left (M, depth).  bias (cols) or NULL, which it is with GEMM_ADD. */
void bgemm_multiply(struct pool *pool, float *c, size_t c_stride, const float *left,
                    size_t left_stride, const struct bgemm_packed *right, const float *bias,
                    size_t M, enum gemm_into into);

/* dw (N,K) from dy (M,N) and x (M,K); the sum of an element runs over ascending m. */
void bgemm_dw(struct pool *pool, float *dw, size_t dw_stride, const float *dy, size_t dy_stride,
              const float *x, size_t x_stride, size_t M, size_t N, size_t K,
              enum gemm_into into);

#endif

/*
 * gemm.h -- the products of a linear layer in float32, forward and backward.
 *
 *     y[m,n]  = b[n] + sum_k x[m,k] w[n,k]        gemm_forward
 *     dx[m,k] =        sum_n dy[m,n] w[n,k]       gemm_dx
 *     dw[n,k] =        sum_m dy[m,n] x[m,k]       gemm_dw
 *     db[n]   +=       sum_m dy[m,n]              gemm_db
 *
 * Shapes, row-major: x, dx (M,K)   w, dw (N,K)   y, dy (M,N)   b, db (N).  M rows (tokens),
 * K inputs, N outputs.  x_stride and the like are floats from one row to the next.
 *
 * The promise: each element of a result is one chain of fused multiply-adds over ascending
 * index, begun at 0, at the bias, or (adding) at the old value.  So it has the same bits for
 * every M, every neighbour in the batch, every number of threads and every instruction set.
 * It holds for GEMM_OWN; see gemm_backward_use.
 *
 * No result may overlap an input.  Nothing allocates; each thread uses up to 1 MiB of stack.
 * Callers have called pool_thread_init, or denormals cost up to ten times the time.
 */
#ifndef ENGINE_KERNELS_GEMM_H
#define ENGINE_KERNELS_GEMM_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/pool.h"

#define GEMM_PANEL 16 /* columns of a packed panel */

/* A weight (N,K) turned into panels of GEMM_PANEL outputs, inputs ascending in each:
 * panels[p][k][j] = w[p * GEMM_PANEL + j][k], 0 beyond N. */
struct gemm_packed {
    const float *panels; /* gemm_packed_floats(N,K) floats, the caller's */
    size_t N, K;
};

size_t gemm_packed_floats(size_t N, size_t K);

/* Fill `storage` (64-byte aligned, gemm_packed_floats(N,K) floats; it must live as long as the
 * result is used) from w.  To be done again whenever w changes. */
void gemm_pack(struct pool *pool, struct gemm_packed *packed, float *storage, const float *w,
               size_t w_stride, size_t N, size_t K);

enum gemm_into {
    GEMM_SET, /* the result replaces what was there */
    GEMM_ADD, /* the chain begins at what was there (plus the bias, if one is given) */
};

/* y (M,N) from x (M,K).  bias (N) or NULL.  M may be 0. */
void gemm_forward(struct pool *pool, float *y, size_t y_stride, const float *x, size_t x_stride,
                  const struct gemm_packed *w, const float *bias, size_t M,
                  enum gemm_into into);

/* dx (M,K) from dy (M,N) and the unpacked w (N,K). */
void gemm_dx(struct pool *pool, float *dx, size_t dx_stride, const float *dy, size_t dy_stride,
             const float *w, size_t w_stride, size_t M, size_t N, size_t K,
             enum gemm_into into);

/* dw (N,K) from dy (M,N) and x (M,K); the chain of an element runs over ascending m. */
void gemm_dw(struct pool *pool, float *dw, size_t dw_stride, const float *dy, size_t dy_stride,
             const float *x, size_t x_stride, size_t M, size_t N, size_t K,
             enum gemm_into into);

/* db (N) += the columns of dy, ascending m. */
void gemm_db(struct pool *pool, float *db, const float *dy, size_t dy_stride, size_t M,
             size_t N);

/*
 * The product inside one task of a kernel that is made of small ones (attention):
 *
 *     c[r][j] = sum_d left(r,d) panels[j / 16][d][j % 16]      or begun at the old c
 *
 * with the promise above.  Panel p is at panels + p * panel_step and has `depth` lines of
 * GEMM_PANEL floats.  Runs on the caller.
 */
struct gemm_part {
    float *c;
    size_t c_stride;
    const float *left; /* left(r,d) at [r * left_stride + d] */
    size_t left_stride;
    bool left_turned; /* at [d * left_stride + r] instead */
    const float *panels;
    size_t panel_step;
    size_t rows, cols, depth;
    enum gemm_into into;
};
void gemm_part(const struct gemm_part *part);

/*
 * Who computes gemm_dx and gemm_dw.  GEMM_OPENBLAS sets the library's thread count to that of
 * the pool at each call and gives no promise about bits beyond the same machine, same shapes.
 * To be called at start, before any other thread uses a kernel.
 */
enum gemm_library { GEMM_OWN, GEMM_OPENBLAS };
void gemm_backward_use(enum gemm_library library);

#endif

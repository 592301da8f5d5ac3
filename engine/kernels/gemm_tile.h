/*
 * gemm_tile.h -- the innermost part of gemm.c: a few rows times a few panels, in registers.
 *
 *     c[r][p*16+j] = from[r][p*16+j] + sum_d a(r,d) panel[p][d][j]     d ascending, one chain
 *
 * r < rows, p < panels, j < 16.  A tile function is made for each instruction set, number of
 * rows, number of panels and layout of the left block; all give the same bits.
 */
#ifndef ENGINE_KERNELS_GEMM_TILE_H
#define ENGINE_KERNELS_GEMM_TILE_H

#include <stddef.h>

#include "engine/kernels/gemm.h"
#include "engine/kernels/isa.h"

#define GEMM_DEPTH    384 /* steps of the contraction whose blocks stay in cache together */
#define GEMM_ROWS_MAX 14
#define GEMM_WIDTHS   4 /* panels of a tile: 1, 2, 4, 8 */

/* How the left block lies in scratch.  Its sides are constants, so that a tile addresses all
 * rows from one register, and odd to powers of two, so that they share no cache set. */
enum gemm_left {
    GEMM_LEFT_ROWS,    /* a(r,d) at [r * GEMM_LEFT_STRIDE + d] */
    GEMM_LEFT_COLUMNS, /* a(r,d) at [d * GEMM_PANEL + r] */
};
#define GEMM_LEFT_STRIDE (GEMM_DEPTH + 16)
#define GEMM_LEFT_FLOATS (GEMM_ROWS_MAX * GEMM_LEFT_STRIDE) /* of rows */

struct gemm_tile {
    size_t depth;
    const float *left;
    const float *panel; /* (depth, 16) each */
    size_t panel_step;  /* floats from panel p to p+1 */
    const float *from;  /* NULL: zeros */
    size_t from_stride; /* 0: one row for all, the bias */
    float *c;
    size_t c_stride;
};

typedef void gemm_tile_fn(const struct gemm_tile *tile);

struct gemm_tiles {
    size_t rows_max; /* most rows of a tile */
    /* [left][rows-1][log2 panels]; NULL: no such tile.  One panel exists for all rows. */
    gemm_tile_fn *fn[2][GEMM_ROWS_MAX][GEMM_WIDTHS];
};

const struct gemm_tiles *gemm_tiles_for(enum isa isa);

#endif

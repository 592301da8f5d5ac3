/*
 * bgemm_lay.h -- operands of bgemm.c rounded to bfloat16 and laid out as the tiles read them.
 *
 *     bgemm_lay_along     lines are rows of x, pairs lie along a row:
 *         tiles[s][l][i] = (x[l][32 s + 2 i], x[l][32 s + 2 i + 1])
 *     bgemm_lay_across    lines are pairs of rows of x, which has them one above the other:
 *         tiles[s][i][l] = (x[32 s + 2 i][l], x[32 s + 2 i + 1][l])
 *
 * l < lines <= 16, the terms 32 s + 2 i below `depth`; zeros elsewhere.  So a left operand
 * (rows, depth) is laid along, a right one (depth, columns) across; `turn` swaps i and l of
 * each tile, for operands that lie the other way round.  Tiles follow each other, a step after
 * the other.  x_stride is floats from a row of x to the next.
 */
#ifndef ENGINE_KERNELS_BGEMM_LAY_H
#define ENGINE_KERNELS_BGEMM_LAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void bgemm_lay_along(uint32_t *tiles, const float *x, size_t x_stride, size_t lines,
                     size_t depth, bool turn);

void bgemm_lay_across(uint32_t *tiles, const float *x, size_t x_stride, size_t lines,
                      size_t depth, bool turn);

#endif

/*
 * bgemm_lay.h -- operands of bgemm.c rounded to bfloat16 and laid out as the tiles read them.
 *
 *     bgemm_lay_along     a line is a row of x, and a pair lies along it:
 *         tile[p][s][l][i] = (x[16 p + l][32 s + 2 i], x[16 p + l][32 s + 2 i + 1])
 *     bgemm_lay_across    a line is a column of x, and a pair lies in two rows:
 *         tile[p][s][i][l] = (x[32 s + 2 i][16 p + l], x[32 s + 2 i + 1][16 p + l])
 *
 * For 16 p + l below `lines` and terms below `depth`; zeros elsewhere.  So a left operand
 * (rows, depth) is laid along, a right one (depth, columns) across; `turn` swaps i and l of each
 * tile, for operands that lie the other way round.  The tiles of p are `panel_step` words after
 * those of p - 1 and follow each other, a step after the other.  x_stride is floats from a row
 * of x to the next.
 */
#ifndef ENGINE_KERNELS_BGEMM_LAY_H
#define ENGINE_KERNELS_BGEMM_LAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bgemm_lay {
    uint32_t *tiles; /* 64-byte aligned */
    size_t panel_step;
    const float *x;
    size_t x_stride;
    size_t lines, depth;
    bool turn;
    bool past; /* the caches: for tiles that are not read soon (engine/kernels/panel.h) */
};

void bgemm_lay_along(const struct bgemm_lay *lay);
void bgemm_lay_across(const struct bgemm_lay *lay);

#endif

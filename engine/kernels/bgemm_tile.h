/*
 * bgemm_tile.h -- the innermost part of bgemm.c: 16 or 32 rows times 16 or 32 columns.
 *
 *     c[r][j] = from[r][j], then for each step what bgemm.h says of it
 *
 * All operands are tiles of 16 lines of 16 words: of the left operand a line is a row and a
 * word a pair of terms; of the right one a line is a pair of terms and a word a column.
 */
#ifndef ENGINE_KERNELS_BGEMM_TILE_H
#define ENGINE_KERNELS_BGEMM_TILE_H

#include <stddef.h>
#include <stdint.h>

#define BGEMM_SIDE  16 /* rows, columns, and words of a line */
#define BGEMM_WORDS (BGEMM_SIDE * BGEMM_SIDE)

struct bgemm_tile {
    size_t steps;
    size_t rows, cols;    /* 1 to 32 rows that matter: more may be computed; 16 or 32 columns */
    const uint32_t *left; /* [step][BGEMM_WORDS], 64-byte aligned */
    size_t left_step;     /* words from the upper 16 rows to the lower */
    const uint32_t *right; /* [step][BGEMM_WORDS], aligned too */
    size_t right_step;     /* words from the first 16 columns to the second */
    const uint32_t *ahead; /* right of the next tile, to be fetched from memory; or NULL */
    const float *from;     /* NULL: zeros */
    size_t from_stride;    /* 0: one row for all, the bias */
    float *c;
    size_t c_stride;
    const float *next; /* c of the next tile, to be fetched too; or NULL */
};

typedef void bgemm_tile_fn(const struct bgemm_tile *tile);

struct bgemm_tiles {
    bgemm_tile_fn *fn[2][2]; /* [rows / 16 - 1][columns / 16 - 1] */
    /* Before the tiles of a task, on its thread; and after them, with what begin returned. */
    unsigned (*begin)(void);
    void (*end)(unsigned before);
};

/* By the matrix tiles where amx_ready(), else by fma; the bits are the same. */
const struct bgemm_tiles *bgemm_tiles_used(void);

#endif

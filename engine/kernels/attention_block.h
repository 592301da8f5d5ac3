/*
 * attention_block.h -- queries against keys and values, a block of keys after the other, with the
 * softmax taken as it goes (Milakov and Gimelshein, arXiv:1805.02867).
 *
 * What attention over packed sequences and over caches have in common; see attention.h for the
 * order of the sums.  Nothing allocates; runs on the caller.
 */
#ifndef ENGINE_KERNELS_ATTENTION_BLOCK_H
#define ENGINE_KERNELS_ATTENTION_BLOCK_H

#include <stddef.h>

#include "engine/kernels/attention.h"
#include "engine/kernels/gemm.h"

enum {
    ATTENTION_ROWS = 32,              /* query rows of a task */
    ATTENTION_KEYS = ATTENTION_BLOCK, /* 64: four panels, four times LANES */
};

static inline size_t attention_min(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* D rounded up to whole panels. */
static inline size_t attention_wide(size_t D)
{
    return (D + GEMM_PANEL - 1) / GEMM_PANEL * GEMM_PANEL;
}

/* Rows of keys or values as panels.  Columns: the channels of 16 rows ascend, what a product over
 * channels wants; rows that are not there are zeros, so that nobody reads what was never
 * written.  Rows: of 16 channels the rows ascend, what a product over rows wants; a panel has
 * room for `lines` of them. */
void attention_lay_columns(float *panels, const float *x, size_t stride, size_t rows, size_t D);
void attention_lay_rows(float *panels, size_t lines, const float *x, size_t stride, size_t rows,
                        size_t D);

/* Asserts what attention.h asks of a shape. */
void attention_check(const struct attention *shape);

/* Some queries against the keys of one head: row r sees the first keys + r * step of them.
 * Step is 1 for consecutive tokens of one head, 0 for the heads of one token. */
struct attention_queries {
    float *out;
    const float *q;
    size_t out_stride, q_stride;
    size_t rows, keys, step; /* rows <= ATTENTION_ROWS */
    size_t D;
    float scale;
};

/* The softmax of some rows after some blocks of keys: the sums are relative to `max`. */
struct attention_soft {
    float max[ATTENTION_ROWS], sum[ATTENTION_ROWS];
    float keep[ATTENTION_ROWS]; /* what the sums so far are to be multiplied by */
};

/* What a task holds of its queries while blocks of keys go by. */
struct attention_work {
    bool turned; /* then p, sum and part are as attention_lanes.h has them, part the queries */
    struct attention_soft soft;
    _Alignas(64) float p[ATTENTION_ROWS * ATTENTION_KEYS];
    float sum[ATTENTION_ROWS * ATTENTION_D_MAX];  /* (rows, wide D) */
    float part[ATTENTION_ROWS * ATTENTION_D_MAX]; /* of sum: one block's */
};

/* A block of keys and values in panels: k 16 keys each, v 16 channels each. */
struct attention_panels {
    const float *k, *v;
    size_t k_step, v_step; /* floats from a panel to the next */
    size_t v_lines;        /* keys that follow each other in a panel of v: a multiple of 16 */
    size_t v_jump;         /* floats from the first of them to the first of the next so many */
};

void attention_start(struct attention_work *work, const struct attention_queries *a);

/* The keys j .. j+ATTENTION_KEYS-1, of which some row sees one. */
void attention_block(struct attention_work *work, const struct attention_queries *a, size_t j,
                     const struct attention_panels *panels);

/* Write out, and lse (rows) unless NULL. */
void attention_end(const struct attention_work *work, const struct attention_queries *a,
                   float *lse);

/*
 * Take a block of scores into the softmax of rows `first` .. first+rows-1.  Row r of them has its
 * ATTENTION_KEYS dot products at p + r * ATTENTION_KEYS, of which the first keys + r * step
 * count, at most all; they come back as weights relative to the new maximum, 0 beyond.
 */
void attention_soften(struct attention_soft *soft, float *p, size_t first, size_t rows,
                      size_t keys, size_t step, float scale);

#endif

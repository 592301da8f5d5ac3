/*
 * panel.h -- rows of an array laid out anew as the panels that gemm.h multiplies by.
 *
 *     panel_columns    panel[d][r]     = x[r][d]              r < rows: the rows side by side
 *     panel_rows       panel[c][r][i]  = x[r][c * 16 + i]     16 channels of each row
 *     panel_turn       to[c][r]        = from[r][c]           16 by 16 words of any kind
 *
 * A line of a panel has GEMM_PANEL floats; what has no x is 0.  Nothing is computed, so the
 * bits are those of x.  The panels overlap no input.  Nothing allocates.
 */
#ifndef ENGINE_KERNELS_PANEL_H
#define ENGINE_KERNELS_PANEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One panel of `depth` lines from at most GEMM_PANEL rows of x, `stride` floats apart. */
void panel_columns(float *panel, const float *x, size_t stride, size_t rows, size_t depth);

/* The same past the caches: what is overwritten is not read first.  For a panel, 64-byte aligned,
 * of a weight that is larger than PANEL_PAST_BYTES: it would not stay in a cache anyway.  After
 * panel_past_end other threads may read what this one wrote. */
void panel_columns_past(float *panel, const float *x, size_t stride, size_t rows, size_t depth);
void panel_past_end(void);
#define PANEL_PAST_BYTES ((size_t)1 << 20)

/* Panels of `rows` lines, `step` floats apart, from rows of `depth` floats of x. */
void panel_rows(float *panels, size_t step, const float *x, size_t stride, size_t rows,
                size_t depth);

/* `past` the caches, as above; `to` is 64-byte aligned then. */
void panel_turn(uint32_t *to, const uint32_t *from, bool past);

#endif

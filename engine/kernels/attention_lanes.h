/*
 * attention_lanes.h -- what attention_block.h computes, with sixteen queries side by side in a
 * register: the softmax of a query then is a lane, and a key or value a number for all of them.
 *
 * Needs AVX-512; the bits are those of attention_block.c.  Arrays of a query row are turned: the
 * channels or keys ascend, and of each there are ATTENTION_LANES numbers, one a query.  Runs
 * on the caller.
 */
#ifndef ENGINE_KERNELS_ATTENTION_LANES_H
#define ENGINE_KERNELS_ATTENTION_LANES_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/kernels/attention_block.h"

#define ATTENTION_LANES 16

/* True where these queries are enough to fill lanes, and the instruction set is there. */
bool attention_lanes_take(const struct attention_queries *a);

/* As attention_start, attention_block and attention_end, which call these where a work is turned;
 * the last writes `out` alone. */
void attention_lanes_start(struct attention_work *work, const struct attention_queries *a);
void attention_lanes_block(struct attention_work *work, const struct attention_queries *a,
                           size_t j, const struct attention_panels *panels);
void attention_lanes_end(const struct attention_work *work, const struct attention_queries *a);

#endif

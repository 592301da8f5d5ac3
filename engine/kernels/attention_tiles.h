/*
 * attention_tiles.h -- attention's way back by tiles: sixteen queries against sixteen keys, of
 * which the weights and what they are multiplied by are in registers or next to them.
 *
 * Needs AVX-512; the bits are those of attention_backward.c, and so is the order of all sums: of
 * a query's gradient over ascending keys, of a key's and a value's over the heads of the group
 * and in each over ascending queries.  A key lies in a lane where scores, dk and dv are computed,
 * a channel where dq is; no number is moved from one lane to another but at a key's end.
 */
#ifndef ENGINE_KERNELS_ATTENTION_TILES_H
#define ENGINE_KERNELS_ATTENTION_TILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/kernels/attention.h"

/* What attention_backward is given. */
struct attention_back {
    const struct attention *shape;
    float *dq, *dk, *dv;
    const float *dout, *q, *k, *v, *out, *lse;
    const uint32_t *offset;
    size_t seqs;
};

/* True where head sizes are whole half registers, and the instruction set is there. */
bool attention_tiles_take(const struct attention *shape);

/* All gradients of a group of heads of a sequence.  Uses up to 0.8 MiB of stack. */
void attention_tiles_backward(const struct attention_back *job, size_t seq, size_t g);

#endif

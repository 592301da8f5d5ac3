/*
 * block_half.h -- the halves of a layer over all rows they are given; for engine/block_*.c only.
 */
#ifndef ENGINE_BLOCK_HALF_H
#define ENGINE_BLOCK_HALF_H

#include "engine/block.h"

typedef void block_half(const struct block *block, const struct block_layer *layer,
                        const struct block_rows *rows);

block_half block_half_in;  /* before attention */
block_half block_half_out; /* after it */

#endif

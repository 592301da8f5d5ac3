/*
 * slab.h -- the memory of one protobuf unpacking: handed out piece by piece up to a cap, freed
 * all at once, so that a few bytes on the wire cannot become many in memory.
 */
#ifndef WIRE_SLAB_H
#define WIRE_SLAB_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>

struct slab_block;

struct slab {
    ProtobufCAllocator allocator; /* pass &slab.allocator to protobuf-c */
    struct slab_block *blocks;    /* newest first */
    size_t cap_bytes;             /* of all pieces together, with what each costs */
    size_t used_bytes;
    bool full; /* a piece was refused */
};

void slab_init(struct slab *slab, size_t cap_bytes);
void slab_release(struct slab *slab);

/* The size that was asked for when `piece` was handed out. */
size_t slab_piece_bytes(const void *piece);

#endif

/*
 * hash_lanes.h -- BLAKE2b-256 of several arrays at once, each as hash_blake2b gives it.
 *
 * One array's hash is a chain that no vector unit can speed up much (0.9 GB/s); eight chains
 * side by side fill its lanes: 4 GB/s with AVX-512, 2 GB/s with AVX2.  So what is large is cut
 * into pieces, each with a hash of its own, which also says which piece is damaged.
 */
#ifndef BASE_HASH_LANES_H
#define BASE_HASH_LANES_H

#include <stddef.h>

#include "base/hash.h"

#define HASH_LANES 8u

/* out[i] = hash_blake2b(bytes[i], size), for HASH_LANES of them. */
void hash_lanes_blake2b(struct hash out[HASH_LANES], const void *const bytes[HASH_LANES],
                        size_t size);

/* Pieces of piece_bytes (> 0) that `size` bytes are cut into; the last may be shorter. */
static inline size_t hash_lanes_pieces(size_t size, size_t piece_bytes)
{
    return size / piece_bytes + (size % piece_bytes != 0);
}

/* out (hash_lanes_pieces) becomes the hash of each piece. */
void hash_lanes_cut(struct hash *out, const void *bytes, size_t size, size_t piece_bytes);

#endif

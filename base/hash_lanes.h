/*
 * hash_lanes.h -- BLAKE2b-256 of several arrays at once, each as hash_blake2b gives it.
 *
 * One array's hash is a chain that no vector unit can speed up much (0.9 GB/s); eight chains
 * side by side fill its lanes: 4 GB/s with AVX-512, 2 GB/s with AVX2.  So what is large is cut
 * into pieces, each with a hash of its own, which also says which piece is damaged; and the hash of
 * the whole is the hash of those.
 */
#ifndef BASE_HASH_LANES_H
#define BASE_HASH_LANES_H

#include <stddef.h>

#include "base/hash.h"

#define HASH_LANES 8u

/*
 * out[i] = hash_blake2b(from[i], size) for n of them, 0..HASH_LANES, and to[i] becomes a copy of
 * from[i], which is made while its bytes are in the first-level cache.  to[i] may be from[i], but
 * overlap none else; `to` may be NULL: no copies.
 */
void hash_lanes_copy(struct hash *out, unsigned char *const *to,
                     const unsigned char *const *from, size_t n, size_t size);

/* out[i] = hash_blake2b(from[i], size[i]) for n of them, 0..HASH_LANES: for several short arrays,
 * since it takes as long as the longest of them. */
void hash_lanes_each(struct hash *out, const void *const *from, const size_t *size, size_t n);

/* Pieces of piece_bytes (> 0) that `size` bytes are cut into; the last may be shorter. */
static inline size_t hash_lanes_pieces(size_t size, size_t piece_bytes)
{
    return size / piece_bytes + (size % piece_bytes != 0);
}

/* out (hash_lanes_pieces) becomes the hash of each piece. */
void hash_lanes_cut(struct hash *out, const void *bytes, size_t size, size_t piece_bytes);

/*
 * One hash for all: the BLAKE2b-256 of the hashes of n pieces, one after the other.  So it costs
 * nothing where those are known, and who knows it can tell by it whether they are right.
 */
void hash_lanes_root(struct hash *out, const struct hash *pieces, size_t n);

#endif

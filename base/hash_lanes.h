/*
 * hash_lanes.h -- BLAKE2b-256 of several arrays at once, and of what is large by way of its pieces.
 *
 *      version    chunks of chunk_bytes               its hash: BLAKE2b of its chunks' hashes
 *      chunk      1 to 8 pieces of 128 KiB            its hash: BLAKE2b of its pieces' hashes
 *      piece                                          its hash: BLAKE2b
 *
 * One array's hash is a chain that no vector unit can speed up much (0.9 GB/s); eight chains
 * side by side fill its lanes: 4 GB/s with AVX-512, 2 GB/s with AVX2.  A chunk fills them by
 * itself, so it is known to be right or damaged as soon as it is there, and its memory is free.
 */
#ifndef BASE_HASH_LANES_H
#define BASE_HASH_LANES_H

#include <stddef.h>

#include "base/hash.h"

#define HASH_LANES             8u
#define HASH_LANES_PIECE_BYTES ((size_t)128 * 1024)
#define HASH_LANES_CHUNK_BYTES (HASH_LANES * HASH_LANES_PIECE_BYTES) /* at most */

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

/* The hash of a chunk of `size` bytes, 1..HASH_LANES_CHUNK_BYTES, the last piece of which may be
 * shorter; `to` becomes a copy, on the way.  NULL: no copy; `to` and `from` do not overlap. */
void hash_lanes_chunk(struct hash *out, unsigned char *to, const unsigned char *from,
                      size_t size);

/* Chunks of chunk_bytes (> 0) that `size` bytes are cut into; the last may be shorter. */
static inline size_t hash_lanes_chunks(size_t size, size_t chunk_bytes)
{
    return size / chunk_bytes + (size % chunk_bytes != 0);
}

/* out (hash_lanes_chunks) becomes the hash of each chunk of chunk_bytes, of which the above
 * holds. */
void hash_lanes_cut(struct hash *out, const void *bytes, size_t size, size_t chunk_bytes);

/*
 * One hash for all: the BLAKE2b-256 of n hashes, one after the other.  So it costs nothing where
 * those are known, and who knows it can tell by it whether they are right.
 */
void hash_lanes_root(struct hash *out, const struct hash *hashes, size_t n);

#endif

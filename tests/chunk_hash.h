/*
 * chunk_hash.h -- the oracle of what hashes weights: libsodium's BLAKE2b, one piece after another.
 */
#ifndef TESTS_CHUNK_HASH_H
#define TESTS_CHUNK_HASH_H

#include <sodium.h>

#include "base/hash.h"

#define CHUNK_HASH_PIECE 131072u /* proto/rlhf.proto, WeightsManifest */

/* The hash of a chunk of `size` bytes, at most eight pieces. */
static inline struct hash chunk_hash(const unsigned char *bytes, size_t size)
{
    struct hash out, piece[8];
    size_t n = 0;
    for (size_t at = 0; at < size; at += CHUNK_HASH_PIECE, n++)
        crypto_generichash(piece[n].bytes, HASH_BYTES, bytes + at,
                           size - at < CHUNK_HASH_PIECE ? size - at : CHUNK_HASH_PIECE, NULL,
                           0);
    crypto_generichash(out.bytes, HASH_BYTES, (const unsigned char *)piece, n * HASH_BYTES,
                       NULL, 0);
    return out;
}

#endif

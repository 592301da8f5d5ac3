/*
 * hash_stream.h -- XXH3-64 of bytes that are looked at piece by piece, for who does something else
 * with each piece while it is in the cache.
 *
 *     hash_stream_begin(&stream)
 *     hash_stream_add(&stream, piece, size)       any number of pieces
 *     hash_stream_copy(&stream, to, piece, size)  the same, and `to` becomes a copy
 *     hash_stream_end(&stream)                    hash_xxh3 of all pieces, one after the other
 *
 * A copy goes past the caches, for a place that is looked at much later: a line that is written
 * whole is then not fetched first, nor does it drive out what is needed sooner.  Where the CPU has
 * AVX-512, hash and copy are made in one pass.
 */
#ifndef BASE_HASH_STREAM_H
#define BASE_HASH_STREAM_H

#include <stddef.h>
#include <stdint.h>

#define HASH_STREAM_BYTES 576u

struct hash_stream {
    _Alignas(64) unsigned char state[HASH_STREAM_BYTES]; /* the library's */
};

/* Nothing added yet; it owns nothing, and needs no end. */
void hash_stream_begin(struct hash_stream *stream);

/* `size` bytes more, read once. */
void hash_stream_add(struct hash_stream *stream, const void *bytes, size_t size);

/* `to` and `from` (size) do not overlap, and need no alignment.  Another thread that is told of the
 * copy sees it, as it would see memcpy's.  Large pieces are fastest of a multiple of 64 bytes. */
void hash_stream_copy(struct hash_stream *stream, void *to, const void *from, size_t size);

uint64_t hash_stream_end(const struct hash_stream *stream); /* may be added to afterwards */

#endif

/*
 * exchange_add.h -- the last addition of a tree, with the checksums that are due beside it.
 *
 * What came late has not been looked at, and the sum will be sent: so both are hashed while they
 * are at hand, and the sum is written past the caches.  Numbers of float32 are added in one pass
 * where the CPU has AVX-512 and `out` begins a line of the cache; everything else block by block in
 * two.  The bits are those of gradient_add_packed and hash_xxh3 on either way.
 */
#ifndef LEARNER_EXCHANGE_ADD_H
#define LEARNER_EXCHANGE_ADD_H

#include <stddef.h>

#include "base/hash_stream.h"
#include "engine/precision.h"

/* out = from + into; or, where `into` is NULL, from.  All are of `size` bytes and lie as numbers
 * do, but for `late`, which may lie anywhere; none overlaps out. */
struct exchange_addition {
    enum precision kind;
    const unsigned char *from, *into;
    const unsigned char *late; /* NULL: nothing; else from, into, or what is in them by now */
    unsigned char *scratch;    /* may be from or into */
    size_t size;
};

/* A piece of a chunk: `sum` goes on with what is written, `in` with `late`.  Pieces of a multiple
 * of 64 bytes, but for the last, are fastest.  Another thread that is told of `out` sees it. */
void exchange_add(const struct exchange_addition *add, unsigned char *out,
                  struct hash_stream *sum, struct hash_stream *in);

#endif

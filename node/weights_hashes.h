/*
 * weights_hashes.h -- the hashes of a version's chunks, by a thread beside the caller's.
 *
 *      publishing    the caller copies     the thread hashes what is copied
 *      mapping       one half each
 *
 * So that neither takes longer than a copy does where a second processor is idle, as it is while
 * others wait for the weights.  Few chunks are not worth a thread.
 */
#ifndef NODE_WEIGHTS_HASHES_H
#define NODE_WEIGHTS_HASHES_H

#include <pthread.h>
#include <stdbool.h>

#include "base/hash_lanes.h"

struct weights_hashes {
    pthread_t thread;
    bool runs; /* false: begin has done all */
    struct hash *out;
    const void *bytes;
    size_t size, chunk_bytes;
};

/* As hash_lanes_cut(out, bytes, size, chunk_bytes), done when weights_hashes_end returns; until
 * then out is not to be touched, and bytes not to be changed.  Never fails: where there is no
 * thread to be had, all is done here. */
void weights_hashes_begin(struct weights_hashes *hashes, struct hash *out, const void *bytes,
                          size_t size, size_t chunk_bytes);
void weights_hashes_end(struct weights_hashes *hashes);

/* Begin and end of one half, the other by the caller. */
void weights_hashes_cut(struct hash *out, const void *bytes, size_t size, size_t chunk_bytes);

#endif

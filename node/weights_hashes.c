/* weights_hashes.c -- see weights_hashes.h. */
#include "node/weights_hashes.h"

#include <signal.h>

#define WEIGHTS_HASHES_LEAST 4u /* chunks: a thread costs as much as a quarter of one */

static void *weights_hashes_thread(void *ctx)
{
    const struct weights_hashes *hashes = ctx;
    hash_lanes_cut(hashes->out, hashes->bytes, hashes->size, hashes->chunk_bytes);
    return NULL;
}

void weights_hashes_begin(struct weights_hashes *hashes, struct hash *out, const void *bytes,
                          size_t size, size_t chunk_bytes)
{
    *hashes = (struct weights_hashes){
        .out = out, .bytes = bytes, .size = size, .chunk_bytes = chunk_bytes};
    sigset_t all, before; /* signals are for the main thread */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    hashes->runs = hash_lanes_chunks(size, chunk_bytes) >= WEIGHTS_HASHES_LEAST &&
                   pthread_create(&hashes->thread, NULL, weights_hashes_thread, hashes) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!hashes->runs)
        weights_hashes_thread(hashes);
}

void weights_hashes_end(struct weights_hashes *hashes)
{
    if (hashes->runs)
        pthread_join(hashes->thread, NULL);
    hashes->runs = false;
}

void weights_hashes_cut(struct hash *out, const void *bytes, size_t size, size_t chunk_bytes)
{
    const size_t mine = hash_lanes_chunks(size, chunk_bytes) / 2; /* chunks */
    struct weights_hashes rest;
    weights_hashes_begin(&rest, out + mine, (const char *)bytes + mine * chunk_bytes,
                         size - mine * chunk_bytes, chunk_bytes);
    hash_lanes_cut(out, bytes, mine * chunk_bytes, chunk_bytes);
    weights_hashes_end(&rest);
}

/* weights_version.c -- see weights_version.h. */
#include "node/weights_version.h"

#include <stdlib.h>
#include <string.h>

#include "node/weights_hashes.h"
#include "wire/message.h"

_Static_assert(WEIGHTS_CHUNKS_MAX *HASH_BYTES <= WIRE_CHUNK_BYTES, "hashes fit a frame");
_Static_assert(WIRE_CHUNK_BYTES <= HASH_LANES_CHUNK_BYTES, "a chunk has a hash");

static enum err_code weights_version_allocate(struct weights_version **out, uint64_t version,
                                              size_t size, struct err *err)
{
    const size_t chunks = hash_lanes_chunks(size, WIRE_CHUNK_BYTES);
    if (chunks > WEIGHTS_CHUNKS_MAX)
        return err_set(err, ERR_VALUE, "%zu bytes are more than %u chunks", size,
                       WEIGHTS_CHUNKS_MAX);
    struct weights_version *held = calloc(1, sizeof *held);
    if (held) {
        atomic_init(&held->users, 1);
        held->chunk_hash = malloc(chunks * sizeof *held->chunk_hash);
        held->given = calloc(chunks, sizeof *held->given);
        held->here = calloc(chunks, sizeof *held->here);
    }
    if (!held || !held->chunk_hash || !held->given || !held->here) {
        weights_version_release(held);
        return err_set(err, ERR_NOMEM, "no memory for %zu chunks", chunks);
    }
    held->memory.fd = -1;
    held->version = version;
    held->size = size;
    held->chunks = (uint32_t)chunks;
    *out = held;
    return ERR_OK;
}

static enum err_code weights_version_copy(struct weights_version *held, const void *bytes,
                                          bool shares, struct err *unshared, struct err *err)
{
    if (shares && weights_memory_new(&held->memory, bytes, held->size, unshared) == ERR_OK)
        return ERR_OK;
    return weights_memory_new_private(&held->memory, bytes, held->size, err);
}

enum err_code weights_version_new(struct weights_version **out, uint64_t version,
                                  const void *bytes, size_t size, bool shares,
                                  struct err *unshared, struct err *err)
{
    struct weights_version *held = NULL;
    enum err_code rc = weights_version_allocate(&held, version, size, err);
    if (rc)
        return rc;
    free(held->here);
    held->here = NULL;
    struct weights_hashes hashes;
    weights_hashes_begin(&hashes, held->chunk_hash, bytes, size, WIRE_CHUNK_BYTES);
    rc = weights_version_copy(held, bytes, shares, unshared, err);
    weights_hashes_end(&hashes);
    if (rc) {
        weights_version_release(held);
        return rc;
    }
    held->bytes = held->memory.bytes;
    hash_lanes_root(&held->hash, held->chunk_hash, held->chunks);
    *out = held;
    return ERR_OK;
}

enum err_code weights_version_new_relay(struct weights_version **out, uint64_t version,
                                        const void *bytes, size_t size, const struct hash *hash,
                                        const struct hash *chunk_hash, struct err *err)
{
    struct weights_version *held = NULL;
    const enum err_code rc = weights_version_allocate(&held, version, size, err);
    if (rc)
        return rc;
    held->bytes = bytes;
    held->hash = *hash;
    memcpy(held->chunk_hash, chunk_hash, held->chunks * sizeof *chunk_hash);
    *out = held;
    return ERR_OK;
}

struct weights_version *weights_version_retain(struct weights_version *held)
{
    atomic_fetch_add(&held->users, 1);
    return held;
}

void weights_version_release(struct weights_version *held)
{
    if (!held || atomic_fetch_sub(&held->users, 1) > 1)
        return;
    weights_memory_release(&held->memory);
    for (uint32_t i = 0; held->delta && i < held->chunks; i++)
        free(held->delta[i].bytes);
    free(held->delta);
    free(held->chunk_hash);
    free(held->given);
    free(held->here);
    free(held);
}

size_t weights_version_chunk_bytes(const struct weights_version *held, uint32_t index)
{
    const size_t rest = held->size - (size_t)index * WIRE_CHUNK_BYTES;
    return rest < WIRE_CHUNK_BYTES ? rest : WIRE_CHUNK_BYTES;
}

/* Make it; a size without bytes says that it is not worth it. */
static void weights_version_make_delta(struct weights_version *held,
                                       const struct weights_version *base, uint32_t index,
                                       struct weights_delta *delta)
{
    struct weights_version_delta *made = &held->delta[index];
    const size_t at = (size_t)index * WIRE_CHUNK_BYTES;
    const size_t size = weights_version_chunk_bytes(held, index);
    unsigned char *bytes = malloc(size);
    const size_t n =
        bytes ? weights_delta_make(delta, base->bytes + at, held->bytes + at, size, bytes) : 0;
    void *fitting = n > 0 ? realloc(bytes, n) : NULL;
    if (!fitting)
        free(bytes);
    *made = (struct weights_version_delta){fitting, fitting ? n : size};
}

const void *weights_version_delta(struct weights_version *held,
                                  const struct weights_version *base, uint32_t index,
                                  struct weights_delta *delta, size_t *size)
{
    if (base->size != held->size || held->here || base->here)
        return NULL;
    if (!held->delta) {
        held->delta = calloc(held->chunks, sizeof *held->delta);
        held->base = base->version;
    }
    if (!held->delta || held->base != base->version)
        return NULL;
    if (held->delta[index].size == 0)
        weights_version_make_delta(held, base, index, delta);
    *size = held->delta[index].size;
    return held->delta[index].bytes;
}

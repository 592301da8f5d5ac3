/*
 * weights_version.h -- one version of the weights as a server holds it: bytes, a hash for each
 * chunk, and the hash of those (base/hash_lanes.h).
 *
 * It is counted: the server holds it, and so does each message on its way, whose bytes libzmq's
 * thread still reads; the last of them frees it.  What a relay serves lies in its owner's buffer
 * instead, chunk by chunk as they come, and is copied into each message: the buffer is written
 * anew for the next version.
 */
#ifndef NODE_WEIGHTS_VERSION_H
#define NODE_WEIGHTS_VERSION_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/hash.h"
#include "node/weights_delta.h"
#include "node/weights_memory.h"

#define WEIGHTS_CHUNKS_MAX 32768u /* as many hashes fit a frame of the bulk endpoint */

struct weights_version {
    atomic_uint users;
    uint64_t version;
    const unsigned char *bytes;
    size_t size;
    uint32_t chunks; /* of WIRE_CHUNK_BYTES */
    struct hash hash;
    struct hash *chunk_hash;      /* (chunks) */
    struct weights_memory memory; /* behind the bytes; a relay's: none */
    bool *here;                   /* (chunks) a relay's: those that came; NULL: all are here */
    uint16_t *given;              /* (chunks) 1 + the relay that was sent it; 0: none was */
    uint64_t base;                /* what `delta` are differences from; 0: there are none yet */
    struct weights_version_delta {
        void *bytes; /* NULL: not made yet, or not smaller than the chunk */
        size_t size; /* 0: not made yet */
    } * delta;       /* (chunks) as they were asked for; NULL: none */
};

/*
 * A copy of `bytes`, which others may map where it is to be shared and can be; *unshared says why
 * it cannot.  Hashed while it is copied.  One user: the caller.  ERR_NOMEM, ERR_VALUE over
 * WEIGHTS_CHUNKS_MAX.
 */
enum err_code weights_version_new(struct weights_version **out, uint64_t version,
                                  const void *bytes, size_t size, bool shares,
                                  struct err *unshared, struct err *err);

/* A relay's: `bytes` are borrowed, and none of the chunks is here.  The hashes are copied. */
enum err_code weights_version_new_relay(struct weights_version **out, uint64_t version,
                                        const void *bytes, size_t size, const struct hash *hash,
                                        const struct hash *chunk_hash, struct err *err);

/* One user more, one less.  From any thread. */
struct weights_version *weights_version_retain(struct weights_version *held);
void weights_version_release(struct weights_version *held); /* NULL does nothing */

/*
 * The difference of chunk `index` from that of `base`, made when it is first asked for and kept
 * with this version; *size is its bytes.  NULL: it would not be smaller, no memory, or differences
 * from another base are kept here.  A thread at a time.
 */
const void *weights_version_delta(struct weights_version *held,
                                  const struct weights_version *base, uint32_t index,
                                  struct weights_delta *delta, size_t *size);

/* Bytes of chunk `index`. */
size_t weights_version_chunk_bytes(const struct weights_version *held, uint32_t index);

#endif

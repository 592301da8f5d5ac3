/*
 * weights_memory.h -- one version's bytes, in memory that the processes of a host share.
 *
 *      learner                               actor, of the same user on the same host
 *      weights_memory_new (bytes)
 *          a memfd: written, sealed
 *          pid, fd ---- WEIGHTS_MANIFEST --> weights_memory_map
 *                                                /proc/PID/fd/FD: owner, seals and then size
 *                                                looked at; mapped; hashes compared
 *
 * A memfd has no name and no directory: the kernel frees it with the last process that holds it,
 * so nothing is left behind a killed learner, and the size of /dev/shm (64 MB in many
 * containers) bounds nothing.  Sealed, it can be neither written nor cut off, by its maker
 * neither: what was checked once stays so, and no access to a mapping fails.
 *
 * Where a process cannot be seen (another host, another container, another user) its /proc entry
 * is not there, or is another's, which owner, size, seals or hash tell.
 */
#ifndef NODE_WEIGHTS_MEMORY_H
#define NODE_WEIGHTS_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/hash.h"

struct weights_memory {
    const void *bytes; /* page-aligned, read-only; NULL: none held */
    size_t size;
    int fd; /* of the memfd, which others may map; -1: none */
};

/* A copy of `bytes` that others may map.  The caller releases it with weights_memory_release.
 * ERR_IO where the system refuses, or has no room left. */
enum err_code weights_memory_new(struct weights_memory *out, const void *bytes, size_t size,
                                 struct err *err);

/* A copy for this process alone; released likewise.  ERR_NOMEM. */
enum err_code weights_memory_new_private(struct weights_memory *out, const void *bytes,
                                         size_t size, struct err *err);

/*
 * Map what process `pid` holds as `fd`; released likewise.  `hashes` are those of its chunks of
 * chunk_bytes (base/hash_lanes.h).  err tells why it cannot be used:
 *
 *   ERR_UNAVAILABLE  there is no such process or descriptor here, or it may not be opened
 *   ERR_FORMAT       it is no sealed memory, another user's, of another size, or its bytes do
 *                    not have these hashes
 *   ERR_IO           the system refuses to map it; ERR_NOMEM
 */
enum err_code weights_memory_map(struct weights_memory *out, uint64_t pid, uint32_t fd,
                                 size_t size, const struct hash *hashes, size_t chunk_bytes,
                                 struct err *err);

/* Harmless where none is held, and twice. */
void weights_memory_release(struct weights_memory *memory);

#endif

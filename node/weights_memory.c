/* weights_memory.c -- see weights_memory.h. */
#define _GNU_SOURCE /* memfd_create, O_PATH, seals */
#include "node/weights_memory.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/file.h"
#include "node/weights_hashes.h"

#define WEIGHTS_MEMORY_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

/* `fd` is the mapping's from now on, also on failure. */
static enum err_code weights_memory_hold(struct weights_memory *out, int fd, size_t size,
                                         struct err *err)
{
    void *bytes = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
    if (bytes == MAP_FAILED) {
        const enum err_code rc = err_errno(err, "cannot map %zu bytes of shared memory", size);
        close(fd);
        return rc;
    }
    *out = (struct weights_memory){.bytes = bytes, .size = size, .fd = fd};
    return ERR_OK;
}

enum err_code weights_memory_new(struct weights_memory *out, const void *bytes, size_t size,
                                 struct err *err)
{
    assert(size > 0);
    *out = (struct weights_memory){.fd = -1};
    const int fd = memfd_create("rlhf-weights", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return err_errno(err, "cannot make shared memory");
    /* write(2) tells of no room by an error; touching a mapping would by SIGBUS. */
    enum err_code rc = fault_at(FAULT_weights_share)
                           ? err_errno(err, "write shared memory")
                           : file_write_all(fd, bytes, size, "shared memory", err);
    if (rc == ERR_OK && fchmod(fd, 0400) != 0)
        rc = err_errno(err, "cannot close shared memory to others");
    if (rc == ERR_OK && fcntl(fd, F_ADD_SEALS, WEIGHTS_MEMORY_SEALS | F_SEAL_SEAL) != 0)
        rc = err_errno(err, "cannot seal shared memory");
    if (rc) {
        close(fd);
        return rc;
    }
    return weights_memory_hold(out, fd, size, err);
}

enum err_code weights_memory_new_private(struct weights_memory *out, const void *bytes,
                                         size_t size, struct err *err)
{
    assert(size > 0);
    *out = (struct weights_memory){.fd = -1};
    void *copy = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (copy == MAP_FAILED)
        return err_set(err, ERR_NOMEM, "no memory for %zu bytes", size);
    /* Where the system has none, small pages do: half the time of the copy is faults then. */
    (void)madvise(copy, size, MADV_HUGEPAGE);
    memcpy(copy, bytes, size);
    *out = (struct weights_memory){.bytes = copy, .size = size, .fd = -1};
    return ERR_OK;
}

/* What it is, before it is opened: opening a device or a pipe of that number might do something
 * to it. */
static enum err_code weights_memory_look(int path_fd, const char *path, struct err *err)
{
    struct stat info;
    if (fstat(path_fd, &info) != 0)
        return err_errno(err, "stat %s", path);
    if (!S_ISREG(info.st_mode))
        return err_set(err, ERR_FORMAT, "%s is no memory", path);
    if (info.st_uid != geteuid())
        return err_set(err, ERR_FORMAT, "%s belongs to user %u", path, info.st_uid);
    return ERR_OK;
}

/* Nobody can change it, and then its size is this one: before the seals it might still be cut
 * off. */
static enum err_code weights_memory_check(int fd, const char *path, size_t size,
                                          struct err *err)
{
    const int seals = fcntl(fd, F_GET_SEALS);
    struct stat info;
    if (seals < 0 || (seals & WEIGHTS_MEMORY_SEALS) != WEIGHTS_MEMORY_SEALS)
        return err_set(err, ERR_FORMAT, "%s is not sealed: it might change", path);
    if (fstat(fd, &info) != 0)
        return err_errno(err, "stat %s", path);
    if (info.st_size < 0 || (uint64_t)info.st_size != size)
        return err_set(err, ERR_FORMAT, "%s has %lld bytes, not %zu", path,
                       (long long)info.st_size, size);
    return ERR_OK;
}

/* Open for reading what path_fd stands for, which was looked at. */
static enum err_code weights_memory_reopen(int path_fd, const char *path, size_t size, int *fd,
                                           struct err *err)
{
    char self[64];
    snprintf(self, sizeof self, "/proc/self/fd/%d", path_fd);
    const int held = open(self, O_RDONLY | O_CLOEXEC);
    if (held < 0)
        return err_set(err, ERR_UNAVAILABLE, "%s: %s", path, strerror(errno));
    const enum err_code rc = weights_memory_check(held, path, size, err);
    if (rc) {
        close(held);
        return rc;
    }
    *fd = held;
    return ERR_OK;
}

static enum err_code weights_memory_open(const char *path, size_t size, int *fd,
                                         struct err *err)
{
    const int path_fd = fault_at(FAULT_weights_map) ? -1 : open(path, O_PATH | O_CLOEXEC);
    if (path_fd < 0)
        return err_set(err, ERR_UNAVAILABLE, "%s: %s", path, strerror(errno));
    enum err_code rc = weights_memory_look(path_fd, path, err);
    if (rc == ERR_OK)
        rc = weights_memory_reopen(path_fd, path, size, fd, err);
    close(path_fd);
    return rc;
}

/* The same chunks, by their hashes? */
static enum err_code weights_memory_compare(const struct weights_memory *memory,
                                            const struct hash *hashes, size_t chunk_bytes,
                                            const char *path, struct err *err)
{
    const size_t n = hash_lanes_chunks(memory->size, chunk_bytes);
    struct hash *got = malloc(n * sizeof *got);
    if (!got)
        return err_set(err, ERR_NOMEM, "no memory for %zu hashes", n);
    weights_hashes_cut(got, memory->bytes, memory->size, chunk_bytes);
    const bool same = memcmp(got, hashes, n * sizeof *got) == 0;
    free(got);
    return same ? ERR_OK : err_set(err, ERR_FORMAT, "%s is not what the manifest says", path);
}

enum err_code weights_memory_map(struct weights_memory *out, uint64_t pid, uint32_t fd,
                                 size_t size, const struct hash *hashes, size_t chunk_bytes,
                                 struct err *err)
{
    char path[64];
    int held = -1;
    *out = (struct weights_memory){.fd = -1};
    snprintf(path, sizeof path, "/proc/%llu/fd/%u", (unsigned long long)pid, fd);
    enum err_code rc = weights_memory_open(path, size, &held, err);
    if (rc == ERR_OK)
        rc = weights_memory_hold(out, held, size, err);
    if (rc)
        return rc;
    close(out->fd); /* the mapping stays */
    out->fd = -1;
    rc = weights_memory_compare(out, hashes, chunk_bytes, path, err);
    if (rc)
        weights_memory_release(out);
    fault_at(FAULT_weights_mapped);
    return rc;
}

void weights_memory_release(struct weights_memory *memory)
{
    if (memory->bytes)
        munmap((void *)(uintptr_t)memory->bytes, memory->size);
    if (memory->bytes && memory->fd >= 0)
        close(memory->fd);
    *memory = (struct weights_memory){.fd = -1};
}

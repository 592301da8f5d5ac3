/* file.c -- see file.h. */
#include "base/file.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fault.h"

#define FILE_PRIVATE     0600
#define FILE_CHUNK_BYTES 65536u
#define FILE_DEPTH_MAX   64 /* directories within directories that file_remove_tree enters */

enum err_code file_join(char path[FILE_PATH_MAX], const char *dir, const char *name,
                        struct err *err)
{
    const size_t dir_len = strlen(dir);
    const char *slash = dir_len > 0 && dir[dir_len - 1] == '/' ? "" : "/";
    const int n = snprintf(path, FILE_PATH_MAX, "%s%s%s", dir, slash, name);
    if (n < 0 || n >= FILE_PATH_MAX)
        return err_set(err, ERR_VALUE, "path is over %d bytes: %.80s/%.80s", FILE_PATH_MAX - 1,
                       dir, name);
    return ERR_OK;
}

enum err_code file_open_read(const char *path, int *fd, uint64_t *size_bytes, struct err *err)
{
    /* O_NONBLOCK: opening a FIFO by mistake must not wait for its writer; it means nothing
     * for a regular file. */
    const int held = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (held < 0)
        return err_errno(err, "open %s", path);

    enum err_code rc = ERR_OK;
    struct stat info;
    if (fstat(held, &info) < 0)
        rc = err_errno(err, "stat %s", path);
    else if (!S_ISREG(info.st_mode))
        rc = err_set(err, ERR_IO, "%s is not a regular file", path);
    if (rc) {
        close(held);
        return rc;
    }
    *fd = held;
    if (size_bytes)
        *size_bytes = (uint64_t)info.st_size;
    return ERR_OK;
}

static enum err_code file_too_large(const char *path, size_t room, struct err *err)
{
    return err_set(err, ERR_VALUE, "%s is larger than the %zu bytes it may have", path, room);
}

/* To the end of the file, whatever size it was said to have: it may grow meanwhile. */
static enum err_code file_read_chunks(int fd, const char *path, struct buf *out,
                                      struct err *err)
{
    const size_t room = out->max_bytes - out->len;
    for (;;) {
        char chunk[FILE_CHUNK_BYTES];
        const ssize_t got = read(fd, chunk, sizeof chunk);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return err_errno(err, "read %s", path);
        if (got == 0)
            return ERR_OK;
        if ((size_t)got > out->max_bytes - out->len)
            return file_too_large(path, room, err);
        buf_append(out, chunk, (size_t)got);
        const enum err_code rc = buf_check(out, path, err);
        if (rc)
            return rc;
    }
}

enum err_code file_read(const char *path, struct buf *out, struct err *err)
{
    const size_t before = out->len;
    int fd;
    uint64_t size_bytes;
    enum err_code rc = file_open_read(path, &fd, &size_bytes, err);
    if (rc)
        return rc;
    if (size_bytes > out->max_bytes - before)
        rc = file_too_large(path, out->max_bytes - before, err);
    else if (size_bytes > 0 && !buf_reserve(out, (size_t)size_bytes))
        rc = buf_check(out, path, err);
    else
        rc = file_read_chunks(fd, path, out, err);
    close(fd);
    if (rc && out->len > before) {
        out->len = before;
        out->data[before] = '\0';
    }
    return rc;
}

enum err_code file_write_all(int fd, const void *bytes, size_t size, const char *path,
                             struct err *err)
{
    const char *at = bytes;
    while (size > 0) {
        const ssize_t taken = write(fd, at, size);
        if (taken < 0 && errno == EINTR)
            continue;
        if (taken < 0)
            return err_errno(err, "write %s", path);
        at += taken;
        size -= (size_t)taken;
    }
    return ERR_OK;
}

enum err_code file_pread_all(int fd, void *bytes, size_t size, uint64_t offset,
                             const char *path, struct err *err)
{
    if (offset > INT64_MAX || size > INT64_MAX - offset)
        return err_set(err, ERR_FORMAT, "%s: no file has %zu bytes at offset %llu", path, size,
                       (unsigned long long)offset);
    char *at = bytes;
    while (size > 0) {
        const ssize_t got = pread(fd, at, size, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return err_errno(err, "read %s at offset %llu", path, (unsigned long long)offset);
        if (got == 0)
            return err_set(err, ERR_FORMAT, "%s ends at offset %llu, %zu bytes too early", path,
                           (unsigned long long)offset, size);
        at += got;
        size -= (size_t)got;
        offset += (uint64_t)got;
    }
    return ERR_OK;
}

enum err_code file_sync_dir(const char *path, struct err *err)
{
    const int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_errno(err, "open directory %s", path);
    enum err_code rc = ERR_OK;
    if (fault_at(FAULT_file_sync_dir) || fsync(fd) < 0)
        rc = err_errno(err, "fsync directory %s", path);
    close(fd);
    return rc;
}

/* A rename is on disk only once the directory that holds the name is. */
static enum err_code file_sync_parent(const char *path, struct err *err)
{
    char dir[FILE_PATH_MAX];
    const char *slash = strrchr(path, '/');
    const int dir_len = slash ? (int)(slash - path) : 0;
    snprintf(dir, sizeof dir, "%.*s", dir_len > 0 ? dir_len : 1,
             dir_len > 0 ? path
             : slash     ? "/"
                         : ".");
    return file_sync_dir(dir, err);
}

static enum err_code file_replace(const char *path, const void *bytes, size_t size, mode_t mode,
                                  struct err *err)
{
    assert(path && path[0] != '\0');
    assert(bytes || size == 0);

    enum err_code rc = ERR_OK;
    char tmp[FILE_PATH_MAX];
    int fd = -1;             /* held while >= 0 */
    bool tmp_exists = false; /* ours to remove while true */

    const int n = snprintf(tmp, sizeof tmp, "%s.tmp", path);
    if (n < 0 || n >= (int)sizeof tmp)
        return err_set(err, ERR_VALUE, "path is over %d bytes: %.80s...", FILE_PATH_MAX - 5,
                       path);

    fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode);
    if (fd < 0) {
        rc = err_errno(err, "create %s", tmp);
        goto out;
    }
    tmp_exists = true;
    if (mode == FILE_PRIVATE && fchmod(fd, mode) < 0) { /* one that was left has its own */
        rc = err_errno(err, "set the mode of %s", tmp);
        goto out;
    }

    rc = fault_at(FAULT_file_write) ? err_errno(err, "write %s", tmp)
                                    : file_write_all(fd, bytes, size, tmp, err);
    if (rc)
        goto out;
    if (fault_at(FAULT_file_fsync) || fsync(fd) < 0) {
        rc = err_errno(err, "fsync %s", tmp);
        goto out;
    }
    if (fault_at(FAULT_file_rename) || rename(tmp, path) < 0) {
        rc = err_errno(err, "rename %s to %s", tmp, path);
        goto out;
    }
    tmp_exists = false;

    rc = file_sync_parent(path, err);

out:
    if (fd >= 0)
        close(fd);
    if (tmp_exists)
        unlink(tmp);
    return rc;
}

enum err_code file_write(const char *path, const void *bytes, size_t size, struct err *err)
{
    return file_replace(path, bytes, size, 0644, err);
}

enum err_code file_write_private(const char *path, const void *bytes, size_t size,
                                 struct err *err)
{
    return file_replace(path, bytes, size, FILE_PRIVATE, err);
}

static enum err_code file_make_one_dir(const char *path, struct err *err)
{
    if (mkdir(path, 0755) == 0)
        return ERR_OK;
    const int saved = errno;
    struct stat info;
    if (stat(path, &info) == 0 && S_ISDIR(info.st_mode))
        return ERR_OK;
    if (saved == EEXIST)
        return err_set(err, ERR_IO, "%s is there, and is no directory", path);
    errno = saved;
    return err_errno(err, "make directory %s", path);
}

enum err_code file_make_dir(const char *path, struct err *err)
{
    char part[FILE_PATH_MAX];
    const int n = snprintf(part, sizeof part, "%s", path);
    if (n <= 0 || n >= (int)sizeof part)
        return err_set(err, ERR_VALUE, "directory path is empty or over %d bytes: %.80s",
                       FILE_PATH_MAX - 1, path);
    for (char *at = part + 1; *at != '\0'; at++) {
        if (*at != '/')
            continue;
        *at = '\0';
        const enum err_code rc = file_make_one_dir(part, err);
        if (rc)
            return rc;
        *at = '/';
    }
    return file_make_one_dir(part, err);
}

static enum err_code file_empty_dir(int fd, const char *path, int depth, struct err *err);

/* Remove what stands under `name` in the directory `parent`; a directory with its contents,
 * a symlink as itself. */
static enum err_code file_remove_entry(int parent, const char *name, const char *path,
                                       int depth, struct err *err)
{
    struct stat info;
    if (fstatat(parent, name, &info, AT_SYMLINK_NOFOLLOW) < 0)
        return err_errno(err, "stat %s in %s", name, path);
    if (!S_ISDIR(info.st_mode)) {
        if (unlinkat(parent, name, 0) < 0)
            return err_errno(err, "remove %s in %s", name, path);
        return ERR_OK;
    }
    if (depth >= FILE_DEPTH_MAX)
        return err_set(err, ERR_IO, "%s: directories are over %d deep", path, FILE_DEPTH_MAX);
    const int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return err_errno(err, "open directory %s in %s", name, path);
    const enum err_code rc = file_empty_dir(fd, path, depth + 1, err);
    if (rc)
        return rc;
    if (unlinkat(parent, name, AT_REMOVEDIR) < 0)
        return err_errno(err, "remove directory %s in %s", name, path);
    return ERR_OK;
}

/* Remove everything in the directory `fd`, which is closed in any case. */
static enum err_code file_empty_dir(int fd, const char *path, int depth, struct err *err)
{
    DIR *dir = fdopendir(fd);
    if (!dir) {
        const enum err_code rc = err_errno(err, "read directory %s", path);
        close(fd);
        return rc;
    }
    enum err_code rc = ERR_OK;
    while (!rc) {
        errno = 0; /* readdir tells an error from the end by it alone */
        const struct dirent *entry = readdir(dir);
        if (!entry) {
            if (errno != 0)
                rc = err_errno(err, "read directory %s", path);
            break;
        }
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            rc = file_remove_entry(fd, entry->d_name, path, depth, err);
    }
    closedir(dir);
    return rc;
}

enum err_code file_remove_tree(const char *path, struct err *err)
{
    const int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return ERR_OK;
    if (fd < 0)
        return err_errno(err, "open directory %s", path);
    const enum err_code rc = file_empty_dir(fd, path, 0, err);
    if (rc)
        return rc;
    if (rmdir(path) < 0)
        return err_errno(err, "remove directory %s", path);
    return ERR_OK;
}

bool file_exists(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0;
}

bool file_next_line(const char **cursor, const char *end, const char **line, size_t *len)
{
    const char *start = *cursor;
    if (start >= end)
        return false;
    const char *newline = memchr(start, '\n', (size_t)(end - start));
    *line = start;
    *len = (size_t)((newline ? newline : end) - start);
    *cursor = newline ? newline + 1 : end;
    return true;
}

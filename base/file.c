/* file.c -- see file.h. */
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum err_code file_join(char path[FILE_PATH_MAX], const char *dir, const char *name,
                        struct err *err)
{
    const int n = snprintf(path, FILE_PATH_MAX, "%s/%s", dir, name);
    if (n < 0 || n >= FILE_PATH_MAX)
        return err_set(err, ERR_VALUE, "path is over %d bytes: %.80s.../%.80s", FILE_PATH_MAX,
                       dir, name);
    return ERR_OK;
}

enum err_code file_pread_all(int fd, void *bytes, size_t size, uint64_t offset,
                             const char *path, struct err *err)
{
    char *to = bytes;
    while (size > 0) {
        const ssize_t n = pread(fd, to, size, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno(err, "read %s", path);
        if (n == 0)
            return err_set(err, ERR_FORMAT, "%s ends at byte %llu, %zu bytes too early", path,
                           (unsigned long long)offset, size);
        to += n;
        size -= (size_t)n;
        offset += (uint64_t)n;
    }
    return ERR_OK;
}

enum err_code file_write_all(int fd, const void *bytes, size_t size, const char *path,
                             struct err *err)
{
    const char *from = bytes;
    while (size > 0) {
        const ssize_t n = write(fd, from, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno(err, "write %s", path);
        from += n;
        size -= (size_t)n;
    }
    return ERR_OK;
}

/* Append what fd holds until its end; the size said by fstat is a hint, not a promise. */
static enum err_code file_drain(int fd, const char *path, struct buf *out, struct err *err)
{
    char piece[65536];
    for (;;) {
        const ssize_t n = read(fd, piece, sizeof piece);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno(err, "read %s", path);
        if (n == 0)
            return ERR_OK;
        buf_append(out, piece, (size_t)n);
        if (out->failed)
            return err_set(err, ERR_VALUE, "%s is larger than %zu bytes", path, out->max_bytes);
    }
}

enum err_code file_read(const char *path, struct buf *out, struct err *err)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return err_errno(err, "open %s", path);
    struct stat info;
    enum err_code rc;
    if (fstat(fd, &info) < 0)
        rc = err_errno(err, "stat %s", path);
    else if (!S_ISREG(info.st_mode))
        rc = err_set(err, ERR_IO, "%s is not a regular file", path);
    else
        rc = file_drain(fd, path, out, err);
    close(fd);
    return rc;
}

enum err_code file_sync_dir(const char *path, struct err *err)
{
    const int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_errno(err, "open directory %s", path);
    enum err_code rc = ERR_OK;
    if (fsync(fd) < 0)
        rc = err_errno(err, "fsync directory %s", path);
    close(fd);
    return rc;
}

/* A rename is on disk only once the directory that holds the name is. */
static enum err_code file_sync_parent(const char *path, struct err *err)
{
    char dir[FILE_PATH_MAX];
    const char *slash = strrchr(path, '/');
    const int n = slash ? (int)(slash - path) : 0;
    snprintf(dir, sizeof dir, "%.*s", n > 0 ? n : 1, n > 0 ? path : slash ? "/" : ".");
    return file_sync_dir(dir, err);
}

enum err_code file_write(const char *path, const void *bytes, size_t size, struct err *err)
{
    enum err_code rc = ERR_OK;
    char tmp[FILE_PATH_MAX];
    int fd = -1;             /* held while >= 0 */
    bool tmp_exists = false; /* ours to remove while true */

    if (snprintf(tmp, sizeof tmp, "%s.tmp", path) >= (int)sizeof tmp)
        return err_set(err, ERR_VALUE, "path is over %d bytes: %.80s...", FILE_PATH_MAX, path);
    fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0)
        return err_errno(err, "create %s", tmp);
    tmp_exists = true;
    rc = file_write_all(fd, bytes, size, tmp, err);
    if (rc)
        goto out;
    if (fsync(fd) < 0) {
        rc = err_errno(err, "fsync %s", tmp);
        goto out;
    }
    if (rename(tmp, path) < 0) {
        rc = err_errno(err, "rename %s to %s", tmp, path);
        goto out;
    }
    tmp_exists = false;
    rc = file_sync_parent(path, err);
out:
    close(fd);
    if (tmp_exists)
        unlink(tmp);
    return rc;
}

enum err_code file_make_dir(const char *path, struct err *err)
{
    char part[FILE_PATH_MAX];
    const size_t n = strlen(path);
    if (n >= sizeof part)
        return err_set(err, ERR_VALUE, "path is over %d bytes: %.80s...", FILE_PATH_MAX, path);
    for (size_t i = 1; i <= n; i++) {
        if (path[i] != '/' && path[i] != '\0')
            continue;
        memcpy(part, path, i);
        part[i] = '\0';
        if (mkdir(part, 0755) < 0 && errno != EEXIST)
            return err_errno(err, "make directory %s", part);
    }
    struct stat info;
    if (stat(path, &info) < 0 || !S_ISDIR(info.st_mode))
        return err_set(err, ERR_IO, "%s is not a directory", path);
    return ERR_OK;
}

enum err_code file_remove_tree(const char *path, struct err *err)
{
    DIR *dir = opendir(path);
    if (!dir)
        return errno == ENOENT ? ERR_OK : err_errno(err, "open directory %s", path);
    enum err_code rc = ERR_OK;
    for (const struct dirent *entry; rc == ERR_OK && (entry = readdir(dir));) {
        char child[FILE_PATH_MAX];
        struct stat info;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if ((rc = file_join(child, path, entry->d_name, err)))
            break;
        if (lstat(child, &info) < 0)
            rc = err_errno(err, "stat %s", child);
        else if (S_ISDIR(info.st_mode))
            rc = file_remove_tree(child, err);
        else if (unlink(child) < 0 && errno != ENOENT)
            rc = err_errno(err, "remove %s", child);
    }
    closedir(dir);
    if (rc == ERR_OK && rmdir(path) < 0 && errno != ENOENT)
        rc = err_errno(err, "remove directory %s", path);
    return rc;
}

bool file_exists(const char *path)
{
    return access(path, F_OK) == 0;
}

bool file_next_line(const char **cursor, const char *end, const char **line, size_t *len)
{
    if (*cursor >= end)
        return false;
    *line = *cursor;
    const char *newline = memchr(*cursor, '\n', (size_t)(end - *cursor));
    *len = (size_t)((newline ? newline : end) - *line);
    *cursor = newline ? newline + 1 : end;
    return true;
}

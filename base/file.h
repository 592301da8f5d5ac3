/*
 * file.h -- whole files: read within a limit, published atomically; and directories.
 *
 * Only regular files are read; symlinks are followed, except by file_remove_tree.  Every
 * error names the path: ERR_IO where the system refuses, ERR_VALUE where the path is too long,
 * and what is said beside a call.  All calls block on the disk.
 */
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

#define FILE_PATH_MAX 1024 /* bytes, with the NUL */

/* dir + "/" + name into path (FILE_PATH_MAX bytes), with one slash where dir ends in one. */
enum err_code file_join(char path[FILE_PATH_MAX], const char *dir, const char *name,
                        struct err *err);

/* Open a regular file to read: *fd, which the caller closes, and its size unless NULL.
 * ERR_IO where there is none, or where it is something else. */
enum err_code file_open_read(const char *path, int *fd, uint64_t *size_bytes, struct err *err);

/* Append the file's bytes to `out`.  ERR_IO where it cannot be read or is no regular file,
 * ERR_VALUE where it is larger than out->max_bytes leaves room for, ERR_NOMEM; `out` then
 * holds what it held before. */
enum err_code file_read(const char *path, struct buf *out, struct err *err);

/* Replace the file at `path` by these bytes: temporary, fsync, rename, fsync of the
 * directory.  A crash or an error leaves the old file or the new one, whole.  Mode 0644,
 * less the umask.  The temporary is `path`.tmp: one writer a path at a time. */
enum err_code file_write(const char *path, const void *bytes, size_t size, struct err *err);

/* The same with mode 0600. */
enum err_code file_write_private(const char *path, const void *bytes, size_t size,
                                 struct err *err);

/* write(2) all of it to fd; `path` is for the error. */
enum err_code file_write_all(int fd, const void *bytes, size_t size, const char *path,
                             struct err *err);

/* pread(2) exactly `size` bytes at `offset`; ERR_FORMAT where the file ends before.  Safe
 * from several threads on one fd. */
enum err_code file_pread_all(int fd, void *bytes, size_t size, uint64_t offset,
                             const char *path, struct err *err);

/* mkdir -p, mode 0755 less the umask. */
enum err_code file_make_dir(const char *path, struct err *err);

/* fsync the directory `path`, so that names in it are durable. */
enum err_code file_sync_dir(const char *path, struct err *err);

/* Remove a directory with all that is in it, at most 64 directories deep; absent is OK.  A
 * symlink in it is removed, not followed; one in its place is ERR_IO. */
enum err_code file_remove_tree(const char *path, struct err *err);

/* Whether there is something at `path`, of whatever kind; not where it is a symlink to nothing. */
bool file_exists(const char *path);

/* Lines of a text held in memory: *line is set to each in turn, *len bytes without its
 * newline, until false.  *cursor starts as the text; `end` is one past its last byte.  The
 * last line needs no newline. */
bool file_next_line(const char **cursor, const char *end, const char **line, size_t *len);

#endif

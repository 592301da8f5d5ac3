/* output.c -- see output.h. */
#include "data/output.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <zlib.h>

bool output_is_gzip(const char *path)
{
    const size_t n = strlen(path);
    return n > 3 && strcmp(path + n - 3, ".gz") == 0;
}

enum err_code output_open(struct output *output, const char *path, struct err *err)
{
    *output = (struct output){.fd = -1};
    buf_init(&output->block, 2 * OUTPUT_BLOCK_BYTES);
    if (strlen(path) + sizeof ".tmp" > sizeof output->path)
        return err_set(err, ERR_VALUE, "%.80s...: the path is too long", path);
    snprintf(output->path, sizeof output->path, "%s", path);
    struct stat info;
    if (stat(path, &info) == 0 && !S_ISREG(info.st_mode))
        return err_set(err, ERR_IO, "%s: exists, and is no regular file", path);
    memcpy(output->temporary, path, strlen(path));
    strcpy(output->temporary + strlen(path), ".tmp");
    output->fd = open(output->temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (output->fd < 0)
        return err_errno(err, "create %s", output->temporary);
    if (!output_is_gzip(path))
        return ERR_OK;
    const int copy = dup(output->fd); /* gzclose closes the one it has */
    output->gzip = copy < 0 ? NULL : gzdopen(copy, "wb6");
    if (output->gzip)
        return ERR_OK;
    if (copy >= 0)
        close(copy);
    return err_set(err, ERR_NOMEM, "%s: no memory to compress it", path);
}

static enum err_code output_flush(struct output *output, struct err *err)
{
    struct buf *block = &output->block;
    enum err_code rc = ERR_OK;
    if (output->gzip && block->len > 0 &&
        gzwrite(output->gzip, block->data, (unsigned)block->len) != (int)block->len)
        rc = err_errno(err, "write %s", output->temporary);
    else if (!output->gzip)
        rc = file_write_all(output->fd, block->data, block->len, output->temporary, err);
    buf_clear(block);
    return rc;
}

enum err_code output_write(struct output *output, const void *bytes, size_t n, struct err *err)
{
    const char *at = bytes;
    while (n > 0) {
        const size_t part = n < OUTPUT_BLOCK_BYTES ? n : OUTPUT_BLOCK_BYTES;
        buf_append(&output->block, at, part);
        enum err_code rc = buf_check(&output->block, output->path, err);
        if (!rc && output->block.len >= OUTPUT_BLOCK_BYTES)
            rc = output_flush(output, err);
        if (rc)
            return rc;
        at += part;
        n -= part;
    }
    return ERR_OK;
}

/* fsync of the directory that `path` is in. */
static enum err_code output_sync_dir(const char *path, struct err *err)
{
    char dir[FILE_PATH_MAX];
    const char *slash = strrchr(path, '/');
    if (!slash)
        return file_sync_dir(".", err);
    snprintf(dir, sizeof dir, "%.*s", slash == path ? 1 : (int)(slash - path), path);
    return file_sync_dir(dir, err);
}

enum err_code output_commit(struct output *output, struct err *err)
{
    enum err_code rc = output_flush(output, err);
    gzFile gzip = output->gzip;
    output->gzip = NULL;
    if (gzip && gzclose(gzip) != Z_OK && !rc)
        rc = err_errno(err, "write %s", output->temporary);
    if (!rc && fsync(output->fd) < 0)
        rc = err_errno(err, "fsync %s", output->temporary);
    if (!rc && rename(output->temporary, output->path) < 0)
        rc = err_errno(err, "rename %s to %s", output->temporary, output->path);
    if (rc)
        return rc;
    close(output->fd);
    output->fd = -1;
    output->temporary[0] = '\0';
    return output_sync_dir(output->path, err);
}

void output_abort(struct output *output)
{
    if (output->gzip)
        gzclose(output->gzip);
    output->gzip = NULL;
    if (output->temporary[0] && output->fd >= 0) {
        close(output->fd);
        unlink(output->temporary);
    }
    output->temporary[0] = '\0';
    if (output->block.data)
        buf_release(&output->block);
}

/* safetensors_write.c -- writing; see safetensors.h. */
#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "engine/safetensors.h"

enum { SAFETENSORS_PIECE = 65536 }; /* numbers converted and written at a time */

struct safetensors_out {
    int fd;
    const char *path;
    enum dtype dtype;
    size_t n; /* numbers waiting */
    float waiting[SAFETENSORS_PIECE];
    unsigned char bytes[SAFETENSORS_PIECE * sizeof(float)];
};

static uint64_t safetensors_elements(const struct safetensors_source *source)
{
    return (source->rows ? (uint64_t)source->rows : 1) * source->cols;
}

static void safetensors_put_header(struct buf *buf, const struct safetensors_source *sources,
                                   size_t n, enum dtype dtype)
{
    uint64_t at = 0;
    buf_puts(buf, "{\"__metadata__\":{\"format\":\"pt\"}");
    for (size_t i = 0; i < n; i++) {
        const struct safetensors_source *s = &sources[i];
        const uint64_t end = at + safetensors_elements(s) * dtype_bytes(dtype);
        buf_puts(buf, ",");
        buf_json_string(buf, s->name, strlen(s->name));
        buf_printf(buf, ":{\"dtype\":\"%s\",\"shape\":[", dtype_name(dtype));
        if (s->rows)
            buf_printf(buf, "%u,", s->transposed ? s->cols : s->rows);
        buf_printf(buf, "%u],\"data_offsets\":[%llu,%llu]}",
                   s->rows && s->transposed ? s->rows : s->cols, (unsigned long long)at,
                   (unsigned long long)end);
        at = end;
    }
    buf_putc(buf, '}');
    while (buf->len % 8 != 0 && !buf->failed) /* so that the data is aligned */
        buf_putc(buf, ' ');
}

static enum err_code safetensors_flush(struct safetensors_out *out, struct err *err)
{
    dtype_from_f32(out->bytes, out->dtype, out->waiting, out->n);
    const size_t bytes = out->n * dtype_bytes(out->dtype);
    out->n = 0;
    return file_write_all(out->fd, out->bytes, bytes, out->path, err);
}

/* n numbers, `step` apart in memory. */
static enum err_code safetensors_put(struct safetensors_out *out, const float *data, size_t n,
                                     size_t step, struct err *err)
{
    enum err_code rc = ERR_OK;
    for (size_t done = 0, some; done < n && rc == ERR_OK; done += some) {
        const size_t room = SAFETENSORS_PIECE - out->n;
        float *to = out->waiting + out->n;
        some = n - done < room ? n - done : room;
        if (step == 1)
            memcpy(to, data + done, some * sizeof *to);
        else
            for (size_t i = 0; i < some; i++)
                to[i] = data[(done + i) * step];
        out->n += some;
        if (out->n == SAFETENSORS_PIECE)
            rc = safetensors_flush(out, err);
    }
    return rc;
}

static enum err_code safetensors_put_all(struct safetensors_out *out,
                                         const struct safetensors_source *sources, size_t n,
                                         struct err *err)
{
    enum err_code rc = ERR_OK;
    for (size_t i = 0; i < n && rc == ERR_OK; i++) {
        const struct safetensors_source *s = &sources[i];
        if (!s->transposed) {
            rc = safetensors_put(out, s->data, (size_t)safetensors_elements(s), 1, err);
            continue;
        }
        for (uint32_t col = 0; col < s->cols && rc == ERR_OK; col++)
            rc = safetensors_put(out, s->data + col, s->rows, s->cols, err);
    }
    return rc ? rc : safetensors_flush(out, err);
}

static enum err_code safetensors_put_file(struct safetensors_out *out,
                                          const struct safetensors_source *sources, size_t n,
                                          struct err *err)
{
    struct buf header;
    buf_init(&header, SAFETENSORS_HEADER_MAX);
    safetensors_put_header(&header, sources, n, out->dtype);
    enum err_code rc = buf_check(&header, "a safetensors header", err);
    if (rc == ERR_OK) {
        unsigned char length[8];
        for (int i = 0; i < 8; i++)
            length[i] = (unsigned char)((uint64_t)header.len >> (8 * i));
        rc = file_write_all(out->fd, length, sizeof length, out->path, err);
    }
    if (rc == ERR_OK)
        rc = file_write_all(out->fd, header.data, header.len, out->path, err);
    buf_release(&header);
    return rc ? rc : safetensors_put_all(out, sources, n, err);
}

/* The directory that holds `path`. */
static void safetensors_parent(char dir[FILE_PATH_MAX], const char *path)
{
    const char *slash = strrchr(path, '/');
    const size_t n = slash ? (size_t)(slash - path) : 0;
    if (n > 0)
        memcpy(dir, path, n);
    else
        dir[0] = slash ? '/' : '.';
    dir[n > 0 ? n : 1] = '\0';
}

enum err_code safetensors_write(const char *path, const struct safetensors_source *sources,
                                size_t n, enum dtype dtype, struct err *err)
{
    enum err_code rc = ERR_OK;
    char tmp[FILE_PATH_MAX], dir[FILE_PATH_MAX];
    bool tmp_exists = false; /* ours to remove while true */
    if (snprintf(tmp, sizeof tmp, "%s.tmp", path) >= (int)sizeof tmp)
        return err_set(err, ERR_VALUE, "path is over %d bytes: %.80s...", FILE_PATH_MAX, path);
    safetensors_parent(dir, path);

    struct safetensors_out *out = malloc(sizeof *out);
    if (!out)
        return err_set(err, ERR_NOMEM, "no memory to write %s", path);
    out->path = tmp;
    out->dtype = dtype;
    out->n = 0;
    out->fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (out->fd < 0) {
        rc = err_errno(err, "create %s", tmp);
        goto out;
    }
    tmp_exists = true;
    if ((rc = safetensors_put_file(out, sources, n, err)))
        goto out;
    if (fsync(out->fd) < 0) {
        rc = err_errno(err, "fsync %s", tmp);
        goto out;
    }
    if (rename(tmp, path) < 0) {
        rc = err_errno(err, "rename %s to %s", tmp, path);
        goto out;
    }
    tmp_exists = false;
    rc = file_sync_dir(dir, err);
out:
    if (out->fd >= 0)
        close(out->fd);
    if (tmp_exists)
        unlink(tmp);
    free(out);
    return rc;
}

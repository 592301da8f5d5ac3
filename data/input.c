/* input.c -- see input.h. */
#include "data/input.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <zlib.h>

enum input_kind { INPUT_UNKNOWN, INPUT_PLAIN, INPUT_GZIP };

struct input {
    int fd; /* -1: none held */
    enum input_kind kind;
    bool end;    /* the file has no more bytes */
    bool member; /* gzip: inside a member, whose end is yet to come */
    size_t held; /* bytes in raw, before kind is known */
    z_stream z;
    unsigned char raw[INPUT_BLOCK_BYTES], text[INPUT_BLOCK_BYTES];
};

struct input *input_open(const char *path, struct err *err)
{
    struct input *input = malloc(sizeof *input);
    if (!input) {
        err_set(err, ERR_NOMEM, "%s: no memory to read it", path);
        return NULL;
    }
    input->fd = strcmp(path, "-") == 0 ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    input->kind = INPUT_UNKNOWN;
    input->end = input->member = false;
    input->held = 0;
    memset(&input->z, 0, sizeof input->z);
    if (input->fd < 0) {
        err_errno(err, "%s", path);
        free(input);
        return NULL;
    }
    return input;
}

void input_close(struct input *input)
{
    if (!input)
        return;
    if (input->kind == INPUT_GZIP)
        inflateEnd(&input->z);
    if (input->fd != STDIN_FILENO)
        close(input->fd);
    free(input);
}

/* Read into raw, after what it holds. */
static enum err_code input_fill(struct input *input, const char *where, struct err *err)
{
    ssize_t got;
    do
        got = read(input->fd, input->raw + input->held, sizeof input->raw - input->held);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return err_errno(err, "%s", where);
    input->end = got == 0;
    input->held += (size_t)got;
    return ERR_OK;
}

/* The first two bytes of a gzip member (RFC 1952, section 2.3.1). */
static bool input_is_gzip(const struct input *input)
{
    return input->held >= 2 && input->raw[0] == 0x1f && input->raw[1] == 0x8b;
}

static enum err_code input_start(struct input *input, const char *where, struct err *err)
{
    while (input->held < 2 && !input->end) {
        const enum err_code rc = input_fill(input, where, err);
        if (rc)
            return rc;
    }
    if (!input_is_gzip(input)) {
        input->kind = INPUT_PLAIN;
        return ERR_OK;
    }
    if (inflateInit2(&input->z, 16 + MAX_WBITS) != Z_OK) /* 16: gzip alone */
        return err_set(err, ERR_NOMEM, "%s: no memory to decompress it", where);
    input->kind = INPUT_GZIP;
    input->member = true;
    input->z.next_in = input->raw;
    input->z.avail_in = (uInt)input->held;
    return ERR_OK;
}

static enum err_code input_read_plain(struct input *input, const char *where,
                                      const char **block, size_t *n, struct err *err)
{
    enum err_code rc = ERR_OK;
    if (input->held == 0 && !input->end)
        rc = input_fill(input, where, err);
    *block = (const char *)input->raw;
    *n = input->held;
    input->held = 0;
    return rc;
}

/* Have bytes to inflate, or know that there are none. */
static enum err_code input_refill(struct input *input, const char *where, struct err *err)
{
    if (input->z.avail_in > 0 || input->end)
        return ERR_OK;
    input->held = 0;
    const enum err_code rc = input_fill(input, where, err);
    input->z.next_in = input->raw;
    input->z.avail_in = (uInt)input->held;
    return rc;
}

static enum err_code input_read_gzip(struct input *input, const char *where, const char **block,
                                     size_t *n, struct err *err)
{
    z_stream *z = &input->z;
    z->next_out = input->text;
    z->avail_out = sizeof input->text;
    while (z->avail_out == sizeof input->text) {
        const enum err_code rc = input_refill(input, where, err);
        if (rc)
            return rc;
        if (z->avail_in == 0 && input->member)
            return err_set(err, ERR_FORMAT, "%s: the gzip data breaks off here", where);
        if (z->avail_in == 0)
            break;
        if (!input->member) {
            inflateReset(z);
            input->member = true;
        }
        const int code = inflate(z, Z_NO_FLUSH);
        if (code == Z_STREAM_END)
            input->member = false;
        else if (code != Z_OK && code != Z_BUF_ERROR)
            return err_set(err, ERR_FORMAT, "%s: the gzip data is damaged (%s)", where,
                           z->msg ? z->msg : "no reason given");
    }
    *block = (const char *)input->text;
    *n = sizeof input->text - z->avail_out;
    return ERR_OK;
}

enum err_code input_read(struct input *input, const char *where, const char **block, size_t *n,
                         struct err *err)
{
    *n = 0;
    if (input->kind == INPUT_UNKNOWN) {
        const enum err_code rc = input_start(input, where, err);
        if (rc)
            return rc;
    }
    return input->kind == INPUT_GZIP ? input_read_gzip(input, where, block, n, err)
                                     : input_read_plain(input, where, block, n, err);
}

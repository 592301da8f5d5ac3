/* weights_delta.c -- see weights_delta.h. */
#include "node/weights_delta.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#define WEIGHTS_DELTA_LEVEL 1

struct weights_delta {
    ZSTD_CCtx *make;
    ZSTD_DCtx *undo;
    unsigned char planes[WEIGHTS_DELTA_BYTES_MAX];
};

struct weights_delta *weights_delta_new(void)
{
    struct weights_delta *delta = calloc(1, sizeof *delta);
    if (delta) {
        delta->make = ZSTD_createCCtx();
        delta->undo = ZSTD_createDCtx();
    }
    if (delta && delta->make && delta->undo)
        return delta;
    weights_delta_free(delta);
    return NULL;
}

void weights_delta_free(struct weights_delta *delta)
{
    if (!delta)
        return;
    ZSTD_freeCCtx(delta->make);
    ZSTD_freeDCtx(delta->undo);
    free(delta);
}

/* Bytes past the last whole word, where there are any, are as they are. */
static void weights_delta_split(unsigned char *planes, const unsigned char *base,
                                const unsigned char *bytes, size_t size)
{
    const size_t n = size / 4;
    for (size_t i = 0; i < n; i++) {
        uint32_t was, is;
        memcpy(&was, base + 4 * i, 4);
        memcpy(&is, bytes + 4 * i, 4);
        const uint32_t moved = is - was;
        const uint32_t folded = moved << 1 ^ (moved >> 31 ? UINT32_MAX : 0);
        planes[i] = (unsigned char)folded;
        planes[n + i] = (unsigned char)(folded >> 8);
        planes[2 * n + i] = (unsigned char)(folded >> 16);
        planes[3 * n + i] = (unsigned char)(folded >> 24);
    }
    memcpy(planes + 4 * n, bytes + 4 * n, size - 4 * n);
}

static void weights_delta_join(unsigned char *bytes, const unsigned char *planes, size_t size)
{
    const size_t n = size / 4;
    for (size_t i = 0; i < n; i++) {
        uint32_t word;
        const uint32_t folded = planes[i] | (uint32_t)planes[n + i] << 8 |
                                (uint32_t)planes[2 * n + i] << 16 |
                                (uint32_t)planes[3 * n + i] << 24;
        memcpy(&word, bytes + 4 * i, 4);
        word += folded >> 1 ^ (folded & 1 ? UINT32_MAX : 0);
        memcpy(bytes + 4 * i, &word, 4);
    }
    memcpy(bytes + 4 * n, planes + 4 * n, size - 4 * n);
}

size_t weights_delta_make(struct weights_delta *delta, const void *base, const void *bytes,
                          size_t size, void *out)
{
    assert(size > 0 && size <= WEIGHTS_DELTA_BYTES_MAX);
    weights_delta_split(delta->planes, base, bytes, size);
    /* An error is that `out` is too small. */
    const size_t made =
        ZSTD_compressCCtx(delta->make, out, size - 1, delta->planes, size, WEIGHTS_DELTA_LEVEL);
    return ZSTD_isError(made) ? 0 : made;
}

enum err_code weights_delta_apply(struct weights_delta *delta, void *bytes, size_t size,
                                  const void *from, size_t from_size, struct err *err)
{
    assert(size > 0 && size <= WEIGHTS_DELTA_BYTES_MAX);
    const size_t got = ZSTD_decompressDCtx(delta->undo, delta->planes, size, from, from_size);
    if (ZSTD_isError(got))
        return err_set(err, ERR_FORMAT, "%zu bytes are no difference: %s", from_size,
                       ZSTD_getErrorName(got));
    if (got != size)
        return err_set(err, ERR_FORMAT, "a difference of %zu bytes, not %zu", got, size);
    weights_delta_join(bytes, delta->planes, size);
    return ERR_OK;
}

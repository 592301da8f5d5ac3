/*
 * safetensors.h -- named tensors in a file, read with suspicion and written whole.
 *
 *     8 bytes  n, little-endian: length of the header
 *     n bytes  JSON: {"__metadata__": {..}, "name": {"dtype", "shape", "data_offsets"}, ..}
 *     data     the tensors, one after the other without a gap, to the last byte
 *
 * (https://github.com/huggingface/safetensors, "Format".)  A file that strays from it in any
 * way is refused with one sentence naming the file and the tensor: a header over 16 MiB or
 * past the end, a number format other than F32, F16, BF16, a shape whose product overflows,
 * offsets that overlap, leave gaps, or disagree with shape or file.
 *
 * A directory holds model.safetensors, or shards named by model.safetensors.index.json.
 * Files are read with pread(2) into place, never mapped: one that shrinks meanwhile is an
 * error, not a signal.  All calls block on the disk.
 */
#ifndef ENGINE_SAFETENSORS_H
#define ENGINE_SAFETENSORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "engine/dtype.h"

#define SAFETENSORS_HEADER_MAX  (16u << 20) /* bytes */
#define SAFETENSORS_TENSORS_MAX 65536u      /* of all shards */
#define SAFETENSORS_SHARDS_MAX  1024u
#define SAFETENSORS_DIMS_MAX    8u

struct safetensors; /* one or more files held open */

struct safetensors_tensor {
    const char *name; /* valid until safetensors_close, as the whole struct */
    enum dtype dtype;
    uint32_t dims; /* 0: a scalar */
    uint64_t shape[SAFETENSORS_DIMS_MAX];
    uint64_t elements; /* product of shape */
    uint64_t at;       /* byte in its file */
    uint32_t shard;    /* index for safetensors_path */
};

/* Open one file, or what a directory holds.  ERR_IO where a file cannot be opened or is not
 * regular, ERR_FORMAT, ERR_VALUE, ERR_NOMEM.  The caller closes it with safetensors_close. */
struct safetensors *safetensors_open(const char *path, struct err *err);
struct safetensors *safetensors_open_dir(const char *dir, struct err *err);
void safetensors_close(struct safetensors *st);

/* Tensors in ascending order of name (bytewise). */
size_t safetensors_count(const struct safetensors *st);
const struct safetensors_tensor *safetensors_at(const struct safetensors *st, size_t i);

/* NULL: none of that name. */
const struct safetensors_tensor *safetensors_find(const struct safetensors *st,
                                                  const char *name);

/* The file a tensor is in. */
const char *safetensors_path(const struct safetensors *st, uint32_t shard);

/* Read tensor->elements numbers as float32.  ERR_IO; ERR_FORMAT where the file ends before. */
enum err_code safetensors_read(const struct safetensors *st,
                               const struct safetensors_tensor *tensor, float *out,
                               struct err *err);

/* A matrix (rows, cols) to be written, or a vector where rows is 0. */
struct safetensors_source {
    const char *name;
    const float *data;
    uint32_t rows, cols;
    bool transposed; /* the file gets (cols, rows) */
};

/* Write them in this order, as `dtype`, with __metadata__ {"format":"pt"}.  The file at `path`
 * is replaced atomically and durably, or left as it was.  ERR_IO, ERR_VALUE where the path is too
 * long, ERR_NOMEM. */
enum err_code safetensors_write(const char *path, const struct safetensors_source *sources,
                                size_t n, enum dtype dtype, struct err *err);

#endif

/* safetensors.c -- see safetensors.h.  Reading; engine/safetensors_write.c writes. */
#include "engine/safetensors.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"

struct safetensors_file {
    char path[FILE_PATH_MAX];
    int fd;           /* -1: not open */
    uint64_t data_at; /* first byte of the data */
    uint64_t size;    /* of the file */
    json_t *header;   /* holds the names */
};

struct safetensors {
    struct safetensors_file *files;
    uint32_t files_n;
    struct safetensors_tensor *tensors;
    size_t tensors_n;
};

/* Names come from a stranger's file: at most this much of one is repeated in an error. */
#define SAFETENSORS_NAME "%s: tensor \"%.128s\""

/* *out = a * b, or false where it does not fit. */
static bool safetensors_multiply(uint64_t a, uint64_t b, uint64_t *out)
{
    if (b != 0 && a > UINT64_MAX / b)
        return false;
    *out = a * b;
    return true;
}

static enum err_code safetensors_parse_shape(const char *path, const char *name,
                                             const json_t *shape,
                                             struct safetensors_tensor *tensor, struct err *err)
{
    if (!json_is_array(shape))
        return err_set(err, ERR_FORMAT, SAFETENSORS_NAME " has no \"shape\"", path, name);
    if (json_array_size(shape) > SAFETENSORS_DIMS_MAX)
        return err_set(err, ERR_FORMAT, SAFETENSORS_NAME " has %zu dimensions, at most %u",
                       path, name, json_array_size(shape), SAFETENSORS_DIMS_MAX);
    tensor->dims = (uint32_t)json_array_size(shape);
    tensor->elements = 1;
    for (uint32_t d = 0; d < tensor->dims; d++) {
        const json_t *size = json_array_get(shape, d);
        if (!json_is_integer(size) || json_integer_value(size) < 0)
            return err_set(err, ERR_FORMAT,
                           SAFETENSORS_NAME " has a shape that is no list of whole numbers",
                           path, name);
        tensor->shape[d] = (uint64_t)json_integer_value(size);
        if (!safetensors_multiply(tensor->elements, tensor->shape[d], &tensor->elements))
            return err_set(err, ERR_FORMAT, SAFETENSORS_NAME " has a shape that overflows",
                           path, name);
    }
    return ERR_OK;
}

/* Where it lies, in bytes of the data; checked against the shape and the file. */
static enum err_code safetensors_parse_offsets(const struct safetensors_file *file,
                                               const char *name, const json_t *offsets,
                                               struct safetensors_tensor *tensor,
                                               struct err *err)
{
    const json_t *begin = json_array_get(offsets, 0), *end = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(begin) || !json_is_integer(end) ||
        json_integer_value(begin) < 0 || json_integer_value(end) < json_integer_value(begin))
        return err_set(err, ERR_FORMAT, SAFETENSORS_NAME " has no usable \"data_offsets\"",
                       file->path, name);
    const uint64_t from = (uint64_t)json_integer_value(begin);
    const uint64_t to = (uint64_t)json_integer_value(end);
    if (to > file->size - file->data_at)
        return err_set(err, ERR_FORMAT,
                       SAFETENSORS_NAME " ends at byte %llu of %llu bytes of data", file->path,
                       name, (unsigned long long)to,
                       (unsigned long long)(file->size - file->data_at));
    uint64_t bytes;
    if (!safetensors_multiply(tensor->elements, dtype_bytes(tensor->dtype), &bytes) ||
        bytes != to - from)
        return err_set(err, ERR_FORMAT,
                       SAFETENSORS_NAME " has %llu bytes, which is not what its shape needs",
                       file->path, name, (unsigned long long)(to - from));
    tensor->at = file->data_at + from;
    return ERR_OK;
}

static enum err_code safetensors_parse_tensor(const struct safetensors_file *file,
                                              const char *name, const json_t *entry,
                                              struct safetensors_tensor *tensor,
                                              struct err *err)
{
    const json_t *dtype = json_object_get(entry, "dtype");
    if (!json_is_string(dtype))
        return err_set(err, ERR_FORMAT, SAFETENSORS_NAME " has no \"dtype\"", file->path, name);
    tensor->name = name;
    if (!dtype_parse(json_string_value(dtype), &tensor->dtype))
        return err_set(err, ERR_FORMAT,
                       SAFETENSORS_NAME " is of type %.16s; known are F32, F16, BF16",
                       file->path, name, json_string_value(dtype));
    enum err_code rc =
        safetensors_parse_shape(file->path, name, json_object_get(entry, "shape"), tensor, err);
    if (rc)
        return rc;
    return safetensors_parse_offsets(file, name, json_object_get(entry, "data_offsets"), tensor,
                                     err);
}

static uint64_t safetensors_end(const struct safetensors_tensor *tensor)
{
    return tensor->at + tensor->elements * dtype_bytes(tensor->dtype);
}

/* By place; of two at the same place the one that ends first, so that an empty tensor comes
 * before the one that starts where it lies. */
static int safetensors_by_place(const void *a, const void *b)
{
    const struct safetensors_tensor *x = a, *y = b;
    if (x->at != y->at)
        return x->at < y->at ? -1 : 1;
    const uint64_t x_end = safetensors_end(x), y_end = safetensors_end(y);
    return x_end < y_end ? -1 : x_end > y_end;
}

static int safetensors_by_name(const void *a, const void *b)
{
    const struct safetensors_tensor *x = a, *y = b;
    return strcmp(x->name, y->name);
}

/* The tensors of one file fill its data exactly. */
static enum err_code safetensors_check_places(const struct safetensors_file *file,
                                              struct safetensors_tensor *tensors, size_t n,
                                              struct err *err)
{
    qsort(tensors, n, sizeof *tensors, safetensors_by_place);
    uint64_t at = file->data_at;
    for (size_t i = 0; i < n; i++) {
        if (tensors[i].at != at)
            return err_set(err, ERR_FORMAT, SAFETENSORS_NAME " %s the one before it",
                           file->path, tensors[i].name,
                           tensors[i].at < at ? "overlaps" : "leaves a gap after");
        at = safetensors_end(&tensors[i]);
    }
    if (at != file->size)
        return err_set(err, ERR_FORMAT, "%s: %llu bytes at the end belong to no tensor",
                       file->path, (unsigned long long)(file->size - at));
    return ERR_OK;
}

static enum err_code safetensors_open_file(struct safetensors_file *file, struct err *err)
{
    struct stat info;
    /* O_NONBLOCK: opening a named pipe must not wait for its writer. */
    file->fd = open(file->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file->fd < 0)
        return err_errno(err, "open %s", file->path);
    if (fstat(file->fd, &info) < 0)
        return err_errno(err, "stat %s", file->path);
    if (!S_ISREG(info.st_mode))
        return err_set(err, ERR_IO, "%s is not a regular file", file->path);
    file->size = (uint64_t)info.st_size;
    return ERR_OK;
}

/* Read the header of an open file into file->header. */
static enum err_code safetensors_read_header(struct safetensors_file *file, struct err *err)
{
    unsigned char length[8];
    if (file->size < sizeof length)
        return err_set(err, ERR_FORMAT, "%s: %llu bytes are too few for a header", file->path,
                       (unsigned long long)file->size);
    enum err_code rc = file_pread_all(file->fd, length, sizeof length, 0, file->path, err);
    if (rc)
        return rc;
    uint64_t bytes = 0;
    for (int i = 7; i >= 0; i--)
        bytes = bytes << 8 | length[i];
    if (bytes > SAFETENSORS_HEADER_MAX || bytes > file->size - sizeof length)
        return err_set(err, ERR_FORMAT,
                       "%s: a header of %llu bytes is over %u or over the file's end",
                       file->path, (unsigned long long)bytes, SAFETENSORS_HEADER_MAX);
    char *text = malloc((size_t)bytes + 1);
    if (!text)
        return err_set(err, ERR_NOMEM, "%s: no memory for a header of %llu bytes", file->path,
                       (unsigned long long)bytes);
    rc = file_pread_all(file->fd, text, (size_t)bytes, sizeof length, file->path, err);
    if (rc == ERR_OK) {
        file->header = json_parse(text, (size_t)bytes, file->path, err);
        rc = file->header ? ERR_OK : ERR_FORMAT;
    }
    free(text);
    if (rc == ERR_OK && !json_is_object(file->header))
        rc = err_set(err, ERR_FORMAT, "%s: the header is no JSON object", file->path);
    file->data_at = sizeof length + bytes;
    return rc;
}

/* Append the tensors of file `shard`, which is open and has its header. */
static enum err_code safetensors_add(struct safetensors *st, uint32_t shard, struct err *err)
{
    const struct safetensors_file *file = &st->files[shard];
    const size_t entries = json_object_size(file->header), first = st->tensors_n;
    if (entries > SAFETENSORS_TENSORS_MAX || first + entries > SAFETENSORS_TENSORS_MAX)
        return err_set(err, ERR_FORMAT, "%s: more than %u tensors", file->path,
                       SAFETENSORS_TENSORS_MAX);
    struct safetensors_tensor *tensors =
        realloc(st->tensors, (first + entries + 1) * sizeof *tensors);
    if (!tensors)
        return err_set(err, ERR_NOMEM, "%s: no memory for a table of tensors", file->path);
    st->tensors = tensors;

    const char *name;
    json_t *entry;
    json_object_foreach(file->header, name, entry)
    {
        if (strcmp(name, "__metadata__") == 0)
            continue;
        struct safetensors_tensor *tensor = &tensors[st->tensors_n];
        *tensor = (struct safetensors_tensor){.shard = shard};
        enum err_code rc = safetensors_parse_tensor(file, name, entry, tensor, err);
        if (rc)
            return rc;
        st->tensors_n++;
    }
    return safetensors_check_places(file, tensors + first, st->tensors_n - first, err);
}

static struct safetensors *safetensors_new(uint32_t files, struct err *err)
{
    struct safetensors *st = calloc(1, sizeof *st);
    if (st)
        st->files = calloc(files ? files : 1, sizeof *st->files);
    if (!st || !st->files) {
        free(st);
        err_set(err, ERR_NOMEM, "no memory to open %u weight files", files);
        return NULL;
    }
    st->files_n = files;
    for (uint32_t i = 0; i < files; i++)
        st->files[i].fd = -1;
    return st;
}

void safetensors_close(struct safetensors *st)
{
    if (!st)
        return;
    for (uint32_t i = 0; i < st->files_n; i++) {
        if (st->files[i].fd >= 0)
            close(st->files[i].fd);
        json_decref(st->files[i].header);
    }
    free(st->files);
    free(st->tensors);
    free(st);
}

/* Open every file named in st->files; sort and compare the names of all. */
static enum err_code safetensors_load(struct safetensors *st, struct err *err)
{
    for (uint32_t i = 0; i < st->files_n; i++) {
        enum err_code rc = safetensors_open_file(&st->files[i], err);
        if (rc == ERR_OK)
            rc = safetensors_read_header(&st->files[i], err);
        if (rc == ERR_OK)
            rc = safetensors_add(st, i, err);
        if (rc)
            return rc;
    }
    if (st->tensors_n > 0)
        qsort(st->tensors, st->tensors_n, sizeof *st->tensors, safetensors_by_name);
    for (size_t i = 1; i < st->tensors_n; i++)
        if (strcmp(st->tensors[i - 1].name, st->tensors[i].name) == 0)
            return err_set(err, ERR_FORMAT, SAFETENSORS_NAME " is also in %s",
                           st->files[st->tensors[i].shard].path, st->tensors[i].name,
                           st->files[st->tensors[i - 1].shard].path);
    return ERR_OK;
}

static struct safetensors *safetensors_loaded(struct safetensors *st, struct err *err)
{
    if (safetensors_load(st, err) == ERR_OK)
        return st;
    safetensors_close(st);
    return NULL;
}

struct safetensors *safetensors_open(const char *path, struct err *err)
{
    if (strlen(path) >= FILE_PATH_MAX) {
        err_set(err, ERR_VALUE, "path is over %d bytes: %.80s...", FILE_PATH_MAX, path);
        return NULL;
    }
    struct safetensors *st = safetensors_new(1, err);
    if (!st)
        return NULL;
    memcpy(st->files[0].path, path, strlen(path) + 1);
    return safetensors_loaded(st, err);
}

/* A shard is a plain name beside its index: no way out of the directory. */
static enum err_code safetensors_check_shard(const char *index, const char *tensor,
                                             const json_t *shard, struct err *err)
{
    const char *name = json_string_value(shard);
    if (!name)
        return err_set(err, ERR_FORMAT, SAFETENSORS_NAME " has no file name", index, tensor);
    if (name[0] == '\0' || name[0] == '.' || strchr(name, '/') || strchr(name, '\\'))
        return err_set(err, ERR_FORMAT, "%s: \"%.128s\" is not the name of a file beside it",
                       index, name);
    return ERR_OK;
}

static int safetensors_compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The distinct file names of weight_map, sorted, into `names`; returns how many. */
static enum err_code safetensors_shard_names(const char *index, const json_t *map,
                                             const char **names, uint32_t *n, struct err *err)
{
    const char *tensor;
    json_t *shard;
    size_t all = 0;
    json_object_foreach((json_t *)map, tensor, shard)
    {
        enum err_code rc = safetensors_check_shard(index, tensor, shard, err);
        if (rc)
            return rc;
        names[all++] = json_string_value(shard);
    }
    qsort(names, all, sizeof *names, safetensors_compare_names);
    size_t distinct = 0;
    for (size_t i = 0; i < all; i++)
        if (i == 0 || strcmp(names[i], names[distinct - 1]) != 0)
            names[distinct++] = names[i];
    if (distinct > SAFETENSORS_SHARDS_MAX)
        return err_set(err, ERR_FORMAT, "%s names %zu files, at most %u", index, distinct,
                       SAFETENSORS_SHARDS_MAX);
    *n = (uint32_t)distinct;
    return ERR_OK;
}

/* Every tensor is in the file the index names, and every one is named. */
static enum err_code safetensors_check_index(const struct safetensors *st, const char *index,
                                             const json_t *map, struct err *err)
{
    const char *name;
    json_t *shard;
    json_object_foreach((json_t *)map, name, shard)
    {
        const struct safetensors_tensor *tensor = safetensors_find(st, name);
        const char *path = tensor ? st->files[tensor->shard].path : "";
        const char *slash = strrchr(path, '/');
        if (!tensor || strcmp(slash ? slash + 1 : path, json_string_value(shard)) != 0)
            return err_set(err, ERR_FORMAT, SAFETENSORS_NAME " is not in %.128s", index, name,
                           json_string_value(shard));
    }
    if (json_object_size(map) != st->tensors_n)
        return err_set(err, ERR_FORMAT, "%s names %zu tensors, its files hold %zu", index,
                       json_object_size(map), st->tensors_n);
    return ERR_OK;
}

static struct safetensors *safetensors_open_shards(const char *dir, const char *index,
                                                   const json_t *map, struct err *err)
{
    struct safetensors *st = NULL;
    uint32_t n = 0;
    const char **names = calloc(json_object_size(map) + 1, sizeof *names);
    if (!names) {
        err_set(err, ERR_NOMEM, "%s: no memory for its file names", index);
        return NULL;
    }
    if (safetensors_shard_names(index, map, names, &n, err) == ERR_OK)
        st = safetensors_new(n, err);
    for (uint32_t i = 0; st && i < n; i++)
        if (file_join(st->files[i].path, dir, names[i], err)) {
            safetensors_close(st);
            st = NULL;
        }
    free(names);
    if (st)
        st = safetensors_loaded(st, err);
    if (st && safetensors_check_index(st, index, map, err)) {
        safetensors_close(st);
        st = NULL;
    }
    return st;
}

struct safetensors *safetensors_open_dir(const char *dir, struct err *err)
{
    char path[FILE_PATH_MAX], index[FILE_PATH_MAX];
    if (file_join(path, dir, "model.safetensors", err) ||
        file_join(index, dir, "model.safetensors.index.json", err))
        return NULL;
    if (file_exists(path) || !file_exists(index))
        return safetensors_open(path, err);

    json_t *root = json_read_file(index, SAFETENSORS_HEADER_MAX, err);
    if (!root)
        return NULL;
    struct safetensors *st = NULL;
    const json_t *map = json_object_get(root, "weight_map");
    if (json_is_object(map))
        st = safetensors_open_shards(dir, index, map, err);
    else
        err_set(err, ERR_FORMAT, "%s: \"weight_map\" is missing", index);
    json_decref(root);
    return st;
}

size_t safetensors_count(const struct safetensors *st)
{
    return st->tensors_n;
}

const struct safetensors_tensor *safetensors_at(const struct safetensors *st, size_t i)
{
    return &st->tensors[i];
}

const struct safetensors_tensor *safetensors_find(const struct safetensors *st,
                                                  const char *name)
{
    const struct safetensors_tensor key = {.name = name};
    if (st->tensors_n == 0)
        return NULL;
    return bsearch(&key, st->tensors, st->tensors_n, sizeof key, safetensors_by_name);
}

const char *safetensors_path(const struct safetensors *st, uint32_t shard)
{
    return st->files[shard].path;
}

enum err_code safetensors_read(const struct safetensors *st,
                               const struct safetensors_tensor *tensor, float *out,
                               struct err *err)
{
    const struct safetensors_file *file = &st->files[tensor->shard];
    if (tensor->dtype == DTYPE_F32)
        return file_pread_all(file->fd, out, (size_t)tensor->elements * sizeof(float),
                              tensor->at, file->path, err);
    unsigned char piece[16384];
    const size_t each = dtype_bytes(tensor->dtype), most = sizeof piece / each;
    for (uint64_t done = 0; done < tensor->elements;) {
        const uint64_t left = tensor->elements - done;
        const size_t n = left < most ? (size_t)left : most;
        enum err_code rc = file_pread_all(file->fd, piece, n * each, tensor->at + done * each,
                                          file->path, err);
        if (rc)
            return rc;
        dtype_to_f32(out + done, piece, tensor->dtype, n);
        done += n;
    }
    return ERR_OK;
}

/* inspect_safetensors.c -- see inspect.h: the header of a safetensors file.
 *
 *     u64 little-endian n | n bytes of JSON {"name": {"dtype","shape","data_offsets"}, ...} |
 * data
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "cli/inspect.h"

#define INSPECT_HEADER_MAX ((uint64_t)100 << 20) /* the format's own limit */

struct inspect_totals {
    uint64_t tensors, elements, bytes;
};

static uint64_t inspect_u64(const unsigned char bytes[8])
{
    uint64_t value = 0;
    for (unsigned i = 8; i-- > 0;)
        value = value << 8 | bytes[i];
    return value;
}

/* The header as JSON, and the size of the data behind it. */
static json_t *inspect_header(int fd, const char *path, uint64_t *data_bytes, struct err *err)
{
    struct stat about;
    unsigned char prefix[8];
    if (fstat(fd, &about)) {
        err_errno(err, "%s", path);
        return NULL;
    }
    if (file_pread_all(fd, prefix, sizeof prefix, 0, path, err))
        return NULL;
    const uint64_t n = inspect_u64(prefix), size = (uint64_t)about.st_size;
    if (n > INSPECT_HEADER_MAX || n > size - sizeof prefix) {
        err_set(err, ERR_FORMAT, "%s: no safetensors file: its header claims %llu bytes", path,
                (unsigned long long)n);
        return NULL;
    }
    struct buf header;
    buf_init(&header, INSPECT_HEADER_MAX);
    char chunk[4096];
    enum err_code rc = ERR_OK;
    for (uint64_t at = 0; !rc && at < n;) {
        const size_t part = n - at < sizeof chunk ? (size_t)(n - at) : sizeof chunk;
        rc = file_pread_all(fd, chunk, part, sizeof prefix + at, path, err);
        buf_append(&header, chunk, part);
        at += part;
    }
    if (!rc)
        rc = buf_check(&header, path, err);
    json_t *root = rc ? NULL : json_parse(header.data, header.len, path, err);
    buf_release(&header);
    *data_bytes = size - sizeof prefix - n;
    return root;
}

static enum err_code inspect_tensor(const char *path, const char *name, const json_t *tensor,
                                    uint64_t data_bytes, bool json, struct buf *out,
                                    struct inspect_totals *totals, struct err *err)
{
    const json_t *shape = json_object_get(tensor, "shape");
    const json_t *offsets = json_object_get(tensor, "data_offsets");
    const char *dtype = json_string_value(json_object_get(tensor, "dtype"));
    const json_int_t begin = json_integer_value(json_array_get(offsets, 0));
    const json_int_t end = json_integer_value(json_array_get(offsets, 1));
    if (!dtype || !json_is_array(shape) || json_array_size(offsets) != 2 || begin < 0 ||
        end < begin || (uint64_t)end > data_bytes)
        return err_set(err, ERR_FORMAT, "%s: tensor %s has no usable dtype, shape or place",
                       path, name);

    uint64_t elements = 1;
    char dims[96] = "";
    for (size_t i = 0; i < json_array_size(shape); i++) {
        const json_int_t dim = json_integer_value(json_array_get(shape, i));
        if (dim < 0 || (dim > 0 && elements > UINT64_MAX / (uint64_t)dim))
            return err_set(err, ERR_FORMAT, "%s: tensor %s has an impossible shape", path,
                           name);
        elements *= (uint64_t)dim;
        const size_t used = strlen(dims);
        snprintf(dims + used, sizeof dims - used, "%s%lld", i ? ", " : "", (long long)dim);
    }
    const uint64_t bytes = (uint64_t)(end - begin);
    if (json) {
        buf_puts(out, totals->tensors ? ", {\"name\": " : "{\"name\": ");
        buf_json_string(out, name, strlen(name));
        buf_puts(out, ", \"dtype\": ");
        buf_json_string(out, dtype, strlen(dtype));
        buf_printf(out, ", \"shape\": [%s], \"bytes\": %llu}", dims, (unsigned long long)bytes);
    } else {
        buf_printf(out, "  %-56s %-5s [%s]  %llu bytes\n", name, dtype, dims,
                   (unsigned long long)bytes);
    }
    totals->tensors++;
    totals->elements += elements;
    totals->bytes += bytes;
    return ERR_OK;
}

static enum err_code inspect_put_header(const char *path, json_t *root, uint64_t data_bytes,
                                        bool json, struct buf *out, struct err *err)
{
    if (!json_is_object(root))
        return err_set(err, ERR_FORMAT, "%s: the header is not a JSON object", path);
    struct inspect_totals totals = {0};
    if (json) {
        buf_puts(out, "{\"file\": ");
        buf_json_string(out, path, strlen(path));
        buf_puts(out, ", \"tensors\": [");
    } else {
        buf_printf(out, "%s\n", path);
    }
    const char *name;
    json_t *value;
    json_object_foreach(root, name, value)
    {
        if (strcmp(name, "__metadata__") == 0)
            continue;
        const enum err_code rc =
            inspect_tensor(path, name, value, data_bytes, json, out, &totals, err);
        if (rc)
            return rc;
    }
    buf_printf(out,
               json ? "], \"tensors_n\": %llu, \"elements\": %llu, \"bytes\": %llu}"
                    : "  %llu tensors, %llu elements, %llu bytes\n",
               (unsigned long long)totals.tensors, (unsigned long long)totals.elements,
               (unsigned long long)totals.bytes);
    return ERR_OK;
}

enum err_code inspect_safetensors(const char *path, bool json, struct buf *out, struct err *err)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_errno(err, "%s", path);
    struct err why = {0};
    uint64_t data_bytes = 0;
    json_t *root = inspect_header(fd, path, &data_bytes, &why);
    enum err_code rc = why.code;
    if (root)
        rc = inspect_put_header(path, root, data_bytes, json, out, &why);
    json_decref(root);
    close(fd);
    if (rc && err)
        *err = why;
    return rc;
}

/* inspect_safetensors.c -- see inspect.h: the tensors of safetensors files. */
#include <stdio.h>
#include <string.h>

#include "cli/inspect.h"
#include "engine/safetensors.h"

#define INSPECT_SHAPE_MAX 192 /* bytes of a shape in print: 8 numbers of up to 20 digits */

static void inspect_put_tensor(const struct safetensors_tensor *tensor, bool json, bool first,
                               struct buf *out)
{
    char shape[INSPECT_SHAPE_MAX] = "";
    for (uint32_t i = 0; i < tensor->dims; i++) {
        const size_t used = strlen(shape);
        snprintf(shape + used, sizeof shape - used, "%s%llu", i ? ", " : "",
                 (unsigned long long)tensor->shape[i]);
    }
    if (!json) {
        buf_printf(out, "  %-56s %-5s [%s]\n", tensor->name, dtype_name(tensor->dtype), shape);
        return;
    }
    buf_puts(out, first ? "{\"name\": " : ", {\"name\": ");
    buf_json_string(out, tensor->name, strlen(tensor->name));
    buf_printf(out, ", \"dtype\": \"%s\", \"shape\": [%s], \"shard\": %u}",
               dtype_name(tensor->dtype), shape, tensor->shard);
}

void inspect_put_tensors(const struct safetensors *st, bool json, struct buf *out)
{
    uint64_t elements = 0;
    const size_t n = safetensors_count(st);
    buf_puts(out, json ? "\"tensors\": [" : "");
    for (size_t i = 0; i < n; i++) {
        inspect_put_tensor(safetensors_at(st, i), json, i == 0, out);
        elements += safetensors_at(st, i)->elements;
    }
    buf_printf(out, json ? "], \"elements\": %llu" : "  %llu numbers in all\n",
               (unsigned long long)elements);
}

enum err_code inspect_safetensors(const char *path, bool json, struct buf *out, struct err *err)
{
    struct err why = {0};
    struct safetensors *st = safetensors_open(path, &why);
    if (!st) {
        if (err)
            *err = why;
        return why.code;
    }
    buf_puts(out, json ? "{\"file\": " : "");
    if (json)
        buf_json_string(out, path, strlen(path));
    else
        buf_puts(out, path);
    buf_puts(out, json ? ", " : "\n");
    inspect_put_tensors(st, json, out);
    buf_puts(out, json ? "}" : "");
    safetensors_close(st);
    return ERR_OK;
}

/* sft_data.c -- see sft.h: examples read from JSON lines. */
#include <stdlib.h>

#include "data/lines.h"
#include "offline/sft.h"

static enum err_code sft_data_grow(struct sft_data *data, struct err *err)
{
    if (data->n < data->cap)
        return ERR_OK;
    const size_t cap = data->cap ? 2 * data->cap : 1024;
    uint64_t *offset = realloc(data->offset, (cap + 1) * sizeof *offset);
    if (offset)
        data->offset = offset;
    uint32_t *first = offset ? realloc(data->first, cap * sizeof *first) : NULL;
    if (!first)
        return err_set(err, ERR_NOMEM, "no memory for %zu examples", cap);
    data->first = first;
    data->cap = cap;
    data->offset[0] = 0;
    return ERR_OK;
}

static enum err_code sft_data_add(struct sft_data *data, const struct example_reader *reader,
                                  const json_t *object, const char *where, struct err *err)
{
    enum err_code rc = sft_data_grow(data, err);
    uint32_t first = 0;
    if (!rc)
        rc = example_read(reader, object, where, &data->ids, &first, err);
    if (rc)
        return rc;
    if (data->n >= UINT32_MAX - 1)
        return err_set(err, ERR_VALUE, "%s: too many examples", where);
    const uint64_t length = data->ids.n - data->offset[data->n];
    if (length < 2 || first >= length)
        return err_set(err, ERR_VALUE, "%s: there is nothing to learn in %llu token(s)", where,
                       (unsigned long long)length);
    data->first[data->n++] = first > 0 ? first : 1;
    data->offset[data->n] = data->ids.n;
    return ERR_OK;
}

enum err_code sft_data_read(struct sft_data *data, const struct example_reader *reader,
                            const char *path, struct err *err)
{
    *data = (struct sft_data){0};
    struct lines lines;
    enum err_code rc = lines_open(&lines, path, err);
    while (!rc) {
        json_t *object;
        rc = lines_next_object(&lines, &object, err);
        if (rc || !object)
            break;
        rc = sft_data_add(data, reader, object, lines.where, err);
        json_decref(object);
    }
    lines_close(&lines);
    if (!rc && data->n == 0)
        rc = err_set(err, ERR_VALUE, "%s: there are no examples", path);
    return rc;
}

void sft_data_release(struct sft_data *data)
{
    tokens_release(&data->ids);
    free(data->offset);
    free(data->first);
    *data = (struct sft_data){0};
}

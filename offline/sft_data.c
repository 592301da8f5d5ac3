/* sft_data.c -- see sft.h: examples read from data sets. */
#include <stdlib.h>

#include "engine/tokenizer/tokens.h"
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

/* Add the one sequence in `one`. */
static enum err_code sft_data_add(struct sft_data *data, const struct encoded *one,
                                  struct err *err)
{
    enum err_code rc = sft_data_grow(data, err);
    if (!rc)
        rc = tokens_append(&data->ids, one->ids.ids, one->ids.n, err);
    if (rc)
        return rc;
    data->first[data->n++] = one->first > 0 ? (uint32_t)one->first : 1;
    data->offset[data->n] = data->ids.n;
    return ERR_OK;
}

static enum err_code sft_data_take(struct sft_data *data, const struct encode *how,
                                   struct reader *reader, const struct data_record *record,
                                   struct encoded *one, struct err *err)
{
    const uint64_t best =
        record->answers > 0 ? (uint64_t)1 << data_record_best(record) : ENCODE_ALL;
    bool usable;
    enum err_code rc = encode_or_reject(how, reader, record, best, one, &usable, err);
    if (rc || !usable)
        return rc;
    if (data->n >= UINT32_MAX - 1)
        return err_set(err, ERR_VALUE, "%s: too many examples", record->where);
    if (one->ids.n >= 2 && one->first < one->ids.n)
        return sft_data_add(data, one, err);
    struct err why = {0};
    err_set(&why, ERR_VALUE, "%s: there is nothing to learn in %zu token(s)", record->where,
            one->ids.n);
    return reader_reject(reader, DATA_BAD_EMPTY, why.text, err);
}

enum err_code sft_data_read(struct sft_data *data, const struct encode *how,
                            const struct reader_options *options, const char *path,
                            uint64_t *bad, struct err *err)
{
    *data = (struct sft_data){0};
    struct encoded one = {0};
    struct err why = {0};
    enum err_code rc = ERR_OK;
    struct reader *reader = reader_open(path, options, &why);
    if (!reader)
        return err_set(err, why.code, "%s", why.text);
    const struct data_record *record;
    while (!(rc = reader_next(reader, &record, err)) && record) {
        rc = sft_data_take(data, how, reader, record, &one, err);
        if (rc)
            break;
    }
    if (bad)
        *bad = reader_counts(reader)->bad;
    if (!rc && data->n == 0)
        rc = err_set(err, ERR_VALUE, "%s: there are no examples", path);
    reader_close(reader);
    encoded_release(&one);
    return rc;
}

void sft_data_release(struct sft_data *data)
{
    tokens_release(&data->ids);
    free(data->offset);
    free(data->first);
    *data = (struct sft_data){0};
}

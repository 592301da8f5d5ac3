/* examples.c -- see examples.h. */
#include "data/examples.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"

static enum err_code example_push(struct tokens *out, int32_t id, struct err *err)
{
    if (out->n == out->cap) {
        const size_t cap = out->cap ? 2 * out->cap : 256;
        int32_t *ids = realloc(out->ids, cap * sizeof *ids);
        if (!ids)
            return err_set(err, ERR_NOMEM, "no memory for %zu token ids", cap);
        out->ids = ids;
        out->cap = cap;
    }
    out->ids[out->n++] = id;
    return ERR_OK;
}

enum err_code example_ids(const json_t *array, const char *where, struct tokens *out,
                          struct err *err)
{
    if (!json_is_array(array))
        return err_set(err, ERR_FORMAT, "%s: \"ids\" is not an array", where);
    for (size_t i = 0; i < json_array_size(array); i++) {
        const json_t *item = json_array_get(array, i);
        const json_int_t id = json_integer_value(item);
        if (!json_is_integer(item) || id < 0 || id > INT32_MAX)
            return err_set(err, ERR_FORMAT, "%s: ids[%zu] is not a token id", where, i);
        const enum err_code rc = example_push(out, (int32_t)id, err);
        if (rc)
            return rc;
    }
    return ERR_OK;
}

int32_t example_end_id(const struct example_reader *reader)
{
    const int32_t id = reader->tokenizer ? chat_end_id(reader->chat, reader->tokenizer) : -1;
    return id >= 0 ? id : reader->config->eos;
}

static enum err_code example_end(const struct example_reader *reader, const char *where,
                                 struct tokens *out, struct err *err)
{
    if (!reader->end)
        return ERR_OK;
    const int32_t id = example_end_id(reader);
    if (id < 0)
        return err_set(err, ERR_VALUE, "%s: the model names no eos token to end it with",
                       where);
    return example_push(out, id, err);
}

static enum err_code example_text(const struct example_reader *reader, const json_t *object,
                                  const char *where, struct tokens *out, uint32_t *first,
                                  struct err *err)
{
    const size_t begin = out->n;
    const json_t *text = json_object_get(object, "text");
    *first = 0;
    enum err_code rc;
    if (text) {
        if (!json_is_string(text))
            return err_set(err, ERR_FORMAT, "%s: \"text\" is not a string", where);
        rc = tokenizer_encode(reader->tokenizer, json_string_value(text),
                              json_string_length(text), true, out, err);
        return rc ? rc : example_end(reader, where, out, err);
    }

    const char *prompt, *response;
    rc = json_get_string(object, "prompt", &prompt, where, err);
    if (!rc)
        rc = json_get_string(object, "response", &response, where, err);
    if (rc)
        return rc;
    const struct chat_turn turn = {.role = "user", .content = prompt};
    rc = chat_encode(reader->chat, reader->tokenizer, &turn, 1, out, err);
    *first = (uint32_t)(out->n - begin);
    if (!rc)
        rc = tokenizer_encode_plain(reader->tokenizer, response,
                                    json_string_length(json_object_get(object, "response")),
                                    out, err);
    return rc ? rc : example_end(reader, where, out, err);
}

static enum err_code example_check(const struct example_reader *reader, const int32_t *ids,
                                   size_t n, const char *where, struct err *err)
{
    if (n == 0)
        return err_set(err, ERR_VALUE, "%s: no tokens", where);
    if (n > reader->tokens_max || n > reader->config->T)
        return err_set(err, ERR_VALUE, "%s: %zu tokens; at most %zu fit", where, n,
                       reader->tokens_max < reader->config->T ? reader->tokens_max
                                                              : (size_t)reader->config->T);
    for (size_t i = 0; i < n; i++) {
        if ((uint32_t)ids[i] >= reader->config->V)
            return err_set(err, ERR_VALUE, "%s: token %zu is %d, outside the vocabulary of %u",
                           where, i, ids[i], reader->config->V);
    }
    return ERR_OK;
}

enum err_code example_name_line(enum err_code code, const struct err *inner, const char *where,
                                struct err *err)
{
    if (strncmp(inner->text, where, strlen(where)) == 0)
        return err_set(err, code, "%s", inner->text);
    return err_set(err, code, "%s: %s", where, inner->text);
}

enum err_code example_read(const struct example_reader *reader, const json_t *object,
                           const char *where, struct tokens *out, uint32_t *first,
                           struct err *err)
{
    const size_t begin = out->n;
    const json_t *ids = json_object_get(object, "ids");
    struct err why = {0};
    enum err_code rc;
    *first = 0;
    if (ids)
        rc = example_ids(ids, where, out, &why);
    else if (!reader->tokenizer)
        rc = err_set(&why, ERR_FORMAT, "%s: no \"ids\", and no tokenizer for text", where);
    else if (!json_object_get(object, "text") && !json_object_get(object, "prompt"))
        rc = err_set(&why, ERR_FORMAT,
                     "%s: expected \"ids\", \"text\", or \"prompt\" and \"response\"", where);
    else
        rc = example_text(reader, object, where, out, first, &why);
    if (!rc)
        rc = example_check(reader, out->ids + begin, out->n - begin, where, &why);
    if (!rc)
        return ERR_OK;
    out->n = begin;
    return example_name_line(rc, &why, where, err);
}

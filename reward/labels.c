/* labels.c -- see labels.h. */
#include "reward/labels.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"

static enum err_code labels_check_messages(const json_t *messages, const char *where,
                                           struct err *err)
{
    if (json_array_size(messages) == 0)
        return err_set(err, ERR_FORMAT, "%s: \"messages\" must be a list with a turn in it",
                       where);
    for (size_t i = 0; i < json_array_size(messages); i++) {
        const json_t *turn = json_array_get(messages, i);
        if (!json_is_string(json_object_get(turn, "role")) ||
            !json_is_string(json_object_get(turn, "content")))
            return err_set(err, ERR_FORMAT,
                           "%s: messages[%zu] must have \"role\" and \"content\", both text",
                           where, i);
    }
    return ERR_OK;
}

static enum err_code labels_check(const json_t *object, const char *where, struct err *err)
{
    if (!json_is_object(object))
        return err_set(err, ERR_FORMAT, "%s: a JSON object is expected", where);
    const json_t *prompt = json_object_get(object, "prompt");
    const json_t *messages = json_object_get(object, "messages");
    if (!prompt && !messages)
        return err_set(err, ERR_FORMAT, "%s: \"prompt\" or \"messages\" is expected", where);
    if (messages)
        return labels_check_messages(messages, where, err);
    if (!json_is_string(prompt))
        return err_set(err, ERR_FORMAT, "%s: \"prompt\" must be text", where);
    return ERR_OK;
}

static enum err_code labels_push(struct labels *labels, const json_t *label, struct err *err)
{
    if (labels->n == labels->cap) {
        const size_t cap = labels->cap ? 2 * labels->cap : 1024;
        size_t *at = realloc(labels->at, cap * sizeof *at);
        if (!at)
            return err_set(err, ERR_NOMEM, "out of memory for %zu labels", cap);
        labels->at = at;
        labels->cap = cap;
    }
    char *text = json_dumps(label, JSON_COMPACT | JSON_ENCODE_ANY | JSON_SORT_KEYS);
    if (label && !text)
        return err_set(err, ERR_NOMEM, "out of memory for a label");
    labels->at[labels->n++] = labels->text.len;
    buf_append(&labels->text, text ? text : "null", (text ? strlen(text) : 4) + 1);
    free(text);
    return ERR_OK;
}

enum err_code labels_load(struct labels *labels, const char *path, struct err *err)
{
    *labels = (struct labels){0};
    buf_init(&labels->text, LABELS_FILE_MAX);
    struct buf file;
    buf_init(&file, LABELS_FILE_MAX);
    enum err_code rc = file_read(path, &file, err);
    const char *cursor = file.data, *line;
    size_t len;
    for (size_t number = 1; rc == ERR_OK && file.len > 0 &&
                            file_next_line(&cursor, file.data + file.len, &line, &len);
         number++) {
        char where[FILE_PATH_MAX + 24];
        snprintf(where, sizeof where, "%s:%zu", path, number);
        size_t blanks = 0;
        while (blanks < len && strchr(" \t\r", line[blanks]))
            blanks++;
        if (blanks == len)
            continue;
        struct err why = {0};
        json_t *object = json_parse(line, len, where, &why);
        if (!object)
            rc = err_set(err, why.code, "%s", why.text);
        if (rc == ERR_OK)
            rc = labels_check(object, where, err);
        if (rc == ERR_OK)
            rc = labels_push(labels, json_object_get(object, "label"), err);
        json_decref(object);
    }
    buf_release(&file);
    if (rc == ERR_OK && labels->n == 0)
        rc = err_set(err, ERR_FORMAT, "%s: there is no prompt in it", path);
    return rc ? rc : buf_check(&labels->text, path, err);
}

void labels_release(struct labels *labels)
{
    buf_release(&labels->text);
    free(labels->at);
    *labels = (struct labels){0};
}

const char *labels_get(const struct labels *labels, size_t prompt)
{
    assert(prompt < labels->n);
    return labels->text.data + labels->at[prompt];
}

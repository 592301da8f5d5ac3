/* labels.c -- see labels.h. */
#include "reward/labels.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "data/lines.h"

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

static enum err_code labels_push(struct labels *labels, const json_t *label, const char *kind,
                                 struct err *err)
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
    buf_append(&labels->text, kind ? kind : "", (kind ? strlen(kind) : 0) + 1);
    return ERR_OK;
}

/* Only a regular file will do, as for the coordinator, which reads the same. */
static enum err_code labels_open(struct lines *lines, const char *path, struct err *err)
{
    int fd;
    uint64_t size;
    const enum err_code rc = file_open_read(path, &fd, &size, err);
    if (rc)
        return rc;
    close(fd);
    if (size > LABELS_FILE_MAX)
        return err_set(err, ERR_VALUE, "%s: %llu bytes, more than the %zu allowed", path,
                       (unsigned long long)size, LABELS_FILE_MAX);
    return lines_open(lines, path, err);
}

static enum err_code labels_line(struct labels *labels, const struct lines *lines,
                                 struct err *err)
{
    json_t *object = json_parse(lines->line.data, lines->line.len, lines->where, err);
    if (!object)
        return err ? err->code : ERR_FORMAT;
    enum err_code rc = labels_check(object, lines->where, err);
    if (rc == ERR_OK)
        rc = labels_push(labels, json_object_get(object, "label"),
                         json_string_value(json_object_get(object, "kind")), err);
    json_decref(object);
    return rc;
}

enum err_code labels_load(struct labels *labels, const char *path, struct err *err)
{
    *labels = (struct labels){0};
    buf_init(&labels->text, LABELS_FILE_MAX);
    struct lines lines = {0};
    enum err_code rc = labels_open(&lines, path, err);
    bool more = true;
    while (rc == ERR_OK && !(rc = lines_next(&lines, &more, err)) && more)
        rc = labels_line(labels, &lines, err);
    lines_close(&lines);
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

const char *labels_kind(const struct labels *labels, size_t prompt)
{
    const char *label = labels_get(labels, prompt), *kind = label + strlen(label) + 1;
    return kind[0] ? kind : NULL;
}

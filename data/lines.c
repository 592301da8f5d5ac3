/* lines.c -- see lines.h. */
#include "data/lines.h"

#include <stdio.h>
#include <string.h>

#include "base/json.h"

enum err_code lines_open(struct lines *lines, const char *path, struct err *err)
{
    *lines = (struct lines){0};
    buf_init(&lines->line, LINES_BYTES_MAX);
    const bool standard = strcmp(path, "-") == 0;
    const char *name = standard ? "standard input" : path;
    if (strlen(name) >= sizeof lines->path)
        return err_set(err, ERR_VALUE, "%.80s...: the path is too long", name);
    memcpy(lines->path, name, strlen(name));
    lines->input = input_open(path, err);
    return lines->input ? ERR_OK : err ? err->code : ERR_IO;
}

void lines_close(struct lines *lines)
{
    input_close(lines->input);
    lines->input = NULL;
    if (lines->line.data)
        buf_release(&lines->line);
}

static bool lines_is_blank(const struct buf *line)
{
    return line->len == 0 || strspn(line->data, " \t\r") == line->len;
}

/* Append up to the next newline, which is passed over.  *more is false where there was not a
 * byte left. */
static enum err_code lines_gather(struct lines *lines, bool *more, struct err *err)
{
    *more = false;
    for (size_t gathered = 0;;) {
        if (lines->block_n == 0) {
            const enum err_code rc =
                input_read(lines->input, lines->where, &lines->block, &lines->block_n, err);
            if (rc || lines->block_n == 0)
                return rc;
        }
        *more = true;
        const char *newline = memchr(lines->block, '\n', lines->block_n);
        const size_t n = newline ? (size_t)(newline - lines->block) : lines->block_n;
        buf_append(&lines->line, lines->block, n);
        const size_t used = n + (newline ? 1 : 0);
        lines->block += used;
        lines->block_n -= used;
        gathered += used;
        if (newline)
            return ERR_OK;
        if (gathered > LINES_SKIP_MAX)
            return err_set(err, ERR_FORMAT, "%s: the line is longer than %zu MiB", lines->where,
                           LINES_SKIP_MAX >> 20);
    }
}

enum err_code lines_next(struct lines *lines, bool *more, struct err *err)
{
    do {
        buf_clear(&lines->line);
        lines->number++;
        snprintf(lines->where, sizeof lines->where, "%s:%llu", lines->path,
                 (unsigned long long)lines->number);
        const enum err_code rc = lines_gather(lines, more, err);
        if (rc)
            return rc;
        if (lines->line.failed)
            return err_set(err, ERR_VALUE, "%s: the line is longer than %zu MiB", lines->where,
                           LINES_BYTES_MAX >> 20);
    } while (*more && lines_is_blank(&lines->line));
    return ERR_OK;
}

enum err_code lines_next_object(struct lines *lines, json_t **object, struct err *err)
{
    bool more;
    *object = NULL;
    const enum err_code rc = lines_next(lines, &more, err);
    if (rc || !more)
        return rc;
    struct err why = {0};
    json_t *value = json_parse(lines->line.data, lines->line.len, lines->where, &why);
    if (!value) {
        if (err)
            *err = why;
        return why.code;
    }
    if (!json_is_object(value)) {
        json_decref(value);
        return err_set(err, ERR_FORMAT, "%s: a JSON object is expected", lines->where);
    }
    *object = value;
    return ERR_OK;
}

enum err_code lines_name_error(const struct err *inner, const char *where, struct err *err)
{
    if (strncmp(inner->text, where, strlen(where)) == 0)
        return err_set(err, inner->code, "%s", inner->text);
    return err_set(err, inner->code, "%s: %s", where, inner->text);
}

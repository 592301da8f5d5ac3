/* gate_record.c -- see gate_record.h. */
#include "node/gate_record.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/json.h"

#define GATE_RECORD_LINE_MAX ((size_t)16 * 1024) /* all texts escaped */
#define GATE_RECORD_MS_MAX   (UINT64_C(1) << 53)

static const char *const gate_record_decisions[GATE_RECORD_DECISIONS] = {
#define X(name, word) word,
    GATE_RECORD_DECISION_MAP(X)
#undef X
};

const char *gate_record_decision_name(enum gate_record_decision decision)
{
    return (unsigned)decision < GATE_RECORD_DECISIONS ? gate_record_decisions[decision] : "?";
}

/* --- writing ------------------------------------------------------------------------------ */

static void gate_record_put_text(struct buf *out, const char *key, const char *text)
{
    buf_printf(out, ", \"%s\": ", key);
    buf_json_string(out, text, strlen(text));
}

static void gate_record_put_number(struct buf *out, const char *key, double value)
{
    buf_printf(out, ", \"%s\": ", key);
    buf_json_number(out, value);
}

/* The members of the object, without its braces. */
static void gate_record_put(const struct gate_record *record, struct buf *out)
{
    buf_printf(out, "\"at_ms\": %llu", (unsigned long long)record->at_ms);
    gate_record_put_text(out, "decision", gate_record_decision_name(record->decision));
    buf_printf(out, ", \"before\": %s", record->before ? "true" : "false");
    gate_record_put_text(out, "why", record->why);
    gate_record_put_number(out, "version", record->version);
    gate_record_put_number(out, "mean", record->mean);
    gate_record_put_number(out, "upper", record->upper);
    gate_record_put_number(out, "limit", record->limit);
    gate_record_put_number(out, "delta", record->delta);
    gate_record_put_number(out, "spent", record->spent);
    buf_printf(out, ", \"n\": %u, \"candidates\": %u", (unsigned)record->n,
               (unsigned)record->candidates);
    gate_record_put_text(out, "bound", record->bound);
    gate_record_put_text(out, "cost", record->cost);
    gate_record_put_text(out, "name", record->name);
    gate_record_put_text(out, "model", record->model);
}

/* Where the lines that are kept begin, so that `more` bytes fit behind them. */
static size_t gate_record_first(const struct buf *lines, size_t more)
{
    size_t from = 0;
    while (lines->len - from + more > GATE_RECORD_BYTES_MAX) {
        const char *end = memchr(lines->data + from, '\n', lines->len - from);
        from = end ? (size_t)(end - lines->data) + 1 : lines->len;
    }
    return from;
}

enum err_code gate_record_append(const char *run, const struct gate_record *record,
                                 struct err *err)
{
    char path[FILE_PATH_MAX];
    struct buf lines, line;
    buf_init(&lines, GATE_RECORD_BYTES_MAX + GATE_RECORD_LINE_MAX);
    buf_init(&line, GATE_RECORD_LINE_MAX);
    buf_putc(&line, '{');
    gate_record_put(record, &line);
    buf_puts(&line, "}\n");
    enum err_code rc = buf_check(&line, "the gate's record", err);
    if (rc == ERR_OK)
        rc = file_join(path, run, GATE_RECORD_FILE, err);
    if (rc == ERR_OK && file_exists(path))
        rc = file_read(path, &lines, err);
    if (rc == ERR_OK) {
        const size_t from = gate_record_first(&lines, line.len);
        buf_append(&lines, line.data, line.len);
        rc = buf_check(&lines, "the gate's records", err);
        if (rc == ERR_OK)
            rc = file_write(path, lines.data + from, lines.len - from, err);
    }
    buf_release(&lines);
    buf_release(&line);
    return rc;
}

/* --- reading ------------------------------------------------------------------------------ */

static enum err_code gate_record_get_text(const json_t *object, const char *key, char *out,
                                          size_t size, const char *where, struct err *err)
{
    const char *text = NULL;
    const enum err_code rc = json_get_string(object, key, &text, where, err);
    if (rc)
        return rc;
    if (strlen(text) >= size)
        return err_set(err, ERR_FORMAT, "%s: \"%s\" has over %zu bytes", where, key, size - 1);
    strcpy(out, text);
    return ERR_OK;
}

static enum err_code gate_record_get_decision(const json_t *object, struct gate_record *record,
                                              const char *where, struct err *err)
{
    const char *word = NULL;
    const enum err_code rc = json_get_string(object, "decision", &word, where, err);
    if (rc)
        return rc;
    for (int i = 0; i < GATE_RECORD_DECISIONS; i++) {
        if (strcmp(word, gate_record_decisions[i]) == 0) {
            record->decision = (enum gate_record_decision)i;
            return ERR_OK;
        }
    }
    return err_set(err, ERR_FORMAT, "%s: \"decision\" is %.40s", where, word);
}

static enum err_code gate_record_get_numbers(const json_t *object, struct gate_record *record,
                                             const char *where, struct err *err)
{
    const struct {
        const char *key;
        double *to;
    } numbers[] = {{"version", &record->version}, {"mean", &record->mean},
                   {"upper", &record->upper},     {"limit", &record->limit},
                   {"delta", &record->delta},     {"spent", &record->spent}};
    const struct {
        const char *key;
        uint32_t *to;
    } counts[] = {{"n", &record->n}, {"candidates", &record->candidates}};
    enum err_code rc =
        json_get_u64(object, "at_ms", 0, GATE_RECORD_MS_MAX, &record->at_ms, where, err);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0] && rc == ERR_OK; i++) {
        *numbers[i].to = NAN;
        rc = json_opt_double(object, numbers[i].key, -HUGE_VAL, HUGE_VAL, numbers[i].to, where,
                             err);
    }
    for (size_t i = 0; i < sizeof counts / sizeof counts[0] && rc == ERR_OK; i++) {
        uint64_t n = 0;
        rc = json_get_u64(object, counts[i].key, 0, UINT32_MAX, &n, where, err);
        *counts[i].to = (uint32_t)n;
    }
    return rc;
}

static enum err_code gate_record_parse(const char *line, size_t len, const char *where,
                                       struct gate_record *record, struct err *err)
{
    *record = (struct gate_record){0};
    json_t *object = json_parse(line, len, where, err);
    if (!object)
        return ERR_FORMAT;
    const struct {
        const char *key;
        char *to;
        size_t size;
    } texts[] = {{"why", record->why, sizeof record->why},
                 {"name", record->name, sizeof record->name},
                 {"model", record->model, sizeof record->model},
                 {"bound", record->bound, sizeof record->bound},
                 {"cost", record->cost, sizeof record->cost}};
    enum err_code rc = gate_record_get_decision(object, record, where, err);
    if (rc == ERR_OK)
        rc = json_get_bool(object, "before", &record->before, where, err);
    if (rc == ERR_OK)
        rc = gate_record_get_numbers(object, record, where, err);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0] && rc == ERR_OK; i++)
        rc = gate_record_get_text(object, texts[i].key, texts[i].to, texts[i].size, where, err);
    json_decref(object);
    return rc;
}

static enum err_code gate_record_parse_all(struct gate_history *history, const char *path,
                                           const struct buf *text, struct err *err)
{
    const char *cursor = text->data, *end = text->data + text->len, *line;
    size_t len, lines = 0;
    while (file_next_line(&cursor, end, &line, &len))
        lines++;
    history->record = calloc(lines ? lines : 1, sizeof *history->record);
    if (!history->record)
        return err_set(err, ERR_NOMEM, "no memory for %zu records of %s", lines, path);
    for (cursor = text->data; file_next_line(&cursor, end, &line, &len);) {
        char where[FILE_PATH_MAX + 24];
        snprintf(where, sizeof where, "%s:%zu", path, history->n + 1);
        const enum err_code rc =
            gate_record_parse(line, len, where, &history->record[history->n], err);
        if (rc)
            return rc;
        history->n++;
    }
    return ERR_OK;
}

/* "releases/NAME", and since when. */
static enum err_code gate_record_published(struct gate_history *history, const char *run,
                                           struct err *err)
{
    char path[FILE_PATH_MAX], target[FILE_PATH_MAX];
    struct stat info;
    const enum err_code rc = file_join(path, run, "published", err);
    if (rc)
        return rc;
    const ssize_t n = readlink(path, target, sizeof target - 1);
    if (n < 0)
        return errno == ENOENT ? ERR_OK : err_errno(err, "%s", path);
    target[n] = '\0';
    const char *name = target + strlen("releases/");
    if (strncmp(target, "releases/", strlen("releases/")) != 0 || strchr(name, '/') ||
        strlen(name) >= sizeof history->published)
        return err_set(err, ERR_FORMAT, "%s points to %.80s, which is no release", path,
                       target);
    strcpy(history->published, name);
    if (lstat(path, &info) == 0)
        history->published_ms =
            (uint64_t)info.st_mtim.tv_sec * 1000 + (uint64_t)info.st_mtim.tv_nsec / 1000000;
    for (size_t i = 0; i < history->n; i++)
        if (history->record[i].decision == GATE_RECORD_PASS &&
            strcmp(history->record[i].name, name) == 0)
            history->published_version = history->record[i].version;
    return ERR_OK;
}

enum err_code gate_record_load(struct gate_history *history, const char *run, struct err *err)
{
    *history = (struct gate_history){.published_version = NAN};
    char path[FILE_PATH_MAX];
    struct buf text;
    buf_init(&text, GATE_RECORD_BYTES_MAX + GATE_RECORD_LINE_MAX);
    enum err_code rc = file_join(path, run, GATE_RECORD_FILE, err);
    if (rc == ERR_OK && file_exists(path)) {
        rc = file_read(path, &text, err);
        if (rc == ERR_OK)
            rc = gate_record_parse_all(history, path, &text, err);
    }
    if (rc == ERR_OK)
        rc = gate_record_published(history, run, err);
    buf_release(&text);
    return rc;
}

void gate_record_release(struct gate_history *history)
{
    free(history->record);
    *history = (struct gate_history){.published_version = NAN};
}

void gate_record_json(const struct gate_history *history, struct buf *out)
{
    if (history->n == 0 && history->published[0] == '\0') {
        buf_puts(out, "null");
        return;
    }
    buf_puts(out, "{\"last\": ");
    if (history->n > 0) {
        buf_putc(out, '{');
        gate_record_put(&history->record[history->n - 1], out);
        buf_putc(out, '}');
    } else {
        buf_puts(out, "null");
    }
    buf_printf(out, ", \"lines\": %zu, \"published\": ", history->n);
    if (history->published[0] == '\0') {
        buf_puts(out, "null}");
        return;
    }
    buf_printf(out, "{\"at_ms\": %llu", (unsigned long long)history->published_ms);
    gate_record_put_text(out, "name", history->published);
    gate_record_put_number(out, "version", history->published_version);
    buf_puts(out, "}}");
}

/* train_command.c -- see train_command.h. */
#include "cli/train_command.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "cli/publish.h"

#define TRAIN_COMMAND_MAX ((size_t)1 << 20)

static bool train_command_is_free(const char *name)
{
    static const char *const names[] = {"threads", "json", "checkpoint-every", "out"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return false;
}

static void train_command_value(const struct cli_option *option, struct buf *out)
{
    switch (option->kind) {
    case CLI_FLAG: buf_puts(out, *(const bool *)option->to ? "true" : "false"); return;
    case CLI_COUNT:
        buf_printf(out, "%llu", (unsigned long long)*(const uint64_t *)option->to);
        return;
    case CLI_NUMBER: buf_json_number(out, *(const double *)option->to); return;
    case CLI_TEXT: {
        const char *text = *(const char *const *)option->to;
        if (text)
            buf_json_string(out, text, strlen(text));
        else
            buf_puts(out, "null");
        return;
    }
    case CLI_LIST: {
        const struct cli_list *list = option->to;
        buf_putc(out, '[');
        for (size_t i = 0; i < list->n; i++) {
            buf_puts(out, i ? ", " : "");
            buf_json_string(out, list->item[i], strlen(list->item[i]));
        }
        buf_putc(out, ']');
        return;
    }
    }
}

void train_command_write(const struct cli_option *options, size_t n, struct buf *out)
{
    const char *before = "{\n";
    for (size_t i = 0; i < n; i++) {
        if (train_command_is_free(options[i].name))
            continue;
        buf_printf(out, "%s  \"%s\": ", before, options[i].name);
        train_command_value(&options[i], out);
        before = ",\n";
    }
    buf_puts(out, "\n}");
}

/* Hold one option against the value that was kept; both as JSON text. */
static enum err_code train_command_compare(const struct cli_option *option, const json_t *kept,
                                           const char *path, struct err *err)
{
    struct buf text;
    struct err why = {0};
    buf_init(&text, TRAIN_COMMAND_MAX);
    buf_puts(&text, "[");
    train_command_value(option, &text);
    buf_puts(&text, "]");
    json_t *now = json_parse(text.data, text.len, "the command line", &why);
    const json_t *was = json_object_get(kept, option->name);
    enum err_code rc = now ? ERR_OK : err_set(err, why.code, "%s", why.text);
    if (now && !json_equal(json_array_get(now, 0), was)) {
        char *old = was ? json_dumps(was, JSON_ENCODE_ANY | JSON_REAL_PRECISION(15)) : NULL;
        text.data[text.len - 1] = '\0';
        rc = err_set(err, ERR_USAGE,
                     "%s: the training was begun with --%s %s, now it is %s; give the same "
                     "command to go on, or remove that directory",
                     path, option->name, old ? old : "not set", text.data + 1);
        free(old);
    }
    json_decref(now);
    buf_release(&text);
    return rc;
}

enum err_code train_command_check(const struct cli_option *options, size_t n, const char *dir,
                                  struct err *err)
{
    char path[FILE_PATH_MAX];
    struct err why = {0};
    enum err_code rc = file_join(path, dir, "command.json", err);
    if (rc)
        return rc;
    if (!file_exists(path))
        return publish_check_free(dir, err); /* it is removed in the end */
    json_t *kept = json_read_file(path, TRAIN_COMMAND_MAX, &why);
    if (!kept)
        return err_set(err, why.code, "%s", why.text);
    for (size_t i = 0; i < n && !rc; i++)
        if (!train_command_is_free(options[i].name))
            rc = train_command_compare(&options[i], kept, path, err);
    json_decref(kept);
    return rc;
}

enum err_code train_command_keep(const struct cli_option *options, size_t n, const char *dir,
                                 struct err *err)
{
    char path[FILE_PATH_MAX];
    enum err_code rc = file_join(path, dir, "command.json", err);
    if (!rc)
        rc = file_make_dir(dir, err);
    if (rc)
        return rc;
    struct buf text;
    buf_init(&text, TRAIN_COMMAND_MAX);
    train_command_write(options, n, &text);
    buf_putc(&text, '\n');
    rc = buf_check(&text, "the command", err);
    if (!rc)
        rc = file_write(path, text.data, text.len, err);
    buf_release(&text);
    return rc;
}

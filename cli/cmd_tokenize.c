/* cmd_tokenize.c -- `rlhf tokenize`: lines of text to ids, lines of ids to text. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "cli/cli.h"
#include "data/ids.h"
#include "data/lines.h"
#include "engine/tokenizer.h"

#define TOKENIZE_TEXT_MAX ((size_t)256 << 20)

struct tokenize {
    const struct tokenizer *tokenizer;
    bool json, decode, special;
    struct tokens ids;
    struct buf text, out;
};

/* The line's ids, written as JSON or as numbers between blanks. */
static enum err_code tokenize_read_ids(struct tokenize *t, const struct lines *lines,
                                       const json_t *object, struct err *err)
{
    t->ids.n = 0;
    if (t->json)
        return ids_read(json_object_get(object, "ids"), lines->where, &t->ids, err);

    json_t *array = json_array();
    enum err_code rc = array ? ERR_OK : err_set(err, ERR_NOMEM, "no memory for a list");
    for (const char *at = lines->line.data; !rc;) {
        at += strspn(at, " ,\t\r[]");
        if (!*at)
            break;
        char *end;
        const long long id = strtoll(at, &end, 10);
        if (end == at)
            rc = err_set(err, ERR_FORMAT, "%s: \"%.16s\" is not a token id", lines->where, at);
        else if (json_array_append_new(array, json_integer(id)))
            rc = err_set(err, ERR_NOMEM, "%s: no memory for the ids", lines->where);
        at = end;
    }
    if (!rc)
        rc = ids_read(array, lines->where, &t->ids, err);
    json_decref(array);
    return rc;
}

static enum err_code tokenize_decode(struct tokenize *t, const struct lines *lines,
                                     const json_t *object, struct err *err)
{
    enum err_code rc = tokenize_read_ids(t, lines, object, err);
    buf_clear(&t->text);
    if (!rc)
        rc = tokenizer_decode(t->tokenizer, t->ids.ids, t->ids.n, !t->special, &t->text, err);
    if (rc)
        return rc;
    if (t->json) {
        buf_puts(&t->out, "{\"text\": ");
        buf_json_string(&t->out, t->text.data, t->text.len);
        buf_puts(&t->out, "}\n");
    } else {
        buf_append(&t->out, t->text.data, t->text.len);
        buf_putc(&t->out, '\n');
    }
    return buf_check(&t->text, "the text", err);
}

static enum err_code tokenize_encode(struct tokenize *t, const struct lines *lines,
                                     const json_t *object, struct err *err)
{
    const char *text = lines->line.data;
    size_t n = lines->line.len;
    if (t->json) {
        const enum err_code rc = json_get_string(object, "text", &text, lines->where, err);
        if (rc)
            return rc;
        n = json_string_length(json_object_get(object, "text"));
    }
    t->ids.n = 0;
    const enum err_code rc = tokenizer_encode(t->tokenizer, text, n, t->special, &t->ids, err);
    if (rc)
        return rc;
    buf_puts(&t->out, t->json ? "{\"ids\": [" : "");
    for (size_t i = 0; i < t->ids.n; i++)
        buf_printf(&t->out, "%s%d", i == 0 ? "" : t->json ? ", " : " ", t->ids.ids[i]);
    buf_puts(&t->out, t->json ? "]}\n" : "\n");
    return ERR_OK;
}

static enum err_code tokenize_line(struct tokenize *t, const struct lines *lines,
                                   const json_t *object, struct err *err)
{
    struct err why = {0};
    buf_clear(&t->out);
    enum err_code rc = t->decode ? tokenize_decode(t, lines, object, &why)
                                 : tokenize_encode(t, lines, object, &why);
    if (!rc)
        rc = buf_check(&t->out, "a line of the result", &why);
    if (rc)
        return lines_name_error(&why, lines->where, err);
    fwrite(t->out.data, 1, t->out.len, stdout);
    return ERR_OK;
}

static enum err_code tokenize_lines(struct tokenize *t, struct err *err)
{
    struct lines lines;
    enum err_code rc = lines_open(&lines, "-", err);
    while (!rc) {
        json_t *object = NULL;
        bool more = false;
        if (t->json) {
            rc = lines_next_object(&lines, &object, err);
            more = object != NULL;
        } else {
            rc = lines_next(&lines, &more, err);
        }
        if (rc || !more)
            break;
        rc = tokenize_line(t, &lines, object, err);
        json_decref(object);
    }
    lines_close(&lines);
    return rc;
}

static const struct cli_usage tokenize_usage = {
    .words = "tokenize",
    .synopsis = "--model DIR [--decode] [options] < FILE",
    .about =
        "Reads lines from standard input and writes a line for each: the token ids of a text,\n"
        "or with --decode the text of ids.\n",
    .examples = "  echo 'Once upon a time' | rlhf tokenize --model DIR\n"
                "  echo '{\"ids\": [403, 407]}' | rlhf tokenize --model DIR --json --decode\n",
};

int cmd_tokenize(int argc, char **argv)
{
    const char *model = NULL;
    struct tokenize t = {0};
    const struct cli_option options[] = {
        cli_text("model", &model, "DIR", "directory with tokenizer.json"),
        cli_flag("decode", &t.decode, "ids to text"),
        cli_flag("special", &t.special,
                 "add special tokens such as <s>; with --decode: show them"),
        cli_flag("json", &t.json, "lines are {\"text\": ...} and {\"ids\": [...]}"),
    };
    struct cli_usage usage = tokenize_usage;
    usage.options = options;
    usage.options_n = sizeof options / sizeof options[0];
    const int code = cli_parse(&usage, argc, argv, NULL);
    if (code != CLI_GO)
        return code;
    if (!model)
        return cli_usage_error(&usage, "--model is missing");

    struct err err = {0};
    buf_init(&t.text, TOKENIZE_TEXT_MAX);
    buf_init(&t.out, TOKENIZE_TEXT_MAX);
    struct tokenizer *tokenizer = tokenizer_load(model, &err);
    t.tokenizer = tokenizer;
    enum err_code rc = tokenizer ? tokenize_lines(&t, &err) : err.code;
    tokenizer_free(tokenizer);
    tokens_release(&t.ids);
    buf_release(&t.text);
    buf_release(&t.out);
    return rc ? cli_fail(&usage, &err) : 0;
}

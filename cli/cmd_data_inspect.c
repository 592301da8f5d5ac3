/* cmd_data_inspect.c -- `rlhf data inspect`: what is in a data set, before it is trained on. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "data/survey.h"

#define DATA_INSPECT_BYTES_MAX ((size_t)8 << 20) /* of what it prints */

static const double data_inspect_quantile[] = {0.5, 0.9, 0.99};

static double data_inspect_percent(uint64_t part, uint64_t whole)
{
    return whole ? 100.0 * (double)part / (double)whole : 0.0;
}

static void data_inspect_bad(struct buf *out, const struct survey_file *file)
{
    for (size_t why = 0; why < DATA_BADS; why++) {
        if (file->counts.bad_by[why] == 0)
            continue;
        buf_printf(out, "  %7llu %-7s %s\n", (unsigned long long)file->counts.bad_by[why],
                   data_bad_name((enum data_bad)why), data_bad_meaning((enum data_bad)why));
        for (size_t i = 0; i < SURVEY_SENTENCES && file->sentence[why][i][0]; i++)
            buf_printf(out, "          %s\n", file->sentence[why][i]);
    }
}

static void data_inspect_lengths(struct buf *out, const struct survey_file *file)
{
    static const char *const meanings[] = {
#define X(name, word, meaning) meaning,
        SURVEY_LENGTH_MAP(X)
#undef X
    };
    buf_printf(out, "  %-22s %9s %9s %9s %9s %9s\n", "", "least", "median", "90 %", "99 %",
               "greatest");
    for (size_t i = 0; i < SURVEY_LENGTHS; i++) {
        const struct lengths *length = &file->length[i];
        if (length->n == 0)
            continue;
        buf_printf(out, "  %-22s %9llu", meanings[i], (unsigned long long)length->min);
        for (size_t q = 0; q < 3; q++)
            buf_printf(out, " %9llu",
                       (unsigned long long)lengths_quantile(length, data_inspect_quantile[q]));
        buf_printf(out, " %9llu\n", (unsigned long long)length->max);
    }
}

static void data_inspect_labels(struct buf *out, const struct survey_file *file)
{
    buf_printf(out, "  %llu pairs", (unsigned long long)file->pairs);
    if (file->margins > 0)
        buf_printf(out, ", %llu with a margin", (unsigned long long)file->margins);
    buf_printf(out, "; %llu ties", (unsigned long long)file->ties);
    if (file->ratings > 0)
        buf_printf(out, "; %llu answers rated", (unsigned long long)file->ratings);
    if (file->safeties + file->safe + file->harmful > 0)
        buf_printf(out, "; %llu pairs of safety; answers: %llu safe, %llu harmful",
                   (unsigned long long)file->safeties, (unsigned long long)file->safe,
                   (unsigned long long)file->harmful);
    buf_putc(out, '\n');
    if (file->longer + file->shorter > 0)
        buf_printf(out,
                   "  the longer answer is the preferred one in %.1f %% of the %llu pairs that "
                   "differ in length\n",
                   data_inspect_percent(file->longer, file->longer + file->shorter),
                   (unsigned long long)(file->longer + file->shorter));
}

static void data_inspect_leaks(struct buf *out, const struct survey *survey,
                               const struct survey_file *file)
{
    for (size_t other = 0; other < survey->files; other++) {
        const struct survey_leak *leak = &file->leak[other];
        if (leak->records == 0)
            continue;
        buf_printf(out, "  LEAK: the prompts of %llu records are also in %s\n",
                   (unsigned long long)leak->records, survey->file[other]->path);
        for (size_t i = 0; i < SURVEY_SENTENCES && leak->example[i][0]; i++)
            buf_printf(out, "          %s\n", leak->example[i]);
    }
}

static void data_inspect_file(struct buf *out, const struct survey *survey,
                              const struct survey_file *file)
{
    const unsigned long long lines = file->counts.lines, bad = file->counts.bad;
    buf_printf(out, "%s\n  %s: %s\n  %llu lines: %llu good, %llu bad\n", file->path,
               format_name(file->format), format_about(file->format), lines, lines - bad, bad);
    data_inspect_bad(out, file);
    buf_printf(out, "  %llu records, %llu with a prompt; %llu answers\n",
               (unsigned long long)file->counts.records, (unsigned long long)file->prompts,
               (unsigned long long)file->answers);
    if (file->counts.records == 0)
        return;
    data_inspect_labels(out, file);
    data_inspect_lengths(out, file);
    buf_printf(out, "  seen before in this file: %s%llu prompts, %s%llu whole records\n",
               survey->prompts.full ? "at least " : "", (unsigned long long)file->prompts_again,
               survey->records.full ? "at least " : "",
               (unsigned long long)file->records_again);
    data_inspect_leaks(out, survey, file);
}

static void data_inspect_json_bad(struct buf *out, const struct survey_file *file)
{
    const char *before = "";
    buf_puts(out, ", \"bad_by\": {");
    for (size_t why = 0; why < DATA_BADS; why++) {
        if (file->counts.bad_by[why] == 0)
            continue;
        buf_printf(out, "%s\"%s\": {\"lines\": %llu, \"first\": [", before,
                   data_bad_name((enum data_bad)why),
                   (unsigned long long)file->counts.bad_by[why]);
        for (size_t i = 0; i < SURVEY_SENTENCES && file->sentence[why][i][0]; i++) {
            buf_puts(out, i ? ", " : "");
            buf_json_string(out, file->sentence[why][i], strlen(file->sentence[why][i]));
        }
        buf_puts(out, "]}");
        before = ", ";
    }
    buf_puts(out, "}");
}

static void data_inspect_json_lengths(struct buf *out, const struct survey_file *file)
{
    static const char *const words[] = {
#define X(name, word, meaning) word,
        SURVEY_LENGTH_MAP(X)
#undef X
    };
    for (size_t i = 0; i < SURVEY_LENGTHS; i++) {
        const struct lengths *length = &file->length[i];
        if (length->n == 0)
            continue;
        buf_printf(out, ", \"%s\": {\"n\": %llu, \"sum\": %llu, \"min\": %llu", words[i],
                   (unsigned long long)length->n, (unsigned long long)length->sum,
                   (unsigned long long)length->min);
        for (size_t q = 0; q < 3; q++)
            buf_printf(out, ", \"p%g\": %llu", 100.0 * data_inspect_quantile[q],
                       (unsigned long long)lengths_quantile(length, data_inspect_quantile[q]));
        buf_printf(out, ", \"max\": %llu}", (unsigned long long)length->max);
    }
}

static void data_inspect_json_leaks(struct buf *out, const struct survey *survey,
                                    const struct survey_file *file)
{
    const char *before = "";
    buf_puts(out, ", \"leaks\": [");
    for (size_t other = 0; other < survey->files; other++) {
        const struct survey_leak *leak = &file->leak[other];
        if (leak->records == 0)
            continue;
        buf_printf(out, "%s{\"file\": ", before);
        buf_json_string(out, survey->file[other]->path, strlen(survey->file[other]->path));
        buf_printf(out, ", \"records\": %llu, \"first\": [", (unsigned long long)leak->records);
        for (size_t i = 0; i < SURVEY_SENTENCES && leak->example[i][0]; i++) {
            buf_puts(out, i ? ", " : "");
            buf_json_string(out, leak->example[i], strlen(leak->example[i]));
        }
        buf_puts(out, "]}");
        before = ", ";
    }
    buf_puts(out, "]");
}

/* One file, one line. */
static void data_inspect_json(struct buf *out, const struct survey *survey,
                              const struct survey_file *file)
{
    const struct {
        const char *name;
        uint64_t value;
    } numbers[] = {{"lines", file->counts.lines},
                   {"bad", file->counts.bad},
                   {"records", file->counts.records},
                   {"prompts", file->prompts},
                   {"answers", file->answers},
                   {"pairs", file->pairs},
                   {"margins", file->margins},
                   {"ties", file->ties},
                   {"ratings", file->ratings},
                   {"safety_pairs", file->safeties},
                   {"safe", file->safe},
                   {"harmful", file->harmful},
                   {"longer_preferred", file->longer},
                   {"shorter_preferred", file->shorter},
                   {"prompts_again", file->prompts_again},
                   {"records_again", file->records_again}};
    buf_puts(out, "{\"file\": ");
    buf_json_string(out, file->path, strlen(file->path));
    buf_printf(out, ", \"format\": \"%s\"", format_name(file->format));
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        buf_printf(out, ", \"%s\": %llu", numbers[i].name,
                   (unsigned long long)numbers[i].value);
    buf_printf(out, ", \"counts_are_bounds\": %s",
               survey->prompts.full || survey->records.full ? "true" : "false");
    data_inspect_json_bad(out, file);
    data_inspect_json_lengths(out, file);
    data_inspect_json_leaks(out, survey, file);
    buf_puts(out, "}\n");
}

static enum err_code data_inspect_run(struct survey *survey, const char *const *paths, size_t n,
                                      enum format_kind format, bool json, struct err *err)
{
    struct buf out;
    buf_init(&out, DATA_INSPECT_BYTES_MAX);
    enum err_code rc = ERR_OK;
    for (size_t i = 0; !rc && i < n; i++) {
        rc = survey_read(survey, paths[i], format, err);
        if (rc)
            break;
        if (i > 0 && !json)
            buf_putc(&out, '\n');
        (json ? data_inspect_json : data_inspect_file)(&out, survey, survey->file[i]);
        rc = buf_check(&out, "the report", err);
        if (!rc && survey->file[i]->counts.records == 0)
            rc =
                err_set(err, ERR_FORMAT, "%s: there is no record in it", survey->file[i]->path);
    }
    fwrite(out.data, 1, out.len, stdout);
    buf_release(&out);
    return rc;
}

static const struct cli_usage data_inspect_usage = {
    .words = "data inspect",
    .synopsis = "FILE... [options]",
    .about = "What is in a data set: its format, bad lines and why, pairs and other labels,\n"
             "lengths, repetitions; with several files, prompts that are in more than one.\n"
             "Formats are explained in docs/DATA.md.  At most eight files; - is standard\n"
             "input.\n",
    .examples = "  rlhf data inspect train.jsonl.gz\n"
                "  rlhf data inspect train.jsonl test.jsonl --tokenizer model --chat chatml\n",
    .arguments_min = 1,
    .arguments_max = SEEN_FILES_MAX,
};

int cmd_data_inspect(int argc, char **argv)
{
    const char *format_word = "auto", *tokenizer_dir = NULL, *chat = "plain";
    bool json = false;
    const struct cli_option options[] = {
        cli_text("format", &format_word, "NAME", "read all files as this"),
        cli_text("tokenizer", &tokenizer_dir, "DIR", "count tokens too, by DIR/tokenizer.json"),
        cli_text("chat", &chat, "NAME", "template of prompts: plain, chatml, llama3, hh"),
        cli_flag("json", &json, "a JSON line a file"),
    };
    struct cli_usage usage = data_inspect_usage;
    usage.options = options;
    usage.options_n = sizeof options / sizeof options[0];
    int first;
    const int code = cli_parse(&usage, argc, argv, &first);
    if (code != CLI_GO)
        return code;
    struct err err = {0};
    enum format_kind format;
    struct encode how = {.tokens_max = SIZE_MAX};
    if (format_find(format_word, &format, &err))
        return cli_usage_error(&usage, "--format: %s", err.text);
    if (chat_template_parse(chat, &how.chat, &err))
        return cli_usage_error(&usage, "--chat: %s", err.text);

    struct tokenizer *tokenizer = tokenizer_dir ? tokenizer_load(tokenizer_dir, &err) : NULL;
    if (tokenizer_dir && !tokenizer)
        return cli_fail(&usage, &err);
    how.tokenizer = tokenizer;
    struct survey survey;
    survey_init(&survey, tokenizer ? &how : NULL);
    const enum err_code rc = data_inspect_run(&survey, (const char *const *)argv + first,
                                              (size_t)(argc - first), format, json, &err);
    survey_release(&survey);
    tokenizer_free(tokenizer);
    return rc ? cli_fail(&usage, &err) : 0;
}

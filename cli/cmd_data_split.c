/*
 * cmd_data_split.c -- `rlhf data split`: part a data set in two.
 *
 * Where a line goes is a function of its prompt and the seed alone: u = the upper 53 bits of
 * the prompt's hash (data/key.h) as a number in [0, 1), and it is held out where u is below
 * the fraction.  So no prompt is in both, whatever the order of the lines, and a line added
 * later moves none of the others.
 */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/publish.h"
#include "data/key.h"
#include "data/lines.h"
#include "data/output.h"
#include "data/reader.h"

enum { DATA_SPLIT_TRAIN, DATA_SPLIT_HELD_OUT, DATA_SPLIT_PARTS };

struct data_split {
    const char *in, *out_dir;
    double held_out;
    uint64_t seed;
    bool by_opening;
    struct reader_options reading;
    struct output output[DATA_SPLIT_PARTS];
    uint64_t lines[DATA_SPLIT_PARTS];
    uint64_t line; /* the one last written, from 1: one may give several records */
    struct buf scratch;
    struct publish publish;
};

static const char *const data_split_names[] = {"train.jsonl", "held_out.jsonl"};

static enum err_code data_split_open(struct data_split *s, struct err *err)
{
    enum err_code rc = publish_begin(&s->publish, s->out_dir, err);
    for (size_t i = 0; !rc && i < DATA_SPLIT_PARTS; i++) {
        char name[32], path[FILE_PATH_MAX];
        snprintf(name, sizeof name, "%s%s", data_split_names[i],
                 output_is_gzip(s->in) ? ".gz" : "");
        rc = file_join(path, s->publish.dir, name, err);
        if (!rc)
            rc = output_open(&s->output[i], path, err);
    }
    return rc;
}

/* Write the line that the record came from, once. */
static enum err_code data_split_record(struct data_split *s, const struct reader *reader,
                                       const struct data_record *record, struct err *err)
{
    if (record->line == s->line)
        return ERR_OK;
    s->line = record->line;
    const uint64_t hash = s->by_opening ? key_opening(record, s->seed, &s->scratch)
                                        : key_prompt(record, s->seed, &s->scratch);
    enum err_code rc = buf_check(&s->scratch, record->where, err);
    const double u = (double)(hash >> 11) * 0x1p-53;
    const size_t part = u < s->held_out ? DATA_SPLIT_HELD_OUT : DATA_SPLIT_TRAIN;
    size_t n;
    const char *text = reader_line_text(reader, &n);
    if (!rc)
        rc = output_write(&s->output[part], text, n, err);
    if (!rc)
        rc = output_write(&s->output[part], "\n", 1, err);
    s->lines[part]++;
    return rc;
}

static enum err_code data_split_lines(struct data_split *s, struct err *err)
{
    struct reader *reader = reader_open(s->in, &s->reading, err);
    if (!reader)
        return err->code;
    const struct data_record *record;
    enum err_code rc = data_split_open(s, err);
    while (!rc && !(rc = reader_next(reader, &record, err)) && record)
        rc = data_split_record(s, reader, record, err);
    const struct reader_counts *counts = reader_counts(reader);
    const uint64_t written = s->lines[DATA_SPLIT_TRAIN] + s->lines[DATA_SPLIT_HELD_OUT];
    if (!rc && written == 0)
        rc = err_set(err, ERR_FORMAT, "%s: there is no record in it", s->in);
    for (size_t i = 0; !rc && i < DATA_SPLIT_PARTS; i++)
        rc = output_commit(&s->output[i], err);
    if (!rc)
        rc = publish_commit(&s->publish, err);
    if (!rc)
        printf("wrote %s: %llu lines to train on, %llu held out; left out %llu bad and %llu "
               "without a record\n",
               s->out_dir, (unsigned long long)s->lines[DATA_SPLIT_TRAIN],
               (unsigned long long)s->lines[DATA_SPLIT_HELD_OUT],
               (unsigned long long)counts->bad,
               (unsigned long long)(counts->lines - counts->bad - written));
    reader_close(reader);
    return rc;
}

static int data_split_run(struct data_split *s, const struct cli_usage *usage)
{
    struct err err = {0};
    buf_init(&s->scratch, 4 * LINES_BYTES_MAX);
    const enum err_code rc = data_split_lines(s, &err);
    for (size_t i = 0; i < DATA_SPLIT_PARTS; i++)
        output_abort(&s->output[i]);
    publish_abort(&s->publish);
    buf_release(&s->scratch);
    return rc ? cli_fail(usage, &err) : 0;
}

static const struct cli_usage data_split_usage = {
    .words = "data split",
    .synopsis = "IN --out DIR [options]",
    .about =
        "Writes the lines of a data set, as they are, to DIR/train.jsonl and\n"
        "DIR/held_out.jsonl (.gz as IN).  A hash of the prompt decides, so that no prompt\n"
        "is in both and the order of the lines does not matter.  Bad lines are left out.\n",
    .examples = "  rlhf data split pairs.jsonl.gz --out split --held-out 0.1 --seed 7\n",
    .arguments_min = 1,
    .arguments_max = 1,
};

int cmd_data_split(int argc, char **argv)
{
    static struct data_split s; /* its paths are too long for the stack */
    s = (struct data_split){.held_out = 0.1, .seed = 1};
    const char *format = "auto", *by = "prompt";
    const struct cli_option options[] = {
        cli_text("out", &s.out_dir, "DIR", "the directory to make"),
        cli_number("held-out", &s.held_out, "X", 0, 1, "fraction of the prompts to hold out"),
        cli_count("seed", &s.seed, "S", 0, 0, "another seed, another split"),
        cli_text("by", &by, "WHAT",
                 "prompt: the whole of it; opening: the first turn of the conversation"),
        cli_text("format", &format, "NAME", "of IN"),
        cli_number("max-bad-fraction", &s.reading.max_bad_fraction, "X", 0, 1,
                   "of lines that may be bad and are left out"),
    };
    struct cli_usage usage = data_split_usage;
    usage.options = options;
    usage.options_n = sizeof options / sizeof options[0];
    int first;
    const int code = cli_parse(&usage, argc, argv, &first);
    if (code != CLI_GO)
        return code;
    if (!s.out_dir)
        return cli_usage_error(&usage, "--out is missing");
    struct err err = {0};
    if (format_find(format, &s.reading.format, &err))
        return cli_usage_error(&usage, "--format: %s", err.text);
    s.by_opening = strcmp(by, "opening") == 0;
    if (!s.by_opening && strcmp(by, "prompt") != 0)
        return cli_usage_error(&usage, "--by %s: it is prompt or opening", by);
    s.in = argv[first];
    return data_split_run(&s, &usage);
}

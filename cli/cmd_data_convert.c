/* cmd_data_convert.c -- `rlhf data convert`: a data set in another format. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "data/emit.h"
#include "data/lines.h"
#include "data/output.h"
#include "data/reader.h"

#define DATA_CONVERT_LACKS_MAX 8 /* different reasons to leave records out */

struct data_convert {
    const char *out_path;
    enum format_kind to;
    struct reader_options reading;
    struct output output;
    struct buf line;
    uint64_t written;
    struct {
        const char *what; /* what records lacked; NULL: unused */
        uint64_t records;
    } lacks[DATA_CONVERT_LACKS_MAX];
};

static void data_convert_leave_out(struct data_convert *c, const char *what)
{
    size_t i = 0;
    while (i + 1 < DATA_CONVERT_LACKS_MAX && c->lacks[i].what &&
           strcmp(c->lacks[i].what, what) != 0)
        i++;
    c->lacks[i].what = what;
    c->lacks[i].records++;
}

static enum err_code data_convert_record(struct data_convert *c,
                                         const struct data_record *record, struct err *err)
{
    buf_clear(&c->line);
    const char *lacks =
        emit_record(c->to, record, c->reading.attribute, c->reading.attributes, &c->line);
    if (lacks) {
        data_convert_leave_out(c, lacks);
        return ERR_OK;
    }
    c->written++;
    const enum err_code rc = buf_check(&c->line, record->where, err);
    return rc ? rc : output_write(&c->output, c->line.data, c->line.len, err);
}

static enum err_code data_convert_records(struct data_convert *c, struct reader *reader,
                                          struct err *err)
{
    const struct data_record *record;
    enum err_code rc;
    while (!(rc = reader_next(reader, &record, err)) && record) {
        rc = data_convert_record(c, record, err);
        if (rc)
            break;
    }
    return rc;
}

static enum err_code data_convert_run(struct data_convert *c, const char *in, struct err *err)
{
    struct reader *reader = reader_open(in, &c->reading, err);
    if (!reader)
        return err->code;
    buf_init(&c->line, 8 * LINES_BYTES_MAX);
    enum err_code rc = output_open(&c->output, c->out_path, err);
    if (!rc)
        rc = data_convert_records(c, reader, err);
    if (!rc && c->written == 0)
        rc = err_set(err, ERR_FORMAT, "%s: no record can be written as %s%s%s", in,
                     format_name(c->to), c->lacks[0].what ? "; there is " : "",
                     c->lacks[0].what ? c->lacks[0].what : "");
    if (!rc)
        rc = output_commit(&c->output, err);
    if (!rc)
        printf("wrote %llu records (%s) as %s to %s; %llu bad lines\n",
               (unsigned long long)c->written, format_name(reader_format(reader)),
               format_name(c->to), c->out_path, (unsigned long long)reader_counts(reader)->bad);
    for (size_t i = 0; !rc && i < DATA_CONVERT_LACKS_MAX && c->lacks[i].what; i++)
        printf("left out %llu records: %s\n", (unsigned long long)c->lacks[i].records,
               c->lacks[i].what);
    output_abort(&c->output);
    buf_release(&c->line);
    reader_close(reader);
    return rc;
}

static const struct cli_usage data_convert_usage = {
    .words = "data convert",
    .synopsis = "IN --to FORMAT --out FILE [options]",
    .about = "Writes the records of a data set in another format: pair, safe_rlhf, response,\n"
             "prompt or hh (docs/DATA.md).  Records without what that takes are left out and\n"
             "counted.  FILE appears only once it is whole; .gz at its end compresses it.\n",
    .examples = "  rlhf data convert trees.jsonl.gz --to pair --out pairs.jsonl.gz\n"
                "  rlhf data convert hh.jsonl --to prompt --out prompts.jsonl\n",
    .arguments_min = 1,
    .arguments_max = 1,
};

int cmd_data_convert(int argc, char **argv)
{
    struct data_convert c = {.output = {.fd = -1}};
    struct cli_list attributes = {0};
    const char *format = "auto", *to = NULL;
    const struct cli_option options[] = {
        cli_text("to", &to, "FORMAT", "pair, safe_rlhf, response, prompt, hh"),
        cli_text("out", &c.out_path, "FILE", "the file to make"),
        cli_text("format", &format, "NAME", "of IN"),
        cli_list("attribute", &attributes, "NAME",
                 "a number of answers to keep, e.g. helpfulness"),
        cli_number("max-bad-fraction", &c.reading.max_bad_fraction, "X", 0, 1,
                   "of lines that may be bad and are passed over"),
    };
    struct cli_usage usage = data_convert_usage;
    usage.options = options;
    usage.options_n = sizeof options / sizeof options[0];
    int first;
    const int code = cli_parse(&usage, argc, argv, &first);
    if (code != CLI_GO)
        return code;
    if (!to || !c.out_path)
        return cli_usage_error(&usage, "--%s is missing", to ? "out" : "to");
    struct err err = {0};
    if (format_find(format, &c.reading.format, &err))
        return cli_usage_error(&usage, "--format: %s", err.text);
    if (format_find(to, &c.to, &err) || !emit_can(c.to))
        return cli_usage_error(&usage, "--to %s: it is one of %s", to, emit_names());
    c.reading.attribute = attributes.item;
    c.reading.attributes = attributes.n;
    return data_convert_run(&c, argv[first], &err) ? cli_fail(&usage, &err) : 0;
}

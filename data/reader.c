/* reader.c -- see reader.h. */
#include "data/reader.h"

#include <assert.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "data/lines.h"

struct reader {
    struct reader_options options;
    enum format_kind format;
    struct lines lines;
    json_t *object;   /* the line that records are being made of; NULL: none */
    bool line_bad;    /* it was counted as bad */
    uint64_t unknown; /* lines whose format could not be told, before the first that could */
    struct reader_counts counts;
    char first[sizeof((struct err *)0)->text]; /* the sentence of the first bad line */
    struct format_work work;
};

struct reader *reader_open(const char *path, const struct reader_options *options,
                           struct err *err)
{
    assert(options->attributes <= DATA_ATTRIBUTES_MAX);
    assert(options->max_bad_fraction >= 0.0 && options->max_bad_fraction <= 1.0);
    struct reader *reader = calloc(1, sizeof *reader);
    if (!reader) {
        err_set(err, ERR_NOMEM, "%s: no memory to read it", path);
        return NULL;
    }
    reader->options = *options;
    reader->format = options->format;
    reader->work.attribute = options->attribute;
    reader->work.attributes = options->attributes;
    buf_init(&reader->work.text, LINES_BYTES_MAX + 16); /* and the NULs of two texts */
    if (lines_open(&reader->lines, path, err)) {
        reader_close(reader);
        return NULL;
    }
    return reader;
}

void reader_close(struct reader *reader)
{
    if (!reader)
        return;
    json_decref(reader->object);
    lines_close(&reader->lines);
    buf_release(&reader->work.text);
    tokens_release(&reader->work.ids);
    free(reader);
}

const struct reader_counts *reader_counts(const struct reader *reader)
{
    return &reader->counts;
}

const char *reader_line_text(const struct reader *reader, size_t *n)
{
    *n = reader->lines.line.len;
    return reader->lines.line.data;
}

enum format_kind reader_format(const struct reader *reader)
{
    return reader->format;
}

/* "12 json, 3 type" */
static void reader_list_reasons(const struct reader *reader, char *out, size_t size)
{
    size_t n = 0;
    out[0] = '\0';
    for (size_t i = 0; i < DATA_BADS && n < size; i++)
        if (reader->counts.bad_by[i] > 0)
            n += (size_t)snprintf(out + n, size - n, "%s%llu %s", n ? ", " : "",
                                  (unsigned long long)reader->counts.bad_by[i],
                                  data_bad_name((enum data_bad)i));
}

static enum err_code reader_refuse(const struct reader *reader, bool at_end, struct err *err)
{
    char reasons[160];
    reader_list_reasons(reader, reasons, sizeof reasons);
    return err_set(err, ERR_FORMAT,
                   "%s: %llu of %s%llu lines are bad (%s), more than the %g %% allowed; the "
                   "first: %s",
                   reader->lines.path, (unsigned long long)reader->counts.bad,
                   at_end ? "" : "the first ", (unsigned long long)reader->counts.lines,
                   reasons, 100.0 * reader->options.max_bad_fraction, reader->first);
}

static bool reader_is_too_bad(const struct reader *reader)
{
    return (double)reader->counts.bad >
           reader->options.max_bad_fraction * (double)reader->counts.lines;
}

/* Count a bad line, and end reading where there are too many. */
static enum err_code reader_count_bad(struct reader *reader, enum data_bad why,
                                      const char *sentence, struct err *err)
{
    if (!reader->line_bad) {
        reader->line_bad = true;
        reader->counts.bad_by[why]++;
        if (reader->counts.bad++ == 0)
            snprintf(reader->first, sizeof reader->first, "%s", sentence);
    }
    if (reader->options.bad)
        reader->options.bad(reader->options.arg, why, sentence);
    if (reader->options.max_bad_fraction == 0.0)
        return err_set(err, ERR_FORMAT, "%s", sentence);
    if (reader->counts.bad >= READER_BAD_MANY && reader_is_too_bad(reader))
        return reader_refuse(reader, false, err);
    return ERR_OK;
}

enum err_code reader_reject(struct reader *reader, enum data_bad why, const char *sentence,
                            struct err *err)
{
    return reader_count_bad(reader, why, sentence, err);
}

/* "a", "b", ...: the members of the object, as many as fit. */
static void reader_list_members(const json_t *object, char *out, size_t size)
{
    size_t n = 0;
    const char *key;
    json_t *value;
    snprintf(out, size, "no members");
    json_object_foreach((json_t *)object, key, value)
    {
        if (n < size)
            n += (size_t)snprintf(out + n, size - n, "%s\"%.40s\"", n ? ", " : "", key);
    }
}

/* Tell the format by the line. */
static enum err_code reader_sniff(struct reader *reader, const json_t *object)
{
    struct format_work *work = &reader->work;
    char claims[160] = "", members[200];
    size_t n = 0, claimed = 0;
    for (size_t i = FORMAT_auto + 1; i < FORMATS; i++) {
        if (!format_claims((enum format_kind)i, object))
            continue;
        reader->format = (enum format_kind)i;
        claimed++;
        n += (size_t)snprintf(claims + n, sizeof claims - n, "%s%s", n ? ", " : "",
                              format_name((enum format_kind)i));
    }
    if (claimed == 1)
        return ERR_OK;
    reader->format = FORMAT_auto;
    reader->unknown++;
    reader_list_members(object, members, sizeof members);
    if (claimed > 1)
        return format_bad(work, DATA_BAD_FORMAT,
                          "the line has %s, so it may be any of the formats %s; say which",
                          members, claims);
    return format_bad(work, DATA_BAD_FORMAT,
                      "the line has %s, which fits none of the formats %s", members,
                      format_names());
}

/* Read a line that is a JSON object into reader->object; NULL at the end of the file.
 * ERR_FORMAT with work->bad set where the line is bad, ERR_IO and so on where the file is. */
static enum err_code reader_line(struct reader *reader, bool *more, bool *bad, struct err *err)
{
    struct format_work *work = &reader->work;
    struct lines *lines = &reader->lines;
    *bad = false;
    enum err_code rc = lines_next(lines, more, err);
    if (rc == ERR_VALUE) {
        work->bad = DATA_BAD_LINE;
        *bad = *more = true;
    }
    if (rc || !*more)
        return rc;
    reader->object = json_parse(lines->line.data, lines->line.len, lines->where, err);
    work->bad = DATA_BAD_JSON;
    if (!reader->object)
        *bad = err->code != ERR_NOMEM;
    else if (!json_is_object(reader->object))
        *bad = true;
    if (reader->object && *bad)
        err_set(err, ERR_FORMAT, "%s: a JSON object is expected", lines->where);
    return reader->object && !*bad ? ERR_OK : err->code;
}

/* Make the next record of the line that is held, or of the next one. */
static enum err_code reader_step(struct reader *reader, bool *more, bool *bad, struct err *err)
{
    struct format_work *work = &reader->work;
    enum err_code rc = ERR_OK;
    *more = true;
    *bad = false;
    work->err = err;
    if (!work->again) {
        json_decref(reader->object);
        reader->object = NULL;
        reader->line_bad = false;
        rc = reader_line(reader, more, bad, err);
        reader->counts.lines += *more ? 1 : 0;
        if (rc || !*more)
            return rc;
        work->object = reader->object;
        work->where = reader->lines.where;
        work->step = 0;
        work->record.line = reader->lines.number;
        if (reader->format == FORMAT_auto)
            rc = reader_sniff(reader, reader->object);
    }
    buf_clear(&work->text);
    if (!rc && !buf_reserve(&work->text, reader->lines.line.len + 16))
        return buf_check(&work->text, reader->lines.where, err);
    if (!rc)
        rc = format_parse(reader->format, work);
    *bad = rc == ERR_FORMAT;
    if (*bad)
        work->again = false;
    return rc;
}

enum err_code reader_next(struct reader *reader, const struct data_record **record,
                          struct err *err)
{
    const struct data_record *made = &reader->work.record;
    *record = NULL;
    for (;;) {
        struct err why = {0};
        bool more, bad;
        enum err_code rc = reader_step(reader, &more, &bad, &why);
        if (rc && !bad)
            return err_set(err, rc, "%s", why.text);
        if (bad)
            rc = reader_count_bad(reader, reader->work.bad, why.text, err);
        if (bad && !rc && reader->format == FORMAT_auto &&
            reader->unknown == READER_SNIFF_LINES)
            rc = err_set(err, ERR_FORMAT, "%s", why.text);
        if (rc)
            return rc;
        if (!more)
            return reader->counts.bad > 0 && reader_is_too_bad(reader)
                       ? reader_refuse(reader, true, err)
                       : ERR_OK;
        if (bad || (made->answers == 0 && made->turns == 0 && made->ids_n == 0))
            continue;
        reader->counts.records++;
        *record = made;
        return ERR_OK;
    }
}

/*
 * reader.h -- a data set read record by record, in whatever format it comes.
 *
 *     struct reader_options options = {.format = FORMAT_auto, .max_bad_fraction = 0.01};
 *     struct reader *reader = reader_open("train.jsonl.gz", &options, &err);
 *     const struct data_record *record;
 *     while (!(rc = reader_next(reader, &record, &err)) && record)
 *         ...
 *     reader_close(reader);
 *
 * A file is read once, from its beginning to its end, so it may be a pipe.  Memory is bounded
 * by a few lines (LINES_BYTES_MAX), whatever the size of the file.
 *
 * Bad lines.  A line that is of no use is told to options.bad with a sentence that names
 * FILE:LINE, the field, and what was expected; it is counted under its reason and passed over.
 * Where there are too many, reading ends with one sentence (ERR_FORMAT):
 *
 *     max_bad_fraction = 0    the first bad line is the error itself
 *     otherwise               more than max_bad_fraction of all lines were bad.  This is held
 *                             at the end of the file; and before it as soon as at least
 *                             READER_BAD_MANY lines, and more than that fraction of the lines
 *                             so far, were bad.
 *
 * So which lines are read depends on the file alone.  Blank lines are no lines here.
 *
 * The format, where it was not named, is that which alone claims a line (format_NAME_claims).
 * A line that none claims, or several, is bad (DATA_BAD_FORMAT); after READER_SNIFF_LINES such
 * lines before the first that could be told, reading ends with that line's sentence.
 */
#ifndef DATA_READER_H
#define DATA_READER_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "data/format.h"
#include "data/record.h"

#define READER_BAD_MANY    1000
#define READER_SNIFF_LINES 16

struct reader_options {
    enum format_kind format;
    double max_bad_fraction; /* [0, 1] */

    /* Names of the numbers wanted of answers, at most DATA_ATTRIBUTES_MAX; they must outlive
     * the reader. */
    const char *const *attribute;
    size_t attributes;

    /* Told of each bad line or record; NULL: nobody is. */
    void (*bad)(void *arg, enum data_bad why, const char *sentence);
    void *arg;
};

struct reader_counts {
    uint64_t lines; /* not blank */
    uint64_t bad;   /* of them */
    uint64_t bad_by[DATA_BADS];
    uint64_t records; /* handed out; a line may give several, or none */
};

struct reader;

/* Open the file; "-" is standard input.  NULL and ERR_IO, ERR_NOMEM. */
struct reader *reader_open(const char *path, const struct reader_options *options,
                           struct err *err);
void reader_close(struct reader *reader);

/* The next record, valid until the next call; *record = NULL at the end.  ERR_FORMAT where
 * there are too many bad lines (see above) or the gzip data is damaged, ERR_IO, ERR_NOMEM;
 * reading cannot go on then. */
enum err_code reader_next(struct reader *reader, const struct data_record **record,
                          struct err *err);

/* The caller cannot use the record last handed out: count its line as bad.  `sentence` should
 * name it (record->where).  ERR_OK where reading may go on, else as reader_next. */
enum err_code reader_reject(struct reader *reader, enum data_bad why, const char *sentence,
                            struct err *err);

/* The line that the record last handed out came from, as it is in the file, without its
 * newline.  Valid until the next call of reader_next. */
const char *reader_line_text(const struct reader *reader, size_t *n);

/* Valid until reader_close. */
const struct reader_counts *reader_counts(const struct reader *reader);

/* The format it is read as; FORMAT_auto before one could be told. */
enum format_kind reader_format(const struct reader *reader);

#endif

/*
 * lines.h -- a text read line by line, each with the name an error needs: "FILE:17".
 *
 * From a file, or from standard input where the path is "-"; plain or gzip (data/input.h).
 * Blank lines are skipped (and counted).  Reading blocks.
 */
#ifndef DATA_LINES_H
#define DATA_LINES_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/file.h"
#include "data/input.h"

#define LINES_BYTES_MAX ((size_t)16 << 20)  /* of one line */
#define LINES_SKIP_MAX  ((size_t)256 << 20) /* of one that is passed over; more is no text */

struct lines {
    struct input *input; /* NULL: none held */
    const char *block;   /* what is left of the input's last block */
    size_t block_n;
    char path[FILE_PATH_MAX];
    uint64_t number; /* of the line last read, from 1 */
    struct buf line;
    char where[FILE_PATH_MAX + 24]; /* "path:number" */
};

/* ERR_IO where it cannot be read.  The caller releases it with lines_close, also on failure
 * (and harmlessly where it is all zeros). */
enum err_code lines_open(struct lines *lines, const char *path, struct err *err);
void lines_close(struct lines *lines);

/* Read the next line that is not blank into lines->line, without its newline.  *more is false
 * at the end.  ERR_VALUE where a line is longer than LINES_BYTES_MAX: it was passed over, and
 * the next call reads the line after it; ERR_FORMAT where it is longer than LINES_SKIP_MAX.
 * ERR_IO, ERR_FORMAT (gzip) as input_read has them. */
enum err_code lines_next(struct lines *lines, bool *more, struct err *err);

/* As lines_next, for JSON lines: *object is a new reference (json_decref), or NULL at the end.
 * ERR_FORMAT names the line where it is not a JSON object. */
enum err_code lines_next_object(struct lines *lines, json_t **object, struct err *err);

/* Return the code of `inner` with its sentence, and `where` before it unless it is there: for
 * errors of functions that do not know which line they were given. */
enum err_code lines_name_error(const struct err *inner, const char *where, struct err *err);

#endif

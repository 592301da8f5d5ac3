/*
 * output.h -- a text file that appears whole or not at all, plain or gzip by its name.
 *
 * Written beside the place wanted as PATH.tmp, with gzip where PATH ends in ".gz" (the same
 * bytes for the same text: no time, no name in it); output_commit makes it durable and renames
 * it.  Blocks on the disk.
 */
#ifndef DATA_OUTPUT_H
#define DATA_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/file.h"

#define OUTPUT_BLOCK_BYTES ((size_t)256 << 10)

struct output {
    char path[FILE_PATH_MAX], temporary[FILE_PATH_MAX];
    int fd;     /* -1: none held */
    void *gzip; /* gzFile; NULL: plain */
    struct buf block;
};

/* Start from a struct output of zeros.  ERR_IO, ERR_VALUE where the path is too long.  The
 * caller ends it with output_commit or output_abort, also on failure. */
enum err_code output_open(struct output *output, const char *path, struct err *err);

enum err_code output_write(struct output *output, const void *bytes, size_t n, struct err *err);

/* Afterwards the file is at `path`, or, with an error, what was there before. */
enum err_code output_commit(struct output *output, struct err *err);

/* Remove what was written; harmless after output_commit, and on zeros. */
void output_abort(struct output *output);

/* Whether a name ends in ".gz". */
bool output_is_gzip(const char *path);

#endif

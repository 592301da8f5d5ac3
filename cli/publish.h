/*
 * publish.h -- a directory that appears whole or not at all.
 *
 * Files are written into a temporary directory beside the one wanted; publish_commit makes
 * them durable and renames it into place.  After a crash or an error the name does not exist
 * (a temporary directory NAME.tmp-XXXXXX may).
 */
#ifndef CLI_PUBLISH_H
#define CLI_PUBLISH_H

#include <stdbool.h>

#include "base/err.h"
#include "base/file.h"

struct publish {
    char final[FILE_PATH_MAX];
    char dir[FILE_PATH_MAX]; /* where to write; "" when none is held */
};

/* ERR_STATE where `path` exists and is not an empty directory: for who wants to know before long
 * work. */
enum err_code publish_check_free(const char *path, struct err *err);

/* ERR_STATE where `dir` exists and is not an empty directory, ERR_IO.  The caller ends it
 * with publish_commit, or publish_abort, which removes what was written (harmless after a
 * commit). */
enum err_code publish_begin(struct publish *publish, const char *dir, struct err *err);
/* As publish_begin, but files are written into the directory `at`, on the file system that `dir`
 * will be on; what an attempt that was killed left there is removed. */
enum err_code publish_begin_at(struct publish *publish, const char *dir, const char *at,
                               struct err *err);
enum err_code publish_commit(struct publish *publish, struct err *err);
void publish_abort(struct publish *publish);

/* Copy from/name into the directory; absent is OK unless `required`. */
enum err_code publish_copy(struct publish *publish, const char *from, const char *name,
                           bool required, struct err *err);

/* Copy what belongs to a tokenizer: tokenizer.json (required) and the files transformers puts
 * beside it. */
enum err_code publish_tokenizer(struct publish *publish, const char *from, struct err *err);

#endif

/*
 * checkpoint_manifest.h -- MANIFEST.json: the name, size and BLAKE2b-256 of each other file of a
 * checkpoint.  It is written last, so a directory without one that fits is not whole.
 */
#ifndef LEARNER_CHECKPOINT_MANIFEST_H
#define LEARNER_CHECKPOINT_MANIFEST_H

#include "base/err.h"

/* Of all that lies below dir now, hidden files apart.  ERR_IO names the file, ERR_NOMEM where
 * there are too many. */
enum err_code checkpoint_manifest_write(const char *dir, struct err *err);

/* Every file the manifest names, held against its size and hash.  ERR_FORMAT where one is
 * another, or the manifest is not there or no manifest; ERR_IO where a file of it cannot be
 * read.  The sentence names the file. */
enum err_code checkpoint_manifest_verify(const char *dir, struct err *err);

#endif

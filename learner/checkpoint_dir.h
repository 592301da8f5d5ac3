/*
 * checkpoint_dir.h -- where a run's checkpoints lie, and how one gets its final name.
 *
 *     RUN/checkpoints/v00000010/      version 10
 *     RUN/checkpoints/.tmp-LEARNER/   what LEARNER is writing
 */
#ifndef LEARNER_CHECKPOINT_DIR_H
#define LEARNER_CHECKPOINT_DIR_H

#include "base/fault.h"
#include "base/file.h"
#include "learner/learner.h"

#define CHECKPOINT_LIST_MAX  4096
#define CHECKPOINT_STATE_MAX ((size_t)1 << 20) /* bytes of STATE.json */

/* The paths: ERR_VALUE where one does not fit.  `root` is RUN/checkpoints. */
enum err_code checkpoint_dir_root(const struct learner *learner, char root[FILE_PATH_MAX],
                                  struct err *err);
enum err_code checkpoint_dir_version(const char *root, uint64_t version,
                                     char path[FILE_PATH_MAX], struct err *err);
/* A place of this learner's own to write in: others may be writing, or starting, beside it. */
enum err_code checkpoint_dir_tmp(const struct learner *learner, const char *dir,
                                 char tmp[FILE_PATH_MAX], struct err *err);

/* The versions below root, whole or not, newest first; how many.  0 also where root is none. */
size_t checkpoint_dir_list(const char *root, uint64_t versions[CHECKPOINT_LIST_MAX]);

/* Give `tmp`, below `parent`, its final name, durably.  What stood there before goes last: at no
 * moment is there nothing at `path`, where the file system can do that.  ERR_IO names the file;
 * `before` and `after` are the fault points about the rename. */
enum err_code checkpoint_dir_publish(const char *tmp, const char *path, const char *parent,
                                     enum fault_point before, enum fault_point after,
                                     struct err *err);

/* ERR_IO naming `dir` and the point, as a disk would fail here; ERR_OK where it is not to. */
enum err_code checkpoint_dir_fault(enum fault_point point, const char *dir, struct err *err);

#endif

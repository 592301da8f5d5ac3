/*
 * gate_release.h -- RUN/published: a symbolic link to the last policy that passed the gate.
 *
 *     RUN/releases/.tmp/               a candidate while it is tested: its own copy
 *     RUN/releases/0123456789abcdef/   one that passed, named by its weights' hash
 *         model files, GATE.json
 *     RUN/published -> releases/0123456789abcdef
 *
 * A candidate is copied first (hard links where that can be), so that what is tested is what is
 * published, and a checkpoint may be removed meanwhile.  The link is replaced by rename(2):
 * whoever follows it sees the old policy or the new one, whole.  One gate a run at a time: a
 * lock (flock) on RUN/releases refuses a second.
 */
#ifndef CLI_GATE_RELEASE_H
#define CLI_GATE_RELEASE_H

#include "base/err.h"
#include "base/file.h"

#define GATE_MANIFEST     "GATE.json"
#define GATE_RELEASE_NAME 17 /* bytes of a release's name, with the NUL */

struct gate_release {
    int lock_fd;                                  /* -1: none held */
    char run[FILE_PATH_MAX], root[FILE_PATH_MAX]; /* RUN, RUN/releases */
    char dir[FILE_PATH_MAX]; /* RUN/releases/.tmp: the candidate's copy; "": none */
};

/* Lock, and copy the directory `model` into release->dir.  ERR_STATE where another gate runs
 * there; ERR_IO.  The caller ends it with gate_release_end, also on failure. */
enum err_code gate_release_begin(struct gate_release *release, const char *run,
                                 const char *model, struct err *err);

/* Make release->dir RUN/releases/NAME, with `manifest` as its GATE.json, and RUN/published a
 * link to it; durable on return.  A release of that name that is there already stays. */
enum err_code gate_release_publish(struct gate_release *release, const char *name,
                                   const struct buf *manifest, struct err *err);

/* Remove the copy, unless it was published, and unlock. */
void gate_release_end(struct gate_release *release);

#endif

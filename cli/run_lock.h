/*
 * run_lock.h -- RUN/run.lock: one `rlhf run` at a time has a run, and tidies up after one that was
 * killed.
 *
 * The file is locked (flock) by whoever runs it, and names the directory in /tmp where it has its
 * sockets, which is locked too.  It stays, empty, when the run ends; the kernel opens the locks of
 * one that is killed, and the next removes what that left in /tmp.
 */
#ifndef CLI_RUN_LOCK_H
#define CLI_RUN_LOCK_H

#include <stdbool.h>

#include "base/err.h"
#include "base/file.h"

/* A path of ipc:// may be 107 bytes long: a run directory can be anywhere, this cannot. */
#define RUN_LOCK_SOCKETS "/tmp/rlhf-XXXXXX"

struct run_lock {
    int fd;         /* -1: not taken */
    int sockets_fd; /* of the directory; -1: none were asked for */
    char path[FILE_PATH_MAX];
    char sockets[sizeof RUN_LOCK_SOCKETS]; /* "": none were asked for */
};

/* Take the run in directory `dir`, which is there.  ERR_STATE: another process has it. */
enum err_code run_lock_take(struct run_lock *lock, const char *dir, struct err *err);

/* Does an `rlhf run` have the run in this directory? */
bool run_lock_is_taken(const char *dir);

/* Make lock->sockets, private to this user. */
enum err_code run_lock_sockets(struct run_lock *lock, struct err *err);

/* Remove the sockets and let go.  Nothing where it was not taken. */
void run_lock_release(struct run_lock *lock);

#endif

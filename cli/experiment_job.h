/*
 * experiment_job.h -- a child process that works through its log file: started, polled, stopped.
 *
 * It leads a process group of its own, so that Ctrl-C at the terminal reaches only whoever
 * started it, and it is sent SIGTERM when the one who started it dies, however that happens.
 */
#ifndef CLI_EXPERIMENT_JOB_H
#define CLI_EXPERIMENT_JOB_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/file.h"

#define EXPERIMENT_WHY_MAX 512 /* bytes of a last sentence, with the NUL */

struct experiment_job {
    pid_t pid; /* 0: none */
    char log[FILE_PATH_MAX];
    uint64_t log_start; /* bytes of the log that are from before */
};

/* Start argv[0] (a path); its output is appended to `log`.  ERR_IO. */
enum err_code experiment_job_start(struct experiment_job *job, const char *const *argv,
                                   const char *log, struct err *err);

/* True once it has ended: *status is its exit code, or 128 + the signal.  Does not block. */
bool experiment_job_poll(struct experiment_job *job, int *status);

/* SIGTERM to it, which passes it on; or SIGKILL to its whole group.  No job is fine. */
void experiment_job_terminate(const struct experiment_job *job);
void experiment_job_kill(const struct experiment_job *job);

/* The last line that it wrote; "" where there is none. */
void experiment_job_last_line(const struct experiment_job *job, char why[EXPERIMENT_WHY_MAX]);

#endif

/*
 * supervisor.h -- starts child processes, starts them again when they die, stops them.
 *
 *     start               crash                     delay over
 *     -----> RUNNING ----------------> WAITING ----------------------> RUNNING
 *             | | |                     |  |
 *             | | +- status 0 -> DONE   |  +- cannot be started ------> FAILED
 *             | +--- final, or too many crashes ----------------------> FAILED
 *             +----- stop --------------+----------------------------> STOPPED
 *
 * A final exit has a status that another start cannot mend: 64 usage, 65 data, 78 config.  Any
 * other but 0, and any signal, is a crash: the child comes back after a delay that doubles from
 * 100 ms to 5 s, and is 100 ms again after 10 s of life.  More than restarts_max crashes without
 * such a life are too many.  So is the fourth exit with a status (rather than a signal) without
 * such a life: a file that is not there will not be there in five seconds either.
 */
#ifndef NODE_SUPERVISOR_H
#define NODE_SUPERVISOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "base/err.h"

#define SUPERVISOR_CHILDREN_MAX 256
#define SUPERVISOR_ARGS_MAX     32

#define SUPERVISOR_STATE_MAP(X) X(STOPPED) X(RUNNING) X(WAITING) X(DONE) X(FAILED)
enum supervisor_state {
#define X(name) SUPERVISOR_##name,
    SUPERVISOR_STATE_MAP(X)
#undef X
};
const char *supervisor_state_name(enum supervisor_state state);

struct supervisor;

/* What a child's change of state says; status and signal are those of its last exit. */
struct supervisor_event {
    size_t child;
    const char *name;
    enum supervisor_state state;
    int status, signal;
    uint32_t restarts; /* so far */
    uint32_t delay_ms; /* WAITING: until the next start */
};

typedef void (*supervisor_listener)(void *arg, const struct supervisor_event *event);

/* The caller ends it with supervisor_close, while the loop still runs.  NULL: out of memory. */
struct supervisor *supervisor_open(uv_loop_t *loop, uint32_t restarts_max,
                                   supervisor_listener listener, void *arg);
void supervisor_close(struct supervisor *supervisor);

/* Start argv[0] (a path) with these arguments (NULL-terminated; copied); its standard output
 * and error go to descriptor `log_fd`.  The child's number goes to *child.  ERR_IO where it
 * cannot be started at all, ERR_VALUE past SUPERVISOR_CHILDREN_MAX, ERR_NOMEM. */
enum err_code supervisor_start(struct supervisor *supervisor, const char *name,
                               const char *const *argv, int log_fd, size_t *child,
                               struct err *err);

/* SIGTERM to every child that runs, SIGKILL after grace_ms; WAITING ones become STOPPED.  No
 * restarts from now on.  Returns at once; each exit is told to the listener. */
void supervisor_stop(struct supervisor *supervisor, uint32_t grace_ms);

/* Children RUNNING or WAITING. */
size_t supervisor_alive(const struct supervisor *supervisor);

enum supervisor_state supervisor_child_state(const struct supervisor *supervisor, size_t child);
int supervisor_child_pid(const struct supervisor *supervisor,
                         size_t child); /* 0: not running */

#endif

/*
 * experiment_grid.h -- carries out an experiment: up to `parallel` runs at a time, each step of
 * a run (experiment_step.h) a child process.
 *
 *               a slot is free          all steps done
 *     WAITING ----------------> ACTIVE ----------------> DONE
 *        |                        | \  a step failed
 *        |                        |  +-----------------> FAILED     (the other runs go on)
 *        |  told to stop          |  told to stop
 *        +------------------------+--------------------> STOPPED    (another call goes on)
 *
 * SIGINT and SIGTERM stop it: children get SIGTERM and are waited for; at the second signal, or
 * EXPERIMENT_GRACE_MS later, they are killed.
 */
#ifndef CLI_EXPERIMENT_GRID_H
#define CLI_EXPERIMENT_GRID_H

#include <stdbool.h>
#include <stdio.h>

#include "cli/experiment_job.h"
#include "cli/experiment_step.h"
#include "cli/progress.h"

#define EXPERIMENT_GRACE_MS 60000u

enum experiment_state {
    EXPERIMENT_WAITING,
    EXPERIMENT_ACTIVE,
    EXPERIMENT_DONE,
    EXPERIMENT_FAILED,
    EXPERIMENT_STOPPED
};

struct experiment_cell {
    enum experiment_state state;
    bool before; /* it was complete when the grid began */
    struct experiment_step step;
    struct experiment_job job;
    struct progress progress;
    uint64_t began_ms;
    uint64_t seconds;             /* that it took, this time */
    int status;                   /* FAILED: the step's exit code */
    char why[EXPERIMENT_WHY_MAX]; /* FAILED: its last sentence */
};

struct experiment_grid {
    const struct experiment *experiment;
    const char *program; /* `rlhf` itself */
    bool json;           /* a JSON line a run, instead of text */
    bool live;           /* a line below the others that moves */

    struct experiment_cell cell[EXPERIMENT_RUNS_MAX];
    size_t count[EXPERIMENT_STOPPED + 1]; /* runs by state, kept with them */
    uint32_t next;                        /* the first that may be WAITING */
    int signals;                          /* SIGINT and SIGTERM that came */
    uint64_t stop_ms;                     /* when the first came */
    FILE *nowhere;
};

/* Carry it out; the caller has zeroed the grid but for the first five.  Prints each run that
 * ends.  ERR_IO, ERR_FORMAT where it could not even look; runs that failed are no error.
 * Returns when no child is left. */
enum err_code experiment_grid_run(struct experiment_grid *grid, struct err *err);

#endif

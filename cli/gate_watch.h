/*
 * gate_watch.h -- tests a run's checkpoints while it goes on: `rlhf gate` as a child process.
 *
 *     IDLE --a checkpoint is due--> TESTING --the child ended--> IDLE
 *
 * Due is the newest checkpoint whose number, version / checkpoint.every, is a multiple of
 * gate.every, newer than the last one tested, and not the final one.  One that is removed, or
 * followed by another that is due, before its turn comes is passed over: it is not published
 * and spends nothing.
 */
#ifndef CLI_GATE_WATCH_H
#define CLI_GATE_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "cli/experiment_job.h"
#include "node/run_config.h"

struct gate_watch {
    const struct run_config *config;
    const char *rlhf; /* path of this program */
    const char *log;
    uint64_t tested; /* version of the last one that was taken */
    bool failed;     /* one could not be tested: no other is taken */
    struct experiment_job job;
};

/* What is borrowed has to stay. */
void gate_watch_init(struct gate_watch *watch, const struct run_config *config,
                     const char *rlhf, const char *log);

/* See to it: end what has ended, with a sentence on standard output unless `quiet`, and begin
 * what is due, unless the run is `stopping`.  Does not block. */
void gate_watch_poll(struct gate_watch *watch, bool stopping, bool quiet);

/* Is a child at work? */
bool gate_watch_busy(const struct gate_watch *watch);

/* Ask the child to end. */
void gate_watch_stop(struct gate_watch *watch);

#endif

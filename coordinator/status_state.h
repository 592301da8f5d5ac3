/* status_state.h -- what the status's files share; nobody else includes it. */
#ifndef COORDINATOR_STATUS_STATE_H
#define COORDINATOR_STATUS_STATE_H

#include "coordinator/status.h"

struct status {
    const struct run_config *config;
    struct metrics *metrics;
    double step_ms; /* a step's duration, smoothed; 0: none yet */
    uint64_t spent_us;

    bool waiting;               /* at the last status_health records waited for the disk: */
    uint64_t wait_seq, wait_ms; /* durable then; since when nothing more is */
};

/* --- status_process.c */

/* The process_* metrics that every Prometheus client library has, from /proc. */
void status_process(struct metrics *metrics);

#endif

/* status_state.h -- what the status's files share; nobody else includes it. */
#ifndef COORDINATOR_STATUS_STATE_H
#define COORDINATOR_STATUS_STATE_H

#include "coordinator/status.h"
#include "node/gate_record.h"

struct status_stamp {
    uint64_t inode, bytes;
    int64_t s, ns; /* of the last change */
};

struct status {
    const struct run_config *config;
    struct metrics *metrics;
    double step_ms; /* a step's duration, smoothed; 0: none yet */
    uint64_t spent_us;
    uint64_t refused[WIRE_REFUSED];

    bool waiting;               /* at the last status_health records waited for the disk: */
    uint64_t wait_seq, wait_ms; /* durable then; since when nothing more is */

    struct gate_history gate; /* as read when the stamps below were */
    struct err gate_fault;    /* it could not be read */
    struct status_stamp gate_records, gate_published;
};

/* --- status_process.c */

/* The process_* metrics that every Prometheus client library has, from /proc. */
void status_process(struct metrics *metrics);

/* --- status_gate.c */

void status_gate_metrics(struct status *status);
void status_gate_json(struct status *status, struct buf *out);

#endif

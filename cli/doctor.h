/*
 * doctor.h -- who of a run is slow or gone, since when, and what to do: rules over what can be
 * seen from outside.
 *
 *     the coordinator answers       doctor_live.c   its status, twice where it says it waits for
 *                                                   the disk
 *     nobody answers                doctor_past.c   ledger, lock, RUN/http, run.log
 *     either                        doctor_gate.c   the gate's last candidate
 *     RUN is a directory here       doctor.c        room on its disk
 *
 * A rule is a function that says nothing where all is well.  A finding is a sentence on what is
 * so, with names and times, and one on what to do.  Nothing is changed, nobody is signalled.
 */
#ifndef CLI_DOCTOR_H
#define CLI_DOCTOR_H

#include <jansson.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "coordinator/ledger.h"
#include "node/run_config.h"

#define DOCTOR_OUT_MAX     ((size_t)1 << 20)
#define DOCTOR_TEXT_MAX    700                   /* bytes of a sentence */
#define DOCTOR_DISK_BYTES  ((uint64_t)256 << 20) /* free: less is nearly full */
#define DOCTOR_SLOW_STEPS  6.0     /* mean durations of a step: then it does not advance */
#define DOCTOR_SLOW_MS     5000.0  /* and never before */
#define DOCTOR_FIRST_MS    60000.0 /* of the first step, whose duration nobody knows */
#define DOCTOR_SERVICE_MS  10000.0 /* before there was a step: a service's silence */
#define DOCTOR_LEASE_TIMES 4.0     /* the median age of its role's leases */
#define DOCTOR_FRESH_MS    60000.0 /* a failure longer ago is history */

struct doctor {
    struct buf *out;
    uint32_t findings;
};

/* Append a finding: what is so; what to do.  Text from elsewhere is made safe for a terminal. */
void doctor_find(struct doctor *doctor, const char *advice, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The coordinator's status, an object; `before` an earlier one, or NULL. */
void doctor_live(struct doctor *doctor, const json_t *status, const json_t *before);

/* The disk of a run's directory, whoever answers. */
void doctor_disk(struct doctor *doctor, const char *dir);

/* The "gate" of a status (gate_record_json, or what could not be read, as its "fault"); and the
 * same from the directory of a run. */
void doctor_gate(struct doctor *doctor, const json_t *gate);
void doctor_gate_of_dir(struct doctor *doctor, const char *dir);

/* A run whose coordinator does not answer; `why`: the sentence that said so.  Appends what the
 * ledger has.  Finds nothing where the run is complete. */
void doctor_past(struct doctor *doctor, const char *dir, const char *why);

#endif

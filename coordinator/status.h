/*
 * status.h -- what the coordinator shows of itself: metrics, status as JSON, progress lines.
 *
 * Everything is derived from struct core_stats; nothing here is counted twice or decides.  What
 * the gate decided alone comes from its record in the run's directory (node/gate_record.h), which
 * the core does not know of.
 */
#ifndef COORDINATOR_STATUS_H
#define COORDINATOR_STATUS_H

#include "base/buf.h"
#include "base/metrics.h"
#include "coordinator/core.h"
#include "wire/socket.h"

struct status;

/* NULL: out of memory.  The caller frees it with status_free.  config is borrowed. */
struct status *status_new(const struct run_config *config);
void status_free(struct status *status);

/* Another so much processor time went into events of the core and their effects. */
void status_spent(struct status *status, uint64_t us);

/* Connections refused so far, by reason (wire_context_refused). */
void status_refused(struct status *status, const uint64_t refused[WIRE_REFUSED]);

/* Prometheus text, /metrics. */
void status_metrics(struct status *status, const struct core_stats *stats, struct buf *out);

/* One JSON object, /api/v1/status: the run, the life of slots, peers by name, the last step. */
void status_json(struct status *status, const struct core_stats *stats, struct buf *out);

/* One JSON line for RUN/progress.jsonl: the numbers of a finished step, the learner's
 * statistics under their own names, tokens_per_s and eta_s. */
void status_progress(struct status *status, const struct record_step *step, struct buf *out);

/* /readyz.  May work go on: the ledger is recovered, one worker of each role is live, and the
 * run is not at its end?  The text says it check by check. */
bool status_ready(const struct core_stats *stats);
void status_ready_text(const struct core_stats *stats, struct buf *out);

/* /healthz.  That it answers shows that the loop turns; false, with a line that says so, where
 * the ledger's thread does not: at two calls, 10 s apart or more, records waited for the disk,
 * and none got there between.  Does not depend on workers.  now_ms: monotonic. */
bool status_health(struct status *status, const struct core_stats *stats, uint64_t now_ms,
                   struct buf *out);

#endif

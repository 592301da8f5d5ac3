/*
 * results.h -- rollouts that an actor finished and has not sent.
 *
 * A message wakes two threads here and two at the coordinator, where it makes a record durable
 * and asks for a new lease: for a small model that is much beside the rollout in it.  So results
 * are gathered, those of one lease side by side, and go out together, a message a lease:
 *
 *     at once                      where no sequence waits for a row: the coordinator may have
 *                                  nothing else to do, and a step may wait for these
 *     for every second row,        while others wait for a row: then there is work enough
 *     or until RESULTS_HOLD_MS would be over with the next turn of the generator
 */
#ifndef ACTOR_RESULTS_H
#define ACTOR_RESULTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "node/worker.h"
#include "wire/message.h"

#define RESULTS_HOLD_MS 5u

struct results {
    size_t n, tokens; /* held; response tokens of them together */
    size_t response_max;
    struct wire_item *items; /* (WIRE_ITEMS_MAX) */
    uint64_t *lease;         /* (WIRE_ITEMS_MAX) */
    int32_t *ids;            /* (WIRE_ITEMS_MAX + 1, response_max), one after the other */
    float *logp;             /* likewise */
    uint64_t since_ms;       /* when the first of them came */
};

/* Room for WIRE_ITEMS_MAX results of up to response_max tokens.  ERR_NOMEM, with nothing held.
 * The caller frees it with results_release, which a zeroed struct may be given too. */
enum err_code results_init(struct results *results, uint32_t response_max, struct err *err);
void results_release(struct results *results);

/* Copy a result in: item->response_tokens of ids and logp, made for this lease.  At most
 * WIRE_ITEMS_MAX are held (asserted).  ids and logp may be the scratch. */
void results_put(struct results *results, uint64_t lease, const struct wire_item *item,
                 const int32_t *ids, const float *logp);

/* Room for one response; the caller's until the next results_put. */
int32_t *results_scratch_ids(const struct results *results);
float *results_scratch_logp(const struct results *results);

/* Are they to be sent, where `busy` sequences are under way or wait for one of `rows`, and the next
 * time to send comes in turn_ms? */
bool results_are_due(const struct results *results, size_t busy, size_t rows, uint64_t turn_ms);

/* Send all, a message a lease, as made by this version of the weights.  ERR_UNAVAILABLE of
 * worker_send; those that were not sent are then lost. */
enum err_code results_send(struct results *results, struct worker *worker, uint64_t version,
                           struct err *err);

#endif

/*
 * group.h -- the learner as one rank of a group that trains a step together.
 *
 *     group_begin      join the lease's attempt; remember what the step begins from
 *     group_span       which micro-batches of an update are this rank's
 *     group_gather     what each rank computed of its micro-batches, to all, in their order
 *     trainable_sum    the gradient (with group_exchange)
 *     group_end        after a failure: tell the others why, and go back to before the step
 *
 * All ranks hold the same weights and optimizer, and end with the same: each makes every update
 * itself, from the whole gradient.  Alone (no ranks in the lease) nothing of this does anything.
 *
 * An attempt fails for a rank when another is gone or gives up, when its own numbers are not
 * finite, or when the coordinator has sent a newer lease: it waits in the worker's inbox, and
 * whoever waits for a rank looks there.  What the rank then holds is version `step` as before,
 * to the bit.  One that had finished already holds version step + 1: it has nothing to do in a
 * later attempt at that step, sends its result again, and lets the others know (group_decline).
 */
#ifndef LEARNER_GROUP_H
#define LEARNER_GROUP_H

#include "learner/exchange.h"
#include "learner/learner.h"

/* Where the config asks for several learners: an exchange at the weights server.  Closed with
 * group_close before the server. */
enum err_code group_open(struct learner *learner, struct err *err);
void group_close(struct learner *learner);

/* ERR_STATE where the lease names ranks and this learner was started to be the only one; errors
 * of exchange_join. */
enum err_code group_begin(struct learner *learner, const struct message *lease,
                          struct worker *worker, struct err *err);

/* NULL alone. */
struct exchange *group_exchange(const struct learner *learner);

/* Micro-batches *first .. *end-1 of n are this rank's; `rank` is any of the group. */
void group_span_of(const struct learner *learner, uint32_t n, uint32_t rank, uint32_t *first,
                   uint32_t *end);
void group_span(const struct learner *learner, uint32_t n, uint32_t *first, uint32_t *end);

/* An array of n items of `size` bytes, of which this rank has filled its span: fill the rest. */
enum err_code group_gather(const struct learner *learner, uint32_t n, size_t size, void *items,
                           struct err *err);

/* How long this learner has waited for others so far, microseconds. */
uint64_t group_waited_us(const struct learner *learner);

/* The step ended; `failed` says why, or NULL.  True where the learner is as it was before. */
bool group_end(struct learner *learner, const char *failed);

/* This rank takes no part in the lease's attempt. */
void group_decline(struct learner *learner, const struct message *lease, const char *why);

#endif

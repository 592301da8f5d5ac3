/*
 * actor.h -- the actor: generate leases in, rollouts out.
 *
 * One policy snapshot and one generator.  Items of leases for the version at hand enter the
 * running batch at once; a lease for another version waits until the batch is empty, then the
 * weights are exchanged: version 0 is the directory model.policy, every other is the learner's:
 * its memory, mapped, or pulled into this process's (node/weights.h).  What comes out is a pure
 * function of (weights, item): see engine/generate.h.
 *
 * A lease that asks for what this model cannot do is given back with LEASE_FAILED and the
 * reason.  So is one whose weights cannot be had, with the others that wait for them, as
 * untried: a learner that answers nothing for timeouts.dead_ms may have been stopped, and the
 * coordinator, which waits as long, then names another.
 */
#ifndef ACTOR_ACTOR_H
#define ACTOR_ACTOR_H

#include "base/err.h"
#include "node/run_config.h"
#include "node/worker.h"
#include "wire/socket.h"

struct actor;

/* Load model.policy and its tokenizer.  The caller frees it with actor_free.  The config and
 * the context are borrowed.  Errors are those of model_load and tokenizer_load. */
enum err_code actor_new(struct actor **actor, const struct run_config *config,
                        struct wire_context *context, struct err *err);
void actor_free(struct actor *actor);

/* Where it serves others what it has fetched; NULL: it is no relay. */
struct weights_server *actor_relay(const struct actor *actor);

/* What the actor does until worker_stopping: a worker_compute, ctx is the struct actor. */
enum err_code actor_compute(struct worker *worker, void *ctx, struct err *err);

#endif

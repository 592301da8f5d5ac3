/*
 * session.h -- a coordinator's core and three workers in one thread: no sockets, no ledger.
 *
 *     core  -- leases -->  inbox of the actor, of the reward, of the learner
 *     core  <-- results --  worker_send, at once
 *
 * session.c defines what actors, rewards and learners call of node/worker.h, so that
 * node/worker.c is not linked: a daemon's compute function works off its inbox and returns.
 * What the core appends is durable at once, and no time passes.  What fails ends the program.
 */
#ifndef BENCH_SESSION_H
#define BENCH_SESSION_H

#include "coordinator/core.h"
#include "node/worker.h"

#define SESSION_LEASES_MAX 256u /* in an inbox */

struct session;

struct worker {
    struct session *session;
    uint64_t peer; /* 1 + its place */
    uint64_t number, epoch, seq;
    struct message inbox[SESSION_LEASES_MAX];
    void *memory[SESSION_LEASES_MAX]; /* of each */
    size_t first, n;                  /* taken; there */
    bool ended;                       /* it has waited for a lease in vain */
};

enum session_role { SESSION_ACTOR, SESSION_REWARD, SESSION_LEARNER, SESSION_ROLES };

struct session {
    struct core *core;
    struct worker workers[SESSION_ROLES];
    uint64_t appended, durable;
    uint64_t steps; /* trained */
};

/* A core of this config, with these prompts; both are borrowed. */
void session_open(struct session *session, const struct run_config *config,
                  const struct core_prompts *prompts);
void session_close(struct session *session);

/* HELLO of a worker: role, capacity, and what else there is to say; *hello is filled up. */
void session_greet(struct session *session, enum session_role role, struct message *hello);

/* Have the worker's daemon work off its inbox, and what is put there meanwhile. */
void session_work(struct session *session, enum session_role role, worker_compute *compute,
                  void *ctx);

#endif

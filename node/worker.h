/*
 * worker.h -- the worker's side of a session: what actor, reward and learner have in common.
 *
 * Two threads.  The loop's thread keeps the session with the coordinator and never blocks; the
 * compute thread, owned by the worker, runs the daemon's function: it takes leases, works, and
 * sends results.
 *
 *      coordinator            loop thread                       compute thread
 *          <---- HELLO ---------- |
 *          ---- WELCOME --------> |
 *          ---- lease ----------> | ---- inbox (bounded) ----> worker_wait_lease
 *          <---- HEARTBEAT ------ | <--- progress, held ------ worker_progress, worker_set_held
 *          <---- result --------- | <--- outbox (bounded) ---- worker_send
 *          ---- ACK ------------> |      (forgets the result)
 *
 *      CONNECTING --WELCOME--> READY --RESET or silence for dead_ms--> BACKOFF --> CONNECTING
 *          any --RESET refused, BYE, compute ended, or SIGTERM--> STOPPING --> STOPPED
 *          BACKOFF --the rendezvous has never named an endpoint, for rendezvous_ms--> STOPPING
 *
 * Each session has a socket and a nonce of its own.  Results stay in the outbox until the
 * coordinator acknowledges them and are sent again, in order, in the next session.  Leases
 * that nobody has taken die with their session: the coordinator issues them anew.  Leases
 * already taken may be finished, their results are welcome; worker_session tells.
 *
 * A daemon:
 *
 *     static enum err_code actor_compute(struct worker *worker, void *ctx, struct err *err)
 *     {
 *         struct message lease;
 *         while (worker_wait_lease(worker, &lease, WORKER_FOREVER)) {
 *             ... worker_progress(worker); ...
 *             rc = worker_send(worker, &result, err);
 *             message_release(&lease);
 *         }
 *         return ERR_OK;           // worker_stopping(worker)
 *     }
 *     rc = worker_run(context, &options, actor_compute, &actor, &err);
 */
#ifndef NODE_WORKER_H
#define NODE_WORKER_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "base/err.h"
#include "base/hash.h"
#include "node/weights.h"
#include "wire/message.h"
#include "wire/socket.h"

#define WORKER_INBOX_MAX        64u /* leases not yet taken; more are refused */
#define WORKER_OUTBOX_MAX       64u /* results not yet acknowledged */
#define WORKER_OUTBOX_BYTES_MAX (64u * 1024u * 1024u) /* of them together, unless it is one */
#define WORKER_FLUSH_MS         2000u /* stopping: wait so long for the last acknowledgements */
#define WORKER_FOREVER          (-1)

#define WORKER_STATE_MAP(X) X(CONNECTING) X(READY) X(BACKOFF) X(STOPPING) X(STOPPED)
enum worker_state {
#define X(name) WORKER_##name,
    WORKER_STATE_MAP(X)
#undef X
};
const char *worker_state_name(enum worker_state state);

struct worker;

/* Runs in the compute thread, once.  Returns when worker_stopping (ERR_OK), or when it cannot
 * go on: the worker then says BYE with err->text, stops, and worker_close returns the error. */
typedef enum err_code worker_compute(struct worker *worker, void *ctx, struct err *err);

struct worker_options {
    enum wire_role role;
    const char *name;             /* unique in the run: "actor-0" */
    const char *control_endpoint; /* the coordinator's; not looked at with a rendezvous */
    const char *rendezvous;       /* a file that says it (node/rendezvous.h); NULL: none */
    const char *job;              /* with a rendezvous: of which job it is to be */
    uint32_t rendezvous_ms;       /* with a rendezvous: how long to look for it, at the start */
    struct hash config_hash;      /* run_config_hash; the coordinator refuses another */
    uint32_t capacity;            /* items it can hold at once, 1..WIRE_ITEMS_MAX */
    const char *bulk_endpoint;    /* learner: where its weights server is bound; else NULL */
    struct weights_server *server; /* whose bytes it tells of; outlives it; NULL: none */
    bool has_hash;                /* learner and reward */
    uint64_t version;             /* learner: that it holds */
    struct hash hash;             /* learner: of that version's weights; reward: of all that
                                     it scores with */
};

/* All of it in one call, on a loop of its own with SIGTERM and SIGINT handled, and SIGUSR1 passed
 * over: blocks until the worker stopped.  Errors as of worker_open and worker_close. */
enum err_code worker_run(struct wire_context *context, const struct worker_options *options,
                         worker_compute *compute, void *ctx, struct err *err);

/* On the caller's loop, beside its other handles: start connecting, start the compute thread.
 * on_stopped(ctx), in the loop, is when to call worker_close; NULL: uv_stop(loop).  Strings of
 * the options are copied.  ERR_USAGE for a name, an endpoint or a job that is none, ERR_IO where
 * the system lets no thread or socket be made, ERR_NOMEM. */
enum err_code worker_open(struct worker **out, uv_loop_t *loop, struct wire_context *context,
                          const struct worker_options *options, worker_compute *compute,
                          void *ctx, void (*on_stopped)(void *ctx), struct err *err);

/* Once stopped, in the loop's thread: ERR_OK after worker_stop, ERR_USAGE where the coordinator
 * refused this worker (err names it and the reason), ERR_UNAVAILABLE where the rendezvous named
 * none in time, or compute's error.  Frees the worker. */
enum err_code worker_close(struct worker *worker, struct err *err);

/* Ask it to stop; from any thread, but not once worker_close may have been called.  Compute
 * sees worker_stopping; when it has returned, the last results are flushed and BYE is said. */
void worker_stop(struct worker *worker);

/*
 * For the compute thread.
 */

/* The next lease (GENERATE_, SCORE_ or TRAIN_LEASE, as the role has it), checked.  Blocks up
 * to timeout_ms (0: not at all; WORKER_FOREVER).  False on timeout and when stopping.  The
 * caller ends the lease with message_release. */
bool worker_wait_lease(struct worker *worker, struct message *lease, int64_t timeout_ms);

/* The same without waiting: between two decode turns.  Costs a mutex. */
bool worker_poll_lease(struct worker *worker, struct message *lease);

/* Does a lease wait to be taken? */
bool worker_has_lease(struct worker *worker);

/*
 * Queue a result or LEASE_FAILED; epoch, session and seq are filled in by the worker.
 * Everything is copied, so *result and its frames are the caller's again on return.  Blocks
 * while the outbox is full.  ERR_VALUE where a bound is broken, ERR_UNAVAILABLE where it is
 * still full WORKER_FLUSH_MS after the worker was told to stop, or it was refused; ERR_NOMEM.
 */
enum err_code worker_send(struct worker *worker, const struct message *result, struct err *err);

/* LEASE_FAILED for this lease, with a reason of at most 255 bytes (cut off). */
enum err_code worker_send_failed(struct worker *worker, const struct message *lease,
                                 const char *reason, struct err *err);

/* The same where nothing of the lease was begun and the reason is not in its items (weights that
 * cannot be had): however often that is said, none of them is dropped for it. */
enum err_code worker_send_untried(struct worker *worker, const struct message *lease,
                                  const char *reason, struct err *err);

/* Compute advances: call it at every token, batch or micro-batch.  An atomic add. */
void worker_progress(struct worker *worker);

/* Items now held, for the heartbeat. */
void worker_set_held(struct worker *worker, uint32_t items);

/* Weights of `size` bytes were fetched (weights_fetch), or were not: for the heartbeat. */
void worker_note_fetch(struct worker *worker, const struct weights_view *view, size_t size,
                       bool is_whole);

/* Learner: what the next HELLO says it holds. */
void worker_set_weights(struct worker *worker, uint64_t version, const struct hash *hash);

/* Time to leave: the function should return within a second or so, sending what is done. */
bool worker_stopping(struct worker *worker);

/* The session now; 0 while there is none.  A lease whose ->session differs was issued in an
 * older one, and its items may meanwhile have been given to another. */
uint64_t worker_session(struct worker *worker);

/*
 * For metrics, from any thread.
 */
struct worker_counters {
    enum worker_state state;
    uint64_t sessions;        /* WELCOMEs */
    uint64_t resets;          /* sessions ended by RESET */
    uint64_t silences;        /* sessions or HELLOs ended by silence */
    uint64_t protocol_errors; /* messages that were none */
    uint64_t leases, leases_refused /* inbox full */;
    uint64_t results, results_acked, results_resent;
    uint32_t outbox; /* results not yet acknowledged */
    uint64_t outbox_bytes;
};
void worker_count(struct worker *worker, struct worker_counters *out);

#endif

/* worker_state.h -- what the worker's two files share; nobody else includes it. */
#ifndef NODE_WORKER_STATE_H
#define NODE_WORKER_STATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/file.h"
#include "node/loop.h"
#include "node/mailbox.h"
#include "node/rendezvous.h"
#include "node/weights_tally.h"
#include "node/worker.h"

#define WORKER_TICK_MS    20
#define WORKER_BACKOFF_MS 100u /* after a session; twice as long after each failed attempt */

struct worker {
    /* as opened */
    enum wire_role role;
    char name[WIRE_NAME_MAX];
    char control[WIRE_ENDPOINT_MAX]; /* "": the rendezvous has not named one yet */
    char rendezvous[FILE_PATH_MAX];  /* "": none */
    char job[RENDEZVOUS_JOB_MAX];
    uint64_t find_until_ms;
    char bulk[WIRE_TEXT_MAX];
    struct hash config_hash;
    uint32_t capacity;
    struct weights_server *server; /* NULL: none */
    uv_loop_t *loop;
    struct wire_context *context;
    worker_compute *compute;
    void *ctx;
    void (*on_stopped)(void *ctx);

    /* the loop thread's */
    uv_async_t wake;  /* by compute */
    uv_async_t stop;  /* by worker_stop alone: nothing may be freed before it was sent */
    unsigned handles; /* of these two, open */
    struct loop_timer *tick;
    struct loop_socket *socket; /* NULL: none in this state */
    enum worker_state state;    /* CONNECTING, READY or BACKOFF, until STOPPED */
    bool hello_sent;
    uint64_t epoch, seq;
    uint64_t since_ms; /* socket made, HELLO sent, or compute seen to have ended */
    uint64_t heard_ms; /* last message of this session */
    uint64_t said_ms;
    uint64_t beat_ms;         /* the last heartbeat, or the session's beginning */
    struct wire_weights told; /* in this session */
    uint64_t retry_ms; /* BACKOFF: connect then */
    uint64_t backoff_ms;
    uint64_t flush_until_ms; /* 0: compute has not ended, nor has the run */
    uint32_t heartbeat_ms, dead_ms;
    bool refused; /* by the coordinator, or there is none */
    struct err refusal;

    /* between the threads */
    struct mailbox mailbox;
    atomic_uint_fast64_t progress, session;
    atomic_uint held;
    atomic_bool compute_ended;
    pthread_mutex_t mutex; /* of what follows */
    bool has_hash;
    uint64_t version;
    struct hash hash;
    struct weights_tally tally;
    struct worker_counters counters;

    /* the compute thread's, until it ended */
    pthread_t thread;
    enum err_code rc;
    struct err err;
};

/* --- worker_session.c: for the loop's thread */

/* As worker_count shows it. */
void worker_session_enter(struct worker *worker, enum worker_state state);

/* Each tick, and whenever there is something to send: connect, say HELLO, send results, say that
 * it lives, or leave a session that fell silent. */
void worker_session_tick(struct worker *worker, uint64_t now_ms);

/* Say BYE where there is a session, and leave it for good. */
void worker_session_end(struct worker *worker, const char *reason);

#endif

/* worker.c -- see worker.h. */
#include "node/worker.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/log.h"
#include "node/loop.h"
#include "node/mailbox.h"
#include "node/rendezvous.h"

#define WORKER_TICK_MS        20
#define WORKER_WELCOME_MS     3000u /* a HELLO unanswered for so long is said again */
#define WORKER_BACKOFF_MS     100u
#define WORKER_BACKOFF_MAX_MS 2000u
#define WORKER_LINGER_MS      500 /* for BYE */

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
    uint64_t since_ms; /* HELLO sent, or compute seen to have ended */
    uint64_t heard_ms; /* last message of this session */
    uint64_t said_ms;
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
    struct worker_counters counters;

    /* the compute thread's, until it ended */
    pthread_t thread;
    enum err_code rc;
    struct err err;
};

const char *worker_state_name(enum worker_state state)
{
    switch (state) {
#define X(name) \
    case WORKER_##name: return #name;
        WORKER_STATE_MAP(X)
#undef X
    }
    return "?";
}

static void worker_connect(struct worker *w);

/* ++ of a counter that other threads read. */
static void worker_bump(struct worker *w, uint64_t *counter)
{
    pthread_mutex_lock(&w->mutex);
    ++*counter;
    pthread_mutex_unlock(&w->mutex);
}

static void worker_set_state(struct worker *w, enum worker_state state)
{
    pthread_mutex_lock(&w->mutex);
    w->state = state;
    pthread_mutex_unlock(&w->mutex);
}

/* Say something in the present session, or HELLO in none. */
static bool worker_say(struct worker *w, struct message *message)
{
    if (!w->socket)
        return false;
    message->epoch = w->epoch;
    message->session = atomic_load(&w->session);
    message->seq = w->seq + 1;
    struct err err = {0};
    const enum wire_send sent =
        wire_socket_send(loop_socket_wire(w->socket), (struct wire_peer){0}, message, &err);
    if (sent == WIRE_SEND_BAD)
        log_error("WORKER-SEND", "%s cannot say %s: %s", w->name,
                  message_type_name(message->type), err.text);
    if (sent != WIRE_SEND_OK)
        return false;
    w->seq++;
    w->said_ms = clock_mono_ms();
    return true;
}

static void worker_say_untried(struct worker *w, uint64_t lease, const char *reason)
{
    struct message m = {.type = MESSAGE_LEASE_FAILED, .lease = lease, .untried = true};
    message_set_text(&m, reason);
    worker_say(w, &m);
}

static uint64_t worker_send_packet(void *ctx, const struct wire_packet *packet)
{
    struct worker *w = ctx;
    struct err err = {0};
    const enum wire_send sent =
        wire_socket_send_packet(loop_socket_wire(w->socket), (struct wire_peer){0}, packet,
                                w->epoch, atomic_load(&w->session), w->seq + 1, &err);
    fault_at(FAULT_worker_result_sent);
    return sent == WIRE_SEND_OK ? ++w->seq : 0;
}

static void worker_flush(struct worker *w)
{
    if (w->state == WORKER_READY && mailbox_flush(&w->mailbox, worker_send_packet, w))
        w->said_ms = clock_mono_ms();
}

/* Leave the session, if any, and come back later. */
static void worker_drop(struct worker *w, const char *why)
{
    if (w->state == WORKER_READY)
        log_warn("SESSION-LOST", "%s: session with %s ended: %s", w->name, w->control, why);
    loop_socket_close(w->socket, 0);
    w->socket = NULL;
    atomic_store(&w->session, 0);
    mailbox_drop_leases(&w->mailbox);
    w->retry_ms = clock_mono_ms() + w->backoff_ms;
    w->backoff_ms *= 2;
    if (w->backoff_ms > WORKER_BACKOFF_MAX_MS)
        w->backoff_ms = WORKER_BACKOFF_MAX_MS;
    worker_set_state(w, WORKER_BACKOFF);
}

static void worker_on_welcome(struct worker *w, const struct message *m)
{
    if (w->state != WORKER_CONNECTING || !w->hello_sent || m->session == 0)
        return;
    w->epoch = m->epoch;
    w->heartbeat_ms = m->heartbeat_ms;
    w->dead_ms = m->dead_ms;
    w->backoff_ms = WORKER_BACKOFF_MS;
    w->seq = 0;
    atomic_store(&w->session, m->session);
    mailbox_begin_session(&w->mailbox);
    worker_bump(w, &w->counters.sessions);
    worker_set_state(w, WORKER_READY);
    fault_at(FAULT_worker_welcomed);
    log_info("SESSION-OPEN", "%s: session %016llx with %s, epoch %llu", w->name,
             (unsigned long long)m->session, w->control, (unsigned long long)m->epoch);
    worker_flush(w);
}

/* w->refusal says why: compute is to end, and nothing that it sent can go anywhere. */
static void worker_refuse(struct worker *w)
{
    w->refused = true;
    log_error("WORKER-REFUSED", "%s", w->refusal.text);
    mailbox_stop(&w->mailbox, true);
}

static void worker_on_reset(struct worker *w, const struct message *m)
{
    worker_bump(w, &w->counters.resets);
    if (m->refused) {
        err_set(&w->refusal, ERR_USAGE, "the coordinator at %s refused %s: %s", w->control,
                w->name, m->text);
        worker_refuse(w);
    }
    worker_drop(w, m->text[0] ? m->text : "RESET");
}

static enum message_type worker_lease_type(enum wire_role role)
{
    switch (role) {
    case WIRE_ROLE_ACTOR: return MESSAGE_GENERATE_LEASE;
    case WIRE_ROLE_REWARD: return MESSAGE_SCORE_LEASE;
    case WIRE_ROLE_LEARNER: return MESSAGE_TRAIN_LEASE;
    case WIRE_ROLE_NONE: break;
    }
    return MESSAGE_NONE;
}

static void worker_on_lease(struct worker *w, struct message *m)
{
    const uint64_t lease = m->lease;
    if (m->type != worker_lease_type(w->role)) {
        worker_bump(w, &w->counters.protocol_errors);
        worker_say_untried(w, lease, "not a lease for this role");
        return;
    }
    fault_at(FAULT_worker_lease);
    if (mailbox_put_lease(&w->mailbox, m)) {
        worker_bump(w, &w->counters.leases);
        return;
    }
    worker_bump(w, &w->counters.leases_refused);
    worker_say_untried(w, lease,
                       mailbox_is_stopping(&w->mailbox) ? "the worker is stopping"
                                                        : "the worker's inbox is full");
}

static void worker_on_message(void *ctx, struct wire_peer peer, struct message *m)
{
    (void)peer;
    struct worker *w = ctx;
    w->heard_ms = clock_mono_ms();
    if (m->type == MESSAGE_WELCOME || m->type == MESSAGE_RESET) {
        if (m->type == MESSAGE_WELCOME)
            worker_on_welcome(w, m);
        else
            worker_on_reset(w, m);
        return;
    }
    if (w->state != WORKER_READY || m->session != atomic_load(&w->session) ||
        m->epoch != w->epoch) {
        log_debug("WORKER-STALE", "%s: %s of another session", w->name,
                  message_type_name(m->type));
        return;
    }
    switch (m->type) {
    case MESSAGE_HEARTBEAT: break;
    case MESSAGE_ACK:
        mailbox_ack(&w->mailbox, m->ack_seq);
        fault_at(FAULT_worker_result_acked);
        break;
    case MESSAGE_GENERATE_LEASE:
    case MESSAGE_SCORE_LEASE:
    case MESSAGE_TRAIN_LEASE: worker_on_lease(w, m); break;
    case MESSAGE_BYE:
        log_info("RUN-OVER", "%s: the coordinator says: %s", w->name, m->text);
        w->flush_until_ms = clock_mono_ms(); /* nobody will acknowledge what is left */
        worker_stop(w);
        break;
    default:
        worker_bump(w, &w->counters.protocol_errors);
        log_warn("WORKER-PROTOCOL", "%s: the coordinator sent %s", w->name,
                 message_type_name(m->type));
    }
}

static void worker_on_protocol_error(void *ctx, struct wire_peer peer, const struct err *err)
{
    (void)peer;
    struct worker *w = ctx;
    worker_bump(w, &w->counters.protocol_errors);
    log_warn("WORKER-PROTOCOL", "%s: from %s: %s", w->name, w->control, err->text);
}

static void worker_hello(struct worker *w)
{
    struct message m = {
        .type = MESSAGE_HELLO,
        .role = w->role,
        .config_hash = w->config_hash,
        .capacity = w->capacity,
        .pid = (uint64_t)getpid(),
    };
    memcpy(m.name, w->name, sizeof m.name);
    memcpy(m.text, w->bulk, sizeof m.text);
    pthread_mutex_lock(&w->mutex);
    m.version = w->version;
    m.has_hash = w->has_hash;
    m.hash = w->hash;
    pthread_mutex_unlock(&w->mutex);
    const int rc = uv_random(NULL, NULL, m.nonce, sizeof m.nonce, 0, NULL);
    assert(rc == 0); /* getrandom() */
    (void)rc;
    w->epoch = 0;
    w->seq = 0;
    fault_at(FAULT_worker_hello);
    if (worker_say(w, &m)) {
        fault_at(FAULT_worker_hello_said);
        w->hello_sent = true;
        w->since_ms = clock_mono_ms();
    }
}

/* Where is the coordinator now?  A disk that makes this wait holds up no session: there is none.
 * Once found it is looked for without end: it comes back. */
static bool worker_find(struct worker *w)
{
    char control[WIRE_ENDPOINT_MAX];
    struct err err = {0};
    if (w->rendezvous[0] == '\0')
        return true;
    if (rendezvous_read(w->rendezvous, w->job, control, &err) == ERR_OK) {
        if (strcmp(control, w->control) != 0)
            log_info("RENDEZVOUS", "%s: the coordinator of job %s is at %s", w->name, w->job,
                     control);
        strcpy(w->control, control);
        return true;
    }
    if (w->control[0] == '\0' && w->backoff_ms == WORKER_BACKOFF_MS)
        log_info("RENDEZVOUS", "%s looks for the coordinator: %s", w->name, err.text);
    if (w->control[0] == '\0' && clock_mono_ms() >= w->find_until_ms) {
        err_set(&w->refusal, ERR_UNAVAILABLE, "%s finds no coordinator: %.400s", w->name,
                err.text);
        worker_refuse(w);
    }
    worker_drop(w, err.text);
    return false;
}

/* A socket of its own for each session: what an older one still brings can reach nobody. */
static void worker_connect(struct worker *w)
{
    static const struct loop_socket_ops ops = {worker_on_message, worker_on_protocol_error};
    struct err err = {0};
    if (!worker_find(w))
        return;
    struct wire_socket *wire;
    enum err_code rc =
        wire_socket_connect(&wire, w->context, w->control, WIRE_LIMITS_CONTROL, &err);
    if (!rc)
        rc = loop_socket_open(&w->socket, w->loop, wire, &ops, w, &err);
    if (rc) {
        log_error("WORKER-SOCKET", "%s: %s", w->name, err.text);
        w->socket = NULL;
        worker_drop(w, err.text);
        return;
    }
    w->hello_sent = false;
    worker_set_state(w, WORKER_CONNECTING);
    worker_hello(w);
}

static void worker_tick_session(struct worker *w, uint64_t now_ms)
{
    switch (w->state) {
    case WORKER_BACKOFF:
        if (now_ms >= w->retry_ms && !w->refused)
            worker_connect(w);
        break;
    case WORKER_CONNECTING:
        if (!w->hello_sent) {
            worker_hello(w);
        } else if (now_ms - w->since_ms >= WORKER_WELCOME_MS) {
            worker_bump(w, &w->counters.silences);
            log_warn("SESSION-NONE", "%s: no answer to HELLO from %s for %u ms", w->name,
                     w->control, WORKER_WELCOME_MS);
            worker_drop(w, "no answer to HELLO");
        }
        break;
    case WORKER_READY:
        if (now_ms - w->heard_ms >= w->dead_ms) {
            worker_bump(w, &w->counters.silences);
            worker_drop(w, "silence");
            break;
        }
        worker_flush(w);
        if (now_ms - w->said_ms + WORKER_TICK_MS > w->heartbeat_ms) {
            struct message m = {.type = MESSAGE_HEARTBEAT,
                                .progress = atomic_load(&w->progress),
                                .held = atomic_load(&w->held)};
            worker_say(w, &m);
        }
        break;
    case WORKER_STOPPING:
    case WORKER_STOPPED: break;
    }
}

static void worker_on_closed(uv_handle_t *handle)
{
    struct worker *w = handle->data;
    if (--w->handles > 0)
        return;
    worker_set_state(w, WORKER_STOPPED);
    if (w->on_stopped)
        w->on_stopped(w->ctx);
    else
        uv_stop(w->loop);
}

/* Compute has ended, and what could be sent was. */
static void worker_finish(struct worker *w)
{
    pthread_join(w->thread, NULL);
    fault_at(FAULT_worker_bye);
    struct message bye = {.type = MESSAGE_BYE};
    message_set_text(&bye, w->rc ? w->err.text : "told to stop");
    if (w->state == WORKER_READY)
        worker_say(w, &bye);
    loop_socket_close(w->socket, WORKER_LINGER_MS);
    w->socket = NULL;
    atomic_store(&w->session, 0);
    loop_timer_close(w->tick);
    w->tick = NULL;
    worker_set_state(w, WORKER_STOPPING);
    uv_close((uv_handle_t *)&w->wake, worker_on_closed);
    uv_close((uv_handle_t *)&w->stop, worker_on_closed);
}

static void worker_step(struct worker *w)
{
    if (!w->tick) /* finished */
        return;
    const uint64_t now_ms = clock_mono_ms();
    worker_tick_session(w, now_ms);
    if (!atomic_load(&w->compute_ended))
        return;
    if (w->flush_until_ms == 0) {
        mailbox_stop(&w->mailbox, w->refused);
        w->flush_until_ms = now_ms + WORKER_FLUSH_MS;
    }
    if (w->refused || mailbox_is_flushed(&w->mailbox) || now_ms >= w->flush_until_ms)
        worker_finish(w);
}

static void worker_on_tick(void *ctx)
{
    worker_step(ctx);
}

static void worker_on_wake(uv_async_t *wake)
{
    worker_step(wake->data);
}

static void worker_on_stop(uv_async_t *stop)
{
    struct worker *w = stop->data;
    mailbox_stop(&w->mailbox, false);
    worker_step(w);
}

static void *worker_thread(void *ctx)
{
    struct worker *w = ctx;
    w->rc = w->compute(w, w->ctx, &w->err);
    atomic_store(&w->compute_ended, true);
    uv_async_send(&w->wake);
    return NULL;
}

/* Signals are for the loop's thread. */
static int worker_start_thread(struct worker *w)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int rc = pthread_create(&w->thread, NULL, worker_thread, w);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}

static struct worker *worker_new(uv_loop_t *loop, struct wire_context *context,
                                 const struct worker_options *options, worker_compute *compute,
                                 void *ctx, void (*on_stopped)(void *ctx))
{
    struct worker *w = calloc(1, sizeof *w);
    if (!w)
        return NULL;
    w->role = options->role;
    snprintf(w->name, sizeof w->name, "%s", options->name);
    if (options->rendezvous) {
        snprintf(w->rendezvous, sizeof w->rendezvous, "%s", options->rendezvous);
        snprintf(w->job, sizeof w->job, "%s", options->job);
        w->find_until_ms = clock_mono_ms() + options->rendezvous_ms;
    } else {
        snprintf(w->control, sizeof w->control, "%s", options->control_endpoint);
    }
    snprintf(w->bulk, sizeof w->bulk, "%s",
             options->bulk_endpoint ? options->bulk_endpoint : "");
    w->config_hash = options->config_hash;
    w->capacity = options->capacity;
    w->has_hash = options->has_hash;
    w->version = options->version;
    w->hash = options->hash;
    w->loop = loop;
    w->context = context;
    w->compute = compute;
    w->ctx = ctx;
    w->on_stopped = on_stopped;
    w->backoff_ms = WORKER_BACKOFF_MS;
    w->state = WORKER_BACKOFF;
    mailbox_init(&w->mailbox);
    pthread_mutex_init(&w->mutex, NULL);
    return w;
}

static void worker_free(struct worker *w)
{
    mailbox_release(&w->mailbox);
    pthread_mutex_destroy(&w->mutex);
    free(w);
}

static void worker_on_failed_open(uv_handle_t *handle)
{
    struct worker *w = handle->data;
    if (--w->handles == 0)
        worker_free(w);
}

static enum err_code worker_check_options(const struct worker_options *options, struct err *err)
{
    assert(options->role > WIRE_ROLE_NONE && options->role <= WIRE_ROLE_LEARNER);
    assert(options->capacity >= 1 && options->capacity <= WIRE_ITEMS_MAX);
    if (!options->name[0] || strlen(options->name) >= WIRE_NAME_MAX)
        return err_set(err, ERR_USAGE, "a worker's name has 1 to %u bytes, not \"%s\"",
                       WIRE_NAME_MAX - 1, options->name);
    if (options->bulk_endpoint && strlen(options->bulk_endpoint) >= WIRE_TEXT_MAX)
        return err_set(err, ERR_USAGE, "%s: the weights' endpoint has more than %u bytes",
                       options->name, WIRE_TEXT_MAX - 1);
    if (options->rendezvous && strlen(options->rendezvous) >= FILE_PATH_MAX)
        return err_set(err, ERR_USAGE, "%s: the rendezvous' path has more than %u bytes",
                       options->name, FILE_PATH_MAX - 1);
    return options->rendezvous ? rendezvous_job_check(options->job, err) : ERR_OK;
}

/* Is the endpoint one?  A rendezvous' is not known yet. */
static enum err_code worker_check_endpoint(struct wire_context *context,
                                           const struct worker_options *options,
                                           struct err *err)
{
    struct wire_socket *probe;
    if (options->rendezvous)
        return ERR_OK;
    const enum err_code rc = wire_socket_connect(&probe, context, options->control_endpoint,
                                                 WIRE_LIMITS_CONTROL, err);
    if (rc == ERR_OK)
        wire_socket_close(probe, 0);
    return rc;
}

enum err_code worker_open(struct worker **out, uv_loop_t *loop, struct wire_context *context,
                          const struct worker_options *options, worker_compute *compute,
                          void *ctx, void (*on_stopped)(void *ctx), struct err *err)
{
    enum err_code rc = worker_check_options(options, err);
    if (rc == ERR_OK)
        rc = worker_check_endpoint(context, options, err);
    if (rc)
        return rc;

    struct worker *w = worker_new(loop, context, options, compute, ctx, on_stopped);
    if (!w)
        return err_set(err, ERR_NOMEM, "no memory for a worker");
    const int status = uv_async_init(loop, &w->wake, worker_on_wake);
    if (status != 0) {
        worker_free(w);
        return err_set(err, ERR_IO, "cannot watch a worker: %s", uv_strerror(status));
    }
    uv_async_init(loop, &w->stop, worker_on_stop); /* the loop's eventfd exists: cannot fail */
    w->wake.data = w->stop.data = w;
    w->handles = 2;
    rc = loop_timer_open(&w->tick, loop, 0, WORKER_TICK_MS, worker_on_tick, w, err);
    if (!rc && worker_start_thread(w) != 0)
        rc = err_set(err, ERR_IO, "cannot start the compute thread of %s", w->name);
    if (rc) {
        loop_timer_close(w->tick);
        uv_close((uv_handle_t *)&w->wake, worker_on_failed_open);
        uv_close((uv_handle_t *)&w->stop, worker_on_failed_open);
        return rc;
    }
    *out = w;
    return ERR_OK;
}

enum err_code worker_close(struct worker *worker, struct err *err)
{
    assert(worker->state == WORKER_STOPPED);
    const struct err why = worker->refused ? worker->refusal : worker->err;
    const enum err_code rc = worker->refused ? why.code : worker->rc;
    worker_free(worker);
    return rc ? err_set(err, rc, "%s", why.text) : ERR_OK;
}

static void worker_on_signal(void *ctx, int number)
{
    struct worker *const *worker = ctx; /* opened before the loop ran */
    if (number == SIGUSR1)
        return; /* for the coordinator: sent to all of a job, it is to end nobody */
    log_info("WORKER-SIGNAL", "%s: stopping", number == SIGTERM ? "SIGTERM" : "SIGINT");
    worker_stop(*worker);
}

enum err_code worker_run(struct wire_context *context, const struct worker_options *options,
                         worker_compute *compute, void *ctx, struct err *err)
{
    uv_loop_t loop;
    const int status = uv_loop_init(&loop);
    if (status != 0)
        return err_set(err, ERR_IO, "no event loop: %s", uv_strerror(status));
    struct worker *worker;
    struct loop_signals *signals = NULL;
    enum err_code rc = loop_signals_open(&signals, &loop, worker_on_signal, &worker, err);
    if (!rc)
        rc = worker_open(&worker, &loop, context, options, compute, ctx, NULL, err);
    if (!rc) {
        loop_run(&loop);
        rc = worker_close(worker, err);
    }
    loop_signals_close(signals);
    loop_release(&loop);
    return rc;
}

void worker_stop(struct worker *worker)
{
    uv_async_send(&worker->stop);
}

bool worker_wait_lease(struct worker *worker, struct message *lease, int64_t timeout_ms)
{
    return mailbox_take_lease(&worker->mailbox, lease, timeout_ms);
}

bool worker_poll_lease(struct worker *worker, struct message *lease)
{
    return mailbox_take_lease(&worker->mailbox, lease, 0);
}

bool worker_has_lease(struct worker *w)
{
    return mailbox_has_lease(&w->mailbox);
}

enum err_code worker_send(struct worker *worker, const struct message *result, struct err *err)
{
    assert(result->type == MESSAGE_GENERATE_RESULT || result->type == MESSAGE_SCORE_RESULT ||
           result->type == MESSAGE_TRAIN_RESULT || result->type == MESSAGE_LEASE_FAILED);
    fault_at(FAULT_worker_result);
    struct wire_packet *packet;
    enum err_code rc = wire_packet_new(&packet, result, err);
    if (!rc)
        rc = mailbox_put_result(&worker->mailbox, packet, result->type != MESSAGE_LEASE_FAILED,
                                err);
    fault_at(FAULT_worker_result_queued);
    if (!rc)
        uv_async_send(&worker->wake);
    return rc;
}

enum err_code worker_send_failed(struct worker *worker, const struct message *lease,
                                 const char *reason, struct err *err)
{
    struct message m = {.type = MESSAGE_LEASE_FAILED, .lease = lease->lease};
    message_set_text(&m, reason);
    return worker_send(worker, &m, err);
}

enum err_code worker_send_untried(struct worker *worker, const struct message *lease,
                                  const char *reason, struct err *err)
{
    struct message m = {.type = MESSAGE_LEASE_FAILED, .lease = lease->lease, .untried = true};
    message_set_text(&m, reason);
    return worker_send(worker, &m, err);
}

void worker_progress(struct worker *worker)
{
    atomic_fetch_add_explicit(&worker->progress, 1, memory_order_relaxed);
}

void worker_set_held(struct worker *worker, uint32_t items)
{
    atomic_store(&worker->held, items);
}

void worker_set_weights(struct worker *worker, uint64_t version, const struct hash *hash)
{
    pthread_mutex_lock(&worker->mutex);
    worker->has_hash = true;
    worker->version = version;
    worker->hash = *hash;
    pthread_mutex_unlock(&worker->mutex);
}

bool worker_stopping(struct worker *worker)
{
    return mailbox_is_stopping(&worker->mailbox);
}

uint64_t worker_session(struct worker *worker)
{
    return atomic_load(&worker->session);
}

void worker_count(struct worker *worker, struct worker_counters *out)
{
    pthread_mutex_lock(&worker->mutex);
    *out = worker->counters;
    out->state = worker->state;
    pthread_mutex_unlock(&worker->mutex);
    if (out->state != WORKER_STOPPED && mailbox_is_stopping(&worker->mailbox))
        out->state = WORKER_STOPPING;
    mailbox_count(&worker->mailbox, out);
}

/* worker.c -- opening, stopping, and what compute calls: see worker.h. */
#include <assert.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "node/worker_state.h"

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

static void worker_on_closed(uv_handle_t *handle)
{
    struct worker *w = handle->data;
    if (--w->handles > 0)
        return;
    worker_session_enter(w, WORKER_STOPPED);
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
    worker_session_end(w, w->rc ? w->err.text : "told to stop");
    loop_timer_close(w->tick);
    w->tick = NULL;
    worker_session_enter(w, WORKER_STOPPING);
    uv_close((uv_handle_t *)&w->wake, worker_on_closed);
    uv_close((uv_handle_t *)&w->stop, worker_on_closed);
}

static void worker_step(struct worker *w)
{
    if (!w->tick) /* finished */
        return;
    const uint64_t now_ms = clock_mono_ms();
    worker_session_tick(w, now_ms);
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
    w->server = options->server;
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

void worker_note_fetch(struct worker *worker, const struct weights_view *view, size_t size,
                       bool is_whole)
{
    pthread_mutex_lock(&worker->mutex);
    weights_tally_note(&worker->tally, view, size, is_whole);
    pthread_mutex_unlock(&worker->mutex);
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

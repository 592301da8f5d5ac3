/* session.c -- see session.h. */
#include "bench/session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/bench.h"

#define SESSION_NOW_MS      1000000u
#define SESSION_ALIGN       16u
#define SESSION_ROUND_UP(n) (((n) + SESSION_ALIGN - 1) / SESSION_ALIGN * SESSION_ALIGN)

/* ---- what the core says ---- */

/* A copy, with what it points to behind one another in one piece of memory. */
static void session_lease(struct worker *worker, const struct message *lease)
{
    size_t bytes = lease->items_n * sizeof *lease->items;
    for (uint32_t f = 0; f < lease->frames_n; f++)
        bytes += SESSION_ROUND_UP(lease->frame[f].size);
    unsigned char *memory = malloc(bytes + SESSION_ALIGN);
    if (!memory || worker->n == SESSION_LEASES_MAX)
        bench_stop("session", "out of memory, or too many leases");
    struct message *copy = &worker->inbox[worker->n];
    worker->memory[worker->n++] = memory;
    *copy = *lease;
    copy->owned = NULL;
    for (uint32_t f = 0; f < lease->frames_n; f++) {
        memcpy(memory, lease->frame[f].data, lease->frame[f].size);
        copy->frame[f].data = memory;
        memory += SESSION_ROUND_UP(lease->frame[f].size);
    }
    copy->items = memcpy(memory, lease->items, lease->items_n * sizeof *lease->items);
}

/* Those that were taken are worked off. */
static void session_forget(struct worker *worker)
{
    for (size_t i = 0; i < worker->n; i++)
        free(worker->memory[i]);
    worker->first = worker->n = 0;
}

static void session_deliver(struct worker *worker, const struct message *message)
{
    switch (message->type) {
    case MESSAGE_WELCOME:
        worker->number = message->session;
        worker->epoch = message->epoch;
        break;
    case MESSAGE_GENERATE_LEASE:
    case MESSAGE_SCORE_LEASE:
    case MESSAGE_TRAIN_LEASE: session_lease(worker, message); break;
    case MESSAGE_RESET: bench_stop("session", message->text);
    default: break;
    }
}

static void session_sink(void *user, const struct core_effect *effect)
{
    struct session *session = user;
    switch (effect->kind) {
    case CORE_FX_SEND:
        session_deliver(&session->workers[effect->peer - 1], effect->message);
        break;
    case CORE_FX_APPEND: session->appended = effect->record->seq; break;
    case CORE_FX_STEP_DONE: session->steps++; break;
    case CORE_FX_FINISHED: bench_stop("session", effect->text);
    case CORE_FX_LOG:
        if (effect->level >= LOG_LEVEL_WARN)
            fprintf(stderr, "rlhf-bench: %s %s\n", effect->id, effect->text);
        break;
    case CORE_FX_KICK:
    case CORE_FX_RECALL: break;
    }
}

static void session_durable(struct session *session)
{
    while (session->durable < session->appended) {
        const struct core_event durable = {.kind = CORE_EV_DURABLE,
                                           .now_ms = SESSION_NOW_MS,
                                           .seq = session->durable = session->appended};
        core_step(session->core, &durable);
    }
}

static void session_event(struct session *session, uint64_t peer, const struct message *message)
{
    const struct core_event event = {.kind = CORE_EV_MESSAGE,
                                     .now_ms = SESSION_NOW_MS,
                                     .entropy = peer * 0x9e3779b97f4a7c15u,
                                     .peer = peer,
                                     .message = message};
    core_step(session->core, &event);
    session_durable(session);
}

static void session_send(struct worker *worker, struct message *message)
{
    message->session = worker->number;
    message->epoch = worker->epoch;
    message->seq = ++worker->seq;
    session_event(worker->session, worker->peer, message);
}

/* ---- open, greet, work ---- */

void session_open(struct session *session, const struct run_config *config,
                  const struct core_prompts *prompts)
{
    struct core_setup setup = {.config = config, .prompts = *prompts};
    const struct core_event start = {.kind = CORE_EV_TICK, .now_ms = SESSION_NOW_MS};
    struct err err = {0};
    *session = (struct session){0};
    for (size_t i = 0; i < SESSION_ROLES; i++) {
        session->workers[i].session = session;
        session->workers[i].peer = i + 1;
    }
    run_config_hash(config, &setup.config_hash);
    bench_check("session", core_new(&session->core, &setup, session_sink, session, &err), &err);
    core_start(session->core, &start);
    session_durable(session);
}

void session_close(struct session *session)
{
    for (size_t i = 0; i < SESSION_ROLES; i++)
        session_forget(&session->workers[i]);
    core_free(session->core);
}

void session_greet(struct session *session, enum session_role role, struct message *hello)
{
    struct worker *worker = &session->workers[role];
    hello->type = MESSAGE_HELLO;
    hello->pid = 1;
    hello->nonce[0] = (unsigned char)(1 + role);
    snprintf(hello->name, sizeof hello->name, "%s-0", wire_role_name(hello->role));
    session_send(worker, hello);
    if (worker->number == 0)
        bench_stop("session", "a worker is not welcome");
}

void session_work(struct session *session, enum session_role role, worker_compute *compute,
                  void *ctx)
{
    struct err err = {0};
    struct worker *worker = &session->workers[role];
    worker->ended = false;
    bench_check("session", compute(worker, ctx, &err), &err);
    session_forget(worker);
}

/* ---- node/worker.h ---- */

bool worker_wait_lease(struct worker *worker, struct message *lease, int64_t timeout_ms)
{
    if (worker->first == worker->n) { /* what is not there does not come while this waits */
        worker->ended = timeout_ms == WORKER_FOREVER;
        return false;
    }
    *lease = worker->inbox[worker->first++];
    return true;
}

bool worker_poll_lease(struct worker *worker, struct message *lease)
{
    return worker_wait_lease(worker, lease, 0);
}

bool worker_has_lease(struct worker *worker)
{
    return worker->first < worker->n;
}

enum err_code worker_send(struct worker *worker, const struct message *result, struct err *err)
{
    (void)err;
    struct message message = *result;
    session_send(worker, &message);
    return ERR_OK;
}

enum err_code worker_send_failed(struct worker *worker, const struct message *lease,
                                 const char *reason, struct err *err)
{
    (void)worker;
    (void)lease;
    (void)err;
    bench_stop("session", reason);
}

enum err_code worker_send_untried(struct worker *worker, const struct message *lease,
                                  const char *reason, struct err *err)
{
    return worker_send_failed(worker, lease, reason, err);
}

void worker_progress(struct worker *worker)
{
    (void)worker;
}

void worker_set_held(struct worker *worker, uint32_t items)
{
    (void)worker;
    (void)items;
}

void worker_note_fetch(struct worker *worker, const struct weights_view *view, size_t size,
                       bool is_whole)
{
    (void)worker;
    (void)view;
    (void)size;
    (void)is_whole;
}

void worker_set_weights(struct worker *worker, uint64_t version, const struct hash *hash)
{
    (void)worker;
    (void)version;
    (void)hash;
}

bool worker_stopping(struct worker *worker)
{
    return worker->ended;
}

uint64_t worker_session(struct worker *worker)
{
    return worker->number;
}

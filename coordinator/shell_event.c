/* shell_event.c -- see shell.h: what happens becomes an event of the core. */
#include "coordinator/shell_state.h"

#include <signal.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"

struct core_event shell_event(enum core_event_kind kind)
{
    struct core_event event = {
        .kind = kind,
        .now_ms = clock_mono_ms(),
        .wall_ms = (uint64_t)clock_wall_ms(),
    };
    return event;
}

/* What a session's number is made of. */
static uint64_t shell_entropy(const struct core_event *event)
{
    uint64_t entropy;
    if (uv_random(NULL, NULL, &entropy, sizeof entropy, 0, NULL) != 0)
        entropy = event->now_ms ^ event->wall_ms << 20; /* sessions need only be unlike */
    return entropy;
}

static enum err_code shell_recall_record(void *ctx, const struct record *record,
                                         struct err *err)
{
    struct shell *shell = ctx;
    (void)err;
    struct core_event event = shell_event(CORE_EV_RECORD);
    event.record = record;
    if (!shell->ended)
        core_step(shell->core, &event);
    return ERR_OK;
}

/* A step's records, by a connection of its own beside the writing thread's.  In the loop: it is
 * some milliseconds, and as seldom as a learner that lost checkpoints. */
static void shell_recall(struct shell *shell)
{
    struct ledger *ledger;
    struct err err;
    shell->recall = false;
    enum err_code rc = ledger_open_read(&ledger, shell->config->dir, &err);
    if (rc == ERR_OK) {
        rc = ledger_each_of_step(ledger, shell->recall_step, shell_recall_record, shell, &err);
        ledger_close(ledger, NULL);
    }
    if (rc != ERR_OK)
        shell_fail(shell, &err);
}

void shell_step(struct shell *shell, struct core_event event)
{
    if (shell->ended)
        return;
    if (shell->turn_us == 0)
        shell->turn_us = clock_thread_us();
    core_step(shell->core, &event);
    while ((shell->gone_n > 0 || shell->recall) && !shell->ended) {
        if (shell->recall) {
            shell_recall(shell);
            continue;
        }
        event = shell_event(CORE_EV_PEER_GONE);
        event.peer = shell->gone[--shell->gone_n];
        core_step(shell->core, &event);
    }
}

/* Before the loop sleeps: one commit, and one look at the clock, for all that came together. */
void shell_on_turn(uv_prepare_t *turn)
{
    struct shell *shell = turn->data;
    if (shell->turn_us == 0)
        return;
    ledger_flush(shell->ledger);
    status_spent(shell->status, clock_thread_us() - shell->turn_us);
    shell->turn_us = 0;
}

/* The points where a message of this type came. */
static void shell_fault_came(enum message_type type)
{
    switch (type) {
    case MESSAGE_HELLO: fault_at(FAULT_coordinator_hello); break;
    case MESSAGE_GENERATE_RESULT: fault_at(FAULT_coordinator_generated); break;
    case MESSAGE_SCORE_RESULT: fault_at(FAULT_coordinator_scored); break;
    case MESSAGE_TRAIN_RESULT: fault_at(FAULT_coordinator_trained); break;
    default: break;
    }
}

static void shell_on_message(void *ctx, struct wire_peer peer, struct message *message)
{
    shell_fault_came(message->type);
    struct core_event event = shell_event(CORE_EV_MESSAGE);
    event.peer = peer.id;
    event.message = message;
    if (message->type == MESSAGE_HELLO)
        event.entropy = shell_entropy(&event);
    if (peer.id != 0)
        shell_step(ctx, event);
}

static void shell_on_bad(void *ctx, struct wire_peer peer, const struct err *err)
{
    struct core_event event = shell_event(CORE_EV_BAD_MESSAGE);
    event.peer = peer.id;
    event.text = err->text;
    if (peer.id != 0)
        shell_step(ctx, event);
    else
        log_warn("BAD-MESSAGE", "from a peer that cannot be answered: %s", err->text);
}

void shell_on_tick(void *ctx)
{
    shell_step(ctx, shell_event(CORE_EV_TICK));
}

void shell_on_signal(void *ctx, int signal)
{
    struct shell *shell = ctx;
    const bool drains = signal == SIGUSR1;
    shell->drains = shell->drains || drains;
    log_info("SIGNAL", "signal %d: %s", signal,
             drains ? "to end with the next checkpoint" : "stopping");
    shell_step(shell, shell_event(drains ? CORE_EV_DRAIN : CORE_EV_STOP));
}

/* In the ledger's thread. */
void shell_on_durable(void *ctx, uint64_t seq)
{
    struct shell *shell = ctx;
    pthread_mutex_lock(&shell->mutex);
    shell->durable_seq = seq;
    pthread_mutex_unlock(&shell->mutex);
    uv_async_send(&shell->wake);
}

void shell_on_ledger_failed(void *ctx, const struct err *err)
{
    struct shell *shell = ctx;
    pthread_mutex_lock(&shell->mutex);
    shell->ledger_failed = true;
    shell->ledger_err = *err;
    pthread_mutex_unlock(&shell->mutex);
    uv_async_send(&shell->wake);
}

/* Workers are read from when the epoch is durable, for the core hears nobody before; what they
 * said meanwhile waits in the socket.  Else they would be answered when they ask again. */
static void shell_listen(struct shell *shell)
{
    static const struct loop_socket_ops ops = {.on_message = shell_on_message,
                                               .on_protocol_error = shell_on_bad};
    struct err err;
    if (loop_socket_open(&shell->socket, &shell->loop, shell->wire, &ops, shell, &err) ==
        ERR_OK)
        return;
    shell->wire = NULL; /* loop_socket_open has closed it */
    shell_fail(shell, &err);
}

void shell_on_wake(uv_async_t *wake)
{
    struct shell *shell = wake->data;
    pthread_mutex_lock(&shell->mutex);
    struct core_event event = shell_event(CORE_EV_DURABLE);
    event.seq = shell->durable_seq;
    const bool failed = shell->ledger_failed;
    const struct err err = shell->ledger_err;
    pthread_mutex_unlock(&shell->mutex);
    if (failed)
        shell_fail(shell, &err);
    else
        shell_step(shell, event);
    if (!shell->socket && event.seq > 0 && !shell->ended)
        shell_listen(shell);
}

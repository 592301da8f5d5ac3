/* shell.c -- see shell.h. */
#include "coordinator/shell.h"

#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/log.h"
#include "coordinator/core.h"
#include "coordinator/ledger.h"
#include "coordinator/prompts.h"
#include "coordinator/status.h"
#include "node/daemon.h"
#include "node/http.h"
#include "node/loop.h"
#include "node/rendezvous.h"
#include "wire/socket.h"

#define SHELL_LINGER_MS 2000 /* at the end: for the last messages to go out */
#define SHELL_GONE_MAX  64   /* peers found gone during one step */
#define SHELL_FILES     192  /* of its own, for HTTP, and of workers that are to be refused */

struct shell {
    const struct run_config *config;
    struct prompts prompts;
    struct ledger *ledger;
    struct core *core;
    struct status *status;
    struct core_stats stats; /* for whoever asks; too large for a stack */
    int progress_fd;         /* -1: none held */

    uv_loop_t loop;
    bool has_loop;
    struct wire_context *context;
    struct wire_socket *wire;   /* bound; nobody reads it while `socket` is NULL */
    struct loop_socket *socket; /* owns it, from when the core has begun */
    struct loop_timer *tick;
    struct loop_signals *signals;
    struct http *http;
    char token[HTTP_TOKEN_MAX]; /* of POST; "": none */
    uv_async_t wake;            /* the ledger's thread has something to say */
    uv_prepare_t turn;          /* the loop has nothing more to do now */
    bool has_wake;
    uint64_t turn_us; /* processor time when the core had its first event of it; 0: had none */

    pthread_mutex_t mutex; /* over the next three, which the ledger's thread writes */
    uint64_t durable_seq;
    bool ledger_failed;
    struct err ledger_err;

    uint64_t gone[SHELL_GONE_MAX]; /* peers that a send found gone; the core is told after */
    size_t gone_n;
    bool recall; /* the core asks for the records of recall_step; it is given them after */
    uint64_t recall_step;
    bool drains; /* SIGUSR1 came */
    bool ended; /* the core has finished, or the shell failed */
    int exit_code;
    enum err_code rc;
    struct err err;
};

/* The shell itself cannot go on. */
static void shell_fail(struct shell *shell, const struct err *err)
{
    if (shell->rc == ERR_OK) {
        shell->rc = err->code;
        shell->err = *err;
    }
    shell->ended = true;
    uv_stop(&shell->loop);
}

/* --- effects ------------------------------------------------------------------------------ */

/* The points before and after a message of this type is sent, and when one came. */
static void shell_fault_sending(enum message_type type)
{
    switch (type) {
    case MESSAGE_WELCOME: fault_at(FAULT_coordinator_welcome); break;
    case MESSAGE_ACK: fault_at(FAULT_coordinator_ack); break;
    case MESSAGE_GENERATE_LEASE: fault_at(FAULT_coordinator_lease_generate); break;
    case MESSAGE_SCORE_LEASE: fault_at(FAULT_coordinator_lease_score); break;
    case MESSAGE_TRAIN_LEASE: fault_at(FAULT_coordinator_lease_train); break;
    default: break;
    }
}

static void shell_fault_sent(enum message_type type)
{
    switch (type) {
    case MESSAGE_WELCOME: fault_at(FAULT_coordinator_welcomed); break;
    case MESSAGE_ACK: fault_at(FAULT_coordinator_acked); break;
    case MESSAGE_TRAIN_LEASE: fault_at(FAULT_coordinator_leased_train); break;
    default: break;
    }
}

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

static void shell_send(struct shell *shell, uint64_t peer, const struct message *message)
{
    struct err err = {0};
    shell_fault_sending(message->type);
    const enum wire_send sent =
        wire_socket_send(shell->wire, (struct wire_peer){peer}, message, &err);
    shell_fault_sent(message->type);
    if (sent == WIRE_SEND_OK)
        return;
    log_warn("SEND", "%s not sent: %s%s%s", message_type_name(message->type),
             wire_send_name(sent), err.text[0] ? ": " : "", err.text);
    /* A peer that does not read is as good as gone: its work is given to others. */
    if (shell->gone_n < SHELL_GONE_MAX)
        shell->gone[shell->gone_n++] = peer;
}

static void shell_step_done(struct shell *shell, const struct record_step *step)
{
    struct buf line;
    struct err err;
    fault_at(FAULT_coordinator_step_done);
    buf_init(&line, 1 << 20);
    status_progress(shell->status, step, &line);
    log_info("STEP", "step %llu of %llu: reward %.4f (raw %.4f), kl %.4f, beta %.5f, %u slots",
             (unsigned long long)step->step + 1, (unsigned long long)shell->config->steps,
             step->reward_shaped_mean, step->reward_raw_mean, step->kl_mean,
             step->kl_coef_before, (unsigned)step->trained);
    if (step->worst_group > 0)
        log_info("GROUP",
                 "step %llu: trained on \"%s\", of whose group the mean is least: %.4f",
                 (unsigned long long)step->step + 1,
                 shell->config->scorer[step->worst_group - 1].name, step->reward_raw_mean);
    if (!isnan(step->cost_raw_mean))
        log_info("COST", "step %llu: cost %.4f, limit %.4f, lambda %.5f then %.5f",
                 (unsigned long long)step->step + 1, step->cost_raw_mean, step->cost_limit,
                 step->multiplier_before, step->multiplier_after);
    if (file_write_all(shell->progress_fd, line.data, line.len, "progress.jsonl", &err) !=
        ERR_OK)
        log_warn("PROGRESS", "%s", err.text);
    buf_release(&line);
    fault_at(FAULT_coordinator_step_told);
}

static void shell_sink(void *user, const struct core_effect *effect)
{
    struct shell *shell = user;
    struct err err;
    switch (effect->kind) {
    case CORE_FX_SEND: shell_send(shell, effect->peer, effect->message); break;
    case CORE_FX_APPEND:
        if (ledger_append(shell->ledger, effect->record, &err) != ERR_OK)
            shell_fail(shell, &err);
        break;
    case CORE_FX_LOG: log_line(effect->level, effect->id, "%s", effect->text); break;
    case CORE_FX_STEP_DONE: shell_step_done(shell, effect->step); break;
    case CORE_FX_KICK:
        log_warn("KICK", "a connection that keeps sending what is no message is cut");
        wire_socket_kick(shell->wire, (struct wire_peer){effect->peer});
        break;
    case CORE_FX_RECALL:
        shell->recall = true;
        shell->recall_step = effect->recall_step;
        break;
    case CORE_FX_FINISHED:
        fault_at(FAULT_coordinator_finished);
        /* Told by a signal, mostly by what starts it again: to that the run is not over. */
        shell->exit_code = shell->drains && effect->exit_code == 0 && !effect->complete
                               ? CORE_EXIT_STOPPED
                               : effect->exit_code;
        shell->ended = true;
        log_line(effect->exit_code == CORE_EXIT_HALT ? LOG_LEVEL_ERROR : LOG_LEVEL_INFO,
                 "FINISHED", "%s", effect->text);
        uv_stop(&shell->loop);
        break;
    }
}

/* --- events ------------------------------------------------------------------------------- */

static struct core_event shell_event(enum core_event_kind kind)
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

static void shell_step(struct shell *shell, struct core_event event)
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
static void shell_on_turn(uv_prepare_t *turn)
{
    struct shell *shell = turn->data;
    if (shell->turn_us == 0)
        return;
    ledger_flush(shell->ledger);
    status_spent(shell->status, clock_thread_us() - shell->turn_us);
    shell->turn_us = 0;
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

static void shell_on_tick(void *ctx)
{
    shell_step(ctx, shell_event(CORE_EV_TICK));
}

static void shell_on_signal(void *ctx, int signal)
{
    struct shell *shell = ctx;
    const bool drains = signal == SIGUSR1;
    shell->drains = shell->drains || drains;
    log_info("SIGNAL", "signal %d: %s", signal,
             drains ? "to end with the next checkpoint" : "stopping");
    shell_step(shell, shell_event(drains ? CORE_EV_DRAIN : CORE_EV_STOP));
}

/* In the ledger's thread. */
static void shell_on_durable(void *ctx, uint64_t seq)
{
    struct shell *shell = ctx;
    pthread_mutex_lock(&shell->mutex);
    shell->durable_seq = seq;
    pthread_mutex_unlock(&shell->mutex);
    uv_async_send(&shell->wake);
}

static void shell_on_ledger_failed(void *ctx, const struct err *err)
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

static void shell_on_wake(uv_async_t *wake)
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

static void shell_on_http(void *arg, const char *path, struct http_reply *reply)
{
    struct shell *shell = arg;
    core_stats(shell->core, &shell->stats);
    if (strcmp(path, "/metrics") == 0) {
        reply->content_type = "text/plain; version=0.0.4; charset=utf-8";
        uint64_t refused[WIRE_REFUSED];
        wire_context_refused(shell->context, refused);
        status_refused(shell->status, refused);
        status_metrics(shell->status, &shell->stats, reply->body);
    } else if (strcmp(path, "/api/v1/status") == 0) {
        reply->content_type = "application/json";
        status_json(shell->status, &shell->stats, reply->body);
    } else if (strcmp(path, "/healthz") == 0) {
        const bool ok =
            status_health(shell->status, &shell->stats, clock_mono_ms(), reply->body);
        reply->status = ok ? 200 : 503;
    } else if (strcmp(path, "/readyz") == 0) {
        reply->status = status_ready(&shell->stats) ? 200 : 503;
        status_ready_text(&shell->stats, reply->body);
    } else {
        reply->status = 404;
        buf_puts(reply->body, "try /metrics, /healthz, /readyz or /api/v1/status\n");
    }
}

/* POST: a person asks.  What is done is told; that it is durable, /api/v1/status tells. */
static void shell_on_post(void *arg, const char *path, struct http_reply *reply)
{
    static const struct {
        const char *path;
        enum core_event_kind kind;
    } asked[] = {{"/api/v1/pause", CORE_EV_PAUSE},
                 {"/api/v1/resume", CORE_EV_RESUME},
                 {"/api/v1/checkpoint", CORE_EV_CHECKPOINT},
                 {"/api/v1/drain", CORE_EV_DRAIN}};
    struct shell *shell = arg;
    for (size_t i = 0; i < sizeof asked / sizeof asked[0]; i++)
        if (strcmp(path, asked[i].path) == 0) {
            log_info("ASKED", "POST %s", path);
            shell_step(shell, shell_event(asked[i].kind));
            core_stats(shell->core, &shell->stats);
            reply->content_type = "application/json";
            status_json(shell->status, &shell->stats, reply->body);
            return;
        }
    reply->status = 404;
    buf_puts(reply->body, "try POST to /api/v1/pause, resume, checkpoint or drain\n");
}

/* --- the beginning ------------------------------------------------------------------------ */

static enum err_code shell_replay_record(void *ctx, const struct record *record,
                                         struct err *err)
{
    return core_replay(ctx, record, err);
}

/* How many workers there are files for. */
static uint32_t shell_peers_max(uint64_t files_max)
{
    const uint64_t room = files_max > SHELL_FILES ? files_max - SHELL_FILES : 1;
    if (room >= CORE_PEERS_MAX)
        return CORE_PEERS_MAX;
    log_warn("FILES",
             "this process may have %llu files open: %llu workers can connect, of %u; raise "
             "the hard limit (ulimit -Hn, LimitNOFILE=)",
             (unsigned long long)files_max, (unsigned long long)room, (unsigned)CORE_PEERS_MAX);
    return (uint32_t)room;
}

static enum err_code shell_open_core(struct shell *shell, uint64_t files_max, struct err *err)
{
    struct core_setup setup = {.config = shell->config,
                               .peers_max = shell_peers_max(files_max)};
    struct ledger_summary summary;
    run_config_hash(shell->config, &setup.config_hash);
    enum err_code rc = ledger_open(&shell->ledger, shell->config->dir, &setup.config_hash, err);
    if (rc == ERR_OK)
        rc = prompts_load(&shell->prompts, shell->config, err);
    if (rc == ERR_OK)
        rc = prompts_answers(shell->config, &setup.tokens, err);
    if (rc != ERR_OK)
        return rc;
    setup.prompts = prompts_view(&shell->prompts);
    rc = core_new(&shell->core, &setup, shell_sink, shell, err);
    if (rc == ERR_OK)
        rc = ledger_summarise(shell->ledger, &summary, err);
    if (rc == ERR_OK && summary.records > 0) {
        rc = core_replay_begin(shell->core, summary.checkpoint_version, err);
        if (rc == ERR_OK)
            rc = ledger_each(shell->ledger, summary.checkpoint_version, shell_replay_record,
                             shell->core, err);
    }
    fault_at(FAULT_coordinator_replayed);
    return rc;
}

/* For whoever reads the run's directory: report, gate, a worker started from it.  The ledger has
 * accepted it as this run's; what differs from the file that is there is free to change. */
static enum err_code shell_write_config(const struct shell *shell, struct err *err)
{
    char path[FILE_PATH_MAX];
    struct buf text, before;
    buf_init(&text, 1 << 20);
    buf_init(&before, 1 << 20);
    run_config_write(shell->config, &text);
    enum err_code rc = buf_check(&text, "the resolved config", err);
    if (rc == ERR_OK)
        rc = file_join(path, shell->config->dir, "config.yaml", err);
    if (rc == ERR_OK &&
        (file_read(path, &before, NULL) != ERR_OK || before.len != text.len ||
         memcmp(before.data, text.data, text.len) != 0))
        rc = file_write(path, text.data, text.len, err);
    buf_release(&text);
    buf_release(&before);
    return rc;
}

static enum err_code shell_open_progress(struct shell *shell, struct err *err)
{
    char path[FILE_PATH_MAX];
    const enum err_code rc = file_join(path, shell->config->dir, "progress.jsonl", err);
    if (rc != ERR_OK)
        return rc;
    shell->progress_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (shell->progress_fd < 0)
        return err_errno(err, "open %s", path);
    return ERR_OK;
}

static enum err_code shell_open_http(struct shell *shell, const char *listen, struct err *err)
{
    char path[FILE_PATH_MAX], text[RUN_NAME_MAX + 16];
    if (listen[0] == '\0')
        return ERR_OK;
    enum err_code rc = file_join(path, shell->config->dir, "http", err);
    if (rc == ERR_OK && shell->config->token_file[0] != '\0')
        rc = http_token_read(shell->config->token_file, shell->token, err);
    if (rc != ERR_OK)
        return rc;
    shell->http = http_open(&shell->loop, listen, shell_on_http, shell, err);
    if (!shell->http)
        return err->code;
    http_accept_posts(shell->http, shell->token, shell_on_post);
    const char *colon = strrchr(listen, ':');
    snprintf(text, sizeof text, "%.*s:%u\n", colon ? (int)(colon - listen) : 0, listen,
             (unsigned)http_port(shell->http));
    log_info("HTTP", "http://%.*s", (int)strcspn(text, "\n"), text);
    return file_write(path, text, strlen(text), err);
}

static enum err_code shell_open_loop(struct shell *shell, const struct shell_options *options,
                                     struct err *err)
{
    if (uv_loop_init(&shell->loop) != 0)
        return err_set(err, ERR_IO, "the event loop cannot start");
    shell->has_loop = true;
    if (uv_async_init(&shell->loop, &shell->wake, shell_on_wake) != 0)
        return err_set(err, ERR_IO, "the event loop cannot start");
    uv_prepare_init(&shell->loop, &shell->turn); /* neither of these can fail */
    uv_prepare_start(&shell->turn, shell_on_turn);
    shell->has_wake = true;
    shell->wake.data = shell->turn.data = shell;

    enum err_code rc =
        daemon_context(&shell->context, shell->config, options->name, options->control, err);
    if (rc == ERR_OK)
        rc = wire_socket_bind(&shell->wire, shell->context, options->control,
                              WIRE_LIMITS_CONTROL, err);
    if (rc == ERR_OK)
        rc = loop_signals_open(&shell->signals, &shell->loop, shell_on_signal, shell, err);
    if (rc == ERR_OK)
        rc = shell_open_http(shell, options->http, err);
    if (rc == ERR_OK && options->rendezvous)
        rc = rendezvous_write(options->rendezvous, options->job,
                              wire_socket_endpoint(shell->wire), err);
    return rc;
}

static enum err_code shell_begin(struct shell *shell, struct err *err)
{
    const struct ledger_ops ops = {
        .durable = shell_on_durable, .failed = shell_on_ledger_failed, .ctx = shell};
    uint64_t tick_ms = shell->config->heartbeat_ms / 4;
    tick_ms = tick_ms < 5 ? 5 : tick_ms > 250 ? 250 : tick_ms;
    enum err_code rc = loop_timer_open(&shell->tick, &shell->loop, tick_ms, tick_ms,
                                       shell_on_tick, shell, err);
    if (rc == ERR_OK)
        rc = ledger_start(shell->ledger, &ops, err);
    if (rc != ERR_OK)
        return rc;
    const struct core_event event = shell_event(CORE_EV_TICK);
    core_start(shell->core, &event);
    ledger_flush(shell->ledger);
    fault_at(FAULT_coordinator_started);
    return shell->rc;
}

/* --- the end ------------------------------------------------------------------------------ */

/* The port may be another's soon: RUN/http is not to lead there. */
static void shell_close_http(struct shell *shell)
{
    char path[FILE_PATH_MAX];
    if (!shell->http)
        return;
    http_close(shell->http);
    if (file_join(path, shell->config->dir, "http", NULL) == ERR_OK)
        unlink(path);
}

/* The ledger first: its thread may call back while the loop is still there. */
static enum err_code shell_close(struct shell *shell, struct err *err)
{
    const enum err_code rc = ledger_close(shell->ledger, err);
    if (shell->tick)
        loop_timer_close(shell->tick);
    if (shell->signals)
        loop_signals_close(shell->signals);
    shell_close_http(shell);
    if (shell->socket)
        loop_socket_close(shell->socket, SHELL_LINGER_MS);
    else
        wire_socket_close(shell->wire, 0);
    if (shell->has_wake) {
        uv_close((uv_handle_t *)&shell->wake, NULL);
        uv_close((uv_handle_t *)&shell->turn, NULL);
    }
    if (shell->has_loop)
        loop_release(&shell->loop);
    wire_context_free(shell->context);
    core_free(shell->core);
    status_free(shell->status);
    prompts_release(&shell->prompts);
    if (shell->progress_fd >= 0)
        close(shell->progress_fd);
    pthread_mutex_destroy(&shell->mutex);
    return rc;
}

enum err_code shell_run(const struct shell_options *options, int *status, struct err *err)
{
    struct shell *shell = calloc(1, sizeof *shell);
    if (!shell)
        return err_set(err, ERR_NOMEM, "no memory for the coordinator");
    shell->config = options->config;
    shell->progress_fd = -1;
    pthread_mutex_init(&shell->mutex, NULL);
    shell->status = status_new(options->config);

    enum err_code rc =
        shell->status ? ERR_OK : err_set(err, ERR_NOMEM, "no memory for metrics");
    if (rc == ERR_OK)
        rc = shell_open_core(shell, options->files_max, err);
    if (rc == ERR_OK)
        rc = shell_write_config(shell, err);
    if (rc == ERR_OK)
        rc = shell_open_progress(shell, err);
    if (rc == ERR_OK)
        rc = shell_open_loop(shell, options, err);
    if (rc == ERR_OK)
        rc = shell_begin(shell, err);
    if (rc == ERR_OK) {
        log_info("READY", "run %s: %u prompts, %llu steps of %u slots, control at %s",
                 shell->config->name, (unsigned)shell->prompts.n,
                 (unsigned long long)shell->config->steps, (unsigned)shell->config->batch,
                 wire_socket_endpoint(shell->wire));
        while (!shell->ended)
            loop_run(&shell->loop);
        rc = shell->rc;
        if (rc != ERR_OK && err)
            *err = shell->err;
    }
    *status = shell->exit_code;
    if (options->rendezvous)
        rendezvous_remove(options->rendezvous, options->job);
    struct err late;
    const enum err_code closed = shell_close(shell, &late);
    if (rc == ERR_OK && closed != ERR_OK)
        rc = err_set(err, closed, "%s", late.text);
    free(shell);
    return rc;
}

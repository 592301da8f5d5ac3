/* shell.c -- see shell.h: from the beginning to the end. */
#include "coordinator/shell_state.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/file.h"
#include "base/log.h"
#include "node/daemon.h"
#include "node/rendezvous.h"

#define SHELL_LINGER_MS 2000 /* at the end: for the last messages to go out */
#define SHELL_FILES     192  /* of its own, for HTTP, and of workers that are to be refused */

void shell_fail(struct shell *shell, const struct err *err)
{
    if (shell->rc == ERR_OK) {
        shell->rc = err->code;
        shell->err = *err;
    }
    shell->ended = true;
    uv_stop(&shell->loop);
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

/* shell_state.h -- what the shell's files share; nobody else includes it. */
#ifndef COORDINATOR_SHELL_STATE_H
#define COORDINATOR_SHELL_STATE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "base/err.h"
#include "coordinator/core.h"
#include "coordinator/ledger.h"
#include "coordinator/prompts.h"
#include "coordinator/shell.h"
#include "coordinator/status.h"
#include "node/http.h"
#include "node/loop.h"
#include "wire/socket.h"

#define SHELL_GONE_MAX 64 /* peers found gone during one step */

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
    bool ended;  /* the core has finished, or the shell failed */
    int exit_code;
    enum err_code rc;
    struct err err;
};

/* The shell itself cannot go on: the first of its errors is what shell_run returns. */
void shell_fail(struct shell *shell, const struct err *err);

/* --- shell_effect.c: what the core asks for */

void shell_sink(void *user, const struct core_effect *effect);

/* --- shell_event.c: what the core is told */

struct core_event shell_event(enum core_event_kind kind);

/* One step of the core, and one for each peer that it found gone. */
void shell_step(struct shell *shell, struct core_event event);

void shell_on_turn(uv_prepare_t *turn);
void shell_on_wake(uv_async_t *wake);
void shell_on_tick(void *ctx);
void shell_on_signal(void *ctx, int signal);
void shell_on_durable(void *ctx, uint64_t seq);
void shell_on_ledger_failed(void *ctx, const struct err *err);

/* --- shell_http.c */

enum err_code shell_open_http(struct shell *shell, const char *listen, struct err *err);
void shell_close_http(struct shell *shell);

#endif

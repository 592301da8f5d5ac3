/* loop.c -- see loop.h. */
#include "node/loop.h"

#include <assert.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>

#define LOOP_SIGNALS 3
#define LOOP_SOCKET_HANDLES 4u
#define LOOP_CLOSING_TURNS  64

struct loop_socket {
    uv_prepare_t prepare;
    uv_poll_t poll;
    uv_check_t check;
    uv_idle_t idle;
    unsigned handles;         /* not yet closed */
    struct wire_socket *wire; /* NULL: closed */
    struct loop_socket_ops ops;
    void *ctx;
};

struct loop_timer {
    uv_timer_t uv;
    void (*fn)(void *ctx);
    void *ctx;
};

struct loop_signals {
    uv_signal_t watch[LOOP_SIGNALS];
    unsigned handles; /* not yet closed */
    void (*fn)(void *ctx, int signal);
    void *ctx;
};

static void loop_socket_on_idle(uv_idle_t *idle)
{
    (void)idle; /* that it is active is its use: the poll does not sleep */
}

static void loop_socket_on_poll(uv_poll_t *poll, int status, int events)
{
    (void)poll;
    (void)status;
    (void)events; /* the check after it asks the socket */
}

static void loop_socket_on_prepare(uv_prepare_t *prepare)
{
    struct loop_socket *socket = prepare->data;
    if (wire_socket_readable(socket->wire))
        uv_idle_start(&socket->idle, loop_socket_on_idle);
}

static void loop_socket_on_check(uv_check_t *check)
{
    struct loop_socket *socket = check->data;
    uv_idle_stop(&socket->idle);
    for (int i = 0; i < LOOP_DRAIN && socket->wire; i++) {
        struct wire_peer peer;
        struct message message;
        struct err err = {0};
        switch (wire_socket_recv(socket->wire, &peer, &message, &err)) {
        case WIRE_RECV_NOTHING: return;
        case WIRE_RECV_BAD: socket->ops.on_protocol_error(socket->ctx, peer, &err); break;
        case WIRE_RECV_MESSAGE:
            socket->ops.on_message(socket->ctx, peer, &message);
            message_release(&message);
            break;
        }
    }
}

/* prepare, check and idle cannot fail to start; poll can, where the descriptor is bad. */
enum err_code loop_socket_open(struct loop_socket **out, uv_loop_t *loop,
                               struct wire_socket *wire, const struct loop_socket_ops *ops,
                               void *ctx, struct err *err)
{
    struct loop_socket *socket = calloc(1, sizeof *socket);
    if (!socket) {
        wire_socket_close(wire, 0);
        return err_set(err, ERR_NOMEM, "no memory for a socket on the loop");
    }
    socket->wire = wire;
    socket->ops = *ops;
    socket->ctx = ctx;
    const int rc = uv_poll_init(loop, &socket->poll, wire_socket_fd(wire));
    if (rc != 0) {
        wire_socket_close(wire, 0);
        free(socket);
        return err_set(err, ERR_IO, "cannot watch a socket: %s", uv_strerror(rc));
    }
    uv_prepare_init(loop, &socket->prepare);
    uv_check_init(loop, &socket->check);
    uv_idle_init(loop, &socket->idle);
    socket->handles = LOOP_SOCKET_HANDLES;
    socket->prepare.data = socket->poll.data = socket->check.data = socket->idle.data = socket;
    uv_poll_start(&socket->poll, UV_READABLE, loop_socket_on_poll);
    uv_prepare_start(&socket->prepare, loop_socket_on_prepare);
    uv_check_start(&socket->check, loop_socket_on_check);
    *out = socket;
    return ERR_OK;
}

struct wire_socket *loop_socket_wire(const struct loop_socket *socket)
{
    return socket->wire;
}

static void loop_socket_on_closed(uv_handle_t *handle)
{
    struct loop_socket *socket = handle->data;
    if (--socket->handles == 0)
        free(socket);
}

void loop_socket_close(struct loop_socket *socket, int linger_ms)
{
    if (!socket)
        return;
    uv_close((uv_handle_t *)&socket->poll, loop_socket_on_closed); /* before its descriptor */
    uv_close((uv_handle_t *)&socket->prepare, loop_socket_on_closed);
    uv_close((uv_handle_t *)&socket->check, loop_socket_on_closed);
    uv_close((uv_handle_t *)&socket->idle, loop_socket_on_closed);
    wire_socket_close(socket->wire, linger_ms);
    socket->wire = NULL;
}

static void loop_timer_on_fire(uv_timer_t *uv)
{
    struct loop_timer *timer = uv->data;
    timer->fn(timer->ctx);
}

enum err_code loop_timer_open(struct loop_timer **out, uv_loop_t *loop, uint64_t first_ms,
                              uint64_t repeat_ms, void (*fn)(void *ctx), void *ctx,
                              struct err *err)
{
    struct loop_timer *timer = calloc(1, sizeof *timer);
    if (!timer)
        return err_set(err, ERR_NOMEM, "no memory for a timer");
    timer->fn = fn;
    timer->ctx = ctx;
    uv_timer_init(loop, &timer->uv);
    timer->uv.data = timer;
    uv_timer_start(&timer->uv, loop_timer_on_fire, first_ms, repeat_ms);
    *out = timer;
    return ERR_OK;
}

static void loop_timer_on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

void loop_timer_close(struct loop_timer *timer)
{
    if (timer)
        uv_close((uv_handle_t *)&timer->uv, loop_timer_on_closed);
}

static void loop_signals_on_signal(uv_signal_t *handle, int number)
{
    struct loop_signals *signals = handle->data;
    signals->fn(signals->ctx, number);
}

static void loop_signals_on_closed(uv_handle_t *handle)
{
    struct loop_signals *signals = handle->data;
    if (--signals->handles == 0)
        free(signals);
}

enum err_code loop_signals_open(struct loop_signals **out, uv_loop_t *loop,
                                void (*fn)(void *ctx, int signal), void *ctx, struct err *err)
{
    static const int numbers[LOOP_SIGNALS] = {SIGTERM, SIGINT, SIGUSR1};
    struct loop_signals *signals = calloc(1, sizeof *signals);
    if (!signals)
        return err_set(err, ERR_NOMEM, "no memory for the signals");
    signals->fn = fn;
    signals->ctx = ctx;
    int rc = uv_signal_init(loop, &signals->watch[0]);
    if (rc != 0) {
        free(signals);
        return err_set(err, ERR_IO, "cannot watch signals: %s", uv_strerror(rc));
    }
    for (size_t i = 1; i < LOOP_SIGNALS; i++)
        uv_signal_init(loop, &signals->watch[i]); /* the loop's pipe exists: cannot fail */
    signals->handles = LOOP_SIGNALS;
    for (size_t i = 0; i < LOOP_SIGNALS; i++)
        signals->watch[i].data = signals;
    for (size_t i = 0; i < LOOP_SIGNALS && rc == 0; i++)
        rc = uv_signal_start(&signals->watch[i], loop_signals_on_signal, numbers[i]);
    if (rc != 0) {
        loop_signals_close(signals);
        return err_set(err, ERR_IO, "cannot watch signals: %s", uv_strerror(rc));
    }
    *out = signals;
    return ERR_OK;
}

void loop_signals_close(struct loop_signals *signals)
{
    if (!signals)
        return;
    for (size_t i = 0; i < LOOP_SIGNALS; i++)
        uv_close((uv_handle_t *)&signals->watch[i], loop_signals_on_closed);
}

void loop_run(uv_loop_t *loop)
{
    uv_run(loop, UV_RUN_DEFAULT);
}

void loop_release(uv_loop_t *loop)
{
    int rc = uv_loop_close(loop);
    for (int i = 0; rc == UV_EBUSY && i < LOOP_CLOSING_TURNS; i++) {
        uv_run(loop, UV_RUN_NOWAIT);
        rc = uv_loop_close(loop);
    }
    assert(rc == 0); /* something on the loop was not closed */
}

/*
 * loop.h -- ZeroMQ sockets, timers and signals on a libuv loop.
 *
 * A ZeroMQ descriptor is readable when something may have happened, once; sending or receiving
 * anywhere eats that word.  So the descriptor only wakes the loop here, and each turn asks the
 * socket itself:
 *
 *     prepare   a message waits?  then forbid the coming poll to sleep
 *     poll      the descriptor may wake it; its callback does nothing
 *     check     receive, at most LOOP_DRAIN messages, so that timers and HTTP have their turn
 *
 * Everything runs in the thread of the loop.  Nothing blocks but loop_run.
 */
#ifndef NODE_LOOP_H
#define NODE_LOOP_H

#include <stdint.h>
#include <uv.h>

#include "base/err.h"
#include "wire/socket.h"

#define LOOP_DRAIN 64 /* messages a turn and socket */

struct loop_socket; /* a wire_socket on a loop */
struct loop_timer;
struct loop_signals;

struct loop_socket_ops {
    /* A message; `peer` is zero on a DEALER.  It is released when the callback returns,
     * unless the callback moved it: `mine = *message; *message = (struct message){0};`. */
    void (*on_message)(void *ctx, struct wire_peer peer, struct message *message);
    /* Something came that is no message; err->text says why.  peer.id may be 0. */
    void (*on_protocol_error)(void *ctx, struct wire_peer peer, const struct err *err);
};

/* Takes ownership of `socket`, also on failure.  ERR_NOMEM, ERR_IO. */
enum err_code loop_socket_open(struct loop_socket **out, uv_loop_t *loop,
                               struct wire_socket *socket, const struct loop_socket_ops *ops,
                               void *ctx, struct err *err);

/* For wire_socket_send and its like, from any callback of this loop. */
struct wire_socket *loop_socket_wire(const struct loop_socket *socket);

/* No callback comes after it; also from inside one.  Memory goes in a later turn of the loop.
 * NULL does nothing. */
void loop_socket_close(struct loop_socket *socket, int linger_ms);

/* Call fn(ctx) after first_ms, then every repeat_ms (0: only once), counted from when the
 * loop gets to it.  The caller closes it with loop_timer_close, also from inside fn.
 * ERR_NOMEM. */
enum err_code loop_timer_open(struct loop_timer **out, uv_loop_t *loop, uint64_t first_ms,
                              uint64_t repeat_ms, void (*fn)(void *ctx), void *ctx,
                              struct err *err);
void loop_timer_close(struct loop_timer *timer); /* NULL does nothing */

/* Call fn(ctx, signal) on SIGTERM, SIGINT and SIGUSR1, in the loop.  ERR_NOMEM, ERR_IO. */
enum err_code loop_signals_open(struct loop_signals **out, uv_loop_t *loop,
                                void (*fn)(void *ctx, int signal), void *ctx,
                                struct err *err);
void loop_signals_close(struct loop_signals *signals); /* NULL does nothing */

/* Run until uv_stop(loop) or until nothing is open. */
void loop_run(uv_loop_t *loop);

/* After everything on it was closed: let the closing finish, and uv_loop_close.  Asserts that
 * nothing was left open. */
void loop_release(uv_loop_t *loop);

#endif

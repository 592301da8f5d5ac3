/*
 * socket.h -- ZeroMQ as the rest of the house sees it: two kinds of socket, whole messages.
 *
 *     coordinator, weights server    ROUTER, bound       many peers, each with a wire_peer
 *     worker, weights client         DEALER, connected   one peer
 *
 * What libzmq 4.3 does that would lose messages or abort the process is shut off here: routing
 * ids are the ROUTER's own (never set by a peer, no handover), a send to a peer that is gone
 * or full says so, no ZMTP heartbeats, every frame has a greatest size, a DEALER queues
 * nothing for an endpoint that is not connected.
 *
 * A ROUTER's peer is a connection, not a worker: a worker that reconnects is a new peer.  A
 * session is therefore bound to the peer that said HELLO, and the same session from another
 * peer is to be answered with RESET.
 *
 * A socket belongs to one thread, from creation to close.  The context may be used from all.
 * Nothing blocks but the four wire_socket_wait*, and wire_context_free.
 */
#ifndef WIRE_SOCKET_H
#define WIRE_SOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "wire/message.h"

#define WIRE_ENDPOINT_MAX 256u /* with the NUL */
#define WIRE_ENDPOINT_KEY "?key="

struct wire_context; /* one a process: libzmq's I/O thread */
struct wire_socket;
struct wire_packet; /* an encoded message that can be sent again */

/* ERR_NOMEM where libzmq cannot start.  Do not fork after it. */
enum err_code wire_context_new(struct wire_context **out, struct err *err);

/*
 * From here on whoever connects over TCP must have a key of the directory `keys` (keys.h), and
 * what passes is encrypted; `name` is this process.  A peer's HELLO must have the name and the
 * role of its key.  ipc:// is left alone: who may open its socket, the file system says.  Once,
 * before the first socket.  Errors of guard_new (guard.h).
 */
enum err_code wire_context_guard(struct wire_context *context, const char *keys,
                                 const char *name, struct err *err);

/* Why connections were refused, and how many so far; all 0 where there is no guard. */
#define WIRE_REFUSED_MAP(X)   \
    X(KEY, "key")             \
    X(HANDSHAKE, "handshake") \
    X(IDENTITY, "identity")
enum wire_refused {
#define X(name, word) WIRE_REFUSED_##name,
    WIRE_REFUSED_MAP(X)
#undef X
};
#define WIRE_REFUSED 3
const char *wire_refused_name(enum wire_refused reason); /* "key"; a label of /metrics */
void wire_context_refused(const struct wire_context *context, uint64_t refused[WIRE_REFUSED]);

/* Whether it can only be reached from this machine: ipc://, or TCP at a loopback address. */
bool wire_endpoint_is_local(const char *endpoint);

/* After the last socket of it was closed (asserted).  Waits for what is still to be sent, at
 * most the linger of the sockets.  NULL does nothing. */
void wire_context_free(struct wire_context *context);

/* A peer of a ROUTER; all zero: none, and what a DEALER's messages carry. */
struct wire_peer {
    uint64_t id;
};

/* Bounds of one socket.  libzmq may hold peers x hwm x frame_bytes_max, each way. */
struct wire_limits {
    size_t frame_bytes_max; /* a longer frame ends the peer's connection */
    int hwm;                /* messages queued a peer, each way */
};

/* Control: a train lease carries megabytes a frame. */
#define WIRE_LIMITS_CONTROL ((struct wire_limits){.frame_bytes_max = WIRE_FRAME_MAX, .hwm = 256})
/* Weights and gradients: chunks, windows of 8 of them. */
#define WIRE_LIMITS_BULK \
    ((struct wire_limits){.frame_bytes_max = WIRE_CHUNK_BYTES + 4096u, .hwm = 64})

/*
 * Bind a ROUTER ("tcp://127.0.0.1:*", "ipc:///run/x/control"), or make a DEALER that connects
 * and reconnects by itself.  ERR_USAGE naming the endpoint where it is not one, ERR_IO where
 * the system refuses (in use, no such directory), ERR_NOMEM.  A path of ipc:// is at most 107
 * bytes.  With a guard, "tcp://...?key=HEX" connects to the server that has this public key, and
 * without a key to the coordinator; ERR_STATE where that key is not in KEYS/peers.
 */
enum err_code wire_socket_bind(struct wire_socket **out, struct wire_context *context,
                               const char *endpoint, struct wire_limits limits,
                               struct err *err);
enum err_code wire_socket_connect(struct wire_socket **out, struct wire_context *context,
                                  const char *endpoint, struct wire_limits limits,
                                  struct err *err);

/* What is queued is still sent within linger_ms, in the background.  NULL does nothing. */
void wire_socket_close(struct wire_socket *socket, int linger_ms);

/* The endpoint as bound, with the port that "*" became, and with a guard with its key.  Valid
 * until close. */
const char *wire_socket_endpoint(const struct wire_socket *socket);

/* For an event loop: a descriptor that may become readable when something happened.  It says
 * nothing by itself; wire_socket_readable does.  node/loop.h knows how. */
int wire_socket_fd(const struct wire_socket *socket);
bool wire_socket_readable(struct wire_socket *socket);

/* Block until a message can be received, or timeout_ms passed (or a signal came): false. */
bool wire_socket_wait(struct wire_socket *socket, int timeout_ms);

/* The same for any of n sockets, at most WIRE_RANKS_MAX; NULL among them is passed over. */
bool wire_socket_wait_any(struct wire_socket *const *sockets, size_t n, int timeout_ms);

/* The same, also until the descriptor `fd` can be read. */
bool wire_socket_wait_any_or(struct wire_socket *const *sockets, size_t n, int fd,
                             int timeout_ms);

/* The same, also until a message can be sent by the first of them, which has just connected. */
bool wire_socket_wait_ready(struct wire_socket *const *sockets, size_t n, int timeout_ms);

enum wire_recv {
    WIRE_RECV_NOTHING, /* no message waits */
    WIRE_RECV_MESSAGE, /* *message is filled; the caller ends it with message_release */
    WIRE_RECV_BAD,     /* a message came that is none, and is gone; *err says why */
};
/* Never blocks.  *peer is set unless NOTHING; its id is 0 where the peer brought a routing id
 * of its own, which cannot be answered.  A decoded message keeps its frames' memory until
 * message_release, which may be called in any thread. */
enum wire_recv wire_socket_recv(struct wire_socket *socket, struct wire_peer *peer,
                                struct message *message, struct err *err);

/* Cut the connection of the peer whose message was received last, for one that breaks the rules;
 * false, and nothing done, where another was.  It may come back, as another peer. */
bool wire_socket_kick(struct wire_socket *socket, struct wire_peer peer);

#define WIRE_SEND_MAP(X)                                                                  \
    X(OK, "queued")                                                                       \
    X(FULL, "the peer's queue is full, or nobody is connected: try later, or give it up") \
    X(GONE, "no such peer any more: its session is over")                                 \
    X(BAD, "the message breaks a bound, *err says which; or no memory")
enum wire_send {
#define X(name, meaning) WIRE_SEND_##name,
    WIRE_SEND_MAP(X)
#undef X
};
const char *wire_send_name(enum wire_send sent);

/*
 * Encode *message (its epoch, session and seq too) and queue it with a copy of its payload.
 * All or nothing.  `peer` is for a ROUTER; a DEALER ignores it.  Never blocks.  A socket's
 * queue is deep enough for what the protocol allows in flight, so FULL on a ROUTER means a
 * peer that does not read; where its connection has ended, it is GONE once the ROUTER has looked
 * for messages.
 */
enum wire_send wire_socket_send(struct wire_socket *socket, struct wire_peer peer,
                                const struct message *message, struct err *err);

/*
 * The same without a copy: the payload is sent from where it lies, some time before the socket
 * is closed; until then it must stay readable.  Where it changes before it is on its way, it
 * arrives with a checksum that does not fit, and is refused there.
 */
enum wire_send wire_socket_send_in_place(struct wire_socket *socket, struct wire_peer peer,
                                         const struct message *message, struct err *err);

/*
 * The same for a payload of one frame that must not stay until the socket is closed: `done` is
 * called once, in any thread, when the bytes are not needed any more; also where nothing was sent,
 * then before this returns.
 */
enum wire_send wire_socket_send_lent(struct wire_socket *socket, struct wire_peer peer,
                                     const struct message *message,
                                     void (*done)(void *bytes, void *ctx), void *ctx,
                                     struct err *err);

/*
 * A message encoded once, in any thread, and sent as often as needed, each time under its own
 * epoch, session and seq; those of *message are not used.  The payload is copied once here and
 * shared by all sends.  One thread at a time has a packet.  The caller frees it with
 * wire_packet_free (NULL does nothing).
 */
enum err_code wire_packet_new(struct wire_packet **out, const struct message *message,
                              struct err *err);
void wire_packet_free(struct wire_packet *packet);
size_t wire_packet_bytes(const struct wire_packet *packet); /* memory it holds */
enum wire_send wire_socket_send_packet(struct wire_socket *socket, struct wire_peer peer,
                                       const struct wire_packet *packet, uint64_t epoch,
                                       uint64_t session, uint64_t seq, struct err *err);

#endif

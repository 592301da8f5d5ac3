/* socket.c -- see socket.h. */
#include "wire/socket.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <zmq.h>

#include "wire/guard.h"
#include "wire/message_internal.h"

#define SOCKET_HANDSHAKE_MS     3000 /* a connection that says nothing is closed */
#define SOCKET_CONNECT_MS       3000
#define SOCKET_RECONNECT_MS     20 /* a coordinator that starts is there soon */
#define SOCKET_RECONNECT_MAX_MS 2000
#define SOCKET_HALF_OPEN_MS     15000 /* unacknowledged by the other end's kernel */
#define SOCKET_KEEPALIVE_S      10
#define SOCKET_BACKLOG          256
#define SOCKET_KEY_BYTES        (sizeof WIRE_ENDPOINT_KEY - 1)

/* A ROUTER's own routing ids: a zero byte and four more.  A peer's own begins with none. */
#define SOCKET_ID_BYTES 5u

struct wire_context {
    void *zmq;
    struct guard *guard; /* of TCP connections; NULL: none */
    atomic_int sockets;
};

struct wire_socket {
    struct wire_context *context;
    void *zmq;
    bool is_router;
    bool is_guarded;
    int fd;
    struct wire_peer last; /* the last message came from it, on connection last_fd; -1: none */
    int last_fd;
    char endpoint[WIRE_ENDPOINT_MAX];
};

/* The payload frames of a received message.  They stay where they are: a small zmq_msg_t has
 * its bytes inside. */
struct socket_frames {
    size_t n;
    zmq_msg_t msg[WIRE_FRAMES_MAX];
};

/*
 * head is a Header without epoch, session and seq.  Those go in front of it at each send:
 * protobuf's fields may come in any order.
 */
struct wire_packet {
    unsigned char *head;
    size_t head_size;
    size_t payload_bytes;
    struct socket_frames *frames; /* NULL: none */
};
#define SOCKET_STAMP_MAX 29u /* two fixed64 and a varint with their tags */

enum err_code wire_context_new(struct wire_context **out, struct err *err)
{
    struct wire_context *context = calloc(1, sizeof *context);
    void *zmq = zmq_ctx_new();
    if (!context || !zmq) {
        if (zmq)
            zmq_ctx_term(zmq);
        free(context);
        return err_set(err, ERR_NOMEM, "ZeroMQ does not start: %s", zmq_strerror(errno));
    }
    context->zmq = zmq;
    atomic_init(&context->sockets, 0);
    *out = context;
    return ERR_OK;
}

void wire_context_free(struct wire_context *context)
{
    if (!context)
        return;
    assert(atomic_load(&context->sockets) == 0);
    if (context->guard)
        zmq_ctx_shutdown(context->zmq); /* its thread ends */
    guard_free(context->guard);
    while (zmq_ctx_term(context->zmq) != 0 && errno == EINTR)
        continue;
    free(context);
}

enum err_code wire_context_guard(struct wire_context *context, const char *keys,
                                 const char *name, struct err *err)
{
    assert(!context->guard && atomic_load(&context->sockets) == 0);
    return guard_new(&context->guard, context->zmq, keys, name, err);
}

void wire_context_refused(const struct wire_context *context, uint64_t refused[WIRE_REFUSED])
{
    memset(refused, 0, WIRE_REFUSED * sizeof *refused);
    if (context->guard)
        guard_count(context->guard, refused);
}

const char *wire_refused_name(enum wire_refused reason)
{
    switch (reason) {
#define X(name, word) \
    case WIRE_REFUSED_##name: return word;
        WIRE_REFUSED_MAP(X)
#undef X
    }
    return "?";
}

static bool socket_is_tcp(const char *endpoint)
{
    return strncmp(endpoint, "tcp://", 6) == 0;
}

bool wire_endpoint_is_local(const char *endpoint)
{
    static const char *const hosts[] = {"127.", "localhost:", "[::1]:"};
    if (!socket_is_tcp(endpoint))
        return true;
    for (size_t i = 0; i < sizeof hosts / sizeof hosts[0]; i++)
        if (strncmp(endpoint + 6, hosts[i], strlen(hosts[i])) == 0)
            return true;
    return false;
}

const char *wire_send_name(enum wire_send sent)
{
    switch (sent) {
#define X(name, meaning) \
    case WIRE_SEND_##name: return #name;
        WIRE_SEND_MAP(X)
#undef X
    }
    return "?";
}

static void socket_set(struct wire_socket *socket, int option, int value)
{
    const int rc = zmq_setsockopt(socket->zmq, option, &value, sizeof value);
    assert(rc == 0); /* an option libzmq does not know, or a value out of its range */
    (void)rc;
}

static void socket_set_limits(struct wire_socket *socket, struct wire_limits limits)
{
    const int64_t most = (int64_t)limits.frame_bytes_max;
    const int rc = zmq_setsockopt(socket->zmq, ZMQ_MAXMSGSIZE, &most, sizeof most);
    assert(rc == 0);
    (void)rc;
    socket_set(socket, ZMQ_SNDHWM, limits.hwm);
    socket_set(socket, ZMQ_RCVHWM, limits.hwm);
    socket_set(socket, ZMQ_LINGER, 0);
    socket_set(socket, ZMQ_IPV6, 1);
    socket_set(socket, ZMQ_HANDSHAKE_IVL, SOCKET_HANDSHAKE_MS);
    socket_set(socket, ZMQ_TCP_MAXRT, SOCKET_HALF_OPEN_MS);
    socket_set(socket, ZMQ_TCP_KEEPALIVE, 1);
    socket_set(socket, ZMQ_TCP_KEEPALIVE_IDLE, SOCKET_KEEPALIVE_S);
    socket_set(socket, ZMQ_TCP_KEEPALIVE_INTVL, SOCKET_KEEPALIVE_S / 2);
    socket_set(socket, ZMQ_TCP_KEEPALIVE_CNT, 3);
}

static enum err_code socket_open(struct wire_socket **out, struct wire_context *context,
                                 bool is_router, struct wire_limits limits, struct err *err)
{
    assert(limits.hwm > 0 && limits.frame_bytes_max > 0);
    struct wire_socket *socket = calloc(1, sizeof *socket);
    if (!socket)
        return err_set(err, ERR_NOMEM, "no memory for a socket");
    socket->context = context;
    socket->is_router = is_router;
    socket->last_fd = -1;
    socket->zmq = zmq_socket(context->zmq, is_router ? ZMQ_ROUTER : ZMQ_DEALER);
    if (!socket->zmq) {
        free(socket);
        return err_set(err, ERR_IO, "ZeroMQ makes no socket: %s", zmq_strerror(errno));
    }
    atomic_fetch_add(&context->sockets, 1);
    socket_set_limits(socket, limits);
    size_t size = sizeof socket->fd;
    const int rc = zmq_getsockopt(socket->zmq, ZMQ_FD, &socket->fd, &size);
    assert(rc == 0);
    (void)rc;
    *out = socket;
    return ERR_OK;
}

static enum err_code socket_refuse(struct wire_socket *socket, const char *what,
                                   const char *endpoint, struct err *err)
{
    const int code = errno;
    wire_socket_close(socket, 0);
    const bool is_misspelt = code == EINVAL || code == EPROTONOSUPPORT ||
                             code == ENOCOMPATPROTO || code == ENAMETOOLONG;
    return err_set(err, is_misspelt ? ERR_USAGE : ERR_IO, "cannot %s \"%s\": %s", what,
                   endpoint, zmq_strerror(code));
}

enum err_code wire_socket_bind(struct wire_socket **out, struct wire_context *context,
                               const char *endpoint, struct wire_limits limits, struct err *err)
{
    struct wire_socket *socket;
    enum err_code rc = socket_open(&socket, context, true, limits, err);
    if (rc)
        return rc;
    socket_set(socket, ZMQ_ROUTER_MANDATORY, 1); /* else what cannot be sent is lost silently */
    socket_set(socket, ZMQ_ROUTER_HANDOVER, 0);
    socket_set(socket, ZMQ_BACKLOG, SOCKET_BACKLOG);
    socket->is_guarded = context->guard && socket_is_tcp(endpoint);
    if (socket->is_guarded && (rc = guard_serve(context->guard, socket->zmq, endpoint, err))) {
        wire_socket_close(socket, 0);
        return rc;
    }
    size_t size = sizeof socket->endpoint - (SOCKET_KEY_BYTES + HASH_HEX_BYTES);
    if (zmq_bind(socket->zmq, endpoint) != 0 ||
        zmq_getsockopt(socket->zmq, ZMQ_LAST_ENDPOINT, socket->endpoint, &size) != 0)
        return socket_refuse(socket, "bind", endpoint, err);
    if (socket->is_guarded) {
        strcat(socket->endpoint, WIRE_ENDPOINT_KEY);
        strcat(socket->endpoint, guard_key(context->guard));
    }
    *out = socket;
    return ERR_OK;
}

/* The key leaves the endpoint, for libzmq knows of none there. */
static enum err_code socket_trust(struct wire_socket *socket, struct err *err)
{
    char *key = strstr(socket->endpoint, WIRE_ENDPOINT_KEY);
    if (key) {
        *key = '\0';
        key += SOCKET_KEY_BYTES;
    }
    return guard_trust(socket->context->guard, socket->zmq, socket->endpoint, key, err);
}

enum err_code wire_socket_connect(struct wire_socket **out, struct wire_context *context,
                                  const char *endpoint, struct wire_limits limits,
                                  struct err *err)
{
    struct wire_socket *socket;
    enum err_code rc = socket_open(&socket, context, false, limits, err);
    if (rc)
        return rc;
    /* ZMQ_HEARTBEAT_IVL stays unset: with a full receive queue it aborts a connecting socket.
     * ZMQ_ROUTING_ID stays unset: a second of the same name would be connected and deaf. */
    socket_set(socket, ZMQ_IMMEDIATE, 1);
    socket_set(socket, ZMQ_RECONNECT_IVL, SOCKET_RECONNECT_MS);
    socket_set(socket, ZMQ_RECONNECT_IVL_MAX, SOCKET_RECONNECT_MAX_MS);
    socket_set(socket, ZMQ_CONNECT_TIMEOUT, SOCKET_CONNECT_MS);
    if (strlen(endpoint) >= sizeof socket->endpoint) {
        errno = ENAMETOOLONG;
        return socket_refuse(socket, "connect to", endpoint, err);
    }
    strcpy(socket->endpoint, endpoint);
    if (context->guard && socket_is_tcp(endpoint) && (rc = socket_trust(socket, err))) {
        wire_socket_close(socket, 0);
        return rc;
    }
    if (zmq_connect(socket->zmq, socket->endpoint) != 0)
        return socket_refuse(socket, "connect to", endpoint, err);
    *out = socket;
    return ERR_OK;
}

void wire_socket_close(struct wire_socket *socket, int linger_ms)
{
    if (!socket)
        return;
    socket_set(socket, ZMQ_LINGER, linger_ms);
    zmq_close(socket->zmq);
    atomic_fetch_sub(&socket->context->sockets, 1);
    free(socket);
}

const char *wire_socket_endpoint(const struct wire_socket *socket)
{
    return socket->endpoint;
}

int wire_socket_fd(const struct wire_socket *socket)
{
    return socket->fd;
}

bool wire_socket_readable(struct wire_socket *socket)
{
    int events = 0;
    size_t size = sizeof events;
    int rc;
    do
        rc = zmq_getsockopt(socket->zmq, ZMQ_EVENTS, &events, &size);
    while (rc != 0 && errno == EINTR);
    return rc == 0 && (events & ZMQ_POLLIN);
}

bool wire_socket_wait(struct wire_socket *socket, int timeout_ms)
{
    zmq_pollitem_t item = {.socket = socket->zmq, .events = ZMQ_POLLIN};
    return zmq_poll(&item, 1, timeout_ms) > 0 && (item.revents & ZMQ_POLLIN);
}

static bool socket_wait(struct wire_socket *const *sockets, size_t n, short of_first,
                        int timeout_ms)
{
    assert(n <= WIRE_RANKS_MAX);
    zmq_pollitem_t items[WIRE_RANKS_MAX];
    int count = 0;
    for (size_t i = 0; i < n; i++)
        if (sockets[i])
            items[count++] = (zmq_pollitem_t){.socket = sockets[i]->zmq,
                                              .events = i == 0 ? of_first : ZMQ_POLLIN};
    return zmq_poll(items, count, timeout_ms) > 0;
}

bool wire_socket_wait_any(struct wire_socket *const *sockets, size_t n, int timeout_ms)
{
    return socket_wait(sockets, n, ZMQ_POLLIN, timeout_ms);
}

bool wire_socket_wait_ready(struct wire_socket *const *sockets, size_t n, int timeout_ms)
{
    return socket_wait(sockets, n, ZMQ_POLLIN | ZMQ_POLLOUT, timeout_ms);
}

static void socket_frames_free(void *ctx)
{
    struct socket_frames *frames = ctx;
    if (!frames)
        return;
    for (size_t i = 0; i < frames->n; i++)
        zmq_msg_close(&frames->msg[i]);
    free(frames);
}

/* One frame into *msg, which is initialized and then the caller's to close. */
static bool socket_recv_frame(struct wire_socket *socket, zmq_msg_t *msg)
{
    zmq_msg_init(msg);
    int rc;
    do
        rc = zmq_msg_recv(msg, socket->zmq, ZMQ_DONTWAIT);
    while (rc < 0 && errno == EINTR);
    return rc >= 0;
}

/* libzmq hands over a message when all of it is here, so this ends. */
static size_t socket_drop_rest(struct wire_socket *socket)
{
    size_t dropped = 0;
    bool more = true;
    while (more) {
        zmq_msg_t msg;
        more = socket_recv_frame(socket, &msg) && zmq_msg_more(&msg);
        zmq_msg_close(&msg);
        dropped++;
    }
    return dropped;
}

/* The payload frames after a header.  On failure nothing is held, and the rest is dropped. */
static enum err_code socket_recv_payload(struct wire_socket *socket, struct socket_frames **out,
                                         struct err *err)
{
    struct socket_frames *frames = malloc(sizeof *frames);
    if (!frames) {
        socket_drop_rest(socket);
        return err_set(err, ERR_NOMEM, "no memory for the frames of a message");
    }
    frames->n = 0;
    bool more = true;
    while (more && frames->n < WIRE_FRAMES_MAX) {
        zmq_msg_t *msg = &frames->msg[frames->n++];
        more = socket_recv_frame(socket, msg) && zmq_msg_more(msg);
    }
    if (!more) {
        *out = frames;
        return ERR_OK;
    }
    socket_frames_free(frames);
    const size_t dropped = socket_drop_rest(socket);
    return err_set(err, ERR_FORMAT, "a message of %zu payload frames, at most %u are allowed",
                   WIRE_FRAMES_MAX + dropped, WIRE_FRAMES_MAX);
}

/* Takes ownership of frames (NULL: none). */
static enum err_code socket_decode(struct message *message, zmq_msg_t *head,
                                   struct socket_frames *frames, struct err *err)
{
    struct wire_bytes bytes[WIRE_FRAMES_MAX];
    const size_t n = frames ? frames->n : 0;
    for (size_t i = 0; i < n; i++)
        bytes[i] =
            (struct wire_bytes){zmq_msg_data(&frames->msg[i]), zmq_msg_size(&frames->msg[i])};
    enum err_code rc = message_check_seal(zmq_msg_data(head), zmq_msg_size(head), err);
    if (!rc)
        rc = message_decode(message, zmq_msg_data(head), zmq_msg_size(head), bytes, n, err);
    if (rc) {
        socket_frames_free(frames);
        return rc;
    }
    struct message_memory *memory = message->owned;
    memory->release = socket_frames_free;
    memory->ctx = frames;
    return ERR_OK;
}

static struct wire_peer socket_peer(zmq_msg_t *id)
{
    const unsigned char *bytes = zmq_msg_data(id);
    if (zmq_msg_size(id) != SOCKET_ID_BYTES || bytes[0] != 0)
        return (struct wire_peer){0};
    uint64_t value = 1; /* so that no peer is 0 */
    for (size_t i = 0; i < SOCKET_ID_BYTES; i++)
        value = value << 8 | bytes[i];
    return (struct wire_peer){value};
}

/* The routing id in front, on a ROUTER; false where no message waits.  *more: a frame follows
 */
static bool socket_recv_peer(struct wire_socket *socket, struct wire_peer *peer, bool *more)
{
    zmq_msg_t id;
    const bool came = socket_recv_frame(socket, &id);
    if (came) {
        *peer = socket_peer(&id);
        *more = zmq_msg_more(&id);
    }
    zmq_msg_close(&id);
    return came;
}

/* Whoever may not say this is cut off. */
static enum err_code socket_check_user(struct wire_socket *socket, zmq_msg_t *head,
                                       struct message *message, struct err *err)
{
    const char *user = zmq_msg_gets(head, "User-Id");
    const enum err_code rc =
        guard_check(socket->context->guard, user ? user : "", message, err);
    if (rc) {
        message_release(message);
        *message = (struct message){0};
        wire_socket_kick(socket, socket->last);
    }
    return rc;
}

enum wire_recv wire_socket_recv(struct wire_socket *socket, struct wire_peer *peer,
                                struct message *message, struct err *err)
{
    *peer = (struct wire_peer){0};
    *message = (struct message){0};
    bool more = true;
    if (socket->is_router) {
        if (!socket_recv_peer(socket, peer, &more))
            return WIRE_RECV_NOTHING;
        if (!more) {
            err_set(err, ERR_FORMAT, "a message of no frame at all");
            return WIRE_RECV_BAD;
        }
        if (peer->id == 0) {
            socket_drop_rest(socket);
            err_set(err, ERR_FORMAT, "a peer that brings a routing id of its own");
            return WIRE_RECV_BAD;
        }
    }
    zmq_msg_t head;
    if (!socket_recv_frame(socket, &head)) {
        zmq_msg_close(&head);
        return WIRE_RECV_NOTHING;
    }
    socket->last = *peer;
    socket->last_fd = zmq_msg_get(&head, ZMQ_SRCFD); /* -1 where it has none */
    struct socket_frames *frames = NULL;
    enum err_code rc = ERR_OK;
    if (zmq_msg_more(&head))
        rc = socket_recv_payload(socket, &frames, err);
    if (!rc)
        rc = socket_decode(message, &head, frames, err);
    if (!rc && socket->is_guarded)
        rc = socket_check_user(socket, &head, message, err);
    zmq_msg_close(&head);
    return rc ? WIRE_RECV_BAD : WIRE_RECV_MESSAGE;
}

/* libzmq has no call for it.  The descriptor is libzmq's to close: shutdown() only. */
bool wire_socket_kick(struct wire_socket *socket, struct wire_peer peer)
{
    if (peer.id == 0 || peer.id != socket->last.id || socket->last_fd < 0)
        return false;
    const int fd = socket->last_fd;
    socket->last_fd = -1; /* once: the number may be another's connection later */
    return shutdown(fd, SHUT_RDWR) == 0;
}

/* How a payload is sent that is not copied: who is told that it is not needed any more. */
struct socket_loan {
    void (*done)(void *bytes, void *ctx); /* NULL: nobody */
    void *ctx;
};

/* A frame with a copy of the bytes (no loan), or around them. */
static enum err_code socket_frame_init(zmq_msg_t *msg, struct wire_bytes bytes,
                                       const struct socket_loan *loan, struct err *err)
{
    void *data = (void *)(uintptr_t)bytes.data; /* sending only reads */
    const int rc = loan ? zmq_msg_init_data(msg, data, bytes.size, loan->done, loan->ctx)
                        : zmq_msg_init_size(msg, bytes.size);
    if (rc != 0)
        return err_set(err, ERR_NOMEM, "no memory for a payload of %zu bytes", bytes.size);
    if (!loan && bytes.size)
        memcpy(zmq_msg_data(msg), bytes.data, bytes.size);
    return ERR_OK;
}

static enum err_code socket_packet_new(struct wire_packet **out, const struct message *message,
                                       const struct socket_loan *loan, struct err *err)
{
    struct message plain = *message;
    plain.epoch = plain.session = plain.seq = 0; /* not encoded: zero is absent */

    struct wire_packet *packet = calloc(1, sizeof *packet);
    if (!packet)
        return err_set(err, ERR_NOMEM, "no memory for a message to send");
    enum err_code rc = message_encode(&plain, &packet->head, &packet->head_size, err);
    if (rc)
        goto out;
    if (plain.frames_n > 0) {
        packet->frames = malloc(sizeof *packet->frames);
        if (!packet->frames) {
            rc = err_set(err, ERR_NOMEM, "no memory for a message to send");
            goto out;
        }
        packet->frames->n = 0;
    }
    for (uint32_t i = 0; i < plain.frames_n; i++) {
        rc = socket_frame_init(&packet->frames->msg[i], plain.frame[i], loan, err);
        if (rc)
            goto out;
        packet->frames->n++;
        packet->payload_bytes += plain.frame[i].size;
    }
    *out = packet;
    packet = NULL;

out:
    wire_packet_free(packet);
    return rc;
}

enum err_code wire_packet_new(struct wire_packet **out, const struct message *message,
                              struct err *err)
{
    return socket_packet_new(out, message, NULL, err);
}

void wire_packet_free(struct wire_packet *packet)
{
    if (!packet)
        return;
    socket_frames_free(packet->frames);
    free(packet->head);
    free(packet);
}

size_t wire_packet_bytes(const struct wire_packet *packet)
{
    return sizeof *packet + packet->head_size + packet->payload_bytes;
}

static size_t socket_stamp_fixed64(unsigned char *at, unsigned field, uint64_t value)
{
    if (value == 0)
        return 0;
    at[0] = (unsigned char)(field << 3 | 1);
    for (unsigned i = 0; i < 8; i++)
        at[1 + i] = (unsigned char)(value >> (8 * i));
    return 9;
}

static size_t socket_stamp_varint(unsigned char *at, unsigned field, uint64_t value)
{
    if (value == 0)
        return 0;
    size_t n = 0;
    at[n++] = (unsigned char)(field << 3);
    for (; value > 0x7f; value >>= 7)
        at[n++] = (unsigned char)(value | 0x80);
    at[n++] = (unsigned char)value;
    return n;
}

/* Queue one frame; it is sent or closed afterwards. */
static bool socket_send_frame(struct wire_socket *socket, zmq_msg_t *msg, bool more)
{
    int rc;
    do
        rc = zmq_msg_send(msg, socket->zmq, ZMQ_DONTWAIT | (more ? ZMQ_SNDMORE : 0));
    while (rc < 0 && errno == EINTR);
    const int code = errno;
    if (rc < 0)
        zmq_msg_close(msg);
    errno = code;
    return rc >= 0;
}

static enum wire_send socket_send_peer(struct wire_socket *socket, struct wire_peer peer)
{
    assert(peer.id >> (8 * SOCKET_ID_BYTES) == 1);
    zmq_msg_t id;
    zmq_msg_init_size(&id, SOCKET_ID_BYTES); /* so few bytes are inside zmq_msg_t */
    unsigned char *bytes = zmq_msg_data(&id);
    for (size_t i = 0; i < SOCKET_ID_BYTES; i++)
        bytes[i] = (unsigned char)(peer.id >> (8 * (SOCKET_ID_BYTES - 1 - i)));
    if (socket_send_frame(socket, &id, true))
        return WIRE_SEND_OK;
    /* No frame may follow: it would be taken for a routing id. */
    return errno == EAGAIN ? WIRE_SEND_FULL : WIRE_SEND_GONE;
}

/*
 * The payload after a header that was queued.  Where the peer disconnects in between, libzmq
 * takes back the message and, told EAGAIN, drops what is still to come of it: so it must come.
 */
static bool socket_send_payload(struct wire_socket *socket, struct socket_frames *frames)
{
    bool all = true;
    for (size_t i = 0; i < frames->n; i++) {
        zmq_msg_t msg;
        zmq_msg_init(&msg);
        zmq_msg_copy(&msg, &frames->msg[i]); /* shares the bytes */
        all = socket_send_frame(socket, &msg, i + 1 < frames->n) && all;
    }
    return all;
}

enum wire_send wire_socket_send_packet(struct wire_socket *socket, struct wire_peer peer,
                                       const struct wire_packet *packet, uint64_t epoch,
                                       uint64_t session, uint64_t seq, struct err *err)
{
    unsigned char stamp[SOCKET_STAMP_MAX];
    size_t n = socket_stamp_fixed64(stamp, 2, epoch);
    n += socket_stamp_fixed64(stamp + n, 3, session);
    n += socket_stamp_varint(stamp + n, 4, seq);

    zmq_msg_t head;
    const size_t size = n + packet->head_size;
    if (zmq_msg_init_size(&head, size + MESSAGE_SEAL_BYTES) != 0) {
        err_set(err, ERR_NOMEM, "no memory for a header of %zu bytes", size);
        return WIRE_SEND_BAD;
    }
    unsigned char *bytes = zmq_msg_data(&head);
    memcpy(bytes, stamp, n);
    memcpy(bytes + n, packet->head, packet->head_size);
    message_seal(bytes, size);

    if (socket->is_router) {
        const enum wire_send sent = socket_send_peer(socket, peer);
        if (sent != WIRE_SEND_OK) {
            zmq_msg_close(&head);
            return sent;
        }
    }
    /* On a ROUTER the queue was found not to be full with the routing id. */
    if (!socket_send_frame(socket, &head, packet->frames) && !socket->is_router)
        return WIRE_SEND_FULL;
    if (packet->frames && !socket_send_payload(socket, packet->frames))
        return WIRE_SEND_FULL;
    return WIRE_SEND_OK;
}

static enum wire_send socket_send_message(struct wire_socket *socket, struct wire_peer peer,
                                          const struct message *message,
                                          const struct socket_loan *loan, struct err *err)
{
    struct wire_packet *packet = NULL;
    if (socket_packet_new(&packet, message, loan, err)) {
        if (loan && loan->done) /* the only frame was the last thing to be made */
            loan->done((void *)(uintptr_t)message->frame[0].data, loan->ctx);
        return WIRE_SEND_BAD;
    }
    const enum wire_send sent = wire_socket_send_packet(socket, peer, packet, message->epoch,
                                                        message->session, message->seq, err);
    wire_packet_free(packet);
    return sent;
}

enum wire_send wire_socket_send(struct wire_socket *socket, struct wire_peer peer,
                                const struct message *message, struct err *err)
{
    return socket_send_message(socket, peer, message, NULL, err);
}

enum wire_send wire_socket_send_in_place(struct wire_socket *socket, struct wire_peer peer,
                                         const struct message *message, struct err *err)
{
    return socket_send_message(socket, peer, message, &(struct socket_loan){0}, err);
}

enum wire_send wire_socket_send_lent(struct wire_socket *socket, struct wire_peer peer,
                                     const struct message *message,
                                     void (*done)(void *bytes, void *ctx), void *ctx,
                                     struct err *err)
{
    assert(message->frames_n == 1);
    return socket_send_message(socket, peer, message, &(struct socket_loan){done, ctx}, err);
}

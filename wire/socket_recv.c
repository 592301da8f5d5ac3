/* socket_recv.c -- what comes, made a message or refused: see socket.h. */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "wire/message_internal.h"
#include "wire/socket_internal.h"

void socket_frames_free(void *ctx)
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
static size_t socket_recv_drop_rest(struct wire_socket *socket)
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
        socket_recv_drop_rest(socket);
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
    const size_t dropped = socket_recv_drop_rest(socket);
    return err_set(err, ERR_FORMAT, "a message of %zu payload frames, at most %u are allowed",
                   WIRE_FRAMES_MAX + dropped, WIRE_FRAMES_MAX);
}

/* Takes ownership of frames (NULL: none). */
static enum err_code socket_recv_decode(struct message *message, zmq_msg_t *head,
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

static struct wire_peer socket_recv_id(zmq_msg_t *id)
{
    const unsigned char *bytes = zmq_msg_data(id);
    if (zmq_msg_size(id) != SOCKET_ID_BYTES || bytes[0] != 0)
        return (struct wire_peer){0};
    uint64_t value = 1; /* so that no peer is 0 */
    for (size_t i = 0; i < SOCKET_ID_BYTES; i++)
        value = value << 8 | bytes[i];
    return (struct wire_peer){value};
}

/* The routing id in front, on a ROUTER; false where no message waits.  *more: a frame follows. */
static bool socket_recv_peer(struct wire_socket *socket, struct wire_peer *peer, bool *more)
{
    zmq_msg_t id;
    const bool came = socket_recv_frame(socket, &id);
    if (came) {
        *peer = socket_recv_id(&id);
        *more = zmq_msg_more(&id);
    }
    zmq_msg_close(&id);
    return came;
}

/* Whoever may not say this is cut off. */
static enum err_code socket_recv_check_user(struct wire_socket *socket, zmq_msg_t *head,
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
            socket_recv_drop_rest(socket);
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
        rc = socket_recv_decode(message, &head, frames, err);
    if (!rc && socket->is_guarded)
        rc = socket_recv_check_user(socket, &head, message, err);
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

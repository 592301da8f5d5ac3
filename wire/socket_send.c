/* socket_send.c -- messages made packets, and packets sent: see socket.h. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "wire/message_internal.h"
#include "wire/socket_internal.h"

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

/* How a payload is sent that is not copied: who is told that it is not needed any more. */
struct socket_loan {
    void (*done)(void *bytes, void *ctx); /* NULL: nobody */
    void *ctx;
};

/* A frame with a copy of the bytes (no loan), or around them. */
static enum err_code socket_send_make_frame(zmq_msg_t *msg, struct wire_bytes bytes,
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

static enum err_code socket_send_make_packet(struct wire_packet **out,
                                             const struct message *message,
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
        rc = socket_send_make_frame(&packet->frames->msg[i], plain.frame[i], loan, err);
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
    return socket_send_make_packet(out, message, NULL, err);
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

static size_t socket_send_stamp_fixed64(unsigned char *at, unsigned field, uint64_t value)
{
    if (value == 0)
        return 0;
    at[0] = (unsigned char)(field << 3 | 1);
    for (unsigned i = 0; i < 8; i++)
        at[1 + i] = (unsigned char)(value >> (8 * i));
    return 9;
}

static size_t socket_send_stamp_varint(unsigned char *at, unsigned field, uint64_t value)
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
    size_t n = socket_send_stamp_fixed64(stamp, 2, epoch);
    n += socket_send_stamp_fixed64(stamp + n, 3, session);
    n += socket_send_stamp_varint(stamp + n, 4, seq);

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
    if (socket_send_make_packet(&packet, message, loan, err)) {
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

/* socket_internal.h -- what the socket's three files share; nobody else includes it. */
#ifndef WIRE_SOCKET_INTERNAL_H
#define WIRE_SOCKET_INTERNAL_H

#include <stdatomic.h>
#include <zmq.h>

#include "wire/guard.h"
#include "wire/socket.h"

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

/* The payload frames of a message, received or to be sent.  They stay where they are: a small
 * zmq_msg_t has its bytes inside. */
struct socket_frames {
    size_t n;
    zmq_msg_t msg[WIRE_FRAMES_MAX];
};

/* Also in another thread than the socket's.  NULL does nothing. */
void socket_frames_free(void *frames);

#endif

/* socket.c -- contexts; sockets opened, bound, connected and waited for: see socket.h. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "wire/socket_internal.h"

#define SOCKET_HANDSHAKE_MS     3000 /* a connection that says nothing is closed */
#define SOCKET_CONNECT_MS       3000
#define SOCKET_RECONNECT_MS     20 /* a coordinator that starts is there soon */
#define SOCKET_RECONNECT_MAX_MS 2000
#define SOCKET_HALF_OPEN_MS     15000 /* unacknowledged by the other end's kernel */
#define SOCKET_KEEPALIVE_S      10
#define SOCKET_BACKLOG          256
#define SOCKET_KEY_BYTES        (sizeof WIRE_ENDPOINT_KEY - 1)

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

static bool socket_wait(struct wire_socket *const *sockets, size_t n, short of_first, int fd,
                        int timeout_ms)
{
    assert(n <= WIRE_RANKS_MAX);
    zmq_pollitem_t items[WIRE_RANKS_MAX + 1];
    int count = 0;
    for (size_t i = 0; i < n; i++)
        if (sockets[i])
            items[count++] = (zmq_pollitem_t){.socket = sockets[i]->zmq,
                                              .events = i == 0 ? of_first : ZMQ_POLLIN};
    if (fd >= 0)
        items[count++] = (zmq_pollitem_t){.fd = fd, .events = ZMQ_POLLIN};
    return zmq_poll(items, count, timeout_ms) > 0;
}

bool wire_socket_wait_any(struct wire_socket *const *sockets, size_t n, int timeout_ms)
{
    return socket_wait(sockets, n, ZMQ_POLLIN, -1, timeout_ms);
}

bool wire_socket_wait_any_or(struct wire_socket *const *sockets, size_t n, int fd,
                             int timeout_ms)
{
    return socket_wait(sockets, n, ZMQ_POLLIN, fd, timeout_ms);
}

bool wire_socket_wait_ready(struct wire_socket *const *sockets, size_t n, int timeout_ms)
{
    return socket_wait(sockets, n, ZMQ_POLLIN | ZMQ_POLLOUT, -1, timeout_ms);
}

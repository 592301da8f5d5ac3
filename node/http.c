/* http.c -- see http.h. */
#include "node/http.h"

#include <arpa/inet.h>
#include <assert.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define HTTP_CONNECTIONS_MAX 64u
#define HTTP_PER_ADDRESS_MAX 8u
#define HTTP_IDLE_S          3u
#define HTTP_REQUEST_BYTES   ((size_t)16 * 1024)

struct http {
    struct MHD_Daemon *daemon;
    uv_poll_t poll;
    uv_timer_t timer;
    http_handler handler;
    http_handler on_post; /* NULL: POST is not served */
    const char *token;    /* of POST; "": loopback alone */
    void *arg;
    uint16_t port;
    int open_handles; /* of the loop: the last one closed frees the struct */
};

static bool http_is_ip(const char *host)
{
    char text[INET6_ADDRSTRLEN + 2];
    unsigned char bytes[sizeof(struct in6_addr)];
    const char *from = host[0] == '[' ? host + 1 : host;
    const size_t n = strcspn(from, host[0] == '[' ? "]" : ":");
    if (n >= sizeof text)
        return false;
    memcpy(text, from, n);
    text[n] = '\0';
    return inet_pton(host[0] == '[' ? AF_INET6 : AF_INET, text, bytes) == 1;
}

static bool http_host_is_ours(const char *host)
{
    const size_t n = strlen("localhost");
    if (strncmp(host, "localhost", n) == 0 && (host[n] == '\0' || host[n] == ':'))
        return true;
    return http_is_ip(host);
}

static enum MHD_Result http_send(struct MHD_Connection *connection, unsigned status,
                                 const char *content_type, const struct buf *body)
{
    struct MHD_Response *response = MHD_create_response_from_buffer(
        body->len, body->len > 0 ? body->data : NULL, MHD_RESPMEM_MUST_COPY);
    if (!response)
        return MHD_NO;
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, content_type);
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    MHD_add_response_header(response, "Content-Security-Policy", "default-src 'self'");
    MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    const enum MHD_Result queued = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return queued;
}

static bool http_is_loopback(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)address)->sin_addr.s_addr) >> 24 == 127;
    const struct in6_addr *v6 = &((const struct sockaddr_in6 *)address)->sin6_addr;
    return address->sa_family == AF_INET6 &&
           (IN6_IS_ADDR_LOOPBACK(v6) || (IN6_IS_ADDR_V4MAPPED(v6) && v6->s6_addr[12] == 127));
}

/* Takes as long for a wrong first character as for a wrong last one. */
static bool http_is_token(const char *given, const char *token)
{
    const size_t n = strlen(token);
    unsigned differs = strlen(given) != n;
    for (size_t i = 0; i < n && *given; given += given[1] != '\0', i++)
        differs |= (unsigned char)(*given ^ token[i]);
    return differs == 0;
}

/* May this POST be answered?  Else the status and the sentence are in *reply. */
static bool http_may_post(const struct http *http, struct MHD_Connection *connection,
                          struct http_reply *reply)
{
    static const char bearer[] = "Bearer ";
    const char *given =
        MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Authorization");
    if (MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Origin")) {
        reply->status = MHD_HTTP_FORBIDDEN;
        buf_puts(reply->body, "this is not for a page in a browser\n");
    } else if (http->token[0] != '\0') {
        if (given && strncmp(given, bearer, strlen(bearer)) == 0 &&
            http_is_token(given + strlen(bearer), http->token))
            return true;
        reply->status = MHD_HTTP_UNAUTHORIZED;
        buf_puts(reply->body, "this needs the token of endpoints.token_file\n");
    } else {
        const union MHD_ConnectionInfo *info =
            MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
        if (info && http_is_loopback(info->client_addr))
            return true;
        reply->status = MHD_HTTP_FORBIDDEN;
        buf_puts(reply->body, "without endpoints.token_file this machine alone may ask that\n");
    }
    return false;
}

/* A body says nothing here, so one may be short, and its length must be told. */
static bool http_body_is_small(struct MHD_Connection *connection)
{
    const char *length =
        MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Content-Length");
    return !MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Transfer-Encoding") &&
           (!length || strtoull(length, NULL, 10) <= HTTP_REQUEST_BYTES);
}

static enum MHD_Result http_on_request(void *cls, struct MHD_Connection *connection,
                                       const char *url, const char *method, const char *version,
                                       const char *upload, size_t *upload_size, void **context)
{
    (void)version, (void)upload;
    static int seen; /* its address marks a request whose headers were read */
    if (*context == NULL && !http_body_is_small(connection))
        return MHD_NO;
    if (*context == NULL || *upload_size > 0) {
        *context = &seen;
        *upload_size = 0; /* a body is passed over */
        return MHD_YES;
    }
    struct http *http = cls;
    struct buf body;
    buf_init(&body, HTTP_BODY_MAX);
    struct http_reply reply = {MHD_HTTP_OK, "text/plain; charset=utf-8", &body};
    const char *host = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Host");
    const bool post = http->on_post && strcmp(method, "POST") == 0;
    if (!post && strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0) {
        reply.status = MHD_HTTP_METHOD_NOT_ALLOWED;
        buf_puts(&body, http->on_post ? "only GET, HEAD and POST\n" : "only GET and HEAD\n");
    } else if (host && !http_host_is_ours(host)) {
        reply.status = MHD_HTTP_MISDIRECTED_REQUEST;
        buf_puts(&body, "this host is not served here\n");
    } else if (!post) {
        http->handler(http->arg, url, &reply);
    } else if (http_may_post(http, connection, &reply)) {
        http->on_post(http->arg, url, &reply);
    }
    if (body.failed) {
        buf_clear(&body);
        buf_puts(&body, "the answer is too large\n");
        reply.status = MHD_HTTP_INTERNAL_SERVER_ERROR;
    }
    const enum MHD_Result sent = http_send(connection, reply.status, reply.content_type, &body);
    buf_release(&body);
    return sent;
}

static void http_on_timer(uv_timer_t *timer);

/* Let libmicrohttpd work, then ask when it wants to work again. */
static void http_turn(struct http *http)
{
    MHD_run(http->daemon);
    MHD_UNSIGNED_LONG_LONG wait_ms = 0;
    if (MHD_get_timeout(http->daemon, &wait_ms) == MHD_YES)
        uv_timer_start(&http->timer, http_on_timer, wait_ms, 0);
    else
        uv_timer_stop(&http->timer);
}

static void http_on_timer(uv_timer_t *timer)
{
    http_turn(timer->data);
}

static void http_on_readable(uv_poll_t *poll, int status, int events)
{
    (void)status, (void)events;
    http_turn(poll->data);
}

/* "127.0.0.1:80" or "[::1]:80" into an address. */
static enum err_code http_parse(const char *listen, struct sockaddr_storage *out,
                                struct err *err)
{
    *out = (struct sockaddr_storage){0};
    char host[INET6_ADDRSTRLEN + 2];
    const char *colon = strrchr(listen, ':');
    char *end = NULL;
    const unsigned long port = colon && colon[1] ? strtoul(colon + 1, &end, 10) : 65536;
    const size_t n = colon ? (size_t)(colon - listen) : sizeof host;
    if (n >= sizeof host || port > 65535 || *end != '\0')
        return err_set(err, ERR_USAGE, "endpoints.http: \"%.80s\" is not ADDRESS:PORT", listen);
    memcpy(host, listen, n);
    host[n] = '\0';

    struct sockaddr_in *v4 = (struct sockaddr_in *)out;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;
    if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons((uint16_t)port);
        return ERR_OK;
    }
    if (n > 2 && host[0] == '[' && host[n - 1] == ']') {
        host[n - 1] = '\0';
        if (inet_pton(AF_INET6, host + 1, &v6->sin6_addr) == 1) {
            v6->sin6_family = AF_INET6;
            v6->sin6_port = htons((uint16_t)port);
            return ERR_OK;
        }
    }
    return err_set(err, ERR_USAGE, "endpoints.http: \"%.80s\" is not an IP address and a port",
                   listen);
}

enum err_code http_check(const char *listen, struct err *err)
{
    struct sockaddr_storage address;
    return http_parse(listen, &address, err);
}

static enum err_code http_start(struct http *http, const char *listen, struct err *err)
{
    struct sockaddr_storage address;
    const enum err_code rc = http_parse(listen, &address, err);
    if (rc)
        return rc;
    unsigned flags = MHD_USE_EPOLL;
    if (address.ss_family == AF_INET6)
        flags |= MHD_USE_IPv6;
    http->daemon = MHD_start_daemon(
        flags, 0, NULL, NULL, http_on_request, http, MHD_OPTION_SOCK_ADDR,
        (struct sockaddr *)&address, MHD_OPTION_CONNECTION_LIMIT, HTTP_CONNECTIONS_MAX,
        MHD_OPTION_PER_IP_CONNECTION_LIMIT, HTTP_PER_ADDRESS_MAX, MHD_OPTION_CONNECTION_TIMEOUT,
        HTTP_IDLE_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT, HTTP_REQUEST_BYTES, MHD_OPTION_END);
    if (!http->daemon)
        return err_set(err, ERR_IO, "cannot listen for HTTP on %s", listen);
    http->port = MHD_get_daemon_info(http->daemon, MHD_DAEMON_INFO_BIND_PORT)->port;
    return ERR_OK;
}

struct http *http_open(uv_loop_t *loop, const char *listen, http_handler handler, void *arg,
                       struct err *err)
{
    struct http *http = calloc(1, sizeof *http);
    if (!http) {
        err_set(err, ERR_NOMEM, "out of memory for the HTTP server");
        return NULL;
    }
    http->handler = handler;
    http->arg = arg;
    if (http_start(http, listen, err)) {
        free(http);
        return NULL;
    }
    const int fd = MHD_get_daemon_info(http->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
    const int failed = uv_poll_init(loop, &http->poll, fd) || uv_timer_init(loop, &http->timer);
    assert(!failed); /* both fail only for a descriptor epoll refuses */
    http->poll.data = http->timer.data = http;
    http->open_handles = 2;
    uv_poll_start(&http->poll, UV_READABLE, http_on_readable);
    return http;
}

void http_accept_posts(struct http *http, const char *token, http_handler handler)
{
    http->token = token;
    http->on_post = handler;
}

uint16_t http_port(const struct http *http)
{
    return http->port;
}

static void http_on_closed(uv_handle_t *handle)
{
    struct http *http = handle->data;
    http->open_handles -= 1;
    if (http->open_handles == 0)
        free(http);
}

void http_close(struct http *http)
{
    if (!http)
        return;
    uv_poll_stop(&http->poll);
    uv_timer_stop(&http->timer);
    MHD_stop_daemon(http->daemon);
    uv_close((uv_handle_t *)&http->poll, http_on_closed);
    uv_close((uv_handle_t *)&http->timer, http_on_closed);
}

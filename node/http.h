/*
 * http.h -- a small HTTP server on the libuv loop: GET and HEAD, answers from memory.
 *
 * For metrics, health and status.  libmicrohttpd drives the protocol with its epoll descriptor
 * inside the loop; no thread of its own.  At most 64 connections, 8 an address, 3 s idle,
 * 16 KiB of request each; anything but GET and HEAD is 405; a Host header that names neither
 * this machine's loopback nor an IP address is 421 (DNS rebinding).
 */
#ifndef NODE_HTTP_H
#define NODE_HTTP_H

#include <stdint.h>
#include <uv.h>

#include "base/buf.h"
#include "base/err.h"

#define HTTP_BODY_MAX (8u * 1024u * 1024u) /* bytes of an answer */

struct http_reply {
    unsigned status;          /* 200 unless the handler says otherwise */
    const char *content_type; /* a constant string; "text/plain; charset=utf-8" unless set */
    struct buf *body;
};

/* Fill *reply for `path` (without the query).  Called on the loop's thread; must not block. */
typedef void (*http_handler)(void *arg, const char *path, struct http_reply *reply);

struct http;

/*
 * Listen on "ADDRESS:PORT" ("127.0.0.1:9464", "[::1]:0"; port 0: any free one).  ERR_USAGE
 * where the text is no such address, ERR_IO where the port cannot be had.  The caller ends it
 * with http_close, while the loop still runs.
 */
struct http *http_open(uv_loop_t *loop, const char *listen, http_handler handler, void *arg,
                       struct err *err);

/* The port that was bound. */
uint16_t http_port(const struct http *http);

/* Stop listening and end every connection; the struct is freed once the loop has closed its
 * handles. */
void http_close(struct http *http);

#endif

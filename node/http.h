/*
 * http.h -- a small HTTP server on the libuv loop: GET and HEAD, answers from memory; POST for
 * those who may.
 *
 * For metrics, health and status, and for what a person asks of a run.  libmicrohttpd drives
 * the protocol with its epoll descriptor inside the loop; no thread of its own.  At most 64
 * connections, 8 an address, 3 s idle, 16 KiB of request each; any other method is 405; a Host
 * header that names neither this machine's loopback nor an IP address is 421 (DNS rebinding).
 */
#ifndef NODE_HTTP_H
#define NODE_HTTP_H

#include <stdint.h>
#include <uv.h>

#include "base/buf.h"
#include "base/err.h"

#define HTTP_BODY_MAX  (8u * 1024u * 1024u) /* bytes of an answer */
#define HTTP_TOKEN_MIN 16                   /* characters of a token */
#define HTTP_TOKEN_MAX 256                  /* bytes, with the NUL */

struct http_reply {
    unsigned status;          /* 200 unless the handler says otherwise */
    const char *content_type; /* a constant string; "text/plain; charset=utf-8" unless set */
    struct buf *body;
};

/* Fill *reply for `path` (without the query).  Called on the loop's thread; must not block. */
typedef void (*http_handler)(void *arg, const char *path, struct http_reply *reply);

struct http;

/*
 * Listen on "ADDRESS:PORT" ("127.0.0.1:9464", "[::1]:0"; port 0: any free one).  NULL, and
 * ERR_USAGE where the text is no such address, ERR_IO where the port cannot be had, ERR_NOMEM.
 * The caller ends it with http_close, while the loop still runs.
 */
struct http *http_open(uv_loop_t *loop, const char *listen, http_handler handler, void *arg,
                       struct err *err);

/*
 * From now on POST is answered too, by `handler` with the same arg; its body is not looked at.
 * Who may: where `token` is empty, whoever asks from this machine's loopback; else whoever sends
 * "Authorization: Bearer TOKEN", from anywhere.  Never a browser on behalf of a page: a request
 * with an Origin is refused, as are the others (403; 401 for a token that is missing or wrong),
 * with a sentence.  token is borrowed.
 */
void http_accept_posts(struct http *http, const char *token, http_handler handler);

/* The first line of a file that its owner alone can read: HTTP_TOKEN_MIN characters or more, none
 * a blank.  ERR_IO, ERR_FORMAT, ERR_VALUE, naming the file; never its content. */
enum err_code http_token_read(const char *path, char token[HTTP_TOKEN_MAX], struct err *err);

/* ERR_USAGE where http_open would refuse the text. */
enum err_code http_check(const char *listen, struct err *err);

/* The port that was bound. */
uint16_t http_port(const struct http *http);

/* Stop listening and end every connection; the struct is freed once the loop has closed its
 * handles. */
void http_close(struct http *http);

#endif

/*
 * service.h -- requests to one reward service: several at a time, retried, with a deadline.
 *
 *     WAITING --due--> RUNNING --2xx----------------------------------------> done (ok)
 *        ^                | \--other status, broken reply-------------------> done (failed)
 *        |                |  \--deadline, the request was sent--------------> done (timeout)
 *        +----back-off----+ connection refused or lost, no connection in time, 429, 502, 503,
 *                           504
 *
 * Back-off: 100 ms doubled a try, at most 5 s, times a jitter in [0.5, 1) that is a function
 * of the request and the try; at least what Retry-After says.  Where it would pass the
 * deadline, or after SERVICE_TRIES_MAX tries, the request fails at once, and the service was away.
 * The deadline of a request begins when it is first sent.
 *
 * Redirects are not followed, no protocol but HTTP and HTTPS is spoken, environment variables
 * name no proxy, a reply has a greatest size.  Connections are kept alive between requests.
 */
#ifndef REWARD_SERVICE_H
#define REWARD_SERVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "reward/scorer.h"

#define SERVICE_PARALLEL_MAX 8u /* requests under way at once */
#define SERVICE_TRIES_MAX    5u
#define SERVICE_URL_MAX      121u /* bytes of a URL as it is shown, with the NUL */
#define SERVICE_REPLY_MAX    (16u * 1024u * 1024u)
#define SERVICE_REQUEST_MAX  (256u * 1024u * 1024u)

enum service_state { SERVICE_WAITING, SERVICE_RUNNING, SERVICE_DONE };

struct service_call {
    struct buf body; /* the caller's: JSON to be posted; service_run releases it when done */

    /* When done. */
    enum score_state outcome;
    bool away;                      /* failed because nobody was there, or was too busy */
    bool broke;                     /* failed with a status 5xx that says neither */
    const struct buf *reply;        /* SCORE_OK: what came, during on_done only */
    char reason[SCORER_REASON_MAX]; /* else: why, without the URL */
    uint32_t tries;                 /* requests sent */

    /* The service's own. */
    enum service_state state;
    uint64_t deadline_ms, due_ms;
    uint64_t number;
};

struct service;

/* `url` is checked, not contacted.  ERR_USAGE where it is none, ERR_NOMEM.  The caller frees
 * it with service_close. */
enum err_code service_open(struct service **out, const char *url, uint32_t timeout_ms,
                           struct err *err);
void service_close(struct service *service); /* NULL does nothing */

/* The URL without user, password and query, cut off: for reasons and logs. */
const char *service_url(const struct service *service);

/* Carry out all calls; on_done(ctx, i) for each, in the order they end.  Returns when all are
 * done; where `watch` says to stop, the rest is done (failed) at once. */
void service_run(struct service *service, struct service_call *calls, size_t n,
                 const struct scorer_watch *watch, void (*on_done)(void *ctx, size_t i),
                 void *ctx);

#endif

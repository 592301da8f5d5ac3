/* service.c -- see service.h. */
#include "reward/service.h"

#include <assert.h>
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/rng.h"

#define SERVICE_BACKOFF_MS     100u
#define SERVICE_BACKOFF_MAX_MS 5000u
#define SERVICE_CONNECT_MAX_MS 10000u
#define SERVICE_TURN_MS        200 /* so soon it sees that it is to stop */

struct service_slot {
    CURL *easy;
    struct service_call *call; /* NULL: free */
    struct buf reply;
};

struct service {
    char url[SERVICE_URL_MAX]; /* as shown */
    uint32_t timeout_ms;
    uint64_t key;    /* of the jitter */
    uint64_t number; /* of the next call */
    CURLM *multi;
    struct curl_slist *headers;
    struct service_slot slot[SERVICE_PARALLEL_MAX];
};

static size_t service_on_bytes(char *bytes, size_t one, size_t n, void *ctx)
{
    struct buf *reply = ctx;
    buf_append(reply, bytes, one * n);
    return reply->failed ? 0 : one * n; /* 0 ends the transfer with CURLE_WRITE_ERROR */
}

/* Scheme, host, port and path of the URL, for people: no secrets. */
static enum err_code service_show(struct service *service, const char *url, struct err *err)
{
    CURLU *parts = curl_url();
    char *host = NULL, *path = NULL, *port = NULL, *scheme = NULL;
    enum err_code rc = ERR_OK;
    if (!parts || curl_url_set(parts, CURLUPART_URL, url, 0) ||
        curl_url_get(parts, CURLUPART_SCHEME, &scheme, 0) ||
        curl_url_get(parts, CURLUPART_HOST, &host, 0) ||
        curl_url_get(parts, CURLUPART_PATH, &path, 0) ||
        (strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0)) {
        rc = err_set(err, ERR_USAGE, "%.200s is not an http:// or https:// URL", url);
    } else {
        (void)curl_url_get(parts, CURLUPART_PORT, &port, 0); /* absent: the scheme's */
        snprintf(service->url, sizeof service->url, "%s://%s%s%s%s", scheme, host,
                 port ? ":" : "", port ? port : "", path);
    }
    curl_free(scheme);
    curl_free(host);
    curl_free(port);
    curl_free(path);
    curl_url_cleanup(parts);
    return rc;
}

static enum err_code service_open_slot(struct service *service, struct service_slot *slot,
                                       const char *url, struct err *err)
{
    buf_init(&slot->reply, SERVICE_REPLY_MAX);
    CURL *easy = slot->easy = curl_easy_init();
    if (!easy)
        return err_set(err, ERR_NOMEM, "out of memory for connections");
    CURLcode rc = CURLE_OK;
#define SET(option, value) rc = rc ? rc : curl_easy_setopt(easy, option, value)
    SET(CURLOPT_URL, url);
    SET(CURLOPT_PROTOCOLS_STR, "http,https");
    SET(CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_PROXY, ""); /* also not one that the environment names */
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_POST, 1L);
    SET(CURLOPT_HTTPHEADER, service->headers);
    SET(CURLOPT_USERAGENT, "rlhf-reward/" RLHF_VERSION);
    SET(CURLOPT_TCP_KEEPALIVE, 1L);
    SET(CURLOPT_WRITEFUNCTION, service_on_bytes);
    SET(CURLOPT_WRITEDATA, &slot->reply);
    SET(CURLOPT_PRIVATE, slot);
#undef SET
    return rc ? err_set(err, ERR_NOMEM, "libcurl: %s", curl_easy_strerror(rc)) : ERR_OK;
}

enum err_code service_open(struct service **out, const char *url, uint32_t timeout_ms,
                           struct err *err)
{
    struct service *service = calloc(1, sizeof *service);
    if (!service || curl_global_init(CURL_GLOBAL_DEFAULT)) {
        free(service);
        return err_set(err, ERR_NOMEM, "out of memory for connections");
    }
    service->timeout_ms = timeout_ms;
    service->key = hash_xxh3(url, strlen(url));
    enum err_code rc = service_show(service, url, err);
    service->headers = curl_slist_append(NULL, "Content-Type: application/json");
    if (service->headers) /* libcurl would wait a second for "100 Continue" */
        curl_slist_append(service->headers, "Expect:");
    service->multi = curl_multi_init();
    if (rc == ERR_OK && (!service->headers || !service->multi))
        rc = err_set(err, ERR_NOMEM, "out of memory for connections");
    for (size_t i = 0; rc == ERR_OK && i < SERVICE_PARALLEL_MAX; i++)
        rc = service_open_slot(service, &service->slot[i], url, err);
    if (rc) {
        service_close(service);
        return rc;
    }
    *out = service;
    return ERR_OK;
}

void service_close(struct service *service)
{
    if (!service)
        return;
    for (size_t i = 0; i < SERVICE_PARALLEL_MAX; i++) {
        assert(!service->slot[i].call);
        curl_easy_cleanup(service->slot[i].easy);
        buf_release(&service->slot[i].reply);
    }
    curl_multi_cleanup(service->multi);
    curl_slist_free_all(service->headers);
    free(service);
    curl_global_cleanup();
}

const char *service_url(const struct service *service)
{
    return service->url;
}

/* --- one call --------------------------------------------------------------------------- */

static void service_finish(struct service_call *call, enum score_state outcome,
                           const char *reason)
{
    call->state = SERVICE_DONE;
    call->outcome = outcome;
    snprintf(call->reason, sizeof call->reason, "%s", reason);
}

static uint64_t service_backoff_ms(const struct service *service,
                                   const struct service_call *call)
{
    uint32_t base = SERVICE_BACKOFF_MS << (call->tries - 1);
    if (base > SERVICE_BACKOFF_MAX_MS)
        base = SERVICE_BACKOFF_MAX_MS;
    const uint32_t key[2] = {(uint32_t)service->key, (uint32_t)(service->key >> 32)};
    const uint32_t counter[4] = {(uint32_t)call->number, (uint32_t)(call->number >> 32),
                                 call->tries, 0};
    uint32_t draw[4];
    rng_philox(counter, key, draw);
    return base / 2 + (uint64_t)(base / 2) * draw[0] / UINT32_MAX;
}

/* Once more, if there is a try left and time for it; what ended this try is its reason. */
static void service_retry(const struct service *service, struct service_call *call,
                          enum score_state outcome, uint64_t wait_ms, const char *reason)
{
    char why[SCORER_REASON_MAX];
    const uint64_t now = clock_mono_ms();
    const uint64_t backoff_ms = service_backoff_ms(service, call);
    call->due_ms = now + (wait_ms > backoff_ms ? wait_ms : backoff_ms);
    call->away = true; /* where this was the last try */
    if (call->tries >= SERVICE_TRIES_MAX) {
        snprintf(why, sizeof why, "%.120s, at the last of %u tries", reason, call->tries);
        service_finish(call, outcome, why);
    } else if (call->due_ms >= call->deadline_ms) {
        snprintf(why, sizeof why, "%.120s, at try %u; no time is left for another", reason,
                 call->tries);
        service_finish(call, outcome, why);
    } else {
        call->state = SERVICE_WAITING;
    }
}

static void service_judge_status(const struct service *service, struct service_slot *slot)
{
    struct service_call *call = slot->call;
    long status = 0;
    curl_off_t wait_s = 0;
    char why[64];
    curl_easy_getinfo(slot->easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(slot->easy, CURLINFO_RETRY_AFTER, &wait_s);
    snprintf(why, sizeof why, "HTTP status %ld%s", status,
             status >= 300 && status < 400 ? " (redirects are not followed)" : "");
    if (status >= 200 && status < 300)
        service_finish(call, SCORE_OK, "");
    else if (status == 429 || status == 502 || status == 503 || status == 504)
        service_retry(service, call, SCORE_FAILED,
                      wait_s > 0 && wait_s < 86400 ? (uint64_t)wait_s * 1000u : 0, why);
    else
        service_finish(call, SCORE_FAILED, why);
    call->broke = status >= 500 && !call->away;
}

/* Whether anything of the request was sent: of nobody who was not there could it be asked. */
static bool service_was_reached(const struct service_slot *slot)
{
    long bytes = 0;
    curl_easy_getinfo(slot->easy, CURLINFO_REQUEST_SIZE, &bytes);
    return bytes > 0;
}

/* What a transfer that ended means for its call. */
static void service_judge(const struct service *service, struct service_slot *slot,
                          CURLcode code)
{
    struct service_call *call = slot->call;
    switch (code) {
    case CURLE_OK: service_judge_status(service, slot); return;
    case CURLE_COULDNT_CONNECT:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_GOT_NOTHING:
    case CURLE_PARTIAL_FILE:
        service_retry(service, call, SCORE_FAILED, 0, curl_easy_strerror(code));
        return;
    case CURLE_OPERATION_TIMEDOUT:
        if (service_was_reached(slot))
            service_finish(call, SCORE_TIMEOUT, "no whole reply before the deadline");
        else
            service_retry(service, call, SCORE_TIMEOUT, 0, "no connection in time");
        return;
    case CURLE_WRITE_ERROR:
        service_finish(call, SCORE_FAILED, "the reply is longer than 16 MiB");
        return;
    default: service_finish(call, SCORE_FAILED, curl_easy_strerror(code)); return;
    }
}

/* Send the call in this slot, unless its time is over. */
static void service_start(struct service *service, struct service_slot *slot,
                          struct service_call *call, uint64_t now)
{
    if (call->tries == 0)
        call->deadline_ms = now + service->timeout_ms;
    if (now >= call->deadline_ms) {
        call->away = true;
        service_finish(call, SCORE_TIMEOUT, "the deadline passed before another try");
        return;
    }
    const uint64_t left_ms = call->deadline_ms - now;
    uint64_t connect_ms = service->timeout_ms / 3 + 1; /* so that there is time to try again */
    if (connect_ms > SERVICE_CONNECT_MAX_MS)
        connect_ms = SERVICE_CONNECT_MAX_MS;
    buf_clear(&slot->reply);
    curl_easy_setopt(slot->easy, CURLOPT_POSTFIELDS, call->body.data);
    curl_easy_setopt(slot->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)call->body.len);
    curl_easy_setopt(slot->easy, CURLOPT_TIMEOUT_MS, (long)left_ms);
    curl_easy_setopt(slot->easy, CURLOPT_CONNECTTIMEOUT_MS, (long)connect_ms);
    if (curl_multi_add_handle(service->multi, slot->easy)) {
        service_finish(call, SCORE_FAILED, "libcurl is out of memory");
        return;
    }
    call->tries += 1;
    call->away = call->broke = false;
    call->state = SERVICE_RUNNING;
    slot->call = call;
}

/* --- all of them ------------------------------------------------------------------------ */

struct service_run {
    struct service *service;
    struct service_call *calls;
    size_t n;
    size_t open; /* not done */
    void (*on_done)(void *ctx, size_t i);
    void *ctx;
};

static void service_tell(struct service_run *run, struct service_call *call,
                         const struct buf *reply)
{
    if (call->state != SERVICE_DONE)
        return;
    call->reply = call->outcome == SCORE_OK ? reply : NULL;
    run->on_done(run->ctx, (size_t)(call - run->calls));
    call->reply = NULL;
    buf_release(&call->body);
    run->open -= 1;
}

static struct service_slot *service_free_slot(struct service *service)
{
    for (size_t i = 0; i < SERVICE_PARALLEL_MAX; i++)
        if (!service->slot[i].call)
            return &service->slot[i];
    return NULL;
}

/* Start what is due; returns for how long nothing further will be, in ms. */
static int service_start_due(struct service_run *run)
{
    const uint64_t now = clock_mono_ms();
    uint64_t wait_ms = SERVICE_TURN_MS;
    for (size_t i = 0; i < run->n; i++) {
        struct service_call *call = &run->calls[i];
        if (call->state != SERVICE_WAITING)
            continue;
        struct service_slot *slot = service_free_slot(run->service);
        if (!slot)
            break; /* one that becomes free ends the wait */
        if (call->due_ms <= now) {
            service_start(run->service, slot, call, now);
            service_tell(run, call, NULL);
        } else if (call->due_ms - now < wait_ms) {
            wait_ms = call->due_ms - now;
        }
    }
    return (int)wait_ms;
}

static void service_collect(struct service_run *run)
{
    struct service *service = run->service;
    int left;
    for (CURLMsg *m; (m = curl_multi_info_read(service->multi, &left));) {
        if (m->msg != CURLMSG_DONE)
            continue;
        const CURLcode code = m->data.result; /* m is void once the handle is removed */
        struct service_slot *slot = NULL;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&slot);
        curl_multi_remove_handle(service->multi, slot->easy);
        service_judge(service, slot, code);
        struct service_call *call = slot->call;
        slot->call = NULL;
        service_tell(run, call, &slot->reply);
    }
}

/* Told to stop: whatever is not done fails. */
static void service_abandon(struct service_run *run)
{
    for (size_t i = 0; i < SERVICE_PARALLEL_MAX; i++) {
        struct service_slot *slot = &run->service->slot[i];
        if (slot->call)
            curl_multi_remove_handle(run->service->multi, slot->easy);
        slot->call = NULL;
    }
    for (size_t i = 0; i < run->n; i++) {
        if (run->calls[i].state == SERVICE_DONE)
            continue;
        run->calls[i].away = false;
        service_finish(&run->calls[i], SCORE_FAILED, "given up: told to stop");
        service_tell(run, &run->calls[i], NULL);
    }
}

void service_run(struct service *service, struct service_call *calls, size_t n,
                 const struct scorer_watch *watch, void (*on_done)(void *ctx, size_t i),
                 void *ctx)
{
    struct service_run run = {service, calls, n, n, on_done, ctx};
    for (size_t i = 0; i < n; i++) {
        calls[i].state = SERVICE_WAITING;
        calls[i].tries = 0;
        calls[i].away = calls[i].broke = false;
        calls[i].due_ms = 0;
        calls[i].number = service->number++;
    }
    while (run.open > 0 && !scorer_watch_stopping(watch)) {
        const int wait_ms = service_start_due(&run);
        int running;
        curl_multi_perform(service->multi, &running);
        const size_t before = run.open;
        service_collect(&run);
        /* Waiting is bounded by the deadlines, so it counts as life. */
        scorer_watch_progress(watch);
        if (run.open > 0 && run.open == before)
            curl_multi_poll(service->multi, NULL, 0, wait_ms, NULL);
    }
    service_abandon(&run);
}

/* weights_pull.c -- a fetch from its first question to its last chunk: see weights.h. */
#include "node/weights_pull.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fault.h"

#define WEIGHTS_PULL_WAIT_MS   50  /* between looks at the clock and at stop() */
#define WEIGHTS_PULL_TURNS     8   /* messages of one source, before the others' */
#define WEIGHTS_PULL_ABSENT_MS 100 /* between two questions for a version that is not there */
#define WEIGHTS_PULL_BASE_MS   60000u
#define WEIGHTS_PULL_BYTES_MS  (16u * 1024u) /* a millisecond more for so many: 16 MiB/s */

enum err_code weights_pull_fail(const struct weights_pull *p, enum err_code code,
                                const char *format, ...)
{
    char why[320];
    va_list args;
    va_start(args, format);
    vsnprintf(why, sizeof why, format, args);
    va_end(args);
    return err_set(p->err, code, "weights: version %llu from %s: %s",
                   (unsigned long long)p->request->version, p->request->endpoint, why);
}

static void weights_pull_ask_manifest(struct weights_pull *p, uint64_t now_ms)
{
    const uint64_t every_ms = p->absent_ms ? WEIGHTS_PULL_ABSENT_MS : WEIGHTS_SILENT_MS;
    if (p->asked_ms != 0 && now_ms - p->asked_ms < every_ms)
        return;
    const struct message m = {.type = MESSAGE_WEIGHTS_ASK, .version = p->request->version};
    if (wire_socket_send(p->source[0].socket, (struct wire_peer){0}, &m, NULL) == WIRE_SEND_OK)
        p->asked_ms = now_ms;
}

/* What was asked for may never come: the server may be another by now.  Its manifest first. */
static void weights_pull_resume(struct weights_pull *p, uint64_t now_ms)
{
    weights_chunks_take_back(p, 0);
    p->has_manifest = false;
    p->asked_ms = 0;
    p->resumed_ms = now_ms;
}

/* Map what the server shares, where it is on this host.  Anything amiss: the chunks will do. */
static void weights_pull_map(struct weights_pull *p, const struct message *m)
{
    if (!p->view || m->pid == 0)
        return;
    struct weights_view *view = p->view;
    view->unmapped = (struct err){0};
    if (weights_memory_map(&view->memory, m->pid, m->fd, p->request->size, p->chunk_hash,
                           WIRE_CHUNK_BYTES, &view->unmapped))
        return;
    view->bytes = view->memory.bytes;
    p->is_mapped = true;
}

/* A manifest unlike the one before it: nothing that is here counts. */
static enum err_code weights_pull_begin(struct weights_pull *p, const struct message *m)
{
    const struct weights_request *r = p->request;
    if (m->chunk_bytes != WIRE_CHUNK_BYTES)
        return weights_pull_fail(p, ERR_FORMAT, "chunks of %u bytes, not %u", m->chunk_bytes,
                                 WIRE_CHUNK_BYTES);
    struct hash root;
    hash_lanes_root(&root, m->frame[0].data, m->frame[0].size / sizeof root);
    if (memcmp(&root, &m->hash, sizeof root) != 0)
        return weights_pull_fail(p, ERR_FORMAT, "its hash is not that of the chunks' hashes");
    const enum err_code rc = weights_chunks_begin(p, m);
    if (rc)
        return rc;
    weights_pull_map(p, m);
    if (p->is_mapped || !r->relay)
        return ERR_OK;
    return weights_server_relay(r->relay, r->version, r->buffer, r->size, &p->hash,
                                p->chunk_hash, p->err);
}

static enum err_code weights_pull_on_manifest(struct weights_pull *p, const struct message *m,
                                              uint64_t now_ms)
{
    if (m->bytes == 0) {
        if (p->absent_ms == 0)
            p->absent_ms = now_ms;
        p->has_manifest = false;
        return ERR_OK;
    }
    p->absent_ms = 0;
    if (m->bytes != p->request->size)
        return weights_pull_fail(p, ERR_FORMAT, "it has %llu bytes, the model %zu",
                                 (unsigned long long)m->bytes, p->request->size);
    const bool is_same = p->chunk && memcmp(&m->hash, &p->hash, sizeof p->hash) == 0;
    const enum err_code rc = is_same ? ERR_OK : weights_pull_begin(p, m);
    p->has_manifest = !rc;
    return rc;
}

static enum err_code weights_pull_on_message(struct weights_pull *p, uint32_t source,
                                             const struct message *m)
{
    const uint64_t now_ms = clock_mono_ms();
    if (source == 0)
        p->heard_ms = p->resumed_ms = now_ms;
    if (m->type == MESSAGE_CHUNK)
        p->arrived_bytes += m->frame[0].size;
    if (m->version != p->request->version)
        return ERR_OK;
    if (m->type == MESSAGE_CHUNK)
        return weights_chunks_on_chunk(p, source, m, now_ms);
    if (m->type == MESSAGE_CHUNK_ELSEWHERE)
        weights_chunks_on_elsewhere(p, source, m, now_ms);
    else if (m->type == MESSAGE_WEIGHTS_MANIFEST && source == 0)
        return weights_pull_on_manifest(p, m, now_ms);
    else if (m->type == MESSAGE_WEIGHTS_MANIFEST && !p->source[source].avoided)
        weights_sources_avoid(p, source, "has gone on to another version");
    return ERR_OK;
}

/* What waits at one source. */
static enum err_code weights_pull_receive(struct weights_pull *p, uint32_t source)
{
    enum err_code rc = ERR_OK;
    for (int turn = 0; turn < WEIGHTS_PULL_TURNS && !rc && !p->is_mapped; turn++) {
        struct wire_peer peer;
        struct message m;
        struct err bad = {0};
        if (!p->source[source].socket) /* avoided meanwhile */
            return ERR_OK;
        const enum wire_recv got = wire_socket_recv(p->source[source].socket, &peer, &m, &bad);
        if (got == WIRE_RECV_NOTHING)
            return ERR_OK;
        if (got == WIRE_RECV_BAD) { /* it is missed, and asked for again */
            snprintf(p->bad, sizeof p->bad, "; last came %.*s", (int)sizeof p->bad - 16,
                     bad.text);
            continue;
        }
        rc = weights_pull_on_message(p, source, &m);
        message_release(&m);
        if (!rc && p->has_manifest && !p->is_mapped)
            weights_chunks_ask(p); /* one more for each that came */
    }
    return rc;
}

/* Whoever has something to say. */
static enum err_code weights_pull_listen(struct weights_pull *p)
{
    if (!weights_sources_wait(p, WEIGHTS_PULL_WAIT_MS))
        return ERR_OK;
    enum err_code rc = ERR_OK;
    const uint32_t sources = p->sources;
    for (uint32_t i = 0; i < sources && !rc; i++)
        rc = weights_pull_receive(p, i);
    return rc;
}

static bool weights_pull_is_whole(const struct weights_pull *p)
{
    return p->is_mapped || (p->chunk && p->here == p->chunks);
}

/* ERR_OK: go on. */
static enum err_code weights_pull_look(struct weights_pull *p, uint64_t now_ms,
                                       uint64_t until_ms)
{
    const struct weights_patience *patience = p->request->patience;
    if (p->has_manifest && p->asked > 0 && p->source[0].asked == 0)
        p->heard_ms = now_ms; /* the server has answered; relays are waited for */
    if (now_ms - p->heard_ms >= patience->silent_ms)
        return weights_pull_fail(p, ERR_TIMEOUT, "no answer for %u ms%s", patience->silent_ms,
                                 p->bad);
    if (now_ms >= until_ms && !p->absent_ms)
        return weights_pull_fail(p, ERR_TIMEOUT, "%u of %u chunks came within %u ms%s", p->here,
                                 p->chunks, patience->timeout_ms, p->bad);
    if (p->absent_ms && (now_ms >= until_ms || now_ms - p->absent_ms >= WEIGHTS_ABSENT_MS))
        return weights_pull_fail(p, ERR_UNAVAILABLE, "it is not held there");
    if (patience->stop && patience->stop(patience->ctx))
        return weights_pull_fail(p, ERR_UNAVAILABLE, "told to stop");
    return ERR_OK;
}

static enum err_code weights_pull_loop(struct weights_pull *p)
{
    enum err_code rc = ERR_OK;
    p->heard_ms = p->resumed_ms = clock_mono_ms();
    const uint64_t until_ms = p->heard_ms + p->request->patience->timeout_ms;
    while (!rc && !weights_pull_is_whole(p)) {
        const uint64_t now_ms = clock_mono_ms();
        if ((rc = weights_pull_look(p, now_ms, until_ms)))
            return rc;
        if (p->has_manifest && p->source[0].asked > 0 &&
            now_ms - p->resumed_ms >= WEIGHTS_SILENT_MS)
            weights_pull_resume(p, now_ms);
        weights_sources_look(p, now_ms);
        if (p->has_manifest) {
            weights_chunks_ask_later(p, now_ms);
            weights_chunks_ask(p);
        } else {
            weights_pull_ask_manifest(p, now_ms);
        }
        rc = weights_pull_listen(p);
    }
    return rc;
}

/* What was of no use, once it is known whether the rest was. */
static void weights_pull_settle(struct weights_pull *p, bool is_whole)
{
    struct weights_traffic *traffic = &p->traffic;
    if (!is_whole || p->is_mapped)
        traffic->server_bytes = traffic->relay_bytes = traffic->saved_bytes = 0;
    traffic->wasted_bytes = p->arrived_bytes - traffic->server_bytes - traffic->relay_bytes;
}

static enum err_code weights_pull_run(struct weights_pull *p)
{
    const struct weights_request *r = p->request;
    enum err_code rc = wire_socket_connect(&p->source[0].socket, r->context, r->endpoint,
                                           WIRE_LIMITS_BULK, p->err);
    if (rc)
        return rc;
    p->sources = 1;
    p->delta = r->base ? weights_delta_new() : NULL;
    p->base = p->delta ? r->base : 0;
    const uint64_t begun_ms = clock_mono_ms();
    fault_at(FAULT_weights_pull);
    rc = weights_pull_loop(p);
    fault_at(FAULT_weights_pulled);
    weights_pull_settle(p, rc == ERR_OK);
    if (p->view) {
        p->view->traffic = p->traffic;
        p->view->ms = clock_mono_ms() - begun_ms;
        p->view->came_bytes = p->came_bytes;
    }
    free(p->chunk);
    free(p->chunk_hash);
    weights_delta_free(p->delta);
    weights_sources_close(p);
    return rc;
}

uint32_t weights_timeout_ms(size_t size)
{
    return WEIGHTS_PULL_BASE_MS + (uint32_t)(size / WEIGHTS_PULL_BYTES_MS);
}

enum err_code weights_pull(struct wire_context *context, const char *endpoint, uint64_t version,
                           void *bytes, size_t size, struct hash *hash,
                           const struct weights_patience *patience, struct err *err)
{
    const struct weights_request request = {.context = context,
                                            .endpoint = endpoint,
                                            .version = version,
                                            .buffer = bytes,
                                            .size = size,
                                            .patience = patience};
    struct weights_pull p = {.request = &request, .err = err};
    const enum err_code rc = weights_pull_run(&p);
    if (rc == ERR_OK && hash)
        *hash = p.hash;
    return rc;
}

enum err_code weights_fetch(const struct weights_request *request, struct weights_view *view,
                            struct err *err)
{
    struct weights_pull p = {.request = request, .view = view, .err = err};
    *view = (struct weights_view){.bytes = request->buffer};
    const enum err_code rc = weights_pull_run(&p);
    view->hash = p.hash;
    if (rc)
        weights_release(view);
    return rc;
}

void weights_release(struct weights_view *view)
{
    weights_memory_release(&view->memory);
    view->bytes = NULL;
}

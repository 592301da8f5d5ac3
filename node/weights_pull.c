/* weights_pull.c -- see weights.h. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fault.h"
#include "node/weights.h"

#define WEIGHTS_PULL_WAIT_MS    50  /* between looks at the clock and at stop() */
#define WEIGHTS_PULL_ABSENT_MS  100 /* between two questions for a version that is not there */
#define WEIGHTS_PULL_CHUNKS_MAX (1u << 20)

enum weights_pull_chunk { CHUNK_MISSING, CHUNK_ASKED, CHUNK_HERE };

struct weights_pull {
    struct wire_socket *socket;
    const char *endpoint;
    uint64_t version;
    unsigned char *bytes; /* the caller's */
    size_t size;

    struct weights_view *view; /* to map into; NULL: that is not wanted */
    bool is_mapped;

    bool has_manifest; /* the present server's */
    struct hash hash;
    uint32_t chunk_bytes;
    uint32_t chunks;
    unsigned char *chunk; /* [chunks] enum weights_pull_chunk; NULL before the first manifest */
    uint32_t next;        /* none before it is missing */
    uint32_t asked, here;

    uint64_t asked_ms;   /* last WEIGHTS_ASK; 0: none */
    uint64_t heard_ms;   /* last message, or the beginning */
    uint64_t resumed_ms; /* the same, or resumption */
    uint64_t absent_ms;  /* first of the answers that it is not held; 0: the last was another */
    char bad[160];       /* what was wrong with the last message that was none */
    struct err *err;
};

__attribute__((format(printf, 3, 4))) static enum err_code
weights_pull_fail(const struct weights_pull *p, enum err_code code, const char *format, ...)
{
    char why[320];
    va_list args;
    va_start(args, format);
    vsnprintf(why, sizeof why, format, args);
    va_end(args);
    return err_set(p->err, code, "weights: version %llu from %s: %s",
                   (unsigned long long)p->version, p->endpoint, why);
}

static bool weights_pull_say(struct weights_pull *p, const struct message *m)
{
    return wire_socket_send(p->socket, (struct wire_peer){0}, m, NULL) == WIRE_SEND_OK;
}

static void weights_pull_ask_manifest(struct weights_pull *p, uint64_t now_ms)
{
    const uint64_t every_ms = p->absent_ms ? WEIGHTS_PULL_ABSENT_MS : WEIGHTS_SILENT_MS;
    if (p->asked_ms != 0 && now_ms - p->asked_ms < every_ms)
        return;
    const struct message m = {.type = MESSAGE_WEIGHTS_ASK, .version = p->version};
    if (weights_pull_say(p, &m))
        p->asked_ms = now_ms;
}

static void weights_pull_ask_chunks(struct weights_pull *p)
{
    while (p->asked < WEIGHTS_WINDOW && p->next < p->chunks) {
        if (p->chunk[p->next] == CHUNK_MISSING) {
            const struct message m = {
                .type = MESSAGE_CHUNK_ASK, .version = p->version, .chunk_index = p->next};
            if (!weights_pull_say(p, &m))
                return;
            p->chunk[p->next] = CHUNK_ASKED;
            p->asked++;
        }
        p->next++;
    }
}

/* What was asked for may never come: the server may be another by now.  Its manifest first. */
static void weights_pull_resume(struct weights_pull *p, uint64_t now_ms)
{
    for (uint32_t i = 0; i < p->chunks; i++)
        if (p->chunk[i] == CHUNK_ASKED)
            p->chunk[i] = CHUNK_MISSING;
    p->asked = 0;
    p->next = 0;
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
    if (weights_memory_map(&view->memory, m->pid, m->fd, p->size, &m->hash, &view->unmapped))
        return;
    view->bytes = view->memory.bytes;
    p->is_mapped = true;
}

/* A manifest unlike the one before it: nothing that is here counts. */
static enum err_code weights_pull_begin(struct weights_pull *p, const struct message *m)
{
    const uint64_t chunks = (m->bytes + m->chunk_bytes - 1) / m->chunk_bytes;
    if (chunks > WEIGHTS_PULL_CHUNKS_MAX)
        return weights_pull_fail(
            p, ERR_FORMAT, "%llu chunks of %u bytes, at most %u are allowed",
            (unsigned long long)chunks, m->chunk_bytes, WEIGHTS_PULL_CHUNKS_MAX);
    unsigned char *chunk = calloc((size_t)chunks, 1);
    if (!chunk)
        return weights_pull_fail(p, ERR_NOMEM, "no memory for %llu chunks",
                                 (unsigned long long)chunks);
    free(p->chunk);
    p->chunk = chunk;
    p->chunks = (uint32_t)chunks;
    p->chunk_bytes = m->chunk_bytes;
    p->hash = m->hash;
    p->asked = p->here = p->next = 0;
    weights_pull_map(p, m);
    return ERR_OK;
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
    if (m->bytes != p->size)
        return weights_pull_fail(p, ERR_FORMAT, "it has %llu bytes, the model %zu",
                                 (unsigned long long)m->bytes, p->size);
    const bool is_same = p->chunk && m->chunk_bytes == p->chunk_bytes &&
                         memcmp(&m->hash, &p->hash, sizeof p->hash) == 0;
    const enum err_code rc = is_same ? ERR_OK : weights_pull_begin(p, m);
    p->has_manifest = !rc;
    return rc;
}

static enum err_code weights_pull_on_chunk(struct weights_pull *p, const struct message *m)
{
    if (!p->has_manifest || m->chunk_index >= p->chunks ||
        p->chunk[m->chunk_index] == CHUNK_HERE)
        return ERR_OK; /* late, or twice */
    const size_t at = (size_t)m->chunk_index * p->chunk_bytes;
    const size_t rest = p->size - at;
    const size_t want = rest < p->chunk_bytes ? rest : p->chunk_bytes;
    if (m->frame[0].size != want)
        return weights_pull_fail(p, ERR_FORMAT, "chunk %u has %zu bytes, not %zu",
                                 m->chunk_index, m->frame[0].size, want);
    memcpy(p->bytes + at, m->frame[0].data, want);
    if (p->chunk[m->chunk_index] == CHUNK_ASKED)
        p->asked--;
    p->chunk[m->chunk_index] = CHUNK_HERE;
    p->here++;
    fault_at(FAULT_weights_pull_chunk);
    return ERR_OK;
}

/* All that waits. */
static enum err_code weights_pull_receive(struct weights_pull *p)
{
    enum err_code rc = ERR_OK;
    while (!rc && !p->is_mapped) {
        struct wire_peer peer;
        struct message m;
        struct err bad = {0};
        const enum wire_recv got = wire_socket_recv(p->socket, &peer, &m, &bad);
        if (got == WIRE_RECV_NOTHING)
            return ERR_OK;
        if (got == WIRE_RECV_BAD) { /* it is missed, and asked for again */
            snprintf(p->bad, sizeof p->bad, "; last came %.*s", (int)sizeof p->bad - 16,
                     bad.text);
            continue;
        }
        p->heard_ms = p->resumed_ms = clock_mono_ms();
        if (m.version == p->version && m.type == MESSAGE_WEIGHTS_MANIFEST)
            rc = weights_pull_on_manifest(p, &m, p->heard_ms);
        else if (m.version == p->version && m.type == MESSAGE_CHUNK)
            rc = weights_pull_on_chunk(p, &m);
        message_release(&m);
        if (!rc && p->has_manifest && !p->is_mapped)
            weights_pull_ask_chunks(p); /* one more for each that came */
    }
    return rc;
}

static enum err_code weights_pull_check(struct weights_pull *p)
{
    struct hash got;
    hash_blake2b(&got, p->bytes, p->size);
    if (memcmp(&got, &p->hash, sizeof got) == 0)
        return ERR_OK;
    char want_hex[HASH_HEX_BYTES], got_hex[HASH_HEX_BYTES];
    hash_hex(&p->hash, want_hex);
    hash_hex(&got, got_hex);
    return weights_pull_fail(p, ERR_FORMAT,
                             "the bytes have hash %.16s..., the manifest says %.16s...",
                             got_hex, want_hex);
}

static enum err_code weights_pull_timeout(const struct weights_pull *p, uint32_t timeout_ms)
{
    if (p->absent_ms)
        return weights_pull_fail(p, ERR_UNAVAILABLE, "it is not held there");
    return weights_pull_fail(p, ERR_TIMEOUT, "%u of %u chunks came within %u ms%s", p->here,
                             p->chunks, timeout_ms, p->bad);
}

static enum err_code weights_pull_loop(struct weights_pull *p,
                                       const struct weights_patience *patience)
{
    const uint64_t until_ms = clock_mono_ms() + patience->timeout_ms;
    p->heard_ms = p->resumed_ms = clock_mono_ms();
    while (!p->is_mapped && (!p->chunk || p->here < p->chunks)) {
        const uint64_t now_ms = clock_mono_ms();
        if (now_ms - p->heard_ms >= patience->silent_ms)
            return weights_pull_fail(p, ERR_TIMEOUT, "no answer for %u ms%s",
                                     patience->silent_ms, p->bad);
        if (now_ms >= until_ms)
            return weights_pull_timeout(p, patience->timeout_ms);
        if (p->absent_ms && now_ms - p->absent_ms >= WEIGHTS_ABSENT_MS)
            return weights_pull_fail(p, ERR_UNAVAILABLE, "it is not held there");
        if (patience->stop && patience->stop(patience->ctx))
            return weights_pull_fail(p, ERR_UNAVAILABLE, "told to stop");
        if (p->has_manifest && now_ms - p->resumed_ms >= WEIGHTS_SILENT_MS)
            weights_pull_resume(p, now_ms);
        if (p->has_manifest)
            weights_pull_ask_chunks(p);
        else
            weights_pull_ask_manifest(p, now_ms);
        wire_socket_wait(p->socket, WEIGHTS_PULL_WAIT_MS);
        const enum err_code rc = weights_pull_receive(p);
        if (rc)
            return rc;
    }
    return p->is_mapped ? ERR_OK : weights_pull_check(p);
}

static enum err_code weights_pull_run(struct weights_pull *p, struct wire_context *context,
                                      const struct weights_patience *patience)
{
    enum err_code rc =
        wire_socket_connect(&p->socket, context, p->endpoint, WIRE_LIMITS_BULK, p->err);
    if (rc)
        return rc;
    fault_at(FAULT_weights_pull);
    rc = weights_pull_loop(p, patience);
    fault_at(FAULT_weights_pulled);
    free(p->chunk);
    wire_socket_close(p->socket, 0);
    return rc;
}

enum err_code weights_pull(struct wire_context *context, const char *endpoint, uint64_t version,
                           void *bytes, size_t size, struct hash *hash,
                           const struct weights_patience *patience, struct err *err)
{
    struct weights_pull p = {
        .endpoint = endpoint, .version = version, .bytes = bytes, .size = size, .err = err};
    const enum err_code rc = weights_pull_run(&p, context, patience);
    if (rc == ERR_OK && hash)
        *hash = p.hash;
    return rc;
}

enum err_code weights_fetch(struct wire_context *context, const char *endpoint,
                            uint64_t version, void *buffer, size_t size,
                            struct weights_view *view, const struct weights_patience *patience,
                            struct err *err)
{
    struct weights_pull p = {.endpoint = endpoint,
                             .version = version,
                             .bytes = buffer,
                             .size = size,
                             .view = view,
                             .err = err};
    *view = (struct weights_view){.bytes = buffer};
    const enum err_code rc = weights_pull_run(&p, context, patience);
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

/* weights_chunks.c -- which chunks of a version are asked for, have come, and are right: see
 * weights_pull.h. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/log.h"
#include "node/weights_pull.h"

#define WEIGHTS_CHUNKS_LATER_MS  50u /* until a relay that lacks a chunk is asked again */
#define WEIGHTS_CHUNKS_WRONG_MAX 3u  /* of one chunk: no accident of the network any more */

static size_t weights_chunks_bytes(const struct weights_pull *p, uint32_t index)
{
    const size_t rest = p->request->size - (size_t)index * WIRE_CHUNK_BYTES;
    return rest < WIRE_CHUNK_BYTES ? rest : WIRE_CHUNK_BYTES;
}

static unsigned char *weights_chunks_at(const struct weights_pull *p, uint32_t index)
{
    return (unsigned char *)p->request->buffer + (size_t)index * WIRE_CHUNK_BYTES;
}

/* Relays begin at different chunks: then each soon has some that the others lack. */
static uint32_t weights_chunks_first(const struct weights_pull *p, uint32_t chunks)
{
    if (!p->request->relay)
        return 0;
    const char *endpoint = weights_server_endpoint(p->request->relay);
    return (uint32_t)(hash_xxh3(endpoint, strlen(endpoint)) % chunks);
}

enum err_code weights_chunks_begin(struct weights_pull *p, const struct message *manifest)
{
    const size_t chunks = hash_lanes_chunks(p->request->size, WIRE_CHUNK_BYTES);
    struct weights_chunk *chunk = calloc(chunks, sizeof *chunk);
    struct hash *chunk_hash = malloc(chunks * sizeof *chunk_hash);
    if (!chunk || !chunk_hash) {
        free(chunk);
        free(chunk_hash);
        return weights_pull_fail(p, ERR_NOMEM, "no memory for %zu chunks", chunks);
    }
    assert(manifest->frame[0].size == chunks * sizeof *chunk_hash);
    memcpy(chunk_hash, manifest->frame[0].data, chunks * sizeof *chunk_hash);
    if (p->chunk) /* what is in the buffer is of no version any more */
        p->base = 0;
    free(p->chunk);
    free(p->chunk_hash);
    p->chunk = chunk;
    p->chunk_hash = chunk_hash;
    p->chunks = (uint32_t)chunks;
    p->hash = manifest->hash;
    p->first = weights_chunks_first(p, p->chunks);
    p->asked = p->later = p->here = p->next = 0;
    p->traffic = (struct weights_traffic){.refused = p->traffic.refused};
    for (uint32_t i = 0; i < p->sources; i++)
        p->source[i].asked = 0;
    return ERR_OK;
}

/* Into another state, and of another source; what is counted follows. */
static void weights_chunks_move(struct weights_pull *p, uint32_t index,
                                enum weights_chunk_state state, uint32_t source)
{
    struct weights_chunk *chunk = &p->chunk[index];
    const bool was = chunk->state == WEIGHTS_CHUNK_ASKED || chunk->state == WEIGHTS_CHUNK_LATER;
    const bool is = state == WEIGHTS_CHUNK_ASKED || state == WEIGHTS_CHUNK_LATER;
    p->asked = p->asked - was + is;
    p->source[chunk->source].asked -= was;
    p->source[source].asked += is;
    p->later -= chunk->state == WEIGHTS_CHUNK_LATER;
    p->later += state == WEIGHTS_CHUNK_LATER;
    chunk->state = state;
    chunk->source = source & 0xff;
    if (state == WEIGHTS_CHUNK_MISSING)
        p->next = 0;
}

/* Ask this source; false, and nothing has changed, where its queue is full or nobody is
 * connected. */
static bool weights_chunks_say(struct weights_pull *p, uint32_t index, uint32_t source,
                               bool insist)
{
    struct message m = {.type = MESSAGE_CHUNK_ASK,
                        .version = p->request->version,
                        .chunk_index = index,
                        .insist = insist};
    if (source == 0 && !p->chunk[index].plain)
        m.base = p->base;
    if (p->request->relay)
        snprintf(m.text, sizeof m.text, "%s", weights_server_endpoint(p->request->relay));
    if (wire_socket_send(p->source[source].socket, (struct wire_peer){0}, &m, NULL) !=
        WIRE_SEND_OK)
        return false;
    weights_chunks_move(p, index, WEIGHTS_CHUNK_ASKED, source);
    return true;
}

void weights_chunks_ask(struct weights_pull *p)
{
    /* What a relay is asked for should not keep the server waiting. */
    const uint32_t window = p->sources > 1 ? 2 * WEIGHTS_WINDOW : WEIGHTS_WINDOW;
    for (; p->asked < window && p->next < p->chunks; p->next++) {
        const uint32_t index = (p->first + p->next) % p->chunks;
        if (p->chunk[index].state == WEIGHTS_CHUNK_MISSING &&
            !weights_chunks_say(p, index, 0, p->chunk[index].insist))
            return;
    }
}

void weights_chunks_take_back(struct weights_pull *p, uint32_t source)
{
    for (uint32_t i = 0; i < p->chunks && p->source[source].asked > 0; i++) {
        const struct weights_chunk *chunk = &p->chunk[i];
        if (chunk->source != source ||
            (chunk->state != WEIGHTS_CHUNK_ASKED && chunk->state != WEIGHTS_CHUNK_LATER))
            continue;
        weights_chunks_move(p, i, WEIGHTS_CHUNK_MISSING, 0);
    }
}

/* The relay does not have it yet, or cannot be reached yet. */
static void weights_chunks_wait(struct weights_pull *p, uint32_t index, uint32_t source,
                                uint64_t now_ms)
{
    struct weights_chunk *chunk = &p->chunk[index];
    if (chunk->tries++ < weights_sources_patience(p) / WEIGHTS_CHUNKS_LATER_MS) {
        if (p->later == 0)
            p->later_ms = now_ms + WEIGHTS_CHUNKS_LATER_MS;
        weights_chunks_move(p, index, WEIGHTS_CHUNK_LATER, source);
        return;
    }
    chunk->insist = true;
    weights_chunks_move(p, index, WEIGHTS_CHUNK_MISSING, 0);
    if (++p->source[source].lacked >= WEIGHTS_WINDOW) /* the rest would be waited for as long */
        weights_sources_avoid(p, source, "lacks what it was sent");
}

void weights_chunks_on_elsewhere(struct weights_pull *p, uint32_t source,
                                 const struct message *m, uint64_t now_ms)
{
    if (m->chunk_index >= p->chunks)
        return;
    struct weights_chunk *chunk = &p->chunk[m->chunk_index];
    if (chunk->state != WEIGHTS_CHUNK_ASKED || chunk->source != source)
        return; /* late */
    if (source > 0) {
        p->source[source].heard_ms = now_ms;
        weights_chunks_wait(p, m->chunk_index, source, now_ms);
        return;
    }
    const uint32_t relay = weights_sources_find(p, m->text, now_ms);
    if (relay == 0) {
        chunk->insist = true;
        weights_chunks_move(p, m->chunk_index, WEIGHTS_CHUNK_MISSING, 0);
        return;
    }
    if (p->source[relay].asked == 0)
        p->source[relay].heard_ms = now_ms;
    chunk->tries = 0;
    if (!weights_chunks_say(p, m->chunk_index, relay, false))
        weights_chunks_wait(p, m->chunk_index, relay, now_ms);
}

void weights_chunks_ask_later(struct weights_pull *p, uint64_t now_ms)
{
    if (p->later == 0 || now_ms < p->later_ms)
        return;
    p->later_ms = now_ms + WEIGHTS_CHUNKS_LATER_MS;
    for (uint32_t i = 0; i < p->chunks; i++) /* a relay avoided on the way has none LATER */
        if (p->chunk[i].state == WEIGHTS_CHUNK_LATER &&
            !weights_chunks_say(p, i, p->chunk[i].source, false))
            weights_chunks_wait(p, i, p->chunk[i].source, now_ms);
}

/* The chunk itself into its place, and its hash; *taken: there is one. */
static enum err_code weights_chunks_take(struct weights_pull *p, uint32_t source,
                                         const struct message *m, struct hash *got, bool *taken)
{
    const size_t want = weights_chunks_bytes(p, m->chunk_index);
    *taken = m->frame[0].size == want;
    if (*taken)
        hash_lanes_chunk(got, weights_chunks_at(p, m->chunk_index), m->frame[0].data, want);
    else if (source == 0)
        return weights_pull_fail(p, ERR_FORMAT, "chunk %u has %zu bytes, not %zu",
                                 m->chunk_index, m->frame[0].size, want);
    else
        weights_sources_avoid(p, source, "sent a chunk of another size");
    return ERR_OK;
}

/* What is in the buffer becomes the chunk, and its hash; false where this is no difference from
 * that. */
static bool weights_chunks_take_delta(struct weights_pull *p, uint32_t source,
                                      const struct message *m, struct hash *got)
{
    const uint32_t index = m->chunk_index;
    unsigned char *at = weights_chunks_at(p, index);
    const size_t size = weights_chunks_bytes(p, index);
    if (source > 0)
        weights_sources_avoid(p, source, "sent a difference, which it was not asked for");
    if (source > 0 || m->base != p->base || p->chunk[index].plain)
        return false; /* the latter two: late */
    p->chunk[index].plain = true;
    if (m->frame[0].size <= size && weights_delta_apply(p->delta, at, size, m->frame[0].data,
                                                        m->frame[0].size, NULL) == ERR_OK) {
        hash_lanes_chunk(got, NULL, at, size);
        return true;
    }
    weights_chunks_move(p, index, WEIGHTS_CHUNK_MISSING, 0);
    return false;
}

/* What it sent is not what the manifest says: bent on the way, which nothing else would tell, or
 * wrong where it was sent. */
static enum err_code weights_chunks_refuse(struct weights_pull *p, uint32_t source,
                                           const struct message *m)
{
    const uint32_t index = m->chunk_index;
    p->traffic.refused++;
    weights_chunks_move(p, index, WEIGHTS_CHUNK_MISSING, 0);
    if (m->base) /* the buffer held something else */
        return ERR_OK;
    if (source > 0) {
        weights_sources_avoid(p, source, "sent a chunk that is not what the manifest says");
        return ERR_OK;
    }
    if (++p->chunk[index].wrong == WEIGHTS_CHUNKS_WRONG_MAX)
        return weights_pull_fail(p, ERR_FORMAT,
                                 "chunk %u is not what the manifest says, %u times", index,
                                 WEIGHTS_CHUNKS_WRONG_MAX);
    log_warn("WEIGHTS-CHUNK",
             "version %llu: chunk %u from %s is not what the manifest says; it is asked for "
             "again",
             (unsigned long long)p->request->version, index, p->request->endpoint);
    return ERR_OK;
}

/* It is right: how much of it travelled, and from whom. */
static void weights_chunks_count(struct weights_pull *p, uint32_t source,
                                 const struct message *m)
{
    struct weights_traffic *traffic = &p->traffic;
    *(source == 0 ? &traffic->server_bytes : &traffic->relay_bytes) += m->frame[0].size;
    traffic->saved_bytes += weights_chunks_bytes(p, m->chunk_index) - m->frame[0].size;
}

enum err_code weights_chunks_on_chunk(struct weights_pull *p, uint32_t source,
                                      const struct message *m, uint64_t now_ms)
{
    const uint32_t index = m->chunk_index;
    struct hash got;
    if (index >= p->chunks || p->chunk[index].state == WEIGHTS_CHUNK_HERE)
        return ERR_OK; /* late, or twice */
    bool taken = m->base && weights_chunks_take_delta(p, source, m, &got);
    const enum err_code rc = m->base ? ERR_OK : weights_chunks_take(p, source, m, &got, &taken);
    if (!taken)
        return rc;
    p->heard_ms = p->source[source].heard_ms = now_ms;
    p->came_bytes += m->frame[0].size;
    p->chunk[index].plain = true;
    fault_at(FAULT_weights_pull_chunk);
    if (memcmp(&got, &p->chunk_hash[index], sizeof got) != 0)
        return weights_chunks_refuse(p, source, m);
    weights_chunks_move(p, index, WEIGHTS_CHUNK_HERE, source);
    p->here++;
    weights_chunks_count(p, source, m);
    if (p->request->relay)
        weights_server_relay_chunk(p->request->relay, p->request->version, index);
    return ERR_OK;
}

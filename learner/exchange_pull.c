/* exchange_pull.c -- what this rank asks for, and its patience: see exchange.h. */
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/hash_stream.h"
#include "learner/exchange_state.h"

#define EXCHANGE_WAIT_MS   50  /* between looks at the clock and at stop() */
#define EXCHANGE_UNSENT_MS 5   /* the same while a connection is being made */
#define EXCHANGE_RESUME_MS 500 /* without an answer: ask for everything again */
#define EXCHANGE_BAD_MS    50  /* the same after a message that was none */
#define EXCHANGE_BAD_MAX   16  /* of one rank in a round */
#define EXCHANGE_DRAIN     64  /* messages of one rank in a turn */

void exchange_stream_add(struct exchange *x, const struct exchange_stream *stream)
{
    assert(x->streams < EXCHANGE_STREAMS_MAX);
    struct exchange_stream *s = &x->stream[x->streams];
    *s = *stream;
    s->total = exchange_cut_count(&s->cut) * s->parts;
    if (s->total > 0)
        x->streams++;
}

__attribute__((format(printf, 5, 6))) static enum err_code
exchange_blame(const struct exchange *x, uint32_t rank, enum err_code code, struct err *err,
               const char *format, ...)
{
    char what[WIRE_TEXT_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    return err_set(err, code, "rank %u (%s at %.80s) %s: round %u of attempt %llu at step %llu",
                   rank, x->group.peer[rank].name, x->group.peer[rank].endpoint, what, x->round,
                   (unsigned long long)x->attempt, (unsigned long long)x->step);
}

/* --- asking ------------------------------------------------------------------------------ */

static struct wire_gradient exchange_piece(const struct exchange *x,
                                           const struct exchange_stream *s, uint64_t i)
{
    return (struct wire_gradient){
        .run = x->options.run,
        .attempt = x->attempt,
        .shape = x->shape,
        .round = x->round,
        .rank = x->group.rank,
        .part = s->part + (uint32_t)(i % s->parts),
        .first = exchange_cut_first(&s->cut, i / s->parts),
        .bytes = (uint32_t)exchange_cut_bytes(&s->cut, i / s->parts),
    };
}

/* Chunks of the tree wait for the slowest rank's: no more than there is room for. */
static bool exchange_has_room(const struct exchange *x, const struct exchange_stream *s,
                              uint64_t i)
{
    return s->to || i / s->parts < x->tree->done + EXCHANGE_AHEAD;
}

/* A window at a time, when all of the last is here: an ask by itself wakes as many threads as a
 * window of them. */
static void exchange_ask(struct exchange *x, struct exchange_stream *s)
{
    s->unsent = false;
    if (s->base < s->next)
        return;
    for (; s->next < s->total && s->next < s->base + EXCHANGE_WINDOW; s->next++) {
        if (!exchange_has_room(x, s, s->next))
            return;
        if (s->here >> (s->next - s->base) & 1)
            continue;
        fault_at(FAULT_exchange_ask);
        const struct message ask = {.type = MESSAGE_GRADIENT_ASK,
                                    .step = x->step,
                                    .gradient = exchange_piece(x, s, s->next)};
        if (wire_socket_send(x->socket[s->rank], (struct wire_peer){0}, &ask, NULL) !=
            WIRE_SEND_OK) {
            s->unsent = true;
            return;
        }
    }
}

/* What was asked for may never come: the connection or the rank may be another by now. */
static void exchange_ask_again(struct exchange *x, uint32_t rank, uint64_t now_ms)
{
    for (uint32_t i = 0; i < x->streams; i++)
        if (x->stream[i].rank == rank)
            x->stream[i].next = x->stream[i].base;
    x->watch[rank].asked_ms = now_ms;
}

/* --- receiving --------------------------------------------------------------------------- */

static struct exchange_stream *exchange_stream_of(struct exchange *x, uint32_t rank,
                                                  uint32_t part)
{
    for (uint32_t i = 0; i < x->streams; i++) {
        struct exchange_stream *s = &x->stream[i];
        if (s->rank == rank && part >= s->part && part - s->part < s->parts)
            return s;
    }
    return NULL;
}

/* Where in its stream (NULL: it is of none) what `got` is about belongs; false where that was not
 * asked for, or is here. */
static bool exchange_place(const struct exchange_stream *s, const struct wire_gradient *got,
                           uint64_t *i)
{
    if (!s || !exchange_cut_find(&s->cut, got->first, i))
        return false;
    *i = *i * s->parts + (got->part - s->part);
    return *i >= s->base && *i < s->next && !(s->here >> (*i - s->base) & 1);
}

static bool exchange_copy(unsigned char *to, const struct message *m)
{
    struct hash_stream stream;
    hash_stream_begin(&stream);
    hash_stream_copy(&stream, to, m->frame[0].data, m->frame[0].size);
    return hash_stream_end(&stream) == m->payload_xxh3;
}

/* False where the chunk's bytes are not those that its checksum is of. */
static bool exchange_keep(struct exchange *x, const struct exchange_stream *s, uint64_t i,
                          struct message *m)
{
    if (s->to)
        return exchange_copy(s->to + exchange_cut_first(&s->cut, i), m);
    const uint32_t node = x->tree->first[s->rank] + (uint32_t)(i % s->parts);
    return exchange_tree_take(x, node, i / s->parts, m);
}

static enum err_code exchange_on_bad(struct exchange *x, uint32_t rank, const struct err *bad,
                                     struct err *err)
{
    struct exchange_watch *watch = &x->watch[rank];
    atomic_fetch_add(&x->bad, 1);
    snprintf(watch->text, sizeof watch->text, "%.*s", (int)sizeof watch->text - 1, bad->text);
    if (++watch->bad < EXCHANGE_BAD_MAX)
        return ERR_OK;
    return exchange_blame(x, rank, ERR_FORMAT, err, "sent %u messages that are none, last %s",
                          watch->bad, watch->text);
}

static enum err_code exchange_on_chunk(struct exchange *x, uint32_t rank, struct message *m,
                                       uint64_t now_ms, struct err *err)
{
    struct exchange_stream *s = exchange_stream_of(x, rank, m->gradient.part);
    const size_t size = m->frame[0].size;
    uint64_t i;
    if (!exchange_place(s, &m->gradient, &i) || size != exchange_piece(x, s, i).bytes) {
        atomic_fetch_add(&x->repeated, 1);
        return ERR_OK;
    }
    fault_at(FAULT_exchange_chunk);
    if (!exchange_keep(x, s, i, m)) {
        struct err bad = {0};
        err_set(&bad, ERR_FORMAT, "a payload whose checksum is not %016llx",
                (unsigned long long)m->payload_xxh3);
        return exchange_on_bad(x, rank, &bad, err);
    }
    atomic_fetch_add(&x->bytes_received, size);
    x->watch[rank].moved_ms = now_ms;
    s->here |= (uint64_t)1 << (i - s->base);
    for (; s->here & 1; s->here >>= 1)
        s->base++;
    if (s->next < s->base)
        s->next = s->base;
    return ERR_OK;
}

/* An ask that was repeated is answered twice, and the second time perhaps by a rank that has what
 * it needs and has ended the round: what is here by then cannot be refused. */
static enum err_code exchange_on_refused(struct exchange *x, uint32_t rank,
                                         const struct message *m, struct err *err)
{
    uint64_t i;
    if (exchange_place(exchange_stream_of(x, rank, m->gradient.part), &m->gradient, &i))
        return exchange_blame(x, rank, ERR_UNAVAILABLE, err, "refuses, \"%s\"", m->text);
    atomic_fetch_add(&x->stale, 1);
    return ERR_OK;
}

static enum err_code exchange_on_message_of(struct exchange *x, uint32_t rank,
                                            struct message *m, uint64_t now_ms, struct err *err)
{
    const struct wire_gradient *g = &m->gradient;
    if (g->run != x->options.run || g->attempt != x->attempt || g->round != x->round) {
        atomic_fetch_add(&x->stale, 1);
        return ERR_OK;
    }
    x->watch[rank].heard_ms = now_ms;
    if (m->type == MESSAGE_GRADIENT_CHUNK)
        return exchange_on_chunk(x, rank, m, now_ms, err);
    if (m->type == MESSAGE_GRADIENT_REFUSED)
        return exchange_on_refused(x, rank, m, err);
    return ERR_OK;
}

static enum err_code exchange_receive(struct exchange *x, uint32_t rank, uint64_t now_ms,
                                      struct err *err)
{
    for (uint32_t i = 0; i < EXCHANGE_DRAIN; i++) {
        struct wire_peer peer;
        struct message m;
        struct err bad = {0};
        enum err_code rc = ERR_OK;
        const enum wire_recv got = wire_socket_recv(x->socket[rank], &peer, &m, &bad);
        if (got == WIRE_RECV_NOTHING)
            return ERR_OK;
        if (got == WIRE_RECV_BAD)
            rc = exchange_on_bad(x, rank, &bad, err);
        else
            rc = exchange_on_message_of(x, rank, &m, now_ms, err);
        message_release(&m);
        if (rc)
            return rc;
        for (uint32_t k = 0; k < x->streams; k++) /* more where all came */
            if (x->stream[k].rank == rank)
                exchange_ask(x, &x->stream[k]);
    }
    return ERR_OK;
}

/* --- patience ---------------------------------------------------------------------------- */

static bool exchange_awaits(const struct exchange_stream *s)
{
    return s->base < s->next || s->unsent;
}

/* A rank of which nothing is awaited is neither silent nor late; nor is one late that may be
 * waiting for this rank's own nodes. */
static void exchange_excuse(struct exchange *x, uint64_t now_ms)
{
    bool awaited[EXCHANGE_RANKS_MAX] = {false};
    for (uint32_t i = 0; i < x->streams; i++)
        awaited[x->stream[i].rank] |= exchange_awaits(&x->stream[i]);
    for (uint32_t rank = 0; rank < x->group.ranks; rank++) {
        if (!awaited[rank])
            x->watch[rank].heard_ms = now_ms;
        if (!awaited[rank] || x->tree->from > 0)
            x->watch[rank].moved_ms = now_ms;
    }
}

static enum err_code exchange_watch_stream(struct exchange *x, const struct exchange_stream *s,
                                           uint64_t now_ms, struct err *err)
{
    const uint32_t rank = s->rank;
    struct exchange_watch *watch = &x->watch[rank];
    const char *waits =
        s->part >= EXCHANGE_PART_SUM ? ", perhaps because it waits for another rank" : "";
    const char *bad = watch->bad ? "; what came was none: " : "";
    if (now_ms - watch->heard_ms >= x->options.silent_ms)
        return exchange_blame(x, rank, ERR_TIMEOUT, err, "has not answered for %llu ms%s%s",
                              (unsigned long long)(now_ms - watch->heard_ms), bad, watch->text);
    if (now_ms - watch->moved_ms >= x->options.late_ms)
        return exchange_blame(x, rank, ERR_TIMEOUT, err,
                              "lives, and has sent nothing for %llu ms%s%s%s",
                              (unsigned long long)(now_ms - watch->moved_ms), waits, bad,
                              watch->text);
    const bool is_silent = now_ms - watch->heard_ms >= EXCHANGE_RESUME_MS &&
                           now_ms - watch->asked_ms >= EXCHANGE_RESUME_MS;
    const bool is_bad =
        watch->bad > watch->bad_seen && now_ms - watch->asked_ms >= EXCHANGE_BAD_MS;
    if (is_silent || is_bad) {
        watch->bad_seen = watch->bad;
        exchange_ask_again(x, rank, now_ms);
    }
    return ERR_OK;
}

/* In the order of streams: those of nodes first.  A rank that cannot finish its chunks because
 * a third is late is not the one to be named; where sums alone are awaited, because this rank has
 * no chunk of its own, there is no telling. */
static enum err_code exchange_watch_all(struct exchange *x, uint64_t now_ms, struct err *err)
{
    if (x->options.stop && x->options.stop(x->options.ctx))
        return err_set(err, ERR_UNAVAILABLE, "told to stop in round %u of step %llu", x->round,
                       (unsigned long long)x->step);
    if (atomic_load(&x->behind.cancelled))
        return err_set(err, ERR_UNAVAILABLE, "%s", x->behind.why);
    exchange_excuse(x, now_ms);
    for (uint32_t i = 0; i < x->streams; i++) {
        const enum err_code rc = exchange_awaits(&x->stream[i])
                                     ? exchange_watch_stream(x, &x->stream[i], now_ms, err)
                                     : ERR_OK;
        if (rc)
            return rc;
    }
    return ERR_OK;
}

/* --- until all is here ------------------------------------------------------------------- */

static bool exchange_is_complete(const struct exchange *x)
{
    for (uint32_t i = 0; i < x->streams; i++)
        if (x->stream[i].base < x->stream[i].total)
            return false;
    return exchange_tree_is_done(x);
}

static void exchange_watch_begin(struct exchange *x)
{
    const uint64_t now_ms = clock_mono_ms();
    for (uint32_t rank = 0; rank < x->group.ranks; rank++)
        x->watch[rank] =
            (struct exchange_watch){.heard_ms = now_ms, .moved_ms = now_ms, .asked_ms = now_ms};
}

static enum err_code exchange_turn(struct exchange *x, struct err *err)
{
    bool unsent = false;
    for (uint32_t i = 0; i < x->streams; i++) {
        exchange_ask(x, &x->stream[i]);
        unsent |= x->stream[i].unsent;
    }
    const uint64_t before_us = clock_mono_us();
    wire_socket_wait_any_or(x->socket, x->group.ranks, x->behind.wake,
                            unsent ? EXCHANGE_UNSENT_MS : EXCHANGE_WAIT_MS);
    const uint64_t now_us = clock_mono_us(), now_ms = now_us / 1000;
    if (!x->behind.is_under_way) /* else it is the caller who waits, or not */
        atomic_fetch_add(&x->waited_us, now_us - before_us);
    for (uint32_t rank = 0; rank < x->group.ranks; rank++) {
        const enum err_code rc =
            x->socket[rank] ? exchange_receive(x, rank, now_ms, err) : ERR_OK;
        if (rc)
            return rc;
    }
    exchange_behind_hear(x);
    exchange_tree_advance(x);
    return exchange_watch_all(x, now_ms, err);
}

enum err_code exchange_pull(struct exchange *x, struct err *err)
{
    enum err_code rc = ERR_OK;
    exchange_watch_begin(x);
    while (rc == ERR_OK && !exchange_is_complete(x))
        rc = exchange_turn(x, err);
    x->streams = 0;
    return rc;
}

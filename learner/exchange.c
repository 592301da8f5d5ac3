/* exchange.c -- open, groups, and a round from begin to end: see exchange.h. */
#include "learner/exchange.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/hash.h"
#include "learner/exchange_state.h"

static const unsigned char exchange_byte = 0; /* of EXCHANGE_PART_DONE */

static enum err_code exchange_open_memory(struct exchange *x, struct err *err)
{
    const size_t bytes =
        SUMMATION_LEVELS * (EXCHANGE_BLOCK_BYTES + ARENA_ALIGN) + sizeof *x->tree + ARENA_ALIGN;
    const enum err_code rc = arena_init(&x->arena, bytes, "an exchange of gradients", err);
    if (rc)
        return rc;
    for (uint32_t i = 0; i < SUMMATION_LEVELS; i++)
        x->scratch[i] = arena_alloc(&x->arena, EXCHANGE_BLOCK_BYTES);
    x->tree = arena_alloc(&x->arena, sizeof *x->tree);
    assert(x->tree); /* the arena was sized for it */
    return ERR_OK;
}

enum err_code exchange_open(struct exchange **out, const struct exchange_options *options,
                            struct err *err)
{
    struct exchange *x = calloc(1, sizeof *x);
    if (!x)
        return err_set(err, ERR_NOMEM, "no memory for an exchange of gradients");
    x->options = *options;
    enum err_code rc = exchange_open_memory(x, err);
    if (rc == ERR_OK)
        rc = exchange_behind_open(x, err);
    if (rc) {
        arena_release(&x->arena);
        free(x);
        return rc;
    }
    pthread_mutex_init(&x->mutex, NULL);
    const struct weights_guest guest = {exchange_on_message, exchange_on_wake, x};
    weights_server_attach(options->server, &guest);
    *out = x;
    return ERR_OK;
}

static void exchange_disconnect(struct exchange *x)
{
    for (uint32_t i = 0; i < EXCHANGE_RANKS_MAX; i++) {
        wire_socket_close(x->socket[i], 0);
        x->socket[i] = NULL;
    }
}

void exchange_close(struct exchange *x)
{
    if (!x)
        return;
    exchange_behind_close(x);
    weights_server_attach(x->options.server, NULL);
    exchange_disconnect(x);
    pthread_mutex_destroy(&x->mutex);
    arena_release(&x->arena);
    free(x);
}

/* The same ranks at the same places, and the last step came to its end: connections stand.  A step
 * that is tried again has new ones: libzmq connects no more, for good, once a stranger at a rank's
 * address has answered, as a proxy does while that rank is away. */
static bool exchange_may_stay(const struct exchange_group *a, const struct exchange_group *b)
{
    if (a->step == b->step || a->ranks != b->ranks || a->rank != b->rank)
        return false;
    for (uint32_t i = 0; i < a->ranks; i++)
        if (strcmp(a->peer[i].endpoint, b->peer[i].endpoint) != 0)
            return false;
    return true;
}

static enum err_code exchange_connect(struct exchange *x, const struct exchange_group *group,
                                      struct err *err)
{
    if (exchange_may_stay(&x->group, group))
        return ERR_OK;
    exchange_disconnect(x);
    for (uint32_t i = 0; i < group->ranks; i++) {
        if (i == group->rank)
            continue;
        const enum err_code rc = wire_socket_connect(
            &x->socket[i], x->options.context, group->peer[i].endpoint, WIRE_LIMITS_BULK, err);
        if (rc) {
            x->group = (struct exchange_group){0}; /* like no later one */
            return rc;
        }
    }
    return ERR_OK;
}

enum err_code exchange_join(struct exchange *x, const struct exchange_group *group,
                            struct err *err)
{
    assert(group->ranks > 0 && group->ranks <= EXCHANGE_RANKS_MAX);
    assert(group->rank < group->ranks && !x->behind.is_under_way);
    if (group->attempt <= x->attempt)
        return err_set(err, ERR_STATE, "attempt %llu of step %llu comes after attempt %llu",
                       (unsigned long long)group->attempt, (unsigned long long)group->step,
                       (unsigned long long)x->attempt);
    fault_at(FAULT_exchange_join);
    const enum err_code rc = exchange_connect(x, group, err);
    if (rc)
        return rc;
    pthread_mutex_lock(&x->mutex);
    x->group = *group;
    x->state = EXCHANGE_BETWEEN;
    x->step = group->step;
    x->attempt = group->attempt;
    x->round = 0;
    pthread_mutex_unlock(&x->mutex);
    weights_server_wake(x->options.server); /* who waits for an older attempt is refused */
    return ERR_OK;
}

/* The round, and what was offered in it, is over. */
static void exchange_end(struct exchange *x, enum exchange_state state, const char *why)
{
    pthread_mutex_lock(&x->mutex);
    x->state = state;
    snprintf(x->why, sizeof x->why, "%.*s", (int)sizeof x->why - 1, why);
    for (uint32_t i = 0; i < WIRE_PARTS_MAX; i++)
        x->part[i].size = 0;
    pthread_mutex_unlock(&x->mutex);
    weights_server_wake(x->options.server);
}

/* The last round stands; those to come are refused. */
void exchange_abandon(struct exchange *x, const char *why)
{
    exchange_behind_cancel(x, why);
    if (x->state != EXCHANGE_BETWEEN)
        return;
    pthread_mutex_lock(&x->mutex);
    x->round++;
    pthread_mutex_unlock(&x->mutex);
    exchange_end(x, EXCHANGE_ABANDONED, why);
}

/* The server's thread looks at parts only while a round is open. */
void exchange_offer(struct exchange *x, uint32_t part, const void *bytes, size_t size,
                    size_t from)
{
    assert(part < WIRE_PARTS_MAX && from <= size);
    x->part[part].bytes = bytes;
    x->part[part].size = size;
    atomic_store(&x->part[part].from, from);
}

void exchange_ready(struct exchange *x, uint32_t part, size_t from)
{
    assert(from <= x->part[part].size);
    atomic_store(&x->part[part].from, from);
    pthread_mutex_lock(&x->mutex); /* an ask that found less there has been kept by now */
    const bool is_awaited = x->parked_n > 0;
    pthread_mutex_unlock(&x->mutex);
    if (is_awaited)
        weights_server_wake(x->options.server);
}

enum err_code exchange_check_joined(const struct exchange *x, struct err *err)
{
    if (x->attempt > 0 && x->state == EXCHANGE_BETWEEN)
        return ERR_OK;
    return err_set(err, ERR_STATE, "no attempt at a step is under way: %s",
                   x->attempt ? x->why : "none has begun");
}

static void exchange_begin(struct exchange *x, uint64_t shape)
{
    exchange_offer(x, EXCHANGE_PART_DONE, &exchange_byte, 1, 1);
    pthread_mutex_lock(&x->mutex);
    x->state = EXCHANGE_OPEN;
    x->shape = shape;
    x->round++;
    pthread_mutex_unlock(&x->mutex);
    atomic_fetch_add(&x->rounds, 1);
    weights_server_wake(x->options.server); /* some may have asked already */
}

/* Until every other rank needs nothing more from this one. */
static enum err_code exchange_wait_done(struct exchange *x, struct err *err)
{
    unsigned char byte[EXCHANGE_RANKS_MAX];
    exchange_ready(x, EXCHANGE_PART_DONE, 0);
    for (uint32_t rank = 0; rank < x->group.ranks; rank++)
        if (rank != x->group.rank)
            exchange_stream_add(x, &(struct exchange_stream){.rank = rank,
                                                             .part = EXCHANGE_PART_DONE,
                                                             .parts = 1,
                                                             .cut = exchange_cut_whole(1),
                                                             .to = &byte[rank]});
    return exchange_pull(x, err);
}

enum err_code exchange_round(struct exchange *x, uint64_t shape, struct err *err)
{
    struct err why = {0};
    exchange_begin(x, shape);
    enum err_code rc = exchange_pull(x, &why);
    if (rc == ERR_OK)
        rc = exchange_wait_done(x, &why);
    exchange_end(x, rc ? EXCHANGE_ABANDONED : EXCHANGE_BETWEEN, why.text);
    return rc ? err_set(err, rc, "%s", why.text) : ERR_OK;
}

struct exchange_counts exchange_counts(const struct exchange *x)
{
    return (struct exchange_counts){
        .rounds = atomic_load(&x->rounds),
        .waited_us = atomic_load(&x->waited_us),
        .bytes_sent = atomic_load(&x->bytes_sent),
        .bytes_received = atomic_load(&x->bytes_received),
        .stale = atomic_load(&x->stale),
        .repeated = atomic_load(&x->repeated),
        .bad = atomic_load(&x->bad),
    };
}

/* exchange_serve.c -- the others' asks, in the weights server's thread: see exchange.h. */
#include <stdio.h>
#include <string.h>

#include "base/fault.h"
#include "base/log.h"
#include "learner/exchange_state.h"

enum exchange_verdict { EXCHANGE_SEND, EXCHANGE_PARK, EXCHANGE_REFUSE };

/* Is what is asked for earlier (-1), now (0), or later (1) than where this rank is? */
static int exchange_order(const struct exchange *x, const struct wire_gradient *ask)
{
    if (ask->attempt != x->attempt)
        return ask->attempt < x->attempt ? -1 : 1;
    return (ask->round > x->round) - (ask->round < x->round);
}

static enum exchange_verdict exchange_judge_now(const struct exchange *x,
                                                const struct wire_gradient *ask, char *why,
                                                size_t cap)
{
    const struct exchange_part *part = &x->part[ask->part];
    if (ask->shape != x->shape) {
        snprintf(why, cap, "round %u is about something else here", x->round);
        return EXCHANGE_REFUSE;
    }
    if (ask->first >= part->size || ask->bytes > part->size - ask->first) {
        snprintf(why, cap, "part %u has %zu bytes here, not %u at %llu", ask->part, part->size,
                 ask->bytes, (unsigned long long)ask->first);
        return EXCHANGE_REFUSE;
    }
    if (ask->part == EXCHANGE_PART_SUM && !exchange_tree_owns(x, ask)) {
        snprintf(why, cap, "the sum's %u bytes at %llu are no chunk of this rank", ask->bytes,
                 (unsigned long long)ask->first);
        return EXCHANGE_REFUSE;
    }
    return ask->first >= atomic_load(&part->from) ? EXCHANGE_SEND : EXCHANGE_PARK;
}

/* With the mutex held.  `why` is filled where it refuses. */
static enum exchange_verdict exchange_judge(struct exchange *x, uint64_t step,
                                            const struct wire_gradient *ask, char *why,
                                            size_t cap)
{
    const int order = exchange_order(x, ask);
    if (ask->run != x->options.run) {
        snprintf(why, cap, "it belongs to another run");
        return EXCHANGE_REFUSE;
    }
    if (x->state == EXCHANGE_ABANDONED && ask->attempt == x->attempt && order >= 0) {
        snprintf(why, cap, "%s", x->why);
        return EXCHANGE_REFUSE;
    }
    if (order > 0)
        return EXCHANGE_PARK;
    if (order == 0 && x->state == EXCHANGE_OPEN)
        return exchange_judge_now(x, ask, why, cap);
    /* Who went on needs nothing more from what was before. */
    if (ask->part == EXCHANGE_PART_DONE)
        return EXCHANGE_SEND;
    atomic_fetch_add(&x->stale, 1);
    snprintf(why, cap,
             "round %u of attempt %llu at step %llu is over: here is round %u of attempt %llu "
             "at step %llu",
             ask->round, (unsigned long long)ask->attempt, (unsigned long long)step, x->round,
             (unsigned long long)x->attempt, (unsigned long long)x->step);
    return EXCHANGE_REFUSE;
}

static void exchange_answer(struct exchange *x, struct wire_socket *socket,
                            struct wire_peer peer, struct message *answer)
{
    struct err err = {0};
    answer->gradient.rank = x->group.rank;
    answer->gradient.bytes = 0;
    const enum wire_send sent = wire_socket_send_in_place(socket, peer, answer, &err);
    /* FULL and GONE: it asks again, or is no more. */
    if (sent == WIRE_SEND_BAD)
        log_error("EXCHANGE-SEND", "to rank %u: %s", answer->gradient.rank, err.text);
}

static void exchange_send_chunk(struct exchange *x, struct wire_socket *socket,
                                struct wire_peer peer, uint64_t step,
                                const struct wire_gradient *ask)
{
    static const unsigned char done = 0;
    fault_at(FAULT_exchange_serve);
    const bool is_done = ask->part == EXCHANGE_PART_DONE;
    const unsigned char *bytes = is_done ? &done : x->part[ask->part].bytes + ask->first;
    struct message answer = {
        .type = MESSAGE_GRADIENT_CHUNK,
        .step = step,
        .gradient = *ask,
        .payload_xxh3 = exchange_tree_known(x, ask),
        .frames_n = 1,
        .frame = {{bytes, is_done ? 1 : ask->bytes}},
    };
    exchange_answer(x, socket, peer, &answer);
    atomic_fetch_add(&x->bytes_sent, ask->bytes);
}

static void exchange_send_word(struct exchange *x, struct wire_socket *socket,
                               struct wire_peer peer, enum message_type type, uint64_t step,
                               const struct wire_gradient *ask, const char *why)
{
    struct message answer = {.type = type, .step = step, .gradient = *ask};
    message_set_text(&answer, why);
    exchange_answer(x, socket, peer, &answer);
}

static bool exchange_is_same_ask(const struct wire_gradient *a, const struct wire_gradient *b)
{
    return a->attempt == b->attempt && a->round == b->round && a->rank == b->rank &&
           a->part == b->part && a->first == b->first;
}

/* Keep the ask until it can be answered.  One that was kept already was repeated, perhaps over
 * a new connection: who asks wants to know that this rank lives. */
static void exchange_park(struct exchange *x, struct wire_socket *socket, struct wire_peer peer,
                          uint64_t step, const struct wire_gradient *ask)
{
    for (uint32_t i = 0; i < x->parked_n; i++) {
        if (exchange_is_same_ask(&x->parked[i].ask, ask)) {
            x->parked[i].peer = peer;
            exchange_send_word(x, socket, peer, MESSAGE_GRADIENT_WAIT, step, ask, "");
            return;
        }
    }
    if (x->parked_n < EXCHANGE_PARKED_MAX)
        x->parked[x->parked_n++] = (struct exchange_parked){peer, step, *ask};
    else
        exchange_send_word(x, socket, peer, MESSAGE_GRADIENT_WAIT, step, ask, "");
}

/* With the mutex held: answer now where that can be; false: it has to wait. */
static bool exchange_try(struct exchange *x, struct wire_socket *socket, struct wire_peer peer,
                         uint64_t step, const struct wire_gradient *ask)
{
    char why[WIRE_TEXT_MAX];
    switch (exchange_judge(x, step, ask, why, sizeof why)) {
    case EXCHANGE_SEND: exchange_send_chunk(x, socket, peer, step, ask); return true;
    case EXCHANGE_REFUSE:
        exchange_send_word(x, socket, peer, MESSAGE_GRADIENT_REFUSED, step, ask, why);
        return true;
    case EXCHANGE_PARK: return false;
    }
    return false;
}

void exchange_on_message(void *ctx, struct wire_socket *socket, struct wire_peer peer,
                         const struct message *message)
{
    struct exchange *x = ctx;
    if (message->type != MESSAGE_GRADIENT_ASK) {
        log_warn("EXCHANGE-PROTOCOL", "somebody sent %s", message_type_name(message->type));
        return;
    }
    pthread_mutex_lock(&x->mutex);
    if (!exchange_try(x, socket, peer, message->step, &message->gradient))
        exchange_park(x, socket, peer, message->step, &message->gradient);
    pthread_mutex_unlock(&x->mutex);
}

void exchange_on_wake(void *ctx, struct wire_socket *socket)
{
    struct exchange *x = ctx;
    pthread_mutex_lock(&x->mutex);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < x->parked_n; i++) { /* in order: what was asked first is first */
        const struct exchange_parked parked = x->parked[i];
        if (!exchange_try(x, socket, parked.peer, parked.step, &parked.ask))
            x->parked[kept++] = parked;
    }
    x->parked_n = kept;
    pthread_mutex_unlock(&x->mutex);
}

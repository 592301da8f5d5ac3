/* message_decode_lists.c -- the items, stats and ranks of a body; see message_decode_internal.h. */
#include "wire/message_decode_internal.h"

#define MESSAGE_UNKNOWN_MAX 16u /* fields of a newer schema, in all of a header */

struct message_lists message_decode_lists(const Rlhf__Header *h)
{
    switch (h->body_case) {
#define ITEMS(field)                                                                    \
    (struct message_lists)                                                              \
    {                                                                                   \
        .body = &h->field->base, .items = h->field->items, .items_n = h->field->n_items \
    }
#define PLAIN(field)            \
    (struct message_lists)      \
    {                           \
        .body = &h->field->base \
    }
    case RLHF__HEADER__BODY_GENERATE_LEASE: return ITEMS(generate_lease);
    case RLHF__HEADER__BODY_GENERATE_RESULT: return ITEMS(generate_result);
    case RLHF__HEADER__BODY_SCORE_LEASE: return ITEMS(score_lease);
    case RLHF__HEADER__BODY_SCORE_RESULT: return ITEMS(score_result);
    case RLHF__HEADER__BODY_TRAIN_LEASE:
        return (struct message_lists){.body = &h->train_lease->base,
                                      .items = h->train_lease->items,
                                      .items_n = h->train_lease->n_items,
                                      .ranks = h->train_lease->ranks,
                                      .ranks_n = h->train_lease->n_ranks};
    case RLHF__HEADER__BODY_TRAIN_RESULT:
        return (struct message_lists){.body = &h->train_result->base,
                                      .stats = h->train_result->stats,
                                      .stats_n = h->train_result->n_stats};
    case RLHF__HEADER__BODY_HELLO: return PLAIN(hello);
    case RLHF__HEADER__BODY_WELCOME: return PLAIN(welcome);
    case RLHF__HEADER__BODY_RESET: return PLAIN(reset);
    case RLHF__HEADER__BODY_HEARTBEAT: return PLAIN(heartbeat);
    case RLHF__HEADER__BODY_BYE: return PLAIN(bye);
    case RLHF__HEADER__BODY_ACK: return PLAIN(ack);
    case RLHF__HEADER__BODY_LEASE_FAILED: return PLAIN(lease_failed);
    case RLHF__HEADER__BODY_WEIGHTS_ASK: return PLAIN(weights_ask);
    case RLHF__HEADER__BODY_WEIGHTS_MANIFEST: return PLAIN(weights_manifest);
    case RLHF__HEADER__BODY_CHUNK_ASK: return PLAIN(chunk_ask);
    case RLHF__HEADER__BODY_CHUNK: return PLAIN(chunk);
    case RLHF__HEADER__BODY_CHUNK_ELSEWHERE: return PLAIN(chunk_elsewhere);
    case RLHF__HEADER__BODY_GRADIENT_ASK: return PLAIN(gradient_ask);
    case RLHF__HEADER__BODY_GRADIENT_CHUNK: return PLAIN(gradient_chunk);
    case RLHF__HEADER__BODY_GRADIENT_WAIT: return PLAIN(gradient_wait);
    case RLHF__HEADER__BODY_GRADIENT_REFUSED: return PLAIN(gradient_refused);
    case RLHF__HEADER__BODY__NOT_SET:
    default: return (struct message_lists){0};
#undef ITEMS
#undef PLAIN
    }
}

enum err_code message_decode_lists_check(const struct message_lists *lists,
                                         const Rlhf__Header *h, struct err *err)
{
    if (!lists->body)
        return err_set(err, ERR_FORMAT, "a message without a body that this version knows");
    if (lists->items_n > WIRE_ITEMS_MAX)
        return err_set(err, ERR_FORMAT, "a message of %zu items, at most %u are allowed",
                       lists->items_n, WIRE_ITEMS_MAX);
    if (lists->stats_n > WIRE_STATS_MAX)
        return err_set(err, ERR_FORMAT, "a message of %zu stats, at most %u are allowed",
                       lists->stats_n, WIRE_STATS_MAX);
    if (lists->ranks_n > WIRE_RANKS_MAX)
        return err_set(err, ERR_FORMAT, "a message of %zu ranks, at most %u are allowed",
                       lists->ranks_n, WIRE_RANKS_MAX);
    size_t unknown = (size_t)h->base.n_unknown_fields + lists->body->n_unknown_fields;
    for (size_t i = 0; i < lists->items_n; i++)
        unknown += lists->items[i]->base.n_unknown_fields;
    for (size_t i = 0; i < lists->stats_n; i++)
        unknown += lists->stats[i]->base.n_unknown_fields;
    for (size_t i = 0; i < lists->ranks_n; i++)
        unknown += lists->ranks[i]->base.n_unknown_fields;
    if (unknown > MESSAGE_UNKNOWN_MAX)
        return err_set(err, ERR_FORMAT,
                       "a message with %zu unknown fields, at most %u are allowed", unknown,
                       MESSAGE_UNKNOWN_MAX);
    return ERR_OK;
}

static void message_decode_lists_items(struct message *m, const struct message_lists *lists)
{
    for (size_t i = 0; i < lists->items_n; i++) {
        const Rlhf__WorkItem *from = lists->items[i];
        m->items[i] = (struct wire_item){
            .kind = (enum wire_work)from->kind,
            .a = from->a,
            .b = from->b,
            .prompt = from->prompt,
            .prompt_tokens = from->prompt_tokens,
            .response_tokens = from->response_tokens,
            .finish = (enum wire_finish)from->finish,
            .group = from->group,
        };
    }
}

static enum err_code message_decode_lists_stats(struct message *m,
                                                const struct message_lists *lists,
                                                struct err *err)
{
    for (size_t i = 0; i < lists->stats_n; i++) {
        const Rlhf__Stat *from = lists->stats[i];
        m->stats[i].value = from->value;
        const enum err_code rc =
            message_decode_text("TRAIN_RESULT: a stat's name", m->stats[i].name,
                                sizeof m->stats[i].name, from->name, err);
        if (rc)
            return rc;
    }
    return ERR_OK;
}

static enum err_code message_decode_lists_ranks(struct message *m,
                                                const struct message_lists *lists,
                                                struct err *err)
{
    enum err_code rc = ERR_OK;
    for (size_t i = 0; i < lists->ranks_n && !rc; i++) {
        const Rlhf__Rank *from = lists->ranks[i];
        struct wire_rank *to = &m->ranks[i];
        rc = message_decode_text("TRAIN_LEASE: a rank's name", to->name, sizeof to->name,
                                 from->name, err);
        if (!rc)
            rc = message_decode_text("TRAIN_LEASE: a rank's bulk_endpoint", to->endpoint,
                                     sizeof to->endpoint, from->bulk_endpoint, err);
    }
    return rc;
}

enum err_code message_decode_lists_copy(struct message *m, const struct message_lists *lists,
                                        struct err *err)
{
    message_decode_lists_items(m, lists);
    enum err_code rc = message_decode_lists_stats(m, lists, err);
    if (!rc)
        rc = message_decode_lists_ranks(m, lists, err);
    return rc;
}

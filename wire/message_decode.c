/* message_decode.c -- frames to a struct message; see message.h. */
#include <stdlib.h>
#include <string.h>

#include "proto/rlhf.pb-c.h"
#include "wire/message_internal.h"
#include "wire/slab.h"

#define MESSAGE_UNKNOWN_MAX 16u /* fields of a newer schema, in all of a header */
#define MESSAGE_ALIGN       8u

/* What unpacking may take: eight times the wire's bytes, and what WIRE_ITEMS_MAX items of the
 * fewest bytes take (160 each, with protobuf-c's own notes on them). */
#define MESSAGE_SLAB_FACTOR    8u
#define MESSAGE_SLAB_BASE      (1024u * 1024u)
#define MESSAGE_SLAB_BYTES_MAX (16u * 1024u * 1024u)

/* The lists of a body, whichever it is. */
struct message_lists {
    const ProtobufCMessage *body; /* NULL: none that this version knows */
    Rlhf__WorkItem **items;
    size_t items_n;
    Rlhf__Stat **stats;
    size_t stats_n;
    Rlhf__Rank **ranks;
    size_t ranks_n;
};

static struct message_lists message_decode_lists(const Rlhf__Header *h)
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

static enum err_code message_decode_check_lists(const Rlhf__Header *h,
                                                const struct message_lists *lists,
                                                struct err *err)
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

static enum err_code message_decode_check_header(const Rlhf__Header *h,
                                                 const struct wire_bytes *frames,
                                                 size_t frames_n, struct err *err)
{
    if (h->wire != WIRE_VERSION)
        return err_set(err, ERR_FORMAT, "a message of wire version %u, this is %u", h->wire,
                       WIRE_VERSION);
    if (h->frames != frames_n)
        return err_set(err, ERR_FORMAT, "a message that says %u payload frames and has %zu",
                       h->frames, frames_n);
    if (h->body_case == RLHF__HEADER__BODY_GRADIENT_CHUNK ||
        (h->body_case == RLHF__HEADER__BODY_CHUNK &&
         message_has_hash_elsewhere(MESSAGE_CHUNK, h->chunk->base_version)))
        return ERR_OK;
    const uint64_t sum = message_payload_xxh3(frames, frames_n);
    if (h->payload_xxh3 != sum)
        return err_set(err, ERR_FORMAT, "a payload whose checksum is %016llx, not %016llx",
                       (unsigned long long)sum, (unsigned long long)h->payload_xxh3);
    return ERR_OK;
}

/* A string field to out (cap bytes with the NUL). */
static enum err_code message_decode_text(const char *field, char *out, size_t cap,
                                         const char *text, struct err *err)
{
    if (text == protobuf_c_empty_string) /* absent: no piece of the slab */
        return ERR_OK;
    const size_t size = slab_piece_bytes(text); /* with protobuf-c's own NUL */
    if (size > cap)
        return err_set(err, ERR_FORMAT, "%s has %zu bytes, at most %zu are allowed", field,
                       size - 1, cap - 1);
    if (memchr(text, '\0', size) != text + size - 1)
        return err_set(err, ERR_FORMAT, "%s has a NUL inside", field);
    memcpy(out, text, size);
    return ERR_OK;
}

static enum err_code message_decode_bytes(const char *field, unsigned char *out, size_t want,
                                          ProtobufCBinaryData bytes, struct err *err)
{
    if (bytes.len != want)
        return err_set(err, ERR_FORMAT, "%s has %zu bytes, not %zu", field, bytes.len, want);
    memcpy(out, bytes.data, want);
    return ERR_OK;
}

/* A hash that may be absent. */
static enum err_code message_decode_hash(const char *field, struct message *m,
                                         ProtobufCBinaryData bytes, struct err *err)
{
    m->has_hash = bytes.len != 0;
    return m->has_hash ? message_decode_bytes(field, m->hash.bytes, HASH_BYTES, bytes, err)
                       : ERR_OK;
}

static enum err_code message_decode_hello(struct message *m, const Rlhf__Hello *b,
                                          struct err *err)
{
    m->role = (enum wire_role)b->role;
    m->capacity = b->capacity;
    m->version = b->version;
    m->pid = b->pid;
    enum err_code rc =
        message_decode_text("HELLO: name", m->name, sizeof m->name, b->name, err);
    if (!rc)
        rc = message_decode_text("HELLO: bulk_endpoint", m->text, sizeof m->text,
                                 b->bulk_endpoint, err);
    if (!rc)
        rc = message_decode_bytes("HELLO: boot_nonce", m->nonce, sizeof m->nonce, b->boot_nonce,
                                  err);
    if (!rc)
        rc = message_decode_bytes("HELLO: config_hash", m->config_hash.bytes, HASH_BYTES,
                                  b->config_hash, err);
    if (!rc)
        rc = message_decode_hash("HELLO: content_hash", m, b->content_hash, err);
    return rc;
}

static enum err_code message_decode_session(struct message *m, const Rlhf__Header *h,
                                            struct err *err)
{
    switch (h->body_case) {
    case RLHF__HEADER__BODY_HELLO:
        m->type = MESSAGE_HELLO;
        return message_decode_hello(m, h->hello, err);
    case RLHF__HEADER__BODY_WELCOME:
        m->type = MESSAGE_WELCOME;
        m->heartbeat_ms = h->welcome->heartbeat_ms;
        m->dead_ms = h->welcome->dead_ms;
        return ERR_OK;
    case RLHF__HEADER__BODY_RESET:
        m->type = MESSAGE_RESET;
        m->refused = h->reset->refused;
        return message_decode_text("RESET: reason", m->text, sizeof m->text, h->reset->reason,
                                   err);
    case RLHF__HEADER__BODY_HEARTBEAT:
        m->type = MESSAGE_HEARTBEAT;
        m->progress = h->heartbeat->progress;
        m->held = h->heartbeat->held;
#define X(name) m->weights.name = h->heartbeat->name;
        WIRE_WEIGHTS_MAP(X)
#undef X
        return ERR_OK;
    case RLHF__HEADER__BODY_BYE:
        m->type = MESSAGE_BYE;
        return message_decode_text("BYE: reason", m->text, sizeof m->text, h->bye->reason, err);
    default: /* RLHF__HEADER__BODY_ACK */
        m->type = MESSAGE_ACK;
        m->ack_seq = h->ack->seq;
        return ERR_OK;
    }
}

static enum err_code message_decode_lease(struct message *m, const Rlhf__Header *h,
                                          struct err *err)
{
    switch (h->body_case) {
    case RLHF__HEADER__BODY_GENERATE_LEASE:
        m->type = MESSAGE_GENERATE_LEASE;
        m->lease = h->generate_lease->lease;
        m->version = h->generate_lease->version;
        m->lease_ms = h->generate_lease->lease_ms;
        return message_decode_text("GENERATE_LEASE: weights_endpoint", m->text, sizeof m->text,
                                   h->generate_lease->weights_endpoint, err);
    case RLHF__HEADER__BODY_SCORE_LEASE:
        m->type = MESSAGE_SCORE_LEASE;
        m->lease = h->score_lease->lease;
        m->lease_ms = h->score_lease->lease_ms;
        m->version = h->score_lease->reference_version;
        return message_decode_text("SCORE_LEASE: weights_endpoint", m->text, sizeof m->text,
                                   h->score_lease->weights_endpoint, err);
    default: /* RLHF__HEADER__BODY_TRAIN_LEASE */
        m->type = MESSAGE_TRAIN_LEASE;
        m->lease = h->train_lease->lease;
        m->step = h->train_lease->step;
        m->behaviour_version = h->train_lease->behaviour_version;
        m->kl_coef = h->train_lease->kl_coef;
        m->multiplier = h->train_lease->multiplier;
        m->checkpoint = h->train_lease->checkpoint;
        m->last = h->train_lease->last;
        m->attempt = h->train_lease->attempt;
        m->rank = h->train_lease->rank;
        m->lr_scale = h->train_lease->lr_scale;
        m->restore = h->train_lease->restore;
        m->base_version = h->train_lease->base_version;
        m->target_version = h->train_lease->target_version;
        return ERR_OK;
    }
}

static enum err_code message_decode_result(struct message *m, const Rlhf__Header *h,
                                           struct err *err)
{
    switch (h->body_case) {
    case RLHF__HEADER__BODY_GENERATE_RESULT:
        m->type = MESSAGE_GENERATE_RESULT;
        m->lease = h->generate_result->lease;
        m->version = h->generate_result->version;
        return ERR_OK;
    case RLHF__HEADER__BODY_SCORE_RESULT:
        m->type = MESSAGE_SCORE_RESULT;
        m->lease = h->score_result->lease;
        m->scorers = h->score_result->scorers;
        m->version = h->score_result->reference_version;
        return message_decode_text("SCORE_RESULT: failure", m->text, sizeof m->text,
                                   h->score_result->failure, err);
    case RLHF__HEADER__BODY_TRAIN_RESULT:
        m->type = MESSAGE_TRAIN_RESULT;
        m->lease = h->train_result->lease;
        m->step = h->train_result->step;
        m->version = h->train_result->version;
        m->checkpoint_version = h->train_result->checkpoint;
        m->rank = h->train_result->rank;
        return message_decode_hash("TRAIN_RESULT: weights_hash", m,
                                   h->train_result->weights_hash, err);
    default: /* RLHF__HEADER__BODY_LEASE_FAILED */
        m->type = MESSAGE_LEASE_FAILED;
        m->lease = h->lease_failed->lease;
        m->untried = h->lease_failed->untried;
        return message_decode_text("LEASE_FAILED: reason", m->text, sizeof m->text,
                                   h->lease_failed->reason, err);
    }
}

static enum err_code message_decode_weights(struct message *m, const Rlhf__Header *h,
                                            struct err *err)
{
    switch (h->body_case) {
    case RLHF__HEADER__BODY_WEIGHTS_ASK:
        m->type = MESSAGE_WEIGHTS_ASK;
        m->version = h->weights_ask->version;
        return ERR_OK;
    case RLHF__HEADER__BODY_WEIGHTS_MANIFEST:
        m->type = MESSAGE_WEIGHTS_MANIFEST;
        m->version = h->weights_manifest->version;
        m->bytes = h->weights_manifest->bytes;
        m->chunk_bytes = h->weights_manifest->chunk_bytes;
        m->pid = h->weights_manifest->pid;
        m->fd = h->weights_manifest->fd;
        return message_decode_hash("WEIGHTS_MANIFEST: blake2b", m, h->weights_manifest->blake2b,
                                   err);
    case RLHF__HEADER__BODY_CHUNK_ASK:
        m->type = MESSAGE_CHUNK_ASK;
        m->version = h->chunk_ask->version;
        m->chunk_index = h->chunk_ask->index;
        m->insist = h->chunk_ask->insist;
        m->base = h->chunk_ask->base_version;
        return message_decode_text("CHUNK_ASK: relay", m->text, sizeof m->text,
                                   h->chunk_ask->relay, err);
    case RLHF__HEADER__BODY_CHUNK_ELSEWHERE:
        m->type = MESSAGE_CHUNK_ELSEWHERE;
        m->version = h->chunk_elsewhere->version;
        m->chunk_index = h->chunk_elsewhere->index;
        return message_decode_text("CHUNK_ELSEWHERE: endpoint", m->text, sizeof m->text,
                                   h->chunk_elsewhere->endpoint, err);
    default: /* RLHF__HEADER__BODY_CHUNK */
        m->type = MESSAGE_CHUNK;
        m->version = h->chunk->version;
        m->chunk_index = h->chunk->index;
        m->base = h->chunk->base_version;
        return ERR_OK;
    }
}

static enum err_code message_decode_gradient(struct message *m, enum message_type type,
                                             const Rlhf__Header *h, const Rlhf__Gradient *b,
                                             struct err *err)
{
    m->type = type;
    m->step = b->step;
    m->gradient = (struct wire_gradient){
        .run = b->run,
        .attempt = b->attempt,
        .shape = b->shape,
        .first = b->first,
        .round = b->round,
        .rank = b->rank,
        .part = b->part,
        .bytes = b->bytes,
    };
    if (type == MESSAGE_GRADIENT_CHUNK)
        m->payload_xxh3 = h->payload_xxh3;
    return message_decode_text("GRADIENT: reason", m->text, sizeof m->text, b->reason, err);
}

/* The body is known (message_decode_check_lists). */
static enum err_code message_decode_body(struct message *m, const Rlhf__Header *h,
                                         struct err *err)
{
    switch (h->body_case) {
    case RLHF__HEADER__BODY_GENERATE_LEASE:
    case RLHF__HEADER__BODY_SCORE_LEASE:
    case RLHF__HEADER__BODY_TRAIN_LEASE: return message_decode_lease(m, h, err);
    case RLHF__HEADER__BODY_GENERATE_RESULT:
    case RLHF__HEADER__BODY_SCORE_RESULT:
    case RLHF__HEADER__BODY_TRAIN_RESULT:
    case RLHF__HEADER__BODY_LEASE_FAILED: return message_decode_result(m, h, err);
    case RLHF__HEADER__BODY_WEIGHTS_ASK:
    case RLHF__HEADER__BODY_WEIGHTS_MANIFEST:
    case RLHF__HEADER__BODY_CHUNK_ASK:
    case RLHF__HEADER__BODY_CHUNK_ELSEWHERE:
    case RLHF__HEADER__BODY_CHUNK: return message_decode_weights(m, h, err);
    case RLHF__HEADER__BODY_GRADIENT_ASK:
        return message_decode_gradient(m, MESSAGE_GRADIENT_ASK, h, h->gradient_ask, err);
    case RLHF__HEADER__BODY_GRADIENT_CHUNK:
        return message_decode_gradient(m, MESSAGE_GRADIENT_CHUNK, h, h->gradient_chunk, err);
    case RLHF__HEADER__BODY_GRADIENT_WAIT:
        return message_decode_gradient(m, MESSAGE_GRADIENT_WAIT, h, h->gradient_wait, err);
    case RLHF__HEADER__BODY_GRADIENT_REFUSED:
        return message_decode_gradient(m, MESSAGE_GRADIENT_REFUSED, h, h->gradient_refused,
                                       err);
    default: return message_decode_session(m, h, err);
    }
}

static size_t message_decode_round_up(size_t bytes)
{
    return (bytes + MESSAGE_ALIGN - 1) / MESSAGE_ALIGN * MESSAGE_ALIGN;
}

static bool message_decode_is_aligned(const struct wire_bytes *frame)
{
    return (uintptr_t)frame->data % MESSAGE_ALIGN == 0;
}

static void message_decode_copy_items(struct message *m, const struct message_lists *lists)
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

static enum err_code
message_decode_copy_stats(struct message *m, const struct message_lists *lists, struct err *err)
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

static enum err_code
message_decode_copy_ranks(struct message *m, const struct message_lists *lists, struct err *err)
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

/* One block behind message->owned: items, stats, ranks, and frames that are not aligned. */
static enum err_code message_decode_own(struct message *m, const struct message_lists *lists,
                                        const struct wire_bytes *frames, size_t frames_n,
                                        struct err *err)
{
    const size_t head = message_decode_round_up(sizeof(struct message_memory));
    const size_t items = message_decode_round_up(lists->items_n * sizeof *m->items);
    const size_t stats = message_decode_round_up(lists->stats_n * sizeof *m->stats);
    const size_t ranks = message_decode_round_up(lists->ranks_n * sizeof *m->ranks);
    size_t bytes = head + items + stats + ranks;
    for (size_t i = 0; i < frames_n; i++)
        bytes +=
            message_decode_is_aligned(&frames[i]) ? 0 : message_decode_round_up(frames[i].size);
    unsigned char *at = malloc(bytes);
    if (!at)
        return err_set(err, ERR_NOMEM, "no memory for a message of %zu bytes", bytes);
    memset(at, 0, head + items + stats + ranks);
    m->owned = at;
    at += head;
    m->items = lists->items_n ? (void *)at : NULL;
    m->items_n = (uint32_t)lists->items_n;
    m->stats = lists->stats_n ? (void *)(at + items) : NULL;
    m->stats_n = (uint32_t)lists->stats_n;
    m->ranks = lists->ranks_n ? (void *)(at + items + stats) : NULL;
    m->ranks_n = (uint32_t)lists->ranks_n;
    at += items + stats + ranks;

    m->frames_n = (uint32_t)frames_n;
    for (size_t i = 0; i < frames_n; i++) {
        m->frame[i] = frames[i];
        if (message_decode_is_aligned(&frames[i]))
            continue;
        memcpy(at, frames[i].data, frames[i].size);
        m->frame[i].data = at;
        at += message_decode_round_up(frames[i].size);
    }
    return ERR_OK;
}

static enum err_code message_decode_unpacked(struct message *m, const Rlhf__Header *h,
                                             const struct wire_bytes *frames, size_t frames_n,
                                             struct err *err)
{
    const struct message_lists lists = message_decode_lists(h);
    enum err_code rc = message_decode_check_header(h, frames, frames_n, err);
    if (!rc)
        rc = message_decode_check_lists(h, &lists, err);
    if (!rc)
        rc = message_decode_own(m, &lists, frames, frames_n, err);
    if (rc)
        return rc;
    m->epoch = h->epoch;
    m->session = h->session;
    m->seq = h->seq;
    message_decode_copy_items(m, &lists);
    rc = message_decode_copy_stats(m, &lists, err);
    if (!rc)
        rc = message_decode_copy_ranks(m, &lists, err);
    if (!rc)
        rc = message_decode_body(m, h, err);
    if (!rc)
        rc = message_check(m, ERR_FORMAT, err);
    if (rc)
        message_release(m);
    return rc;
}

static size_t message_decode_slab_bytes(size_t head_size)
{
    const size_t bytes = MESSAGE_SLAB_FACTOR * head_size + MESSAGE_SLAB_BASE;
    return bytes < MESSAGE_SLAB_BYTES_MAX ? bytes : MESSAGE_SLAB_BYTES_MAX;
}

enum err_code message_decode(struct message *message, const void *head, size_t head_size,
                             const struct wire_bytes *frames, size_t frames_n, struct err *err)
{
    *message = (struct message){0};
    if (head_size > WIRE_HEADER_MAX)
        return err_set(err, ERR_FORMAT, "a header of %zu bytes, at most %u are allowed",
                       head_size, WIRE_HEADER_MAX);
    enum err_code rc = message_check_sizes(frames, frames_n, "a message", ERR_FORMAT, err);
    if (rc)
        return rc;

    struct slab slab;
    slab_init(&slab, message_decode_slab_bytes(head_size));
    const Rlhf__Header *h = rlhf__header__unpack(&slab.allocator, head_size, head);
    if (h)
        rc = message_decode_unpacked(message, h, frames, frames_n, err);
    else if (slab.full)
        rc = err_set(err, ERR_FORMAT, "a header of %zu bytes that unpacks to more than %zu",
                     head_size, slab.cap_bytes);
    else
        rc = err_set(err, ERR_FORMAT, "a header of %zu bytes that is not protobuf", head_size);
    slab_release(&slab);
    return rc;
}

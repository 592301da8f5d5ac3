/* message_encode.c -- struct message to a packed Header; see message.h. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "proto/rlhf.pb-c.h"
#include "wire/message_internal.h"

/* The protobuf structs of one message; only one body is used. */
struct message_encoding {
    Rlhf__Header header;
    union {
        Rlhf__Hello hello;
        Rlhf__Welcome welcome;
        Rlhf__Reset reset;
        Rlhf__Heartbeat heartbeat;
        Rlhf__Bye bye;
        Rlhf__Ack ack;
        Rlhf__GenerateLease generate_lease;
        Rlhf__GenerateResult generate_result;
        Rlhf__ScoreLease score_lease;
        Rlhf__ScoreResult score_result;
        Rlhf__TrainLease train_lease;
        Rlhf__TrainResult train_result;
        Rlhf__LeaseFailed lease_failed;
        Rlhf__WeightsAsk weights_ask;
        Rlhf__WeightsManifest weights_manifest;
        Rlhf__ChunkAsk chunk_ask;
        Rlhf__Chunk chunk;
        Rlhf__ChunkElsewhere chunk_elsewhere;
        Rlhf__Gradient gradient;
    } body;
    Rlhf__WorkItem *item, **items; /* items_n of each; NULL: none */
    Rlhf__Stat *stat, **stats;     /* stats_n of each; NULL: none */
    Rlhf__Rank rank[WIRE_RANKS_MAX], *ranks[WIRE_RANKS_MAX];
};

/* protobuf-c's structs have no const; packing only reads. */
static char *message_encode_text(const char *text)
{
    return (char *)(uintptr_t)text;
}

static ProtobufCBinaryData message_encode_bytes(const unsigned char *bytes, size_t size)
{
    return (ProtobufCBinaryData){.len = size, .data = (uint8_t *)(uintptr_t)bytes};
}

static ProtobufCBinaryData message_encode_hash(const struct message *m)
{
    return message_encode_bytes(m->hash.bytes, m->has_hash ? sizeof m->hash.bytes : 0);
}

static enum err_code message_encode_items(const struct message *m, struct message_encoding *e,
                                          struct err *err)
{
    if (m->items_n == 0)
        return ERR_OK;
    e->item = calloc(m->items_n, sizeof *e->item);
    e->items = calloc(m->items_n, sizeof *e->items);
    if (!e->item || !e->items)
        return err_set(err, ERR_NOMEM, "no memory to encode %u items", m->items_n);
    for (uint32_t i = 0; i < m->items_n; i++) {
        const struct wire_item *from = &m->items[i];
        Rlhf__WorkItem *to = e->items[i] = &e->item[i];
        rlhf__work_item__init(to);
        to->kind = (Rlhf__WorkKind)from->kind;
        to->a = from->a;
        to->b = from->b;
        to->prompt = from->prompt;
        to->prompt_tokens = from->prompt_tokens;
        to->response_tokens = from->response_tokens;
        to->finish = (uint32_t)from->finish;
        to->group = from->group;
    }
    return ERR_OK;
}

static enum err_code message_encode_stats(const struct message *m, struct message_encoding *e,
                                          struct err *err)
{
    if (m->stats_n == 0)
        return ERR_OK;
    e->stat = calloc(m->stats_n, sizeof *e->stat);
    e->stats = calloc(m->stats_n, sizeof *e->stats);
    if (!e->stat || !e->stats)
        return err_set(err, ERR_NOMEM, "no memory to encode %u stats", m->stats_n);
    for (uint32_t i = 0; i < m->stats_n; i++) {
        Rlhf__Stat *to = e->stats[i] = &e->stat[i];
        rlhf__stat__init(to);
        to->name = message_encode_text(m->stats[i].name);
        to->value = m->stats[i].value;
    }
    return ERR_OK;
}

static void message_encode_ranks(const struct message *m, struct message_encoding *e)
{
    for (uint32_t i = 0; i < m->ranks_n; i++) {
        Rlhf__Rank *to = e->ranks[i] = &e->rank[i];
        rlhf__rank__init(to);
        to->name = message_encode_text(m->ranks[i].name);
        to->bulk_endpoint = message_encode_text(m->ranks[i].endpoint);
    }
}

/* BODY(reset, RESET) makes body.reset the header's and names it b for the lines below. */
#define BODY(field, NAME, Type)                      \
    Rlhf__##Type *b = &e->body.field;                \
    e->header.field = b;                             \
    e->header.body_case = RLHF__HEADER__BODY_##NAME; \
    rlhf__##field##__init(b)

static void message_encode_session(const struct message *m, struct message_encoding *e)
{
    switch (m->type) {
    case MESSAGE_HELLO: {
        BODY(hello, HELLO, Hello);
        b->role = (Rlhf__Role)m->role;
        b->name = message_encode_text(m->name);
        b->boot_nonce = message_encode_bytes(m->nonce, sizeof m->nonce);
        b->config_hash =
            message_encode_bytes(m->config_hash.bytes, sizeof m->config_hash.bytes);
        b->capacity = m->capacity;
        b->bulk_endpoint = message_encode_text(m->text);
        b->version = m->version;
        b->content_hash = message_encode_hash(m);
        b->pid = m->pid;
        break;
    }
    case MESSAGE_WELCOME: {
        BODY(welcome, WELCOME, Welcome);
        b->heartbeat_ms = m->heartbeat_ms;
        b->dead_ms = m->dead_ms;
        break;
    }
    case MESSAGE_RESET: {
        BODY(reset, RESET, Reset);
        b->reason = message_encode_text(m->text);
        b->refused = m->refused;
        break;
    }
    case MESSAGE_HEARTBEAT: {
        BODY(heartbeat, HEARTBEAT, Heartbeat);
        b->progress = m->progress;
        b->held = m->held;
#define X(name) b->name = m->weights.name;
        WIRE_WEIGHTS_MAP(X)
#undef X
        break;
    }
    case MESSAGE_BYE: {
        BODY(bye, BYE, Bye);
        b->reason = message_encode_text(m->text);
        break;
    }
    case MESSAGE_ACK: {
        BODY(ack, ACK, Ack);
        b->seq = m->ack_seq;
        break;
    }
    default: assert(false); /* not a message of the session */
    }
}

static void message_encode_lease(const struct message *m, struct message_encoding *e)
{
    switch (m->type) {
    case MESSAGE_GENERATE_LEASE: {
        BODY(generate_lease, GENERATE_LEASE, GenerateLease);
        b->lease = m->lease;
        b->version = m->version;
        b->weights_endpoint = message_encode_text(m->text);
        b->lease_ms = m->lease_ms;
        b->items = e->items;
        b->n_items = m->items_n;
        break;
    }
    case MESSAGE_SCORE_LEASE: {
        BODY(score_lease, SCORE_LEASE, ScoreLease);
        b->lease = m->lease;
        b->lease_ms = m->lease_ms;
        b->reference_version = m->version;
        b->weights_endpoint = message_encode_text(m->text);
        b->items = e->items;
        b->n_items = m->items_n;
        break;
    }
    case MESSAGE_TRAIN_LEASE: {
        BODY(train_lease, TRAIN_LEASE, TrainLease);
        b->lease = m->lease;
        b->step = m->step;
        b->behaviour_version = m->behaviour_version;
        b->items = e->items;
        b->n_items = m->items_n;
        b->kl_coef = m->kl_coef;
        b->multiplier = m->multiplier;
        b->checkpoint = m->checkpoint;
        b->last = m->last;
        b->attempt = m->attempt;
        b->rank = m->rank;
        b->ranks = e->ranks;
        b->n_ranks = m->ranks_n;
        b->lr_scale = m->lr_scale;
        b->restore = m->restore;
        b->base_version = m->base_version;
        b->target_version = m->target_version;
        break;
    }
    default: assert(false); /* not a lease */
    }
}

static void message_encode_result(const struct message *m, struct message_encoding *e)
{
    switch (m->type) {
    case MESSAGE_GENERATE_RESULT: {
        BODY(generate_result, GENERATE_RESULT, GenerateResult);
        b->lease = m->lease;
        b->version = m->version;
        b->items = e->items;
        b->n_items = m->items_n;
        break;
    }
    case MESSAGE_SCORE_RESULT: {
        BODY(score_result, SCORE_RESULT, ScoreResult);
        b->lease = m->lease;
        b->scorers = m->scorers;
        b->reference_version = m->version;
        b->items = e->items;
        b->n_items = m->items_n;
        b->failure = message_encode_text(m->text);
        break;
    }
    case MESSAGE_TRAIN_RESULT: {
        BODY(train_result, TRAIN_RESULT, TrainResult);
        b->lease = m->lease;
        b->step = m->step;
        b->version = m->version;
        b->weights_hash = message_encode_hash(m);
        b->checkpoint = m->checkpoint_version;
        b->rank = m->rank;
        b->stats = e->stats;
        b->n_stats = m->stats_n;
        break;
    }
    case MESSAGE_LEASE_FAILED: {
        BODY(lease_failed, LEASE_FAILED, LeaseFailed);
        b->lease = m->lease;
        b->reason = message_encode_text(m->text);
        b->untried = m->untried;
        break;
    }
    default: assert(false); /* not a result */
    }
}

static void message_encode_weights(const struct message *m, struct message_encoding *e)
{
    switch (m->type) {
    case MESSAGE_WEIGHTS_ASK: {
        BODY(weights_ask, WEIGHTS_ASK, WeightsAsk);
        b->version = m->version;
        break;
    }
    case MESSAGE_WEIGHTS_MANIFEST: {
        BODY(weights_manifest, WEIGHTS_MANIFEST, WeightsManifest);
        b->version = m->version;
        b->bytes = m->bytes;
        b->chunk_bytes = m->chunk_bytes;
        b->blake2b = message_encode_hash(m);
        b->pid = m->pid;
        b->fd = m->fd;
        break;
    }
    case MESSAGE_CHUNK_ASK: {
        BODY(chunk_ask, CHUNK_ASK, ChunkAsk);
        b->version = m->version;
        b->index = m->chunk_index;
        b->relay = message_encode_text(m->text);
        b->insist = m->insist;
        b->base_version = m->base;
        break;
    }
    case MESSAGE_CHUNK_ELSEWHERE: {
        BODY(chunk_elsewhere, CHUNK_ELSEWHERE, ChunkElsewhere);
        b->version = m->version;
        b->index = m->chunk_index;
        b->endpoint = message_encode_text(m->text);
        break;
    }
    case MESSAGE_CHUNK: {
        BODY(chunk, CHUNK, Chunk);
        b->version = m->version;
        b->index = m->chunk_index;
        b->base_version = m->base;
        break;
    }
    default: assert(false); /* not a message of the weights */
    }
}

static void message_encode_gradient(const struct message *m, struct message_encoding *e)
{
    Rlhf__Gradient *b = &e->body.gradient;
    rlhf__gradient__init(b);
    b->run = m->gradient.run;
    b->step = m->step;
    b->attempt = m->gradient.attempt;
    b->round = m->gradient.round;
    b->rank = m->gradient.rank;
    b->shape = m->gradient.shape;
    b->part = m->gradient.part;
    b->first = m->gradient.first;
    b->bytes = m->gradient.bytes;
    b->reason = message_encode_text(m->text);
    e->header.gradient_ask = b; /* of the union; all four bodies are a Gradient */
    switch (m->type) {
    case MESSAGE_GRADIENT_ASK: e->header.body_case = RLHF__HEADER__BODY_GRADIENT_ASK; break;
    case MESSAGE_GRADIENT_CHUNK: e->header.body_case = RLHF__HEADER__BODY_GRADIENT_CHUNK; break;
    case MESSAGE_GRADIENT_WAIT: e->header.body_case = RLHF__HEADER__BODY_GRADIENT_WAIT; break;
    case MESSAGE_GRADIENT_REFUSED:
        e->header.body_case = RLHF__HEADER__BODY_GRADIENT_REFUSED;
        break;
    default: assert(false); /* not a message of an exchange */
    }
}

static void message_encode_body(const struct message *m, struct message_encoding *e)
{
    switch (m->type) {
    case MESSAGE_NONE:
    case MESSAGE_HELLO:
    case MESSAGE_WELCOME:
    case MESSAGE_RESET:
    case MESSAGE_HEARTBEAT:
    case MESSAGE_BYE:
    case MESSAGE_ACK: message_encode_session(m, e); break;
    case MESSAGE_GENERATE_LEASE:
    case MESSAGE_SCORE_LEASE:
    case MESSAGE_TRAIN_LEASE: message_encode_lease(m, e); break;
    case MESSAGE_GENERATE_RESULT:
    case MESSAGE_SCORE_RESULT:
    case MESSAGE_TRAIN_RESULT:
    case MESSAGE_LEASE_FAILED: message_encode_result(m, e); break;
    case MESSAGE_WEIGHTS_ASK:
    case MESSAGE_WEIGHTS_MANIFEST:
    case MESSAGE_CHUNK_ASK:
    case MESSAGE_CHUNK_ELSEWHERE:
    case MESSAGE_CHUNK: message_encode_weights(m, e); break;
    case MESSAGE_GRADIENT_ASK:
    case MESSAGE_GRADIENT_CHUNK:
    case MESSAGE_GRADIENT_WAIT:
    case MESSAGE_GRADIENT_REFUSED: message_encode_gradient(m, e); break;
    }
}

static enum err_code message_encode_pack(const Rlhf__Header *header, unsigned char **head,
                                         size_t *head_size, struct err *err)
{
    const size_t size = rlhf__header__get_packed_size(header);
    assert(size <= WIRE_HEADER_MAX); /* follows from the bounds that were checked */
    unsigned char *bytes = malloc(size);
    if (!bytes)
        return err_set(err, ERR_NOMEM, "no memory for a header of %zu bytes", size);
    rlhf__header__pack(header, bytes);
    *head = bytes;
    *head_size = size;
    return ERR_OK;
}

enum err_code message_encode(const struct message *message, unsigned char **head,
                             size_t *head_size, struct err *err)
{
    enum err_code rc = message_check(message, ERR_VALUE, err);
    if (rc)
        return rc;

    struct message_encoding e = {.header = RLHF__HEADER__INIT};
    rc = message_encode_items(message, &e, err);
    if (!rc)
        rc = message_encode_stats(message, &e, err);
    if (rc)
        goto out;
    message_encode_ranks(message, &e);
    e.header.wire = WIRE_VERSION;
    e.header.epoch = message->epoch;
    e.header.session = message->session;
    e.header.seq = message->seq;
    e.header.frames = message->frames_n;
    e.header.payload_xxh3 = message->payload_xxh3;
    if (message->payload_xxh3 == 0 && !message_has_hash_elsewhere(message->type, message->base))
        e.header.payload_xxh3 = message_payload_xxh3(message->frame, message->frames_n);
    message_encode_body(message, &e);
    rc = message_encode_pack(&e.header, head, head_size, err);

out:
    free(e.item);
    free(e.items);
    free(e.stat);
    free(e.stats);
    return rc;
}

/* message_decode_body.c -- the fields of each kind of body; see message_decode_internal.h. */
#include <string.h>

#include "wire/message_decode_internal.h"

static enum err_code message_decode_body_bytes(const char *field, unsigned char *out,
                                               size_t want, ProtobufCBinaryData bytes,
                                               struct err *err)
{
    if (bytes.len != want)
        return err_set(err, ERR_FORMAT, "%s has %zu bytes, not %zu", field, bytes.len, want);
    memcpy(out, bytes.data, want);
    return ERR_OK;
}

/* A hash that may be absent. */
static enum err_code message_decode_body_hash(const char *field, struct message *m,
                                              ProtobufCBinaryData bytes, struct err *err)
{
    m->has_hash = bytes.len != 0;
    return m->has_hash ? message_decode_body_bytes(field, m->hash.bytes, HASH_BYTES, bytes, err)
                       : ERR_OK;
}

static enum err_code message_decode_body_hello(struct message *m, const Rlhf__Hello *b,
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
        rc = message_decode_body_bytes("HELLO: boot_nonce", m->nonce, sizeof m->nonce,
                                       b->boot_nonce, err);
    if (!rc)
        rc = message_decode_body_bytes("HELLO: config_hash", m->config_hash.bytes, HASH_BYTES,
                                       b->config_hash, err);
    if (!rc)
        rc = message_decode_body_hash("HELLO: content_hash", m, b->content_hash, err);
    return rc;
}

static enum err_code message_decode_body_session(struct message *m, const Rlhf__Header *h,
                                                 struct err *err)
{
    switch (h->body_case) {
    case RLHF__HEADER__BODY_HELLO:
        m->type = MESSAGE_HELLO;
        return message_decode_body_hello(m, h->hello, err);
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

static enum err_code message_decode_body_lease(struct message *m, const Rlhf__Header *h,
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

static enum err_code message_decode_body_result(struct message *m, const Rlhf__Header *h,
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
        return message_decode_body_hash("TRAIN_RESULT: weights_hash", m,
                                        h->train_result->weights_hash, err);
    default: /* RLHF__HEADER__BODY_LEASE_FAILED */
        m->type = MESSAGE_LEASE_FAILED;
        m->lease = h->lease_failed->lease;
        m->untried = h->lease_failed->untried;
        return message_decode_text("LEASE_FAILED: reason", m->text, sizeof m->text,
                                   h->lease_failed->reason, err);
    }
}

static enum err_code message_decode_body_weights(struct message *m, const Rlhf__Header *h,
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
        return message_decode_body_hash("WEIGHTS_MANIFEST: blake2b", m,
                                        h->weights_manifest->blake2b, err);
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

static enum err_code message_decode_body_gradient(struct message *m, enum message_type type,
                                                  const Rlhf__Header *h,
                                                  const Rlhf__Gradient *b, struct err *err)
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

enum err_code message_decode_body(struct message *m, const Rlhf__Header *h, struct err *err)
{
    switch (h->body_case) {
    case RLHF__HEADER__BODY_GENERATE_LEASE:
    case RLHF__HEADER__BODY_SCORE_LEASE:
    case RLHF__HEADER__BODY_TRAIN_LEASE: return message_decode_body_lease(m, h, err);
    case RLHF__HEADER__BODY_GENERATE_RESULT:
    case RLHF__HEADER__BODY_SCORE_RESULT:
    case RLHF__HEADER__BODY_TRAIN_RESULT:
    case RLHF__HEADER__BODY_LEASE_FAILED: return message_decode_body_result(m, h, err);
    case RLHF__HEADER__BODY_WEIGHTS_ASK:
    case RLHF__HEADER__BODY_WEIGHTS_MANIFEST:
    case RLHF__HEADER__BODY_CHUNK_ASK:
    case RLHF__HEADER__BODY_CHUNK_ELSEWHERE:
    case RLHF__HEADER__BODY_CHUNK: return message_decode_body_weights(m, h, err);
    case RLHF__HEADER__BODY_GRADIENT_ASK:
        return message_decode_body_gradient(m, MESSAGE_GRADIENT_ASK, h, h->gradient_ask, err);
    case RLHF__HEADER__BODY_GRADIENT_CHUNK:
        return message_decode_body_gradient(m, MESSAGE_GRADIENT_CHUNK, h, h->gradient_chunk,
                                            err);
    case RLHF__HEADER__BODY_GRADIENT_WAIT:
        return message_decode_body_gradient(m, MESSAGE_GRADIENT_WAIT, h, h->gradient_wait, err);
    case RLHF__HEADER__BODY_GRADIENT_REFUSED:
        return message_decode_body_gradient(m, MESSAGE_GRADIENT_REFUSED, h, h->gradient_refused,
                                            err);
    default: return message_decode_body_session(m, h, err);
    }
}

/* message_check.c -- the bounds of a message, the same for what is sent and what came. */
#include <math.h>
#include <string.h>

#include "wire/message_internal.h"

#define MESSAGE_HEARTBEAT_MS_MAX 3600000u

/* What a payload frame holds, and how many of it. */
enum message_element {
    ELEMENT_ID,
    ELEMENT_LOGPROB,
    ELEMENT_REWARD,
    ELEMENT_SCORE,
    ELEMENT_STATE
};
enum message_count {
    COUNT_PROMPT,           /* prompt tokens */
    COUNT_RESPONSE,         /* response tokens */
    COUNT_BOTH,             /* prompt and response tokens */
    COUNT_ROLLOUT_RESPONSE, /* response tokens of the rollout items */
    COUNT_SCORES,           /* items x scorers */
};

static const struct message_frame_rule {
    enum message_type type;
    enum message_element element;
    enum message_count count;
    const char *what;
    bool optional; /* the last of its message, and it may be absent */
} message_frame_rules[] = {
    /* in the order of the frames */
    {MESSAGE_GENERATE_LEASE, ELEMENT_ID, COUNT_PROMPT, "prompt ids", false},
    {MESSAGE_GENERATE_RESULT, ELEMENT_ID, COUNT_RESPONSE, "response ids", false},
    {MESSAGE_GENERATE_RESULT, ELEMENT_LOGPROB, COUNT_RESPONSE, "log-probs", false},
    {MESSAGE_SCORE_LEASE, ELEMENT_ID, COUNT_BOTH, "ids", false},
    {MESSAGE_SCORE_RESULT, ELEMENT_SCORE, COUNT_SCORES, "scores", false},
    {MESSAGE_SCORE_RESULT, ELEMENT_STATE, COUNT_SCORES, "states", false},
    {MESSAGE_SCORE_RESULT, ELEMENT_LOGPROB, COUNT_ROLLOUT_RESPONSE, "reference log-probs",
     false},
    {MESSAGE_TRAIN_LEASE, ELEMENT_ID, COUNT_BOTH, "ids", false},
    {MESSAGE_TRAIN_LEASE, ELEMENT_LOGPROB, COUNT_RESPONSE, "behaviour log-probs", false},
    {MESSAGE_TRAIN_LEASE, ELEMENT_REWARD, COUNT_RESPONSE, "token rewards", false},
    {MESSAGE_TRAIN_LEASE, ELEMENT_LOGPROB, COUNT_RESPONSE, "reference log-probs", false},
    {MESSAGE_TRAIN_LEASE, ELEMENT_REWARD, COUNT_RESPONSE, "token costs", true},
};
#define MESSAGE_FRAME_RULES (sizeof message_frame_rules / sizeof message_frame_rules[0])

/* What each check needs to refuse. */
struct message_refusal {
    const struct message *m;
    const char *name;
    enum err_code code;
    struct err *err;
};
#define REFUSE(r, format, ...) \
    err_set((r)->err, (r)->code, "%s: " format, (r)->name, __VA_ARGS__)

enum err_code message_check_sizes(const struct wire_bytes *frames, size_t frames_n,
                                  const char *name, enum err_code code, struct err *err)
{
    if (frames_n > WIRE_FRAMES_MAX)
        return err_set(err, code, "%s: %zu payload frames, at most %u are allowed", name,
                       frames_n, WIRE_FRAMES_MAX);
    size_t sum = 0;
    for (size_t i = 0; i < frames_n; i++) {
        if (frames[i].size > WIRE_FRAME_MAX)
            return err_set(err, code,
                           "%s: payload frame %zu has %zu bytes, at most %u are allowed", name,
                           i, frames[i].size, WIRE_FRAME_MAX);
        sum += frames[i].size;
    }
    if (sum > WIRE_PAYLOAD_MAX)
        return err_set(err, code, "%s: the payload has %zu bytes, at most %u are allowed", name,
                       sum, WIRE_PAYLOAD_MAX);
    return ERR_OK;
}

static enum err_code message_check_text(const struct message_refusal *r, const char *field,
                                        const char *text, size_t cap)
{
    if (!memchr(text, '\0', cap))
        return REFUSE(r, "%s is longer than %zu bytes", field, cap - 1);
    if (!message_is_utf8(text))
        return REFUSE(r, "%s is not UTF-8", field);
    return ERR_OK;
}

static enum err_code message_check_range(const struct message_refusal *r, const char *field,
                                         uint64_t value, uint64_t min, uint64_t max)
{
    if (value >= min && value <= max)
        return ERR_OK;
    return REFUSE(r, "%s is %llu, not in %llu..%llu", field, (unsigned long long)value,
                  (unsigned long long)min, (unsigned long long)max);
}

static enum err_code message_check_item(const struct message_refusal *r, uint32_t i)
{
    const struct wire_item *item = &r->m->items[i];
    const bool asks = r->m->type == MESSAGE_GENERATE_LEASE;
    if (item->kind != WIRE_WORK_ROLLOUT && item->kind != WIRE_WORK_REFERENCE)
        return REFUSE(r, "items[%u].kind is %d, not rollout (1) or reference (2)", i,
                      (int)item->kind);
    if (asks && (item->response_tokens || item->finish))
        return REFUSE(r, "items[%u] already has a response (%u tokens, finish %d)", i,
                      item->response_tokens, (int)item->finish);
    if (!asks && (item->finish < WIRE_FINISH_EOS || item->finish > WIRE_FINISH_LENGTH))
        return REFUSE(r, "items[%u].finish is %d, not eos (1), stop (2) or length (3)", i,
                      (int)item->finish);
    return ERR_OK;
}

/* A train lease may be without any: its step was set aside. */
static enum err_code message_check_items(const struct message_refusal *r, bool has_items)
{
    const uint32_t items_min = has_items && r->m->type != MESSAGE_TRAIN_LEASE ? 1 : 0;
    const uint32_t items_max = has_items ? WIRE_ITEMS_MAX : 0;
    if (r->m->items_n < items_min || r->m->items_n > items_max)
        return REFUSE(r, "%u items, not in %u..%u", r->m->items_n, items_min, items_max);
    for (uint32_t i = 0; i < r->m->items_n; i++) {
        const enum err_code rc = message_check_item(r, i);
        if (rc)
            return rc;
    }
    return ERR_OK;
}

static uint64_t message_count_of(const struct message *m, enum message_count count)
{
    uint64_t tokens = 0;
    switch (count) {
    case COUNT_PROMPT: return message_prompt_tokens(m);
    case COUNT_RESPONSE: return message_response_tokens(m);
    case COUNT_BOTH: return message_prompt_tokens(m) + message_response_tokens(m);
    case COUNT_SCORES: return (uint64_t)m->items_n * m->scorers;
    case COUNT_ROLLOUT_RESPONSE:
        for (uint32_t i = 0; i < m->items_n; i++)
            tokens += m->items[i].kind == WIRE_WORK_ROLLOUT ? m->items[i].response_tokens : 0;
        return tokens;
    }
    return 0;
}

static size_t message_element_bytes(enum message_element element)
{
    switch (element) {
    case ELEMENT_ID: return sizeof(int32_t);
    case ELEMENT_LOGPROB:
    case ELEMENT_REWARD: return sizeof(float);
    case ELEMENT_SCORE: return sizeof(double);
    case ELEMENT_STATE: return 1;
    }
    return 0;
}

/* memcpy in the loops below: what is to be sent need not be aligned. */
static enum err_code message_check_ids(const struct message_refusal *r, const char *what,
                                       struct wire_bytes frame)
{
    const unsigned char *at = frame.data;
    for (size_t i = 0; i < frame.size / sizeof(int32_t); i++) {
        int32_t id;
        memcpy(&id, at + i * sizeof id, sizeof id);
        if (id < 0)
            return REFUSE(r, "%s[%zu] is %d", what, i, (int)id);
    }
    return ERR_OK;
}

static enum err_code message_check_floats(const struct message_refusal *r, const char *what,
                                          struct wire_bytes frame, float most)
{
    const unsigned char *at = frame.data;
    for (size_t i = 0; i < frame.size / sizeof(float); i++) {
        float x;
        memcpy(&x, at + i * sizeof x, sizeof x);
        if (!isfinite(x) || x > most)
            return REFUSE(r, "%s[%zu] is %g", what, i, (double)x);
    }
    return ERR_OK;
}

/* Frames 0 and 1 of a SCORE_RESULT; their sizes are right. */
static enum err_code message_check_scores(const struct message_refusal *r)
{
    const unsigned char *scores = r->m->frame[0].data;
    const unsigned char *states = r->m->frame[1].data;
    for (size_t i = 0; i < r->m->frame[1].size; i++) {
        if (states[i] < WIRE_SCORE_OK || states[i] > WIRE_SCORE_TIMEOUT)
            return REFUSE(r, "states[%zu] is %d, not ok (1), failed (2) or timeout (3)", i,
                          states[i]);
        double score;
        memcpy(&score, scores + i * sizeof score, sizeof score);
        if (states[i] == WIRE_SCORE_OK && !isfinite(score))
            return REFUSE(r, "scores[%zu] is %g though its state is ok", i, score);
    }
    return ERR_OK;
}

static enum err_code message_check_frame(const struct message_refusal *r,
                                         const struct message_frame_rule *rule,
                                         struct wire_bytes frame)
{
    const uint64_t want =
        message_count_of(r->m, rule->count) * message_element_bytes(rule->element);
    if (frame.size != want)
        return REFUSE(r, "the %s have %zu bytes, the items make it %llu", rule->what,
                      frame.size, (unsigned long long)want);
    switch (rule->element) {
    case ELEMENT_ID: return message_check_ids(r, rule->what, frame);
    case ELEMENT_LOGPROB: return message_check_floats(r, rule->what, frame, 0.0f);
    case ELEMENT_REWARD: return message_check_floats(r, rule->what, frame, INFINITY);
    case ELEMENT_SCORE:
    case ELEMENT_STATE: return ERR_OK; /* message_check_scores, when both sizes are known */
    }
    return ERR_OK;
}

/* A hash for each chunk. */
static enum err_code message_check_hashes(const struct message_refusal *r)
{
    const struct message *m = r->m;
    if (m->bytes == 0)
        return ERR_OK;
    const uint64_t chunks = m->bytes / m->chunk_bytes + (m->bytes % m->chunk_bytes != 0);
    if (m->frame[0].size % HASH_BYTES != 0 || m->frame[0].size / HASH_BYTES != chunks)
        return REFUSE(r, "%zu bytes of hashes for %llu chunks", m->frame[0].size,
                      (unsigned long long)chunks);
    return ERR_OK;
}

static enum err_code message_check_frames(const struct message_refusal *r)
{
    uint32_t least = 0, most = 0;
    for (size_t i = 0; i < MESSAGE_FRAME_RULES; i++) {
        const bool own = message_frame_rules[i].type == r->m->type;
        least += own && !message_frame_rules[i].optional;
        most += own;
    }
    const bool is_chunk = r->m->type == MESSAGE_CHUNK || r->m->type == MESSAGE_GRADIENT_CHUNK;
    const bool is_manifest = r->m->type == MESSAGE_WEIGHTS_MANIFEST && r->m->bytes > 0;
    if (is_chunk || is_manifest)
        least = most = 1;
    if (r->m->frames_n < least || r->m->frames_n > most)
        return REFUSE(r, "%u payload frames, not %u%s", r->m->frames_n, least,
                      most > least ? " or one more" : "");

    uint32_t f = 0;
    for (size_t i = 0; i < MESSAGE_FRAME_RULES && f < r->m->frames_n; i++) {
        if (message_frame_rules[i].type != r->m->type)
            continue;
        const enum err_code rc =
            message_check_frame(r, &message_frame_rules[i], r->m->frame[f++]);
        if (rc)
            return rc;
    }
    if (r->m->type == MESSAGE_SCORE_RESULT)
        return message_check_scores(r);
    if (is_manifest)
        return message_check_hashes(r);
    if (is_chunk)
        return message_check_range(r, "the chunk's size", r->m->frame[0].size, 1,
                                   WIRE_CHUNK_BYTES);
    return ERR_OK;
}

static enum err_code message_check_hello(const struct message_refusal *r)
{
    enum err_code rc =
        message_check_range(r, "role", r->m->role, WIRE_ROLE_ACTOR, WIRE_ROLE_LEARNER);
    if (!rc)
        rc = message_check_text(r, "name", r->m->name, sizeof r->m->name);
    if (!rc && !r->m->name[0])
        rc = REFUSE(r, "%s is empty", "name");
    if (!rc)
        rc = message_check_range(r, "capacity", r->m->capacity, 1, WIRE_ITEMS_MAX);
    return rc;
}

static enum err_code message_check_train_result(const struct message_refusal *r)
{
    if (!r->m->has_hash)
        return REFUSE(r, "%s is missing", "weights_hash");
    for (uint32_t i = 0; i < r->m->stats_n; i++) {
        const struct wire_stat *stat = &r->m->stats[i];
        const enum err_code rc =
            message_check_text(r, "a stat's name", stat->name, sizeof stat->name);
        if (rc)
            return rc;
        if (!stat->name[0])
            return REFUSE(r, "stats[%u].name is empty", i);
    }
    return ERR_OK;
}

static enum err_code message_check_gradient(const struct message_refusal *r)
{
    const struct wire_gradient *g = &r->m->gradient;
    const bool asks = r->m->type == MESSAGE_GRADIENT_ASK;
    enum err_code rc = message_check_range(r, "rank", g->rank, 0, WIRE_RANKS_MAX - 1);
    if (!rc)
        rc = message_check_range(r, "part", g->part, 0, WIRE_PARTS_MAX - 1);
    if (!rc)
        rc = message_check_range(r, "bytes", g->bytes, asks ? 1 : 0, WIRE_CHUNK_BYTES);
    return rc;
}

static enum err_code message_check_group(const struct message_refusal *r)
{
    const struct message *m = r->m;
    const uint32_t most = m->ranks_n ? m->ranks_n - 1 : 0;
    enum err_code rc =
        m->ranks_n == 1 || m->ranks_n > WIRE_RANKS_MAX
            ? REFUSE(r, "%u ranks, not none or 2..%u", m->ranks_n, WIRE_RANKS_MAX)
            : message_check_range(r, "rank", m->rank, 0, most);
    for (uint32_t i = 0; i < m->ranks_n && !rc; i++) {
        const struct wire_rank *rank = &m->ranks[i];
        rc = message_check_text(r, "a rank's name", rank->name, sizeof rank->name);
        if (!rc)
            rc = message_check_text(r, "a rank's endpoint", rank->endpoint,
                                    sizeof rank->endpoint);
        if (!rc && (!rank->name[0] || !rank->endpoint[0]))
            rc = REFUSE(r, "ranks[%u] has no name or no endpoint", i);
    }
    return rc;
}

static enum err_code message_check_train_lease(const struct message_refusal *r)
{
    const struct message *m = r->m;
    if (!isfinite(m->kl_coef) || m->kl_coef < 0.0)
        return REFUSE(r, "kl_coef is %g", m->kl_coef);
    if (!isfinite(m->multiplier) || m->multiplier < 0.0)
        return REFUSE(r, "multiplier is %g", m->multiplier);
    if (m->multiplier > 0.0 && m->frames_n < 5)
        return REFUSE(r, "multiplier is %g, but there are no token costs", m->multiplier);
    if (!isfinite(m->lr_scale) || m->lr_scale < 0.0)
        return REFUSE(r, "lr_scale is %g", m->lr_scale);
    if (m->restore && m->items_n > 0)
        return REFUSE(r, "it goes back to version %llu, but has %u items",
                      (unsigned long long)m->base_version, m->items_n);
    if (m->restore && m->base_version > m->step)
        return REFUSE(r, "step %llu cannot go back to version %llu",
                      (unsigned long long)m->step, (unsigned long long)m->base_version);
    return message_check_group(r);
}

static enum err_code message_check_welcome(const struct message_refusal *r)
{
    const struct message *m = r->m;
    const enum err_code rc =
        message_check_range(r, "heartbeat_ms", m->heartbeat_ms, 1, MESSAGE_HEARTBEAT_MS_MAX);
    if (rc)
        return rc;
    return message_check_range(r, "dead_ms", m->dead_ms, (uint64_t)m->heartbeat_ms + 1,
                               10u * MESSAGE_HEARTBEAT_MS_MAX);
}

static enum err_code message_check_heartbeat(const struct message_refusal *r)
{
    enum err_code rc = ERR_OK;
#define X(name) \
    rc = rc ? rc : message_check_range(r, #name, r->m->weights.name, 0, WIRE_WEIGHTS_MAX);
    WIRE_WEIGHTS_MAP(X)
#undef X
    return rc;
}

/* One of no bytes says that the version is not there. */
static enum err_code message_check_manifest(const struct message_refusal *r)
{
    const struct message *m = r->m;
    if (m->bytes == 0)
        return ERR_OK;
    if (!m->has_hash)
        return REFUSE(r, "%s is missing", "blake2b");
    return message_check_range(r, "chunk_bytes", m->chunk_bytes, 1, WIRE_CHUNK_BYTES);
}

/* The fields that belong to one type. */
static enum err_code message_check_body(const struct message_refusal *r)
{
    switch (r->m->type) {
    case MESSAGE_HELLO: return message_check_hello(r);
    case MESSAGE_WELCOME: return message_check_welcome(r);
    case MESSAGE_HEARTBEAT: return message_check_heartbeat(r);
    case MESSAGE_SCORE_RESULT:
        return message_check_range(r, "scorers", r->m->scorers, 1, WIRE_SCORERS_MAX);
    case MESSAGE_TRAIN_LEASE: return message_check_train_lease(r);
    case MESSAGE_TRAIN_RESULT: return message_check_train_result(r);
    case MESSAGE_WEIGHTS_MANIFEST: return message_check_manifest(r);
    case MESSAGE_GRADIENT_ASK:
    case MESSAGE_GRADIENT_CHUNK:
    case MESSAGE_GRADIENT_WAIT:
    case MESSAGE_GRADIENT_REFUSED: return message_check_gradient(r);
    case MESSAGE_NONE:
    case MESSAGE_RESET:
    case MESSAGE_BYE:
    case MESSAGE_ACK:
    case MESSAGE_GENERATE_LEASE:
    case MESSAGE_GENERATE_RESULT:
    case MESSAGE_SCORE_LEASE:
    case MESSAGE_LEASE_FAILED:
    case MESSAGE_WEIGHTS_ASK:
    case MESSAGE_CHUNK_ASK:
    case MESSAGE_CHUNK_ELSEWHERE:
    case MESSAGE_CHUNK: return ERR_OK;
    }
    return ERR_OK;
}

enum err_code message_check(const struct message *message, enum err_code code, struct err *err)
{
    const struct message_refusal r = {message, message_type_name(message->type), code, err};
    if (message->type <= MESSAGE_NONE || message->type > MESSAGE_LAST)
        return err_set(err, code, "a message of type %d: there is none", (int)message->type);

    const bool has_items =
        message->type >= MESSAGE_GENERATE_LEASE && message->type <= MESSAGE_TRAIN_LEASE;
    enum err_code rc =
        message_check_sizes(message->frame, message->frames_n, r.name, code, err);
    if (!rc)
        rc = message_check_items(&r, has_items);
    if (!rc)
        rc = message_check_range(&r, "the number of stats", message->stats_n, 0,
                                 message->type == MESSAGE_TRAIN_RESULT ? WIRE_STATS_MAX : 0);
    if (!rc)
        rc = message_check_text(&r, "a text", message->text, sizeof message->text);
    if (!rc)
        rc = message_check_body(&r);
    if (!rc)
        rc = message_check_frames(&r);
    return rc;
}

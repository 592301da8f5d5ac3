/*
 * wire_messages.h -- for tests of the wire: a random valid message of each type, equality of
 * two messages, and a source of random numbers that is not the project's own.
 */
#ifndef TESTS_WIRE_MESSAGES_H
#define TESTS_WIRE_MESSAGES_H

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/hash.h"
#include "tests/test.h"
#include "wire/message.h"

#define WIRE_TEST_ITEMS  12u
#define WIRE_TEST_TOKENS 1024u /* of all items together, at most */

/* splitmix64 */
static inline uint64_t wire_test_next(uint64_t *seed)
{
    uint64_t z = *seed += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static inline uint32_t wire_test_below(uint64_t *seed, uint32_t n)
{
    return (uint32_t)(wire_test_next(seed) % n);
}

static inline void wire_test_sleep_ms(unsigned ms)
{
    const struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    nanosleep(&time, NULL);
}

/* What a made message points into. */
struct wire_test {
    struct message m;
    struct wire_item items[WIRE_TEST_ITEMS];
    struct wire_stat stats[WIRE_STATS_MAX];
    struct wire_rank ranks[WIRE_RANKS_MAX];
    int32_t ids[2 * WIRE_TEST_TOKENS];
    float logprobs[WIRE_TEST_TOKENS], rewards[WIRE_TEST_TOKENS], reference[WIRE_TEST_TOKENS];
    float costs[WIRE_TEST_TOKENS];
    double scores[WIRE_TEST_ITEMS * WIRE_SCORERS_MAX];
    unsigned char states[WIRE_TEST_ITEMS * WIRE_SCORERS_MAX];
    unsigned char chunk[4096];
};

static inline void wire_test_text(uint64_t *seed, char *text, size_t cap)
{
    static const char *const letters[] = {
        "a", "Z", "0", " ", "/", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x8c\x8d"};
    const uint32_t n = 1 + wire_test_below(seed, (uint32_t)(cap - 1) / 4);
    text[0] = '\0';
    for (uint32_t i = 0; i < n; i++)
        strcat(text, letters[wire_test_below(seed, COUNT(letters))]);
}

static inline void wire_test_hash(uint64_t *seed, struct hash *hash)
{
    for (size_t i = 0; i < sizeof hash->bytes; i++)
        hash->bytes[i] = (unsigned char)wire_test_next(seed);
}

static inline void wire_test_items(struct wire_test *t, uint64_t *seed, bool responses)
{
    t->m.items = t->items;
    t->m.items_n = 1 + wire_test_below(seed, WIRE_TEST_ITEMS);
    for (uint32_t i = 0; i < t->m.items_n; i++)
        t->items[i] = (struct wire_item){
            .kind = 1 + wire_test_below(seed, 2),
            .a = wire_test_next(seed) >> wire_test_below(seed, 64),
            .b = (uint32_t)wire_test_next(seed),
            .prompt = wire_test_below(seed, 100000),
            .prompt_tokens = wire_test_below(seed, WIRE_TEST_TOKENS / WIRE_TEST_ITEMS),
            .response_tokens =
                responses ? wire_test_below(seed, WIRE_TEST_TOKENS / WIRE_TEST_ITEMS) : 0,
            .finish = responses ? 1 + wire_test_below(seed, 3) : 0,
            .group = wire_test_below(seed, 1000),
        };
}

static inline void wire_test_frame(struct wire_test *t, const void *data, size_t size)
{
    t->m.frame[t->m.frames_n++] = (struct wire_bytes){data, size};
}

static inline void wire_test_arrays(struct wire_test *t, uint64_t *seed)
{
    for (size_t i = 0; i < COUNT(t->ids); i++)
        t->ids[i] = (int32_t)wire_test_below(seed, 50000);
    for (size_t i = 0; i < WIRE_TEST_TOKENS; i++) {
        t->logprobs[i] = -(float)wire_test_below(seed, 1000) / 64.0f;
        t->reference[i] = -(float)wire_test_below(seed, 1000) / 32.0f;
        t->rewards[i] = (float)wire_test_below(seed, 1000) / 64.0f - 8.0f;
        t->costs[i] = (float)wire_test_below(seed, 1000) / 128.0f - 2.0f;
    }
    for (size_t i = 0; i < COUNT(t->scores); i++) {
        t->states[i] = (unsigned char)(1 + wire_test_below(seed, 3));
        t->scores[i] = t->states[i] == WIRE_SCORE_OK ? wire_test_below(seed, 100) / 7.0 : NAN;
    }
    for (size_t i = 0; i < COUNT(t->chunk); i++)
        t->chunk[i] = (unsigned char)wire_test_next(seed);
}

static inline void wire_test_hello(struct wire_test *t, uint64_t *seed)
{
    struct message *m = &t->m;
    m->role = WIRE_ROLE_ACTOR + wire_test_below(seed, 3);
    wire_test_text(seed, m->name, sizeof m->name);
    wire_test_text(seed, m->text, sizeof m->text);
    for (size_t i = 0; i < sizeof m->nonce; i++)
        m->nonce[i] = (unsigned char)wire_test_next(seed);
    wire_test_hash(seed, &m->config_hash);
    m->capacity = 1 + wire_test_below(seed, WIRE_ITEMS_MAX);
    m->pid = wire_test_next(seed);
    m->version = wire_test_next(seed);
    m->has_hash = wire_test_below(seed, 2);
    if (m->has_hash)
        wire_test_hash(seed, &m->hash);
}

static inline void wire_test_ranks(struct wire_test *t, uint64_t *seed)
{
    struct message *m = &t->m;
    m->attempt = wire_test_next(seed);
    if (wire_test_below(seed, 2))
        return;
    m->ranks = t->ranks;
    m->ranks_n = 2 + wire_test_below(seed, WIRE_RANKS_MAX - 1);
    m->rank = wire_test_below(seed, m->ranks_n);
    for (uint32_t i = 0; i < m->ranks_n; i++) {
        wire_test_text(seed, t->ranks[i].name, sizeof t->ranks[i].name);
        wire_test_text(seed, t->ranks[i].endpoint, sizeof t->ranks[i].endpoint);
    }
}

static inline void wire_test_result(struct wire_test *t, uint64_t *seed)
{
    struct message *m = &t->m;
    const size_t both = message_prompt_tokens(m) + message_response_tokens(m);
    const size_t tokens = message_response_tokens(m);
    size_t rollout = 0;
    for (uint32_t i = 0; i < m->items_n; i++)
        rollout += m->items[i].kind == WIRE_WORK_ROLLOUT ? m->items[i].response_tokens : 0;
    m->lease = wire_test_next(seed);
    switch (m->type) {
    case MESSAGE_GENERATE_LEASE:
        m->version = wire_test_next(seed);
        m->lease_ms = (uint32_t)wire_test_next(seed);
        wire_test_text(seed, m->text, sizeof m->text);
        wire_test_frame(t, t->ids, both * 4);
        break;
    case MESSAGE_GENERATE_RESULT:
        m->version = wire_test_next(seed);
        wire_test_frame(t, t->ids, tokens * 4);
        wire_test_frame(t, t->logprobs, tokens * 4);
        break;
    case MESSAGE_SCORE_LEASE:
        m->lease_ms = (uint32_t)wire_test_next(seed);
        m->version = wire_test_next(seed);
        wire_test_text(seed, m->text, sizeof m->text);
        wire_test_frame(t, t->ids, both * 4);
        break;
    case MESSAGE_SCORE_RESULT:
        m->scorers = 1 + wire_test_below(seed, WIRE_SCORERS_MAX);
        m->version = wire_test_next(seed);
        wire_test_text(seed, m->text, sizeof m->text);
        wire_test_frame(t, t->scores, (size_t)m->items_n * m->scorers * 8);
        wire_test_frame(t, t->states, (size_t)m->items_n * m->scorers);
        wire_test_frame(t, t->reference, rollout * 4);
        break;
    default: /* MESSAGE_TRAIN_LEASE */
        m->step = wire_test_next(seed);
        m->behaviour_version = wire_test_next(seed);
        m->kl_coef = wire_test_below(seed, 1000) / 999.0;
        m->checkpoint = wire_test_below(seed, 2);
        m->last = wire_test_below(seed, 2);
        m->lr_scale = wire_test_below(seed, 1000) / 128.0;
        m->base_version = wire_test_next(seed);
        m->target_version = wire_test_next(seed);
        m->restore = m->items_n == 0 && m->base_version <= m->step;
        wire_test_ranks(t, seed);
        wire_test_frame(t, t->ids, both * 4);
        wire_test_frame(t, t->logprobs, tokens * 4);
        wire_test_frame(t, t->rewards, tokens * 4);
        wire_test_frame(t, t->reference, tokens * 4);
        if (wire_test_below(seed, 2)) {
            m->multiplier = wire_test_below(seed, 1000) / 128.0;
            wire_test_frame(t, t->costs, tokens * 4);
        }
        break;
    }
}

static inline void wire_test_train_result(struct wire_test *t, uint64_t *seed)
{
    struct message *m = &t->m;
    m->lease = wire_test_next(seed);
    m->step = wire_test_next(seed);
    m->version = m->step + 1;
    m->rank = (uint32_t)wire_test_next(seed);
    m->checkpoint_version = wire_test_next(seed);
    m->has_hash = true;
    wire_test_hash(seed, &m->hash);
    m->stats = t->stats;
    m->stats_n = wire_test_below(seed, WIRE_STATS_MAX + 1);
    if (m->stats_n == 0)
        m->stats = NULL;
    for (uint32_t i = 0; i < m->stats_n; i++) {
        wire_test_text(seed, t->stats[i].name, sizeof t->stats[i].name);
        t->stats[i].value = wire_test_below(seed, 1000) / 3.0 - 100.0;
    }
}

static inline void wire_test_gradient(struct wire_test *t, uint64_t *seed)
{
    struct message *m = &t->m;
    const bool asks = m->type == MESSAGE_GRADIENT_ASK;
    m->step = wire_test_next(seed);
    m->gradient = (struct wire_gradient){
        .run = wire_test_next(seed),
        .attempt = wire_test_next(seed) >> wire_test_below(seed, 64),
        .shape = wire_test_next(seed),
        .first = wire_test_next(seed) >> wire_test_below(seed, 64),
        .round = (uint32_t)wire_test_next(seed),
        .rank = wire_test_below(seed, WIRE_RANKS_MAX),
        .part = wire_test_below(seed, WIRE_PARTS_MAX),
        .bytes = asks ? 1 + wire_test_below(seed, WIRE_CHUNK_BYTES) : 0,
    };
    if (m->type == MESSAGE_GRADIENT_CHUNK) {
        wire_test_frame(t, t->chunk, 1 + wire_test_below(seed, 4096));
        m->payload_xxh3 = hash_xxh3(m->frame[0].data, m->frame[0].size);
    }
    if (m->type == MESSAGE_GRADIENT_REFUSED)
        wire_test_text(seed, m->text, sizeof m->text);
}

/* Fill *t with a valid random message of `type`. */
static inline void wire_test_make(struct wire_test *t, enum message_type type, uint64_t seed)
{
    memset(t, 0, sizeof *t);
    struct message *m = &t->m;
    m->type = type;
    m->epoch = wire_test_next(&seed);
    m->session = wire_test_next(&seed);
    m->seq = wire_test_next(&seed) >> wire_test_below(&seed, 64);
    wire_test_arrays(t, &seed);
    if (type >= MESSAGE_GENERATE_LEASE && type <= MESSAGE_TRAIN_LEASE) {
        wire_test_items(t, &seed, type != MESSAGE_GENERATE_LEASE);
        wire_test_result(t, &seed);
        return;
    }
    switch (type) {
    case MESSAGE_HELLO: wire_test_hello(t, &seed); break;
    case MESSAGE_WELCOME:
        m->heartbeat_ms = 1 + wire_test_below(&seed, 1000);
        m->dead_ms = m->heartbeat_ms + 1 + wire_test_below(&seed, 1000);
        break;
    case MESSAGE_RESET:
        m->refused = wire_test_below(&seed, 2);
        wire_test_text(&seed, m->text, sizeof m->text);
        break;
    case MESSAGE_HEARTBEAT:
        m->progress = wire_test_next(&seed);
        m->held = (uint32_t)wire_test_next(&seed);
#define X(name) m->weights.name = wire_test_next(&seed) >> (4 + wire_test_below(&seed, 60));
        WIRE_WEIGHTS_MAP(X)
#undef X
        break;
    case MESSAGE_LEASE_FAILED:
        m->lease = wire_test_next(&seed);
        m->untried = wire_test_below(&seed, 2);
        /* fall through */
    case MESSAGE_BYE: wire_test_text(&seed, m->text, sizeof m->text); break;
    case MESSAGE_ACK: m->ack_seq = wire_test_next(&seed); break;
    case MESSAGE_TRAIN_RESULT: wire_test_train_result(t, &seed); break;
    case MESSAGE_WEIGHTS_MANIFEST:
        m->chunk_bytes = 1 + wire_test_below(&seed, WIRE_CHUNK_BYTES);
        wire_test_frame(t, t->chunk, HASH_BYTES * (1 + wire_test_below(&seed, 100)));
        m->bytes = (m->frame[0].size / HASH_BYTES - 1) * m->chunk_bytes + 1 +
                   wire_test_below(&seed, m->chunk_bytes);
        m->pid = wire_test_next(&seed);
        m->fd = (uint32_t)wire_test_next(&seed);
        m->has_hash = true;
        wire_test_hash(&seed, &m->hash);
        m->version = wire_test_next(&seed);
        break;
    case MESSAGE_GRADIENT_ASK:
    case MESSAGE_GRADIENT_CHUNK:
    case MESSAGE_GRADIENT_WAIT:
    case MESSAGE_GRADIENT_REFUSED: wire_test_gradient(t, &seed); break;
    case MESSAGE_CHUNK:
        wire_test_frame(t, t->chunk, 1 + wire_test_below(&seed, 4096));
        /* fall through */
    case MESSAGE_CHUNK_ASK:
    case MESSAGE_CHUNK_ELSEWHERE:
        m->chunk_index = (uint32_t)wire_test_next(&seed);
        m->insist = type == MESSAGE_CHUNK_ASK && wire_test_below(&seed, 2);
        if (type != MESSAGE_CHUNK_ELSEWHERE && wire_test_below(&seed, 2))
            m->base = wire_test_next(&seed);
        if (type != MESSAGE_CHUNK)
            wire_test_text(&seed, m->text, sizeof m->text);
        /* fall through */
    default: m->version = wire_test_next(&seed); break;
    }
}

/* Every field, item, stat and payload byte equal. */
static inline void wire_test_check_same(const struct message *got, const struct message *want)
{
    struct message a = *got, b = *want;
    assert_int_equal(a.items_n, b.items_n);
    for (uint32_t i = 0; i < a.items_n; i++)
        assert_memory_equal(&a.items[i], &b.items[i], sizeof a.items[i]);
    assert_int_equal(a.stats_n, b.stats_n);
    for (uint32_t i = 0; i < a.stats_n; i++) {
        assert_string_equal(a.stats[i].name, b.stats[i].name);
        assert_memory_equal(&a.stats[i].value, &b.stats[i].value, sizeof(double));
    }
    assert_int_equal(a.ranks_n, b.ranks_n);
    for (uint32_t i = 0; i < a.ranks_n; i++) {
        assert_string_equal(a.ranks[i].name, b.ranks[i].name);
        assert_string_equal(a.ranks[i].endpoint, b.ranks[i].endpoint);
    }
    assert_int_equal(a.frames_n, b.frames_n);
    for (uint32_t i = 0; i < a.frames_n; i++) {
        assert_int_equal(a.frame[i].size, b.frame[i].size);
        if (a.frame[i].size)
            assert_memory_equal(a.frame[i].data, b.frame[i].data, a.frame[i].size);
        a.frame[i] = b.frame[i] = (struct wire_bytes){0};
    }
    assert_string_equal(a.text, b.text);
    assert_string_equal(a.name, b.name);
    memset(a.text, 0, sizeof a.text);
    memset(b.text, 0, sizeof b.text);
    memset(a.name, 0, sizeof a.name);
    memset(b.name, 0, sizeof b.name);
    a.items = b.items = NULL;
    a.stats = b.stats = NULL;
    a.ranks = b.ranks = NULL;
    a.owned = b.owned = NULL;
    assert_memory_equal(&a, &b, sizeof a); /* both began as zeroes, padding too */
}

#endif

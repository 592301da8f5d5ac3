/*
 * test_wire_message.c -- the codec.
 *
 * Oracles: bytes written here by hand from the protobuf encoding rules (developers.google.com/
 * protocol-buffers/docs/encoding), which share nothing with protobuf-c; the identity of encode
 * followed by decode over random messages; and the list of checks in wire/message.h, each with
 * the sentence it must produce.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

#include "tests/wire_messages.h"

/* Protobuf by hand. */
struct raw {
    unsigned char bytes[300000];
    size_t n;
};

static void raw_varint(struct raw *raw, uint64_t value)
{
    do {
        raw->bytes[raw->n++] = (unsigned char)((value & 0x7f) | (value > 0x7f ? 0x80 : 0));
        value >>= 7;
    } while (value);
}

static void raw_uint(struct raw *raw, unsigned field, uint64_t value)
{
    raw_varint(raw, field << 3);
    raw_varint(raw, value);
}

static void raw_fixed64(struct raw *raw, unsigned field, uint64_t value)
{
    raw_varint(raw, field << 3 | 1);
    for (unsigned i = 0; i < 8; i++)
        raw->bytes[raw->n++] = (unsigned char)(value >> (8 * i));
}

static void raw_bytes(struct raw *raw, unsigned field, const void *bytes, size_t n)
{
    raw_varint(raw, field << 3 | 2);
    raw_varint(raw, n);
    memcpy(raw->bytes + raw->n, bytes, n);
    raw->n += n;
}

/* A header without payload around one body. */
static void raw_header(struct raw *out, unsigned body_field, const struct raw *body)
{
    out->n = 0;
    raw_uint(out, 1, WIRE_VERSION);
    raw_bytes(out, body_field, body->bytes, body->n);
}

static struct raw body, head; /* too large for the stack */

static enum err_code decode_raw(struct err *err)
{
    struct message m;
    const enum err_code rc = message_decode(&m, head.bytes, head.n, NULL, 0, err);
    message_release(&m);
    return rc;
}

static void message_has_the_bytes_that_protobuf_prescribes(void **state)
{
    (void)state;
    body.n = head.n = 0;
    raw_uint(&body, 1, 300);
    raw_uint(&body, 2, 6);
    raw_uint(&head, 1, WIRE_VERSION);
    raw_fixed64(&head, 2, 7);
    raw_fixed64(&head, 3, 0x0123456789abcdef);
    raw_uint(&head, 4, 1u << 20);
    raw_bytes(&head, 13, body.bytes, body.n);

    const struct message m = {.type = MESSAGE_HEARTBEAT,
                              .epoch = 7,
                              .session = 0x0123456789abcdef,
                              .seq = 1u << 20,
                              .progress = 300,
                              .held = 6};
    unsigned char *got = NULL;
    size_t got_size = 0;
    check_ok(message_encode(&m, &got, &got_size, &err));
    assert_int_equal(got_size, head.n);
    assert_memory_equal(got, head.bytes, head.n);
    free(got);

    struct message back;
    check_ok(message_decode(&back, head.bytes, head.n, NULL, 0, &err));
    wire_test_check_same(&back, &m);
    message_release(&back);
    message_release(&back);
}

static void message_checksums_the_payload_with_xxh3(void **state)
{
    (void)state;
    static const unsigned char chunk[] = "weights";
    body.n = head.n = 0;
    raw_uint(&body, 1, 9);
    raw_uint(&body, 3, 8);
    raw_uint(&head, 1, WIRE_VERSION);
    raw_uint(&head, 5, 1);
    raw_fixed64(&head, 6, XXH3_64bits(chunk, sizeof chunk));
    raw_bytes(&head, 43, body.bytes, body.n);
    const struct wire_bytes frame = {chunk, sizeof chunk};
    struct message m;
    check_ok(message_decode(&m, head.bytes, head.n, &frame, 1, &err));
    assert_int_equal(m.version, 9);
    assert_memory_equal(m.frame[0].data, chunk, sizeof chunk);
    message_release(&m);
}

/* A chunk that is no difference, without one and with a wrong one: the manifest has its hash. */
static void message_leaves_a_chunk_of_weights_to_its_hash(void **state)
{
    (void)state;
    static const unsigned char chunk[] = "weights";
    const struct wire_bytes frame = {chunk, sizeof chunk};
    for (uint64_t sum = 0; sum < 2; sum++) {
        body.n = head.n = 0;
        raw_uint(&body, 1, 9);
        raw_uint(&head, 1, WIRE_VERSION);
        raw_uint(&head, 5, 1);
        raw_fixed64(&head, 6, sum);
        raw_bytes(&head, 43, body.bytes, body.n);
        struct message m;
        check_ok(message_decode(&m, head.bytes, head.n, &frame, 1, &err));
        assert_memory_equal(m.frame[0].data, chunk, sizeof chunk);
        message_release(&m);
    }
    const struct message m = {
        .type = MESSAGE_CHUNK, .version = 9, .frames_n = 1, .frame = {frame}};
    body.n = head.n = 0; /* and it is sent without one */
    raw_uint(&body, 1, 9);
    raw_uint(&head, 1, WIRE_VERSION);
    raw_uint(&head, 5, 1);
    raw_bytes(&head, 43, body.bytes, body.n);
    unsigned char *bytes = NULL;
    size_t size = 0;
    check_ok(message_encode(&m, &bytes, &size, &err));
    assert_int_equal(size, head.n);
    assert_memory_equal(bytes, head.bytes, size);
    free(bytes);
}

static struct wire_test made; /* too large for the stack */

static void message_comes_back_as_it_was(void **state)
{
    (void)state;
    for (int type = MESSAGE_HELLO; type <= MESSAGE_LAST; type++) {
        for (uint64_t seed = 0; seed < 200; seed++) {
            wire_test_make(&made, (enum message_type)type, seed * 31 + (uint64_t)type);
            unsigned char *bytes = NULL;
            size_t size = 0;
            check_ok(message_encode(&made.m, &bytes, &size, &err));
            struct message back;
            check_ok(message_decode(&back, bytes, size, made.m.frame, made.m.frames_n, &err));
            wire_test_check_same(&back, &made.m);
            message_release(&back);
            free(bytes);
        }
    }
}

static void message_aligns_frames_that_came_unaligned(void **state)
{
    (void)state;
    wire_test_make(&made, MESSAGE_SCORE_RESULT, 5);
    unsigned char *bytes = NULL;
    size_t size = 0;
    check_ok(message_encode(&made.m, &bytes, &size, &err));
    struct wire_bytes odd[WIRE_FRAMES_MAX];
    unsigned char *copies[WIRE_FRAMES_MAX];
    for (uint32_t i = 0; i < made.m.frames_n; i++) {
        copies[i] = malloc(made.m.frame[i].size + 1);
        assert_non_null(copies[i]);
        memcpy(copies[i] + 1, made.m.frame[i].data, made.m.frame[i].size);
        odd[i] = (struct wire_bytes){copies[i] + 1, made.m.frame[i].size};
    }
    struct message back;
    check_ok(message_decode(&back, bytes, size, odd, made.m.frames_n, &err));
    for (uint32_t i = 0; i < made.m.frames_n; i++) {
        assert_int_equal((uintptr_t)back.frame[i].data % 8, 0);
        free(copies[i]);
    }
    wire_test_check_same(&back, &made.m);
    message_release(&back);
    free(bytes);
}

/* The bytes of a gradient are held against their checksum by who reads them, those of a chunk of
 * weights against their hash. */
static bool is_left_to_the_reader(const struct message *m)
{
    if (m->type == MESSAGE_CHUNK)
        return m->base == 0;
    return m->type == MESSAGE_GRADIENT_CHUNK &&
           hash_xxh3(m->frame[0].data, m->frame[0].size) != m->payload_xxh3;
}

static void message_refuses_every_truncation(void **state)
{
    (void)state;
    for (int type = MESSAGE_HELLO; type <= MESSAGE_LAST; type++) {
        wire_test_make(&made, (enum message_type)type, 77);
        unsigned char *bytes = NULL;
        size_t size = 0;
        check_ok(message_encode(&made.m, &bytes, &size, &err));
        struct message back;
        for (size_t n = 0; n < size; n++) {
            unsigned char *cut = malloc(n + 1); /* so that ASan sees a byte read past n */
            assert_non_null(cut);
            memcpy(cut, bytes, n);
            assert_int_not_equal(
                message_decode(&back, cut, n, made.m.frame, made.m.frames_n, NULL), ERR_OK);
            free(cut);
        }
        for (uint32_t f = 0; f < made.m.frames_n; f++) {
            struct wire_bytes frame[WIRE_FRAMES_MAX];
            memcpy(frame, made.m.frame, sizeof frame);
            for (size_t n = 0; n < made.m.frame[f].size; n++) {
                frame[f].size = n;
                if (message_decode(&back, bytes, size, frame, made.m.frames_n, NULL) ==
                    ERR_OK) {
                    assert_true(is_left_to_the_reader(&back));
                    message_release(&back);
                }
            }
        }
        free(bytes);
    }
}

/* One bit of one payload byte: always refused, or left to who reads it.  One bit of the header: whatever is accepted
 * keeps all bounds, so that encode takes it back. */
static void message_survives_ten_thousand_bit_flips(void **state)
{
    (void)state;
    unsigned accepted = 0;
    uint64_t seed = 2024;
    for (unsigned flip = 0; flip < 10000; flip++) {
        const int type = MESSAGE_HELLO + (int)(flip % MESSAGE_LAST);
        wire_test_make(&made, (enum message_type)type, seed);
        unsigned char *bytes = NULL;
        size_t size = 0;
        check_ok(message_encode(&made.m, &bytes, &size, &err));

        size_t payload = 0;
        for (uint32_t f = 0; f < made.m.frames_n; f++)
            payload += made.m.frame[f].size;
        const bool in_payload = payload && (wire_test_next(&seed) & 1);
        const uint32_t bit =
            wire_test_below(&seed, (uint32_t)(in_payload ? payload : size) * 8);
        size_t at = bit / 8;
        unsigned char *target = bytes;
        for (uint32_t f = 0; in_payload && f < made.m.frames_n; f++) {
            target = (unsigned char *)(uintptr_t)made.m.frame[f].data;
            if (at < made.m.frame[f].size)
                break;
            at -= made.m.frame[f].size;
        }
        target[at] ^= (unsigned char)(1u << (bit % 8));

        struct message back;
        if (message_decode(&back, bytes, size, made.m.frame, made.m.frames_n, NULL) == ERR_OK) {
            assert_true(!in_payload || is_left_to_the_reader(&back));
            unsigned char *again = NULL;
            size_t again_size = 0;
            check_ok(message_encode(&back, &again, &again_size, &err));
            free(again);
            message_release(&back);
            accepted++;
        }
        free(bytes);
    }
    assert_in_range(accepted, 100, 7000); /* the header has no checksum: TCP has */
}

/* What each check says, on the way out; message_check is the same for both ways. */
static void break_type(struct message *m)
{
    m->type = (enum message_type)99;
}
static void break_frames_n(struct message *m)
{
    m->frames_n = 9;
}
static void break_one_frame_more(struct message *m)
{
    m->frames_n++;
}
static void break_frame_size(struct message *m)
{
    m->frame[0].size = WIRE_FRAME_MAX + 1u;
}
static void break_payload(struct message *m)
{
    m->frames_n = 5;
    for (int i = 0; i < 5; i++)
        m->frame[i].size = WIRE_FRAME_MAX;
}
static void break_no_items(struct message *m)
{
    m->items_n = 0;
}
static void break_items_many(struct message *m)
{
    m->items_n = WIRE_ITEMS_MAX + 1;
}
static void break_items_stray(struct message *m)
{
    m->items_n = 1;
}
static void break_kind(struct message *m)
{
    m->items[0].kind = 3;
}
static void break_kind_none(struct message *m)
{
    m->items[0].kind = 0;
}
static void break_has_response(struct message *m)
{
    m->items[0].response_tokens = 1;
}
static void break_has_finish(struct message *m)
{
    m->items[0].finish = WIRE_FINISH_EOS;
}
static void break_finish(struct message *m)
{
    m->items[0].finish = 4;
}
static void break_finish_none(struct message *m)
{
    m->items[0].finish = 0;
}
static void break_tokens(struct message *m)
{
    m->items[0].response_tokens++;
}
static void break_prompt_tokens(struct message *m)
{
    m->items[0].prompt_tokens = 4000000000u;
}
static void break_ids(struct message *m)
{
    memset((void *)(uintptr_t)m->frame[0].data, 255, 4);
}
static void set_float(struct message *m, int f, float x)
{
    memcpy((void *)(uintptr_t)m->frame[f].data, &x, sizeof x);
}
static void break_logprob_nan(struct message *m)
{
    set_float(m, 1, NAN);
}
static void break_logprob_positive(struct message *m)
{
    set_float(m, 1, 0.5f);
}
static void break_logprob_inf(struct message *m)
{
    set_float(m, 1, -INFINITY);
}
static void break_reward(struct message *m)
{
    set_float(m, 2, INFINITY);
}
static void break_reference(struct message *m)
{
    set_float(m, 3, NAN);
}
static void break_score_reference(struct message *m)
{
    set_float(m, 2, 1.0f);
}
static void break_state(struct message *m)
{
    ((unsigned char *)(uintptr_t)m->frame[1].data)[0] = 0;
}
static void break_score(struct message *m)
{
    ((unsigned char *)(uintptr_t)m->frame[1].data)[0] = WIRE_SCORE_OK;
    ((double *)(uintptr_t)m->frame[0].data)[0] = NAN;
}
static void break_scorers(struct message *m)
{
    m->scorers = 0;
}
static void break_scorers_many(struct message *m)
{
    m->scorers = 17;
}
static void break_scorers_other(struct message *m)
{
    m->scorers = m->scorers % 16 + 1;
}
static void break_kl(struct message *m)
{
    m->kl_coef = NAN;
}
static void break_kl_negative(struct message *m)
{
    m->kl_coef = -0.5;
}
static void break_multiplier(struct message *m)
{
    m->multiplier = INFINITY;
}
static void break_multiplier_negative(struct message *m)
{
    m->multiplier = -0.5;
}
static void break_lr_scale(struct message *m)
{
    m->lr_scale = NAN;
}
static void break_lr_scale_negative(struct message *m)
{
    m->lr_scale = -0.5;
}
static void break_restore_items(struct message *m)
{
    m->restore = true;
    m->base_version = 3;
}
static void break_restore_ahead(struct message *m)
{
    m->restore = true;
    m->items_n = 0;
    for (uint32_t f = 0; f < m->frames_n; f++)
        m->frame[f].size = 0;
    m->step = 7;
    m->base_version = 8;
}
static void break_costs_missing(struct message *m)
{
    m->multiplier = 0.5;
    m->frames_n = 4;
}
static void break_costs_short(struct message *m)
{
    m->frames_n = 5;
    m->frame[4] = (struct wire_bytes){m->frame[3].data, m->frame[3].size - 4};
}
static void break_cost(struct message *m)
{
    m->frames_n = 5;
    m->frame[4] = (struct wire_bytes){made.costs, m->frame[2].size};
    set_float(m, 4, NAN);
}
static void break_frame_too_many(struct message *m)
{
    m->frames_n = 6;
    m->frame[4] = m->frame[5] = m->frame[3];
}
static void break_role(struct message *m)
{
    m->role = WIRE_ROLE_NONE;
}
static void break_role_high(struct message *m)
{
    m->role = 4;
}
static void break_name_empty(struct message *m)
{
    m->name[0] = '\0';
}
static void break_name_long(struct message *m)
{
    memset(m->name, 'n', sizeof m->name);
}
static void break_name_utf8(struct message *m)
{
    strcpy(m->name, "\xc0\x80");
}
static void break_name_cut(struct message *m)
{
    strcpy(m->name, "a\xe2\x82");
}
static void break_name_surrogate(struct message *m)
{
    strcpy(m->name, "\xed\xa0\x80");
}
static void break_capacity(struct message *m)
{
    m->capacity = 0;
}
static void break_capacity_high(struct message *m)
{
    m->capacity = 4097;
}
static void break_text_long(struct message *m)
{
    memset(m->text, 't', sizeof m->text);
}
static void break_text_utf8(struct message *m)
{
    strcpy(m->text, "\xff");
}
static void break_heartbeat(struct message *m)
{
    m->heartbeat_ms = 0;
}
static void break_dead(struct message *m)
{
    m->dead_ms = m->heartbeat_ms;
}
static void break_stats(struct message *m)
{
    m->stats_n = 65;
}
static void break_stats_stray(struct message *m)
{
    m->stats_n = 1;
}
static void break_stat_name(struct message *m)
{
    m->stats_n = m->stats_n ? m->stats_n : 1;
    m->stats = m->stats ? m->stats : made.stats;
    m->stats[0].name[0] = '\0';
}
static void break_hash(struct message *m)
{
    m->has_hash = false;
}
static void break_chunk_bytes(struct message *m)
{
    m->chunk_bytes = WIRE_CHUNK_BYTES + 1;
}
static void break_hashes(struct message *m)
{
    m->frame[0].size -= HASH_BYTES - 1;
}
static void break_hashes_absent(struct message *m)
{
    m->frames_n = 0;
}
static void break_chunk_empty(struct message *m)
{
    m->frame[0].size = 0;
}
static void break_ranks(struct message *m, uint32_t n, uint32_t rank)
{
    m->ranks = n ? made.ranks : NULL;
    m->ranks_n = n;
    m->rank = rank;
    for (uint32_t i = 0; i < n; i++) {
        strcpy(made.ranks[i].name, "learner");
        strcpy(made.ranks[i].endpoint, "ipc:///run/bulk");
    }
}
static void break_one_rank(struct message *m)
{
    break_ranks(m, 1, 0);
}
static void break_rank_high(struct message *m)
{
    break_ranks(m, 2, 2);
}
static void break_rank_alone(struct message *m)
{
    break_ranks(m, 0, 1);
}
static void break_rank_name(struct message *m)
{
    break_ranks(m, 2, 0);
    made.ranks[1].name[0] = '\0';
}
static void break_rank(struct message *m)
{
    m->gradient.rank = WIRE_RANKS_MAX;
}
static void break_part(struct message *m)
{
    m->gradient.part = WIRE_PARTS_MAX;
}
static void break_no_bytes(struct message *m)
{
    m->gradient.bytes = 0;
}

static void message_says_which_bound_is_broken(void **state)
{
    (void)state;
    static const struct {
        enum message_type type;
        void (*breaks)(struct message *m);
        const char *words;
    } rows[] = {
        {MESSAGE_HELLO, break_type, "a message of type 99: there is none"},
        {MESSAGE_CHUNK, break_frames_n, "CHUNK: 9 payload frames, at most 8 are allowed"},
        {MESSAGE_CHUNK, break_one_frame_more, "CHUNK: 2 payload frames, not 1"},
        {MESSAGE_HELLO, break_one_frame_more, "HELLO: 1 payload frames, not 0"},
        {MESSAGE_CHUNK, break_frame_size, "CHUNK: payload frame 0 has 67108865 bytes"},
        {MESSAGE_TRAIN_LEASE, break_payload,
         "the payload has 335544320 bytes, at most 268435456"},
        {MESSAGE_SCORE_LEASE, break_no_items, "SCORE_LEASE: 0 items, not in 1..4096"},
        {MESSAGE_TRAIN_LEASE, break_no_items, "the ids have 1680 bytes, the items make it 0"},
        {MESSAGE_TRAIN_LEASE, break_items_many, "TRAIN_LEASE: 4097 items, not in 0..4096"},
        {MESSAGE_HEARTBEAT, break_items_stray, "HEARTBEAT: 1 items, not in 0..0"},
        {MESSAGE_SCORE_LEASE, break_kind, "SCORE_LEASE: items[0].kind is 3, not rollout"},
        {MESSAGE_SCORE_LEASE, break_kind_none, "items[0].kind is 0"},
        {MESSAGE_GENERATE_LEASE, break_has_response, "items[0] already has a response"},
        {MESSAGE_GENERATE_LEASE, break_has_finish, "items[0] already has a response"},
        {MESSAGE_GENERATE_RESULT, break_finish, "items[0].finish is 4, not eos"},
        {MESSAGE_SCORE_RESULT, break_finish_none, "items[0].finish is 0, not eos"},
        {MESSAGE_GENERATE_RESULT, break_tokens, "GENERATE_RESULT: the response ids have"},
        {MESSAGE_GENERATE_LEASE, break_prompt_tokens, "GENERATE_LEASE: the prompt ids have"},
        {MESSAGE_SCORE_LEASE, break_tokens, "SCORE_LEASE: the ids have"},
        {MESSAGE_TRAIN_LEASE, break_tokens, "TRAIN_LEASE: the ids have"},
        {MESSAGE_GENERATE_LEASE, break_ids, "GENERATE_LEASE: prompt ids[0] is -1"},
        {MESSAGE_GENERATE_RESULT, break_logprob_nan, "log-probs[0] is nan"},
        {MESSAGE_GENERATE_RESULT, break_logprob_positive, "log-probs[0] is 0.5"},
        {MESSAGE_TRAIN_LEASE, break_logprob_inf, "behaviour log-probs[0] is -inf"},
        {MESSAGE_TRAIN_LEASE, break_reward, "TRAIN_LEASE: token rewards[0] is inf"},
        {MESSAGE_TRAIN_LEASE, break_reference, "TRAIN_LEASE: reference log-probs[0] is"},
        {MESSAGE_SCORE_RESULT, break_score_reference, "reference log-probs[0] is 1"},
        {MESSAGE_SCORE_RESULT, break_state, "states[0] is 0, not ok (1)"},
        {MESSAGE_SCORE_RESULT, break_score, "scores[0] is nan though its state is ok"},
        {MESSAGE_SCORE_RESULT, break_scorers, "SCORE_RESULT: scorers is 0, not in 1..16"},
        {MESSAGE_SCORE_RESULT, break_scorers_many, "scorers is 17, not in 1..16"},
        {MESSAGE_SCORE_RESULT, break_scorers_other, "SCORE_RESULT: the scores have"},
        {MESSAGE_TRAIN_LEASE, break_kl, "TRAIN_LEASE: kl_coef is nan"},
        {MESSAGE_TRAIN_LEASE, break_kl_negative, "TRAIN_LEASE: kl_coef is -0.5"},
        {MESSAGE_TRAIN_LEASE, break_multiplier, "TRAIN_LEASE: multiplier is inf"},
        {MESSAGE_TRAIN_LEASE, break_multiplier_negative, "TRAIN_LEASE: multiplier is -0.5"},
        {MESSAGE_TRAIN_LEASE, break_lr_scale, "TRAIN_LEASE: lr_scale is nan"},
        {MESSAGE_TRAIN_LEASE, break_lr_scale_negative, "TRAIN_LEASE: lr_scale is -0.5"},
        {MESSAGE_TRAIN_LEASE, break_restore_items, "it goes back to version 3, but has"},
        {MESSAGE_TRAIN_LEASE, break_restore_ahead, "step 7 cannot go back to version 8"},
        {MESSAGE_TRAIN_LEASE, break_costs_missing,
         "TRAIN_LEASE: multiplier is 0.5, but there are no token costs"},
        {MESSAGE_TRAIN_LEASE, break_costs_short, "TRAIN_LEASE: the token costs have"},
        {MESSAGE_TRAIN_LEASE, break_cost, "TRAIN_LEASE: token costs[0] is nan"},
        {MESSAGE_TRAIN_LEASE, break_frame_too_many,
         "TRAIN_LEASE: 6 payload frames, not 4 or one more"},
        {MESSAGE_HELLO, break_role, "HELLO: role is 0, not in 1..3"},
        {MESSAGE_HELLO, break_role_high, "HELLO: role is 4, not in 1..3"},
        {MESSAGE_HELLO, break_name_empty, "HELLO: name is empty"},
        {MESSAGE_HELLO, break_name_long, "HELLO: name is longer than 63 bytes"},
        {MESSAGE_HELLO, break_name_utf8, "HELLO: name is not UTF-8"},
        {MESSAGE_HELLO, break_name_cut, "HELLO: name is not UTF-8"},
        {MESSAGE_HELLO, break_name_surrogate, "HELLO: name is not UTF-8"},
        {MESSAGE_HELLO, break_capacity, "HELLO: capacity is 0, not in 1..4096"},
        {MESSAGE_HELLO, break_capacity_high, "HELLO: capacity is 4097, not in 1..4096"},
        {MESSAGE_RESET, break_text_long, "RESET: a text is longer than 255 bytes"},
        {MESSAGE_LEASE_FAILED, break_text_utf8, "LEASE_FAILED: a text is not UTF-8"},
        {MESSAGE_WELCOME, break_heartbeat, "WELCOME: heartbeat_ms is 0"},
        {MESSAGE_WELCOME, break_dead, "WELCOME: dead_ms is"},
        {MESSAGE_TRAIN_RESULT, break_stats, "the number of stats is 65, not in 0..64"},
        {MESSAGE_HEARTBEAT, break_stats_stray, "the number of stats is 1, not in 0..0"},
        {MESSAGE_TRAIN_RESULT, break_stat_name, "TRAIN_RESULT: stats[0].name is empty"},
        {MESSAGE_TRAIN_RESULT, break_hash, "TRAIN_RESULT: weights_hash is missing"},
        {MESSAGE_WEIGHTS_MANIFEST, break_hash, "WEIGHTS_MANIFEST: blake2b is missing"},
        {MESSAGE_WEIGHTS_MANIFEST, break_chunk_bytes,
         "chunk_bytes is 1048577, not in 1..1048576"},
        {MESSAGE_WEIGHTS_MANIFEST, break_hashes, "bytes of hashes for"},
        {MESSAGE_WEIGHTS_MANIFEST, break_hashes_absent, "0 payload frames, not 1"},
        {MESSAGE_CHUNK_ELSEWHERE, break_text_utf8, "CHUNK_ELSEWHERE: a text is not UTF-8"},
        {MESSAGE_CHUNK_ASK, break_one_frame_more, "CHUNK_ASK: 1 payload frames, not 0"},
        {MESSAGE_CHUNK, break_chunk_empty, "CHUNK: the chunk's size is 0, not in 1..1048576"},
        {MESSAGE_GRADIENT_CHUNK, break_chunk_empty,
         "GRADIENT_CHUNK: the chunk's size is 0, not in 1..1048576"},
        {MESSAGE_GRADIENT_CHUNK, break_one_frame_more,
         "GRADIENT_CHUNK: 2 payload frames, not 1"},
        {MESSAGE_TRAIN_LEASE, break_one_rank, "TRAIN_LEASE: 1 ranks, not none or 2..16"},
        {MESSAGE_TRAIN_LEASE, break_rank_high, "TRAIN_LEASE: rank is 2, not in 0..1"},
        {MESSAGE_TRAIN_LEASE, break_rank_alone, "TRAIN_LEASE: rank is 1, not in 0..0"},
        {MESSAGE_TRAIN_LEASE, break_rank_name, "ranks[1] has no name or no endpoint"},
        {MESSAGE_GRADIENT_ASK, break_rank, "GRADIENT_ASK: rank is 16, not in 0..15"},
        {MESSAGE_GRADIENT_WAIT, break_part, "GRADIENT_WAIT: part is 66, not in 0..65"},
        {MESSAGE_GRADIENT_ASK, break_no_bytes, "GRADIENT_ASK: bytes is 0, not in 1..1048576"},
        {MESSAGE_GRADIENT_REFUSED, break_text_utf8, "GRADIENT_REFUSED: a text is not UTF-8"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        uint64_t seed = 1;
        do { /* a message with something in its first item and in every frame */
            wire_test_make(&made, rows[i].type, seed++);
        } while (made.m.items_n && (made.items[0].prompt_tokens == 0 ||
                                    (rows[i].type != MESSAGE_GENERATE_LEASE &&
                                     made.items[0].response_tokens == 0) ||
                                    made.items[0].kind != WIRE_WORK_ROLLOUT));
        rows[i].breaks(&made.m);
        unsigned char *bytes = NULL;
        size_t size = 0;
        check_fails(message_encode(&made.m, &bytes, &size, &err), ERR_VALUE, rows[i].words);
        assert_null(bytes);
    }
}

/* The checks that only a decoder can make, from bytes written by hand. */
static void message_says_what_is_wrong_with_what_came(void **state)
{
    (void)state;
    struct message m;
    static const unsigned char rubbish[] = "\xff\xff\xff\xff";
    check_fails(message_decode(&m, rubbish, 4, NULL, 0, &err), ERR_FORMAT,
                "a header of 4 bytes that is not protobuf");
    static unsigned char large[WIRE_HEADER_MAX + 1];
    check_fails(message_decode(&m, large, sizeof large, NULL, 0, &err), ERR_FORMAT,
                "a header of 262145 bytes, at most 262144 are allowed");

    body.n = 0;
    raw_header(&head, 13, &body);
    check_ok(decode_raw(&err)); /* an empty heartbeat is one */
    const struct wire_bytes frame = {rubbish, 4};
    check_fails(message_decode(&m, head.bytes, head.n, &frame, 1, &err), ERR_FORMAT,
                "a message that says 0 payload frames and has 1");
    head.bytes[1] = 1;
    check_fails(decode_raw(&err), ERR_FORMAT, "a message of wire version 1, this is 3");

    head.n = 0;
    raw_uint(&head, 1, WIRE_VERSION);
    check_fails(decode_raw(&err), ERR_FORMAT,
                "a message without a body that this version knows");
    raw_bytes(&head, 99, "new", 3);
    check_fails(decode_raw(&err), ERR_FORMAT,
                "a message without a body that this version knows");

    head.n = 0;
    raw_uint(&head, 1, WIRE_VERSION);
    raw_uint(&head, 5, 1);
    raw_fixed64(&head, 6, 0xdead);
    raw_uint(&body, 3, 8);
    raw_bytes(&head, 43, body.bytes, body.n);
    check_fails(message_decode(&m, head.bytes, head.n, &frame, 1, &err), ERR_FORMAT,
                "a payload whose checksum is");
    struct wire_bytes many[9] = {{0}};
    check_fails(message_decode(&m, head.bytes, head.n, many, 9, &err), ERR_FORMAT,
                "9 payload frames, at most 8 are allowed");
}

static void raw_hello(size_t nonce, size_t config, size_t weights, size_t endpoint)
{
    static const unsigned char fill[400] = {0};
    static char text[400];
    memset(text, 'e', sizeof text);
    body.n = 0;
    raw_uint(&body, 1, 1);
    raw_bytes(&body, 2, "actor-0", 7);
    raw_bytes(&body, 3, fill, nonce);
    raw_bytes(&body, 4, fill, config);
    raw_uint(&body, 5, 4);
    raw_bytes(&body, 6, text, endpoint);
    raw_bytes(&body, 8, fill, weights);
    raw_header(&head, 10, &body);
}

static void message_refuses_strings_and_hashes_of_the_wrong_size(void **state)
{
    (void)state;
    raw_hello(16, 32, 0, 255);
    check_ok(decode_raw(&err));
    raw_hello(16, 32, 32, 0);
    check_ok(decode_raw(&err));
    raw_hello(15, 32, 0, 0);
    check_fails(decode_raw(&err), ERR_FORMAT, "HELLO: boot_nonce has 15 bytes, not 16");
    raw_hello(16, 33, 0, 0);
    check_fails(decode_raw(&err), ERR_FORMAT, "HELLO: config_hash has 33 bytes, not 32");
    raw_hello(16, 32, 31, 0);
    check_fails(decode_raw(&err), ERR_FORMAT, "HELLO: content_hash has 31 bytes, not 32");
    raw_hello(16, 32, 0, 256);
    check_fails(decode_raw(&err), ERR_FORMAT,
                "HELLO: bulk_endpoint has 256 bytes, at most 255 are allowed");

    raw_hello(16, 32, 0, 0);
    raw_bytes(&body, 2, "act\0or", 6);
    raw_header(&head, 10, &body);
    check_fails(decode_raw(&err), ERR_FORMAT, "HELLO: name has a NUL inside");
    raw_bytes(&body, 2, "\xff", 1);
    raw_header(&head, 10, &body);
    check_fails(decode_raw(&err), ERR_FORMAT, "HELLO: name is not UTF-8");
    raw_bytes(&body, 2, "reward-0", 8); /* the last one counts */
    raw_header(&head, 10, &body);
    check_ok(decode_raw(&err));
}

static void message_refuses_many_unknown_fields(void **state)
{
    (void)state;
    body.n = 0;
    for (unsigned i = 0; i < 16; i++)
        raw_uint(&body, 100 + i, i);
    raw_header(&head, 13, &body);
    check_ok(decode_raw(&err));
    raw_uint(&head, 200, 1);
    check_fails(decode_raw(&err), ERR_FORMAT, "17 unknown fields, at most 16 are allowed");
}

/* Two bytes of wire make an empty item of some 160 bytes. */
static void message_does_not_unpack_a_few_bytes_to_megabytes(void **state)
{
    (void)state;
    body.n = 0;
    for (unsigned i = 0; i < 4097; i++)
        raw_bytes(&body, 3, "", 0);
    raw_header(&head, 21, &body);
    check_fails(decode_raw(&err), ERR_FORMAT, "4097 items, at most 4096 are allowed");
    for (unsigned i = 0; i < 120000; i++)
        raw_bytes(&body, 3, "", 0);
    raw_header(&head, 21, &body);
    check_fails(decode_raw(&err), ERR_FORMAT, "that unpacks to more than");
    body.n = 0;
    for (unsigned i = 0; i < 85000; i++)
        raw_uint(&body, 100, 1);
    raw_header(&head, 13, &body);
    assert_int_not_equal(decode_raw(NULL), ERR_OK);
}

/* The fewest bytes an item can have, and the most, at the greatest number of items. */
static void message_takes_a_full_lease_of_small_or_large_items(void **state)
{
    (void)state;
    static struct wire_item items[WIRE_ITEMS_MAX];
    for (int large = 0; large < 2; large++) {
        for (uint32_t i = 0; i < WIRE_ITEMS_MAX; i++) {
            const struct wire_item small = {.kind = WIRE_WORK_ROLLOUT};
            const struct wire_item most = {
                WIRE_WORK_REFERENCE, UINT64_MAX, UINT32_MAX, UINT32_MAX, 0, 0, 0, UINT32_MAX};
            items[i] = large ? most : small;
        }
        const struct message m = {.type = MESSAGE_GENERATE_LEASE,
                                  .items = items,
                                  .items_n = WIRE_ITEMS_MAX,
                                  .frames_n = 1,
                                  .frame = {{"", 0}}};
        unsigned char *bytes = NULL;
        size_t size = 0;
        check_ok(message_encode(&m, &bytes, &size, &err));
        struct message back;
        check_ok(message_decode(&back, bytes, size, m.frame, 1, &err));
        wire_test_check_same(&back, &m);
        message_release(&back);
        free(bytes);
    }
}

static void message_names_are_words(void **state)
{
    (void)state;
    assert_string_equal(message_type_name(MESSAGE_GENERATE_LEASE), "GENERATE_LEASE");
    assert_string_equal(message_type_name((enum message_type)77), "?");
    assert_string_equal(wire_role_name(WIRE_ROLE_LEARNER), "learner");
    assert_string_equal(wire_role_name((enum wire_role)9), "?");
}

static void message_texts_are_cut_at_a_character(void **state)
{
    (void)state;
    struct message m = {.type = MESSAGE_BYE};
    char text[400];
    memset(text, 'x', 254);
    strcpy(text + 254, "\xe2\x82\xac!");
    message_set_text(&m, text);
    assert_int_equal(strlen(m.text), 254);
    strcpy(text + 252, "\xe2\x82\xac!");
    message_set_text(&m, text);
    assert_int_equal(strlen(m.text), 255);
    assert_string_equal(m.text + 252, "\xe2\x82\xac");
    message_set_text(&m, "a\xff\xe2\x82 b");
    assert_string_equal(m.text, "a??? b");
    unsigned char *bytes = NULL;
    size_t size = 0;
    check_ok(message_encode(&m, &bytes, &size, &err));
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(message_has_the_bytes_that_protobuf_prescribes),
        cmocka_unit_test(message_checksums_the_payload_with_xxh3),
        cmocka_unit_test(message_leaves_a_chunk_of_weights_to_its_hash),
        cmocka_unit_test(message_comes_back_as_it_was),
        cmocka_unit_test(message_aligns_frames_that_came_unaligned),
        cmocka_unit_test(message_refuses_every_truncation),
        cmocka_unit_test(message_survives_ten_thousand_bit_flips),
        cmocka_unit_test(message_says_which_bound_is_broken),
        cmocka_unit_test(message_says_what_is_wrong_with_what_came),
        cmocka_unit_test(message_refuses_strings_and_hashes_of_the_wrong_size),
        cmocka_unit_test(message_refuses_many_unknown_fields),
        cmocka_unit_test(message_does_not_unpack_a_few_bytes_to_megabytes),
        cmocka_unit_test(message_takes_a_full_lease_of_small_or_large_items),
        cmocka_unit_test(message_texts_are_cut_at_a_character),
        cmocka_unit_test(message_names_are_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

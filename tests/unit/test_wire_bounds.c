/*
 * test_wire_bounds.c -- the bounds of a message, broken one at a time.
 *
 * Oracle: the list of checks in wire/message.h, each with the sentence it must produce.
 */
#include <math.h>
#include <stdlib.h>

#include "tests/wire_messages.h"

static struct wire_test made; /* too large for the stack */

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
static void break_weights(struct message *m)
{
    m->weights.saved_bytes = WIRE_WEIGHTS_MAX + 1;
}
static void break_weights_last(struct message *m)
{
    m->weights.fetch_ms = UINT64_MAX;
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
        {MESSAGE_HEARTBEAT, break_weights,
         "HEARTBEAT: saved_bytes is 1152921504606846977, not in 0..1152921504606846976"},
        {MESSAGE_HEARTBEAT, break_weights_last, "HEARTBEAT: fetch_ms is"},
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(message_says_which_bound_is_broken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

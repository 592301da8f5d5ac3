/*
 * test_learner_exchange.c -- any number of ranks ends with the bits of one.
 *
 * That the data tells one order from another is checked first.  Ranks are threads with
 * a context each, or processes where one is to be killed; ranks and peers that break the rules
 * are played by plain libzmq sockets.  Deadlines are long where a round is to succeed.
 */
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zmq.h>

#include "base/clock.h"
#include "learner/exchange_state.h"
#include "tests/stranger.h"
#include "tests/unit/exchange_scene.h"

enum { RANKS = 4, LEAVES_MAX = 13, ROUNDS = 3 };
static void exchange_data_tells_one_order_from_another(void **state)
{
    (void)state;
    uint32_t differ = 0;
    for (size_t j = 0; j < 100; j++) {
        float line = leaf_value(0, 0, j);
        for (uint32_t i = 1; i < 6; i++)
            line += leaf_value(0, i, j);
        const float tree = tree_value(PRECISION_FP32, 0, 0, 6, j);
        differ += memcmp(&tree, &line, sizeof tree) != 0;
    }
    assert_true(differ > 30);
}

/* --- ranks as threads -------------------------------------------------------------------- */

struct rank {
    uint32_t rank, ranks, leaves, delay_ms;
    uint64_t attempt;
    size_t P;
    enum precision kind;
    const char *gives_up; /* after the first round, saying so */
    uint32_t silent_ms, late_ms;
    const size_t *bytes; /* gathers these blocks instead */
    unsigned char *all;
    pthread_t thread;
    struct wire_context *context;
    struct weights_server *server;
    struct exchange *x;
    uint32_t nodes;
    void *node[EXCHANGE_NODES_MAX], *sum; /* kept until the server is closed */
    enum err_code rc;
    struct err err;
    uint32_t wrong; /* rounds with other bits than the oracle's */
    struct exchange_counts counts;
};

static void rank_open(struct rank *r)
{
    struct exchange_group group = group_of(r->attempt, r->ranks, r->rank);
    check_ok(wire_context_new(&r->context, &err));
    check_ok(
        weights_server_open(&r->server, r->context, group.peer[r->rank].endpoint, 1, &err));
    const struct exchange_options options = {
        .context = r->context,
        .server = r->server,
        .run = RUN,
        .silent_ms = r->silent_ms ? r->silent_ms : LONG_MS,
        .late_ms = r->late_ms ? r->late_ms : LONG_MS,
    };
    check_ok(exchange_open(&r->x, &options, &err));
    check_ok(exchange_join(r->x, &group, &err));
}

static void rank_close(struct rank *r)
{
    r->counts = exchange_counts(r->x);
    exchange_close(r->x);
    weights_server_close(r->server);
    wire_context_free(r->context);
    for (uint32_t k = 0; k < r->nodes; k++)
        free(r->node[k]);
    free(r->sum);
}

/* The node sums of this rank in a round, by the oracle's recursion. */
static void rank_fill(const struct rank *r, uint32_t round, const uint32_t *level)
{
    uint32_t at = summation_first(r->leaves, r->ranks, r->rank);
    for (uint32_t k = 0; k < r->nodes; k++) {
        const uint32_t n = 1u << level[k];
        for (size_t j = 0; j < r->P; j++)
            put(r->kind, r->node[k], j, tree_value(r->kind, round, at, n, j));
        at += n;
    }
}

static bool rank_is_right(const struct rank *r, uint32_t round, const void *sum)
{
    const size_t bytes = gradient_bytes(r->kind);
    for (size_t j = 0; j < r->P; j++) {
        uint32_t want;
        put(r->kind, &want, 0, tree_value(r->kind, round, 0, r->leaves, j));
        if (memcmp((const char *)sum + j * bytes, &want, bytes) != 0)
            return false;
    }
    return true;
}

/* In one, or begun and ended, with something else to do between. */
static enum err_code rank_sum(struct rank *r, bool is_behind)
{
    const void *const *node = (const void *const *)r->node;
    if (!is_behind)
        return exchange_sum(r->x, r->kind, r->leaves, node, r->P, r->sum, &r->err);
    const enum err_code rc =
        exchange_sum_begin(r->x, r->kind, r->leaves, node, r->P, 0, r->sum, &r->err);
    wire_test_sleep_ms(1);
    return rc ? rc : exchange_sum_end(r->x, &r->err);
}

/* As a learner does: fills its nodes, exchanges, and uses all arrays anew at once. */
static enum err_code rank_rounds(struct rank *r, uint32_t rounds)
{
    uint32_t level[EXCHANGE_NODES_MAX];
    const uint32_t nodes = exchange_nodes(r->leaves, r->ranks, r->rank, level);
    const size_t bytes = r->P * gradient_bytes(r->kind); /* what is beyond them, ASan watches */
    void *sum = r->sum = r->sum ? r->sum : malloc(bytes);
    for (; r->nodes < nodes; r->nodes++) /* a group of fewer has more, never fewer */
        r->node[r->nodes] = malloc(bytes);
    enum err_code rc = ERR_OK;
    for (uint32_t round = 0; round < rounds && rc == ERR_OK; round++) {
        rank_fill(r, round, level);
        memset(sum, 0xff, bytes);
        wire_test_sleep_ms(r->delay_ms * (round % 2));
        rc = rank_sum(r, (round + r->rank) % 2 == 0);
        if (rc == ERR_OK)
            r->wrong += !rank_is_right(r, round, sum);
        if (round == 0 && r->gives_up) {
            exchange_abandon(r->x, r->gives_up);
            break;
        }
    }
    return rc;
}

static void *rank_thread(void *ctx)
{
    struct rank *r = ctx;
    rank_open(r);
    r->rc =
        r->bytes ? exchange_gather(r->x, r->bytes, r->all, &r->err) : rank_rounds(r, ROUNDS);
    return NULL;
}

/* All ranks, and no verdict before all have ended: sockets are closed by who made them, but
 * only when nobody waits for an answer any more. */
static void run_ranks(struct rank *rank, uint32_t ranks)
{
    for (uint32_t i = 0; i < ranks; i++)
        assert_int_equal(pthread_create(&rank[i].thread, NULL, rank_thread, &rank[i]), 0);
    for (uint32_t i = 0; i < ranks; i++)
        pthread_join(rank[i].thread, NULL);
    for (uint32_t i = 0; i < ranks; i++)
        rank_close(&rank[i]);
}

static void check_ranks(enum precision kind, uint32_t ranks, uint32_t leaves, size_t P,
                        uint32_t delay_ms)
{
    struct rank rank[RANKS] = {0};
    for (uint32_t i = 0; i < ranks; i++)
        rank[i] = (struct rank){.rank = i,
                                .ranks = ranks,
                                .leaves = leaves,
                                .P = P,
                                .kind = kind,
                                .attempt = 1,
                                .delay_ms = i == leaves % ranks ? delay_ms : 0};
    run_ranks(rank, ranks);
    for (uint32_t i = 0; i < ranks; i++) {
        if (rank[i].rc || rank[i].wrong)
            fail_msg("rank %u of %u, %u leaves of %zu in %s: %u rounds wrong: %s", i, ranks,
                     leaves, P, precision_name(kind), rank[i].wrong, rank[i].err.text);
        assert_int_equal(rank[i].counts.rounds, ROUNDS);
    }
}

static void exchange_gives_any_number_of_ranks_the_bits_of_one(void **state)
{
    (void)state;
    static const uint32_t leaves[] = {1, 2, 3, 5, 6, 7, 8, 13};
    for (uint32_t ranks = 1; ranks <= RANKS; ranks++)
        for (size_t i = 0; i < COUNT(leaves); i++) {
            check_ranks(PRECISION_FP32, ranks, leaves[i], 1021, 0);
            check_ranks(PRECISION_BF16, ranks, leaves[i], 1021, 0);
        }
}

static void exchange_gives_the_same_bits_for_any_number_of_parameters(void **state)
{
    (void)state;
    static const size_t P[] = {1, 2, 3, 5, 65535, 65537, EXCHANGE_CHUNK_BYTES / 2 + 1};
    for (size_t i = 0; i < COUNT(P); i++)
        for (uint32_t ranks = 2; ranks <= RANKS; ranks++) {
            check_ranks(PRECISION_FP32, ranks, 6, P[i], 0);
            check_ranks(PRECISION_BF16, ranks, 6, P[i], 0);
        }
}

/* More chunks than windows and rings hold. */
static void exchange_gives_the_same_bits_for_many_chunks(void **state)
{
    (void)state;
    const size_t floats = EXCHANGE_CHUNK_BYTES / sizeof(float);
    check_ranks(PRECISION_FP32, 2, 3, 2 * 6 * floats + 77, 0);
    check_ranks(PRECISION_FP32, 3, 7, 3 * 5 * floats + 77, 0);
    check_ranks(PRECISION_BF16, 2, 2, 2 * 5 * 2 * floats + 77, 0);
}

static void exchange_waits_for_a_slow_rank(void **state)
{
    (void)state;
    check_ranks(PRECISION_FP32, 3, 7, 3001, 900); /* longer than asks take to be repeated */
}

static void exchange_gathers_blocks_in_the_order_of_ranks(void **state)
{
    (void)state;
    static const size_t bytes[RANKS] = {10, 0, 3 * EXCHANGE_CHUNK_BYTES + 1, 7};
    enum { ALL = 10 + 3 * EXCHANGE_CHUNK_BYTES + 1 + 7 };
    unsigned char *want = malloc(ALL);
    for (size_t j = 0; j < ALL; j++)
        want[j] = (unsigned char)(j * 7 + j / 251 + 1);
    struct rank rank[RANKS];
    size_t at = 0;
    for (uint32_t i = 0; i < RANKS; i++) {
        rank[i] = (struct rank){.rank = i, .ranks = RANKS, .attempt = 3, .bytes = bytes};
        rank[i].all = calloc(ALL, 1);
        memcpy(rank[i].all + at, want + at, bytes[i]);
        at += bytes[i];
    }
    run_ranks(rank, RANKS);
    for (uint32_t i = 0; i < RANKS; i++) {
        assert_string_equal(rank[i].err.text, "");
        assert_memory_equal(rank[i].all, want, ALL);
        free(rank[i].all);
    }
    free(want);
}

/* --- what goes wrong --------------------------------------------------------------------- */

static void check_says(const struct rank *r, enum err_code rc, const char *words)
{
    if (r->rc != rc || !strstr(r->err.text, words))
        fail_msg("rank %u: %s \"%s\", not %s with \"%s\"", r->rank, err_name(r->rc),
                 r->err.text, err_name(rc), words);
}

/* It says so of rank 1, for this long at least. */
static bool tells_of_rank_1(const struct rank *r, const char *words, uint32_t ms)
{
    const char *for_ms = strstr(r->err.text, words);
    return for_ms && strtoul(for_ms + strlen(words), NULL, 10) >= ms &&
           strstr(r->err.text, "rank 1 (learner-1 at ipc://");
}

/* A busy machine may make any rank late or silent: those who are to be so are it for so many
 * times as long, until it does not. */
#define TIMES_MAX 16u

static void exchange_tells_the_others_why_a_rank_gave_up(void **state)
{
    (void)state;
    struct rank rank[3] = {0};
    for (uint32_t i = 0; i < 3; i++)
        rank[i] = (struct rank){.rank = i, .ranks = 3, .leaves = 3, .P = 50, .attempt = 1};
    rank[1].gives_up = "no memory for it";
    run_ranks(rank, 3);
    assert_int_equal(rank[1].rc, ERR_OK);
    check_says(&rank[0], ERR_UNAVAILABLE, "no memory for it");
    check_says(&rank[2], ERR_UNAVAILABLE, "no memory for it");
}

/* Whichever notices first tells the other. */
static void exchange_names_a_rank_that_is_not_there(void **state)
{
    (void)state;
    static const char words[] = "has not answered for ";
    struct rank rank[2];
    for (uint32_t times = 1; times <= TIMES_MAX; times *= 2) {
        for (uint32_t i = 0; i < 2; i++)
            rank[i] = (struct rank){.rank = i * 2,
                                    .ranks = 3,
                                    .leaves = 3,
                                    .P = 500,
                                    .attempt = 1,
                                    .silent_ms = 1000 * times};
        run_ranks(rank, 2);
        if (tells_of_rank_1(&rank[0], words, 1000) && tells_of_rank_1(&rank[1], words, 1000))
            return;
    }
    fail_msg("rank 0: %s; rank 2: %s", rank[0].err.text, rank[1].err.text);
}

/* Ranks 0 and 2 of three; rank 1's process answers, and its training does not come to the round. */
static void run_without_rank_1(struct rank *rank)
{
    rank_open(&rank[1]);
    for (uint32_t i = 0; i < 3; i += 2)
        assert_int_equal(pthread_create(&rank[i].thread, NULL, rank_thread, &rank[i]), 0);
    for (uint32_t i = 0; i < 3; i += 2)
        pthread_join(rank[i].thread, NULL);
    for (uint32_t i = 0; i < 3; i++)
        rank_close(&rank[i]);
}

/* Rank 2 waits for rank 1 too, so nobody gets anything from rank 2 either: it is not the one to be
 * named. */
static void exchange_names_a_rank_that_lives_and_does_nothing(void **state)
{
    (void)state;
    static const char words[] = "lives, and has sent nothing for ";
    struct rank rank[3];
    for (uint32_t times = 1; times <= TIMES_MAX; times *= 2) {
        for (uint32_t i = 0; i < 3; i++)
            rank[i] = (struct rank){.rank = i,
                                    .ranks = 3,
                                    .leaves = 3,
                                    .P = 500,
                                    .attempt = 1,
                                    .silent_ms = 1500 * times,
                                    .late_ms = 2500 * times};
        run_without_rank_1(rank);
        if (tells_of_rank_1(&rank[0], words, 2500) && tells_of_rank_1(&rank[2], words, 2500) &&
            !strstr(rank[0].err.text, "perhaps") && !strstr(rank[2].err.text, "perhaps"))
            return;
    }
    fail_msg("rank 0: %s; rank 2: %s", rank[0].err.text, rank[2].err.text);
}

/* 64 bytes are one chunk, rank 0's: it waits for rank 1 with patience, and rank 2 for it with
 * less. */
static void exchange_says_that_a_rank_may_wait_for_another(void **state)
{
    (void)state;
    static const uint32_t late_ms[] = {2000, 0, 1000};
    struct rank rank[3];
    for (uint32_t times = 1; times <= TIMES_MAX; times *= 2) {
        for (uint32_t i = 0; i < 3; i++)
            rank[i] = (struct rank){.rank = i,
                                    .ranks = 3,
                                    .leaves = 3,
                                    .P = 16,
                                    .attempt = 1,
                                    .silent_ms = LONG_MS,
                                    .late_ms = late_ms[i] * times};
        run_without_rank_1(rank);
        if (strstr(rank[2].err.text, "perhaps"))
            break;
    }
    check_says(&rank[2], ERR_TIMEOUT, "rank 0 (learner-0 at ipc://");
    check_says(&rank[2], ERR_TIMEOUT, "ms, perhaps because it waits for another rank: round 1");
    check_says(&rank[0], ERR_TIMEOUT, "rank 1 (learner-1 at ipc://");
}

static void exchange_refuses_a_rank_that_does_something_else(void **state)
{
    (void)state;
    struct rank rank[2];
    for (uint32_t i = 0; i < 2; i++)
        rank[i] = (struct rank){.rank = i, .ranks = 2, .leaves = 4, .P = 50 + i, .attempt = 1};
    run_ranks(rank, 2);
    check_says(&rank[0], ERR_UNAVAILABLE, "round 1 is about something else here");
    check_says(&rank[1], ERR_UNAVAILABLE, "round 1");
}

static void exchange_refuses_a_rank_that_sends_other_numbers(void **state)
{
    (void)state;
    struct rank rank[2];
    for (uint32_t i = 0; i < 2; i++) /* of as many bytes */
        rank[i] = (struct rank){
            .rank = i, .ranks = 2, .leaves = 4, .P = (size_t)50 << i, .kind = i, .attempt = 1};
    run_ranks(rank, 2);
    check_says(&rank[0], ERR_UNAVAILABLE, "round 1 is about something else here");
    check_says(&rank[1], ERR_UNAVAILABLE, "round 1");
}

/* The formula of the header, for two ranks of a node each: and half of it.  Once is enough: what
 * a busy machine keeps waiting is asked for again. */
static void exchange_moves_as_many_bytes_as_it_says(void **state)
{
    (void)state;
    for (enum precision kind = PRECISION_FP32; kind <= PRECISION_BF16; kind++) {
        const uint64_t bytes =
            ROUNDS * (gradient_bytes(kind) * 102400 / 2 * 2 + 1); /* and that it is done */
        bool moved = false;
        for (int tries = 0; tries < 20 && !moved; tries++) {
            struct rank rank[2];
            for (uint32_t i = 0; i < 2; i++)
                rank[i] = (struct rank){.rank = i,
                                        .ranks = 2,
                                        .leaves = 4,
                                        .P = 102400,
                                        .kind = kind,
                                        .attempt = 1};
            run_ranks(rank, 2);
            moved = true;
            for (uint32_t i = 0; i < 2; i++) {
                assert_int_equal(rank[i].wrong, 0);
                assert_true(rank[i].counts.bytes_received >= bytes);
                moved = moved && rank[i].counts.bytes_received == bytes &&
                        rank[i].counts.bytes_sent == bytes;
            }
        }
        assert_true(moved);
    }
}

static void exchange_refuses_an_attempt_that_is_over(void **state)
{
    (void)state;
    struct rank rank[2];
    for (uint32_t i = 0; i < 2; i++)
        rank[i] = (struct rank){
            .rank = i, .ranks = 2, .leaves = 4, .P = 50, .attempt = 1 + i, .late_ms = 2000 * i};
    run_ranks(rank, 2);
    check_says(&rank[0], ERR_UNAVAILABLE,
               "\"round 1 of attempt 1 at step 7 is over: here is round");
    assert_true(rank[1].counts.stale > 0);
    check_says(&rank[1], ERR_TIMEOUT, "rank 0 (learner-0");
}

static void exchange_needs_an_attempt_later_than_the_last(void **state)
{
    (void)state;
    struct rank r = {.ranks = 1, .leaves = 1, .P = 1, .attempt = 5};
    float node = 1.0f, sum;
    const void *nodes[] = {&node};
    rank_open(&r);
    struct exchange_group group = group_of(5, 1, 0);
    check_fails(exchange_join(r.x, &group, &err), ERR_STATE,
                "attempt 5 of step 7 comes after attempt 5");
    exchange_abandon(r.x, "a test");
    check_fails(exchange_sum(r.x, PRECISION_FP32, 1, nodes, 1, &sum, &err), ERR_STATE,
                "no attempt at a step is under way: a test");
    group.attempt = 6;
    check_ok(exchange_join(r.x, &group, &err));
    check_ok(exchange_sum(r.x, PRECISION_FP32, 1, nodes, 1, &sum, &err));
    assert_true(sum == 1.0f);
    rank_close(&r);
}

/* Rank 1 is not there; rank 2 asks rank 0, and is told why that has given up. */
static void exchange_gives_up_a_sum_that_is_under_way(void **state)
{
    (void)state;
    struct rank rank[3] = {0};
    for (uint32_t i = 0; i < 3; i++)
        rank[i] = (struct rank){.rank = i, .ranks = 3, .leaves = 3, .P = 50, .attempt = 1};
    float node[50] = {0}, sum[50];
    const void *nodes[] = {node};
    rank_open(&rank[0]);
    assert_int_equal(pthread_create(&rank[2].thread, NULL, rank_thread, &rank[2]), 0);
    check_ok(exchange_sum_begin(rank[0].x, PRECISION_FP32, 3, nodes, 50, 0, sum, &err));
    wire_test_sleep_ms(200);
    assert_false(exchange_sum_failed(rank[0].x));
    const uint64_t before_ms = clock_mono_ms();
    exchange_abandon(rank[0].x, "its loss is not finite");
    assert_in_range(clock_mono_ms() - before_ms, 0, LONG_MS - 1);
    check_fails(exchange_sum_begin(rank[0].x, PRECISION_FP32, 3, nodes, 50, 0, sum, &err),
                ERR_STATE, "its loss is not finite");
    pthread_join(rank[2].thread, NULL);
    check_says(&rank[2], ERR_UNAVAILABLE, "its loss is not finite");
    const struct exchange_group next = group_of(2, 3, 0);
    check_ok(exchange_join(rank[0].x, &next, &err)); /* of which nobody is there */
    check_ok(exchange_sum_begin(rank[0].x, PRECISION_FP32, 3, nodes, 50, 0, sum, &err));
    wire_test_sleep_ms(200);
    assert_false(exchange_sum_failed(rank[0].x));
    rank_close(&rank[0]);
    rank_close(&rank[2]);
}

/* Where rank 1 is to be something else answers first: the step is tried again with the same
 * group. */
static void exchange_repeats_a_step_though_a_stranger_was_in_a_ranks_place(void **state)
{
    (void)state;
    struct rank rank[2] = {0};
    for (uint32_t i = 0; i < 2; i++)
        rank[i] = (struct rank){.rank = i, .ranks = 2, .leaves = 2, .P = 50, .attempt = 1 + i};
    rank[0].silent_ms = 3000;
    const struct exchange_group again = group_of(2, 2, 0);
    struct stranger stranger;
    stranger_come(&stranger, again.peer[1].endpoint);
    assert_int_equal(pthread_create(&rank[0].thread, NULL, rank_thread, &rank[0]), 0);
    stranger_answer(&stranger);
    pthread_join(rank[0].thread, NULL);
    check_says(&rank[0], ERR_TIMEOUT, "rank 1 (learner-1");
    assert_int_equal(pthread_create(&rank[1].thread, NULL, rank_thread, &rank[1]), 0);
    check_ok(exchange_join(rank[0].x, &again, &err));
    rank[0].x->options.silent_ms = LONG_MS;
    rank[0].err.text[0] = '\0';
    rank[0].rc = rank_rounds(&rank[0], ROUNDS);
    pthread_join(rank[1].thread, NULL);
    for (uint32_t i = 0; i < 2; i++) {
        rank_close(&rank[i]);
        assert_string_equal(rank[i].err.text, "");
        assert_int_equal(rank[i].wrong, 0);
    }
}

static void *subnormal_thread(void *ctx)
{
    struct rank *r = ctx;
    const void *node[] = {r->node[0]};
    r->rc = exchange_sum_begin(r->x, PRECISION_FP32, 2, node, r->P, 0, r->sum, &r->err);
    r->rc = r->rc ? r->rc : exchange_sum_end(r->x, &r->err);
    return NULL;
}

/* Whoever adds does it in the engine's mode: a sum that is subnormal is 0, as a learner's own. */
static void exchange_sums_in_the_mode_of_the_engine(void **state)
{
    (void)state;
    struct rank rank[2] = {0};
    for (uint32_t i = 0; i < 2; i++) {
        rank[i] = (struct rank){.rank = i, .ranks = 2, .P = 2, .attempt = 1, .nodes = 1};
        rank[i].node[0] = malloc(2 * sizeof(float));
        rank[i].sum = malloc(2 * sizeof(float));
        for (size_t j = 0; j < 2; j++)
            ((float *)rank[i].node[0])[j] = i ? 0x1.8p-126f : -0x1p-126f;
        rank_open(&rank[i]);
        assert_int_equal(pthread_create(&rank[i].thread, NULL, subnormal_thread, &rank[i]), 0);
    }
    for (uint32_t i = 0; i < 2; i++)
        pthread_join(rank[i].thread, NULL);
    for (uint32_t i = 0; i < 2; i++) {
        assert_string_equal(rank[i].err.text, "");
        assert_memory_equal(rank[i].sum, ((float[]){0, 0}), 2 * sizeof(float));
        rank_close(&rank[i]);
    }
}

/* Who computes meanwhile can ask whether there is anything left to compute for. */
static void exchange_tells_that_a_sum_under_way_has_failed(void **state)
{
    (void)state;
    struct rank r = {.ranks = 2, .leaves = 2, .P = 50, .attempt = 1, .silent_ms = 300};
    float node[50] = {0}, sum[50];
    const void *nodes[] = {node};
    rank_open(&r);
    check_ok(exchange_sum_begin(r.x, PRECISION_FP32, 2, nodes, 50, 0, sum, &err));
    const uint64_t deadline_ms = clock_mono_ms() + LONG_MS;
    while (!exchange_sum_failed(r.x) && clock_mono_ms() < deadline_ms)
        wire_test_sleep_ms(5);
    assert_true(exchange_sum_failed(r.x));
    check_fails(exchange_sum_end(r.x, &err), ERR_TIMEOUT, "rank 1 (learner-1 at ipc://");
    assert_false(exchange_sum_failed(r.x));
    rank_close(&r);
}

/* One that nobody ends: closing does. */
static void exchange_closes_while_a_sum_is_under_way(void **state)
{
    (void)state;
    struct rank r = {.ranks = 2, .leaves = 2, .P = 50, .attempt = 1};
    float node[50] = {0}, sum[50];
    const void *nodes[] = {node};
    rank_open(&r);
    check_ok(exchange_sum_begin(r.x, PRECISION_FP32, 2, nodes, 50, 0, sum, &err));
    const uint64_t before_ms = clock_mono_ms();
    rank_close(&r);
    assert_in_range(clock_mono_ms() - before_ms, 0, LONG_MS - 1);
}

static bool stop_now(void *ctx)
{
    (void)ctx;
    return true;
}

static void exchange_stops_when_told(void **state)
{
    (void)state;
    struct rank r = {.ranks = 2, .leaves = 2, .P = 1, .attempt = 1};
    float node = 1.0f, sum;
    const void *nodes[] = {&node};
    rank_open(&r);
    r.x->options.stop = stop_now;
    check_fails(exchange_sum(r.x, PRECISION_FP32, 2, nodes, 1, &sum, &err), ERR_UNAVAILABLE,
                "told to stop");
    rank_close(&r);
}

/* --- a process that is killed ------------------------------------------------------------ */

static bool kill_self(void *ctx)
{
    if (--*(int *)ctx > 0)
        return false;
    kill(getpid(), SIGKILL);
    return false;
}

/* Of the two that are left, in memory that their processes share. */
static atomic_uint *finished;

/* Who has all that it wants still owes the other the answer that it is done. */
static void wait_for_the_other(void)
{
    atomic_fetch_add(finished, 1);
    for (uint32_t i = 0; i < LONG_MS && atomic_load(finished) < 2; i++)
        wire_test_sleep_ms(1);
}

/* What a rank's process ends with. */
enum { END_RIGHT, END_WRONG, END_OTHER };

/* Rank 2 kills itself while it waits in the first attempt, or after a round in which there was
 * nothing to wait for; the others then make a group of two and do it again, with the arrays they
 * have. */
static int process(uint32_t i)
{
    int waits = 3;
    struct rank r = {
        .rank = i, .ranks = 3, .leaves = 7, .P = 200001, .attempt = 1, .silent_ms = 10000};
    rank_open(&r);
    if (i == 2) {
        r.x->options.stop = kill_self;
        r.x->options.ctx = &waits;
    }
    if (i != 2)
        wire_test_sleep_ms(400); /* so that rank 2 waits */
    r.rc = rank_rounds(&r, i == 2 ? 1 : 2);
    if (i == 2)
        raise(SIGKILL);
    /* Or the other one noticed first, and is in the next attempt already. */
    if (r.rc == ERR_OK || (!strstr(r.err.text, "rank 2 (learner-2 at ipc://") &&
                           !strstr(r.err.text, "is over: here is round"))) {
        print_error("rank %u: %s\n", i, r.err.text);
        return END_OTHER;
    }
    struct exchange_group group = group_of(2, 2, i);
    if (exchange_join(r.x, &group, NULL))
        return END_OTHER;
    r.ranks = 2;
    r.rc = rank_rounds(&r, ROUNDS);
    if (r.rc)
        print_error("rank %u of two: %s\n", i, r.err.text);
    const int end = r.rc ? END_OTHER : r.wrong ? END_WRONG : END_RIGHT;
    wait_for_the_other();
    rank_close(&r);
    return end;
}

static void exchange_goes_on_without_a_rank_that_was_killed(void **state)
{
    (void)state;
    pid_t pid[3];
    finished =
        mmap(NULL, sizeof *finished, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(finished, MAP_FAILED);
    for (uint32_t i = 0; i < 3; i++) {
        pid[i] = fork(); /* before any ZeroMQ context is made in this test */
        assert_true(pid[i] >= 0);
        if (pid[i] == 0)
            _exit(process(i));
    }
    for (uint32_t i = 0; i < 3; i++) {
        int status = 0;
        assert_int_equal(waitpid(pid[i], &status, 0), pid[i]);
        if (i == 2)
            assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        else
            assert_int_equal(WIFEXITED(status) ? WEXITSTATUS(status) : -1, END_RIGHT);
    }
    munmap(finished, sizeof *finished);
}

/* --- peers of plain libzmq --------------------------------------------------------------- */

/* Rank 1 of 2 with a leaf each, played by the test.  Each has two chunks.  It never asks. */
enum { FAKE_P = 2 * (EXCHANGE_CHUNK_BYTES / 4 + 10) };

struct fake {
    pthread_t thread;
    void *context, *router;
    atomic_bool stop;
    int corrupt; /* so many chunks first, with a byte changed on the way */
    int old;     /* then so many of an earlier round */
    int cut;     /* then so many that are too short */
    int twice;   /* so many answered twice, with other bits */
    int swap;    /* so many answered after the next one, which is answered twice */
    int early;   /* of those that come before their turn, so many have a byte changed instead */
    int refuses; /* so many answered, and refused then: a repeated ask, after the round's end */
    bool kept;   /* the one that waits for the next */
    struct message ask;
    unsigned char payload[EXCHANGE_CHUNK_BYTES];
};

static size_t fake_bytes(const struct wire_gradient *ask, unsigned char *out)
{
    const bool is_sum = ask->part == EXCHANGE_PART_SUM;
    const size_t first = ask->first / sizeof(float);
    for (size_t i = 0; i < ask->bytes / sizeof(float); i++) {
        const float x = is_sum ? tree_value(PRECISION_FP32, 0, 0, 2, first + i)
                               : leaf_value(0, 1, first + i);
        memcpy(out + i * sizeof x, &x, sizeof x);
    }
    return ask->bytes;
}

static void fake_send_head(struct fake *fake, zmq_msg_t *id, const struct message *answer,
                           int flags)
{
    unsigned char *head = NULL;
    size_t size = 0;
    check_ok(message_encode(answer, &head, &size, &err));
    head = realloc(head, size + MESSAGE_SEAL_BYTES);
    assert_non_null(head);
    message_seal(head, size);
    size += MESSAGE_SEAL_BYTES;
    zmq_send(fake->router, zmq_msg_data(id), zmq_msg_size(id), ZMQ_SNDMORE);
    zmq_send(fake->router, head, size, flags);
    free(head);
}

static void fake_send(struct fake *fake, zmq_msg_t *id, const struct message *answer,
                      bool corrupt)
{
    fake_send_head(fake, id, answer, ZMQ_SNDMORE);
    fake->payload[0] ^= corrupt;
    zmq_send(fake->router, fake->payload, answer->frame[0].size, 0);
}

static void fake_refuse(struct fake *fake, zmq_msg_t *id, const struct message *answer)
{
    struct message refusal = {
        .type = MESSAGE_GRADIENT_REFUSED, .step = answer->step, .gradient = answer->gradient};
    snprintf(refusal.text, sizeof refusal.text, "the round is over");
    fake_send_head(fake, id, &refusal, 0);
}

/* The chunk asked for, in fake->payload. */
static struct message fake_chunk(struct fake *fake, const struct message *ask)
{
    struct message answer = {.type = MESSAGE_GRADIENT_CHUNK, .step = ask->step};
    const bool is_done = ask->gradient.part == EXCHANGE_PART_DONE;
    fake->payload[0] = 0;
    answer.gradient = ask->gradient;
    answer.gradient.rank = 1;
    answer.gradient.bytes = 0;
    answer.frames_n = 1;
    answer.frame[0].data = fake->payload;
    answer.frame[0].size = is_done ? 1 : fake_bytes(&ask->gradient, fake->payload);
    return answer;
}

static void fake_answer_twice(struct fake *fake, zmq_msg_t *id, const struct message *answer)
{
    fake_send(fake, id, answer, false);
    memset(fake->payload, 0x3f, answer->frame[0].size); /* the second must not count */
    fake_send(fake, id, answer, false);
}

static void fake_answer(struct fake *fake, zmq_msg_t *id, const struct message *ask)
{
    if (fake->swap > 0 && !fake->kept) {
        fake->kept = true;
        fake->ask = *ask;
        return;
    }
    struct message answer = fake_chunk(fake, ask);
    if (fake->kept) {
        if (fake->early-- > 0)
            fake_send(fake, id, &answer, true);
        else
            fake_answer_twice(fake, id, &answer);
        answer = fake_chunk(fake, &fake->ask);
        fake->kept = false;
        fake->swap--;
    } else if (fake->corrupt-- > 0) {
        fake_send(fake, id, &answer, true);
        return;
    } else if (fake->old-- > 0) {
        answer.gradient.round--;
        memset(fake->payload, 0x3f, answer.frame[0].size);
    } else if (fake->cut-- > 0) {
        answer.frame[0].size = 1;
    } else if (fake->twice-- > 0) {
        fake_answer_twice(fake, id, &answer);
        return;
    }
    fake_send(fake, id, &answer, false);
    if (fake->refuses-- > 0)
        fake_refuse(fake, id, &answer);
}

static void *fake_thread(void *ctx)
{
    struct fake *fake = ctx;
    while (!atomic_load(&fake->stop)) {
        zmq_pollitem_t item = {.socket = fake->router, .events = ZMQ_POLLIN};
        if (zmq_poll(&item, 1, 50) <= 0)
            continue;
        zmq_msg_t id, head;
        struct message ask;
        zmq_msg_init(&id);
        zmq_msg_init(&head);
        zmq_msg_recv(&id, fake->router, 0);
        zmq_msg_recv(&head, fake->router, 0);
        check_ok(message_decode(&ask, zmq_msg_data(&head), zmq_msg_size(&head), NULL, 0, &err));
        fake_answer(fake, &id, &ask);
        message_release(&ask);
        zmq_msg_close(&id);
        zmq_msg_close(&head);
    }
    return NULL;
}

/* Rank 0 exchanges one round with the fake. */
static void with_fake(struct fake *fake, struct rank *r)
{
    const struct exchange_group group = group_of(1, 2, 1);
    fake->context = zmq_ctx_new();
    fake->router = zmq_socket(fake->context, ZMQ_ROUTER);
    assert_int_equal(zmq_bind(fake->router, group.peer[1].endpoint), 0);
    assert_int_equal(pthread_create(&fake->thread, NULL, fake_thread, fake), 0);
    *r = (struct rank){.ranks = 2, .leaves = 2, .P = FAKE_P, .attempt = 1};
    rank_open(r);
    r->rc = rank_rounds(r, 1);
    rank_close(r);
    atomic_store(&fake->stop, true);
    pthread_join(fake->thread, NULL);
    zmq_close(fake->router);
    zmq_ctx_term(fake->context);
}

static void check_fake_helps(struct fake *fake, struct rank *r)
{
    with_fake(fake, r);
    if (r->rc || r->wrong)
        fail_msg("%u rounds wrong: %s", r->wrong, r->err.text);
}

#define ANY UINT64_MAX

/* So many messages are none, late or there already.  Once is enough: what a busy machine keeps
 * waiting is asked for again, and comes twice. */
static struct exchange_counts check_fake_counts(const struct fake *like, uint64_t bad,
                                                uint64_t stale, uint64_t repeated)
{
    static struct fake fake;
    struct rank r;
    for (int tries = 0; tries < 20; tries++) {
        fake = *like;
        check_fake_helps(&fake, &r);
        if ((bad == ANY || r.counts.bad == bad) && (stale == ANY || r.counts.stale == stale) &&
            (repeated == ANY || r.counts.repeated == repeated))
            return r.counts;
    }
    fail_msg("%llu bad, %llu stale, %llu repeated", (unsigned long long)r.counts.bad,
             (unsigned long long)r.counts.stale, (unsigned long long)r.counts.repeated);
    return r.counts;
}

static void exchange_works_with_a_rank_played_by_the_test(void **state)
{
    (void)state;
    const struct exchange_counts counts = check_fake_counts(&(struct fake){0}, 0, 0, 0);
    assert_int_equal(counts.bytes_received, FAKE_P * 4 + 1);
}

static void exchange_asks_again_for_a_chunk_that_was_bent(void **state)
{
    (void)state;
    check_fake_counts(&(struct fake){.corrupt = 3}, 3, ANY, ANY);
}

/* The first chunks of the node and of the sum come after the second. */
static void exchange_asks_again_for_a_bent_chunk_that_came_before_its_turn(void **state)
{
    (void)state;
    check_fake_counts(&(struct fake){.swap = 2, .early = 2}, 2, ANY, ANY);
}

static void exchange_gives_up_a_rank_that_bends_everything(void **state)
{
    (void)state;
    struct rank r;
    with_fake(&(struct fake){.corrupt = 1000}, &r);
    check_says(&r, ERR_FORMAT, "rank 1 (learner-1 at ipc://");
    check_says(&r, ERR_FORMAT, "sent 16 messages that are none, last a payload whose checksum");
}

static void exchange_minds_no_refusal_of_what_it_has(void **state)
{
    (void)state;
    check_fake_counts(&(struct fake){.refuses = 3}, ANY, 3, ANY);
}

static void exchange_takes_no_chunk_of_an_earlier_round(void **state)
{
    (void)state;
    check_fake_counts(&(struct fake){.old = 2}, ANY, 2, ANY);
}

static void exchange_takes_no_chunk_of_another_size(void **state)
{
    (void)state;
    check_fake_counts(&(struct fake){.cut = 2}, ANY, ANY, 2);
}

static void exchange_takes_a_chunk_once(void **state)
{
    (void)state;
    struct rank r;
    check_fake_helps(&(struct fake){.twice = 2}, &r);
    assert_true(r.counts.repeated >= 1); /* the last may come after the round */
}

static void exchange_takes_chunks_in_any_order(void **state)
{
    (void)state;
    struct rank r;
    check_fake_helps(&(struct fake){.swap = 2}, &r);
    assert_true(r.counts.repeated >= 1);
}

static void send_ask(void *dealer, const struct message *ask)
{
    unsigned char *head = NULL;
    size_t size = 0;
    check_ok(message_encode(ask, &head, &size, &err));
    head = realloc(head, size + MESSAGE_SEAL_BYTES);
    assert_non_null(head);
    message_seal(head, size);
    zmq_send(dealer, head, size + MESSAGE_SEAL_BYTES, 0);
    free(head);
}

/* What a rank's server answers to an ask made by hand, if any, or of itself. */
static void check_answer(void *dealer, const struct message *ask, enum message_type want,
                         const char *words)
{
    if (ask)
        send_ask(dealer, ask);
    zmq_msg_t got;
    zmq_msg_init(&got);
    assert_true(zmq_msg_recv(&got, dealer, 0) > 0);
    struct message m;
    struct wire_bytes frame;
    zmq_msg_t payload;
    zmq_msg_init(&payload);
    const bool more = zmq_msg_more(&got);
    if (more) {
        zmq_msg_recv(&payload, dealer, 0);
        frame = (struct wire_bytes){zmq_msg_data(&payload), zmq_msg_size(&payload)};
    }
    check_ok(message_decode(&m, zmq_msg_data(&got), zmq_msg_size(&got), &frame, more, &err));
    assert_string_equal(message_type_name(m.type), message_type_name(want));
    if (!strstr(m.text, words))
        fail_msg("said \"%s\", without \"%s\"", m.text, words);
    message_release(&m);
    zmq_msg_close(&payload);
    zmq_msg_close(&got);
}

static void exchange_answers_only_what_belongs_to_its_round(void **state)
{
    (void)state;
    struct rank r = {.ranks = 1, .leaves = 1, .P = 1, .attempt = 4};
    float node = 1.0f, sum;
    const void *nodes[] = {&node};
    rank_open(&r);
    check_ok(exchange_sum(r.x, PRECISION_FP32, 1, nodes, 1, &sum, &err));
    void *context = zmq_ctx_new(), *dealer = zmq_socket(context, ZMQ_DEALER);
    const int linger = 0, wait = (int)LONG_MS;
    zmq_setsockopt(dealer, ZMQ_LINGER, &linger, sizeof linger);
    zmq_setsockopt(dealer, ZMQ_RCVTIMEO, &wait, sizeof wait);
    assert_int_equal(zmq_connect(dealer, group_of(1, 1, 0).peer[0].endpoint), 0);

    struct message ask = {.type = MESSAGE_GRADIENT_ASK, .step = 7};
    ask.gradient =
        (struct wire_gradient){.run = RUN + 1, .attempt = 4, .round = 1, .rank = 1, .bytes = 4};
    check_answer(dealer, &ask, MESSAGE_GRADIENT_REFUSED, "it belongs to another run");
    ask.gradient.run = RUN;
    check_answer(dealer, &ask, MESSAGE_GRADIENT_REFUSED, "is over: here is round 1 of attempt");
    ask.gradient.attempt = 3;
    check_answer(dealer, &ask, MESSAGE_GRADIENT_REFUSED, "round 1 of attempt 3 at step 7 is");
    assert_int_equal(exchange_counts(r.x).stale, 2);
    ask.gradient.part = EXCHANGE_PART_DONE;
    ask.gradient.bytes = 1;
    check_answer(dealer, &ask, MESSAGE_GRADIENT_CHUNK, "");

    /* An ask ahead of time is kept; told again, the rank says that it lives; an attempt that
     * passes it by refuses it. */
    ask.gradient.part = 0;
    ask.gradient.attempt = 5;
    send_ask(dealer, &ask);
    check_answer(dealer, &ask, MESSAGE_GRADIENT_WAIT, "");
    struct exchange_group group = group_of(6, 1, 0);
    check_ok(exchange_join(r.x, &group, &err));
    check_answer(dealer, NULL, MESSAGE_GRADIENT_REFUSED, "round 1 of attempt 5 at step 7 is");
    zmq_close(dealer);
    zmq_ctx_term(context);
    rank_close(&r);
}

/* Each of two ranks has a chunk of the sum.  Its own is not there yet; the other is never its to
 * send. */
static void exchange_sends_no_chunk_of_another_ranks(void **state)
{
    (void)state;
    struct rank r = {.ranks = 2, .leaves = 2, .P = 500, .attempt = 1};
    float node[500] = {0}, sum[500];
    const void *nodes[] = {node};
    rank_open(&r);
    check_ok(exchange_sum_begin(r.x, PRECISION_FP32, 2, nodes, 500, 0, sum, &err));
    wire_test_sleep_ms(100); /* an ask ahead of the round would be kept */
    void *context = zmq_ctx_new(), *dealer = zmq_socket(context, ZMQ_DEALER);
    const int linger = 0, wait = (int)LONG_MS;
    zmq_setsockopt(dealer, ZMQ_LINGER, &linger, sizeof linger);
    zmq_setsockopt(dealer, ZMQ_RCVTIMEO, &wait, sizeof wait);
    assert_int_equal(zmq_connect(dealer, group_of(1, 2, 0).peer[0].endpoint), 0);
    struct message ask = {.type = MESSAGE_GRADIENT_ASK, .step = 7};
    ask.gradient = (struct wire_gradient){.run = RUN,
                                          .attempt = 1,
                                          .shape = r.x->shape,
                                          .round = 1,
                                          .rank = 1,
                                          .part = EXCHANGE_PART_SUM,
                                          .bytes = 1024};
    send_ask(dealer, &ask);
    check_answer(dealer, &ask, MESSAGE_GRADIENT_WAIT, "");
    ask.gradient.first = 1024;
    ask.gradient.bytes = 976;
    check_answer(dealer, &ask, MESSAGE_GRADIENT_REFUSED, "976 bytes at 1024 are no chunk of");
    ask.gradient.first = 0;
    check_answer(dealer, &ask, MESSAGE_GRADIENT_REFUSED, "976 bytes at 0 are no chunk of");
    zmq_close(dealer);
    zmq_ctx_term(context);
    rank_close(&r);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(exchange_goes_on_without_a_rank_that_was_killed), /* forks: first */
        TEST(exchange_data_tells_one_order_from_another),
        TEST(exchange_gives_any_number_of_ranks_the_bits_of_one),
        TEST(exchange_gives_the_same_bits_for_any_number_of_parameters),
        TEST(exchange_gives_the_same_bits_for_many_chunks),
        TEST(exchange_waits_for_a_slow_rank),
        TEST(exchange_gathers_blocks_in_the_order_of_ranks),
        TEST(exchange_tells_the_others_why_a_rank_gave_up),
        TEST(exchange_names_a_rank_that_is_not_there),
        TEST(exchange_names_a_rank_that_lives_and_does_nothing),
        TEST(exchange_says_that_a_rank_may_wait_for_another),
        TEST(exchange_refuses_a_rank_that_does_something_else),
        TEST(exchange_gives_up_a_sum_that_is_under_way),
        TEST(exchange_tells_that_a_sum_under_way_has_failed),
        TEST(exchange_closes_while_a_sum_is_under_way),
        TEST(exchange_repeats_a_step_though_a_stranger_was_in_a_ranks_place),
        TEST(exchange_sums_in_the_mode_of_the_engine),
        TEST(exchange_refuses_a_rank_that_sends_other_numbers),
        TEST(exchange_moves_as_many_bytes_as_it_says),
        TEST(exchange_refuses_an_attempt_that_is_over),
        TEST(exchange_needs_an_attempt_later_than_the_last),
        TEST(exchange_stops_when_told),
        TEST(exchange_works_with_a_rank_played_by_the_test),
        TEST(exchange_asks_again_for_a_chunk_that_was_bent),
        TEST(exchange_asks_again_for_a_bent_chunk_that_came_before_its_turn),
        TEST(exchange_gives_up_a_rank_that_bends_everything),
        TEST(exchange_minds_no_refusal_of_what_it_has),
        TEST(exchange_takes_no_chunk_of_an_earlier_round),
        TEST(exchange_takes_no_chunk_of_another_size),
        TEST(exchange_takes_a_chunk_once),
        TEST(exchange_takes_chunks_in_any_order),
        TEST(exchange_answers_only_what_belongs_to_its_round),
        TEST(exchange_sends_no_chunk_of_another_ranks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

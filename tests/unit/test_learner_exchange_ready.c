/*
 * test_learner_exchange_ready.c -- a sum that begins before its nodes are final has the same bits.
 *
 * Ranks are threads.  What is not final yet is no number, and becomes one step by step, at another
 * pace on each rank: what is sent or added too early shows in the sum.
 */
#include <pthread.h>

#include "base/clock.h"
#include "learner/exchange_state.h"
#include "tests/unit/exchange_scene.h"

enum { ROUNDS = 2, CHUNK = EXCHANGE_CHUNK_BYTES / sizeof(float) };

struct rank {
    uint32_t rank, ranks, leaves;
    size_t P;
    enum precision kind;
    uint32_t steps, pause_ms; /* in which the nodes become final; 0: they are */
    uint32_t silent_ms, late_ms;
    const char *gives_up; /* in the middle, saying so */
    bool leaves_early;    /* in the middle, saying nothing */
    pthread_t thread;
    struct wire_context *context;
    struct weights_server *server;
    struct exchange *x;
    uint32_t nodes;
    void *node[EXCHANGE_NODES_MAX], *final[EXCHANGE_NODES_MAX], *sum;
    enum err_code rc;
    struct err err;
    uint32_t wrong;
};

static void rank_open(struct rank *r)
{
    const struct exchange_group group = group_of(1, r->ranks, r->rank);
    uint32_t level[EXCHANGE_NODES_MAX];
    check_ok(wire_context_new(&r->context, &err));
    check_ok(
        weights_server_open(&r->server, r->context, group.peer[r->rank].endpoint, 1, &err));
    const struct exchange_options options = {.context = r->context,
                                             .server = r->server,
                                             .run = RUN,
                                             .silent_ms = r->silent_ms ? r->silent_ms : LONG_MS,
                                             .late_ms = r->late_ms ? r->late_ms : LONG_MS};
    check_ok(exchange_open(&r->x, &options, &err));
    check_ok(exchange_join(r->x, &group, &err));
    r->nodes = exchange_nodes(r->leaves, r->ranks, r->rank, level);
    for (uint32_t k = 0; k < r->nodes; k++) {
        r->node[k] = malloc(r->P * gradient_bytes(r->kind));
        r->final[k] = malloc(r->P * gradient_bytes(r->kind));
    }
    r->sum = malloc(r->P * gradient_bytes(r->kind));
}

static void rank_leave(struct rank *r)
{
    exchange_close(r->x);
    weights_server_close(r->server);
    wire_context_free(r->context);
    r->x = NULL;
}

static void rank_close(struct rank *r)
{
    if (r->x)
        rank_leave(r);
    for (uint32_t k = 0; k < r->nodes; k++) {
        free(r->node[k]);
        free(r->final[k]);
    }
    free(r->sum);
}

/* The nodes as they will be; as they are, they are NaN. */
static void rank_fill(const struct rank *r, uint32_t round)
{
    uint32_t level[EXCHANGE_NODES_MAX], at = summation_first(r->leaves, r->ranks, r->rank);
    exchange_nodes(r->leaves, r->ranks, r->rank, level);
    for (uint32_t k = 0; k < r->nodes; k++) {
        for (size_t j = 0; j < r->P; j++)
            put(r->kind, r->final[k], j, tree_value(r->kind, round, at, 1u << level[k], j));
        memset(r->node[k], 0xff, r->P * gradient_bytes(r->kind));
        at += 1u << level[k];
    }
}

/* Numbers first .. end-1 are written. */
static void rank_write(const struct rank *r, size_t first, size_t end)
{
    const size_t bytes = gradient_bytes(r->kind);
    for (uint32_t k = 0; k < r->nodes; k++)
        memcpy((char *)r->node[k] + first * bytes, (const char *)r->final[k] + first * bytes,
               (end - first) * bytes);
}

static bool rank_is_right(const struct rank *r, uint32_t round)
{
    const size_t bytes = gradient_bytes(r->kind);
    for (size_t j = 0; j < r->P; j++) {
        uint32_t want;
        put(r->kind, &want, 0, tree_value(r->kind, round, 0, r->leaves, j));
        if (memcmp((const char *)r->sum + j * bytes, &want, bytes) != 0)
            return false;
    }
    return true;
}

/* False where the rank gave up, or left. */
static bool rank_become_final(struct rank *r)
{
    size_t end = r->P;
    for (uint32_t step = 1; step <= r->steps; step++) {
        const size_t first = r->P - (size_t)((uint64_t)r->P * step / r->steps);
        wire_test_sleep_ms(r->pause_ms);
        rank_write(r, first, end);
        exchange_sum_ready(r->x, first);
        end = first;
        if (step * 2 < r->steps)
            continue;
        if (r->gives_up)
            exchange_abandon(r->x, r->gives_up);
        if (r->leaves_early)
            rank_leave(r);
        if (r->gives_up || r->leaves_early)
            return false;
    }
    return true;
}

static enum err_code rank_begin(struct rank *r, uint32_t round)
{
    rank_fill(r, round);
    if (r->steps == 0)
        rank_write(r, 0, r->P);
    memset(r->sum, 0xff, r->P * gradient_bytes(r->kind));
    return exchange_sum_begin(r->x, r->kind, r->leaves, (const void *const *)r->node, r->P,
                              r->steps > 0 ? r->P : 0, r->sum, &r->err);
}

static void *rank_thread(void *ctx)
{
    struct rank *r = ctx;
    for (uint32_t round = 0; round < ROUNDS && r->rc == ERR_OK; round++) {
        r->rc = rank_begin(r, round);
        if (r->rc || !rank_become_final(r))
            return NULL;
        r->rc = exchange_sum_end(r->x, &r->err);
        if (r->rc == ERR_OK)
            r->wrong += !rank_is_right(r, round);
    }
    return NULL;
}

static void run_ranks(struct rank *rank, uint32_t ranks)
{
    for (uint32_t i = 0; i < ranks; i++)
        rank_open(&rank[i]);
    for (uint32_t i = 0; i < ranks; i++)
        assert_int_equal(pthread_create(&rank[i].thread, NULL, rank_thread, &rank[i]), 0);
    for (uint32_t i = 0; i < ranks; i++)
        pthread_join(rank[i].thread, NULL);
    for (uint32_t i = 0; i < ranks; i++)
        rank_close(&rank[i]);
}

/* Rank i in 3 i steps, the first with all at hand; a rank without leaves has nothing to make. */
static void check_ranks(enum precision kind, uint32_t ranks, uint32_t leaves, size_t P)
{
    struct rank rank[SCENE_RANKS] = {0};
    for (uint32_t i = 0; i < ranks; i++)
        rank[i] = (struct rank){.rank = i,
                                .ranks = ranks,
                                .leaves = leaves,
                                .P = P,
                                .kind = kind,
                                .steps = (i + leaves) % ranks * 3,
                                .pause_ms = 1 + i % 3};
    run_ranks(rank, ranks);
    for (uint32_t i = 0; i < ranks; i++)
        if (rank[i].rc || rank[i].wrong)
            fail_msg("rank %u of %u, %u leaves of %zu in %s: %u rounds wrong: %s", i, ranks,
                     leaves, P, precision_name(kind), rank[i].wrong, rank[i].err.text);
}

static void exchange_of_nodes_that_become_final_has_the_same_bits(void **state)
{
    (void)state;
    static const uint32_t leaves[] = {1, 3, 6, 7};
    for (uint32_t ranks = 1; ranks <= SCENE_RANKS; ranks++)
        for (size_t i = 0; i < COUNT(leaves); i++) {
            check_ranks(PRECISION_FP32, ranks, leaves[i], 10007);
            check_ranks(PRECISION_BF16, ranks, leaves[i], 10007);
        }
}

/* More chunks than are asked for at a time, and than are held. */
static void exchange_of_many_chunks_that_become_final_has_the_same_bits(void **state)
{
    (void)state;
    check_ranks(PRECISION_FP32, 2, 3, 13 * CHUNK + 77);
    check_ranks(PRECISION_BF16, 3, 4, 16 * 2 * CHUNK + 77);
}

static void wait_for_bytes(const struct rank *r, uint64_t bytes)
{
    const uint64_t deadline_ms = clock_mono_ms() + LONG_MS;
    while (exchange_counts(r->x).bytes_received < bytes && clock_mono_ms() < deadline_ms)
        wire_test_sleep_ms(2);
    wire_test_sleep_ms(50); /* and no more than that */
    assert_int_equal(exchange_counts(r->x).bytes_received, bytes);
}

/* Of eight chunks the last three are final, and a half: each rank gets those of the other, and the
 * sums. */
static void exchange_moves_what_is_final_before_the_rest_is(void **state)
{
    (void)state;
    struct rank rank[2];
    for (uint32_t i = 0; i < 2; i++) {
        rank[i] = (struct rank){.rank = i, .ranks = 2, .leaves = 2, .P = 8 * CHUNK, .steps = 1};
        rank_open(&rank[i]);
        check_ok(rank_begin(&rank[i], 0));
    }
    for (uint32_t i = 0; i < 2; i++) {
        rank_write(&rank[i], 4 * CHUNK + CHUNK / 2, 8 * CHUNK);
        exchange_sum_ready(rank[i].x, 4 * CHUNK + CHUNK / 2);
    }
    for (uint32_t i = 0; i < 2; i++)
        wait_for_bytes(&rank[i], 3u * EXCHANGE_CHUNK_BYTES);
    for (uint32_t i = 0; i < 2; i++) {
        rank_write(&rank[i], 0, 4 * CHUNK + CHUNK / 2);
        exchange_sum_ready(rank[i].x, 0);
    }
    for (uint32_t i = 0; i < 2; i++) {
        check_ok(exchange_sum_end(rank[i].x, &err));
        assert_true(rank_is_right(&rank[i], 0));
    }
    for (uint32_t i = 0; i < 2; i++)
        rank_close(&rank[i]);
}

static void exchange_tells_why_a_rank_gave_up_between(void **state)
{
    (void)state;
    struct rank rank[3];
    for (uint32_t i = 0; i < 3; i++)
        rank[i] = (struct rank){
            .rank = i, .ranks = 3, .leaves = 3, .P = 6 * CHUNK, .steps = 10, .pause_ms = 5};
    rank[1].gives_up = "its loss is not finite";
    run_ranks(rank, 3);
    for (uint32_t i = 0; i < 3; i += 2) {
        assert_int_equal(rank[i].rc, ERR_UNAVAILABLE);
        assert_non_null(strstr(rank[i].err.text, "its loss is not finite"));
    }
}

static void exchange_names_a_rank_that_went_away_between(void **state)
{
    (void)state;
    struct rank rank[3];
    for (uint32_t i = 0; i < 3; i++)
        rank[i] = (struct rank){.rank = i,
                                .ranks = 3,
                                .leaves = 3,
                                .P = 6 * CHUNK,
                                .steps = 10,
                                .pause_ms = 5,
                                .silent_ms = 1500};
    rank[1].leaves_early = true;
    run_ranks(rank, 3);
    for (uint32_t i = 0; i < 3; i += 2)
        if (!rank[i].rc || !strstr(rank[i].err.text, "rank 1 (learner-1 at ipc://"))
            fail_msg("rank %u: %s", i, rank[i].err.text);
}

/* Rank 1 waits for rank 0's first numbers, and so has nothing for rank 0 either.  Once is enough:
 * a busy machine may make anything late. */
static void exchange_calls_nobody_late_who_waits_for_it(void **state)
{
    (void)state;
    struct rank rank[2];
    for (uint32_t times = 1; times <= 16; times *= 2) {
        for (uint32_t i = 0; i < 2; i++)
            rank[i] = (struct rank){.rank = i,
                                    .ranks = 2,
                                    .leaves = 2,
                                    .P = 5000,
                                    .steps = 1 - i,
                                    .pause_ms = 900 * times,
                                    .late_ms = i ? LONG_MS : 400 * times};
        run_ranks(rank, 2);
        if (!rank[0].rc && !rank[1].rc)
            break;
    }
    for (uint32_t i = 0; i < 2; i++) {
        assert_string_equal(rank[i].err.text, "");
        assert_int_equal(rank[i].wrong, 0);
    }
}

/* Every byte is in one chunk of one rank; all ranks have as many chunks where they are not tiny. */
static void exchange_cuts_an_array_between_ranks(void **state)
{
    (void)state;
    static const size_t sizes[] = {1,       4,       100, 4000, 1u << 20, (1u << 20) + 4,
                                   7654320, 99 << 20};
    for (size_t k = 0; k < COUNT(sizes); k++)
        for (uint32_t ranks = 1; ranks <= 9; ranks++) {
            size_t covered = 0;
            for (uint32_t rank = 0; rank < ranks; rank++) {
                const struct exchange_cut cut = exchange_cut(sizes[k], ranks, rank);
                const struct exchange_cut last = exchange_cut(sizes[k], ranks, ranks - 1);
                const uint64_t count = exchange_cut_count(&cut);
                assert_true(cut.chunk <= EXCHANGE_CHUNK_BYTES && cut.chunk % 64 == 0);
                if (sizes[k] >= 4000)
                    assert_in_range(count, exchange_cut_count(&last),
                                    exchange_cut_count(&last) + 1);
                for (uint64_t i = 0; i < count; i++) {
                    uint64_t found = count;
                    const size_t first = exchange_cut_first(&cut, i);
                    assert_true(i == 0 || first < exchange_cut_first(&cut, i - 1));
                    assert_int_equal(first / cut.chunk % ranks, rank);
                    assert_true(exchange_cut_find(&cut, first, &found) && found == i);
                    assert_false(exchange_cut_find(&cut, first + 1, &found));
                    assert_true(ranks == 1 ||
                                !exchange_cut_find(&cut, first + cut.chunk, &found));
                    covered += exchange_cut_bytes(&cut, i);
                }
            }
            assert_int_equal(covered, sizes[k]);
        }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exchange_cuts_an_array_between_ranks),
        TEST(exchange_of_nodes_that_become_final_has_the_same_bits),
        TEST(exchange_of_many_chunks_that_become_final_has_the_same_bits),
        TEST(exchange_moves_what_is_final_before_the_rest_is),
        TEST(exchange_tells_why_a_rank_gave_up_between),
        TEST(exchange_names_a_rank_that_went_away_between),
        TEST(exchange_calls_nobody_late_who_waits_for_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

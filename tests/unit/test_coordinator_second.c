/*
 * test_coordinator_second.c -- second leases of what a worker is slow with: coordinator/core.h,
 * "Capacity" and "Stragglers", whose text is the oracle.
 *
 * The run has 4 slots a step and a lag of 2, so that 12 rollouts of version 0 are open.  Answers
 * usually take 500 ms; leases.second_after is 3, the heartbeat 100 ms: 1,500 ms are too long.
 */
#include "tests/unit/core_bench.h"

#define USUAL_MS 500

static int open_bench(void **state)
{
    struct bench *bench = bench_new();
    bench->config.batch = 4;
    bench->config.lag = 2;
    bench->config.heartbeat_ms = 100;
    bench->config.dead_ms = 60000;
    bench->config.lease_ms = 30000;
    bench->config.stall_ms = 60000;
    bench->config.second_after = 3.0;
    *state = bench;
    return 0;
}

static int close_bench(void **state)
{
    bench_free(*state);
    return 0;
}

/* The learner at address 1, actors "slow" at 2 and "quick" at 4; slow has `late` rollouts out
 * since a moment ago, and 12 - late answers took USUAL_MS.  Quick joins last. */
struct scene {
    struct bench *bench;
    struct bench_worker learner, slow, quick, reward[2];
    struct message lease; /* what slow has */
};

static struct message hello_of(const char *name, enum wire_role role, uint32_t capacity)
{
    struct message hello = bench_hello(role, name);
    hello.capacity = capacity;
    return hello;
}

/* Workers that have nothing to say say that. */
static void wait_ms(struct scene *scene, uint64_t ms)
{
    struct bench_worker *all[] = {&scene->learner, &scene->slow, &scene->quick,
                                  &scene->reward[0], &scene->reward[1]};
    for (uint64_t at = 0; at < ms; at += 50) {
        bench_tick(scene->bench, 50);
        for (size_t i = 0; i < COUNT(all); i++)
            if (all[i]->session != 0)
                bench_send(scene->bench, all[i], (struct message){.type = MESSAGE_HEARTBEAT});
    }
}

static struct scene begin(void **state, uint32_t answers)
{
    struct scene scene = {.bench = *state};
    struct bench *bench = scene.bench;
    bench_open(bench);
    bench_start(bench);
    bench_join(bench, &scene.learner, 1, hello_of("learner-0", WIRE_ROLE_LEARNER, 1));
    bench_join(bench, &scene.slow, 2, hello_of("slow", WIRE_ROLE_ACTOR, 4));
    for (uint32_t at = 0; at < answers; at += 4) {
        const struct message lease = *bench_expect(bench, 2, MESSAGE_GENERATE_LEASE, 0);
        wait_ms(&scene, USUAL_MS);
        bench_generate(bench, &scene.slow, &lease, 0, 4);
    }
    scene.lease = *bench_expect(bench, 2, MESSAGE_GENERATE_LEASE, 0);
    assert_int_equal(scene.lease.items_n, 4);
    return scene;
}

static void join_quick(struct scene *scene)
{
    bench_join(scene->bench, &scene->quick, 4, hello_of("quick", WIRE_ROLE_ACTOR, 3));
}

static void second_lease_comes_when_the_first_is_late(void **state)
{
    struct scene scene = begin(state, 8);
    struct bench *bench = scene.bench;
    join_quick(&scene);
    const size_t since = bench->sent_n;
    wait_ms(&scene, 1450);
    assert_null(bench_last(bench, 4, MESSAGE_GENERATE_LEASE, since));
    wait_ms(&scene, 100);
    const struct message *lease = bench_expect(bench, 4, MESSAGE_GENERATE_LEASE, since);
    assert_int_equal(lease->items_n, 3); /* its capacity */
    assert_int_equal(lease->version, scene.lease.version);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(lease->items[i].b, scene.lease.items[i].b);
    assert_true(bench_said(bench, "LEASE-SECOND generate lease of slow: 3 items unanswered "
                                  "after 1500 ms, where 500 ms are usual: quick has them too"));
    assert_int_equal(bench_stats(bench)->leases_second, 1);
    wait_ms(&scene, 5000); /* two leases of an item are the most */
    assert_int_equal(bench_stats(bench)->leases_second, 1);
}

static void second_lease_needs_eight_answers_to_know_what_is_usual(void **state)
{
    struct scene scene = begin(state, 4);
    join_quick(&scene); /* it is given first leases */
    const struct message lease = *bench_expect(scene.bench, 4, MESSAGE_GENERATE_LEASE, 0);
    bench_generate(scene.bench, &scene.quick, &lease, 0, 3);
    wait_ms(&scene, 20000); /* seven answers */
    assert_int_equal(bench_stats(scene.bench)->leases_second, 0);
    const struct message last = *bench_expect(scene.bench, 4, MESSAGE_GENERATE_LEASE, 0);
    assert_int_not_equal(last.lease, lease.lease);
    bench_generate(scene.bench, &scene.quick, &last, 0, last.items_n);
    wait_ms(&scene, 100);
    assert_int_equal(bench_stats(scene.bench)->leases_second, 1);
}

static void second_lease_can_be_switched_off(void **state)
{
    ((struct bench *)*state)->config.second_after = 0.0;
    struct scene scene = begin(state, 8);
    join_quick(&scene);
    wait_ms(&scene, 25000);
    assert_int_equal(bench_stats(scene.bench)->leases_second, 0);
}

/* The scene, with the second lease out. */
static struct message second_of(struct scene *scene)
{
    join_quick(scene);
    const size_t since = scene->bench->sent_n;
    wait_ms(scene, 1600);
    return *bench_expect(scene->bench, 4, MESSAGE_GENERATE_LEASE, since);
}

static void first_answer_counts_and_the_second_is_compared(void **state)
{
    struct scene scene = begin(state, 8);
    struct bench *bench = scene.bench;
    const struct message second = second_of(&scene);
    bench_generate(bench, &scene.quick, &second, 0, 3);
    struct core_stats *stats = bench_stats(bench);
    assert_int_equal(stats->second_won, 3);
    assert_int_equal(stats->leased, 1);
    assert_int_equal(stats->peer[1].outrun, 3);
    assert_string_equal(bench->records[bench->records_n - 1].worker, "quick");
    assert_int_equal(stats->peer[1].in_flight, 4); /* it does not know of it yet */
    const size_t records = bench->records_n;
    bench_generate(bench, &scene.slow, &scene.lease, 0, 4);
    stats = bench_stats(bench);
    assert_int_equal(stats->duplicates, 3);
    assert_int_equal(stats->mismatches, 0);
    assert_int_equal(stats->peer[1].in_flight, 0);
    assert_int_equal(bench->records_n, records + 1); /* the fourth was its own */
}

static void a_second_answer_of_other_bits_names_both_workers(void **state)
{
    struct scene scene = begin(state, 8);
    struct bench *bench = scene.bench;
    const struct message second = second_of(&scene);
    bench_generate(bench, &scene.quick, &second, 0, 3);
    struct wire_item item = scene.lease.items[1];
    item.response_tokens = 2;
    item.finish = WIRE_FINISH_EOS;
    const int32_t ids[2] = {(int32_t)item.a + 1, (int32_t)item.b + 1};
    const float logp[2] = {-0.5f, -0.25000003f}; /* the next number below */
    bench_send(bench, &scene.slow,
               (struct message){.type = MESSAGE_GENERATE_RESULT,
                                .lease = scene.lease.lease,
                                .items = &item,
                                .items_n = 1,
                                .frames_n = 2,
                                .frame = {{ids, sizeof ids}, {logp, sizeof logp}}});
    char words[128];
    snprintf(words, sizeof words,
             "ROLLOUT-MISMATCH slot %llu/%u: quick and slow made different rollouts",
             (unsigned long long)item.a, (unsigned)item.b);
    assert_true(bench_said(bench, words));
    struct core_stats *stats = bench_stats(bench);
    assert_int_equal(stats->mismatches, 1);
    assert_int_equal(stats->peer[1].mismatches, 1);
    assert_int_equal(stats->peer[2].mismatches, 1);
    assert_string_equal(bench->records[bench->records_n - 1].id, "ROLLOUT-MISMATCH");
}

static void what_one_of_two_loses_the_other_still_has(void **state)
{
    struct scene scene = begin(state, 8);
    struct bench *bench = scene.bench;
    const struct message second = second_of(&scene);
    bench_send(bench, &scene.slow, (struct message){.type = MESSAGE_BYE});
    scene.slow.session = 0;
    struct core_stats *stats = bench_stats(bench);
    assert_int_equal(stats->leased, 3); /* with quick; the fourth waits */
    assert_int_equal(stats->waiting, 1);
    bench_generate(bench, &scene.quick, &second, 0, 3);
    assert_int_equal(bench_stats(bench)->second_won, 0); /* it had become the first */
    const struct message last = *bench_expect(bench, 4, MESSAGE_GENERATE_LEASE, 0);
    assert_int_equal(last.items_n, 1);
    assert_int_equal(last.items[0].b, scene.lease.items[3].b);
}

static void who_is_slow_is_not_asked(void **state)
{
    struct scene scene = begin(state, 4);
    struct bench *bench = scene.bench;
    join_quick(&scene);
    const struct message three = *bench_expect(bench, 4, MESSAGE_GENERATE_LEASE, 0);
    bench_generate(bench, &scene.quick, &three, 0, 3);
    bench_generate(bench, &scene.slow, &scene.lease, 0, 1); /* eight answers */
    struct core_stats *stats = bench_stats(bench);
    assert_int_equal(stats->peer[1].in_flight, 3); /* of 4 */
    assert_int_equal(stats->peer[2].in_flight, 1); /* of 3 */
    wait_ms(&scene, 10000);
    assert_int_equal(bench_stats(bench)->leases_second, 0);
    struct bench_worker third;
    bench_join(bench, &third, 5, hello_of("third", WIRE_ROLE_ACTOR, 8));
    bench_tick(bench, 50);
    assert_int_equal(bench_stats(bench)->leases_second, 2);
    assert_int_equal(bench_stats(bench)->peer[3].in_flight, 4);
}

static void a_score_is_asked_for_twice_and_recorded_once(void **state)
{
    struct scene scene = begin(state, 8);
    struct bench *bench = scene.bench;
    struct bench_worker *first = &scene.reward[0], *help = &scene.reward[1];
    bench_join(bench, first, 6, hello_of("reward-0", WIRE_ROLE_REWARD, 4));
    for (int i = 0; i < 2; i++) { /* the eight that are there, in 500 ms each */
        const struct message lease = *bench_expect(bench, 6, MESSAGE_SCORE_LEASE, 0);
        wait_ms(&scene, USUAL_MS);
        bench_score(bench, first, &lease, 1.0, 1.0, WIRE_SCORE_OK);
    }
    bench_generate(bench, &scene.slow, &scene.lease, 0, 4);
    const struct message lease = *bench_expect(bench, 6, MESSAGE_SCORE_LEASE, 0);
    assert_int_equal(lease.items_n, 4);
    bench_join(bench, help, 7, hello_of("reward-1", WIRE_ROLE_REWARD, 4));
    const size_t since = bench->sent_n;
    wait_ms(&scene, 1600);
    const struct message second = *bench_expect(bench, 7, MESSAGE_SCORE_LEASE, since);
    assert_int_equal(second.items_n, 4);
    /* A scoring that fails is no loss while another is out. */
    bench_score(bench, first, &lease, 0.0, 0.0, WIRE_SCORE_FAILED);
    assert_int_equal(bench_stats(bench)->score_retries, 4);
    assert_null(bench_last(bench, 6, MESSAGE_SCORE_LEASE, since));
    const size_t records = bench->records_n;
    bench_score(bench, help, &second, 1.0, 1.0, WIRE_SCORE_OK);
    assert_int_equal(bench->records_n, records + 4);
    bench_score(bench, first, &lease, 3.0, 3.0, WIRE_SCORE_OK);
    assert_int_equal(bench->records_n, records + 4);
    assert_int_equal(bench_stats(bench)->mismatches, 0);
}

int main(int argc, char **argv)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_bench, close_bench)
    const struct CMUnitTest tests[] = {
        TEST(second_lease_comes_when_the_first_is_late),
        TEST(second_lease_needs_eight_answers_to_know_what_is_usual),
        TEST(second_lease_can_be_switched_off),
        TEST(first_answer_counts_and_the_second_is_compared),
        TEST(a_second_answer_of_other_bits_names_both_workers),
        TEST(what_one_of_two_loses_the_other_still_has),
        TEST(who_is_slow_is_not_asked),
        TEST(a_score_is_asked_for_twice_and_recorded_once),
    };
#undef TEST
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("coordinator/second", tests, NULL, NULL);
}

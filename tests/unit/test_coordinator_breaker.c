/*
 * test_coordinator_breaker.c -- steps that are set aside, runs that are halted, and their replay.
 *
 * The oracle is core.h's and record.h's text: what is leased, recorded and counted for a limit
 * that a person can hold against the numbers of the bench.  What the breaker itself decides has
 * its tests in test_control_breaker.c.
 */
#include "tests/unit/core_bench.h"

/* Raw rewards above 2 are set aside, those below -2 halt; so does a gradient above 20. */
static int setup(void **state)
{
    struct bench *bench = bench_new();
    struct run_config *config = &bench->config;
    config->steps = 6;
    config->shaper = RUN_SHAPER_MEANSTD;
    config->limit[0] = (struct run_limit){.signal = RUN_SIGNAL_REWARD,
                                          .low = -RUN_LIMIT_NONE,
                                          .high = 2,
                                          .outcome = RUN_TRIP_SKIP};
    config->limit[1] = (struct run_limit){
        .signal = RUN_SIGNAL_GRAD_NORM, .low = -1, .high = 20, .outcome = RUN_TRIP_HALT};
    config->limits = 2;
    config->breaker_window = 4;
    config->breaker_warmup = 3;
    config->breaker_skips_max = 3;
    config->breaker_cooldown = 2;
    config->breaker_trips_max = 5;
    *state = bench;
    return 0;
}

/* All scores of the open steps: the raw reward is `raw`.  The lease of `step` that follows. */
static const struct message *lease_of(struct bench *bench, struct bench_crew *crew,
                                      size_t *from, uint64_t step, double raw)
{
    bench_crew_work(bench, crew, from, raw, 0.0);
    const struct message *lease = bench_expect(bench, 0, MESSAGE_TRAIN_LEASE, 0);
    assert_int_equal(lease->step, step);
    return lease;
}

static void train_told(struct bench *bench, struct bench_crew *crew, uint64_t step,
                       unsigned char weights, const char *name, double value)
{
    struct wire_stat stat = {.value = value};
    snprintf(stat.name, sizeof stat.name, "%s", name);
    struct message result = {.type = MESSAGE_TRAIN_RESULT,
                             .step = step,
                             .version = step + 1,
                             .has_hash = true,
                             .stats = &stat,
                             .stats_n = 1};
    result.hash.bytes[0] = weights;
    bench_send(bench, &crew->learner, result);
}

static const struct record *last_record(const struct bench *bench, enum record_kind kind)
{
    for (size_t i = bench->records_n; i > 0; i--)
        if (bench->records[i - 1].record.kind == kind)
            return &bench->records[i - 1].record;
    return NULL;
}

static void a_batch_past_its_limit_is_set_aside(void **state)
{
    struct bench_crew crew;
    struct bench *bench = bench_begun(state, &crew);
    size_t from = 0;
    assert_int_equal(lease_of(bench, &crew, &from, 0, 1.5)->items_n, 2);
    bench_train(bench, &crew.learner, 0, 101, 0);
    const struct message *lease = lease_of(bench, &crew, &from, 1, 2.5);
    assert_int_equal(lease->items_n, 0);
    for (uint32_t f = 0; f < lease->frames_n; f++)
        assert_int_equal(lease->frame[f].size, 0);
    assert_int_equal(bench_stats(bench)->shaped, 2); /* not before the learner's word */
    bench_train(bench, &crew.learner, 1, 101, 0);

    const struct core_stats *stats = bench_stats(bench);
    assert_int_equal(stats->trained, 2); /* the version went on */
    assert_int_equal(stats->trained_slots, 2);
    assert_int_equal(stats->dropped[RECORD_REASON_QUARANTINED], 2);
    assert_int_equal(stats->last.trained, 0);
    assert_int_equal(stats->last.dropped[RECORD_REASON_QUARANTINED], 2);
    check_near(stats->last.reward_raw_mean, 2.5, 1e-12); /* what it was set aside for */
    assert_true(stats->breaker_cooling && stats->breaker_trips == 1);
    const struct record *event = last_record(bench, RECORD_EVENT);
    assert_non_null(event);
    assert_string_equal(event->id, "QUARANTINE");
    assert_string_equal(event->text,
                        "step 1: reward is 2.5, above 2 (high): nothing is trained on its 2 "
                        "slots");
    assert_int_equal(lease_of(bench, &crew, &from, 2, 2.0)->items_n, 2); /* at the limit */
}

static void a_learner_that_trains_what_was_set_aside_is_not_believed(void **state)
{
    struct bench_crew crew;
    struct bench *bench = bench_begun(state, &crew);
    size_t from = 0;
    lease_of(bench, &crew, &from, 0, 1.5);
    bench_train(bench, &crew.learner, 0, 101, 0);
    lease_of(bench, &crew, &from, 1, 2.5);
    bench_train(bench, &crew.learner, 1, 102, 0);
    assert_true(bench->finished && bench->exit_code == CORE_EXIT_HALT);
    assert_non_null(strstr(bench->finish_text, "not reproducible: step 1"));
}

static void controllers_go_on_but_what_shapes_rewards_does_not(void **state)
{
    struct bench *bench = *state;
    bench->config.kl_controller = RUN_KL_CONTROLLER_ADAPTIVE;
    bench->config.kl_target = 0.1; /* the bench's KL is 0.5 */
    bench->config.kl_horizon = 10;
    struct bench_crew crew;
    bench_begun(state, &crew);
    size_t from = 0;
    lease_of(bench, &crew, &from, 0, 1.5);
    bench_train(bench, &crew.learner, 0, 101, 0);
    const struct record_step first = bench_stats(bench)->last;
    lease_of(bench, &crew, &from, 1, 2.5);
    bench_train(bench, &crew.learner, 1, 101, 0);
    const struct record_step second = bench_stats(bench)->last;
    assert_true(second.kl_coef_after > second.kl_coef_before);
    assert_true(second.controller[2] == 2.0);
    /* count, mean, m2, min, max of the shaper */
    assert_memory_equal(&first.controller[3], &second.controller[3], 5 * sizeof(double));
    assert_true(first.controller[3] == 2.0 && first.controller[4] == 1.5);
}

static void the_run_halts_with_its_cause_and_again_after_a_restart(void **state)
{
    struct bench *bench = *state;
    bench->config.limit[0].low = -2;
    bench->config.limit[0].outcome = RUN_TRIP_HALT;
    struct bench_crew crew;
    bench_begun(state, &crew);
    size_t from = 0;
    lease_of(bench, &crew, &from, 0, 1.5);
    bench_train(bench, &crew.learner, 0, 101, 0);
    bench_crew_work(bench, &crew, &from, -2.5, 0.0);
    for (int life = 0; life < 2; life++) {
        assert_true(bench->finished && bench->exit_code == CORE_EXIT_HALT);
        assert_string_equal(bench->finish_text, "step 1: the breaker halts the run: reward is "
                                                "-2.5, below -2 (low)");
        bench->finished = false;
        bench_restart(bench, 0);
        bench_tick(bench, 10);
    }
    assert_int_equal(bench_stats(bench)->trained, 1);
}

static void too_many_in_a_row_halt_the_run(void **state)
{
    struct bench *bench = *state;
    bench->config.breaker_skips_max = 2;
    struct bench_crew crew;
    bench_begun(state, &crew);
    size_t from = 0;
    lease_of(bench, &crew, &from, 0, 1.5);
    bench_train(bench, &crew.learner, 0, 101, 0);
    for (uint64_t step = 1; step < 3; step++) {
        assert_int_equal(lease_of(bench, &crew, &from, step, 2.5)->items_n, 0);
        bench_train(bench, &crew.learner, step, 101, 0);
    }
    bench_crew_work(bench, &crew, &from, 2.5, 0.0);
    assert_true(bench->finished && bench->exit_code == CORE_EXIT_HALT);
    assert_non_null(strstr(bench->finish_text, "more than breaker.skips_max steps in a row"));
}

static void what_the_learner_told_halts_the_next_step(void **state)
{
    static const struct {
        const char *name;
        double value;
        const char *cause;
    } cases[] = {{"grad_norm", 50.0, "grad_norm is 50, above 20 (high)"},
                 {"policy_loss", NAN, "loss is not finite"},
                 {"entropy", INFINITY, "entropy is not finite"}};
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        void *fresh;
        setup(&fresh);
        struct bench_crew crew;
        struct bench *bench = bench_begun(&fresh, &crew);
        size_t from = 0;
        lease_of(bench, &crew, &from, 0, 1.5);
        train_told(bench, &crew, 0, 101, cases[i].name, cases[i].value);
        assert_false(bench->finished); /* step 0 is trained, and recorded with what it told */
        bench_crew_work(bench, &crew, &from, 1.5, 0.0);
        assert_true(bench->finished && bench->exit_code == CORE_EXIT_HALT);
        assert_non_null(strstr(bench->finish_text, cases[i].cause));
        bench_free(bench);
    }
}

/* The bench's KL is 0.5 nats a sequence, the cost here half of the second score. */
static void each_signal_is_the_number_of_its_name(void **state)
{
    static const struct {
        enum run_signal signal;
        double low, high;
        const char *cause;
    } cases[] = {{RUN_SIGNAL_KL, 0.6, 9, "kl is 0.5, below 0.6 (low)"},
                 {RUN_SIGNAL_COST, -1, 0.75, "cost is 1, above 0.75 (high)"},
                 {RUN_SIGNAL_REWARD, 3.5, 9, "reward is 3, below 3.5 (low)"}};
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        void *fresh;
        setup(&fresh);
        struct bench *bench = fresh;
        bench->config.scorer[1].role = RUN_ROLE_COST;
        bench->config.limits = 1;
        bench->config.limit[0] = (struct run_limit){.signal = cases[i].signal,
                                                    .low = cases[i].low,
                                                    .high = cases[i].high,
                                                    .outcome = RUN_TRIP_HALT};
        struct bench_crew crew;
        bench_begun(&fresh, &crew);
        size_t from = 0;
        bench_crew_work(bench, &crew, &from, 3.0, 2.0);
        assert_true(bench->finished);
        if (!strstr(bench->finish_text, cases[i].cause))
            fail_msg("it said: %s", bench->finish_text);
        bench_free(bench);
    }
}

static void a_batch_far_from_the_median_is_set_aside(void **state)
{
    struct bench *bench = *state;
    bench->config.limits = 1;
    bench->config.limit[0] = (struct run_limit){.signal = RUN_SIGNAL_REWARD,
                                                .low = -RUN_LIMIT_NONE,
                                                .high = RUN_LIMIT_NONE,
                                                .ratio = 2,
                                                .outcome = RUN_TRIP_SKIP};
    struct bench_crew crew;
    bench_begun(state, &crew);
    size_t from = 0;
    static const double raw[4] = {1.0, 9.0, 1.5, 3.5}; /* the second: before the warm-up */
    for (uint64_t step = 0; step < 4; step++) {
        assert_int_equal(lease_of(bench, &crew, &from, step, raw[step])->items_n,
                         step < 3 ? 2 : 0);
        bench_train(bench, &crew.learner, step, (unsigned char)(step < 3 ? 101 + step : 103),
                    0);
    }
    const struct record *event = last_record(bench, RECORD_EVENT);
    assert_non_null(strstr(event->text, "reward is 3.5, above 3 (ratio)"));
}

/* Five steps, one of them set aside; undisturbed, and killed at places where the first steps are
 * known from their STEP records alone or from all: the same to the last bit. */
static void the_breaker_survives_its_coordinator(void **state)
{
    (void)state;
    static const double raw[5] = {1.5, 1.0, 2.5, 0.5, 1.75};
    struct record_step want = {0};
    for (uint64_t checkpoint = 0; checkpoint <= 4; checkpoint++) {
        void *fresh;
        setup(&fresh);
        struct bench_crew crew;
        struct bench *bench = bench_begun(&fresh, &crew);
        size_t from = 0;
        unsigned char weights = 100;
        for (uint64_t step = 0; step < 4; step++) {
            weights = (unsigned char)(weights + (raw[step] <= 2.0));
            lease_of(bench, &crew, &from, step, raw[step]);
            train_told(bench, &crew, step, weights, "grad_norm", 1.0 / (double)(step + 3));
        }
        if (checkpoint > 0) {
            struct message hello = bench_hello(WIRE_ROLE_LEARNER, "learner-0");
            bench_restart(bench, checkpoint);
            hello.version = 4;
            hello.hash.bytes[0] = weights;
            from = bench->sent_n;
            bench_join(bench, &crew.learner, 1, hello);
            bench_join(bench, &crew.actor, 2, bench_hello(WIRE_ROLE_ACTOR, "actor-0"));
            bench_join(bench, &crew.reward, 3, bench_hello(WIRE_ROLE_REWARD, "reward-0"));
        }
        lease_of(bench, &crew, &from, 4, raw[4]);
        train_told(bench, &crew, 4, (unsigned char)(weights + 1), "grad_norm", 0.125);
        const struct record_step got = bench_stats(bench)->last;
        assert_int_equal(got.step, 4);
        if (checkpoint == 0)
            want = got;
        assert_int_equal(got.controller_n, want.controller_n);
        assert_memory_equal(got.controller, want.controller, got.controller_n * sizeof(double));
        assert_int_equal(bench_stats(bench)->breaker_trips, 1);
        assert_int_equal(bench_stats(bench)->dropped[RECORD_REASON_QUARANTINED], 2);
        bench_free(bench);
    }
}

/* A learner that lost its memory is sent a step that was set aside without its slots again. */
static void a_step_that_was_set_aside_is_sent_again_without_slots(void **state)
{
    struct bench_crew crew;
    struct bench *bench = bench_begun(state, &crew);
    size_t from = 0;
    lease_of(bench, &crew, &from, 0, 2.5);
    bench_train(bench, &crew.learner, 0, 100, 0);
    lease_of(bench, &crew, &from, 1, 1.5);
    bench_train(bench, &crew.learner, 1, 101, 0);
    for (int restarts = 0; restarts < 2; restarts++) {
        const size_t since = bench->sent_n;
        bench_join(bench, &crew.learner, 50 + (uint64_t)restarts,
                   bench_hello(WIRE_ROLE_LEARNER, "learner-0"));
        const struct message *again = bench_expect(bench, 0, MESSAGE_TRAIN_LEASE, since);
        assert_true(again->step == 0 && again->items_n == 0);
        bench_restart(bench, 0);
    }
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, bench_teardown)
    const struct CMUnitTest tests[] = {
        CASE(a_batch_past_its_limit_is_set_aside),
        CASE(a_learner_that_trains_what_was_set_aside_is_not_believed),
        CASE(controllers_go_on_but_what_shapes_rewards_does_not),
        CASE(the_run_halts_with_its_cause_and_again_after_a_restart),
        CASE(too_many_in_a_row_halt_the_run),
        CASE(what_the_learner_told_halts_the_next_step),
        CASE(each_signal_is_the_number_of_its_name),
        CASE(a_batch_far_from_the_median_is_set_aside),
        CASE(the_breaker_survives_its_coordinator),
        CASE(a_step_that_was_set_aside_is_sent_again_without_slots),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

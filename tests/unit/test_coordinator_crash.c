/*
 * test_coordinator_crash.c -- a coordinator killed after each record that reaches the disk: at
 * every step's boundary, and after every rollout, score and drop in between.
 *
 * The oracle is the undisturbed run: each step's controllers (the KL's, the shapers'
 * statistics, the multiplier's window, the breaker's medians) and the means and coefficients
 * beside them are the same bits, from the first step to the last.  Workers are pure functions
 * of what they are asked, as those of the daemons are.
 */
#include "tests/unit/core_bench.h"

#define CRASH_STEPS 14 /* more than a PID of the multiplier looks back */
#define CRASH_ASIDE 5

struct crash_steps {
    size_t n, aside;
    struct record_step step[CRASH_STEPS];
};

/* Both move, and not together: a reward far from the others' is set aside. */
static double crash_good(uint64_t step)
{
    return step == CRASH_ASIDE ? 40.0 : 0.25 + (double)(step * 7 % 5);
}

static double crash_cost(uint64_t step)
{
    return 0.1 + 0.3 * (double)(step * 3 % 4);
}

/* Of a version's weights: a step that is set aside leaves them as they are. */
static unsigned char crash_weights(uint64_t version)
{
    return (unsigned char)(100 + version - (version > CRASH_ASIDE));
}

static void crash_limits(struct run_config *config)
{
    config->limit[0] = (struct run_limit){.signal = RUN_SIGNAL_REWARD,
                                          .low = -RUN_LIMIT_NONE,
                                          .high = RUN_LIMIT_NONE,
                                          .deviations = 6.0,
                                          .outcome = RUN_TRIP_SKIP};
    config->limit[1] = (struct run_limit){.signal = RUN_SIGNAL_KL,
                                          .low = -RUN_LIMIT_NONE,
                                          .high = RUN_LIMIT_NONE,
                                          .ratio = 50.0,
                                          .outcome = RUN_TRIP_HALT};
    config->limits = 2;
    config->breaker_window = 5;
    config->breaker_warmup = 3;
    config->breaker_cooldown = 2;
    config->breaker_trips_max = 8;
}

static void crash_shapers(struct run_config *config, const char *first, const char *second)
{
    snprintf(config->shapers[0], RUN_WORD_MAX, "%s", first);
    snprintf(config->shapers[1], RUN_WORD_MAX, "%s", second);
    config->shapers_n = 2;
}

static void crash_config(struct run_config *config)
{
    config->steps = CRASH_STEPS + 1;
    config->checkpoint_every = CRASH_STEPS;
    config->scorer[1].role = RUN_ROLE_COST;
    config->safety_cost = RUN_SAFETY_COST_SCORE;
    config->safety_limit = 0.2;
    config->safety_lambda = 1.0;
    config->safety_lambda_max = 5.0;
    config->safety_window_steps = 3;
    crash_limits(config);
}

static void crash_adaptive(struct run_config *config)
{
    config->kl_controller = RUN_KL_CONTROLLER_ADAPTIVE;
    config->kl_target = 0.4;
    config->kl_horizon = 10.0;
    config->kl_lookahead = 5.0;
    config->kl_smooth = 0.7;
    config->kl_coef_min = 1e-4;
    config->kl_coef_max = 10.0;
    config->safety_controller = RUN_SAFETY_CONTROLLER_LAGRANGIAN;
    config->safety_lr = 0.5;
    config->safety_lambda_min = 0.05;
    crash_shapers(config, "meanstd", "minmax");
}

static void crash_pids(struct run_config *config)
{
    config->kl_controller = RUN_KL_CONTROLLER_PID;
    config->kl_target_token = 0.2;
    config->kl_kp = 0.3;
    config->kl_ki = 0.1;
    config->kl_kd = 2.0;
    config->kl_smooth = 0.7;
    config->kl_coef_min = 1e-4;
    config->kl_coef_max = 10.0;
    config->safety_controller = RUN_SAFETY_CONTROLLER_PID;
    config->safety_kp = 0.7;
    config->safety_ki = 0.3;
    config->safety_kd = 0.9;
    config->safety_delay_steps = 2;
    crash_shapers(config, "minmax", "clip");
}

static void crash_bound(struct run_config *config)
{
    crash_adaptive(config);
    config->kl_target_token = 0.2;
    config->kl_lookahead = 0.0;
    config->safety_gate_samples = 50;
    config->safety_c1 = 0.5;
    config->safety_c2 = 1.0;
    config->safety_delta = 0.1;
    crash_shapers(config, "clip", "meanstd");
}

/* The rest of the run, from `step` on: to its last step, whatever of it was done already. */
static void crash_finish(struct bench *bench, struct bench_crew *crew, uint64_t step)
{
    for (size_t from = 0; step < CRASH_STEPS; step++) {
        bench_crew_work(bench, crew, &from, crash_good(step), crash_cost(step));
        bench_train(bench, &crew->learner, step, crash_weights(step + 1), 0);
        if (bench_stats(bench)->trained != step + 1)
            fail_msg("step %llu is not trained; the log:\n%s", (unsigned long long)step, bench->log);
    }
}

static void crash_collect(const struct bench *bench, struct crash_steps *out)
{
    *out = (struct crash_steps){0};
    for (size_t i = 0; i < bench->records_n; i++)
        if (bench->records[i].record.kind == RECORD_STEP) {
            struct record_step *step = &out->step[out->n++];
            *step = bench->records[i].step;
            step->stats = NULL;
            out->aside += step->dropped[RECORD_REASON_QUARANTINED] > 0;
        }
    assert_int_equal(out->n, CRASH_STEPS);
}

static struct bench *crash_bench(void (*configure)(struct run_config *config))
{
    struct bench *bench = bench_new();
    crash_config(&bench->config);
    configure(&bench->config);
    return bench;
}

/* The disk has the first n records of `whole`, and the learner a checkpoint of this version. */
static void crash_after(const struct bench *whole, size_t n, uint64_t checkpoint,
                        void (*configure)(struct run_config *config), struct crash_steps *got)
{
    struct bench *bench = crash_bench(configure);
    struct bench_crew crew;
    uint64_t steps = 0;
    for (size_t i = 0; i < n; i++) {
        bench_keep_record(bench, &whole->records[i].record);
        steps += whole->records[i].record.kind == RECORD_STEP;
    }
    bench_restart(bench, checkpoint);
    struct message hello = bench_hello(WIRE_ROLE_LEARNER, "learner-0");
    hello.version = steps;
    hello.hash.bytes[0] = crash_weights(steps);
    bench_join(bench, &crew.learner, 1, hello);
    bench_join(bench, &crew.actor, 2, bench_hello(WIRE_ROLE_ACTOR, "actor-0"));
    bench_join(bench, &crew.reward, 3, bench_hello(WIRE_ROLE_REWARD, "reward-0"));
    crash_finish(bench, &crew, steps);
    crash_collect(bench, got);
    bench_free(bench);
}

static void crash_compare(const struct crash_steps *got, const struct crash_steps *want,
                          size_t record)
{
    for (size_t s = 0; s < CRASH_STEPS; s++) {
        const struct record_step *a = &got->step[s], *b = &want->step[s];
        assert_int_equal(a->controller_n, b->controller_n);
        for (uint32_t i = 0; i < b->controller_n; i++)
            if (memcmp(&a->controller[i], &b->controller[i], sizeof(double)) != 0)
                fail_msg("killed after record %zu, step %zu: number %u of the controllers is "
                         "%a, undisturbed %a",
                         record, s, (unsigned)i, a->controller[i], b->controller[i]);
        assert_memory_equal(&a->reward_shaped_mean, &b->reward_shaped_mean, sizeof(double));
        assert_memory_equal(&a->kl_coef_before, &b->kl_coef_before, sizeof(double));
        assert_memory_equal(&a->kl_coef_after, &b->kl_coef_after, sizeof(double));
        assert_memory_equal(&a->multiplier_after, &b->multiplier_after, sizeof(double));
        assert_memory_equal(a->dropped, b->dropped, sizeof b->dropped);
    }
}

static void crash_everywhere(void (*configure)(struct run_config *config))
{
    static struct crash_steps want, got;
    struct bench *whole = crash_bench(configure);
    struct bench_crew crew;
    bench_open(whole);
    bench_start(whole);
    bench_crew_join(whole, &crew);
    crash_finish(whole, &crew, 0);
    crash_collect(whole, &want);
    assert_int_equal(want.aside, 1); /* the breaker's windows are of consequence */
    size_t crashes = 0;
    uint64_t steps = 0;
    for (size_t n = 1; n < whole->records_n && steps < CRASH_STEPS; n++) {
        steps += whole->records[n - 1].record.kind == RECORD_STEP;
        for (uint64_t checkpoint = 0; checkpoint <= steps && steps < CRASH_STEPS;
             checkpoint++) {
            crash_after(whole, n, checkpoint, configure, &got);
            crash_compare(&got, &want, n);
            crashes++;
        }
    }
    print_message("%zu crashes after %zu records\n", crashes, whole->records_n);
    assert_true(crashes > 5 * CRASH_STEPS);
    bench_free(whole);
}

static void an_adaptive_kl_and_a_lagrangian_survive_every_crash(void **state)
{
    (void)state;
    crash_everywhere(crash_adaptive);
}

static void two_pids_survive_every_crash(void **state)
{
    (void)state;
    crash_everywhere(crash_pids);
}

static void a_bound_on_the_cost_survives_every_crash(void **state)
{
    (void)state;
    crash_everywhere(crash_bound);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_adaptive_kl_and_a_lagrangian_survive_every_crash),
        cmocka_unit_test(two_pids_survive_every_crash),
        cmocka_unit_test(a_bound_on_the_cost_survives_every_crash),
    };
    return cmocka_run_group_tests_name("coordinator/crash", tests, NULL, NULL);
}

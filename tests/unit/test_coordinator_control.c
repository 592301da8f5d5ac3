/*
 * test_coordinator_control.c -- that each controller is given the right numbers, that what it
 * says reaches the learner, and that it survives its coordinator to the last bit.
 *
 * The oracle of the numbers is the function of control/ that has its vectors in its own test,
 * given what the bench's two slots measure by definition: 0.25 nats a token, 0.5 a sequence.
 */
#include "control/kl.h"
#include "tests/unit/core_bench.h"

static int setup(void **state)
{
    struct bench *bench = bench_new();
    bench->config.steps = 6;
    *state = bench;
    return 0;
}

/* Scores of step s; the shape of the curve does not matter, only that it moves. */
static double good_of(uint64_t step)
{
    return 0.25 + (double)(step * 7 % 5);
}

static void work_step(struct bench *bench, struct bench_crew *crew, size_t *from, uint64_t step)
{
    bench_crew_work(bench, crew, from, good_of(step), 0.5);
    bench_train(bench, &crew->learner, step, (unsigned char)(101 + step), 0);
    assert_int_equal(bench_stats(bench)->trained, step + 1);
}

/* Run eight steps as `configure` has it; undisturbed, and killed after the fourth with the steps
 * below each checkpoint known from their STEP records alone.  The fifth ends in the same states. */
static void survives(void (*configure)(struct run_config *config))
{
    struct record_step want = {0};
    for (uint64_t checkpoint = 0; checkpoint <= 4; checkpoint++) {
        void *fresh;
        setup(&fresh);
        struct bench *bench = fresh;
        configure(&bench->config);
        struct bench_crew crew;
        bench_begun(&fresh, &crew);
        size_t from = 0;
        for (uint64_t step = 0; step < 4; step++)
            work_step(bench, &crew, &from, step);
        if (checkpoint > 0) {
            struct message hello = bench_hello(WIRE_ROLE_LEARNER, "learner-0");
            bench_restart(bench, checkpoint);
            hello.version = 4;
            hello.hash.bytes[0] = 104;
            from = bench->sent_n;
            bench_join(bench, &crew.learner, 1, hello);
            bench_join(bench, &crew.actor, 2, bench_hello(WIRE_ROLE_ACTOR, "actor-0"));
            bench_join(bench, &crew.reward, 3, bench_hello(WIRE_ROLE_REWARD, "reward-0"));
        }
        work_step(bench, &crew, &from, 4);
        const struct record_step got = bench_stats(bench)->last;
        if (checkpoint == 0)
            want = got;
        assert_int_equal(got.controller_n, want.controller_n);
        assert_memory_equal(got.controller, want.controller, got.controller_n * sizeof(double));
        assert_true(got.reward_shaped_mean == want.reward_shaped_mean);
        assert_true(got.kl_coef_after == want.kl_coef_after);
        bench_free(bench);
    }
}

/* --- KL --------------------------------------------------------------------------------- */

static void take_pid(struct run_config *config)
{
    config->kl_controller = RUN_KL_CONTROLLER_PID;
    config->kl_target = 0.2;
    config->kl_kp = 0.1;
    config->kl_ki = 0.05;
    config->kl_kd = 0.2;
    config->kl_smooth = 0.5;
    config->kl_coef_min = 0.01;
    config->kl_coef_max = 2.0;
}

/* Three steps measure 0.5 each; beta begins at 0.1. */
static void the_kl_may_be_held_by_a_pid(void **state)
{
    struct bench *bench = *state;
    take_pid(&bench->config);
    struct bench_crew crew;
    bench_begun(state, &crew);
    size_t from = 0;
    double integral = log(0.1) + 0.1, smooth = 0.0, p = -1.0; /* as the KL was 0 */
    for (uint64_t step = 0; step < 3; step++) {
        work_step(bench, &crew, &from, step);
        const double kl = 2.0, error = 1.0, before = smooth; /* 0.5 / 0.2, clipped */
        integral += 0.05 * error;
        p = 0.5 * p + 0.5 * error;
        smooth = 0.5 * smooth + 0.5 * kl;
        const double beta = exp(0.1 * p + integral + 0.2 * (smooth - before));
        check_near(bench_stats(bench)->kl_coef, beta, 1e-12);
        check_near(bench_stats(bench)->kl_integral, exp(integral), 1e-12);
        check_near(bench_stats(bench)->kl_smoothed, 0.2 * smooth, 1e-7);
        check_near(bench_stats(bench)->last.kl_coef_after, beta, 1e-12);
    }
}

/* Three steps measure 0.5 each. */
static void adaptive_may_look_ahead(void **state)
{
    struct bench *bench = *state;
    bench->config.kl_controller = RUN_KL_CONTROLLER_ADAPTIVE;
    bench->config.kl_target = 1.5;
    bench->config.kl_horizon = 0.0; /* eight steps */
    bench->config.kl_lookahead = 4.0;
    bench->config.kl_smooth = 0.5;
    bench->config.kl_coef_min = 0.01;
    bench->config.kl_coef_max = 2.0;
    struct bench_crew crew;
    bench_begun(state, &crew);
    size_t from = 0;
    double beta = 0.1, value = 0.0;
    for (uint64_t step = 0; step < 3; step++) {
        work_step(bench, &crew, &from, step);
        const double before = value;
        value = 0.5 * value + 0.5 * 0.5;
        beta *= exp(((value + 4.0 * (value - before)) / 1.5 - 1.0) / 8.0);
        check_near(bench_stats(bench)->kl_coef, beta, 1e-8);
        check_near(bench_stats(bench)->kl_smoothed, value, 1e-7);
    }
}

static void the_target_may_be_per_token(void **state)
{
    struct bench *bench = *state;
    bench->config.kl_controller = RUN_KL_CONTROLLER_ADAPTIVE;
    bench->config.kl_target = 0.5; /* met by the sequences */
    bench->config.kl_target_token = 0.2;
    bench->config.kl_horizon = 10.0;
    bench->config.kl_cap = 0.6; /* per sequence, whatever the target's unit */
    struct bench_crew crew;
    bench_begun(state, &crew);
    size_t from = 0;
    work_step(bench, &crew, &from, 0);
    /* e = clip(0.25 / 0.2 - 1, +-0.2) of 2 sequences */
    check_near(bench_stats(bench)->kl_coef, 0.1 * (1.0 + 0.2 * 2 / 10.0), 1e-15);
    check_near(bench_stats(bench)->kl_last, 0.25, 1e-7);
    check_near(bench_stats(bench)->last.kl_mean, 0.5, 1e-7);
}

static void a_pid_survives_its_coordinator(void **state)
{
    (void)state;
    survives(take_pid);
}

/* --- shapers ---------------------------------------------------------------------------- */

static void take_chain(struct run_config *config)
{
    static const char *const words[] = {"meanstd", "ceiling", "minmax"};
    for (config->shapers_n = 0; config->shapers_n < COUNT(words); config->shapers_n++)
        snprintf(config->shapers[config->shapers_n], RUN_WORD_MAX, "%s",
                 words[config->shapers_n]);
    config->ceiling = 1.25;
}

/* All slots of a step score the same: x is what reaches each shaper, worked out here. */
static void shapers_apply_one_after_another(void **state)
{
    struct bench *bench = *state;
    take_chain(&bench->config);
    bench->config.kl_coef = 0.0;
    struct bench_crew crew;
    bench_begun(state, &crew);
    size_t from = 0;
    static const double raw[3] = {1.0, 3.0, 4.0}; /* good + 0.5 * 0 */
    /* step 0: nothing was seen: meanstd and minmax give x as it is; 1
       step 1: mean 1, std 1 for 0: x = 2, ceiling 1.25; minmax of {1}: (1.25 - 1) / 1
       step 2: mean 2, std 1: x = 2, ceiling 1.25; minmax of {1, 1.25} */
    static const double want[3] = {1.0, 0.25, 1.0};
    for (uint64_t step = 0; step < 3; step++) {
        bench_crew_work(bench, &crew, &from, raw[step], 0.0);
        const struct message *lease = bench_expect(bench, 1, MESSAGE_TRAIN_LEASE, 0);
        check_near(((const float *)lease->frame[2].data)[1], want[step], 1e-6);
        bench_train(bench, &crew.learner, step, (unsigned char)(101 + step), 0);
        check_near(bench_stats(bench)->last.reward_shaped_mean, want[step], 1e-12);
    }
    const struct core_stats *stats = bench_stats(bench);
    assert_int_equal(stats->shapers, 2);
    assert_string_equal(stats->shaper[0].name, "meanstd");
    assert_string_equal(stats->shaper[1].name, "minmax");
    check_near(stats->shaper[0].mean, 8.0 / 3.0, 1e-12);
    check_near(stats->shaper[0].max, 4.0, 0.0);
    check_near(stats->shaper[1].max, 1.25, 1e-12);
    assert_int_equal(stats->last.controller_n, 3 + 5 + 5);
}

/* What a shaper makes of the response it makes of the references: both are past the ceiling. */
static void references_pass_through_the_shapers_before(void **state)
{
    struct bench *bench = *state;
    bench->config.references = 1;
    bench->config.ceiling = 2.0;
    bench->config.kl_coef = 0.0;
    snprintf(bench->config.shapers[0], RUN_WORD_MAX, "ceiling");
    snprintf(bench->config.shapers[1], RUN_WORD_MAX, "par");
    bench->config.shapers_n = 2;
    struct bench_crew crew;
    bench_begun(state, &crew);
    size_t from = 0;
    bench_crew_work(bench, &crew, &from, 3.0, 0.0);
    const struct message *lease = bench_expect(bench, 1, MESSAGE_TRAIN_LEASE, 0);
    check_near(((const float *)lease->frame[2].data)[1], 0.5, 1e-6);
}

static void a_chain_survives_its_coordinator(void **state)
{
    (void)state;
    survives(take_chain);
}

/* --- combining --------------------------------------------------------------------------- */

/* Scores 3 and 0.5, weights 1 and 0.5: by the definitions of control/combine.h. */
static void scores_are_combined_as_the_config_says(void **state)
{
    static const struct {
        enum run_combine combine;
        double want;
    } cases[] = {{RUN_COMBINE_SUM, 3.0 + 0.25},
                 {RUN_COMBINE_PRODUCT, 2.1213203435596424}, /* 3 * sqrt(0.5) */
                 {RUN_COMBINE_MIN, 0.25},
                 /* digits 3 of 0..4 and 2 of 0..4: 3/5 + 2/25 */
                 {RUN_COMBINE_LEVELS, 0.68}};
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        void *fresh;
        setup(&fresh);
        struct bench *bench = fresh;
        bench->config.combine = cases[i].combine;
        for (uint32_t s = 0; s < 2; s++) {
            bench->config.scorer[s].margin = s == 0 ? 1.0 : 0.25;
            bench->config.scorer[s].high = s == 0 ? 4.0 : 1.0;
        }
        struct bench_crew crew;
        bench_begun(&fresh, &crew);
        size_t from = 0;
        bench_crew_work(bench, &crew, &from, 3.0, 0.5);
        bench_train(bench, &crew.learner, 0, 101, 0);
        check_near(bench_stats(bench)->last.reward_raw_mean, cases[i].want, 1e-12);
        bench_restart(bench, 0); /* and replay computes the same */
        bench_free(bench);
    }
}

/* A product takes scores of 0 or more: one below has no reward, and its slot is dropped. */
static void a_score_that_cannot_be_combined_drops_its_slot(void **state)
{
    struct bench *bench = *state;
    bench->config.combine = RUN_COMBINE_PRODUCT;
    struct bench_crew crew;
    bench_begun(state, &crew);
    size_t from = 0;
    bench_crew_work(bench, &crew, &from, -3.0, 0.5);
    assert_true(bench->finished && bench->exit_code == CORE_EXIT_HALT);
    assert_non_null(strstr(bench->finish_text, "every slot was dropped"));
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, bench_teardown)
    const struct CMUnitTest tests[] = {
        CASE(the_kl_may_be_held_by_a_pid),
        CASE(adaptive_may_look_ahead),
        CASE(the_target_may_be_per_token),
        CASE(a_pid_survives_its_coordinator),
        CASE(shapers_apply_one_after_another),
        CASE(references_pass_through_the_shapers_before),
        CASE(a_chain_survives_its_coordinator),
        CASE(scores_are_combined_as_the_config_says),
        CASE(a_score_that_cannot_be_combined_drops_its_slot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

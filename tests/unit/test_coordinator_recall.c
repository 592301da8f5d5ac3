/*
 * test_coordinator_recall.c -- a learner that is further back than the steps that are kept.
 *
 * The oracle is what was sent the first time: the lease of a step that was read back from the
 * records must be the same to the byte, whatever the controllers have become since, and the
 * state of the controllers must not have moved.
 */
#include "tests/unit/core_bench.h"

#define STEPS 12 /* more than the 2 + 1 + 4 that are kept */

struct sent_lease {
    double kl_coef, multiplier;
    size_t size[5];
    double frame[5][32];
};

static struct sent_lease first[STEPS];

static int setup(void **state)
{
    struct bench *bench = bench_new();
    bench->config.steps = STEPS + 1;
    *state = bench;
    return bench ? 0 : -1;
}

/* Scores of step s; the shape of the curve does not matter, only that it moves. */
static double good_of(uint64_t step)
{
    return 0.25 + (double)(step * 7 % 5);
}

static void keep_lease(const struct message *lease)
{
    struct sent_lease *kept = &first[lease->step];
    *kept = (struct sent_lease){.kl_coef = lease->kl_coef, .multiplier = lease->multiplier};
    for (uint32_t f = 0; f < lease->frames_n; f++) {
        kept->size[f] = lease->frame[f].size;
        memcpy(kept->frame[f], lease->frame[f].data, lease->frame[f].size);
    }
}

static void check_lease(const struct message *lease)
{
    const struct sent_lease *kept = &first[lease->step];
    assert_true(lease->kl_coef == kept->kl_coef && lease->multiplier == kept->multiplier);
    for (uint32_t f = 0; f < lease->frames_n; f++) {
        assert_int_equal(lease->frame[f].size, kept->size[f]);
        assert_memory_equal(lease->frame[f].data, kept->frame[f], kept->size[f]);
    }
}

/* STEPS steps, a checkpoint after every second one; the leases are kept in `first`. */
static struct bench *trained(struct bench *bench, struct bench_crew *crew)
{
    bench_open(bench);
    bench_start(bench);
    bench_crew_join(bench, crew);
    size_t from = 0;
    for (uint64_t step = 0; step < STEPS; step++) {
        bench_crew_work(bench, crew, &from, good_of(step), 0.5);
        keep_lease(bench_expect(bench, 1, MESSAGE_TRAIN_LEASE, 0));
        bench_train(bench, &crew->learner, step, (unsigned char)(101 + step), step / 2 * 2);
    }
    assert_int_equal(bench_stats(bench)->trained, STEPS);
    return bench;
}

/* A learner with the weights that version v was given; 100: those of the beginning. */
static struct message hello_at(uint64_t version)
{
    struct message hello = bench_hello(WIRE_ROLE_LEARNER, "learner-0");
    hello.nonce[0] = 9;
    hello.version = version;
    hello.hash.bytes[0] = (unsigned char)(100 + version);
    return hello;
}

/* From `version` on the learner is sent what it was sent before, up to the last step. */
static void catches_up(struct bench *bench, struct bench_crew *crew, uint64_t version)
{
    const struct core_stats before = *bench_stats(bench);
    bench->sent_n = 0;
    bench_join(bench, &crew->learner, 31, hello_at(version));
    for (uint64_t step = version; step < STEPS; step++) {
        const struct message *lease = bench_expect(bench, 31, MESSAGE_TRAIN_LEASE, 0);
        assert_int_equal(lease->step, step);
        check_lease(lease);
        bench->sent_n = 0;
        bench_train(bench, &crew->learner, step, (unsigned char)(101 + step), 0);
    }
    const struct core_stats *after = bench_stats(bench);
    assert_int_equal(after->retrained - before.retrained, STEPS - version);
    assert_int_equal(after->trained, STEPS);
    assert_true(after->kl_coef == before.kl_coef && after->multiplier == before.multiplier);
    assert_int_equal(after->trained_slots, before.trained_slots);
    assert_int_equal(after->planned, before.planned);
}

static void a_learner_at_any_version_is_sent_the_same_steps_again(void **state)
{
    for (uint64_t version = 0; version < STEPS; version++) {
        struct bench_crew crew;
        struct bench *bench = trained(*state, &crew);
        catches_up(bench, &crew, version);
        if (version == 0)
            assert_true(bench_stats(bench)->recalled >= STEPS - 7);
        bench_teardown(state);
        setup(state);
    }
}

/* The coordinator has forgotten too: what it replayed from STEP records alone is recalled. */
static void a_coordinator_started_again_recalls_what_it_left_out(void **state)
{
    struct bench_crew crew;
    struct bench *bench = trained(*state, &crew);
    bench_restart(bench, STEPS);
    catches_up(bench, &crew, STEPS - 2);
    assert_int_equal(bench_stats(bench)->recalled, 2);
}

static void with_controllers(struct run_config *config)
{
    config->kl_controller = RUN_KL_CONTROLLER_PID;
    config->kl_target = 0.2;
    config->kl_kp = 0.1;
    config->kl_ki = 0.05;
    config->kl_kd = 0.2;
    config->kl_smooth = 0.5;
    config->kl_coef_min = 0.001;
    config->kl_coef_max = 2.0;
    config->shapers_n = 2;
    snprintf(config->shapers[0], sizeof config->shapers[0], "meanstd");
    snprintf(config->shapers[1], sizeof config->shapers[1], "minmax");
    config->scorer[1].role = RUN_ROLE_COST;
    config->safety_controller = RUN_SAFETY_CONTROLLER_LAGRANGIAN;
    config->safety_cost = RUN_SAFETY_COST_SCORE;
    config->safety_limit = 0.1;
    config->safety_lr = 0.3;
    config->safety_lambda = 0.5;
    config->safety_lambda_max = 10.0;
    config->safety_window_steps = 3;
}

static void a_recalled_step_is_shaped_by_the_controllers_of_its_time(void **state)
{
    struct bench_crew crew;
    struct bench *bench = *state;
    with_controllers(&bench->config);
    trained(bench, &crew);
    assert_true(first[1].multiplier != first[STEPS - 1].multiplier);
    catches_up(bench, &crew, 0);
}

/* --- what is not the run's ---------------------------------------------------------------- */

static void weights_that_are_not_those_of_the_record_are_refused(void **state)
{
    struct bench_crew crew;
    struct bench *bench = trained(*state, &crew);
    struct message hello = hello_at(1);
    hello.hash.bytes[0] = 77;
    bench->sent_n = 0;
    bench_join(bench, &crew.learner, 31, hello); /* the record has to be read first */
    const struct message *reset = bench_expect(bench, 31, MESSAGE_RESET, 0);
    assert_true(reset->refused);
    assert_string_equal(reset->text, "its weights of version 1 are 4d00000000000000..., the "
                                     "record says 6500000000000000...");
    assert_null(bench_last(bench, 31, MESSAGE_TRAIN_LEASE, 0));
    assert_false(bench->finished);
    catches_up(bench, &crew, 1); /* and the true ones are taken */
}

static void another_result_of_a_recalled_step_ends_the_run(void **state)
{
    struct bench_crew crew;
    struct bench *bench = trained(*state, &crew);
    bench_join(bench, &crew.learner, 31, hello_at(0));
    bench_train(bench, &crew.learner, 0, 55, 0);
    assert_true(bench->finished);
    assert_int_equal(bench->exit_code, CORE_EXIT_HALT);
    assert_string_equal(bench->finish_text,
                        "not reproducible: step 0 trained again by learner-0 gave weights "
                        "3700000000000000..., the record says 6500000000000000...");
}

static struct bench_record *record_of(struct bench *bench, enum record_kind kind, uint64_t step)
{
    for (size_t i = 0; i < bench->records_n; i++) {
        struct bench_record *kept = &bench->records[i];
        if (kept->record.kind == kind &&
            (kind == RECORD_STEP ? kept->step.step : kept->record.a) == step)
            return kept;
    }
    fail_msg("no such record");
    return NULL;
}

static void records_that_give_something_else_end_the_run(void **state)
{
    struct bench_crew crew;
    struct bench *bench = trained(*state, &crew);
    record_of(bench, RECORD_SCORE, 1)->scores[0] += 1.0;
    bench_join(bench, &crew.learner, 31, hello_at(1));
    assert_int_equal(bench->exit_code, CORE_EXIT_HALT);
    assert_non_null(strstr(bench->finish_text, "it was written by another version"));
}

static void records_that_are_not_all_there_end_the_run(void **state)
{
    struct bench_crew crew;
    struct bench *bench = trained(*state, &crew);
    record_of(bench, RECORD_SCORE, 1)->record.kind = RECORD_EVENT; /* handed over to nobody */
    bench_join(bench, &crew.learner, 31, hello_at(1));
    assert_int_equal(bench->exit_code, CORE_EXIT_HALT);
    assert_string_equal(bench->finish_text, "the ledger has not all of step 1: 1 of 2 slots");
}

#define recall_test(f) cmocka_unit_test_setup_teardown(f, setup, bench_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        recall_test(a_learner_at_any_version_is_sent_the_same_steps_again),
        recall_test(a_coordinator_started_again_recalls_what_it_left_out),
        recall_test(a_recalled_step_is_shaped_by_the_controllers_of_its_time),
        recall_test(weights_that_are_not_those_of_the_record_are_refused),
        recall_test(another_result_of_a_recalled_step_ends_the_run),
        recall_test(records_that_give_something_else_end_the_run),
        recall_test(records_that_are_not_all_there_end_the_run),
    };
    return cmocka_run_group_tests_name("coordinator/recall", tests, NULL, NULL);
}

/*
 * test_cli_replay.c -- the replay of cli/replay.h over the records of a core on a bench.
 *
 * Oracles: the core, which made the records; for token rewards their definition (control/
 * reward.h), with the bench's numbers put in by hand; for what is to be refused, records changed
 * here in one place.  tests/sim replays the runs of all its configurations, and tests/e2e/
 * test_replay.c changes every column of a ledger.
 */
#include "cli/replay.h"
#include "control/rollback.h"
#include "tests/unit/core_bench.h"

/* Two slots a step; raw rewards above 2 are set aside. */
static int setup(void **state)
{
    struct bench *bench = bench_new();
    bench->config.steps = 4;
    bench->config.shaper = RUN_SHAPER_MEANSTD;
    bench->config.limit[0] = (struct run_limit){.signal = RUN_SIGNAL_REWARD,
                                                .low = -RUN_LIMIT_NONE,
                                                .high = 2,
                                                .outcome = RUN_TRIP_SKIP};
    bench->config.limits = 1;
    bench->config.breaker_window = 4;
    bench->config.breaker_warmup = 3;
    bench->config.breaker_skips_max = 3;
    bench->config.breaker_cooldown = 2;
    bench->config.breaker_trips_max = 5;
    *state = bench;
    return 0;
}

static int teardown(void **state)
{
    bench_free(*state);
    return 0;
}

static size_t from;

static void begin(struct bench *bench, struct bench_crew *crew)
{
    bench_open(bench);
    bench_start(bench);
    bench_crew_join(bench, crew);
    from = 0;
}

static void work_step(struct bench *bench, struct bench_crew *crew, uint64_t step, double good,
                      unsigned char weights)
{
    bench_crew_work(bench, crew, &from, good, 0.5);
    bench_train(bench, &crew->learner, step, weights, 0);
}

/* Step 1 is set aside, and so keeps the weights of step 0. */
static void run_with_a_step_set_aside(struct bench *bench)
{
    struct bench_crew crew;
    begin(bench, &crew);
    work_step(bench, &crew, 0, 1.0, 101);
    work_step(bench, &crew, 1, 3.0, 101);
    work_step(bench, &crew, 2, 0.5, 103);
    work_step(bench, &crew, 3, 0.25, 104);
    assert_true(bench->finished && bench->exit_code == 0);
}

/* Step 2 is set aside, and goes back to version 1: step 1 was trained on rollouts of that. */
static void run_that_goes_back(struct bench *bench)
{
    struct bench_crew crew;
    bench->config.limit[0].outcome = RUN_TRIP_ROLLBACK;
    bench->config.breaker_restore_every = 1;
    bench->config.breaker_lr_factor = 0.5;
    bench->config.breaker_beta_factor = 4;
    begin(bench, &crew);
    work_step(bench, &crew, 0, 1.0, 101);
    work_step(bench, &crew, 1, 1.0, 102);
    work_step(bench, &crew, 2, 3.0, 101);
    work_step(bench, &crew, 3, 0.25, 104);
    assert_true(bench->finished && bench->exit_code == 0);
}

/* Of step 0, slot 0 has no score in three tries. */
static void run_with_a_drop(struct bench *bench)
{
    struct bench_crew crew;
    begin(bench, &crew);
    for (; from < bench->sent_n; from++) {
        const struct message m = bench->sent[from].message;
        if (m.type == MESSAGE_GENERATE_LEASE)
            bench_generate(bench, &crew.actor, &m, 0, m.items_n);
        if (m.type == MESSAGE_SCORE_LEASE)
            for (uint32_t i = 0; i < m.items_n; i++) {
                struct message one = m;
                one.items = &bench->sent[from].items[i];
                one.items_n = 1;
                bench_score(bench, &crew.reward, &one, 0.5, 0.5,
                            m.items[i].a == 0 && m.items[i].b == 0 ? WIRE_SCORE_FAILED
                                                                   : WIRE_SCORE_OK);
            }
        if (!bench_last(bench, 1, MESSAGE_TRAIN_LEASE, 0) && from + 1 == bench->sent_n)
            bench_tick(bench, 1000);
    }
    bench_train(bench, &crew.learner, 0, 101, 0);
}

static enum err_code replay_first(const struct bench *bench, size_t n,
                                  const struct replay_ops *ops, struct replay_summary *sum,
                                  struct err *err)
{
    struct replay *replay = NULL;
    enum err_code rc =
        replay_new(&replay, &bench->config, &bench_prompts, &bench->tokens, ops, err);
    for (size_t i = 0; i < n && rc == ERR_OK; i++)
        rc = replay_record(replay, &bench->records[i].record, err);
    if (rc == ERR_OK)
        rc = replay_end(replay, sum, err);
    replay_free(replay);
    return rc;
}

static const struct replay_ops silent = {0};

static enum err_code replay_all(const struct bench *bench, struct err *err)
{
    struct replay_summary sum;
    return replay_first(bench, bench->records_n, &silent, &sum, err);
}

/* The n-th record of that kind, from 0. */
static struct bench_record *record_of(struct bench *bench, enum record_kind kind, size_t n)
{
    for (size_t i = 0; i < bench->records_n; i++)
        if (bench->records[i].record.kind == kind && n-- == 0)
            return &bench->records[i];
    fail_msg("there is no such %s", record_kind_name(kind));
    return NULL;
}

/* --- what holds ------------------------------------------------------------------------- */

static void a_run_with_a_step_set_aside_is_derived_again(void **state)
{
    struct bench *bench = *state;
    struct replay_summary sum;
    run_with_a_step_set_aside(bench);
    check_ok(replay_first(bench, bench->records_n, &silent, &sum, &err));
    assert_int_equal(sum.steps, 4);
    assert_int_equal(sum.trained, 6);
    assert_int_equal(sum.dropped, 2);
    assert_int_equal(sum.in_flight, 0);
    assert_int_equal(sum.planned, 8);
    assert_int_equal(sum.records, bench->records_n);
}

static void every_beginning_of_a_ledger_adds_up(void **state)
{
    struct bench *bench = *state;
    run_with_a_drop(bench);
    for (size_t n = 0; n <= bench->records_n; n++) {
        struct replay_summary sum;
        check_ok(replay_first(bench, n, &silent, &sum, &err));
        assert_int_equal(sum.planned, sum.trained + sum.dropped + sum.in_flight);
        assert_int_equal(sum.planned, 2 * (sum.steps + 1));
    }
}

struct seen {
    uint64_t steps, open;
    float reward[2];
    double shaped, raw;
};

static enum err_code keep_slot(void *ctx, const struct replay_step *step, struct err *err)
{
    (void)err;
    struct seen *seen = ctx;
    *(step->recorded ? &seen->steps : &seen->open) += 1;
    if (step->recorded && step->step == 2) {
        memcpy(seen->reward, step->slot[1].token_reward, sizeof seen->reward);
        seen->raw = step->slot[1].raw;
        seen->shaped = step->slot[1].shaped;
        assert_int_equal(step->slot[1].state, REPLAY_TRAINED);
        assert_int_equal(step->slot[1].ids[0], 3);
        assert_null(step->slot[1].token_cost);
    }
    return ERR_OK;
}

/* Step 2: raw 0.5 + 0.5 * 0.5; step 0 was trained on 1.25 twice, step 1 on nothing, so meanstd
 * takes 1.25 off and has no deviation to divide by.  Each token is 0.25 nats off. */
static void a_tokens_reward_is_what_its_definition_says(void **state)
{
    struct bench *bench = *state;
    struct replay_summary sum;
    struct seen seen = {0};
    run_with_a_step_set_aside(bench);
    const struct replay_ops ops = {.on_step = keep_slot, .ctx = &seen};
    check_ok(replay_first(bench, bench->records_n, &ops, &sum, &err));
    assert_int_equal(seen.steps, 4);
    assert_int_equal(seen.open, 0);
    check_near(seen.raw, 0.75, 0.0);
    check_near(seen.reward[0], -0.1 * 0.25, 1e-8);
    check_near(seen.shaped, -0.5, 0.0);
    check_near(seen.reward[1], -0.1 * 0.25 - 0.5, 1e-7);
}

/* --- what is noticed ---------------------------------------------------------------------- */

static void weights_that_change_in_a_step_set_aside_are_noticed(void **state)
{
    struct bench *bench = *state;
    run_with_a_step_set_aside(bench);
    record_of(bench, RECORD_STEP, 1)->step.weights.bytes[0] = 102;
    check_fails(replay_all(bench, &err), ERR_VALUE,
                "step 1: weights: it was set aside, and yet they changed");
}

static void a_step_that_was_set_aside_and_is_recorded_as_trained_is_noticed(void **state)
{
    struct bench *bench = *state;
    run_with_a_step_set_aside(bench);
    struct record_step *step = &record_of(bench, RECORD_STEP, 1)->step;
    step->trained = 2;
    step->dropped[RECORD_REASON_QUARANTINED] = 0;
    check_fails(replay_all(bench, &err), ERR_VALUE,
                "step 1: dropped.quarantined: the ledger has 0, derived is 2");
}

static void the_state_of_the_breaker_is_derived(void **state)
{
    struct bench *bench = *state;
    run_with_a_step_set_aside(bench);
    struct record_step *step = &record_of(bench, RECORD_STEP, 2)->step;
    step->controller[step->controller_n - 1] = 0.5;
    check_fails(replay_all(bench, &err), ERR_VALUE, "step 2: controller breaker[");
    step->controller[step->controller_n - 1] = 0.0;
    step->controller[3] += 1.0; /* behind kl's three */
    check_fails(replay_all(bench, &err), ERR_VALUE,
                "step 2: controller shapers[0]: the ledger");
}

static void a_step_that_goes_back_is_derived_again(void **state)
{
    struct bench *bench = *state;
    struct replay_summary sum;
    run_that_goes_back(bench);
    check_ok(replay_first(bench, bench->records_n, &silent, &sum, &err));
    assert_int_equal(sum.trained, 6);
    assert_int_equal(sum.dropped, 2);
    const struct record_step *back = &record_of(bench, RECORD_STEP, 2)->step;
    check_near(back->kl_coef_before, 0.4, 1e-12); /* 0.1, four times */
    check_near(back->kl_coef_after, 0.4, 1e-12);
}

static void what_a_step_went_back_to_is_derived(void **state)
{
    struct bench *bench = *state;
    run_that_goes_back(bench);
    struct record_step *back = &record_of(bench, RECORD_STEP, 2)->step;
    back->weights.bytes[0] = 102;
    check_fails(replay_all(bench, &err), ERR_VALUE,
                "step 2: weights: they are not those of the version it goes back to");
    back->weights.bytes[0] = 101;
    back->controller[back->controller_n - ROLLBACK_STATE_N] = 2.0;
    check_fails(replay_all(bench, &err), ERR_VALUE,
                "step 2: controller rollback[0]: the ledger has 2, derived is 1");
    back->controller[back->controller_n - ROLLBACK_STATE_N] = 1.0;
    check_ok(replay_all(bench, &err));
    back->kl_coef_before = 0.1;
    check_fails(replay_all(bench, &err), ERR_VALUE, "step 2: kl_coef_before: the ledger has");
}

static void a_drop_for_another_reason_is_noticed(void **state)
{
    struct bench *bench = *state;
    run_with_a_drop(bench);
    check_ok(replay_all(bench, &err));
    struct record *drop = &record_of(bench, RECORD_DROP, 0)->record;
    drop->reason = RECORD_REASON_SCORE_TIMEOUT;
    check_fails(replay_all(bench, &err), ERR_VALUE,
                "step 0: dropped.score_failed: the ledger has 1, derived is 0");
    drop->reason = RECORD_REASON_QUARANTINED;
    check_fails(replay_all(bench, &err), ERR_VALUE, "drop of step 0, slot 0: a slot alone");
    drop->reason = RECORD_REASON_SCORE_FAILED;
    drop->prompt++;
    check_fails(replay_all(bench, &err), ERR_VALUE, "drop of step 0, slot 0: its prompt");
}

static void a_slot_is_generated_scored_and_dropped_once(void **state)
{
    struct bench *bench = *state;
    run_with_a_drop(bench);
    static const enum record_kind kinds[] = {RECORD_ROLLOUT, RECORD_SCORE, RECORD_DROP};
    static const char *const words[] = {"generated, or dropped, before",
                                        "none that waits for a score",
                                        "dropped, or scored, before"};
    for (size_t i = 0; i < COUNT(kinds); i++) {
        struct replay *replay = NULL;
        check_ok(
            replay_new(&replay, &bench->config, &bench_prompts, &bench->tokens, &silent, &err));
        struct err why = {0};
        struct bench_record *twice = record_of(bench, kinds[i], 0);
        const uint64_t seq = twice->record.seq;
        for (size_t r = 0; r < seq; r++)
            check_ok(replay_record(replay, &bench->records[r].record, &err));
        twice->record.seq++;
        assert_int_equal(replay_record(replay, &twice->record, &why), ERR_VALUE);
        if (!strstr(why.text, words[i]))
            fail_msg("it said: %s", why.text);
        twice->record.seq = seq;
        replay_free(replay);
    }
}

static void a_step_with_a_slot_that_is_neither_scored_nor_dropped_is_noticed(void **state)
{
    struct bench *bench = *state;
    run_with_a_drop(bench);
    struct bench_record *drop = record_of(bench, RECORD_DROP, 0);
    drop->record.kind = RECORD_EVENT;
    check_fails(replay_all(bench, &err), ERR_VALUE,
                "step 0: a slot of it was neither scored nor dropped");
}

static void a_slot_left_alone_in_its_group_is_noticed(void **state)
{
    struct bench *bench = *state;
    bench->config.batch = 4;
    bench->config.samples_per_prompt = 2;
    bench->config.estimator = RUN_ESTIMATOR_RLOO;
    run_with_a_drop(bench);
    check_ok(replay_all(bench, &err));
    struct bench_record *alone = record_of(bench, RECORD_DROP, 1);
    assert_int_equal(alone->record.reason, RECORD_REASON_GROUP_TOO_SMALL);
    alone->record.kind = RECORD_EVENT;
    check_fails(replay_all(bench, &err), ERR_VALUE,
                "step 0: one slot of a group is left, and it was not dropped");
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(a_run_with_a_step_set_aside_is_derived_again),
        CASE(every_beginning_of_a_ledger_adds_up),
        CASE(a_tokens_reward_is_what_its_definition_says),
        CASE(weights_that_change_in_a_step_set_aside_are_noticed),
        CASE(a_step_that_was_set_aside_and_is_recorded_as_trained_is_noticed),
        CASE(the_state_of_the_breaker_is_derived),
        CASE(a_step_that_goes_back_is_derived_again),
        CASE(what_a_step_went_back_to_is_derived),
        CASE(a_drop_for_another_reason_is_noticed),
        CASE(a_slot_is_generated_scored_and_dropped_once),
        CASE(a_step_with_a_slot_that_is_neither_scored_nor_dropped_is_noticed),
        CASE(a_slot_left_alone_in_its_group_is_noticed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

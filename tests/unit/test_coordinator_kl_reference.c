/*
 * test_coordinator_kl_reference.c -- what the coordinator asks to be measured from which version,
 * and what it makes of the answers.
 *
 * The oracle is control/kl_reference.h for a run without rollbacks: with a lag of 1 and a renewal
 * every 3 versions, step s is measured from version max(0, s - 1) rounded down to a multiple of 3.
 * Rollbacks are in the simulator, which has the definition, and in tests/e2e.
 */
#include <stddef.h>

#include "control/breaker.h"
#include "tests/unit/core_bench.h"

#define STEPS 9

static int setup(void **state)
{
    struct bench *bench = bench_new();
    bench->config.lag = 1;
    bench->config.steps = STEPS + 1;
    bench->config.checkpoint_every = 2;
    bench->config.kl_reference_every = 3;
    *state = bench;
    return 0;
}

static uint64_t reference_of(uint64_t step)
{
    const uint64_t version = step > 1 ? step - 1 : 0;
    return version - version % 3;
}

static void begin(struct bench *bench, struct bench_crew *crew)
{
    bench_open(bench);
    bench_start(bench);
    bench_crew_join(bench, crew);
}

static void train(struct bench *bench, struct bench_crew *crew, size_t *from, uint64_t steps)
{
    for (uint64_t s = bench_stats(bench)->trained; s < steps; s++) {
        bench_crew_work(bench, crew, from, 1.0, 0.5);
        bench_train(bench, &crew->learner, s, (unsigned char)(101 + s), s / 2 * 2);
    }
    bench_crew_work(bench, crew, from, 1.0, 0.5);
    assert_int_equal(bench_stats(bench)->trained, steps);
}

static const struct record_step *step_of(const struct bench *bench, uint64_t step)
{
    for (size_t i = 0; i < bench->records_n; i++)
        if (bench->records[i].record.kind == RECORD_STEP && bench->records[i].step.step == step)
            return &bench->records[i].step;
    fail_msg("step %llu is not recorded", (unsigned long long)step);
    return NULL;
}

static void a_lease_names_what_its_rollouts_are_measured_from(void **state)
{
    struct bench *bench = *state;
    struct bench_crew crew;
    size_t from = 0, slots = 0;
    begin(bench, &crew);
    train(bench, &crew, &from, STEPS);
    for (size_t i = 0; i < bench->sent_n; i++) {
        const struct message *lease = &bench->sent[i].message;
        for (uint32_t k = 0; lease->type == MESSAGE_SCORE_LEASE && k < lease->items_n; k++) {
            if (lease->items[k].kind != WIRE_WORK_ROLLOUT)
                continue;
            slots++;
            assert_int_equal(lease->version, reference_of(lease->items[k].a));
            assert_string_equal(lease->text, lease->version > 0 ? "ipc://bulk" : "");
        }
    }
    assert_int_equal(slots, 2 * (STEPS + 1));
    for (uint64_t s = 0; s < STEPS; s++)
        assert_int_equal(step_of(bench, s)->kl_reference_version, reference_of(s));
    assert_true(bench_said(bench, "version 6 is what KL is measured from"));
}

/* Beta moves from 0.1 on, and is 0.1 again in the steps 4 and 7, the first measured from 3 and
 * 6. */
static void with_another_reference_the_controller_begins_again(void **state)
{
    struct bench *bench = *state;
    struct bench_crew crew;
    size_t from = 0;
    bench->config.kl_controller = RUN_KL_CONTROLLER_ADAPTIVE;
    bench->config.kl_target = 6;
    bench->config.kl_horizon = 20;
    begin(bench, &crew);
    train(bench, &crew, &from, STEPS);
    for (uint64_t s = 0; s < STEPS; s++) {
        const struct record_step *step = step_of(bench, s);
        const bool first = s == 0 || reference_of(s) != reference_of(s - 1);
        assert_true((step->kl_coef_before == 0.1) == first);
        if (!first)
            assert_true(step->kl_coef_before == step_of(bench, s - 1)->kl_coef_after);
    }
}

/* By a relative limit on the KL alone: without a window of its own each new reference would find
 * one, and the medians say nothing before three steps. */
static void the_breaker_forgets_what_kl_was(void **state)
{
    struct bench *bench = *state;
    struct bench_crew crew;
    size_t from = 0;
    bench->config.kl_reference_every = 4;
    bench->config.limit[0] = (struct run_limit){.signal = RUN_SIGNAL_KL,
                                                .low = -RUN_LIMIT_NONE,
                                                .high = RUN_LIMIT_NONE,
                                                .ratio = 100,
                                                .outcome = RUN_TRIP_HALT};
    bench->config.limits = 1;
    bench->config.breaker_window = bench->config.breaker_warmup = 3;
    bench->config.breaker_cooldown = 1;
    bench->config.breaker_trips_max = 5;
    begin(bench, &crew);
    train(bench, &crew, &from, STEPS);
    const uint32_t n = step_of(bench, 0)->controller_n;
    const size_t seen = n - BREAKER_STATE_N +
                        offsetof(struct breaker_state, seen) / sizeof(double) +
                        BREAKER_SIGNAL_KL;
    static const double want[STEPS] = {1, 2, 3, 3, 3, 1, 2, 3, 3}; /* step 5 is of version 4 */
    for (uint64_t s = 0; s < STEPS; s++)
        assert_true(step_of(bench, s)->controller[seen] == want[s]);
}

static void what_is_measured_from_another_version_is_refused(void **state)
{
    struct bench *bench = *state;
    struct bench_crew crew;
    size_t from = 0;
    begin(bench, &crew);
    train(bench, &crew, &from, 3);
    const uint64_t refused = bench_stats(bench)->refused;
    bench_train(bench, &crew.learner, 3, 104, 2);
    struct message lease = {0};
    for (; from < bench->sent_n; from++) { /* step 5's: of version 4, measured from 3 */
        const struct message *m = &bench->sent[from].message;
        if (m->type == MESSAGE_GENERATE_LEASE)
            bench_generate(bench, &crew.actor, m, 0, m->items_n);
        if (m->type != MESSAGE_SCORE_LEASE)
            continue;
        lease = *m;
        assert_int_equal(lease.version, 3);
        lease.version = 0;
        bench_score(bench, &crew.reward, &lease, 1.0, 0.5, WIRE_SCORE_OK);
    }
    const uint64_t scored = bench_stats(bench)->scored;
    assert_int_equal(bench_stats(bench)->refused - refused, 2);
    assert_true(
        bench_said(bench, "measured slot 5/0 from version 0, its reference is version 3"));
    lease.version = 3; /* it is still welcome from who has the reference */
    bench_score(bench, &crew.reward, &lease, 1.0, 0.5, WIRE_SCORE_OK);
    assert_int_equal(bench_stats(bench)->scored, scored + 2);
}

/* A learner that is behind has not come to the reference yet. */
static void a_lease_waits_for_a_learner_that_has_its_reference(void **state)
{
    struct bench *bench = *state;
    struct bench_crew crew;
    size_t from = 0;
    begin(bench, &crew);
    train(bench, &crew, &from, 3);
    bench_train(bench, &crew.learner, 3, 104, 2);
    for (; from < bench->sent_n; from++)
        if (bench->sent[from].message.type == MESSAGE_GENERATE_LEASE) {
            struct message hello = bench_hello(WIRE_ROLE_LEARNER, "learner-0");
            const struct message lease = bench->sent[from].message;
            hello.version = 2;
            hello.nonce[0] = 9;
            hello.hash.bytes[0] = 102;
            bench_join(bench, &crew.learner, 31, hello);
            bench_generate(bench, &crew.actor, &lease, 0, lease.items_n);
            break;
        }
    const size_t since = bench->sent_n;
    bench_tick(bench, 50);
    assert_null(bench_last(bench, 0, MESSAGE_SCORE_LEASE, since));
    bench_train(bench, &crew.learner, 2, 103, 2);
    bench_train(bench, &crew.learner, 3, 104, 2);
    assert_int_equal(bench_expect(bench, 0, MESSAGE_SCORE_LEASE, since)->version, 3);
}

/* From STEP records alone, from all records, and out of the ledger again. */
static void a_reference_is_found_in_the_ledger_again(void **state)
{
    (void)state;
    for (uint64_t checkpoint = 1; checkpoint <= STEPS; checkpoint++) {
        void *fresh;
        setup(&fresh);
        struct bench *bench = fresh;
        struct bench_crew crew;
        size_t from = 0;
        begin(bench, &crew);
        train(bench, &crew, &from, STEPS);
        bench_restart(bench, checkpoint);
        bench->sent_n = from = 0; /* and the learner comes back with version 0 */
        bench_crew_join(bench, &crew);
        for (uint64_t s = 0; s < STEPS; s++) {
            assert_int_equal(bench_expect(bench, 1, MESSAGE_TRAIN_LEASE, 0)->step, s);
            bench->sent_n = 0;
            bench_train(bench, &crew.learner, s, (unsigned char)(101 + s), 0);
        }
        assert_false(bench->finished);
        bench_crew_work(bench, &crew, &from, 1.0, 0.5);
        bench_train(bench, &crew.learner, STEPS, 120, 0);
        assert_int_equal(step_of(bench, STEPS)->kl_reference_version, reference_of(STEPS));
        bench_free(bench);
    }
}

static void a_ledger_that_says_another_is_refused(void **state)
{
    struct bench *bench = *state;
    struct bench_crew crew;
    size_t from = 0, i = 0;
    begin(bench, &crew);
    train(bench, &crew, &from, STEPS);
    core_free(bench->core);
    bench_open(bench);
    check_ok(core_replay_begin(bench->core, STEPS, &err));
    while (bench->records[i].record.kind != RECORD_STEP || bench->records[i].step.step != 4)
        check_ok(core_replay(bench->core, &bench->records[i++].record, &err));
    bench->records[i].step.kl_reference_version = 0;
    check_fails(
        core_replay(bench->core, &bench->records[i].record, &err), ERR_STATE,
        "the ledger's step 4 measured KL from version 0, by the steps before it that is 3");
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, bench_teardown)
    const struct CMUnitTest tests[] = {
        CASE(a_lease_names_what_its_rollouts_are_measured_from),
        CASE(with_another_reference_the_controller_begins_again),
        CASE(the_breaker_forgets_what_kl_was),
        CASE(what_is_measured_from_another_version_is_refused),
        CASE(a_lease_waits_for_a_learner_that_has_its_reference),
        CASE(a_reference_is_found_in_the_ledger_again),
        CASE(a_ledger_that_says_another_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

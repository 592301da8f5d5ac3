/*
 * test_coordinator_rollback.c -- steps that go back to an older version, what they leave behind,
 * and their replay.
 *
 * The oracle is core.h's text and control/rollback.h's picture, for limits that a person can hold
 * against the numbers of the bench.  Which version it is has its tests in
 * test_control_rollback.c, and among faults in the simulator.
 */
#include "tests/unit/core_bench.h"

/* A gradient above 20 goes back, raw rewards above 2 are set aside. */
static int setup(void **state)
{
    struct bench *bench = bench_new();
    struct run_config *config = &bench->config;
    config->steps = 12;
    config->checkpoint_every = 12;
    config->limit[0] = (struct run_limit){.signal = RUN_SIGNAL_REWARD,
                                          .low = -RUN_LIMIT_NONE,
                                          .high = 2,
                                          .outcome = RUN_TRIP_SKIP};
    config->limit[1] = (struct run_limit){
        .signal = RUN_SIGNAL_GRAD_NORM, .low = -1, .high = 20, .outcome = RUN_TRIP_ROLLBACK};
    config->limits = 2;
    config->breaker_window = 4;
    config->breaker_warmup = 3;
    config->breaker_skips_max = 1;
    config->breaker_cooldown = 2;
    config->breaker_trips_max = 5;
    config->breaker_restore_every = 3;
    config->breaker_lr_factor = 0.5;
    config->breaker_beta_factor = 4;
    *state = bench;
    return 0;
}

struct scene {
    struct bench *bench;
    struct bench_crew crew;
    size_t from;
};

static struct scene begun(void **state)
{
    struct scene scene = {.bench = *state};
    bench_open(scene.bench);
    bench_start(scene.bench);
    bench_crew_join(scene.bench, &scene.crew);
    return scene;
}

static const struct message *lease_of(struct scene *scene, uint64_t step, double raw)
{
    bench_crew_work(scene->bench, &scene->crew, &scene->from, raw, 0.0);
    const struct message *lease = bench_expect(scene->bench, 0, MESSAGE_TRAIN_LEASE, 0);
    assert_int_equal(lease->step, step);
    return lease;
}

static void train(struct scene *scene, uint64_t step, unsigned char weights, double grad_norm)
{
    struct wire_stat stat = {.name = "grad_norm", .value = grad_norm};
    struct message result = {.type = MESSAGE_TRAIN_RESULT,
                             .step = step,
                             .version = step + 1,
                             .has_hash = true,
                             .stats = &stat,
                             .stats_n = grad_norm > 0};
    result.hash.bytes[0] = weights;
    bench_send(scene->bench, &scene->crew.learner, result);
}

/* Steps from..to-1, of which nothing is to be said: version v has weights 100 + v. */
static void train_clean(struct scene *scene, uint64_t from, uint64_t to)
{
    for (uint64_t s = from; s < to; s++) {
        assert_int_equal(lease_of(scene, s, 1.5)->items_n, 2);
        train(scene, s, (unsigned char)(101 + s), 1.0);
    }
}

/* Four steps, the fourth with a gradient too great; the lease of the fifth goes back. */
static const struct message *gone_back(struct scene *scene)
{
    train_clean(scene, 0, 3);
    assert_true(lease_of(scene, 3, 1.5)->items_n == 2);
    train(scene, 3, 104, 50.0);
    return lease_of(scene, 4, 1.5);
}

static const struct record *last_event(const struct bench *bench, const char *id)
{
    for (size_t i = bench->records_n; i > 0; i--)
        if (bench->records[i - 1].record.kind == RECORD_EVENT &&
            strcmp(bench->records[i - 1].id, id) == 0)
            return &bench->records[i - 1].record;
    fail_msg("there is no event %s", id);
    return NULL;
}

static void a_step_goes_back_to_the_newest_good_restore_point(void **state)
{
    struct scene scene = begun(state);
    const struct message *lease = gone_back(&scene);
    assert_true(lease->restore && lease->items_n == 0);
    assert_true(lease->base_version == 3 && lease->target_version == 3);
    assert_true(lease->lr_scale == 0.5);
    train(&scene, 4, 103, 0.0); /* the weights of version 3 */

    const struct core_stats *stats = bench_stats(scene.bench);
    assert_true(stats->trained == 5 && stats->rollbacks == 1 && stats->rollback_base == 3);
    assert_int_equal(stats->dropped[RECORD_REASON_QUARANTINED], 2);
    assert_int_equal(stats->last.weights.bytes[0], 103);
    assert_string_equal(stats->trip_signal, "grad_norm");
    assert_string_equal(last_event(scene.bench, "ROLLBACK")->text,
                        "step 4: grad_norm is 50, above 20 (high): back to version 3, learning "
                        "rate times 0.5, beta times 4; nothing is trained on its 2 slots");
    lease = lease_of(&scene, 5, 1.5); /* without lag nothing is left behind */
    assert_true(!lease->restore && lease->items_n == 2 && lease->behaviour_version == 5);
}

static void a_learner_that_goes_elsewhere_is_not_believed(void **state)
{
    static const unsigned char elsewhere[] = {104, 102, 100};
    (void)state;
    for (size_t i = 0; i < COUNT(elsewhere); i++) {
        void *fresh;
        setup(&fresh);
        struct scene scene = begun(&fresh);
        gone_back(&scene);
        train(&scene, 4, elsewhere[i], 0.0);
        assert_true(scene.bench->finished && scene.bench->exit_code == CORE_EXIT_HALT);
        assert_non_null(strstr(scene.bench->finish_text, "not reproducible: step 4"));
        bench_free(scene.bench);
    }
}

/* A learner that was killed between its last step and saying so says it in its HELLO. */
static void a_learner_that_went_elsewhere_before_it_was_killed_is_not_let_in(void **state)
{
    (void)state;
    for (unsigned char weights = 103; weights <= 104; weights++) {
        void *fresh;
        setup(&fresh);
        struct scene scene = begun(&fresh);
        struct message hello = bench_hello(WIRE_ROLE_LEARNER, "learner-0");
        gone_back(&scene);
        hello.version = 5;
        hello.hash.bytes[0] = weights;
        if (weights == 103) { /* those of version 3 */
            bench_join(scene.bench, &scene.crew.learner, 50, hello);
        } else {
            struct bench_worker worker = {.peer = 50};
            bench_send(scene.bench, &worker, hello);
            const struct message *reset = bench_expect(scene.bench, 50, MESSAGE_RESET, 0);
            assert_true(reset->refused);
            assert_string_equal(reset->text,
                                "its weights of version 5 are 6800000000000000..., the record "
                                "says 6700000000000000...");
        }
        bench_free(scene.bench);
    }
}

static void version_0_can_be_gone_back_to(void **state)
{
    struct scene scene = begun(state);
    train_clean(&scene, 0, 1);
    lease_of(&scene, 1, 1.5);
    train(&scene, 1, 102, 50.0);
    const struct message *lease = lease_of(&scene, 2, 1.5);
    assert_true(lease->restore && lease->base_version == 0);
    train(&scene, 2, 100, 0.0);
    assert_int_equal(bench_stats(scene.bench)->trained, 3);
}

/* beta is the controller's times the scale, in the rewards and in the record: 0.1, 0.4 from the
 * rollback on, 0.1 when two clean steps have closed the breaker. */
static void scales_are_in_force_until_the_breaker_closes(void **state)
{
    struct scene scene = begun(state);
    gone_back(&scene);
    train(&scene, 4, 103, 0.0);
    check_near(bench_stats(scene.bench)->last.kl_coef_before, 0.4, 1e-15);
    check_near(bench_stats(scene.bench)->kl_coef, 0.4, 1e-15);
    static const double beta[] = {0.4, 0.1, 0.1}, lr[] = {0.5, 1.0, 1.0};
    for (uint64_t s = 5; s < 8; s++) {
        const struct message *lease = lease_of(&scene, s, 1.5);
        assert_true(lease->lr_scale == lr[s - 5]);
        /* the first token: -beta (logp - logref) with logp -0.5, logref -0.75 */
        check_near((double)((const float *)lease->frame[2].data)[0], -beta[s - 5] * 0.25, 1e-7);
        train(&scene, s, (unsigned char)(104 + s), 1.0);
        check_near(bench_stats(scene.bench)->last.kl_coef_before, beta[s - 5], 1e-15);
    }
    assert_false(bench_stats(scene.bench)->breaker_cooling);
}

/* Wherever beta stands: in the loss, and with the other sign in the costs. */
static void the_scale_of_beta_is_everywhere(void **state)
{
    (void)state;
    for (int in_loss = 0; in_loss < 2; in_loss++) {
        void *fresh;
        setup(&fresh);
        struct run_config *config = &((struct bench *)fresh)->config;
        config->kl_place = in_loss ? RUN_KL_PLACE_LOSS : RUN_KL_PLACE_REWARD;
        config->scorer[1].role = RUN_ROLE_COST;
        config->safety_controller = RUN_SAFETY_CONTROLLER_FIXED;
        config->safety_lambda = 0.5;
        config->safety_window_steps = 1;
        struct scene scene = begun(&fresh);
        gone_back(&scene);
        train(&scene, 4, 103, 0.0);
        const struct message *lease = lease_of(&scene, 5, 1.5);
        const float *reward = lease->frame[2].data, *cost = lease->frame[4].data;
        check_near(lease->kl_coef, in_loss ? 0.4 : 0.0, 1e-15);
        check_near((double)reward[0], in_loss ? 0.0 : -0.1, 1e-7);
        check_near((double)cost[0], in_loss ? 0.0 : 0.1, 1e-7);
        bench_free(scene.bench);
    }
}

/* With a lag of 2 step 6 goes back from what step 5 told; steps 7 and 8 were generated by
 * versions 5 and 6, which are of the run no more, and step 9 by version 7, which is. */
static void rollouts_of_versions_left_behind_are_not_trained_on(void **state)
{
    struct bench *bench = *state;
    bench->config.lag = 2;
    struct scene scene = begun(state);
    train_clean(&scene, 0, 5);
    lease_of(&scene, 5, 1.5);
    train(&scene, 5, 106, 50.0);
    const struct message *lease = lease_of(&scene, 6, 2.5); /* the rewards of step 8 */
    assert_true(lease->restore && lease->base_version == 3);
    train(&scene, 6, 103, 0.0);
    for (uint64_t s = 7; s < 9; s++) {
        lease = lease_of(&scene, s, 1.5);
        assert_true(!lease->restore && lease->items_n == 0);
        train(&scene, s, 103, 0.0);
    }
    lease = lease_of(&scene, 9, 1.5);
    assert_true(lease->items_n == 2 && lease->behaviour_version == 7);
    const struct core_stats *stats = bench_stats(bench);
    assert_int_equal(stats->dropped[RECORD_REASON_QUARANTINED], 2);
    assert_int_equal(stats->dropped[RECORD_REASON_ROLLED_BACK], 4);
    check_near(stats->last.reward_raw_mean, 2.5, 1e-12); /* and not looked at: */
    assert_int_equal(stats->breaker_trips, 1);
    assert_string_equal(last_event(bench, "LEFT-BEHIND")->text,
                        "step 8: its rollouts are of version 6, which was left behind: nothing "
                        "is trained on its 2 slots");
}

/* As bench_score, for one lease of rollouts, but far from the reference: 17.75 nats a sequence. */
static void score_far(struct scene *scene, const struct message *lease)
{
    double scores[16];
    unsigned char states[16];
    float ref[16];
    for (uint32_t i = 0; i < 2 * lease->items_n; i++) {
        scores[i] = i % 2 ? 0.0 : 1.5;
        states[i] = WIRE_SCORE_OK;
        ref[i] = i % 2 ? -8.5f : -10.0f;
    }
    bench_send(scene->bench, &scene->crew.reward,
               (struct message){.type = MESSAGE_SCORE_RESULT,
                                .lease = lease->lease,
                                .scorers = 2,
                                .items = lease->items,
                                .items_n = lease->items_n,
                                .frames_n = 3,
                                .frame = {{scores, 16u * lease->items_n},
                                          {states, 2u * lease->items_n},
                                          {ref, 8u * lease->items_n}}});
}

/* What was left behind may be past the cap: it is not the run's policy any more. */
static void the_cap_is_not_for_what_was_left_behind(void **state)
{
    struct bench *bench = *state;
    bench->config.lag = 1;
    bench->config.kl_cap = 5;
    struct scene scene = begun(state);
    train_clean(&scene, 0, 3);
    lease_of(&scene, 3, 1.5);
    train(&scene, 3, 104, 50.0);
    for (; scene.from < bench->sent_n; scene.from++) { /* the rollouts of step 5 */
        const struct message *m = &bench->sent[scene.from].message;
        if (m->type == MESSAGE_GENERATE_LEASE)
            bench_generate(bench, &scene.crew.actor, m, 0, m->items_n);
        else if (m->type == MESSAGE_SCORE_LEASE)
            score_far(&scene, m);
    }
    assert_true(lease_of(&scene, 4, 1.5)->restore);
    train(&scene, 4, 100, 0.0);
    assert_int_equal(lease_of(&scene, 5, 1.5)->items_n, 0);
    train(&scene, 5, 100, 0.0);
    check_near(bench_stats(bench)->last.kl_mean, 17.75, 1e-5);
    assert_int_equal(bench_stats(bench)->dropped[RECORD_REASON_ROLLED_BACK], 2);
    assert_false(bench->finished);
}

static void too_many_set_aside_in_a_row_go_back(void **state)
{
    struct scene scene = begun(state);
    train_clean(&scene, 0, 1);
    const struct message *lease = lease_of(&scene, 1, 2.5);
    assert_true(lease->items_n == 0 && !lease->restore);
    train(&scene, 1, 101, 0.0);
    lease = lease_of(&scene, 2, 2.5);
    assert_true(lease->items_n == 0 && lease->restore && lease->base_version == 0);
}

/* The restore points get a checkpoint, whatever checkpoint.every says. */
static void restore_points_are_written(void **state)
{
    struct bench *bench = *state;
    bench->config.checkpoint_every = 7;
    struct scene scene = begun(state);
    for (uint64_t s = 0; s < 8; s++) {
        assert_int_equal(lease_of(&scene, s, 1.5)->checkpoint, s == 2 || s == 5 || s == 6);
        train(&scene, s, (unsigned char)(101 + s), 1.0);
    }
}

/* Undisturbed, and killed where the first steps are known from their STEP records alone or from
 * all: the same leases and the same states to the last bit. */
static void a_rollback_survives_its_coordinator(void **state)
{
    (void)state;
    struct record_step want = {0};
    for (uint64_t checkpoint = 0; checkpoint <= 6; checkpoint++) {
        void *fresh;
        setup(&fresh);
        struct scene scene = begun(&fresh);
        gone_back(&scene);
        train(&scene, 4, 103, 0.0);
        lease_of(&scene, 5, 1.5);
        train(&scene, 5, 111, 30.0); /* and once more */
        if (checkpoint > 0) {
            struct message hello = bench_hello(WIRE_ROLE_LEARNER, "learner-0");
            bench_restart(scene.bench, checkpoint);
            hello.version = 6;
            hello.hash.bytes[0] = 111;
            scene.from = scene.bench->sent_n;
            bench_join(scene.bench, &scene.crew.learner, 1, hello);
            bench_join(scene.bench, &scene.crew.actor, 2,
                       bench_hello(WIRE_ROLE_ACTOR, "actor-0"));
            bench_join(scene.bench, &scene.crew.reward, 3,
                       bench_hello(WIRE_ROLE_REWARD, "reward-0"));
        }
        const struct message *lease = lease_of(&scene, 6, 1.5);
        assert_true(lease->restore && lease->base_version == 3 && lease->lr_scale == 0.25);
        train(&scene, 6, 103, 0.0);
        const struct record_step got = bench_stats(scene.bench)->last;
        if (checkpoint == 0)
            want = got;
        assert_int_equal(got.controller_n, want.controller_n);
        assert_memory_equal(got.controller, want.controller, got.controller_n * sizeof(double));
        assert_true(bench_stats(scene.bench)->rollbacks == 2);
        bench_free(scene.bench);
    }
}

/* A learner that lost its memory is sent a step that went back as it was sent before. */
static void a_step_that_went_back_is_sent_again_as_such(void **state)
{
    struct scene scene = begun(state);
    gone_back(&scene);
    train(&scene, 4, 103, 0.0);
    struct message hello = bench_hello(WIRE_ROLE_LEARNER, "learner-0");
    hello.version = 4;
    hello.hash.bytes[0] = 104;
    for (int restarts = 0; restarts < 2; restarts++) {
        const size_t since = scene.bench->sent_n;
        bench_join(scene.bench, &scene.crew.learner, 50 + (uint64_t)restarts, hello);
        const struct message *again = bench_expect(scene.bench, 0, MESSAGE_TRAIN_LEASE, since);
        assert_true(again->step == 4 && again->restore && again->base_version == 3);
        assert_true(again->lr_scale == 0.5);
        bench_restart(scene.bench, 0);
    }
}

/* What matters of the leases of a run with two rollbacks and of no others kept: step 4 goes back
 * to version 3, step 7 to 6, and is shaped by other betas in between. */
#define TWICE_STEPS 12
static const unsigned char twice_weights[TWICE_STEPS] = {101, 102, 103, 104, 103, 106,
                                                         107, 106, 109, 110, 111, 112};

struct told {
    bool restore;
    uint64_t base, target;
    double lr_scale;
    uint32_t items_n;
    float reward; /* of the first token */
};

static struct told told_by(const struct message *lease)
{
    return (struct told){.restore = lease->restore,
                         .base = lease->base_version,
                         .target = lease->target_version,
                         .lr_scale = lease->lr_scale,
                         .items_n = lease->items_n,
                         .reward = lease->items_n ? *(const float *)lease->frame[2].data : 0};
}

static void check_told(const struct told *got, const struct told *want)
{
    assert_true(got->restore == want->restore && got->base == want->base &&
                got->target == want->target && got->lr_scale == want->lr_scale &&
                got->items_n == want->items_n && got->reward == want->reward);
}

/* Whoever comes back at any version is told what the first was told, out of the ledger too; and
 * what a rollback would do now has not moved. */
static void old_steps_that_went_back_are_recalled_as_they_were(void **state)
{
    (void)state;
    for (uint64_t version = 0; version < TWICE_STEPS; version++) {
        void *fresh;
        setup(&fresh);
        struct bench *bench = fresh;
        struct told first[TWICE_STEPS];
        bench->config.steps = TWICE_STEPS + 1;
        bench->config.checkpoint_every = 2;
        struct scene scene = begun(&fresh);
        for (uint64_t s = 0; s < TWICE_STEPS; s++) {
            first[s] = told_by(lease_of(&scene, s, 1.5));
            struct message result = {.type = MESSAGE_TRAIN_RESULT,
                                     .step = s,
                                     .version = s + 1,
                                     .has_hash = true,
                                     .checkpoint_version = s / 2 * 2,
                                     .stats = &(struct wire_stat){.name = "grad_norm",
                                                                  .value = s == 3   ? 50
                                                                           : s == 6 ? 30
                                                                                    : 1},
                                     .stats_n = !first[s].restore};
            result.hash.bytes[0] = twice_weights[s];
            bench_send(bench, &scene.crew.learner, result);
        }
        assert_true(first[4].restore && first[4].base == 3);
        assert_true(first[7].restore && first[7].base == 6);
        const struct core_stats before = *bench_stats(bench);
        struct message hello = bench_hello(WIRE_ROLE_LEARNER, "learner-0");
        hello.nonce[0] = 9;
        hello.version = version;
        hello.hash.bytes[0] = version > 0 ? twice_weights[version - 1] : 100;
        bench->sent_n = 0;
        bench_join(bench, &scene.crew.learner, 31, hello);
        for (uint64_t s = version; s < TWICE_STEPS; s++) {
            const struct message *lease = bench_expect(bench, 31, MESSAGE_TRAIN_LEASE, 0);
            assert_int_equal(lease->step, s);
            const struct told again = told_by(lease);
            check_told(&again, &first[s]);
            bench->sent_n = 0;
            train(&scene, s, twice_weights[s], 0);
        }
        const struct core_stats *after = bench_stats(bench);
        assert_true(version > 0 || after->recalled > 4);
        assert_int_equal(after->trained, TWICE_STEPS);
        assert_true(after->rollbacks == 2 && after->rollback_base == before.rollback_base &&
                    after->rollback_target == before.rollback_target);
        assert_true(after->kl_coef == before.kl_coef && after->lr_scale == before.lr_scale);
        bench_free(bench);
    }
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, bench_teardown)
    const struct CMUnitTest tests[] = {
        CASE(a_step_goes_back_to_the_newest_good_restore_point),
        CASE(a_learner_that_goes_elsewhere_is_not_believed),
        CASE(a_learner_that_went_elsewhere_before_it_was_killed_is_not_let_in),
        CASE(version_0_can_be_gone_back_to),
        CASE(scales_are_in_force_until_the_breaker_closes),
        CASE(the_scale_of_beta_is_everywhere),
        CASE(rollouts_of_versions_left_behind_are_not_trained_on),
        CASE(the_cap_is_not_for_what_was_left_behind),
        CASE(too_many_set_aside_in_a_row_go_back),
        CASE(restore_points_are_written),
        CASE(a_rollback_survives_its_coordinator),
        CASE(a_step_that_went_back_is_sent_again_as_such),
        CASE(old_steps_that_went_back_are_recalled_as_they_were),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

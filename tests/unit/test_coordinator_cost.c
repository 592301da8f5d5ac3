/*
 * test_coordinator_cost.c -- roles of scorers, the cost stream, the multiplier, and their replay.
 *
 * The oracle of the numbers is the definition (ALGORITHMS, sections 2 and 5), written out below
 * in double for the bench's two slots; of the rest it is core.h's and record.h's text.
 */
#include "tests/unit/core_bench.h"

/* "good" is the reward, "harm" the cost with weight 2, "style" only watches. */
static int setup(void **state)
{
    struct bench *bench = bench_new();
    struct run_config *config = &bench->config;
    config->scorers = 3;
    snprintf(config->scorer[1].name, sizeof config->scorer[1].name, "harm");
    snprintf(config->scorer[2].name, sizeof config->scorer[2].name, "style");
    config->scorer[1].role = RUN_ROLE_COST;
    config->scorer[1].weight = 2.0;
    config->scorer[2].role = RUN_ROLE_MONITOR;
    config->scorer[2].weight = 1.0;
    config->safety_controller = RUN_SAFETY_CONTROLLER_LAGRANGIAN;
    config->safety_cost = RUN_SAFETY_COST_SCORE;
    config->safety_limit = 0.5;
    config->safety_lambda = 1.0;
    config->safety_lr = 0.1;
    config->safety_window_steps = 2;
    *state = bench;
    return 0;
}

/* What the scorers of a slot say; NaN: failed, or `fault`. */
static enum wire_score fault = WIRE_SCORE_FAILED;
struct scores {
    double good, harm, style;
};

static void score(struct bench *bench, struct bench_worker *reward, const struct message *lease,
                  uint32_t i, struct scores s)
{
    double scores[3] = {s.good, s.harm, s.style};
    static const float ref[2] = {-0.75f, -0.5f};
    unsigned char states[3];
    for (int k = 0; k < 3; k++) {
        states[k] = (unsigned char)(isnan(scores[k]) ? fault : WIRE_SCORE_OK);
        if (isnan(scores[k]))
            scores[k] = 1000.0; /* of no meaning */
    }
    const bool slot = lease->items[i].kind == WIRE_WORK_ROLLOUT;
    struct message result = {.type = MESSAGE_SCORE_RESULT,
                             .lease = lease->lease,
                             .scorers = 3,
                             .items = &lease->items[i],
                             .items_n = 1,
                             .frames_n = 3,
                             .frame = {{scores, 24}, {states, 3}, {ref, slot ? 8 : 0}}};
    snprintf(result.text, sizeof result.text, "harm: HTTP 503");
    bench_send(bench, reward, result);
}

/* Generate and score all that is open; slot b gets s[b], references the scores `ref`. */
static void work(struct bench *bench, struct bench_crew *crew, size_t *from,
                 const struct scores s[2], struct scores ref)
{
    for (; *from < bench->sent_n && !bench->finished; ++*from) {
        const struct message m = bench->sent[*from].message;
        if (m.type == MESSAGE_GENERATE_LEASE)
            bench_generate(bench, &crew->actor, &m, 0, m.items_n);
        for (uint32_t i = 0; m.type == MESSAGE_SCORE_LEASE && i < m.items_n; i++)
            score(bench, &crew->reward, &m, i,
                  m.items[i].kind == WIRE_WORK_ROLLOUT ? s[m.items[i].b] : ref);
    }
}

static const struct scores none = {NAN, NAN, NAN};
static const struct scores plain[2] = {{3.0, 0.25, 10.0}, {1.0, 0.75, 20.0}};

static void a_train_lease_holds_costs_and_their_multiplier(void **state)
{
    struct bench_crew crew;
    struct bench *bench = bench_begun(state, &crew);
    size_t from = 0;
    work(bench, &crew, &from, plain, none);
    const struct message *lease = bench_expect(bench, 1, MESSAGE_TRAIN_LEASE, 0);
    assert_int_equal(lease->frames_n, 5);
    /* costs 2 * 0.25 and 2 * 0.75; J = 1, d = 0.5: l = 0.1 * 1 * 0.5; k1 is 0.25 a token */
    const double beta = 0.1;
    const float reward[4] = {(float)(-beta * 0.25), (float)(-beta * 0.25 + 3.0),
                             (float)(-beta * 0.25), (float)(-beta * 0.25 + 1.0)};
    const float cost[4] = {(float)(beta * 0.25), (float)(beta * 0.25 + 0.5),
                           (float)(beta * 0.25), (float)(beta * 0.25 + 1.5)};
    check_close((const float *)lease->frame[2].data, reward, 4, 1e-6, 0);
    check_close((const float *)lease->frame[4].data, cost, 4, 1e-6, 0);
    check_near(lease->multiplier, exp(0.05), 1e-15);
}

static void the_kl_in_the_loss_is_in_neither_stream(void **state)
{
    struct bench *bench = *state;
    bench->config.kl_place = RUN_KL_PLACE_LOSS;
    struct bench_crew crew;
    bench_begun(state, &crew);
    size_t from = 0;
    work(bench, &crew, &from, plain, none);
    const struct message *lease = bench_expect(bench, 1, MESSAGE_TRAIN_LEASE, 0);
    const float cost[4] = {0.0f, 0.5f, 0.0f, 1.5f};
    check_close((const float *)lease->frame[4].data, cost, 4, 1e-6, 1e-12);
}

static void the_step_record_tells_what_the_costs_did(void **state)
{
    struct bench_crew crew;
    struct bench *bench = bench_begun(state, &crew);
    size_t from = 0;
    work(bench, &crew, &from, plain, none);
    check_near(bench_stats(bench)->multiplier, 1.0, 0.0); /* not before the commit */
    bench_train(bench, &crew.learner, 0, 101, 0);
    const struct core_stats *stats = bench_stats(bench);
    const struct record_step *last = &stats->last;
    check_near(last->reward_raw_mean, 2.0, 1e-12); /* of the reward scorer alone */
    check_near(last->cost_raw_mean, 1.0, 1e-12);
    check_near(last->cost_limit, 0.5, 0.0);
    check_near(last->multiplier_before, 1.0, 0.0);
    check_near(last->multiplier_after, exp(0.05), 1e-15);
    check_near(stats->multiplier, exp(0.05), 1e-15);
    check_near(last->score_mean[1], 0.5, 1e-12); /* unweighted */
    check_near(last->score_mean[2], 15.0, 1e-12);
    assert_int_equal(last->controller_n, 3 + 3 + 3 * 2);
    assert_int_equal(last->score_missing[2], 0);

    /* The window: steps of costs {0.5, 1.5} and {0, 0}; the next has seen both. */
    const struct scores mild[2] = {{0.0, 0.0, 0.0}, {0.0, 0.0, 0.0}};
    work(bench, &crew, &from, mild, none);
    const struct message *lease = bench_expect(bench, 1, MESSAGE_TRAIN_LEASE, 0);
    assert_int_equal(lease->step, 1);
    check_near(lease->multiplier, exp(0.05 + 0.1 * exp(0.05) * (0.5 - 0.5)), 1e-15);
}

static void the_cost_may_be_a_probability(void **state)
{
    struct bench *bench = *state;
    bench->config.safety_cost = RUN_SAFETY_COST_PROBABILITY;
    bench->config.kl_coef = 0.0;
    struct bench_crew crew;
    bench_begun(state, &crew);
    size_t from = 0;
    const struct scores s[2] = {{1.0, -0.3, 0.0}, {1.0, 0.3, 0.0}};
    work(bench, &crew, &from, s, none);
    const struct message *lease = bench_expect(bench, 1, MESSAGE_TRAIN_LEASE, 0);
    const float cost[4] = {0.0f, 0.35434369f, 0.0f, 0.64565631f}; /* sigmoid(-0.6), (0.6) */
    check_close((const float *)lease->frame[4].data, cost, 4, 1e-6, 1e-12);
}

static void costs_that_are_only_watched_train_nothing(void **state)
{
    struct bench *bench = *state;
    bench->config.safety_controller = RUN_SAFETY_CONTROLLER_NONE;
    struct bench_crew crew;
    bench_begun(state, &crew);
    size_t from = 0;
    work(bench, &crew, &from, plain, none);
    const struct message *lease = bench_expect(bench, 1, MESSAGE_TRAIN_LEASE, 0);
    assert_int_equal(lease->frames_n, 4);
    check_near(lease->multiplier, 0.0, 0.0);
    bench_train(bench, &crew.learner, 0, 101, 0);
    const struct record_step *last = &bench_stats(bench)->last;
    check_near(last->cost_raw_mean, 1.0, 1e-12);
    check_near(last->multiplier_after, 0.0, 0.0);
    assert_int_equal(last->controller_n, 3);
}

static void without_cost_scorers_there_is_no_cost(void **state)
{
    struct bench *bench = *state;
    bench->config.safety_controller = RUN_SAFETY_CONTROLLER_NONE;
    bench->config.scorer[1].role = RUN_ROLE_REWARD;
    struct bench_crew crew;
    bench_begun(state, &crew);
    size_t from = 0;
    work(bench, &crew, &from, plain, none);
    bench_train(bench, &crew.learner, 0, 101, 0);
    const struct record_step *last = &bench_stats(bench)->last;
    check_near(last->reward_raw_mean, 2.0 + 2.0 * 0.5, 1e-12);
    assert_true(isnan(last->cost_raw_mean) && isnan(last->cost_limit));
    check_near(last->multiplier_after, 0.0, 0.0);
    bench_restart(bench, 0); /* a NaN is equal to what it was */
    assert_int_equal(bench_stats(bench)->trained, 1);
}

/* By the formulas of ALGORITHMS, section 3, and its table of Student's quantiles at 0.1: of one
 * degree of freedom 3.077683537, of 99 1.290161442. */
static void the_constraint_may_be_pessimistic(void **state)
{
    struct bench *bench = *state;
    bench->config.safety_gate_samples = 100;
    bench->config.safety_c1 = 0.25;
    bench->config.safety_c2 = 2.0;
    bench->config.safety_delta = 0.1;
    bench->config.safety_window_steps = 1;
    bench->config.kl_coef = 0.0;
    struct bench_crew crew;
    bench_begun(state, &crew);
    size_t from = 0;
    work(bench, &crew, &from, plain, none);
    const double kappa = 0.25 * 3.077683537 / sqrt(2.0) + 2.0 * 1.290161442 / 10.0;
    const double mean = 1.0, s = sqrt(0.5); /* costs 0.5 and 1.5, n - 1 */
    const struct message *lease = bench_expect(bench, 1, MESSAGE_TRAIN_LEASE, 0);
    check_near(lease->multiplier, exp(0.1 * (mean + kappa * s - 0.5)), 1e-8);
    float want[4] = {0};
    for (int i = 0; i < 2; i++) {
        const double c = i == 0 ? 0.5 : 1.5;
        want[2 * i + 1] = (float)(c + kappa * (c * c - 2.0 * c * mean) / (2.0 * s));
    }
    check_close((const float *)lease->frame[4].data, want, 4, 1e-6, 1e-7);
    bench_train(bench, &crew.learner, 0, 101, 0);
    /* The mean stays the mean. */
    check_near(bench_stats(bench)->last.cost_raw_mean, 1.0, 1e-12);
    check_near(bench_stats(bench)->cost_bound, mean + kappa * s, 1e-8);
    bench_restart(bench, 0);
    check_near(bench_stats(bench)->cost_bound, mean + kappa * s, 1e-8);
}

/* They have no deviation, whatever is left of it in the sums: c~ is c, and J is the mean. */
static void equal_costs_are_what_they_are(void **state)
{
    struct bench *bench = *state;
    bench->config.safety_gate_samples = 100;
    bench->config.safety_c1 = bench->config.safety_c2 = 1.0;
    bench->config.safety_delta = 0.1;
    bench->config.safety_window_steps = 3; /* 6 costs: sums that do not come out even */
    bench->config.steps = 5;
    bench->config.kl_coef = 0.0;
    struct bench_crew crew;
    bench_begun(state, &crew);
    size_t from = 0;
    static const struct scores equal[2] = {{3.0, 0.01, 10.0}, {1.0, 0.01, 20.0}};
    for (uint64_t step = 0; step < 3; step++) {
        work(bench, &crew, &from, equal, none);
        const struct message *lease = bench_expect(bench, 1, MESSAGE_TRAIN_LEASE, 0);
        const float want[4] = {0.0f, 0.02f, 0.0f, 0.02f};
        check_close((const float *)lease->frame[4].data, want, 4, 1e-6, 1e-7);
        bench_train(bench, &crew.learner, step, (unsigned char)(101 + step), 0);
        check_near(bench_stats(bench)->cost_bound, 0.02, 1e-12);
    }
}

/* --- scores that could not be had --------------------------------------------------------- */

static void a_monitor_that_fails_drops_nothing(void **state)
{
    struct bench_crew crew;
    struct bench *bench = bench_begun(state, &crew);
    size_t from = 0;
    const struct scores s[2] = {{3.0, 0.25, NAN}, {1.0, 0.75, 20.0}};
    work(bench, &crew, &from, s, none);
    assert_int_equal(bench_stats(bench)->score_retries, 0);
    for (size_t i = 0; i < bench->records_n; i++) {
        const struct record *r = &bench->records[i].record;
        if (r->kind == RECORD_SCORE && r->b == 0)
            assert_true(isnan(r->scores[2]) && r->scores[0] == 3.0);
    }
    bench_train(bench, &crew.learner, 0, 101, 0);
    const struct scores all[2] = {{3.0, 0.25, NAN}, {1.0, 0.75, NAN}};
    work(bench, &crew, &from, all, none);
    const struct record_step first = bench_stats(bench)->last;
    bench_train(bench, &crew.learner, 1, 102, 0);
    const struct core_stats *stats = bench_stats(bench);
    assert_int_equal(first.trained, 2);
    check_near(first.score_mean[2], 20.0, 1e-12); /* of those that answered */
    assert_int_equal(first.score_missing[2], 1);
    assert_int_equal(first.score_missing[0], 0);
    assert_true(isnan(stats->last.score_mean[2]));
    assert_int_equal(stats->score_missing[2], 3); /* over the run */

    bench_restart(bench, 0);
    assert_int_equal(bench_stats(bench)->score_missing[2], 3);
    assert_int_equal(bench_stats(bench)->trained, 2);
}

static void a_cost_that_could_not_be_had_drops_its_slot(void **state)
{
    struct bench_crew crew;
    struct bench *bench = bench_begun(state, &crew);
    size_t from = 0;
    const struct scores s[2] = {{3.0, NAN, 10.0}, {1.0, 0.75, 20.0}};
    work(bench, &crew, &from, s, none);
    assert_int_equal(bench_stats(bench)->dropped[RECORD_REASON_SCORE_FAILED], 1);
    assert_int_equal(bench_stats(bench)->score_retries, CORE_SCORE_TRIES_MAX);
    assert_true(bench_said(bench, "harm: HTTP 503"));
    const struct message *lease = bench_expect(bench, 1, MESSAGE_TRAIN_LEASE, 0);
    assert_int_equal(lease->items_n, 1);
    bench_train(bench, &crew.learner, 0, 101, 0);
    const struct record_step *last = &bench_stats(bench)->last;
    check_near(last->cost_raw_mean, 1.5, 1e-12); /* of the slot that is left */
    check_near(last->multiplier_after, exp(0.1 * (1.5 - 0.5)), 1e-15);
}

static void a_cost_that_came_too_late_drops_its_slot_for_that(void **state)
{
    struct bench_crew crew;
    struct bench *bench = bench_begun(state, &crew);
    size_t from = 0;
    const struct scores s[2] = {{3.0, NAN, 10.0}, {1.0, 0.75, 20.0}};
    fault = WIRE_SCORE_TIMEOUT;
    work(bench, &crew, &from, s, none);
    fault = WIRE_SCORE_FAILED;
    assert_int_equal(bench_stats(bench)->dropped[RECORD_REASON_SCORE_TIMEOUT], 1);
}

static void a_sum_of_costs_that_is_not_finite_drops_its_slot(void **state)
{
    struct bench_crew crew;
    struct bench *bench = bench_begun(state, &crew);
    size_t from = 0;
    const struct scores s[2] = {{3.0, 1e308, 10.0}, {1.0, 0.75, 20.0}}; /* its weight is 2 */
    work(bench, &crew, &from, s, none);
    assert_int_equal(bench_stats(bench)->dropped[RECORD_REASON_SCORE_FAILED], 1);
}

static void without_any_cost_nothing_trains(void **state)
{
    struct bench_crew crew;
    struct bench *bench = bench_begun(state, &crew);
    size_t from = 0;
    const struct scores s[2] = {{3.0, NAN, 10.0}, {1.0, NAN, 20.0}};
    work(bench, &crew, &from, s, none);
    assert_true(bench->finished);
    assert_int_equal(bench->exit_code, CORE_EXIT_HALT);
    assert_null(bench_last(bench, 1, MESSAGE_TRAIN_LEASE, 0));
    assert_non_null(strstr(bench->finish_text, "every slot was dropped"));
}

/* References are asked for the reward alone: what else comes with them changes nothing. */
static void a_reference_needs_its_reward_alone(void **state)
{
    struct bench *bench = *state;
    bench->config.shaper = RUN_SHAPER_CENTERED;
    bench->config.references = 1;
    bench->config.kl_coef = 0.0;
    struct bench_crew crew;
    bench_begun(state, &crew);
    size_t from = 0;
    work(bench, &crew, &from, plain, (struct scores){0.5, NAN, 7.0});
    const struct message *lease = bench_expect(bench, 1, MESSAGE_TRAIN_LEASE, 0);
    check_near(((const float *)lease->frame[2].data)[1], 2.5, 1e-6);
    assert_int_equal(bench_stats(bench)->references_dropped, 0);
    for (size_t i = 0; i < bench->records_n; i++) {
        const struct record *r = &bench->records[i].record;
        if (r->kind == RECORD_SCORE && r->work == WIRE_WORK_REFERENCE)
            assert_true(r->scores[0] == 0.5 && isnan(r->scores[1]) && isnan(r->scores[2]));
    }
    bench_restart(bench, 0);
    assert_int_equal(bench_stats(bench)->references_scored, 2);
}

static void a_reference_without_its_reward_is_dropped(void **state)
{
    struct bench *bench = *state;
    bench->config.shaper = RUN_SHAPER_CENTERED;
    bench->config.references = 1;
    struct bench_crew crew;
    bench_begun(state, &crew);
    size_t from = 0;
    work(bench, &crew, &from, plain, (struct scores){NAN, 1.0, 7.0});
    assert_int_equal(bench_stats(bench)->references_dropped, 2);
}

/* --- replay ------------------------------------------------------------------------------- */

/* Three steps, and the lease of the fourth, undisturbed and after a crash at which the first
 * steps are known by their STEP records alone: the same to the last digit. */
static void the_multiplier_survives_its_coordinator(void **state)
{
    (void)state;
    static const enum run_safety_controller kinds[] = {RUN_SAFETY_CONTROLLER_LAGRANGIAN,
                                                       RUN_SAFETY_CONTROLLER_PID};
    for (size_t k = 0; k < COUNT(kinds); k++) {
        double want = 0.0;
        for (uint64_t checkpoint = 0; checkpoint <= 4; checkpoint += 2) {
            void *fresh;
            setup(&fresh);
            struct bench *bench = fresh;
            bench->config.steps = 5;
            bench->config.safety_controller = kinds[k];
            bench->config.safety_kp = 0.3;
            bench->config.safety_ki = 0.1;
            bench->config.safety_kd = 0.2;
            struct bench_crew crew;
            bench_begun(&fresh, &crew);
            size_t from = 0;
            for (uint64_t step = 0; step < 4; step++) {
                const struct scores s[2] = {{3.0, 0.1 + 0.3 * (double)(step * 7 % 5), 10.0},
                                            {1.0, 0.7, 20.0}};
                work(bench, &crew, &from, s, none);
                bench_train(bench, &crew.learner, step, (unsigned char)(101 + step),
                            step == 3 ? checkpoint : 0);
            }
            if (checkpoint > 0) {
                bench_restart(bench, checkpoint);
                struct message hello = bench_hello(WIRE_ROLE_LEARNER, "learner-0");
                hello.version = 4;
                hello.hash.bytes[0] = 104;
                from = bench->sent_n;
                bench_join(bench, &crew.learner, 1, hello);
                bench_join(bench, &crew.actor, 2, bench_hello(WIRE_ROLE_ACTOR, "actor-0"));
                bench_join(bench, &crew.reward, 3, bench_hello(WIRE_ROLE_REWARD, "reward-0"));
            }
            work(bench, &crew, &from, plain, none);
            const struct message *lease = bench_expect(bench, 1, MESSAGE_TRAIN_LEASE, 0);
            assert_int_equal(lease->step, 4);
            if (checkpoint == 0)
                want = lease->multiplier;
            assert_true(want != 1.0 && want > 0.0);
            assert_memory_equal(&lease->multiplier, &want, sizeof want);
            bench_free(bench);
        }
    }
}

/* A learner that comes back is sent the same costs with the same multiplier. */
static void a_step_is_sent_again_with_its_own_multiplier(void **state)
{
    struct bench_crew crew;
    struct bench *bench = bench_begun(state, &crew);
    size_t from = 0;
    work(bench, &crew, &from, plain, none);
    const struct message first = *bench_expect(bench, 1, MESSAGE_TRAIN_LEASE, 0);
    bench_train(bench, &crew.learner, 0, 101, 0);
    work(bench, &crew, &from, plain, none);
    bench_train(bench, &crew.learner, 1, 102, 0);

    for (int restarts = 0; restarts < 2; restarts++) {
        const size_t since = bench->sent_n;
        bench_join(bench, &crew.learner, 50 + (uint64_t)restarts,
                   bench_hello(WIRE_ROLE_LEARNER, "learner-0"));
        const struct message *again = bench_expect(bench, 0, MESSAGE_TRAIN_LEASE, since);
        assert_int_equal(again->step, 0);
        assert_true(again->multiplier == first.multiplier);
        assert_int_equal(again->frame[4].size, first.frame[4].size);
        assert_memory_equal(again->frame[4].data, first.frame[4].data, first.frame[4].size);
        bench_restart(bench, 0);
    }
}

/* Spoil one number of the STEP record; replay is to notice. */
static void spoilt(void **state, uint64_t checkpoint, void (*spoil)(struct record_step *step),
                   const char *words)
{
    struct bench_crew crew;
    struct bench *bench = bench_begun(state, &crew);
    size_t from = 0;
    work(bench, &crew, &from, plain, none);
    bench_train(bench, &crew.learner, 0, 101, 0);
    struct record_step *step = NULL;
    for (size_t i = 0; i < bench->records_n; i++)
        if (bench->records[i].record.kind == RECORD_STEP)
            step = &bench->records[i].step;
    assert_non_null(step);
    spoil(step);
    core_free(bench->core);
    bench_open(bench);
    check_ok(core_replay_begin(bench->core, checkpoint, &err));
    for (size_t i = 0; i < bench->records_n; i++) {
        const struct record *record = &bench->records[i].record;
        if (record->step != step)
            check_ok(core_replay(bench->core, record, &err));
        else {
            check_fails(core_replay(bench->core, record, &err),
                        checkpoint > 0 ? ERR_VALUE : ERR_STATE, words);
            return;
        }
    }
}

static void spoil_cost(struct record_step *step)
{
    step->cost_raw_mean += 1e-12;
}
static void spoil_multiplier(struct record_step *step)
{
    step->multiplier_after += 1e-12;
}
static void spoil_state(struct record_step *step)
{
    step->controller[4] += 1e-12;
}
static void spoil_state_lost(struct record_step *step)
{
    step->controller_n = 3;
}
static void spoil_state_nan(struct record_step *step)
{
    step->controller[4] = NAN;
}

static void a_record_that_says_another_cost_is_refused(void **state)
{
    spoilt(state, 0, spoil_cost, "written by another version");
}
static void a_record_that_says_another_multiplier_is_refused(void **state)
{
    spoilt(state, 0, spoil_multiplier, "and lambda 1.05");
}
static void a_record_with_another_multiplier_state_is_refused(void **state)
{
    spoilt(state, 0, spoil_state, "written by another version");
}
static void a_record_without_the_multipliers_state_is_refused(void **state)
{
    spoilt(state, 0, spoil_state_lost, "cannot follow step 0");
}
static void an_old_record_whose_multiplier_cannot_be_is_refused(void **state)
{
    spoilt(state, 1, spoil_state_nan, "the state's multiplier is nan");
}

static void a_score_record_without_its_cost_is_refused(void **state)
{
    struct bench_crew crew;
    struct bench *bench = bench_begun(state, &crew);
    size_t from = 0;
    work(bench, &crew, &from, plain, none);
    core_free(bench->core);
    bench_open(bench);
    check_ok(core_replay_begin(bench->core, 0, &err));
    for (size_t i = 0; i < bench->records_n; i++) {
        struct bench_record *kept = &bench->records[i];
        if (kept->record.kind == RECORD_SCORE) {
            kept->scores[1] = NAN;
            check_fails(core_replay(bench->core, &kept->record, &err), ERR_STATE,
                        "is not what this run plans there");
            return;
        }
        check_ok(core_replay(bench->core, &kept->record, &err));
    }
    fail_msg("there was no score");
}

static void costs_that_cannot_be_meant_are_refused_at_once(void **state)
{
    struct bench *bench = *state;
    const struct core_setup core = {.config = &bench->config, .prompts = bench_prompts};
    bench->config.scorer[1].role = RUN_ROLE_MONITOR;
    check_fails(core_new(&bench->core, &core, bench_sink, bench, &err), ERR_USAGE,
                "no scorer is named");
    bench->config.scorer[1].role = RUN_ROLE_COST;
    bench->config.safety_window_steps = 0;
    check_fails(core_new(&bench->core, &core, bench_sink, bench, &err), ERR_USAGE,
                "window is 0 steps");
    bench->config.safety_window_steps = 1;
    bench->config.batch = 4000; /* ids fit a frame, and without costs all would fit */
    bench->config.max_new_tokens = 4096;
    check_fails(core_new(&bench->core, &core, bench_sink, bench, &err), ERR_VALUE,
                "268435456 all together");
}

#define cost_test(name) cmocka_unit_test_setup_teardown(name, setup, bench_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cost_test(a_train_lease_holds_costs_and_their_multiplier),
        cost_test(the_kl_in_the_loss_is_in_neither_stream),
        cost_test(the_step_record_tells_what_the_costs_did),
        cost_test(the_cost_may_be_a_probability),
        cost_test(costs_that_are_only_watched_train_nothing),
        cost_test(without_cost_scorers_there_is_no_cost),
        cost_test(the_constraint_may_be_pessimistic),
        cost_test(equal_costs_are_what_they_are),
        cost_test(a_monitor_that_fails_drops_nothing),
        cost_test(a_cost_that_could_not_be_had_drops_its_slot),
        cost_test(a_cost_that_came_too_late_drops_its_slot_for_that),
        cost_test(a_sum_of_costs_that_is_not_finite_drops_its_slot),
        cost_test(without_any_cost_nothing_trains),
        cost_test(a_reference_needs_its_reward_alone),
        cost_test(a_reference_without_its_reward_is_dropped),
        cmocka_unit_test(the_multiplier_survives_its_coordinator),
        cost_test(a_step_is_sent_again_with_its_own_multiplier),
        cost_test(a_record_that_says_another_cost_is_refused),
        cost_test(a_record_that_says_another_multiplier_is_refused),
        cost_test(a_record_with_another_multiplier_state_is_refused),
        cost_test(a_record_without_the_multipliers_state_is_refused),
        cost_test(an_old_record_whose_multiplier_cannot_be_is_refused),
        cost_test(a_score_record_without_its_cost_is_refused),
        cost_test(costs_that_cannot_be_meant_are_refused_at_once),
    };
    return cmocka_run_group_tests_name("coordinator/cost", tests, NULL, NULL);
}

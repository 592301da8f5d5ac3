/*
 * test_coordinator_combine.c -- that a step's rewards are made of the right scores: those of its
 * own prompt's references under a tree, of the scorers that count for its prompt, of the group
 * that the whole step serves worst; and that a coordinator that was killed makes the same.
 *
 * The oracle is the definition in control/combine.h, worked out by hand beside each case.
 */
#include "coordinator/raw_reward.h"
#include "tests/unit/core_bench.h"

/* What the two scorers say of an item; NaN: failed, with a number that must not matter. */
struct pair {
    double good, brief;
};
typedef struct pair pair_of(const struct wire_item *item);

static int setup(void **state)
{
    struct bench *bench = bench_new();
    bench->config.steps = 6;
    bench->config.kl_coef = 0.0;
    bench->config.scorer[1].weight = 1.0;
    *state = bench;
    return 0;
}

static void score_one(struct bench *bench, struct bench_worker *reward,
                      const struct message *lease, const struct wire_item *item,
                      struct pair pair)
{
    const double scores[2] = {isnan(pair.good) ? 1000.0 : pair.good,
                              isnan(pair.brief) ? 1000.0 : pair.brief};
    const unsigned char states[2] = {isnan(pair.good) ? WIRE_SCORE_FAILED : WIRE_SCORE_OK,
                                     isnan(pair.brief) ? WIRE_SCORE_FAILED : WIRE_SCORE_OK};
    static const float ref[2] = {-0.75f, -0.5f};
    struct wire_item one = *item;
    bench_send(bench, reward,
               (struct message){.type = MESSAGE_SCORE_RESULT,
                                .lease = lease->lease,
                                .scorers = 2,
                                .items = &one,
                                .items_n = 1,
                                .frames_n = 3,
                                .frame = {{scores, sizeof scores},
                                          {states, sizeof states},
                                          {ref, item->kind == WIRE_WORK_ROLLOUT ? 8 : 0}}});
}

static void work(struct bench *bench, struct bench_crew *crew, size_t *from, pair_of *pair)
{
    for (; *from < bench->sent_n && !bench->finished; ++*from) {
        const struct message m = bench->sent[*from].message;
        if (m.type == MESSAGE_GENERATE_LEASE)
            bench_generate(bench, &crew->actor, &m, 0, m.items_n);
        for (uint32_t i = 0; m.type == MESSAGE_SCORE_LEASE && i < m.items_n; i++)
            score_one(bench, &crew->reward, &m, &m.items[i], pair(&m.items[i]));
    }
}

static struct record_step step_of(struct bench *bench, struct bench_crew *crew, size_t *from,
                                  uint64_t step, pair_of *pair)
{
    work(bench, crew, from, pair);
    bench_train(bench, &crew->learner, step, (unsigned char)(101 + step), 0);
    assert_int_equal(bench_stats(bench)->trained, step + 1);
    return bench_stats(bench)->last;
}

/* The rewards of the last lease's slots: on the second of their two tokens each. */
static void check_rewards(const struct bench *bench, double slot_0, double slot_1)
{
    const struct message *lease = bench_expect(bench, 1, MESSAGE_TRAIN_LEASE, 0);
    const float *reward = lease->frame[2].data;
    check_near(reward[1], slot_0, 1e-6);
    check_near(reward[3], slot_1, 1e-6);
}

/* The last step's mean, from its records alone, as whoever reads a ledger has it. */
static void check_recorded(const struct bench *bench, const struct record_step *step)
{
    struct raw_reward raw = {0};
    double sum = 0.0;
    check_ok(raw_reward_init(&raw, &bench->config, &err));
    for (size_t i = 0; i < bench->records_n; i++) {
        const struct record *r = &bench->records[i].record;
        double refs[8];
        size_t n = 0;
        if (r->kind != RECORD_SCORE || r->work != WIRE_WORK_ROLLOUT || r->a != step->step)
            continue;
        for (size_t k = 0; k < bench->records_n; k++) {
            const struct record *ref = &bench->records[k].record;
            if (ref->kind == RECORD_SCORE && ref->work == WIRE_WORK_REFERENCE &&
                ref->prompt == r->prompt)
                memcpy(refs + 2 * n++, ref->scores, 2 * sizeof(double));
        }
        sum += raw_reward_recorded(&raw, r->scores, step->worst_group, refs, n);
    }
    check_near(sum / 2.0, step->reward_raw_mean, 1e-12);
}

/* Five steps, undisturbed, and killed after each number of them with each checkpoint: the last
 * has the same numbers, and the same rewards go to the learner. */
static void survives(void (*configure)(struct bench *bench), pair_of *pair)
{
    struct record_step want = {0};
    float rewards[4] = {0};
    for (uint64_t killed = 0; killed <= 4; killed++) {
        for (uint64_t checkpoint = 0; checkpoint <= killed; checkpoint++) {
            void *fresh;
            setup(&fresh);
            struct bench *bench = fresh;
            configure(bench);
            struct bench_crew crew;
            bench_begun(&fresh, &crew);
            size_t from = 0;
            for (uint64_t step = 0; step < 4; step++) {
                step_of(bench, &crew, &from, step, pair);
                if (step + 1 != killed)
                    continue;
                struct message hello = bench_hello(WIRE_ROLE_LEARNER, "learner-0");
                hello.version = killed;
                hello.hash.bytes[0] = (unsigned char)(100 + killed);
                bench_restart(bench, checkpoint);
                from = bench->sent_n;
                bench_join(bench, &crew.learner, 1, hello);
                bench_join(bench, &crew.actor, 2, bench_hello(WIRE_ROLE_ACTOR, "actor-0"));
                bench_join(bench, &crew.reward, 3, bench_hello(WIRE_ROLE_REWARD, "reward-0"));
            }
            const struct record_step got = step_of(bench, &crew, &from, 4, pair);
            const struct message *lease = bench_expect(bench, 1, MESSAGE_TRAIN_LEASE, 0);
            check_recorded(bench, &got);
            if (killed == 0) {
                want = got;
                memcpy(rewards, lease->frame[2].data, sizeof rewards);
            }
            assert_true(got.reward_raw_mean == want.reward_raw_mean);
            assert_true(got.reward_shaped_mean == want.reward_shaped_mean);
            assert_int_equal(got.worst_group, want.worst_group);
            assert_int_equal(got.controller_n, want.controller_n);
            assert_memory_equal(got.controller, want.controller,
                                got.controller_n * sizeof(double));
            assert_memory_equal(lease->frame[2].data, rewards, sizeof rewards);
            bench_free(bench);
        }
    }
}

/* --- from a ledger ------------------------------------------------------------------------ */

static void recorded_scores_that_are_missing_have_no_raw_reward(void **state)
{
    struct bench *bench = *state;
    struct raw_reward raw = {0};
    const double one[2] = {3.0, NAN}, both[2] = {3.0, 2.0};
    check_ok(raw_reward_init(&raw, &bench->config, &err));
    assert_true(raw_reward_recorded(&raw, both, 0, NULL, 0) == 5.0);
    assert_true(isnan(raw_reward_recorded(&raw, one, 0, NULL, 0)));
    snprintf(bench->config.scorer[1].prompt_kind, RUN_NAME_MAX, "brief");
    raw = (struct raw_reward){0};
    check_ok(raw_reward_init(&raw, &bench->config, &err));
    assert_true(raw_reward_recorded(&raw, one, 0, NULL, 0) == 3.0);
    bench->config.combine = RUN_COMBINE_TREE;
    raw = (struct raw_reward){0};
    check_ok(raw_reward_init(&raw, &bench->config, &err));
    assert_true(isnan(raw_reward_recorded(&raw, both, 0, NULL, 0)));
    assert_true(raw_reward_recorded(&raw, both, 0, both, 1) == 0.5);
    bench->config.combine = RUN_COMBINE_MAXMIN;
    bench->config.scorer[1].prompt_kind[0] = '\0';
    raw = (struct raw_reward){0};
    check_ok(raw_reward_init(&raw, &bench->config, &err));
    assert_true(raw_reward_recorded(&raw, both, 2, NULL, 0) == 2.0);
    assert_true(isnan(raw_reward_recorded(&raw, both, 0, NULL, 0)));
}

/* --- the tree --------------------------------------------------------------------------- */

static void take_tree(struct bench *bench)
{
    bench->config.combine = RUN_COMBINE_TREE;
    bench->config.shaper = RUN_SHAPER_NONE;
    bench->config.references = 2;
    bench->config.scorer[0].margin = 0.5;
    bench->config.scorer[1].margin = 0.125;
}

/* Of a prompt's references the first is (2.75, 0.75), the second (1, 9).  Slot 0, (3, 0.5): good
 * is within its margin of 2.75, and brief is less than 0.75 by more than its own: 0; 3 is more
 * than 1: 1.  Slot 1 is like the first, 1/2, and beats the second, 1. */
static struct pair by_hand(const struct wire_item *item)
{
    if (item->kind == WIRE_WORK_REFERENCE)
        return item->b == 0 ? (struct pair){2.75, 0.75} : (struct pair){1.0, 9.0};
    return item->b == 0 ? (struct pair){3.0, 0.5} : (struct pair){2.75, 0.75};
}

static void a_tree_is_climbed_score_by_score_against_each_reference(void **state)
{
    struct bench *bench = *state;
    take_tree(bench);
    struct bench_crew crew;
    bench_begun(state, &crew);
    size_t from = 0;
    work(bench, &crew, &from, by_hand);
    check_rewards(bench, 0.5, 0.75);
    bench_train(bench, &crew.learner, 0, 101, 0);
    check_near(bench_stats(bench)->last.reward_raw_mean, 0.625, 1e-15);
    check_near(bench_stats(bench)->last.score_mean[1], 0.625, 1e-15); /* of slots alone */
    assert_int_equal(bench_stats(bench)->last.worst_group, 0);
    size_t seen = 0;
    for (size_t i = 0; i < bench->records_n; i++) {
        const struct record *r = &bench->records[i].record;
        if (r->kind != RECORD_SCORE || r->work != WIRE_WORK_REFERENCE)
            continue;
        assert_true(r->scores[0] == (r->b == 0 ? 2.75 : 1.0));
        assert_true(r->scores[1] == (r->b == 0 ? 0.75 : 9.0));
        seen++;
    }
    assert_int_equal(seen, 4); /* two of each of two prompts */
}

/* The length penalty is taken off what the tree gives, and a shaper comes after it. */
static void a_trees_reward_is_penalised_and_shaped(void **state)
{
    struct bench *bench = *state;
    take_tree(bench);
    bench->config.length_penalty = 0.125;
    bench->config.length_free_tokens = 1; /* of two */
    bench->config.shaper = RUN_SHAPER_CEILING;
    bench->config.ceiling = 0.5;
    struct bench_crew crew;
    bench_begun(state, &crew);
    size_t from = 0;
    work(bench, &crew, &from, by_hand);
    check_rewards(bench, 0.5 - 0.125, 0.5);
}

static struct pair first_reference_fails(const struct wire_item *item)
{
    const struct pair none = {1.0, NAN};
    return item->kind == WIRE_WORK_REFERENCE && item->b == 0 ? none : by_hand(item);
}

static void a_reference_that_lacks_a_score_is_left_out_of_the_tree(void **state)
{
    struct bench *bench = *state;
    take_tree(bench);
    struct bench_crew crew;
    bench_begun(state, &crew);
    size_t from = 0;
    work(bench, &crew, &from, first_reference_fails);
    assert_int_equal(bench_stats(bench)->references_dropped, 2);
    check_rewards(bench, 1.0, 1.0);
}

/* Numbers that differ by step, slot and reference; prompts come again from step 2 on. */
static struct pair varied(const struct wire_item *item)
{
    const uint64_t x = 7 * item->a + 3 * item->b + (item->kind == WIRE_WORK_REFERENCE ? 5 : 0);
    return (struct pair){(double)(x % 5) * 0.5, (double)(x * x % 7) * 0.25};
}

static void a_tree_survives_its_coordinator(void **state)
{
    (void)state;
    survives(take_tree, varied);
}

/* --- kinds of prompts --------------------------------------------------------------------- */

/* Prompts 1 and 2 are of the kind of scorer 1, "brief". */
static const uint8_t kinds[4] = {0, 2, 2, 0};

static void take_kinds(struct bench *bench)
{
    bench->kind = kinds;
    snprintf(bench->config.scorer[1].prompt_kind, RUN_NAME_MAX, "brief");
}

static bool is_brief(const struct wire_item *item)
{
    return kinds[item->prompt] > 0;
}

/* Nobody asked the second scorer about the others: it failed there. */
static struct pair kind_by_hand(const struct wire_item *item)
{
    const struct pair said = varied(item);
    return (struct pair){said.good, is_brief(item) ? said.brief : NAN};
}

static struct pair spoilt(const struct wire_item *item)
{
    struct pair said = varied(item);
    said.brief = is_brief(item) ? said.brief : -77.0;
    return said;
}

/* Four steps ask each of four prompts twice: each kind of slot comes up. */
static void check_kinds(pair_of *said)
{
    void *fresh;
    setup(&fresh);
    struct bench *bench = fresh;
    take_kinds(bench);
    struct bench_crew crew;
    bench_begun(&fresh, &crew);
    size_t from = 0, brief_slots = 0;
    for (uint64_t step = 0; step < 4; step++) {
        const struct record_step got = step_of(bench, &crew, &from, step, said);
        const struct message *lease = bench_expect(bench, 1, MESSAGE_TRAIN_LEASE, 0);
        double want[2], raw = 0.0, sum = 0.0, n = 0.0;
        assert_int_equal(lease->step, step);
        for (uint32_t i = 0; i < 2; i++) {
            const struct wire_item *item = &lease->items[i];
            const bool counts = is_brief(item);
            want[i] = varied(item).good + (counts ? varied(item).brief : 0.0);
            raw += want[i] / 2.0;
            sum += counts ? varied(item).brief : 0.0;
            n += counts;
        }
        check_rewards(bench, want[0], want[1]);
        check_near(got.reward_raw_mean, raw, 1e-15);
        assert_int_equal(got.trained, 2);
        assert_int_equal(got.score_missing[1], 0);
        if (n > 0.0)
            check_near(got.score_mean[1], sum / n, 1e-15);
        else
            assert_true(isnan(got.score_mean[1]));
        brief_slots += (size_t)n;
    }
    assert_int_equal(brief_slots, 4);
    for (size_t i = 0; i < bench->records_n; i++) {
        const struct record *r = &bench->records[i].record;
        if (r->kind == RECORD_SCORE)
            assert_int_equal(isnan(r->scores[1]), kinds[r->prompt] == 0);
    }
    bench_free(bench);
}

static void a_scorer_counts_for_prompts_of_its_kind_alone(void **state)
{
    (void)state;
    check_kinds(kind_by_hand);
    check_kinds(spoilt); /* what a worker says without being asked does not matter */
}

static struct pair always_fails(const struct wire_item *item)
{
    (void)item;
    return (struct pair){1.0, NAN};
}

static void where_it_counts_a_score_that_is_missing_drops_the_slot(void **state)
{
    struct bench *bench = *state;
    take_kinds(bench);
    static const uint8_t all[4] = {2, 2, 2, 2};
    bench->kind = all;
    struct bench_crew crew;
    bench_begun(state, &crew);
    size_t from = 0;
    work(bench, &crew, &from, always_fails);
    assert_non_null(strstr(bench->finish_text, "every slot was dropped"));
}

/* A monitor of a kind: what it is not asked is not missing. */
static void a_monitor_of_a_kind_misses_what_it_was_asked_alone(void **state)
{
    struct bench *bench = *state;
    take_kinds(bench);
    bench->config.scorer[1].role = RUN_ROLE_MONITOR;
    struct bench_crew crew;
    bench_begun(state, &crew);
    size_t from = 0;
    uint64_t missing = 0;
    for (uint64_t step = 0; step < 4; step++) {
        step_of(bench, &crew, &from, step, always_fails);
        missing = bench_stats(bench)->score_missing[1];
    }
    assert_int_equal(missing, 4);
}

static void take_tree_of_kinds(struct bench *bench)
{
    take_tree(bench);
    take_kinds(bench);
}

static void a_tree_of_kinds_survives_its_coordinator(void **state)
{
    (void)state;
    survives(take_tree_of_kinds, kind_by_hand);
}

static void a_kind_that_no_prompt_has_is_refused(void **state)
{
    struct bench *bench = *state;
    take_kinds(bench);
    snprintf(bench->config.scorer[0].prompt_kind, RUN_NAME_MAX, "breif");
    const struct core_setup setup = {.config = &bench->config, .prompts = bench_prompts};
    check_fails(core_new(&bench->core, &setup, bench_sink, bench, &err), ERR_VALUE,
                "scorer \"good\" counts for prompts of kind \"breif\": no prompt");
}

/* --- groups of users ----------------------------------------------------------------------- */

static uint32_t second_prompt; /* of the second slot of step 0 */

static void take_maxmin(struct bench *bench)
{
    bench->config.combine = RUN_COMBINE_MAXMIN;
}

/* Means 2 and 1.75.  The least of each response would be 1 and 1. */
static struct pair groups(const struct wire_item *item)
{
    return item->b == 0 ? (struct pair){3.0, 1.0} : (struct pair){1.0, 2.5};
}

static void a_step_trains_on_the_group_it_serves_worst(void **state)
{
    struct bench *bench = *state;
    take_maxmin(bench);
    struct bench_crew crew;
    bench_begun(state, &crew);
    size_t from = 0;
    const struct record_step got = step_of(bench, &crew, &from, 0, groups);
    check_rewards(bench, 1.0, 2.5);
    check_near(got.reward_raw_mean, 1.75, 1e-15);
    assert_int_equal(got.worst_group, 2);
    check_near(got.score_mean[0], 2.0, 1e-15);
}

static void weights_bring_groups_to_one_scale(void **state)
{
    struct bench *bench = *state;
    take_maxmin(bench);
    bench->config.scorer[0].weight = 0.5; /* 1 against 1.75 */
    struct bench_crew crew;
    bench_begun(state, &crew);
    size_t from = 0;
    assert_int_equal(step_of(bench, &crew, &from, 0, groups).worst_group, 1);
    check_rewards(bench, 1.5, 0.5);
}

/* The second slot is scored, and dropped since its prompt's references are not. */
static struct pair second_prompt_fails(const struct wire_item *item)
{
    if (item->kind == WIRE_WORK_REFERENCE)
        return item->prompt == second_prompt ? (struct pair){NAN, NAN} : (struct pair){0, 0};
    return item->b == 0 ? (struct pair){3.0, 1.0} : (struct pair){-9.0, 5.0};
}

/* Means 3 and 1 without it; -3 and 3 with it. */
static void a_dropped_slot_has_no_say_in_whose_turn_it_is(void **state)
{
    struct bench *bench = *state;
    take_maxmin(bench);
    bench->config.shaper = RUN_SHAPER_CENTERED;
    bench->config.references = 1;
    struct bench_crew crew;
    bench_begun(state, &crew);
    const struct message *lease = bench_expect(bench, 2, MESSAGE_GENERATE_LEASE, 0);
    for (uint32_t i = 0; i < lease->items_n; i++)
        if (lease->items[i].kind == WIRE_WORK_ROLLOUT && lease->items[i].a == 0 &&
            lease->items[i].b == 1)
            second_prompt = lease->items[i].prompt;
    size_t from = 0;
    const struct record_step got = step_of(bench, &crew, &from, 0, second_prompt_fails);
    assert_int_equal(got.trained, 1);
    assert_int_equal(got.dropped[RECORD_REASON_REFERENCE_FAILED], 1);
    assert_int_equal(got.worst_group, 2);
}

static struct pair level(const struct wire_item *item)
{
    return item->b == 0 ? (struct pair){3.0, 1.0} : (struct pair){1.0, 3.0};
}

static void of_groups_served_alike_the_first_is_trained_on(void **state)
{
    struct bench *bench = *state;
    take_maxmin(bench);
    struct bench_crew crew;
    bench_begun(state, &crew);
    size_t from = 0;
    assert_int_equal(step_of(bench, &crew, &from, 0, level).worst_group, 1);
}

/* Of each reference the same group's score: the second's, 0.75 and 9. */
static struct pair groups_and_references(const struct wire_item *item)
{
    return item->kind == WIRE_WORK_REFERENCE ? by_hand(item) : groups(item);
}

static void the_groups_references_are_what_its_rewards_are_compared_with(void **state)
{
    struct bench *bench = *state;
    take_maxmin(bench);
    bench->config.shaper = RUN_SHAPER_CENTERED;
    bench->config.references = 2;
    struct bench_crew crew;
    bench_begun(state, &crew);
    size_t from = 0;
    work(bench, &crew, &from, groups_and_references);
    check_rewards(bench, 1.0 - 4.875, 2.5 - 4.875);
}

/* The penalty is taken off references too: in the difference it is gone. */
static void references_are_penalised_for_their_own_length(void **state)
{
    struct bench *bench = *state;
    bench->config.shaper = RUN_SHAPER_CENTERED;
    bench->config.references = 2;
    bench->config.length_penalty = 0.125;
    bench->config.length_free_tokens = 1; /* of two */
    struct bench_crew crew;
    bench_begun(state, &crew);
    size_t from = 0;
    work(bench, &crew, &from, by_hand);
    check_rewards(bench, 3.5 - 6.75, 3.5 - 6.75); /* references: 3.5 and 10 */
}

static void take_maxmin_with_references(struct bench *bench)
{
    take_maxmin(bench);
    bench->config.shaper = RUN_SHAPER_PAR;
    bench->config.references = 2;
}

static void maxmin_survives_its_coordinator(void **state)
{
    (void)state;
    survives(take_maxmin_with_references, varied);
}

static void replay_refuses_scores_that_cannot_be_combined(void **state)
{
    struct bench *bench = *state;
    take_tree(bench);
    struct bench_crew crew;
    bench_begun(state, &crew);
    size_t from = 0, at = 0;
    step_of(bench, &crew, &from, 0, by_hand);
    core_free(bench->core);
    bench_open(bench);
    check_ok(core_replay_begin(bench->core, 0, &err));
    for (; bench->records[at].record.kind != RECORD_SCORE; at++)
        check_ok(core_replay(bench->core, &bench->records[at].record, &err));
    bench->records[at].scores[1] = NAN;
    check_fails(core_replay(bench->core, &bench->records[at].record, &err), ERR_STATE,
                "is not what this run plans there");
}

static void replay_refuses_a_step_of_another_group(void **state)
{
    struct bench *bench = *state;
    take_maxmin(bench);
    struct bench_crew crew;
    bench_begun(state, &crew);
    size_t from = 0;
    step_of(bench, &crew, &from, 0, groups);
    core_free(bench->core);
    bench_open(bench);
    check_ok(core_replay_begin(bench->core, 0, &err));
    size_t at = 0;
    for (; bench->records[at].record.kind != RECORD_STEP; at++)
        check_ok(core_replay(bench->core, &bench->records[at].record, &err));
    bench->records[at].step.worst_group = 1;
    check_fails(core_replay(bench->core, &bench->records[at].record, &err), ERR_STATE,
                "written by another version");
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, bench_teardown)
    const struct CMUnitTest tests[] = {
        CASE(recorded_scores_that_are_missing_have_no_raw_reward),
        CASE(a_tree_is_climbed_score_by_score_against_each_reference),
        CASE(a_trees_reward_is_penalised_and_shaped),
        CASE(a_reference_that_lacks_a_score_is_left_out_of_the_tree),
        CASE(a_tree_survives_its_coordinator),
        CASE(a_scorer_counts_for_prompts_of_its_kind_alone),
        CASE(where_it_counts_a_score_that_is_missing_drops_the_slot),
        CASE(a_monitor_of_a_kind_misses_what_it_was_asked_alone),
        CASE(a_tree_of_kinds_survives_its_coordinator),
        CASE(a_kind_that_no_prompt_has_is_refused),
        CASE(a_step_trains_on_the_group_it_serves_worst),
        CASE(weights_bring_groups_to_one_scale),
        CASE(a_dropped_slot_has_no_say_in_whose_turn_it_is),
        CASE(of_groups_served_alike_the_first_is_trained_on),
        CASE(the_groups_references_are_what_its_rewards_are_compared_with),
        CASE(references_are_penalised_for_their_own_length),
        CASE(maxmin_survives_its_coordinator),
        CASE(replay_refuses_scores_that_cannot_be_combined),
        CASE(replay_refuses_a_step_of_another_group),
    };
    return cmocka_run_group_tests_name("coordinator combine", tests, NULL, NULL);
}

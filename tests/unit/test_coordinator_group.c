/*
 * test_coordinator_group.c -- several learners: who is leased what, whose result counts.
 *
 * The oracle is core.h's text ("Learners").  After every event core_check holds attempts and
 * ranks against each other.  The simulator runs the same through chance (tests/sim).
 */
#include "tests/unit/core_bench.h"

enum { LEARNERS = 3 };

/* Learners at addresses 11, 12, ...; an actor and a reward worker. */
struct team {
    struct bench *bench;
    struct bench_crew crew;
    struct bench_worker learner[LEARNERS];
    size_t from;
};

static struct message learner_hello(uint32_t i, uint64_t version)
{
    char name[32];
    snprintf(name, sizeof name, "learner-%u", i);
    struct message hello = bench_hello(WIRE_ROLE_LEARNER, name);
    snprintf(hello.text, sizeof hello.text, "ipc://bulk-%u", i);
    hello.version = version;
    hello.hash.bytes[0] = (unsigned char)(100 + version);
    return hello;
}

static void learner_join(struct team *team, uint32_t i, uint64_t peer, uint64_t version)
{
    struct message hello = learner_hello(i, version);
    hello.nonce[0] = (unsigned char)peer;
    bench_join(team->bench, &team->learner[i], peer, hello);
}

/* The last of them says HELLO first: ranks go by name. */
static void team_begin(struct team *team, void **state)
{
    *team = (struct team){.bench = *state};
    team->bench->config.learners = LEARNERS;
    bench_open(team->bench);
    bench_start(team->bench);
    for (uint32_t i = LEARNERS; i-- > 0;)
        learner_join(team, i, 11 + i, 0);
    bench_join(team->bench, &team->crew.actor, 2, bench_hello(WIRE_ROLE_ACTOR, "actor-0"));
    bench_join(team->bench, &team->crew.reward, 3, bench_hello(WIRE_ROLE_REWARD, "reward-0"));
}

static void team_work(struct team *team)
{
    bench_crew_work(team->bench, &team->crew, &team->from, 3.0, -1.0);
}

static struct message team_lease(const struct team *team, uint32_t i, size_t since)
{
    return *bench_expect(team->bench, team->learner[i].peer, MESSAGE_TRAIN_LEASE, since);
}

static bool team_has_lease(const struct team *team, uint32_t i, size_t since)
{
    return bench_last(team->bench, team->learner[i].peer, MESSAGE_TRAIN_LEASE, since);
}

/* The result of this lease; weights 0: as the bench's versions have them. */
static void team_result(struct team *team, uint32_t i, const struct message *lease,
                        unsigned char weights)
{
    struct message result = {.type = MESSAGE_TRAIN_RESULT,
                             .lease = lease->lease,
                             .step = lease->step,
                             .version = lease->step + 1,
                             .rank = lease->rank,
                             .has_hash = true};
    result.hash.bytes[0] = weights ? weights : (unsigned char)(100 + result.version);
    bench_send(team->bench, &team->learner[i], result);
}

static void team_failed(struct team *team, uint32_t i, const struct message *lease)
{
    struct message failed = {.type = MESSAGE_LEASE_FAILED, .lease = lease->lease};
    snprintf(failed.text, sizeof failed.text, "a rank is gone");
    bench_send(team->bench, &team->learner[i], failed);
}

static void team_lose(struct team *team, uint32_t i)
{
    bench_event(team->bench,
                (struct core_event){.kind = CORE_EV_PEER_GONE, .peer = team->learner[i].peer});
}

static uint64_t trained(const struct team *team)
{
    return bench_stats(team->bench)->trained;
}

/* --- the tests --------------------------------------------------------------------------- */

static void a_step_is_leased_to_all_learners_with_ranks_by_name(void **state)
{
    struct team team;
    team_begin(&team, state);
    team.bench->config.steps = 3;
    team_work(&team);
    for (uint32_t i = 0; i < LEARNERS; i++) {
        const struct message lease = team_lease(&team, i, 0);
        assert_int_equal(lease.step, 0);
        assert_int_equal(lease.rank, i);
        assert_int_equal(lease.ranks_n, LEARNERS);
        assert_int_equal(lease.attempt, team_lease(&team, 0, 0).attempt);
        assert_int_not_equal(lease.attempt, 0);
        assert_string_equal(lease.ranks[2].name, "learner-2");
        assert_string_equal(lease.ranks[1].endpoint, "ipc://bulk-1");
        assert_int_equal(lease.items_n, 2);
    }
}

static void a_step_is_committed_by_rank_0_alone(void **state)
{
    struct team team;
    team_begin(&team, state);
    team_work(&team);
    const struct message lease[LEARNERS] = {team_lease(&team, 0, 0), team_lease(&team, 1, 0),
                                            team_lease(&team, 2, 0)};
    team_result(&team, 1, &lease[1], 0);
    team_result(&team, 2, &lease[2], 0);
    assert_int_equal(trained(&team), 0);
    team_result(&team, 0, &lease[0], 0);
    assert_int_equal(trained(&team), 1);
}

static void the_next_step_waits_for_the_slowest_learner(void **state)
{
    struct team team;
    team_begin(&team, state);
    team_work(&team);
    const struct message lease[LEARNERS] = {team_lease(&team, 0, 0), team_lease(&team, 1, 0),
                                            team_lease(&team, 2, 0)};
    const size_t since = team.bench->sent_n;
    team_result(&team, 0, &lease[0], 0);
    team_result(&team, 1, &lease[1], 0);
    team_work(&team);
    assert_int_equal(trained(&team), 1);
    assert_false(team_has_lease(&team, 0, since));
    team_result(&team, 2, &lease[2], 0);
    assert_int_equal(team_lease(&team, 0, since).step, 1);
    assert_int_equal(team_lease(&team, 2, since).ranks_n, LEARNERS);
    assert_true(team_lease(&team, 2, since).attempt > lease[2].attempt);
}

static void checkpoints_are_asked_of_rank_0(void **state)
{
    struct team team;
    ((struct bench *)*state)->config.checkpoint_every = 1;
    team_begin(&team, state);
    team_work(&team);
    assert_true(team_lease(&team, 0, 0).checkpoint);
    assert_false(team_lease(&team, 1, 0).checkpoint);
    assert_false(team_lease(&team, 2, 0).checkpoint);
}

static void a_learner_that_is_gone_is_not_waited_for(void **state)
{
    struct team team;
    team_begin(&team, state);
    team_work(&team);
    const struct message old = team_lease(&team, 0, 0);
    const size_t since = team.bench->sent_n;
    team_lose(&team, 0);
    for (uint32_t i = 1; i < LEARNERS; i++) {
        const struct message lease = team_lease(&team, i, since);
        assert_int_equal(lease.step, 0);
        assert_int_equal(lease.rank, i - 1);
        assert_int_equal(lease.ranks_n, 2);
        assert_true(lease.attempt > old.attempt);
    }
    assert_true(bench_said(team.bench, "ATTEMPT-OVER step 0: 3 learners began it together"));
    team_lose(&team, 2);
    const struct message alone = team_lease(&team, 1, since);
    assert_int_equal(alone.ranks_n, 0);
    assert_int_equal(alone.rank, 0);
    team_result(&team, 1, &alone, 0);
    assert_int_equal(trained(&team), 1);
}

static void a_learner_that_had_finished_when_rank_0_died_tells_of_the_step(void **state)
{
    struct team team;
    team_begin(&team, state);
    team_work(&team);
    const struct message lease = team_lease(&team, 1, 0);
    team_result(&team, 1, &lease, 0);
    assert_int_equal(trained(&team), 0);
    const size_t since = team.bench->sent_n;
    team_lose(&team, 0);
    const struct message again = team_lease(&team, 1, since);
    assert_int_equal(again.step, 0);
    assert_int_equal(again.ranks_n, 0); /* alone; and not to the one that is before the step */
    assert_false(team_has_lease(&team, 2, since));
    team_result(&team, 1, &again, 0);
    assert_int_equal(trained(&team), 1);
    const struct message behind = team_lease(&team, 2, since);
    assert_int_equal(behind.step, 0);
    team_result(&team, 2, &behind, 0);
    assert_int_equal(bench_stats(team.bench)->retrained, 1);
}

/* Those that have not finished may wait for its word that it needs nothing more of them. */
static void an_attempt_is_over_when_one_that_has_answered_is_gone(void **state)
{
    struct team team;
    team_begin(&team, state);
    team_work(&team);
    const struct message first = team_lease(&team, 0, 0), last = team_lease(&team, 2, 0);
    team_result(&team, 0, &first, 0);
    team_result(&team, 2, &last, 0);
    assert_int_equal(trained(&team), 1);
    const size_t since = team.bench->sent_n;
    team_lose(&team, 0);
    const struct message again = team_lease(&team, 1, since);
    assert_int_equal(again.step, 0);
    assert_int_equal(again.ranks_n, 0); /* 0 is gone, 2 at version 1 */
    assert_true(again.attempt > first.attempt);
    team_work(&team);
    assert_false(team_has_lease(&team, 2, since));
    team_result(&team, 1, &again, 0);
    assert_int_equal(team_lease(&team, 1, since).step, 1);
    assert_int_equal(team_lease(&team, 2, since).ranks_n, 2);
}

static void an_attempt_at_a_step_not_yet_recorded_is_over_then_too(void **state)
{
    struct team team;
    team_begin(&team, state);
    team_work(&team);
    const struct message old = team_lease(&team, 1, 0);
    team_result(&team, 1, &old, 0);
    const size_t since = team.bench->sent_n;
    team_lose(&team, 1);
    for (uint32_t i = 0; i < LEARNERS; i += 2) {
        const struct message lease = team_lease(&team, i, since);
        assert_int_equal(lease.step, 0);
        assert_int_equal(lease.ranks_n, 2);
        assert_true(lease.attempt > old.attempt);
        team_result(&team, i, &lease, 0);
    }
    assert_int_equal(trained(&team), 1);
}

static void a_learner_that_comes_back_is_waited_for(void **state)
{
    struct team team;
    team_begin(&team, state);
    team_work(&team);
    team_lose(&team, 2);
    for (uint32_t i = 0; i < 2; i++) {
        const struct message lease = team_lease(&team, i, 0);
        assert_int_equal(lease.ranks_n, 2);
        team_result(&team, i, &lease, 0);
    }
    assert_int_equal(trained(&team), 1);
    /* Before step 1 can begin, it is there again, with the version of the checkpoint. */
    const size_t since = team.bench->sent_n;
    learner_join(&team, 2, 21, 0);
    const struct message recorded = team_lease(&team, 2, since);
    assert_int_equal(recorded.step, 0);
    assert_int_equal(recorded.ranks_n, 0);
    team_work(&team);
    assert_false(team_has_lease(&team, 0, since));
    team_result(&team, 2, &recorded, 0);
    assert_int_equal(team_lease(&team, 0, since).step, 1);
    assert_int_equal(team_lease(&team, 2, since).ranks_n, LEARNERS);
}

static void learners_at_the_same_version_catch_up_together(void **state)
{
    struct team team;
    team_begin(&team, state);
    team_work(&team);
    for (uint32_t i = 0; i < LEARNERS; i++) {
        const struct message lease = team_lease(&team, i, 0);
        team_result(&team, i, &lease, 0);
    }
    assert_int_equal(trained(&team), 1);
    bench_restart(team.bench, 0); /* all start again, from before step 0 */
    const size_t since = team.bench->sent_n;
    for (uint32_t i = 0; i < LEARNERS; i++) {
        assert_null(bench_last(team.bench, 0, MESSAGE_TRAIN_LEASE, since));
        learner_join(&team, i, 31 + i, 0);
    }
    for (uint32_t i = 0; i < LEARNERS; i++) {
        const struct message lease = team_lease(&team, i, since);
        assert_int_equal(lease.step, 0);
        assert_int_equal(lease.ranks_n, LEARNERS);
        team_result(&team, i, &lease, 0);
    }
    assert_int_equal(bench_stats(team.bench)->retrained, LEARNERS);
}

/* Two recorded steps; then all start again, with these versions. */
static size_t team_restart_after_two_steps(struct team *team, void **state,
                                           const uint64_t version[LEARNERS])
{
    team_begin(team, state);
    for (uint32_t step = 0; step < 2; step++) {
        team_work(team);
        for (uint32_t i = 0; i < LEARNERS; i++) {
            const struct message lease = team_lease(team, i, 0);
            assert_int_equal(lease.step, step);
            team_result(team, i, &lease, 0);
        }
    }
    assert_int_equal(trained(team), 2);
    bench_restart(team->bench, 0);
    const size_t since = team->bench->sent_n;
    for (uint32_t i = 0; i < LEARNERS; i++)
        learner_join(team, i, 31 + i, version[i]);
    return since;
}

/* The first that has trained step 0 again does not begin step 1 by itself. */
static void learners_that_catch_up_stay_together(void **state)
{
    struct team team;
    size_t since = team_restart_after_two_steps(&team, state, (const uint64_t[]){0, 0, 0});
    struct message lease[LEARNERS];
    for (uint32_t i = 0; i < LEARNERS; i++)
        lease[i] = team_lease(&team, i, since);
    since = team.bench->sent_n;
    for (uint32_t i = 0; i < LEARNERS; i++) {
        for (uint32_t k = 0; k < LEARNERS; k++)
            assert_false(team_has_lease(&team, k, since));
        team_result(&team, i, &lease[i], 0);
    }
    for (uint32_t i = 0; i < LEARNERS; i++) {
        const struct message next = team_lease(&team, i, since);
        assert_int_equal(next.step, 1);
        assert_int_equal(next.ranks_n, LEARNERS);
    }
}

static void learners_that_are_further_on_wait_for_those_behind(void **state)
{
    struct team team;
    size_t since = team_restart_after_two_steps(&team, state, (const uint64_t[]){1, 0, 1});
    const struct message lease = team_lease(&team, 1, since);
    assert_int_equal(lease.step, 0);
    assert_int_equal(lease.ranks_n, 0);
    assert_false(team_has_lease(&team, 0, since));
    assert_false(team_has_lease(&team, 2, since));
    since = team.bench->sent_n;
    team_result(&team, 1, &lease, 0);
    for (uint32_t i = 0; i < LEARNERS; i++) {
        const struct message next = team_lease(&team, i, since);
        assert_int_equal(next.step, 1);
        assert_int_equal(next.ranks_n, LEARNERS);
    }
}

static void learners_that_disagree_halt_the_run(void **state)
{
    struct team team;
    team_begin(&team, state);
    team_work(&team);
    const struct message lease[LEARNERS] = {team_lease(&team, 0, 0), team_lease(&team, 1, 0),
                                            team_lease(&team, 2, 0)};
    team_result(&team, 2, &lease[2], 0x77);
    team_result(&team, 0, &lease[0], 0);
    assert_true(team.bench->finished);
    assert_int_equal(team.bench->exit_code, CORE_EXIT_HALT);
    assert_non_null(strstr(team.bench->finish_text,
                           "not reproducible: step 0 gave weights 6500000000000000... on "
                           "learner-0, 7700000000000000... on learner-2"));
}

static void a_learner_that_disagrees_with_the_record_halts_the_run(void **state)
{
    struct team team;
    team_begin(&team, state);
    team_work(&team);
    const struct message lease[LEARNERS] = {team_lease(&team, 0, 0), team_lease(&team, 1, 0),
                                            team_lease(&team, 2, 0)};
    team_result(&team, 0, &lease[0], 0);
    team_result(&team, 1, &lease[1], 0x77);
    assert_true(team.bench->finished);
    assert_non_null(strstr(team.bench->finish_text, "learner-1"));
}

static void attempts_that_fail_end_with_one_learner_alone(void **state)
{
    struct team team;
    team_begin(&team, state);
    team_work(&team);
    for (uint32_t fails = 0; fails < CORE_GROUP_FAILS_MAX; fails++) {
        const struct message lease = team_lease(&team, 1, 0);
        assert_int_equal(lease.ranks_n, LEARNERS);
        team_failed(&team, 1, &lease);
        assert_false(team.bench->finished);
        for (uint64_t attempt = lease.attempt, i = 0; i < 200; i++) {
            bench_tick(team.bench, 50);
            for (uint32_t l = 0; l < LEARNERS; l++) {
                struct message beat = {.type = MESSAGE_HEARTBEAT, .progress = i + 1};
                bench_send(team.bench, &team.learner[l], beat);
            }
            if (team_lease(&team, 0, 0).attempt > attempt)
                break;
        }
    }
    const struct message alone = team_lease(&team, 0, 0);
    assert_int_equal(alone.ranks_n, 0);
    team_result(&team, 0, &alone, 0);
    assert_int_equal(trained(&team), 1);
}

static void the_first_step_waits_for_learners_that_are_to_come(void **state)
{
    struct team team = {.bench = *state};
    struct bench *bench = team.bench;
    bench->config.learners = 2;
    bench_open(bench);
    bench_start(bench);
    learner_join(&team, 0, 11, 0);
    bench_join(bench, &team.crew.actor, 2, bench_hello(WIRE_ROLE_ACTOR, "actor-0"));
    bench_join(bench, &team.crew.reward, 3, bench_hello(WIRE_ROLE_REWARD, "reward-0"));
    team_work(&team);
    assert_false(team_has_lease(&team, 0, 0));
    for (uint32_t ms = 0; ms < bench->config.dead_ms; ms += 50) {
        struct message beat = {.type = MESSAGE_HEARTBEAT};
        bench_send(bench, &team.learner[0], beat);
        bench_tick(bench, 50);
    }
    assert_int_equal(team_lease(&team, 0, 0).ranks_n, 0); /* but not for ever */
}

static void weights_are_asked_of_a_learner_that_has_the_newest(void **state)
{
    struct team team;
    team_begin(&team, state);
    team_work(&team);
    for (uint32_t i = 1; i < LEARNERS; i++) {
        const struct message lease = team_lease(&team, i, 0);
        team_result(&team, i, &lease, 0);
    }
    const struct message lease = team_lease(&team, 0, 0);
    const size_t since = team.bench->sent_n;
    team_lose(&team, 0);
    learner_join(&team, 0, 41, 0); /* first by name, and behind */
    const struct message again = team_lease(&team, 1, since);
    team_result(&team, 1, &again, 0);
    assert_int_equal(trained(&team), 1);
    const struct message *generate = bench_expect(team.bench, 2, MESSAGE_GENERATE_LEASE, since);
    assert_string_equal(generate->text, "ipc://bulk-1");
    assert_int_equal(lease.rank, 0);
}

/* One has trained step 1 already and falls silent: of step 2, which is from version 1, weights
 * are in the others too. */
static void weights_are_not_asked_of_a_learner_that_is_suspect(void **state)
{
    struct team team;
    ((struct bench *)*state)->config.lag = 1;
    team_begin(&team, state);
    team_work(&team);
    for (uint32_t i = LEARNERS; i-- > 0;) {
        const struct message lease = team_lease(&team, i, 0);
        team_result(&team, i, &lease, 0);
    }
    assert_int_equal(trained(&team), 1);
    const struct message lease = team_lease(&team, 1, 0);
    assert_int_equal(lease.step, 1);
    team_result(&team, 1, &lease, 0);

    struct bench_worker *const talkers[] = {&team.learner[0], &team.learner[2]};
    for (uint32_t beat = 0; beat < 3; beat++) {
        for (size_t i = 0; i < COUNT(talkers); i++)
            bench_send(team.bench, talkers[i], (struct message){.type = MESSAGE_HEARTBEAT});
        bench_tick(team.bench, 1000);
    }
    bench_send(team.bench, &team.crew.actor, (struct message){.type = MESSAGE_BYE});
    const size_t since = team.bench->sent_n;
    bench_join(team.bench, &team.crew.actor, 52, bench_hello(WIRE_ROLE_ACTOR, "actor-1"));
    const struct message *generate =
        bench_expect(team.bench, 52, MESSAGE_GENERATE_LEASE, since);
    assert_int_equal(generate->version, 1);
    assert_string_equal(generate->text, "ipc://bulk-0");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, bench_setup, bench_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_step_is_leased_to_all_learners_with_ranks_by_name),
        TEST(a_step_is_committed_by_rank_0_alone),
        TEST(the_next_step_waits_for_the_slowest_learner),
        TEST(checkpoints_are_asked_of_rank_0),
        TEST(a_learner_that_is_gone_is_not_waited_for),
        TEST(a_learner_that_had_finished_when_rank_0_died_tells_of_the_step),
        TEST(an_attempt_is_over_when_one_that_has_answered_is_gone),
        TEST(an_attempt_at_a_step_not_yet_recorded_is_over_then_too),
        TEST(a_learner_that_comes_back_is_waited_for),
        TEST(learners_at_the_same_version_catch_up_together),
        TEST(learners_that_catch_up_stay_together),
        TEST(learners_that_are_further_on_wait_for_those_behind),
        TEST(learners_that_disagree_halt_the_run),
        TEST(a_learner_that_disagrees_with_the_record_halts_the_run),
        TEST(attempts_that_fail_end_with_one_learner_alone),
        TEST(the_first_step_waits_for_learners_that_are_to_come),
        TEST(weights_are_asked_of_a_learner_that_has_the_newest),
        TEST(weights_are_not_asked_of_a_learner_that_is_suspect),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * test_ranks.c -- learners of a group that share no disk: each has a run directory of its own, as
 * on machines of their own.
 *
 * The oracle: the final weights are those of the same run with one learner, undisturbed.
 */
#include "tests/e2e/crew.h"

#define RANKS_STEPS "run.steps=14" /* more than the coordinator keeps in memory */

/* learner-0 writes where the coordinator does, learner-1 in NAME-1. */
static void ranks_start(struct crew *crew, const char *name)
{
    char common[300];
    snprintf(crew->log, sizeof crew->log, "%s.log", name);
    snprintf(
        common, sizeof common,
        "--control tcp://127.0.0.1:%d --config %s/faults.yaml workers.learners=2 " RANKS_STEPS
        " run.dir=%s/%s",
        crew_port(), dir, dir, name);
    crew_add(crew, "rlhf-coordinator --http 127.0.0.1:0 %s", common);
    crew_add(crew, "rlhf-learner --name learner-0 --bulk tcp://127.0.0.1:* %s", common);
    crew_add(crew, "rlhf-learner --name learner-1 --bulk tcp://127.0.0.1:* %s-1", common);
    crew_add(crew, "rlhf-reward --name reward-0 %s", common);
    crew_add(crew, "rlhf-actor --name actor-0 %s", common);
}

/* False where the run is over before so many steps are done. */
static bool ranks_wait_for_steps(struct crew *crew, const char *name, uint64_t steps)
{
    const uint64_t deadline = clock_mono_ms() + CREW_DEADLINE_MS;
    bool halted = false;
    while (faults_steps_done(name) < steps && clock_mono_ms() < deadline) {
        if (crew_turn(crew, &halted) || halted)
            return false;
        scene_nap(2);
    }
    return true;
}

/* It comes back with nothing: the steps that it lacks are sent to it again, the first of them out
 * of the ledger. */
static void a_learner_whose_disk_is_lost_catches_up_from_the_ledger(void **state)
{
    (void)state;
    struct crew crew = {0};
    char own[FILE_PATH_MAX], want[HASH_HEX_BYTES], sha[HASH_HEX_BYTES];
    faults_run("alone", RANKS_STEPS);
    scene_sha("alone/final/model.safetensors", want);

    ranks_start(&crew, "ranks");
    assert_true(ranks_wait_for_steps(&crew, "ranks", 10));
    struct member *lost = &crew.member[2];
    kill(lost->pid, SIGKILL);
    waitpid(lost->pid, NULL, 0);
    scene_path(own, "ranks-1");
    check_ok(file_remove_tree(own, &err));
    crew_start(&crew, lost);
    const bool over = crew_wait(&crew);
    crew_stop(&crew);
    if (!over)
        scene_show(crew.log);
    assert_true(over);

    scene_sha("ranks/final/model.safetensors", sha);
    assert_string_equal(sha, want);
    struct buf log;
    scene_read(crew.log, &log);
    assert_non_null(strstr(log.data, "step 0 is read from the ledger"));
    buf_release(&log);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_learner_whose_disk_is_lost_catches_up_from_the_ledger),
    };
    return cmocka_run_group_tests_name("e2e/ranks", tests, faults_setup, faults_teardown);
}

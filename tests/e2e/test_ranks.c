/*
 * test_ranks.c -- learners of a group that share no disk: each has a run directory of its own, as
 * on machines of their own; and groups that exchange their gradients in bf16.
 *
 * The oracle: the final weights are those of the same run with one learner, undisturbed.
 */
#include "base/fault.h"
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

/* Whoever of the learners was first in the last step has written it, into its own directory. */
static void ranks_final_sha(const struct crew *crew, char sha[HASH_HEX_BYTES])
{
    static const char *const finals[] = {"ranks/final/model.safetensors",
                                         "ranks-1/final/model.safetensors"};
    char path[FILE_PATH_MAX];
    for (size_t i = 0; i < COUNT(finals); i++) {
        scene_path(path, finals[i]);
        if (file_exists(path)) {
            scene_sha(finals[i], sha);
            return;
        }
    }
    scene_show(crew->log);
    fail_msg("the run is over, and its policy is nowhere");
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

    held_begin();
    ranks_start(&crew, "ranks");
    held_end();
    crew_go_to(&crew, "ranks", 10);
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

    ranks_final_sha(&crew, sha);
    assert_string_equal(sha, want);
    struct buf log;
    scene_read(crew.log, &log);
    assert_non_null(strstr(log.data, "step 0 is read from the ledger"));
    buf_release(&log);
}

#define RANKS_BF16 "optimizer.gradients=bf16"

/* Any number of learners; and one of them killed, once, in the middle of an exchange, and once
 * when it has the sum and the others may not. */
static void learners_in_bf16_end_with_the_weights_of_one(void **state)
{
    (void)state;
    static const char *const faults[] = {NULL, NULL, NULL, "exchange_chunk:2:kill:learner-1",
                                         "train_summed:2:kill:learner-0"};
    static const uint32_t learners[] = {2, 3, 4, 3, 2};
    char fp32[HASH_HEX_BYTES], want[HASH_HEX_BYTES], sha[HASH_HEX_BYTES];
    faults_run("fp32", "");
    scene_sha("fp32/final/model.safetensors", fp32);
    faults_run("bf16", RANKS_BF16);
    scene_sha("bf16/final/model.safetensors", want);
    assert_string_not_equal(want, fp32);
    for (size_t i = 0; i < COUNT(faults); i++) {
        char name[32], overrides[128], final[64];
        snprintf(name, sizeof name, "bf16-%zu", i);
        snprintf(overrides, sizeof overrides, RANKS_BF16 " workers.learners=%u", learners[i]);
        snprintf(final, sizeof final, "%s/final/model.safetensors", name);
        if (faults[i])
            setenv("RLHF_FAULT", faults[i], 1);
        setenv("RLHF_FAULT_DIR", dir, 1);
        faults_run(name, overrides);
        unsetenv("RLHF_FAULT");
        unsetenv("RLHF_FAULT_DIR");
        scene_sha(final, sha);
        if (strcmp(sha, want) != 0)
            fail_msg("%s with %s: %s, not %s", overrides, faults[i] ? faults[i] : "none killed",
                     sha, want);
        faults_remove(name);
    }
    char mark[FILE_PATH_MAX];
    scene_path(mark, "exchange_chunk");
    assert_true(file_exists(mark));
    scene_path(mark, "train_summed");
    assert_true(file_exists(mark));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_learner_whose_disk_is_lost_catches_up_from_the_ledger),
        cmocka_unit_test(learners_in_bf16_end_with_the_weights_of_one),
    };
    return cmocka_run_group_tests_name("e2e/ranks", tests, faults_setup, faults_teardown);
}

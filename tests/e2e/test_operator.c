/*
 * test_operator.c -- `rlhf run` itself killed at random, with all below it, while somebody pauses,
 * resumes and drains the run and asks for checkpoints: commands that come while nobody answers,
 * that are cut off, that wait for a run that is gone.
 *
 * Oracle: the SHA-256 of the weights of the same run that nobody disturbed, and `rlhf replay`,
 * which derives every record of its ledger again.
 *
 *     test_operator [FILTER]
 *     test_operator --seeds FROM N
 */
#define _DEFAULT_SOURCE /* mkdtemp */
#include "tests/e2e/crew.h"
#include "tests/unit/cli_run.h"

#define OPERATOR_STEPS       30
#define OPERATOR_ACTS        40   /* of one run; then it is only resumed */
#define OPERATOR_PAUSE_MS    160u /* between two of them, at most */
#define OPERATOR_COMMANDS    64

static uint64_t seed_from = 1, seeds = 2;
static char undisturbed[HASH_HEX_BYTES];

enum act { ACT_PAUSE, ACT_RESUME, ACT_CHECKPOINT, ACT_DRAIN, ACT_KILL, ACTS };
static const char *const act_names[ACTS] = {"pause", "resume", "checkpoint", "drain", "kill"};
static const enum act act_wheel[] = {ACT_PAUSE,      ACT_RESUME, ACT_RESUME, ACT_CHECKPOINT,
                                     ACT_CHECKPOINT, ACT_DRAIN,  ACT_KILL,   ACT_RESUME,
                                     ACT_PAUSE,      ACT_KILL};

struct operator
{
    char name[32], run_dir[FILE_PATH_MAX];
    pid_t run;                        /* 0: none */
    pid_t command[OPERATOR_COMMANDS]; /* that may not have returned; 0: free */
    unsigned starts, done[ACTS];
};

static pid_t operator_start(const char *name, uint32_t learners)
{
    char overrides[128];
    snprintf(overrides, sizeof overrides, "--quiet run.steps=%d workers.learners=%u",
             OPERATOR_STEPS, learners);
    return faults_start(name, overrides);
}

/* A command that nobody waits for. */
static void operator_ask(struct operator* op, enum act act)
{
    const char *const argv[] = {RLHF_BIN "/rlhf", act_names[act], op->run_dir, NULL};
    posix_spawn_file_actions_t actions;
    size_t i = 0;
    while (i < OPERATOR_COMMANDS && op->command[i] > 0 &&
           waitpid(op->command[i], NULL, WNOHANG) == 0)
        i++;
    assert_true(i < OPERATOR_COMMANDS);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
    assert_int_equal(
        posix_spawn(&op->command[i], argv[0], &actions, NULL, (char *const *)argv, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    op->done[act]++;
}

static void operator_act(struct operator* op, enum act act)
{
    if (act != ACT_KILL) {
        operator_ask(op, act);
    } else if (op->run > 0) {
        kill(op->run, SIGKILL);
        op->done[act]++;
    }
}

static bool operator_is_over(const struct operator* op)
{
    char path[FILE_PATH_MAX];
    check_ok(file_join(path, op->run_dir, "final/model.safetensors", &err));
    return file_exists(path);
}

/* Whoever has ended, drained or killed or because what was killed was there still, starts again. */
static bool operator_turn(struct operator* op, uint32_t learners)
{
    int status;
    if (op->run > 0 && waitpid(op->run, &status, WNOHANG) == op->run) {
        op->run = 0;
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0 && operator_is_over(op))
            return true;
        if (WIFEXITED(status) && WEXITSTATUS(status) == 65) {
            faults_show(op->name);
            fail_msg("%s: the run halted", op->name);
        }
        scene_nap(50);
    }
    if (op->run == 0) {
        op->run = operator_start(op->name, learners);
        op->starts++;
    }
    return false;
}

static void operator_end(struct operator* op)
{
    for (size_t i = 0; i < OPERATOR_COMMANDS; i++)
        if (op->command[i] > 0 && waitpid(op->command[i], NULL, WNOHANG) == 0) {
            kill(op->command[i], SIGKILL);
            waitpid(op->command[i], NULL, 0);
        }
}

static void operator_check(struct operator* op, bool over)
{
    char sha[HASH_HEX_BYTES], final[128], line[FILE_PATH_MAX + 16];
    operator_end(op);
    if (!over) {
        faults_show(op->name);
        fail_msg("%s: the run does not finish", op->name);
    }
    snprintf(final, sizeof final, "%s/final/model.safetensors", op->name);
    scene_sha(final, sha);
    assert_string_equal(sha, undisturbed);
    snprintf(line, sizeof line, "rlhf replay %s", op->run_dir);
    check_line(cli_main, line, 0, ": 30 steps of 120 slots, ");
    print_message(
        "run %s: %u starts, %u pauses, %u resumes, %u checkpoints, %u drains, %u kills\n",
        op->name, op->starts, op->done[ACT_PAUSE], op->done[ACT_RESUME],
        op->done[ACT_CHECKPOINT], op->done[ACT_DRAIN], op->done[ACT_KILL]);
    faults_remove(op->name);
}

static void survives(uint64_t seed, uint32_t learners)
{
    static struct operator op;
    op = (struct operator){0};
    snprintf(op.name, sizeof op.name, "op-%llu-%u", (unsigned long long)seed, learners);
    scene_path(op.run_dir, op.name);
    const uint64_t deadline = clock_mono_ms() + SCENE_DEADLINE_MS;
    uint64_t next_ms = clock_mono_ms();
    bool over = false;
    for (uint64_t k = 0; !over && clock_mono_ms() < deadline; scene_nap(2)) {
        over = operator_turn(&op, learners);
        if (over || clock_mono_ms() < next_ms)
            continue;
        const enum act act = act_wheel[crew_draw(seed, 2 * k, COUNT(act_wheel))];
        operator_act(&op, k < OPERATOR_ACTS ? act : ACT_RESUME);
        next_ms = clock_mono_ms() + (k < OPERATOR_ACTS
                                         ? crew_draw(seed, 2 * k + 1, OPERATOR_PAUSE_MS)
                                         : 1000); /* and then nothing but that it goes on */
        k++;
    }
    operator_check(&op, over);
}

static void a_run_ends_alike_whatever_its_operator_does(void **state)
{
    (void)state;
    for (uint64_t seed = seed_from; seed < seed_from + seeds; seed++)
        survives(seed, 1 + seed % 2);
}

static int setup(void **state)
{
    (void)state;
    scene_make();
    faults_write_config();
    assert_int_equal(scene_wait(operator_start("plain", 1)), 0);
    scene_sha("plain/final/model.safetensors", undisturbed);
    return 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_ends_alike_whatever_its_operator_does),
    };
    if (argc == 4 && strcmp(argv[1], "--seeds") == 0) {
        seed_from = strtoull(argv[2], NULL, 10);
        seeds = strtoull(argv[3], NULL, 10);
    } else if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    return cmocka_run_group_tests_name("e2e/op", tests, setup, faults_teardown);
}

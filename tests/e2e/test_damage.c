/*
 * test_damage.c -- whole runs whose checkpoints are damaged or gone when a learner looks for
 * them: it goes on from an older one, or from the models of the run, to the same weights.
 */
#include "tests/e2e/faults.h"
#include "tests/e2e/held.h"

enum damage { DAMAGE_TRUNCATE, DAMAGE_FLIP, DAMAGE_DELETE, DAMAGES };
static const char *const damage_names[DAMAGES] = {"truncate", "flip", "delete"};

static void damage_file(const char *path, enum damage damage)
{
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    if (damage == DAMAGE_TRUNCATE) {
        assert_int_equal(truncate(path, info.st_size / 2), 0);
        return;
    }
    const int fd = open(path, O_RDWR | O_CLOEXEC);
    unsigned char byte;
    assert_int_equal(pread(fd, &byte, 1, info.st_size / 2), 1);
    byte ^= 1;
    assert_int_equal(pwrite(fd, &byte, 1, info.st_size / 2), 1);
    assert_int_equal(close(fd), 0);
}

/* The newest `n` checkpoints below the run; how many there were. */
static size_t damage_newest(const char *name, size_t n, enum damage damage)
{
    char root[FILE_PATH_MAX], path[FILE_PATH_MAX];
    snprintf(root, sizeof root, "%s/%s/checkpoints", dir, name);
    struct dirent **names;
    const int count = scandir(root, &names, NULL, alphasort);
    assert_true(count > 2);
    size_t done = 0;
    for (int i = count; i-- > 0; free(names[i])) {
        if (names[i]->d_name[0] != 'v' || done == n)
            continue;
        done++;
        check_ok(file_join(path, root, names[i]->d_name, &err));
        if (damage == DAMAGE_DELETE) {
            check_ok(file_remove_tree(path, &err));
            continue;
        }
        char file[FILE_PATH_MAX];
        check_ok(file_join(file, path, "policy/model.safetensors", &err));
        damage_file(file, damage);
    }
    free(names);
    return done;
}

/* The run stands still with three steps done; `run` becomes its directory. */
static pid_t start_to_step_3(const char *name, const char *overrides, char run[FILE_PATH_MAX])
{
    scene_path(run, name);
    held_begin();
    const pid_t pid = faults_start(name, overrides);
    held_end();
    held_go_to(pid, run, 3);
    return pid;
}

/* Stop the run after three steps, damage what it has written, go on. */
static void survives(const char *name, const char *overrides, size_t newest, enum damage damage,
                     const char *said)
{
    char run[FILE_PATH_MAX];
    const pid_t pid = start_to_step_3(name, overrides, run);
    held_interrupt(pid, run);
    assert_int_equal(held_wait(pid, run), 75);
    assert_true(damage_newest(name, newest, damage) >= 1);
    assert_int_equal(faults_run(name, overrides), 1);
    faults_check(name);
    struct buf log;
    char path[128];
    snprintf(path, sizeof path, "%s/run.log", name);
    scene_read(path, &log);
    if (!strstr(log.data, said))
        fail_msg("%s: the log does not say %s", name, said);
    buf_release(&log);
    print_message("run damage of %s\n", name);
}

/* Of three the newest two: the last may be of a step that the ledger does not have yet. */
static void the_newest_checkpoints_may_be_damaged(void **state)
{
    (void)state;
    for (uint32_t learners = 1; learners <= 2; learners++)
        for (int damage = 0; damage < DAMAGES; damage++) {
            char name[64], overrides[64];
            snprintf(name, sizeof name, "%s-%u", damage_names[damage], learners);
            snprintf(overrides, sizeof overrides, "workers.learners=%u checkpoint.keep=3",
                     learners);
            survives(name, overrides, 2, (enum damage)damage, "RECALL");
        }
}

static void all_checkpoints_may_be_damaged(void **state)
{
    (void)state;
    for (int damage = 0; damage < DAMAGES; damage++) {
        char name[64];
        snprintf(name, sizeof name, "all-%s", damage_names[damage]);
        survives(name, "", 9, (enum damage)damage, "step 0 is read from the ledger");
    }
    survives("all-2", "workers.learners=2", 9, DAMAGE_FLIP, "CHECKPOINT-NONE");
}

/* The learner that wrote them dies too, while the run goes on. */
static void a_learner_may_die_beside_its_damaged_checkpoint(void **state)
{
    (void)state;
    for (uint32_t learners = 1; learners <= 2; learners++) {
        char name[64], overrides[64], run[FILE_PATH_MAX];
        snprintf(name, sizeof name, "alive-%u", learners);
        snprintf(overrides, sizeof overrides, "workers.learners=%u", learners);
        const pid_t pid = start_to_step_3(name, overrides, run);
        const pid_t learner = held_find(pid, run, "--name learner-0");
        assert_int_equal(kill(learner, SIGSTOP), 0); /* it removes none meanwhile */
        damage_newest(name, 1, DAMAGE_FLIP);
        assert_int_equal(kill(learner, SIGKILL), 0);
        if (held_wait(pid, run) != 0)
            faults_run(name, overrides);
        faults_check(name);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_newest_checkpoints_may_be_damaged),
        cmocka_unit_test(all_checkpoints_may_be_damaged),
        cmocka_unit_test(a_learner_may_die_beside_its_damaged_checkpoint),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("e2e/damage", tests, faults_setup, faults_teardown);
}

/*
 * test_base_fault.c -- base/fault.h: what arms a point, when it fires, and that it fires once.
 * The oracle is the header's text.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/file.h"
#include "tests/test.h"

static char dir[64];

static int make_dir(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/rlhfd-fault-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    (void)state;
    fault_armed = -1;
    return file_remove_tree(dir, NULL) == ERR_OK ? 0 : -1;
}

static void fault_names_what_is_wrong_in_its_word(void **state)
{
    (void)state;
    static const char *const wrong[] = {"nowhere:1:kill",      "ledger_commit",
                                        "ledger_commit:kill",  "ledger_commit:0:kill",
                                        "ledger_commit:1:jam", "ledger_commit:1",
                                        "ledger_commi:1:kill", "ledger_commit:-2:kill"};
    for (size_t i = 0; i < COUNT(wrong); i++) {
        check_fails(fault_arm(wrong[i], NULL, "learner-0", &err), ERR_USAGE, wrong[i]);
        assert_int_equal(fault_armed, -1);
    }
    check_ok(fault_arm(NULL, NULL, "learner-0", &err));
    check_ok(fault_arm("", NULL, "learner-0", &err));
    check_ok(fault_arm("ledger_commit:1:eio:coordinator", NULL, "learner-0", &err));
    assert_int_equal(fault_armed, -1); /* another is meant */
    assert_false(fault_at(FAULT_ledger_commit));
}

static void fault_bits_are_wrong_from_the_nth_time_on(void **state)
{
    (void)state;
    check_ok(fault_arm("actor_turn:2:bits:actor-1", dir, "actor-1", &err));
    assert_false(fault_at(FAULT_actor_turn));
    assert_false(fault_at(FAULT_actor_lease));
    for (int i = 0; i < 5; i++)
        assert_true(fault_at(FAULT_actor_turn));
}

static void fault_stops_the_process_from_the_nth_time_on(void **state)
{
    (void)state;
    const pid_t child = fork();
    if (child == 0) {
        if (fault_arm("actor_turn:2:stop", dir, "actor-0", NULL) != ERR_OK)
            _exit(9);
        for (int i = 0; i < 4; i++)
            if (fault_at(FAULT_actor_turn))
                _exit(8);
        _exit(7);
    }
    int status = 0;
    for (int i = 0; i < 3; i++) { /* the second time to the fourth */
        assert_int_equal(waitpid(child, &status, WUNTRACED), child);
        assert_true(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
        assert_int_equal(kill(child, SIGCONT), 0);
    }
    assert_int_equal(waitpid(child, &status, WUNTRACED), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 7);
}

static void fault_fires_the_nth_time_at_its_point_alone(void **state)
{
    (void)state;
    check_ok(fault_arm("ledger_commit:3:enospc:learner", NULL, "learner-0", &err));
    errno = 0;
    assert_false(fault_at(FAULT_ledger_begin));
    assert_false(fault_at(FAULT_ledger_commit));
    assert_false(fault_at(FAULT_ledger_commit));
    assert_int_equal(errno, 0);
    assert_true(fault_at(FAULT_ledger_commit));
    assert_int_equal(errno, ENOSPC);
    for (int i = 0; i < 5; i++)
        assert_false(fault_at(FAULT_ledger_commit));
}

/* The next life of a process finds the mark of the one before. */
static void fault_fires_once_where_it_leaves_a_mark(void **state)
{
    (void)state;
    char mark[FILE_PATH_MAX];
    check_ok(file_join(mark, dir, "file_write", &err));
    for (int life = 0; life < 3; life++) {
        check_ok(fault_arm("file_write:1:eio", dir, "actor-0", &err));
        assert_int_equal(file_exists(mark), life > 0);
        assert_int_equal(fault_at(FAULT_file_write), life == 0);
    }
}

static void fault_kills_or_ends_the_process(void **state)
{
    (void)state;
    static const char *const words[] = {"actor_turn:1:kill", "actor_turn:1:exit"};
    for (size_t i = 0; i < COUNT(words); i++) {
        const pid_t child = fork();
        if (child == 0) {
            if (fault_arm(words[i], NULL, "actor-0", NULL) == ERR_OK)
                fault_at(FAULT_actor_turn);
            _exit(1);
        }
        int status = 0;
        assert_int_equal(waitpid(child, &status, 0), child);
        if (i == 0)
            assert_true(WIFSIGNALED(status) && WTERMSIG(status) == 9);
        else
            assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 70);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fault_names_what_is_wrong_in_its_word),
        cmocka_unit_test(fault_fires_the_nth_time_at_its_point_alone),
        cmocka_unit_test(fault_bits_are_wrong_from_the_nth_time_on),
        cmocka_unit_test(fault_stops_the_process_from_the_nth_time_on),
        cmocka_unit_test(fault_fires_once_where_it_leaves_a_mark),
        cmocka_unit_test(fault_kills_or_ends_the_process),
    };
    return cmocka_run_group_tests_name("base/fault", tests, make_dir, remove_dir);
}

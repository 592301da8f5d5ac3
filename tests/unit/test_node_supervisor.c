/*
 * test_node_supervisor.c -- real child processes (/bin/sh), watched through a list of events.
 *
 * The oracle is the diagram of supervisor.h, walked arrow by arrow.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

#include "base/file.h"
#include "node/supervisor.h"
#include "tests/test.h"

static uv_loop_t loop;
static struct supervisor *supervisor;
static char story[1024]; /* "RUNNING WAITING(7) RUNNING ..." */
static uint32_t last_delay_ms;

static void listen_to(void *arg, const struct supervisor_event *event)
{
    (void)arg;
    const size_t n = strlen(story);
    snprintf(story + n, sizeof story - n, "%s%s", n ? " " : "",
             supervisor_state_name(event->state));
    if (event->state != SUPERVISOR_RUNNING) {
        const size_t m = strlen(story);
        snprintf(story + m, sizeof story - m, "(%d)",
                 event->signal ? -event->signal : event->status);
    }
    last_delay_ms = event->delay_ms;
}

static size_t run_shell(const char *script)
{
    const char *const argv[] = {"/bin/sh", "-c", script, NULL};
    const int fd = open("/dev/null", O_WRONLY);
    size_t child = 0;
    check_ok(supervisor_start(supervisor, "child", argv, fd, &child, &err));
    close(fd);
    return child;
}

static void begin(uint32_t restarts_max)
{
    story[0] = '\0';
    uv_loop_init(&loop);
    supervisor = supervisor_open(&loop, restarts_max, listen_to, NULL);
    assert_non_null(supervisor);
}

static void end(void)
{
    supervisor_close(supervisor);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
}

static void turn_until_quiet(void)
{
    for (int i = 0; i < 1000 && supervisor_alive(supervisor) > 0; i++)
        uv_run(&loop, UV_RUN_ONCE);
}

static void supervisor_lets_a_finished_child_rest(void **state)
{
    (void)state;
    begin(3);
    run_shell("exit 0");
    turn_until_quiet();
    assert_string_equal(story, "RUNNING DONE(0)");
    end();
}

static void supervisor_does_not_restart_what_a_restart_cannot_mend(void **state)
{
    (void)state;
    begin(3);
    run_shell("exit 78");
    turn_until_quiet();
    assert_string_equal(story, "RUNNING FAILED(78)");
    end();
}

static void supervisor_restarts_a_crash_and_gives_up_in_the_end(void **state)
{
    (void)state;
    begin(2);
    run_shell("kill -9 $$");
    turn_until_quiet();
    assert_string_equal(story, "RUNNING WAITING(-9) RUNNING WAITING(-9) RUNNING FAILED(-9)");
    assert_int_equal(last_delay_ms, 200); /* the second delay is twice the first */
    end();
}

static void supervisor_gives_up_sooner_on_what_says_that_it_cannot(void **state)
{
    (void)state;
    begin(20);
    run_shell("exit 74");
    turn_until_quiet();
    assert_string_equal(story, "RUNNING WAITING(74) RUNNING WAITING(74) RUNNING WAITING(74) "
                               "RUNNING FAILED(74)");
    end();
}

/* In the end nothing is alive: a test that waits in vain is ended from outside. */
static void stop_and_turn(uint32_t grace_ms)
{
    supervisor_stop(supervisor, grace_ms);
    while (supervisor_alive(supervisor) > 0)
        uv_run(&loop, UV_RUN_ONCE);
}

static void supervisor_stops_with_term(void **state)
{
    (void)state;
    begin(3);
    run_shell("exec sleep 60");
    stop_and_turn(60000);
    assert_string_equal(story, "RUNNING STOPPED(-15)");
    end();
}

/* What is ignored stays so in another program; the file says that it is. */
static void supervisor_kills_what_term_does_not_stop(void **state)
{
    (void)state;
    char dir[] = "/tmp/supervisor-XXXXXX", path[64], script[128];
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/deaf", dir);
    snprintf(script, sizeof script, "trap '' TERM; : > %s; exec sleep 60", path);
    begin(3);
    run_shell(script);
    while (!file_exists(path))
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    stop_and_turn(100);
    assert_string_equal(story, "RUNNING STOPPED(-9)");
    end();
    check_ok(file_remove_tree(dir, &err));
}

static void supervisor_says_what_cannot_be_started(void **state)
{
    (void)state;
    begin(3);
    const char *const argv[] = {"/nonexistent/program", NULL};
    size_t child;
    check_fails(supervisor_start(supervisor, "child", argv, 1, &child, &err), ERR_IO,
                "/nonexistent/program");
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(supervisor_lets_a_finished_child_rest),
        cmocka_unit_test(supervisor_does_not_restart_what_a_restart_cannot_mend),
        cmocka_unit_test(supervisor_restarts_a_crash_and_gives_up_in_the_end),
        cmocka_unit_test(supervisor_gives_up_sooner_on_what_says_that_it_cannot),
        cmocka_unit_test(supervisor_stops_with_term),
        cmocka_unit_test(supervisor_kills_what_term_does_not_stop),
        cmocka_unit_test(supervisor_says_what_cannot_be_started),
    };
    return cmocka_run_group_tests_name("node/supervisor", tests, NULL, NULL);
}

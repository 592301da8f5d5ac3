/*
 * test_doctor.c -- `rlhf doctor` of a real run whose processes are stopped, killed or missing.
 *
 * Oracle: which process the test did it to.  Each has to be named, and the run to be called healthy
 * again once it goes on; after how long, by the rules of cli/doctor.h, tests/unit/test_cli_doctor.c
 * judges, where no machine is busy.
 */
#define _DEFAULT_SOURCE /* mkdtemp */
#include <arpa/inet.h>
#include <sys/socket.h>

#include "tests/e2e/scene.h"
#include "tests/unit/cli_run.h"

static pid_t run;

static void begin(const char *name, const char *rest)
{
    char line[512];
    snprintf(line, sizeof line, "rlhf run @/run.yaml run.dir=@/%s run.steps=100000 --quiet%s",
             name, rest);
    run = scene_start(line);
}

static void end(void)
{
    kill(run, SIGTERM);
    assert_int_equal(scene_wait(run), 75);
    run = 0;
}

/* The doctor comes to say so, with this exit status. */
static void expect(const char *name, int code, const char *words)
{
    char line[FILE_PATH_MAX];
    const uint64_t deadline = clock_mono_ms() + SCENE_DEADLINE_MS;
    snprintf(line, sizeof line, "rlhf doctor %s/%s", dir, name);
    for (;;) {
        const int got = run_line(cli_main, line);
        if (got == code && strstr(said, words))
            return;
        if (clock_mono_ms() > deadline)
            fail_msg("%d, wanted %d with \"%s\"; it says:\n%s", got, code, words, said);
        scene_nap(100);
    }
}

static void who_is_stopped_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *program, *words;
    } cases[] = {{"rlhf-actor", "actor-0 (actor, pid "},
                 {"rlhf-reward", "reward-0 (reward, pid "},
                 {"rlhf-learner", "learner-0 (learner, pid "},
                 {"rlhf-coordinator", ") is stopped: nobody answers at "}};
    begin("a", "");
    expect("a", 0, "healthy\n");
    for (size_t i = 0; i < COUNT(cases); i++) {
        const pid_t pid = scene_child(run, cases[i].program);
        assert_int_equal(kill(pid, SIGSTOP), 0);
        expect("a", 1, cases[i].words);
        assert_int_equal(kill(pid, SIGCONT), 0);
        expect("a", 0, "healthy\n");
    }
}

static void a_paused_run_is_said_to_be_paused(void **state)
{
    (void)state;
    char line[FILE_PATH_MAX];
    snprintf(line, sizeof line, "rlhf pause %s/a", dir);
    check_line(cli_main, line, 0, "paused");
    expect("a", 1, "somebody paused the run, after step ");
    snprintf(line, sizeof line, "rlhf resume %s/a", dir);
    check_line(cli_main, line, 0, "goes on");
    expect("a", 0, "healthy\n");
}

static void a_run_that_nobody_runs_is_said_to_stand(void **state)
{
    (void)state;
    end();
    expect("a", 1, "no coordinator runs: ");
    expect("a", 1, "-> the same rlhf run goes on from there");
}

/* Its address stays behind. */
static void a_coordinator_that_was_killed_is_said_to_be(void **state)
{
    (void)state;
    begin("a", "");
    expect("a", 0, "healthy\n");
    assert_int_equal(kill(run, SIGSTOP), 0); /* or it would start another */
    assert_int_equal(kill(scene_child(run, "rlhf-coordinator"), SIGKILL), 0);
    expect("a", 1, "it ended without a word (killed?)");
    assert_int_equal(kill(run, SIGCONT), 0);
    expect("a", 0, "healthy\n");
    end();
}

static void who_never_came_is_missed(void **state)
{
    (void)state;
    begin("b", " workers.actors=0");
    expect("b", 1, "no actor has ever connected since the coordinator started\n");
    end();
}

/* Nothing listens there; for how long a run waits for it, it is told when it is started. */
static void start_failing(const char *service_ms)
{
    char line[128];
    snprintf(line, sizeof line, "rlhf run @/failing.yaml --quiet timeouts.service_ms=%s",
             service_ms);
    run = scene_start(line);
}

static void a_scorer_that_fails_is_quoted_and_so_is_the_halt_it_leads_to(void **state)
{
    (void)state;
    scene_write("failing.yaml", "run:\n  dir: c\n  steps: 6\n"
                                "model:\n  policy: model\n"
                                "data:\n  prompts: prompts.jsonl\n  prompt_tokens_max: 64\n"
                                "pipeline:\n  batch: 8\n"
                                "sampling:\n  max_new_tokens: 16\n"
                                "reward:\n  shaper: none\n  scorers:\n"
                                "    - {name: outside, kind: http, timeout_ms: 300,\n"
                                "       url: \"http://127.0.0.1:1/get_reward\"}\n");
    start_failing("600000");
    expect("c", 1, "reward-0 (reward) failed ");
    expect("c", 1, "outside");
    end();
    start_failing("1000");
    assert_int_equal(scene_wait(run), 65);
    run = 0;
    expect("c", 1, "the run halted after 0 steps: step 0: every slot was dropped");
}

/* It takes connections, and says nothing.  Who asks it has to keep its lease meanwhile. */
static void a_service_that_never_answers_is_suspected_in_the_first_step(void **state)
{
    (void)state;
    char rest[256];
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (const struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(fd, 64), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    snprintf(rest, sizeof rest,
             " timeouts.lease_ms=50000 timeouts.dead_ms=50000 reward.scorers.0.kind=http "
             "reward.scorers.0.timeout_ms=50000 "
             "reward.scorers.0.url=http://127.0.0.1:%u/get_reward",
             ntohs(address.sin_port));
    begin("d", rest);
    expect("d", 1, "and works: a service that it asks has not answered yet");
    end();
    close(fd);
}

static int make_scene(void **state)
{
    (void)state;
    scene_make();
    return 0;
}

static int remove_scene(void **state)
{
    (void)state;
    if (run > 0 && kill(run, SIGCONT) == 0 && kill(run, SIGTERM) == 0)
        waitpid(run, NULL, 0);
    scene_remove();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_is_stopped_is_named),
        cmocka_unit_test(a_paused_run_is_said_to_be_paused),
        cmocka_unit_test(a_run_that_nobody_runs_is_said_to_stand),
        cmocka_unit_test(a_coordinator_that_was_killed_is_said_to_be),
        cmocka_unit_test(who_never_came_is_missed),
        cmocka_unit_test(a_service_that_never_answers_is_suspected_in_the_first_step),
        cmocka_unit_test(a_scorer_that_fails_is_quoted_and_so_is_the_halt_it_leads_to),
    };
    return cmocka_run_group_tests_name("e2e/doctor", tests, make_scene, remove_scene);
}

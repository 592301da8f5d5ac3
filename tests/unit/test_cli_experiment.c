/*
 * test_cli_experiment.c -- the file of `rlhf experiment`: its grid, its keys, its mistakes.
 *
 * Oracles: the grid and the sentences are written out here; docs/EXPERIMENTS.md must hold the
 * tables that the schema prints.  Runs themselves are in tests/e2e/test_experiment.c.
 */
#include <jansson.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>

#include "base/clock.h"
#include "base/file.h"
#include "cli/experiment.h"
#include "cli/experiment_job.h"
#include "tests/unit/cli_run.h"

static char dir[] = "/tmp/rlhf-experiment-XXXXXX";

static void write_file(const char *name, const char *text)
{
    char path[FILE_PATH_MAX];
    check_ok(file_join(path, dir, name, &err));
    check_ok(file_write(path, text, strlen(text), &err));
}

static int make_scene(void **state)
{
    (void)state;
    char path[FILE_PATH_MAX];
    if (!mkdtemp(dir))
        return -1;
    check_ok(file_join(path, dir, "sub", &err));
    check_ok(file_make_dir(path, &err));
    write_file("run.yaml", "run: {dir: run, steps: 5}\n"
                           "model: {policy: model}\n"
                           "data: {prompts: prompts.jsonl}\n"
                           "reward: {scorers: [{name: short, kind: length}]}\n");
    return 0;
}

static int remove_scene(void **state)
{
    (void)state;
    return file_remove_tree(dir, NULL) == ERR_OK ? 0 : -1;
}

#define GRID                                                                             \
    "experiment: {dir: grid, base: ../run.yaml, seeds: [7, 2], set: [pipeline.lag=0]}\n" \
    "settings:\n"                                                                        \
    "  - {name: none, set: [reward.shaper=none]}\n"                                      \
    "  - {name: par, set: [reward.shaper=par, data.prompts=here.jsonl]}\n"

static void dry_run(const char *yaml, const char *options, int code, const char *words)
{
    char line[256];
    write_file("sub/e.yaml", yaml);
    snprintf(line, sizeof line, "rlhf experiment --dry-run %s/sub/e.yaml %s", dir, options);
    check_line(cli_main, line, code, words);
}

static void the_grid_is_every_setting_with_every_seed(void **state)
{
    (void)state;
    dry_run(GRID, "", 0, "none-s7                  to do            reward.shaper=none\n");
    const char *order[] = {"none-s7", "par-s7", "none-s2", "par-s2"}, *at = said;
    for (size_t i = 0; i < COUNT(order); i++)
        assert_non_null(at = strstr(at, order[i]));
}

/* The options `rlhf run` would be given for the last run of the grid. */
static void overrides_are_those_of_all_then_of_the_setting_then_the_runs_own(void **state)
{
    (void)state;
    char own[512];
    dry_run(GRID, "--json", 0, "par-s2");
    json_t *object = json_loads(strstr(said, "{\"run\": \"par-s2\""), 0, NULL);
    assert_non_null(object);
    assert_int_equal(json_integer_value(json_object_get(object, "seed")), 2);
    char *set = json_dumps(json_object_get(object, "set"), JSON_COMPACT);
    snprintf(own, sizeof own,
             "[\"pipeline.lag=0\",\"reward.shaper=par\",\"data.prompts=here.jsonl\","
             "\"run.name=par\",\"run.dir=%s/sub/grid/par-s2\",\"run.seed=2\","
             "\"endpoints.control=\",\"endpoints.bulk=\",\"endpoints.http=127.0.0.1:0\"]",
             dir);
    assert_string_equal(set, own);
    free(set);
    json_decref(object);
}

/* run.yaml's paths start beside it, those of the experiment's overrides beside that file. */
static void a_relative_path_starts_at_the_file_it_stands_in(void **state)
{
    (void)state;
    char path[256], want[256], here[FILE_PATH_MAX], after[FILE_PATH_MAX];
    static struct experiment e;
    static struct run_config config;
    write_file("sub/e.yaml", GRID);
    assert_non_null(getcwd(here, sizeof here));
    snprintf(path, sizeof path, "%s/sub", dir);
    assert_int_equal(chdir(path), 0);
    check_ok(experiment_load(&e, "e.yaml", &err));
    check_ok(experiment_config(&e, &e.run[3], &config, &err));
    assert_int_equal(chdir(here), 0);
    snprintf(want, sizeof want, "%s/sub/here.jsonl", dir);
    assert_string_equal(config.prompts, want);
    snprintf(want, sizeof want, "%s/model", dir);
    assert_string_equal(config.policy, want);
    assert_int_equal(config.seed, 2);
    assert_int_equal(config.lag, 0);
    assert_int_equal(e.samples, 1);
    assert_int_equal(e.parallel, 1);
    /* And whoever calls the command is where they were. */
    assert_int_equal(chdir("/"), 0);
    dry_run(GRID, "", 0, "par-s2");
    assert_non_null(getcwd(after, sizeof after));
    assert_string_equal(after, "/");
    assert_int_equal(chdir(here), 0);
}

#define HEAD "experiment: {dir: grid, base: ../run.yaml, seeds: [1]}\n"
#define ONE  "settings: [{name: a}]\n"

static void what_is_wrong_in_the_file_is_said_with_its_place(void **state)
{
    (void)state;
    static const struct {
        const char *yaml, *words;
    } cases[] = {
        {"experiment: {dir: grid, seeds: [1]}\n" ONE,
         "e.yaml: experiment.base has no value, and no default"},
        {"experiment: {base: ../run.yaml, seeds: [1]}\n" ONE,
         "e.yaml: experiment.dir has no value, and no default"},
        {"experiment: {dir: grid, base: ../run.yaml}\n" ONE,
         "e.yaml: experiment.seeds names no seed"},
        {"experiment:\n  dir: grid\n  base: ../run.yaml\n  sedes: [1]\n" ONE,
         "e.yaml:4: there is no key \"experiment.sedes\"; did you mean \"experiment.seeds\"?"},
        {HEAD "settings:\n  - {name: a, sett: [x=1]}\n",
         "e.yaml:3: there is no key \"settings[].sett\"; did you mean \"settings[].set\"?"},
        {HEAD "settings:\n  - {set: [pipeline.lag=0]}\n",
         "e.yaml: settings[].name has no value, and no default"},
        {HEAD, "e.yaml: there are no settings"},
        {HEAD "settings: [{name: a/b}]\n",
         "e.yaml: settings[0].name \"a/b\" must be of letters, digits, '.', '_' and '-', and "
         "not begin with '.'"},
        {HEAD "settings: [{name: ..}]\n", "e.yaml: settings[0].name \"..\" must be"},
        {HEAD "settings:\n  - {name: a}\n  - {name: a, set: [pipeline.lag=0]}\n",
         "e.yaml: two settings have the name \"a\""},
        {HEAD "settings:\n  - {name: a}\n  - {name: b, set: [workers.actors=2]}\n",
         "e.yaml: settings \"a\" and \"b\" are the same run: nothing that decides its result "
         "differs"},
        {HEAD "settings: [{name: a, set: [run.seed=4]}]\n",
         "e.yaml: setting \"a\" sets \"run.seed=4\", which the experiment itself gives each "
         "run"},
        {"experiment: {dir: g, base: ../run.yaml, seeds: [1], set: [endpoints.http=x]}\n" ONE,
         "e.yaml: experiment.set sets \"endpoints.http=x\", which the experiment itself"},
        {HEAD "settings: [{name: a, set: [reward.shapr=par]}]\n",
         "e.yaml: setting \"a\": override \"reward.shapr=par\": there is no key "
         "\"reward.shapr\"; did you mean \"reward.shaper\"?"},
        {HEAD "settings: [{name: a, set: [kl.estimator=k1 kl.place=loss]}]\n",
         "e.yaml: setting \"a\": override \"kl.estimator=k1 kl.place=loss\": kl.estimator must "
         "be one of"},
        {HEAD "settings: [{name: a, set: [ppo.minibatches=900]}]\n",
         "run.yaml: ppo.minibatches 900 is more than pipeline.batch 32"},
        {"experiment: {dir: grid, base: ../none.yaml, seeds: [1]}\n" ONE, "none.yaml"},
        {"experiment: {dir: grid, base: ../run.yaml, seeds: [1, two]}\n" ONE,
         "e.yaml: experiment.seeds[1] is \"two\": a whole number of at most 15 digits is "
         "expected"},
        {"experiment: {dir: grid, base: ../run.yaml, seeds: [1234567890123456]}\n" ONE,
         "e.yaml: experiment.seeds[0] is \"1234567890123456\": a whole number of at most"},
        {"experiment: {dir: grid, base: ../run.yaml, seeds: [3, 03]}\n" ONE,
         "e.yaml: experiment.seeds names 3 twice"},
        {"experiment:\n  dir: grid\n  base: ../run.yaml\n  seeds: [1]\n  parallel: 0\n" ONE,
         "e.yaml:5: experiment.parallel is 0, outside 1 .. 64"},
        {HEAD ONE "evaluate: {every: final1}\n",
         "e.yaml:3: evaluate.every must be one of final, checkpoint, none, not \"final1\"; did "
         "you mean \"final\"?"},
        {HEAD ONE "evaluate: {samples: 300}\n",
         "e.yaml:3: evaluate.samples is 300, outside 1 .. 256"},
        {HEAD ONE "evaluate: {limit: -1}\n",
         "e.yaml:3: evaluate.limit must be a whole number, 0 .. 4294967295, not \"-1\""},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        const bool io = strstr(cases[i].words, "none.yaml") != NULL;
        dry_run(cases[i].yaml, "", io ? 74 : 78, cases[i].words);
    }
}

static void a_directory_with_another_run_is_refused_with_the_key_that_differs(void **state)
{
    (void)state;
    char config[512], dirs[256];
    snprintf(dirs, sizeof dirs, "%s/sub/grid/a-s1", dir);
    check_ok(file_make_dir(dirs, &err));
    snprintf(config, sizeof config,
             "run: {dir: %s, steps: 5, seed: 1}\nmodel: {policy: ../../../model}\n"
             "data: {prompts: ../../../prompts.jsonl}\nkl: {coef: 0.3}\n"
             "reward: {scorers: [{name: short, kind: length}]}\n",
             dirs);
    write_file("sub/grid/a-s1/config.yaml", config);
    dry_run(HEAD ONE, "", 78,
            "sub/grid/a-s1 holds a run with another kl.coef: choose another experiment.dir, or "
            "remove that run");
    dry_run(HEAD "settings: [{name: a, set: [kl.coef=0.3]}]\n", "", 0, "a-s1 ");
    check_ok(file_remove_tree(dirs, &err));
}

static void a_report_needs_a_run(void **state)
{
    (void)state;
    char line[256];
    write_file("sub/e.yaml", GRID);
    snprintf(line, sizeof line, "rlhf experiment --report-only %s/sub/e.yaml", dir);
    check_line(cli_main, line, 70, "sub/grid is complete yet");
    check_line(cli_main, "rlhf experiment", 64, "FILE is missing");
    check_line(cli_main, "rlhf experiment /nowhere.yaml", 74, "open /nowhere.yaml");
}

static void every_key_is_documented(void **state)
{
    (void)state;
    struct buf text, keys;
    buf_init(&text, 1 << 20);
    buf_init(&keys, 1 << 20);
    check_ok(file_read(TEST_SOURCE_DIR "/docs/EXPERIMENTS.md", &text, &err));
    experiment_document(&keys);
    if (!strstr(text.data, keys.data))
        fail_msg(
            "docs/EXPERIMENTS.md lacks this, as `rlhf experiment --document` prints it:\n%s",
            keys.data);
    check_line(cli_main, "rlhf experiment --document", 0, keys.data);
    buf_release(&text);
    buf_release(&keys);
}

static void nap(void)
{
    nanosleep(&(struct timespec){0, 1000000}, NULL);
}

static void a_childs_last_line_is_that_of_this_start(void **state)
{
    (void)state;
    char log[FILE_PATH_MAX], why[EXPERIMENT_WHY_MAX];
    struct experiment_job job;
    int status = -1;
    check_ok(file_join(log, dir, "job.log", &err));
    const char *const first[] = {"/bin/sh", "-c", "echo old; exit 3", NULL};
    check_ok(experiment_job_start(&job, first, log, &err));
    while (!experiment_job_poll(&job, &status))
        nap();
    assert_int_equal(status, 3);
    experiment_job_last_line(&job, why);
    assert_string_equal(why, "old");
    const char *const second[] = {"/bin/sh", "-c", "kill -9 $$", NULL};
    check_ok(experiment_job_start(&job, second, log, &err));
    while (!experiment_job_poll(&job, &status))
        nap();
    assert_int_equal(status, 128 + 9);
    experiment_job_last_line(&job, why);
    assert_string_equal(why, "");
    const char *const blank[] = {"/bin/sh", "-c", "echo", NULL};
    check_ok(experiment_job_start(&job, blank, log, &err));
    while (!experiment_job_poll(&job, &status))
        nap();
    experiment_job_last_line(&job, why);
    assert_string_equal(why, "");
    const char *const third[] = {"/bin/sh", "-c", "echo one; echo '  two' >&2; echo '  '",
                                 NULL};
    check_ok(experiment_job_start(&job, third, log, &err));
    while (!experiment_job_poll(&job, &status))
        nap();
    assert_int_equal(status, 0);
    experiment_job_last_line(&job, why);
    assert_string_equal(why, "two");
    const char *const none[] = {"/nowhere", NULL};
    check_fails(experiment_job_start(&job, none, log, &err), ERR_IO, "start /nowhere");
}

/* A process between starts the child and is killed, so that it can say nothing to it. */
static void a_child_ends_when_the_one_who_started_it_is_killed(void **state)
{
    (void)state;
    char log[FILE_PATH_MAX];
    struct buf text;
    const uint64_t deadline = clock_mono_ms() + 20000;
    const char *const argv[] = {"/bin/sh", "-c",
                                "trap 'echo ended; exit' TERM; echo began; "
                                "for i in 1 2 3 4 5 6 7 8 9; do sleep 1; done",
                                NULL};
    check_ok(file_join(log, dir, "orphan.log", &err));
    const pid_t between = fork();
    if (between == 0) {
        struct experiment_job job;
        if (experiment_job_start(&job, argv, log, NULL) == ERR_OK)
            pause();
        _exit(1);
    }
    assert_true(between > 0);
    bool killed = false;
    for (;;) {
        assert_true(clock_mono_ms() < deadline);
        nap();
        buf_init(&text, 1 << 16);
        const bool ended = file_read(log, &text, NULL) == ERR_OK && strstr(text.data, "ended");
        const bool began = strstr(text.data, "began") != NULL;
        buf_release(&text);
        if (ended)
            break;
        if (began && !killed)
            killed = kill(between, SIGKILL) == 0 && waitpid(between, NULL, 0) == between;
    }
    assert_true(killed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_grid_is_every_setting_with_every_seed),
        cmocka_unit_test(overrides_are_those_of_all_then_of_the_setting_then_the_runs_own),
        cmocka_unit_test(a_relative_path_starts_at_the_file_it_stands_in),
        cmocka_unit_test(what_is_wrong_in_the_file_is_said_with_its_place),
        cmocka_unit_test(a_directory_with_another_run_is_refused_with_the_key_that_differs),
        cmocka_unit_test(a_report_needs_a_run),
        cmocka_unit_test(every_key_is_documented),
        cmocka_unit_test(a_childs_last_line_is_that_of_this_start),
        cmocka_unit_test(a_child_ends_when_the_one_who_started_it_is_killed),
    };
    return cmocka_run_group_tests(tests, make_scene, remove_scene);
}

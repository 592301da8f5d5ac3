/*
 * test_experiment.c -- `rlhf experiment` with real runs: two settings, two seeds, three steps.
 *
 * Oracles: the SHA-256 of the final models of an undisturbed grid, whatever was killed; the
 * numbers over seeds by hand from each run's progress.jsonl and evaluation.json.
 */
#include <dirent.h>
#include <jansson.h>

#include "base/json.h"
#include "tests/e2e/held.h"

#define RUNS 4
static const char *const runs[RUNS] = {"fast-s1", "slow-s1", "fast-s2", "slow-s2"};
static char plain[RUNS][HASH_HEX_BYTES]; /* of the undisturbed grid */

/* dir/NAME.yaml: the grid in dir/NAME. */
static void write_experiment(const char *name)
{
    char yaml[1024], file[64];
    snprintf(yaml, sizeof yaml,
             "experiment:\n  name: a <grid>\n  dir: %s\n  base: run.yaml\n  seeds: [1, 2]\n"
             "  parallel: 2\n  set: [run.steps=3, checkpoint.every=1, checkpoint.keep=8]\n"
             "settings:\n  - {name: fast, set: [optimizer.lr=0.01]}\n"
             "  - {name: slow, set: [optimizer.lr=0.001]}\n"
             "evaluate: {every: checkpoint, samples: 2, limit: 10}\n",
             name);
    snprintf(file, sizeof file, "%s.yaml", name);
    scene_write(file, yaml);
}

static void final_shas(const char *name, char sha[RUNS][HASH_HEX_BYTES])
{
    for (size_t i = 0; i < RUNS; i++) {
        char path[128];
        snprintf(path, sizeof path, "%s/%s/final/model.safetensors", name, runs[i]);
        scene_sha(path, sha[i]);
    }
}

static void check_plain(const char *name)
{
    char sha[RUNS][HASH_HEX_BYTES];
    final_shas(name, sha);
    for (size_t i = 0; i < RUNS; i++)
        if (strcmp(sha[i], plain[i]) != 0)
            fail_msg("%s/%s ended with %s, undisturbed with %s", name, runs[i], sha[i],
                     plain[i]);
}

static void run_experiment(const char *line, int want)
{
    const int code = scene_wait(scene_start(line));
    if (code != want) {
        scene_show("out");
        scene_show("err");
        fail_msg("`%s` returned %d, wanted %d", line, code, want);
    }
}

static void check_said(const char *stream, const char *words)
{
    struct buf text;
    scene_read(stream, &text);
    if (!strstr(text.data, words))
        fail_msg("no \"%s\" in:\n%s", words, text.data);
    buf_release(&text);
}

/* --- an undisturbed grid ------------------------------------------------------------------ */

static void every_run_ends_with_a_model_and_its_evaluations(void **state)
{
    (void)state;
    write_experiment("plain");
    run_experiment("rlhf experiment @/plain.yaml", 0);
    final_shas("plain", plain);
    for (size_t i = 0; i < RUNS; i++) {
        static const char *const files[] = {"evaluation.json", "evaluation-v00000001.json",
                                            "evaluation-v00000002.json", "evaluation.jsonl"};
        char words[64];
        for (size_t f = 0; f < COUNT(files); f++) {
            char name[128], path[FILE_PATH_MAX];
            snprintf(name, sizeof name, "plain/%s/%s", runs[i], files[f]);
            scene_path(path, name);
            assert_true(file_exists(path));
        }
        snprintf(words, sizeof words, "done    %s", runs[i]);
        check_said("out", words);
        for (size_t k = 0; k < i; k++) /* or equal hashes would show nothing */
            assert_string_not_equal(plain[i], plain[k]);
    }
    check_said("plain/report.html", "a &lt;grid&gt;");
    check_said("plain/report.html", "words (reward): win rate");
}

/* The number in `key` of the last line of a run's progress, or its greatest of all. */
static double progress_number(const char *run, const char *key, bool greatest)
{
    char name[128];
    struct buf text;
    const char *cursor, *line;
    size_t n;
    double out = NAN;
    snprintf(name, sizeof name, "plain/%s/progress.jsonl", run);
    scene_read(name, &text);
    for (cursor = text.data; file_next_line(&cursor, text.data + text.len, &line, &n);) {
        json_t *object = json_loadb(line, n, 0, NULL);
        const double x = json_number_value(json_object_get(object, key));
        if (isnan(out) || !greatest || x > out)
            out = x;
        json_decref(object);
    }
    buf_release(&text);
    return out;
}

static double evaluation_number(const char *run, const char *a, const char *b, const char *c)
{
    char name[128], path[FILE_PATH_MAX];
    struct err why = {0};
    snprintf(name, sizeof name, "plain/%s/evaluation.json", run);
    scene_path(path, name);
    json_t *object = json_read_file(path, 1 << 20, &why);
    if (!object)
        fail_msg("%s", why.text);
    const json_t *at = json_object_get(json_object_get(object, a), b);
    at = json_object_get(c ? json_object_get(at, c) : at, "mean");
    assert_true(json_is_number(at));
    const double out = json_number_value(at);
    json_decref(object);
    return out;
}

/* Of two numbers: their mean, and sd / sqrt(2) = |a - b| / 2; none where rounding alone differs. */
static void expect_cell(char *cell, size_t size, double a, double b)
{
    const double apart = fabs(a - b) > 1e-13 * fabs(a + b) ? fabs(a - b) : 0;
    snprintf(cell, size, "  %.4g +- %.2g", (a + b) / 2, apart / 2);
}

/* The line of a setting in the table of a quantity. */
static void read_row(const char *quantity, const char *setting, char *row, size_t size)
{
    struct buf text;
    scene_read("out", &text);
    const char *at = strstr(text.data, quantity);
    assert_non_null(at);
    char begin[64];
    snprintf(begin, sizeof begin, "\n  %s ", setting);
    assert_non_null(at = strstr(at, begin));
    snprintf(row, size, "%.*s", (int)strcspn(at + 1, "\n"), at + 1);
    buf_release(&text);
}

static void numbers_are_means_over_seeds_with_their_standard_errors(void **state)
{
    (void)state;
    run_experiment("rlhf experiment @/plain.yaml --report-only", 0);
    const double last[2] = {progress_number("fast-s1", "reward_raw_mean", false),
                            progress_number("fast-s2", "reward_raw_mean", false)};
    const double best[2] = {progress_number("fast-s1", "reward_raw_mean", true),
                            progress_number("fast-s2", "reward_raw_mean", true)};
    char row[256], cells[5][64];
    expect_cell(cells[0], 64, best[0], best[1]);
    expect_cell(cells[1], 64, last[0], last[1]);
    expect_cell(cells[2], 64, last[0] - best[0], last[1] - best[1]);
    expect_cell(cells[3], 64, evaluation_number("fast-s1", "model", "scores", "words"),
                evaluation_number("fast-s2", "model", "scores", "words"));
    expect_cell(cells[4], 64, evaluation_number("fast-s1", "win_rate", "words", NULL),
                evaluation_number("fast-s2", "win_rate", "words", NULL));
    read_row("words (reward)", "fast", row, sizeof row);
    const char *at = strstr(row, " 2 runs");
    assert_non_null(at);
    for (size_t i = 0; i < COUNT(cells); i++)
        if (!(at = strstr(at, cells[i])))
            fail_msg("\"%s\" is not in its place in \"%s\"", cells[i], row);
    expect_cell(cells[0], 64, evaluation_number("fast-s1", "model", "kl", NULL),
                evaluation_number("fast-s2", "model", "kl", NULL));
    read_row("KL to the reference", "fast", row, sizeof row);
    assert_non_null(strstr(row, cells[0]));
    expect_cell(cells[0], 64, evaluation_number("slow-s1", "model", "kl", NULL),
                evaluation_number("slow-s2", "model", "kl", NULL));
    read_row("KL to the reference", "slow", row, sizeof row);
    assert_non_null(strstr(row, cells[0]));
}

/* What is complete is not touched: not even its report. */
static void a_complete_grid_is_left_alone(void **state)
{
    (void)state;
    struct buf log;
    size_t before;
    scene_read("plain/fast-s1.log", &log);
    before = log.len;
    buf_release(&log);
    run_experiment("rlhf experiment @/plain.yaml", 0);
    scene_read("plain/fast-s1.log", &log);
    assert_int_equal(log.len, before);
    buf_release(&log);
    check_plain("plain");
    run_experiment("rlhf experiment @/plain.yaml --dry-run", 0);
    check_said("out", "slow-s2                  complete");
}

static void other_answers_asked_for_are_made_and_models_are_not(void **state)
{
    (void)state;
    const double before = evaluation_number("fast-s1", "model", "scores", "words");
    struct buf yaml;
    scene_read("plain.yaml", &yaml);
    char *samples = strstr(yaml.data, "samples: 2");
    assert_non_null(samples);
    samples[strlen("samples: ")] = '3';
    scene_write("plain.yaml", yaml.data);
    buf_release(&yaml);
    run_experiment("rlhf experiment @/plain.yaml --dry-run", 0);
    check_said("out", "slow-s2                  to be evaluated");
    run_experiment("rlhf experiment @/plain.yaml --json", 0);
    check_said("out", "{\"run\": \"fast-s1\", \"setting\": \"fast\", \"seed\": 1, ");
    assert_true(before != evaluation_number("fast-s1", "model", "scores", "words"));
    check_plain("plain");
}

/* --- disturbed ---------------------------------------------------------------------------- */

/* The learners of its runs stand still before each step (held.h). */
static pid_t start_held(const char *line)
{
    held_begin_by_learner();
    const pid_t pid = scene_start(line);
    held_end();
    return pid;
}

/* Let one of them go on; false: none stands still. */
static bool go_on(const char *name)
{
    for (size_t i = 0; i < RUNS; i++) {
        char at[128], path[FILE_PATH_MAX];
        snprintf(at, sizeof at, "%s/%s", name, runs[i]);
        scene_path(path, at);
        const pid_t learner = held_process(path);
        if (learner > 0)
            return kill(learner, SIGCONT) == 0;
    }
    return false;
}

/* So many steps begin. */
static void let_begin(const char *name, int steps)
{
    const uint64_t deadline = clock_mono_ms() + SCENE_DEADLINE_MS;
    while (steps > 0) {
        assert_true(clock_mono_ms() < deadline);
        steps -= go_on(name);
        scene_nap(2);
    }
}

/* The first run has begun: what it is told from now on, it hears. */
static void wait_for_coordinator(const char *name)
{
    char at[128], path[FILE_PATH_MAX];
    const uint64_t deadline = clock_mono_ms() + SCENE_DEADLINE_MS;
    snprintf(at, sizeof at, "%s/%s", name, runs[0]);
    scene_path(path, at);
    while (scene_find(path, "rlhf-coordinator") == 0) {
        assert_true(clock_mono_ms() < deadline);
        scene_nap(2);
    }
}

/* Does any process have dir/NAME/ in its command line? */
static bool is_running(const char *name)
{
    char want[128], path[300], text[16384];
    snprintf(want, sizeof want, "%s/%s/", dir, name);
    DIR *proc = opendir("/proc");
    bool found = false;
    assert_non_null(proc);
    for (const struct dirent *entry; !found && (entry = readdir(proc));) {
        if (strspn(entry->d_name, "0123456789") != strlen(entry->d_name))
            continue;
        snprintf(path, sizeof path, "/proc/%s/cmdline", entry->d_name);
        FILE *file = fopen(path, "r");
        const size_t n = file ? fread(text, 1, sizeof text - 1, file) : 0;
        text[n] = '\0';
        for (size_t i = 0; i < n && !found; i += strlen(text + i) + 1)
            found = strstr(text + i, want) != NULL;
        if (file)
            fclose(file);
    }
    closedir(proc);
    return found;
}

/* Its runs have been told to end: none does another step before its coordinator has heard of it. */
static void wait_until_gone(const char *name)
{
    char grid[FILE_PATH_MAX];
    const uint64_t deadline = clock_mono_ms() + SCENE_DEADLINE_MS;
    scene_path(grid, name);
    while (is_running(name)) {
        assert_true(clock_mono_ms() < deadline);
        if (scene_process((const char *const[]){"rlhf-coordinator", grid, NULL}) == 0)
            go_on(name);
        scene_nap(5);
    }
}

static void stopped_and_continued_it_ends_with_the_same_models(void **state)
{
    (void)state;
    write_experiment("stopped");
    for (int i = 0; i < 2; i++) {
        const pid_t pid = start_held("rlhf experiment @/stopped.yaml");
        if (i == 0)
            wait_for_coordinator("stopped");
        else
            let_begin("stopped", 3);
        kill(pid, SIGTERM);
        wait_until_gone("stopped");
        assert_int_equal(scene_wait(pid), 75);
        check_said("err", "stopping; the same command goes on from here");
    }
    check_said("stopped/fast-s1.log", "rlhf run: stopping"); /* it was told, too */
    run_experiment("rlhf experiment @/stopped.yaml", 0);
    check_plain("stopped");
}

/* After some of its runs' 12 steps. */
static void killed_and_continued_it_ends_with_the_same_models(void **state)
{
    (void)state;
    write_experiment("killed");
    for (int i = 0; i < 3; i++) {
        const pid_t pid = start_held("rlhf experiment @/killed.yaml");
        let_begin("killed", 1 + 2 * i);
        kill(pid, SIGKILL);
        assert_int_equal(scene_wait(pid), 128 + SIGKILL);
        wait_until_gone("killed"); /* its children end by themselves */
    }
    run_experiment("rlhf experiment @/killed.yaml", 0);
    check_plain("killed");
}

/* --- failures ----------------------------------------------------------------------------- */

static void a_run_that_fails_is_told_and_the_others_go_on(void **state)
{
    (void)state;
    scene_write("failing.yaml",
                "experiment: {dir: failing, base: run.yaml, seeds: [1], set: [run.steps=1]}\n"
                "settings:\n  - {name: bad, set: [reward.scorers.0.words=none.txt]}\n"
                "  - {name: good}\n"
                "evaluate: {limit: 4}\n");
    run_experiment("rlhf experiment @/failing.yaml", 74);
    check_said("err", "failed  bad-s1 with status 74: rlhf run: ");
    check_said("err", "none.txt");
    check_said("err", "rlhf experiment: 1 of 2 runs failed");
    check_said("out", "done    good-s1");
    check_said("out", "(1 of 2 runs)");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_run_ends_with_a_model_and_its_evaluations),
        cmocka_unit_test(numbers_are_means_over_seeds_with_their_standard_errors),
        cmocka_unit_test(a_complete_grid_is_left_alone),
        cmocka_unit_test(other_answers_asked_for_are_made_and_models_are_not),
        cmocka_unit_test(stopped_and_continued_it_ends_with_the_same_models),
        cmocka_unit_test(killed_and_continued_it_ends_with_the_same_models),
        cmocka_unit_test(a_run_that_fails_is_told_and_the_others_go_on),
    };
    scene_make();
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    scene_remove();
    return failed;
}

/* wrap: write fsync rename linkat symlink unlink */
/*
 * test_cli_gate_failures.c -- the gate fails closed: whatever breaks, at whatever moment, what is
 * published is a whole policy that passed, the run's record tells of it, and the set of prompts
 * has spent one candidate and no more.
 *
 * The linker sends the calls above here, so that the disk can be full from the n-th of them on,
 * or the process die at it, for every n.  (SQLite's calls stay its own: a limit on the size of
 * files makes those fail.)  A child runs the gate; what it left is read back here.
 */
#define _DEFAULT_SOURCE /* flock */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "cli/gate.h"
#include "node/gate_record.h"
#include "tests/unit/gate_scene.h"

/* --- a disk that fills up, a process that dies -------------------------------------------- */

#define DIES 9 /* exit status of a child that died on purpose */

static struct {
    int calls, at; /* at: which call, from 1; 0: none */
    bool dies;
} fault;

ssize_t __real_write(int fd, const void *bytes, size_t size);
ssize_t __wrap_write(int fd, const void *bytes, size_t size);
int __real_fsync(int fd);
int __wrap_fsync(int fd);
int __real_rename(const char *from, const char *to);
int __wrap_rename(const char *from, const char *to);
int __real_linkat(int from_dir, const char *from, int to_dir, const char *to, int flags);
int __wrap_linkat(int from_dir, const char *from, int to_dir, const char *to, int flags);
int __real_symlink(const char *target, const char *path);
int __wrap_symlink(const char *target, const char *path);
int __real_unlink(const char *path);
int __wrap_unlink(const char *path);

static bool fails(void)
{
    if (++fault.calls < fault.at || fault.at == 0)
        return false;
    if (fault.dies)
        _exit(DIES);
    errno = ENOSPC;
    return true;
}

ssize_t __wrap_write(int fd, const void *bytes, size_t size)
{
    return fd > STDERR_FILENO && fails() ? -1 : __real_write(fd, bytes, size);
}

int __wrap_fsync(int fd)
{
    return fails() ? -1 : __real_fsync(fd);
}

int __wrap_rename(const char *from, const char *to)
{
    return fails() ? -1 : __real_rename(from, to);
}

int __wrap_linkat(int from_dir, const char *from, int to_dir, const char *to, int flags)
{
    return fails() ? -1 : __real_linkat(from_dir, from, to_dir, to, flags);
}

int __wrap_symlink(const char *target, const char *path)
{
    return fails() ? -1 : __real_symlink(target, path);
}

int __wrap_unlink(const char *path)
{
    return fails() ? -1 : __real_unlink(path);
}

/* --- a child that runs the gate ----------------------------------------------------------- */

/* Exit status of the gate on `model` in `run`; errors are as they come. */
static int child_gate(const char *run, const char *model, const char *options)
{
    char line[1024];
    snprintf(line, sizeof line, "rlhf gate %.400s --model %.400s %.100s", run, model, options);
    return run_line(cli_main, line);
}

static int wait_for(pid_t pid)
{
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* The gate on `other`, with the fault set, files of at most so many bytes. */
static int gate_with_fault(rlim_t file_bytes)
{
    const pid_t pid = fork();
    if (pid == 0) {
        const struct rlimit limit = {file_bytes, RLIM_INFINITY};
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &limit);
        fault.calls = 0;
        const int code = child_gate(at("run"), at("other"), "");
        _exit(code);
    }
    return wait_for(pid);
}

static char before[FILE_PATH_MAX]; /* what is published when a case begins */

/* --- what it left ------------------------------------------------------------------------- */

static struct gate_history history_of(const char *run)
{
    struct gate_history history;
    check_ok(gate_record_load(&history, at(run), &err));
    return history;
}

/* The last line of the run's record; nobody wrote a damaged one. */
static struct gate_record last_of(const char *run)
{
    struct gate_history history = history_of(run);
    assert_true(history.n > 0);
    const struct gate_record last = history.record[history.n - 1];
    gate_record_release(&history);
    return last;
}

/* Does the record tell that this release passed? */
static bool is_told(const char *release)
{
    struct gate_history history = history_of("run");
    bool told = false;
    for (size_t i = 0; i < history.n; i++)
        told = told || (history.record[i].decision == GATE_RECORD_PASS &&
                        strcmp(history.record[i].name, release) == 0);
    gate_record_release(&history);
    return told;
}

/* What is published is whole: `final` as before, or `other`, of which the record then tells. */
static void check_published(const char *what, int n)
{
    const bool is_old = strcmp(published(), before) == 0;
    if (!is_told(published() + strlen("releases/")))
        fail_msg("%s at call %d: %s is published, and the record does not tell of it", what, n,
                 published());
    check_same_file("run/published/model.safetensors",
                    is_old ? "run/final/model.safetensors" : "other/model.safetensors");
    check_same_file("run/published/tokenizer.json", "run/final/tokenizer.json");
    json_t *json = read_json("run/published/GATE.json");
    assert_string_equal(json_string_value(json_object_get(json, "decision")), "PASS");
    json_decref(json);
}

/* The same command, now that nothing is in its way. */
static void check_repaired(void)
{
    assert_int_equal(child_gate(at("run"), at("other"), ""), 0);
    assert_string_not_equal(published(), before);
    check_same_file("run/published/model.safetensors", "other/model.safetensors");
    const struct gate_record last = last_of("run");
    assert_int_equal(last.decision, GATE_RECORD_PASS);
    assert_true(last.spent == 2 && last.candidates == 2);
    assert_false(file_exists(at("run/releases/.tmp")));
}

/* `final` is published, as candidate 1 of 2. */
static int publish_final(void **state)
{
    forget(state);
    fault.at = 0;
    gate("", 0, "PASS");
    snprintf(before, sizeof before, "%.1000s", published());
    assert_true(before[0] != '\0');
    return 0;
}

static void each_call(bool dies, const char *what)
{
    int n = 0, code;
    do {
        void *state = NULL;
        publish_final(&state);
        fault.at = ++n;
        fault.dies = dies;
        code = gate_with_fault(RLIM_INFINITY);
        fault.at = 0;
        if (code == 128 + SIGABRT || code == 128 + SIGSEGV)
            fail_msg("%s at call %d: the gate crashed", what, n);
        check_published(what, n);
        check_repaired();
    } while (code != 0);
    print_message("%s: %d calls, each in turn\n", what, n - 1);
    assert_true(n > 15);
}

/* --- one fault at a time ------------------------------------------------------------------ */

static void gate_on_a_full_disk_keeps_what_is_published(void **state)
{
    (void)state;
    each_call(false, "a full disk");
}

static void gate_that_dies_keeps_what_is_published(void **state)
{
    (void)state;
    each_call(true, "a crash");
}

static void gate_whose_ledger_cannot_grow_publishes_nothing(void **state)
{
    static const rlim_t bytes[] = {0, 100, 512, 1024, 4096, 8192, 12288};
    for (size_t i = 0; i < COUNT(bytes); i++) {
        publish_final(state);
        assert_int_not_equal(gate_with_fault(bytes[i]), 0);
        assert_string_equal(published(), before);
        check_published("a limit", (int)bytes[i]);
        check_repaired();
    }
}

static void gate_without_its_ledger_publishes_nothing(void **state)
{
    (void)state;
    char options[FILE_PATH_MAX + 64];
    check_ok(file_make_dir(at("directory"), &err));
    snprintf(options, sizeof options, "--model %.400s gate.ledger=%.400s", at("other"),
             at("directory"));
    gate(options, 74, "directory: unable to open");
    snprintf(options, sizeof options, "--model %.400s gate.ledger=%.400s", at("other"),
             at("absent/ledger"));
    gate(options, 74, "absent/ledger: unable to open");
    assert_string_equal(published(), before);
    const struct gate_record last = last_of("run"); /* and an operator can see why */
    assert_int_equal(last.decision, GATE_RECORD_ERROR);
    assert_non_null(strstr(last.why, "absent/ledger: unable to open"));
    assert_true(isnan(last.upper) && isnan(last.spent));
}

static void gate_without_its_cost_scorer_publishes_nothing(void **state)
{
    (void)state;
    char options[FILE_PATH_MAX + 128];
    snprintf(options, sizeof options,
             "--model %.400s reward.scorers.0.role=cost reward.scorers.1.role=reward",
             at("other"));
    gate(options, 1, "NSF, no safe solution: the answer to prompt 0 has no");
    assert_string_equal(published(), before);
    const struct gate_record last = last_of("run");
    assert_int_equal(last.decision, GATE_RECORD_NSF);
    assert_non_null(strstr(last.why, "the answer to prompt 0 has no cost"));
    assert_true(isnan(last.upper) && last.spent == 2);
}

/* --- in the middle of the test ------------------------------------------------------------ */

static struct run_config config;

static void load_config(const char *run)
{
    char path[FILE_PATH_MAX];
    check_ok(file_join(path, at(run), "config.yaml", &err));
    check_ok(run_config_load(&config, path, NULL, 0, &err));
}

static void on_progress_die(void *ctx, uint32_t prompts, uint32_t all)
{
    (void)ctx, (void)prompts, (void)all;
    _exit(DIES);
}

static void gate_that_dies_during_the_test_costs_one_candidate(void **state)
{
    (void)state;
    const pid_t pid = fork();
    if (pid == 0) {
        struct gate_result result;
        load_config("run");
        const struct gate_params params = {
            .config = &config, .model = at("other"), .threads = 1, .progress = on_progress_die};
        _exit(gate_run(&params, &result, NULL) == ERR_OK ? 0 : 1);
    }
    assert_int_equal(wait_for(pid), DIES);
    check_published("a crash of the test", 0);
    struct gate_ledger *ledger;
    check_ok(gate_ledger_open(&ledger, at("held.jsonl.gate.sqlite"), &err));
    gate_ledger_close(ledger);
    check_repaired(); /* under the number that it was entered with */
}

static void on_progress_edit(void *ctx, uint32_t prompts, uint32_t all)
{
    (void)ctx, (void)prompts, (void)all;
    write_prompts("held.jsonl", "what else is", PROMPTS);
}

static void gate_whose_prompts_change_during_the_test_publishes_nothing(void **state)
{
    (void)state;
    struct gate_result result;
    load_config("run");
    const struct gate_params params = {
        .config = &config, .model = at("other"), .threads = 1, .progress = on_progress_edit};
    check_ok(gate_run(&params, &result, &err));
    assert_int_equal(result.entry.verdict.decision, BOUND_NSF);
    assert_string_equal(published(), before);
    assert_non_null(strstr(last_of("run").why, "was changed during the test"));
    write_prompts("held.jsonl", "what is", PROMPTS);
    char options[FILE_PATH_MAX + 16];
    snprintf(options, sizeof options, "--model %.400s", at("other"));
    gate(options, 1, "tested before"); /* that verdict stays */
}

static void a_set_that_was_edited_is_another_set(void **state)
{
    (void)state;
    write_prompts("held.jsonl", "what else is", PROMPTS);
    gate("", 0, "candidate 1 of 2"); /* what passed on the other set is tested again */
    assert_null(strstr(said, "tested before"));
    write_prompts("held.jsonl", "what is", PROMPTS);
}

/* --- two at once -------------------------------------------------------------------------- */

static void a_second_gate_in_a_run_is_refused(void **state)
{
    (void)state;
    char options[FILE_PATH_MAX + 16];
    const int lock = open(at("run/releases"), O_RDONLY | O_DIRECTORY);
    assert_int_equal(flock(lock, LOCK_EX), 0);
    struct gate_history first = history_of("run");
    snprintf(options, sizeof options, "--model %.400s", at("other"));
    gate(options, 70, "another gate tests a policy there");
    struct gate_history then = history_of("run");
    assert_int_equal(then.n, first.n); /* the record is that of who holds the lock */
    gate_record_release(&first);
    gate_record_release(&then);
    close(lock);
    assert_string_equal(published(), before);
    check_repaired();
}

#define RUNS 4

/* Of several runs at once, on a set planned for two, two are tested, and the others are told that
 * it is spent. */
static void gates_of_several_runs_share_what_a_set_is_good_for(void **state)
{
    forget(state);
    char name[RUNS][64];
    pid_t pid[RUNS];
    int passed = 0, spent = 0;
    for (int i = 0; i < RUNS; i++) {
        snprintf(name[i], sizeof name[i], "run-%d", i);
        char file[512], model[512];
        check_ok(file_make_dir(at(name[i]), &err));
        snprintf(file, sizeof file, "%s/config.yaml", name[i]);
        copy_file(at("run/config.yaml"), at(file));
        snprintf(model, sizeof model, "%s/final", name[i]);
        write_model(model, 0.001f * (float)i);
    }
    for (int i = 0; i < RUNS; i++) {
        if ((pid[i] = fork()) == 0) {
            char model[512];
            snprintf(model, sizeof model, "%s/final", name[i]);
            _exit(child_gate(at(name[i]), at(model), ""));
        }
    }
    for (int i = 0; i < RUNS; i++) {
        const int code = wait_for(pid[i]);
        const struct gate_record last = last_of(name[i]);
        char link[512];
        snprintf(link, sizeof link, "%s/published", name[i]);
        assert_true(code == 0 || code == 1);
        assert_true((code == 0) == (last.decision == GATE_RECORD_PASS));
        assert_true((code == 0) == file_exists(at(link)));
        passed += code == 0;
        spent += strstr(last.why, "is spent") != NULL;
        check_ok(file_remove_tree(at(name[i]), &err));
    }
    assert_int_equal(passed, 2);
    assert_int_equal(spent, RUNS - 2);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup(f, publish_final)
    const struct CMUnitTest tests[] = {
        CASE(gate_on_a_full_disk_keeps_what_is_published),
        CASE(gate_that_dies_keeps_what_is_published),
        CASE(gate_whose_ledger_cannot_grow_publishes_nothing),
        CASE(gate_without_its_ledger_publishes_nothing),
        CASE(gate_without_its_cost_scorer_publishes_nothing),
        CASE(gate_that_dies_during_the_test_costs_one_candidate),
        CASE(gate_whose_prompts_change_during_the_test_publishes_nothing),
        CASE(a_set_that_was_edited_is_another_set),
        CASE(a_second_gate_in_a_run_is_refused),
        CASE(gates_of_several_runs_share_what_a_set_is_good_for),
    };
    return cmocka_run_group_tests(tests, make_scene, remove_scene);
}

/*
 * test_admin.c -- `rlhf pause`, `resume`, `checkpoint` and `drain` of a real run.
 *
 * Oracle: the SHA-256 of the weights of the same run that nobody disturbed; and what the
 * coordinator and the ledger say of themselves meanwhile.  The coordinator is killed while the
 * run is paused.
 */
#define _DEFAULT_SOURCE /* mkdtemp */
#include <jansson.h>
#include <sys/stat.h>

#include "cli/run_lock.h"
#include "cli/status_fetch.h"
#include "cli/status_source.h"
#include "tests/e2e/held.h"
#include "tests/unit/cli_run.h"

#define STEPS 80

static char undisturbed[HASH_HEX_BYTES];
static pid_t run; /* the newest, below run_dir */
static char run_dir[FILE_PATH_MAX];

static void begin(const char *name, const char *rest)
{
    char line[512];
    snprintf(line, sizeof line,
             "rlhf run @/run.yaml run.dir=@/%s run.steps=%d checkpoint.every=%d%s", name, STEPS,
             STEPS, rest);
    scene_path(run_dir, name);
    run = scene_start(line);
}

/* Its learner stands still before each step, so that the coordinator can be asked; and is not taken
 * for dead meanwhile, or the step would be done when nobody has a lease for it. */
static void begin_held(const char *name, const char *rest)
{
    char all[256];
    snprintf(all, sizeof all, "%s timeouts.dead_ms=600000 timeouts.lease_ms=600000", rest);
    held_begin_by_learner();
    begin(name, all);
    held_end();
}

static int end_of_run(void)
{
    const int status = held_wait(run, run_dir);
    run = 0;
    return status;
}

static json_t *status_now(const char *name, struct err *why)
{
    char path[FILE_PATH_MAX];
    json_t *status = NULL;
    scene_path(path, name);
    return status_of(path, NULL, NULL, &status, why) == ERR_OK ? status : NULL;
}

static int64_t count(const char *name, const char *key)
{
    json_t *status = status_now(name, NULL);
    const int64_t n = status ? (int64_t)json_integer_value(json_object_get(status, key)) : -1;
    json_decref(status);
    return n;
}

static bool is_true(const char *name, const char *key)
{
    json_t *status = status_now(name, NULL);
    const bool yes = json_is_true(json_object_get(status, key));
    json_decref(status);
    return yes;
}

static void wait_for_count(const char *name, const char *key, int64_t n)
{
    const uint64_t deadline = clock_mono_ms() + SCENE_DEADLINE_MS;
    while (count(name, key) < n) {
        if (clock_mono_ms() > deadline)
            fail_msg("%s did not come to %d", key, (int)n);
        held_go_on(run_dir);
        scene_nap(20);
    }
}

/* `rlhf WORD dir/NAME REST` returns `code` and says `words`. */
static void expect(const char *word, const char *name, const char *rest, int code,
                   const char *words)
{
    char line[FILE_PATH_MAX];
    snprintf(line, sizeof line, "rlhf %s %s/%s%s", word, dir, name, rest);
    check_line(cli_main, line, code, words);
}

/* Has the run heard of what it is to do, and has not done it?  Or has it ended? */
static bool is_awaited(const char *name)
{
    json_t *status = status_now(name, NULL);
    const bool yes = !status || json_is_true(json_object_get(status, "checkpoint_asked")) ||
                     json_is_true(json_object_get(status, "draining"));
    json_decref(status);
    return yes;
}

/* The same of a command that waits for what a held run does: this, and no step before it was asked
 * for or after it was done. */
static void expect_of_held(const char *word, const char *name, const char *words)
{
    char line[128];
    struct buf out;
    snprintf(line, sizeof line, "rlhf %s @/%s", word, name);
    const uint64_t deadline = clock_mono_ms() + SCENE_DEADLINE_MS;
    const pid_t asks = scene_start_to(line, "answer", "no");
    for (; scene_lives(asks) && clock_mono_ms() < deadline; scene_nap(2))
        if (is_awaited(name))
            held_go_on(run_dir);
    const int code = scene_wait(asks);
    scene_read("answer", &out);
    if (code != 0 || !strstr(out.data, words)) {
        scene_show("no");
        fail_msg("%s: %d, \"%s\"", line, code, out.data);
    }
    buf_release(&out);
}

/* Nobody works for the run, and what they have done is in the ledger. */
static bool is_at_rest(const char *name)
{
    json_t *status = status_now(name, NULL);
    const bool yes = status && json_integer_value(json_object_get(status, "leases_out")) == 0 &&
                     json_integer_value(json_object_get(status, "ledger_durable")) ==
                         json_integer_value(json_object_get(status, "ledger_records"));
    json_decref(status);
    return yes;
}

/* --- the cases ---------------------------------------------------------------------------- */

static void a_paused_run_stands_still_also_after_a_crash_of_its_coordinator(void **state)
{
    (void)state;
    begin_held("a", " --quiet");
    held_go_to(run, run_dir, 2);
    expect("pause", "a", "", 0, "paused after ");
    const uint64_t deadline = clock_mono_ms() + SCENE_DEADLINE_MS;
    while (!is_at_rest("a") && clock_mono_ms() < deadline) {
        held_go_on(run_dir);
        scene_nap(20);
    }
    const int64_t trained = count("a", "trained");
    assert_in_range(trained, 2, STEPS - 1);
    assert_int_equal(kill(scene_child(run, "rlhf-coordinator"), SIGKILL), 0);
    wait_for_count("a", "epoch", 2);
    scene_nap(1500); /* long enough for several steps */
    assert_true(is_true("a", "paused"));
    assert_int_equal(count("a", "trained"), trained);
    expect("status", "a", "", 0, "waits for   somebody to resume the run\n");
    expect("pause", "a", "", 0, "0 leases are still out\n"); /* asking twice is asking once */
    expect("resume", "a", "", 0, "goes on after ");
    wait_for_count("a", "trained", trained + 1);
}

static void a_checkpoint_can_be_asked_for(void **state)
{
    (void)state;
    char path[FILE_PATH_MAX], name[64];
    assert_int_equal(count("a", "checkpoint_version"), 0);
    expect_of_held("checkpoint", "a", "the newest checkpoint is version ");
    const int64_t version = count("a", "checkpoint_version");
    assert_in_range(version, 1, STEPS);
    snprintf(name, sizeof name, "a/checkpoints/v%08lld/MANIFEST.json", (long long)version);
    scene_path(path, name);
    assert_true(file_exists(path));
}

static void a_drained_run_ends_with_0_and_goes_on_to_the_same_weights(void **state)
{
    (void)state;
    char hex[HASH_HEX_BYTES], path[FILE_PATH_MAX];
    struct status_past past;
    expect("pause", "a", "", 0, "paused after ");
    expect_of_held("drain", "a", ", with their checkpoint; the same command goes on\n");
    scene_path(path, "a");
    assert_false(run_lock_is_taken(path)); /* so it does at once */
    assert_int_equal(end_of_run(), 0);
    scene_path(path, "a");
    check_ok(status_read_past(path, &past, &err));
    assert_in_range(past.summary.steps, 3, STEPS - 1);
    assert_int_equal(past.summary.checkpoint_version, past.summary.steps);
    scene_path(path, "a/final");
    assert_false(file_exists(path));

    begin_held("a", " --quiet"); /* paused still */
    wait_for_count("a", "epoch", 3);
    scene_nap(500);
    assert_int_equal(count("a", "trained"), past.summary.steps);
    expect("resume", "a", "", 0, "goes on after ");
    assert_int_equal(end_of_run(), 0);
    scene_sha("a/final/model.safetensors", hex);
    assert_string_equal(hex, undisturbed);
    expect("replay", "a", "", 0, "planned = ");
}

/* Its learner hangs, so there is no checkpoint to wait for; then somebody stops it. */
static void a_run_that_ends_otherwise_was_not_drained(void **state)
{
    (void)state;
    struct buf said_by_drain;
    begin_held("c", " --quiet");
    const pid_t its_run = run;
    held_go_to(run, run_dir, 1);
    const pid_t learner = scene_child(run, "rlhf-learner");
    assert_int_equal(kill(learner, SIGSTOP), 0);
    const pid_t drain = scene_start("rlhf drain @/c");
    const uint64_t deadline = clock_mono_ms() + SCENE_DEADLINE_MS;
    while (!is_true("c", "draining") && clock_mono_ms() < deadline)
        scene_nap(20);
    assert_int_equal(kill(its_run, SIGTERM), 0);
    char http[FILE_PATH_MAX];
    scene_path(http, "c/http");
    while (file_exists(http) && clock_mono_ms() < deadline)
        scene_nap(20); /* the coordinator has ended */
    assert_int_equal(kill(learner, SIGCONT), 0);
    assert_int_equal(scene_wait(drain), 69);
    scene_read("err", &said_by_drain);
    assert_non_null(strstr(said_by_drain.data, "the coordinator ended otherwise: step "));
    buf_release(&said_by_drain);
    assert_int_equal(end_of_run(), 75);
}

static void nobody_is_asked_where_nobody_is(void **state)
{
    (void)state;
    expect("pause", "a", "", 69, "no coordinator serves the run");
    expect("drain", "nothing", "", 69, "does not exist");
    check_line(cli_main, "rlhf resume http://127.0.0.1:1", 69, "nobody answers at 127.0.0.1:1");
    check_line(cli_main, "rlhf resume https://127.0.0.1:1", 78, "speaks http://");
}

static void who_has_not_the_token_may_not(void **state)
{
    (void)state;
    char line[2 * FILE_PATH_MAX], path[FILE_PATH_MAX], other[FILE_PATH_MAX];
    struct buf http;
    scene_write("token", "a-secret-of-21-letters\n");
    scene_write("other", "b-secret-of-21-letters\n");
    scene_path(path, "token");
    scene_path(other, "other");
    assert_int_equal(chmod(path, 0600), 0);
    assert_int_equal(chmod(other, 0600), 0);
    begin_held("b", " endpoints.token_file=@/token");
    held_go_to(run, run_dir, 1);
    scene_read("b/http", &http);
    http.data[strcspn(http.data, "\n")] = '\0';
    snprintf(line, sizeof line, "rlhf pause http://%s", http.data);
    check_line(cli_main, line, 69,
               "answered 401: this needs the token of endpoints.token_file");
    snprintf(line, sizeof line, "rlhf pause http://%s --token-file %s", http.data, other);
    check_line(cli_main, line, 69, "answered 401");
    assert_false(is_true("b", "paused"));
    snprintf(line, sizeof line, "rlhf pause http://%s --token-file %s", http.data, path);
    check_line(cli_main, line, 0, "paused after ");
    assert_true(is_true("b", "paused"));
    expect("resume", "b", "", 0, "goes on after "); /* config.yaml says where the token is */
    expect_of_held("drain", "b", "drained after ");
    assert_int_equal(end_of_run(), 0);
    struct buf log, out;
    scene_read("out", &out);
    assert_non_null(strstr(out.data, "drained   after "));
    assert_null(strstr(out.data, "model     ")); /* there is none yet */
    buf_release(&out);
    scene_read("b/run.log", &log);
    assert_null(strstr(log.data, "a-secret"));
    assert_non_null(strstr(log.data, "ASKED"));
    buf_release(&log);
    buf_release(&http);
}

/* Where the run in dir/NAME has its sockets, as its lock says. */
static void sockets_of(const char *name, char path[64])
{
    char file[FILE_PATH_MAX];
    struct buf text;
    buf_init(&text, 63);
    snprintf(file, sizeof file, "%s/%s/run.lock", dir, name);
    check_ok(file_read(file, &text, &err));
    snprintf(path, 64, "%.*s", (int)text.len, text.data ? text.data : "");
    buf_release(&text);
}

/* Who worked for the run has been told to end, and does so when it goes on. */
static void wait_until_gone(void)
{
    const uint64_t deadline = clock_mono_ms() + SCENE_DEADLINE_MS;
    while (scene_find(run_dir, "rlhf-coordinator") > 0 ||
           scene_find(run_dir, "rlhf-learner") > 0) {
        assert_true(clock_mono_ms() < deadline);
        if (scene_find(run_dir, "rlhf-coordinator") == 0)
            held_go_on(run_dir);
        scene_nap(2);
    }
}

/* A run's directory whose lock names this: the run is taken, and let go. */
static void take_after(const char *named)
{
    char path[FILE_PATH_MAX];
    struct run_lock lock;
    scene_path(path, "precious");
    check_ok(file_make_dir(path, &err));
    scene_write("precious/run.lock", named);
    check_ok(run_lock_take(&lock, path, &err));
    run_lock_release(&lock);
    sockets_of("precious", path);
    assert_string_equal(path, "");
}

static void one_at_a_time_has_a_run_and_tidies_up_after_one_that_was_killed(void **state)
{
    (void)state;
    char line[512], killed[64], now[64], sha[HASH_HEX_BYTES];
    begin_held("k", " --quiet");
    held_go_to(run, run_dir, 2);
    snprintf(line, sizeof line,
             "rlhf run %s/run.yaml run.dir=%s/k run.steps=%d checkpoint.every=%d", dir, dir,
             STEPS, STEPS);
    check_line(cli_main, line, 70, "/k is in use: another `rlhf run` runs there\n");
    wait_for_count("k", "trained", 3); /* the one there is can still be asked */
    sockets_of("k", killed);
    take_after(killed); /* as in a copy of the directory */
    assert_true(file_exists(killed));
    assert_int_equal(kill(run, SIGKILL), 0);
    end_of_run();
    wait_until_gone();
    assert_true(file_exists(killed)); /* nobody could remove it */

    begin_held("k", " --quiet");
    wait_for_count("k", "epoch", 2);
    sockets_of("k", now);
    assert_true(strcmp(killed, now) != 0 && file_exists(now));
    assert_false(file_exists(killed));
    assert_int_equal(end_of_run(), 0);
    assert_false(file_exists(now));
    sockets_of("k", now);
    assert_string_equal(now, "");
    scene_sha("k/final/model.safetensors", sha);
    assert_string_equal(sha, undisturbed);
}

/* Whoever writes into the file cannot make a run remove anything else. */
static void a_lock_that_names_something_else_removes_nothing(void **state)
{
    (void)state;
    static const char *const others[] = {"%s/k", "%s/k/run.lock", "/tmp/rlhf-../..", ""};
    char text[FILE_PATH_MAX];
    for (size_t i = 0; i < COUNT(others); i++) {
        snprintf(text, sizeof text, others[i], dir);
        take_after(text);
        scene_path(text, "k/run.lock");
        assert_true(file_exists(text));
    }
}

static int make_scene(void **state)
{
    (void)state;
    scene_make();
    begin("u", " --quiet");
    if (end_of_run() != 0) {
        scene_show("err");
        return -1;
    }
    scene_sha("u/final/model.safetensors", undisturbed);
    return 0;
}

static int remove_scene(void **state)
{
    (void)state;
    if (run > 0 && kill(run, SIGTERM) == 0)
        waitpid(run, NULL, 0);
    scene_remove();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_paused_run_stands_still_also_after_a_crash_of_its_coordinator),
        cmocka_unit_test(a_checkpoint_can_be_asked_for),
        cmocka_unit_test(a_drained_run_ends_with_0_and_goes_on_to_the_same_weights),
        cmocka_unit_test(a_run_that_ends_otherwise_was_not_drained),
        cmocka_unit_test(nobody_is_asked_where_nobody_is),
        cmocka_unit_test(who_has_not_the_token_may_not),
        cmocka_unit_test(one_at_a_time_has_a_run_and_tidies_up_after_one_that_was_killed),
        cmocka_unit_test(a_lock_that_names_something_else_removes_nothing),
    };
    return cmocka_run_group_tests_name("e2e/admin", tests, make_scene, remove_scene);
}

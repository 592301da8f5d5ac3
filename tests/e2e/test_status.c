/*
 * test_status.c -- what a real run says of itself: /metrics, /readyz, /healthz, `rlhf status`.
 *
 * Oracles: the rules of Prometheus' text format 0.0.4, read by the small parser of scrape.h (and by
 * promtool, where there is one); the accounting identity of coordinator/core.h at every scrape;
 * counters that never go back.  The run waits for its only actor, which the test starts and lets
 * go on turn by turn, so that what is seen does not depend on how fast anything is.
 */
#define _DEFAULT_SOURCE /* mkdtemp */
#include <jansson.h>

#include "cli/status_fetch.h"
#include "tests/e2e/held.h"
#include "tests/e2e/scrape.h"
#include "tests/unit/cli_run.h"

#define STEPS "8"
#define BATCH "16"
#define LAG   1 /* of the fixture */

static char run_dir[96], control[128], bulk[128], address[128];
static pid_t run_pid, actor_pid;

/* --- processes ---------------------------------------------------------------------------- */

static pid_t start(const char *const *argv)
{
    char log[128];
    pid_t pid;
    posix_spawn_file_actions_t actions;
    snprintf(log, sizeof log, "%s/out", dir);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, log, O_WRONLY | O_CREAT | O_APPEND, 0644);
    posix_spawn_file_actions_adddup2(&actions, 1, 2);
    assert_int_equal(posix_spawn(&pid, argv[0], &actions, NULL, (char *const *)argv, environ),
                     0);
    posix_spawn_file_actions_destroy(&actions);
    return pid;
}

static void start_run(void)
{
    char where[128], ctl[160], blk[160];
    snprintf(where, sizeof where, "run.dir=%s", run_dir);
    snprintf(ctl, sizeof ctl, "endpoints.control=%s", control);
    snprintf(blk, sizeof blk, "endpoints.bulk=%s", bulk);
    const char *const argv[] = {
        RLHF_BIN "/rlhf",
        "run",
        TEST_SOURCE_DIR "/tests/fixture/run.yaml",
        where,
        ctl,
        blk,
        "run.steps=" STEPS,
        "pipeline.batch=" BATCH,
        "reward.references=1",
        "workers.actors=0",
        "checkpoint.every=4",
        "timeouts.dead_ms=60000", /* an actor that stands still is live */
        NULL};
    run_pid = start(argv);
}

/* It stands still at each turn, until the test has looked. */
static void start_actor(void)
{
    char config[128];
    snprintf(config, sizeof config, "%s/config.yaml", run_dir);
    const char *const argv[] = {RLHF_BIN "/rlhf-actor",
                                "--config",
                                config,
                                "--name",
                                "by-hand",
                                "--control",
                                control,
                                "--bulk",
                                bulk,
                                NULL};
    setenv("RLHF_FAULT", "actor_turn:1:stop", 1);
    actor_pid = start(argv);
    unsetenv("RLHF_FAULT");
}

/* -1: it runs on. */
static int run_ended(void)
{
    int status;
    if (run_pid == 0 || waitpid(run_pid, &status, WNOHANG) == 0)
        return -1;
    run_pid = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void show_output(void)
{
    static const char *const names[] = {"out", "run/run.log"};
    for (size_t i = 0; i < COUNT(names); i++) {
        char path[FILE_PATH_MAX];
        struct buf text;
        buf_init(&text, 1 << 24);
        if (file_join(path, dir, names[i], NULL) == ERR_OK &&
            file_read(path, &text, NULL) == ERR_OK)
            fprintf(stderr, "--- %s\n%s\n", path, text.data);
        buf_release(&text);
    }
}

/* As many slots are planned as the steps that are trained let, and no slot is trained twice: of
 * those of a trained step each is trained or dropped, of others none is trained. */
static void check_steps(double steps, double planned, double trained, double dropped)
{
    const double batch = atoi(BATCH), all = atoi(STEPS);
    const double open = steps + LAG + 1 < all ? steps + LAG + 1 : all;
    assert_true(planned == batch * open);
    assert_true(trained <= batch * steps && trained + dropped >= batch * steps);
}

/* planned = waiting + leased + generated + scored + shaped + trained + dropped */
static void check_accounts(const struct scrape *scrape)
{
    double sum = 0, reasons = 0;
    size_t states = 0;
    for (size_t i = 0; i < scrape->n; i++) {
        const struct scrape_series *series = &scrape->series[i];
        if (strncmp(series->key, "rlhfd_slots{", 12) == 0) {
            sum += series->value;
            states++;
        }
        if (strncmp(series->key, "rlhfd_slots_dropped_total{", 26) == 0)
            reasons += series->value;
    }
    assert_int_equal(states, 7);
    assert_true(sum == scrape_value(scrape, "rlhfd_slots_planned"));
    assert_true(reasons == scrape_value(scrape, "rlhfd_slots{state=\"dropped\"}"));
    check_steps(scrape_value(scrape, "rlhfd_steps_trained_total"),
                scrape_value(scrape, "rlhfd_slots_planned"),
                scrape_value(scrape, "rlhfd_slots{state=\"trained\"}"), reasons);
    assert_true(scrape_value(scrape, "rlhfd_ledger_durable_seq") <=
                scrape_value(scrape, "rlhfd_ledger_seq"));
}

static double number_of(const json_t *object, const char *key)
{
    const json_t *number = json_object_get(object, key);
    if (!json_is_number(number))
        fail_msg("no number \"%s\"", key);
    return json_number_value(number);
}

/* The same of `rlhf status --json`. */
static void check_json(const struct buf *text)
{
    static const char *const states[] = {"waiting", "leased", "generated",
                                         "scored",  "shaped", "trained"};
    json_t *status = json_loadb(text->data, text->len, 0, NULL);
    const json_t *slots = json_object_get(status, "slots");
    json_t *dropped = json_object_get(slots, "dropped"), *reason;
    const char *key;
    double lost = 0, sum = 0;
    json_object_foreach(dropped, key, reason) lost += json_number_value(reason);
    for (size_t i = 0; i < COUNT(states); i++)
        sum += number_of(slots, states[i]);
    assert_true(sum + lost == number_of(slots, "planned"));
    check_steps(number_of(status, "trained"), number_of(slots, "planned"),
                number_of(slots, "trained"), lost);
    json_decref(status);
}

static void check_promtool(const struct buf *text)
{
    if (!file_exists("/usr/bin/promtool"))
        return;
    FILE *promtool = popen("/usr/bin/promtool check metrics", "w");
    assert_non_null(promtool);
    assert_int_equal(fwrite(text->data, 1, text->len, promtool), text->len);
    assert_int_equal(pclose(promtool), 0);
}

/* --- the run ------------------------------------------------------------------------------ */

static bool scrape_once(struct scrape *scrape, struct buf *text)
{
    buf_clear(text);
    if (status_fetch(address, "/api/v1/status", text, NULL))
        return false;
    check_json(text);
    buf_clear(text);
    if (status_fetch(address, "/metrics", text, NULL))
        return false;
    scrape_read(scrape, text);
    check_accounts(scrape);
    return true;
}

static void wait_for_address(void)
{
    char path[FILE_PATH_MAX];
    const uint64_t deadline = clock_mono_ms() + SCENE_DEADLINE_MS;
    struct buf text;
    buf_init(&text, 128);
    check_ok(file_join(path, run_dir, "http", &err));
    while (file_read(path, &text, NULL) && run_ended() < 0 && clock_mono_ms() < deadline)
        scene_nap(5);
    text.data[strcspn(text.data, "\n")] = '\0';
    snprintf(address, sizeof address, "%s", text.data);
    buf_release(&text);
    assert_string_not_equal(address, "");
}

/* Everything is there and waits for the actor. */
static void wait_for_others(struct buf *text)
{
    static struct scrape scrape;
    const uint64_t deadline = clock_mono_ms() + SCENE_DEADLINE_MS;
    do {
        scene_nap(5);
        assert_true(clock_mono_ms() < deadline);
        assert_true(scrape_once(&scrape, text));
    } while (scrape_value(&scrape, "rlhfd_peers_learner{state=\"live\"}") != 1 ||
             scrape_value(&scrape, "rlhfd_peers_reward{state=\"live\"}") != 1 ||
             scrape_value(&scrape, "rlhfd_slots_planned") == 0);
}

static void a_run_that_waits_for_an_actor_says_so(void **state)
{
    (void)state;
    struct buf text;
    char line[160];
    buf_init(&text, 1 << 20);
    start_run();
    wait_for_address();
    wait_for_others(&text);
    check_promtool(&text);
    check_fails(status_fetch(address, "/readyz", &text, &err), ERR_UNAVAILABLE, "503");
    if (!strstr(text.data, "not ready\n") ||
        !strstr(text.data, "FAIL actor    0 live, 1 needed\n") ||
        !strstr(text.data, "ok   learner  1 live, 1 needed\n"))
        fail_msg("/readyz said:\n%s", text.data);
    buf_clear(&text);
    check_ok(status_fetch(address, "/healthz", &text, &err)); /* not tied to workers */
    assert_string_equal(text.data, "ok\n");
    snprintf(line, sizeof line, "rlhf status %s", run_dir);
    check_line(cli_main, line, 0, "waits for   an actor to connect\n");
    check_line(cli_main, line, 0, "\nlearner-0        learner  live ");
    buf_release(&text);
}

static void its_numbers_add_up_at_every_scrape(void **state)
{
    (void)state;
    static struct scrape before, now;
    struct buf text;
    char line[160];
    int ended;
    bool trained = false, ready = false;
    const uint64_t deadline = clock_mono_ms() + SCENE_DEADLINE_MS;
    buf_init(&text, 1 << 20);
    assert_true(scrape_once(&before, &text));
    start_actor();
    while ((ended = run_ended()) < 0 && clock_mono_ms() < deadline) {
        const bool still = held_is_still(actor_pid);
        scene_nap(2);
        if (!scrape_once(&now, &text))
            continue; /* it ends */
        if (still)
            kill(actor_pid, SIGCONT);
        scrape_check_counters(&before, &now);
        before = now;
        ready = ready || scrape_value(&now, "rlhfd_ready") == 1;
        if (scrape_value(&now, "rlhfd_steps_trained_total") >= 1) {
            if (!trained)
                check_promtool(&text);
            trained = true;
            assert_true(scrape_value(&now, "rlhfd_logp_diff_max_nats") == 0);
            assert_true(isfinite(scrape_value(&now, "rlhfd_step_entropy_nats")));
            assert_true(isfinite(scrape_value(&now, "rlhfd_step_kl_nats")));
        }
    }
    if (ended != 0)
        show_output();
    assert_int_equal(ended, 0);
    assert_true(trained && ready);
    snprintf(line, sizeof line, "rlhf status %s", run_dir);
    check_line(cli_main, line, 69, "the ledger's last step is 7, trained 20");
    snprintf(line, sizeof line, "rlhf inspect %s", run_dir);
    check_line(cli_main, line, 0, "steps         " STEPS " trained\n");
    snprintf(line, sizeof line, "rlhf inspect %s/checkpoints/v00000008", run_dir);
    check_line(cli_main, line, 0, "policy/model.safetensors\n");
    buf_release(&text);
}

static int make_dir(void **state)
{
    (void)state;
    scene_make_dir();
    snprintf(run_dir, sizeof run_dir, "%s/run", dir);
    snprintf(control, sizeof control, "ipc://%s/control", dir);
    snprintf(bulk, sizeof bulk, "ipc://%s/bulk", dir);
    return 0;
}

static int remove_dir(void **state)
{
    (void)state;
    if (run_pid > 0 && kill(run_pid, SIGTERM) == 0)
        waitpid(run_pid, NULL, 0);
    if (actor_pid > 0 && kill(actor_pid, SIGKILL) == 0)
        waitpid(actor_pid, NULL, 0);
    scene_remove();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_that_waits_for_an_actor_says_so),
        cmocka_unit_test(its_numbers_add_up_at_every_scrape),
    };
    return cmocka_run_group_tests_name("e2e/status", tests, make_dir, remove_dir);
}

/*
 * test_replay_runs.c -- `rlhf replay` over whole runs of many kinds, disturbed ones among them,
 * and over each ledger with one number changed by hand.
 *
 * Oracle: the coordinator's core, which made the numbers; a change of the last bit must be told
 * of the very step that was changed, and of no earlier one.  tests/e2e/test_replay.c changes
 * every column of one ledger; tests/sim replays thousands of simulated runs.
 */
#define _DEFAULT_SOURCE /* mkdtemp */
#include <sqlite3.h>
#include <sys/stat.h>

#include "coordinator/ledger.h"
#include "tests/e2e/held.h"
#include "tests/unit/cli_run.h"

#define STEPS   6
#define CHANGED 3 /* the step whose numbers are changed */

#define BEGINNING                                                        \
    "run:\n  dir: %s\n  steps: 6\n  seed: 3\nmodel:\n  policy: model\n"  \
    "data:\n  prompts: kinds.jsonl\n  prompt_tokens_max: 64\n"           \
    "pipeline:\n  lag: 1\n  batch: 8\nsampling:\n  max_new_tokens: 16\n" \
    "ppo:\n  epochs: 1\n  minibatches: 2\n  micro_tokens: 128\n"         \
    "optimizer:\n  lr: 1.0e-3\n  critic_lr: 1.0e-3\n"                    \
    "checkpoint:\n  every: 1\n  keep: 2\n"                               \
    "timeouts:\n  heartbeat_ms: 100\n  dead_ms: 700\n  lease_ms: 2000\n"

#define WORDS "    - {name: words, kind: words, words: words.txt, weight: 1.5}\n"

static const char par[] =
    BEGINNING "reward:\n  shaper: par\n  references: 3\n  scorers:\n" WORDS
              "    - {name: short, kind: length, min_tokens: 4, max_tokens: 12}\n"
              "kl:\n  controller: adaptive\n  coef: 0.1\n  target_nats_per_sequence: 1\n"
              "  horizon: 100\n";
static const char tree[] =
    BEGINNING "reward:\n  combine: tree\n  shaper: minmax\n  references: 2\n  scorers:\n"
              "    - {name: words, kind: words, words: words.txt, margin: 0.02}\n"
              "    - {name: short, kind: length, max_tokens: 4, margin: 0.125, prompt_kind: "
              "colour}\n"
              "    - {name: h, kind: regex, pattern: h, margin: 0.5}\n"
              "    - {name: watch, kind: regex, pattern: e, role: monitor, prompt_kind: "
              "colour}\n"
              "kl:\n  controller: pid\n  target_nats_per_token: 0.001\n";
static const char maxmin[] =
    BEGINNING "reward:\n  combine: maxmin\n  references: 2\n  shapers: [meanstd, par]\n"
              "  scorers:\n" WORDS "    - {name: h, kind: regex, pattern: h}\n"
              "    - {name: e, kind: regex, pattern: e, weight: 0.75}\n"
              "kl:\n  controller: adaptive\n  coef: 0.1\n  target_nats_per_token: 0.01\n"
              "  horizon: 100\n";
static const char kinds[] =
    BEGINNING "reward:\n  shaper: par\n  references: 2\n  scorers:\n" WORDS
              "    - {name: short, kind: length, max_tokens: 4, prompt_kind: colour}\n"
              "kl:\n  place: loss\n  estimator: k2\n  coef: 0.05\n";
static const char safe[] =
    BEGINNING "reward:\n  shaper: par\n  references: 2\n  scorers:\n" WORDS
              "    - {name: harm, kind: words, words: harm.txt, role: cost}\n"
              "kl:\n  controller: pid\n  target_nats_per_sequence: 0.5\n  coef: 0.1\n"
              "  coef_min: 0.09\n"
              "safety:\n  controller: lagrangian\n  cost: score\n  limit: 2\n  lr: 2\n"
              "  lambda: 0.5\n  lambda_min: 0.4\n";

/* A learning rate that takes the policy far away at once, and a breaker that takes it back. */
static const char back[] = BEGINNING
    "reward:\n  shaper: par\n  references: 2\n  scorers:\n" WORDS
    "breaker:\n  limits: [{signal: kl, high: 2, outcome: rollback}]\n  restore_every: 2\n"
    "  lr_factor: 0.2\n  trips_max: 20\n  cooldown: 2\n";

static void write_kinds(void)
{
    struct world world;
    struct buf lines, prompt;
    check_ok(world_init(&world, &err));
    buf_init(&lines, 1 << 20);
    buf_init(&prompt, 1 << 12);
    for (size_t i = 0; i < 24; i++) {
        const struct world_item *item = &world.items[i * (world.items_n / 24)];
        buf_clear(&prompt);
        world_prompt(item, &prompt);
        buf_puts(&lines, "{\"prompt\": ");
        buf_json_string(&lines, prompt.data, prompt.len);
        buf_printf(&lines, ", \"kind\": \"%s\"}\n", world_kind_name(item->kind));
    }
    scene_write("kinds.jsonl", lines.data);
    scene_write("harm.txt", "s\nt\nn\nr\nm\nd\n");
    buf_release(&lines);
    buf_release(&prompt);
    world_release(&world);
}

static int make_world(void **state)
{
    (void)state;
    scene_make();
    write_kinds();
    return 0;
}

static int remove_world(void **state)
{
    (void)state;
    scene_remove();
    return 0;
}

/* --- runs --------------------------------------------------------------------------------- */

static char run_name[32]; /* of the case at hand, below the scene */

static void run_write(const char *yaml, const char *name)
{
    char text[2048], file[64];
    snprintf(run_name, sizeof run_name, "%s", name);
    snprintf(text, sizeof text, yaml, name);
    snprintf(file, sizeof file, "%s.yaml", name);
    scene_write(file, text);
}

static pid_t run_start(const char *override)
{
    char line[160];
    snprintf(line, sizeof line, "rlhf run @/%s.yaml --quiet %s", run_name, override);
    return scene_start(line);
}

static pid_t run_start_held(const char *override)
{
    held_begin();
    const pid_t pid = run_start(override);
    held_end();
    return pid;
}

static void run_end(pid_t pid, int want)
{
    char run[FILE_PATH_MAX], log[64];
    scene_path(run, run_name);
    const int code = held_wait(pid, run);
    if (code == want)
        return;
    scene_show("err");
    snprintf(log, sizeof log, "%s/run.log", run_name);
    scene_show(log);
    fail_msg("%s ended with %d", run_name, code);
}

/* In the midst of the step behind these. */
static void run_kill_after(uint64_t steps, pid_t pid, const char *words)
{
    char run[FILE_PATH_MAX];
    scene_path(run, run_name);
    held_go_to(pid, run, steps);
    held_go_on(run);
    held_kill(pid, run, words);
}

static void run_interrupt_after(uint64_t steps, pid_t pid)
{
    char run[FILE_PATH_MAX];
    scene_path(run, run_name);
    held_go_to(pid, run, steps);
    held_interrupt(pid, run);
    run_end(pid, 75);
}

/* --- the replay --------------------------------------------------------------------------- */

static void replays(int code, const char *words)
{
    char line[FILE_PATH_MAX + 32];
    snprintf(line, sizeof line, "rlhf replay %s/%s", dir, run_name);
    check_line(cli_main, line, code, words);
}

/* The number that stands first in the text of a list, one bit greater. */
static void change_list(const char *text, char changed[1024])
{
    char *rest;
    assert_true(text[0] == '[');
    const double value = strtod(text + 1, &rest);
    assert_true(rest > text + 1);
    snprintf(changed, 1024, "[%.17g%s", nextafter(value, 1e300), rest);
}

static void bind_changed(sqlite3_stmt *to, sqlite3_stmt *from)
{
    unsigned char bytes[1 << 12];
    char text[1024];
    const int size = sqlite3_column_bytes(from, 0);
    switch (sqlite3_column_type(from, 0)) {
    case SQLITE_FLOAT:
        sqlite3_bind_double(to, 1, nextafter(sqlite3_column_double(from, 0), 1e300));
        return;
    case SQLITE_TEXT:
        snprintf(text, sizeof text, "%s", (const char *)sqlite3_column_text(from, 0));
        if (text[0] == '[')
            change_list((const char *)sqlite3_column_text(from, 0), text);
        else
            text[0] = text[0] == '0' ? '1' : '0'; /* of a hash */
        sqlite3_bind_text(to, 1, text, -1, SQLITE_TRANSIENT);
        return;
    case SQLITE_BLOB:
        assert_true(size > 0 && (size_t)size <= sizeof bytes);
        memcpy(bytes, sqlite3_column_blob(from, 0), (size_t)size);
        bytes[0] ^= 1;
        sqlite3_bind_blob(to, 1, bytes, size, SQLITE_TRANSIENT);
        return;
    default: fail_msg("there is no number to change");
    }
}

static sqlite3_stmt *prepare(sqlite3 *db, const char *format, const char *a, const char *b,
                             const char *c)
{
    char sql[256];
    sqlite3_stmt *stmt = NULL;
    snprintf(sql, sizeof sql, format, a, b, c);
    if (sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) != SQLITE_OK)
        fail_msg("%s: %s", sql, sqlite3_errmsg(db));
    return stmt;
}

/* Change a value, replay, put it back. */
static void change(sqlite3 *db, const char *table, const char *column, const char *where,
                   const char *words)
{
    sqlite3_stmt *from = prepare(db, "SELECT %s FROM %s WHERE %s", column, table, where);
    assert_int_equal(sqlite3_step(from), SQLITE_ROW);
    sqlite3_value *value = sqlite3_value_dup(sqlite3_column_value(from, 0));
    sqlite3_stmt *to = prepare(db, "UPDATE %s SET %s=?1 WHERE %s", table, column, where);
    bind_changed(to, from);
    sqlite3_finalize(from);
    assert_int_equal(sqlite3_step(to), SQLITE_DONE);
    replays(65, words);
    sqlite3_reset(to);
    sqlite3_bind_value(to, 1, value);
    assert_int_equal(sqlite3_step(to), SQLITE_DONE);
    sqlite3_finalize(to);
    sqlite3_value_free(value);
}

/* What a learner is given, and what controllers say: of step CHANGED. */
static void changes_are_told(void)
{
    static const struct {
        const char *table, *column, *where, *words;
    } changes[] = {
        {"score", "scores", "kind='rollout' AND a=3 AND b=2", "step 3: "},
        {"score", "scores",
         "kind='reference' AND b=0 AND a=(SELECT prompt FROM rollout WHERE step=0 LIMIT 1)",
         "step 0: "},
        {"score", "ref_logprobs", "kind='rollout' AND a=3 AND b=2", "step 3: "},
        {"rollout", "logprobs", "step=3 AND slot=5", "step 3: "},
        {"step", "reward_raw_mean", "step=3", "step 3: reward_raw_mean: "},
        {"step", "reward_shaped_mean", "step=3", "step 3: reward_shaped_mean: "},
        {"step", "kl_coef_after", "step=3", "step 3: kl_coef_after: "},
        {"step", "multiplier_after", "step=3", "step 3: multiplier_after: "},
        {"step", "controller", "step=3", "step 3: controller kl[0]: "},
        {"step", "experience", "step=3", "step 3: experience: "},
        {"step", "weights", "step=3", "step 4: experience: "},
    };
    char path[FILE_PATH_MAX], file[64];
    sqlite3 *db;
    snprintf(file, sizeof file, "%s/" LEDGER_FILE, run_name);
    scene_path(path, file);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    for (size_t i = 0; i < COUNT(changes); i++)
        change(db, changes[i].table, changes[i].column, changes[i].where, changes[i].words);
    sqlite3_close(db);
}

static void change_by(const char *sql)
{
    char path[FILE_PATH_MAX], file[64];
    sqlite3 *db;
    snprintf(file, sizeof file, "%s/" LEDGER_FILE, run_name);
    scene_path(path, file);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK || sqlite3_changes(db) != 1)
        fail_msg("%s: %s, %d rows", sql, sqlite3_errmsg(db), sqlite3_changes(db));
    sqlite3_close(db);
}

/* The run is over: every record is derived again, and no change gets past. */
static void derived_again(void)
{
    replays(0, "48 planned = 48 trained + 0 dropped + 0 in flight\n");
    changes_are_told();
    replays(0, ": 6 steps of 48 slots, "); /* all was put back */
}

static void undisturbed(const char *yaml, const char *name, const char *override)
{
    run_write(yaml, name);
    run_end(run_start(override), 0);
    derived_again();
}

/* --- the cases ---------------------------------------------------------------------------- */

static void par_with_references_is_derived_again(void **state)
{
    (void)state;
    undisturbed(par, "par", "");
}

static void a_tree_is_derived_again(void **state)
{
    (void)state;
    undisturbed(tree, "tree", "");
    change_by("UPDATE score SET scores=substr(scores,1,length(scores)-5)||'0.5]' WHERE seq="
              "(SELECT min(seq) FROM score WHERE kind='reference' AND scores LIKE '%null]' AND"
              " scores NOT LIKE '%null,%')"); /* what only watches is not asked of references */
    replays(65, "it has a score of a scorer that is not asked there");
}

static void the_group_served_worst_is_derived_again(void **state)
{
    (void)state;
    undisturbed(maxmin, "maxmin", "");
    change_by("UPDATE step SET worst_group=worst_group%3+1 WHERE step=3");
    replays(65, "step 3: worst_group: the ledger has ");
}

static void scorers_of_a_kind_of_prompt_are_derived_again(void **state)
{
    (void)state;
    undisturbed(kinds, "kinds", "");
    change_by("UPDATE score SET scores=replace(scores,'null','0.5') WHERE seq=(SELECT min(seq)"
              " FROM score WHERE kind='rollout' AND scores LIKE '%null%')");
    replays(65, "it has a score of a scorer that is not asked there");
}

static void a_multiplier_with_a_least_value_is_derived_again(void **state)
{
    (void)state;
    undisturbed(safe, "safe", "");
    char path[FILE_PATH_MAX];
    struct ledger_summary sum;
    struct ledger *ledger;
    scene_path(path, "safe");
    check_ok(ledger_open_read(&ledger, path, &err));
    check_ok(ledger_summarise(ledger, &sum, &err));
    check_ok(ledger_close(ledger, &err));
    assert_int_equal(sum.steps, STEPS);
}

static void a_run_of_two_learners_is_derived_again(void **state)
{
    (void)state;
    undisturbed(par, "two", "workers.learners=2");
}

static void a_run_that_was_killed_and_continued_is_derived_again(void **state)
{
    (void)state;
    run_write(safe, "killed");
    const pid_t pid = run_start_held("workers.actors=2");
    run_kill_after(1, pid, "rlhf-coordinator");
    run_kill_after(2, pid, "rlhf-learner");
    run_interrupt_after(3, pid);
    replays(0, " steps of ");
    run_end(run_start("workers.actors=2"), 0);
    derived_again();
}

/* The newest that the ledger names, and any that was written behind its back. */
static void damage_checkpoints(void)
{
    char root[FILE_PATH_MAX], path[FILE_PATH_MAX], file[FILE_PATH_MAX];
    struct ledger_summary sum;
    struct ledger *ledger;
    struct dirent **names;
    struct stat info;
    size_t damaged = 0;
    scene_path(path, run_name);
    check_ok(ledger_open_read(&ledger, path, &err));
    check_ok(ledger_summarise(ledger, &sum, &err));
    check_ok(ledger_close(ledger, &err));
    check_ok(file_join(root, path, "checkpoints", &err));
    const int n = scandir(root, &names, NULL, alphasort);
    assert_true(n > 2);
    for (int i = 0; i < n; free(names[i++])) {
        if (names[i]->d_name[0] != 'v' ||
            strtoull(names[i]->d_name + 1, NULL, 10) < sum.checkpoint_version)
            continue;
        check_ok(file_join(path, root, names[i]->d_name, &err));
        check_ok(file_join(file, path, "policy/model.safetensors", &err));
        assert_int_equal(stat(file, &info), 0);
        assert_int_equal(truncate(file, info.st_size / 2), 0);
        damaged++;
    }
    free(names);
    assert_true(damaged >= 1);
}

static void a_run_that_lost_a_checkpoint_is_derived_again(void **state)
{
    (void)state;
    run_write(par, "damaged");
    run_interrupt_after(4, run_start_held(""));
    damage_checkpoints();
    run_end(run_start(""), 0);
    struct buf log;
    scene_read("damaged/run.log", &log);
    if (!strstr(log.data, "is read from the ledger"))
        fail_msg("no step was recalled");
    buf_release(&log);
    derived_again();
}

static void a_run_that_goes_back_is_derived_again(void **state)
{
    (void)state;
    static const char more[] = "run.steps=12 optimizer.lr=3.0e-2";
    run_write(back, "back");
    const pid_t pid = run_start_held(more);
    run_kill_after(4, pid, "rlhf-coordinator");
    run_kill_after(6, pid, "rlhf-learner");
    run_end(pid, 0);
    replays(0, ": 12 steps of 96 slots, ");
    change_by("UPDATE step SET dropped=replace(dropped,'rolled_back','quarantined') WHERE"
              " step=(SELECT min(step) FROM step WHERE dropped LIKE '%rolled_back%')");
    replays(65, ": dropped.quarantined: the ledger has 8, derived is 0");
    change_by("UPDATE step SET dropped=replace(dropped,'quarantined','rolled_back') WHERE"
              " step=1+(SELECT min(step) FROM step WHERE dropped LIKE '%quarantined%')");
    replays(0, ": 12 steps of 96 slots, ");
    change_by("UPDATE step SET weights=(SELECT b.weights FROM step b WHERE b.step=step.step-1)"
              " WHERE step=(SELECT min(step) FROM step WHERE dropped LIKE '%quarantined%')");
    replays(65, ": weights: they are not those of the version it goes back to");
}

/* Also where a rollback takes the reference back. */
static void a_run_whose_reference_is_renewed_is_derived_again(void **state)
{
    (void)state;
    undisturbed(par, "renewed", "kl.reference_every=2");
    change_by("UPDATE step SET kl_reference_version=0 WHERE step=4");
    replays(65, "step 4: kl_reference_version: the ledger has 0, derived is 2");
    run_write(back, "renewed-back");
    run_end(run_start("run.steps=12 optimizer.lr=3.0e-2 kl.reference_every=3 "
                      "kl.controller=adaptive kl.horizon=20"),
            0);
    replays(0, ": 12 steps of 96 slots, ");
}

/* test_replay_runs [PATTERN]: tests whose names match, "*tree*". */
int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(par_with_references_is_derived_again),
        cmocka_unit_test(a_tree_is_derived_again),
        cmocka_unit_test(the_group_served_worst_is_derived_again),
        cmocka_unit_test(scorers_of_a_kind_of_prompt_are_derived_again),
        cmocka_unit_test(a_multiplier_with_a_least_value_is_derived_again),
        cmocka_unit_test(a_run_of_two_learners_is_derived_again),
        cmocka_unit_test(a_run_that_was_killed_and_continued_is_derived_again),
        cmocka_unit_test(a_run_that_lost_a_checkpoint_is_derived_again),
        cmocka_unit_test(a_run_that_goes_back_is_derived_again),
        cmocka_unit_test(a_run_whose_reference_is_renewed_is_derived_again),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("e2e/replay_runs", tests, make_world, remove_world);
}

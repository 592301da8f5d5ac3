/*
 * test_replay.c -- `rlhf replay` over the ledger of a real run, and over that ledger with one
 * value changed: every column of every table in turn.
 *
 * Oracle: the run's own numbers, made by the coordinator's core, which the replay shares no code
 * with but control/; and that a change, in the last bit of a double too, is named.
 */
#define _DEFAULT_SOURCE /* mkdtemp */
#include <sqlite3.h>

#include "coordinator/ledger.h"
#include "tests/e2e/replay_scene.h"
#include "tests/unit/cli_run.h"

static char replay_line[FILE_PATH_MAX];
static sqlite3 *db;

/* --- what a change of each column is to be called ----------------------------------------- */

/* NULL: an observation that nothing else depends on. */
static const struct expectation {
    const char *table, *column, *words;
} expectations[] = {
    {"run", "value", "config_hash: the ledger was begun with"},
    {"run", "key", ""}, /* it is then no ledger of this program */
    {"epoch", "epoch", "epoch is not one more"},
    {"start", "weights", "step 0: experience"},
    {"identity", "what", "(identity): it is of nothing that is known"},
    {"identity", "hash", "(identity): the prompts are not those the run began with"},
    {"rollout", "step", "has none there that is open"},
    {"rollout", "slot", "has none there that is open"},
    {"rollout", "prompt", "step 1, slot 0: prompt: the ledger has"},
    {"rollout", "version", "step 1, slot 0: version: the ledger has"},
    {"rollout", "tokens", "is damaged"},
    {"rollout", "finish", "rollout of step 1, slot 0"},
    {"rollout", "ids", "step 1: experience"},
    {"rollout", "logprobs", "step 1: "},
    {"reference", "prompt", "has none there that is open"},
    {"reference", "m", "has none there that is open"},
    {"reference", "tokens", "is damaged"},
    {"reference", "finish", "reference 0: "},
    {"reference", "ids", NULL},
    {"score", "kind", "score of prompt 1, reference 7"},
    {"score", "a", "has none there that is open"},
    {"score", "b", "has none there that is open"},
    {"score", "prompt", "score of step 1, slot 7: prompt, tokens or finish"},
    {"score", "tokens", "is damaged"},
    {"score", "finish", "score of step 1, slot 7: prompt, tokens or finish"},
    {"score", "scores", "step 1: score_mean.words: the ledger has"},
    {"score", "ref_logprobs", "step 1: "},
    {"step", "step", "it is not the one that follows"},
    {"step", "version", "step 1: version: the ledger has 1002, derived is 2"},
    {"step", "kl_reference_version",
     "step 1: kl_reference_version: the ledger has 1000, derived is 0"},
    {"step", "behaviour_version",
     "step 1: behaviour_version: the ledger has 1000, derived is 0"},
    {"step", "weights", "step 2: experience"},
    {"step", "checkpoint_version", "checkpoint_version is older"},
    {"step", "trained", "step 1: trained: the ledger has 1008, derived is 8"},
    {"step", "dropped", "step 1: dropped.score_failed: the ledger has 1, derived is 0"},
    {"step", "truncated", "step 1: truncated: the ledger has"},
    {"step", "prompt_tokens", "step 1: prompt_tokens: the ledger has"},
    {"step", "response_tokens", "step 1: response_tokens: the ledger has"},
    {"step", "reward_raw_mean", "step 1: reward_raw_mean: the ledger has"},
    {"step", "reward_raw_std", "step 1: reward_raw_std: the ledger has"},
    {"step", "reward_shaped_mean", "step 1: reward_shaped_mean: the ledger has"},
    {"step", "score_mean", "step 1: score_mean.words: the ledger has"},
    {"step", "kl_mean", "step 1: kl_mean: the ledger has"},
    {"step", "kl_coef_before", "step 1: kl_coef_before: the ledger has"},
    {"step", "kl_coef_after", "step 1: kl_coef_after: the ledger has"},
    {"step", "cost_raw_mean", "step 1: cost_raw_mean: the ledger has"},
    {"step", "cost_limit", "step 1: cost_limit: the ledger has"},
    {"step", "multiplier_before", "step 1: multiplier_before: the ledger has"},
    {"step", "multiplier_after", "step 1: multiplier_after: the ledger has"},
    {"step", "score_missing", "step 1: score_missing.words: the ledger has"},
    {"step", "worst_group", "is damaged"}, /* there is no such scorer */
    {"step", "controller", "step 1: controller kl[0]: the ledger has"},
    {"step", "experience", "step 1: experience: the ledger has"},
    {"step", "duration_ms", NULL},
    {"step", "stats", "step 2: controller breaker["}, /* which looks at them */
};

/* The row that is changed, of each table. */
static const struct {
    const char *table, *where;
} rows[] = {
    {"run", "key='config_hash'"},
    {"epoch", "epoch=1"},
    {"start", "1"},
    {"identity", "what='prompts'"},
    {"rollout", "step=1 AND slot=0"},
    {"reference", "m=0 AND prompt=(SELECT min(prompt) FROM reference)"},
    {"score", "kind='rollout' AND a=1 AND b=7"},
    {"step", "step=1"},
};

static bool is_observation(const char *column)
{
    return strcmp(column, "at_ms") == 0 || strcmp(column, "worker") == 0;
}

static const struct expectation *expectation_of(const char *table, const char *column)
{
    static const struct expectation seq = {"", "seq", ""}, observed = {"", "", NULL};
    if (strcmp(column, "seq") == 0)
        return &seq;
    if (is_observation(column))
        return &observed;
    for (size_t i = 0; i < COUNT(expectations); i++)
        if (strcmp(expectations[i].table, table) == 0 &&
            strcmp(expectations[i].column, column) == 0)
            return &expectations[i];
    fail_msg("%s.%s is new: what is rlhf replay to say where it was changed?", table, column);
    return NULL;
}

/* --- changing a value --------------------------------------------------------------------- */

static sqlite3_stmt *prepare(const char *format, const char *a, const char *b, const char *c)
{
    char sql[4096];
    sqlite3_stmt *stmt = NULL;
    snprintf(sql, sizeof sql, format, a, b, c);
    if (sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) != SQLITE_OK)
        fail_msg("%s: %s", sql, sqlite3_errmsg(db));
    return stmt;
}

static sqlite3_value *read_value(const char *table, const char *column, const char *where)
{
    sqlite3_stmt *stmt = prepare("SELECT %s FROM %s WHERE %s", column, table, where);
    if (sqlite3_step(stmt) != SQLITE_ROW)
        fail_msg("%s has no row where %s", table, where);
    sqlite3_value *value = sqlite3_value_dup(sqlite3_column_value(stmt, 0));
    sqlite3_finalize(stmt);
    return value;
}

static const char *other_word(const char *word)
{
    static const char *const pairs[][2] = {{"eos", "length"},
                                           {"length", "eos"},
                                           {"stop", "eos"},
                                           {"rollout", "reference"},
                                           {"{}", "{\"score_failed\":1}"},
                                           {"config_hash", "config"}};
    for (size_t i = 0; i < COUNT(pairs); i++)
        if (strcmp(pairs[i][0], word) == 0)
            return pairs[i][1];
    return NULL;
}

/* Another text that can stand there: of a hash its first digit, of a list its first number's. */
static void bind_other_text(sqlite3_stmt *stmt, const char *text)
{
    static char changed[4096];
    const char *word = strncmp(text, "{\"", 2) == 0 ? "{}" : other_word(text);
    snprintf(changed, sizeof changed, "%s", word ? word : text);
    char *at = changed + (*changed == '[') + (changed[1] == '-');
    if (!word)
        *at = *at == '1' ? '2' : '1';
    sqlite3_bind_text(stmt, 1, changed, -1, SQLITE_TRANSIENT);
}

static void bind_other(sqlite3_stmt *stmt, sqlite3_value *value)
{
    unsigned char bytes[1 << 14];
    switch (sqlite3_value_type(value)) {
    case SQLITE_INTEGER: sqlite3_bind_int64(stmt, 1, sqlite3_value_int64(value) + 1000); break;
    case SQLITE_FLOAT: /* the next double: one bit */
        sqlite3_bind_double(stmt, 1, nextafter(sqlite3_value_double(value), 1e300));
        break;
    case SQLITE_TEXT: bind_other_text(stmt, (const char *)sqlite3_value_text(value)); break;
    case SQLITE_BLOB: {
        const size_t size = (size_t)sqlite3_value_bytes(value);
        assert_true(size > 0 && size <= sizeof bytes);
        memcpy(bytes, sqlite3_value_blob(value), size);
        bytes[0] ^= 1;
        sqlite3_bind_blob(stmt, 1, bytes, (int)size, SQLITE_TRANSIENT);
        break;
    }
    default: sqlite3_bind_double(stmt, 1, 0.25);
    }
}

/* Change it, replay, put it back. */
static void change(const char *table, const char *column, const char *where)
{
    const struct expectation *want = expectation_of(table, column);
    char at[512];
    sqlite3_value *value = read_value(table, column, where);
    sqlite3_stmt *stmt = prepare("SELECT rowid FROM %s WHERE %s%s", table, where, "");
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    snprintf(at, sizeof at, "rowid=%lld", (long long)sqlite3_column_int64(stmt, 0));
    sqlite3_finalize(stmt);
    stmt = prepare("UPDATE %s SET %s=?1 WHERE %s RETURNING rowid", table, column, at);
    bind_other(stmt, value);
    if (sqlite3_step(stmt) != SQLITE_ROW)
        fail_msg("%s.%s: %s", table, column, sqlite3_errmsg(db));
    snprintf(at, sizeof at, "rowid=%lld", (long long)sqlite3_column_int64(stmt, 0));
    sqlite3_step(stmt);
    sqlite3_finalize(stmt);
    const int code = run_line(cli_main, replay_line);
    if (want->words ? code != 65 || !strstr(said, want->words) : code != 0)
        fail_msg("%s.%s was changed; the replay ended with %d, wanted \"%s\", and said:\n%s",
                 table, column, code, want->words ? want->words : "(nothing)", said);
    stmt = prepare("UPDATE %s SET %s=?1 WHERE %s", table, column, at);
    sqlite3_bind_value(stmt, 1, value);
    assert_int_equal(sqlite3_step(stmt), SQLITE_DONE);
    sqlite3_finalize(stmt);
    sqlite3_value_free(value);
}

/* --- the cases ---------------------------------------------------------------------------- */

static void an_untouched_ledger_follows_from_what_came_in(void **state)
{
    (void)state;
    check_line(cli_main, replay_line, 0, ": 4 steps of 32 slots, ");
    if (!strstr(said, "32 planned = 32 trained + 0 dropped + 0 in flight\n"))
        fail_msg("it said: %s", said);
}

static void a_change_of_any_column_is_named(void **state)
{
    (void)state;
    size_t columns = 0;
    for (size_t i = 0; i < COUNT(rows); i++) {
        char names[32][32];
        size_t n = 0;
        sqlite3_stmt *stmt =
            prepare("SELECT name FROM pragma_table_info('%s')%s%s", rows[i].table, "", "");
        while (sqlite3_step(stmt) == SQLITE_ROW && n < COUNT(names))
            snprintf(names[n++], sizeof names[0], "%s",
                     (const char *)sqlite3_column_text(stmt, 0));
        sqlite3_finalize(stmt);
        for (size_t k = 0; k < n; k++)
            change(rows[i].table, names[k], rows[i].where);
        columns += n;
    }
    assert_true(columns >= 64);
    check_line(cli_main, replay_line, 0, ": 4 steps of 32 slots, "); /* all was put back */
}

static void a_record_that_is_missing_is_noticed(void **state)
{
    (void)state;
    assert_int_equal(sqlite3_exec(db, "DELETE FROM score WHERE kind='rollout' AND a=2 AND b=3",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    check_line(cli_main, replay_line, 65, "seq does not follow: a record is missing before it");
}

static void a_config_that_was_edited_is_refused(void **state)
{
    (void)state;
    struct buf text;
    scene_read("run/config.yaml", &text);
    char *seed = strstr(text.data, "seed: 3");
    assert_non_null(seed);
    seed[6] = '4';
    scene_write("run/config.yaml", text.data);
    buf_release(&text);
    check_line(cli_main, replay_line, 65, "config_hash: the ledger was begun with");
}

static void no_run_is_unavailable(void **state)
{
    (void)state;
    check_line(cli_main, "rlhf replay /nonexistent", 69, "/nonexistent/ledger.sqlite");
    check_line(cli_main, "rlhf replay", 64, "rlhf replay");
}

static int make_run(void **state)
{
    (void)state;
    if (replay_scene_make() != 0)
        return -1;
    char path[FILE_PATH_MAX];
    snprintf(replay_line, sizeof replay_line, "rlhf replay %s/run", dir);
    scene_path(path, "run/" LEDGER_FILE);
    return sqlite3_open(path, &db) == SQLITE_OK ? 0 : -1;
}

static int remove_run(void **state)
{
    (void)state;
    sqlite3_close(db);
    scene_remove();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_untouched_ledger_follows_from_what_came_in),
        cmocka_unit_test(a_change_of_any_column_is_named),
        cmocka_unit_test(a_record_that_is_missing_is_noticed),
        cmocka_unit_test(a_config_that_was_edited_is_refused),
        cmocka_unit_test(no_run_is_unavailable),
    };
    return cmocka_run_group_tests_name("e2e/replay", tests, make_run, remove_run);
}

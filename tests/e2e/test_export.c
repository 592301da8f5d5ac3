/*
 * test_export.c -- `rlhf export` of a real run.
 *
 * Oracles: the ledger's own columns, read here with SQL; the means of its STEP records, which
 * the exported numbers of a step's slots have to come to; `rlhf data inspect`, which must take
 * every line.
 */
#define _DEFAULT_SOURCE /* mkdtemp */
#include <jansson.h>
#include <sqlite3.h>

#include "coordinator/ledger.h"
#include "tests/e2e/replay_scene.h"
#include "tests/unit/cli_run.h"
#include "tests/unit/near.h"

static sqlite3 *db;

/* `rlhf export RUN --out dir/NAME REST`: its lines; the caller releases them. */
static json_t *export_to(const char *name, const char *rest, int code, const char *words)
{
    char line[3 * FILE_PATH_MAX];
    snprintf(line, sizeof line, "rlhf export %s/run --out %s/%s%s", dir, dir, name, rest);
    check_line(cli_main, line, code, words);
    json_t *all = json_array();
    struct buf text;
    if (code != 0)
        return all;
    scene_read(name, &text);
    for (char *at = strtok(text.data, "\n"); at; at = strtok(NULL, "\n")) {
        json_t *object = json_loads(at, JSON_REJECT_DUPLICATES, NULL);
        if (!object)
            fail_msg("no JSON: %s", at);
        json_array_append_new(all, object);
    }
    buf_release(&text);
    return all;
}

static double number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    if (!json_is_number(value))
        fail_msg("%s is not there", key);
    return json_number_value(value);
}

static int64_t count(const json_t *object, const char *key)
{
    return (int64_t)number(object, key);
}

/* One row of the ledger. */
static sqlite3_stmt *row(const char *sql, int64_t a, int64_t b)
{
    sqlite3_stmt *stmt = NULL;
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &stmt, NULL), SQLITE_OK);
    sqlite3_bind_int64(stmt, 1, a);
    sqlite3_bind_int64(stmt, 2, b);
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    return stmt;
}

/* The array's numbers are those of the BLOB, to the bit. */
static void check_blob(const json_t *line, const char *key, sqlite3_stmt *stmt, int column,
                       bool ids)
{
    const json_t *array = json_object_get(line, key);
    const size_t n = json_array_size(array);
    const unsigned char *bytes = sqlite3_column_blob(stmt, column);
    assert_true(n > 0);
    assert_int_equal(sqlite3_column_bytes(stmt, column), 4 * n);
    for (size_t t = 0; t < n; t++) {
        const json_t *value = json_array_get(array, t);
        const int32_t id = (int32_t)json_integer_value(value);
        const float real = (float)json_number_value(value);
        assert_memory_equal(bytes + 4 * t, ids ? (const void *)&id : &real, 4);
    }
}

static void check_slot(const json_t *line)
{
    const int64_t step = count(line, "step"), slot = count(line, "slot");
    sqlite3_stmt *stmt =
        row("SELECT prompt, version, finish, worker, ids, logprobs FROM rollout "
            "WHERE step=?1 AND slot=?2",
            step, slot);
    assert_int_equal(count(line, "prompt_index"), sqlite3_column_int64(stmt, 0));
    assert_int_equal(count(line, "version"), sqlite3_column_int64(stmt, 1));
    assert_string_equal(json_string_value(json_object_get(line, "finish")),
                        (const char *)sqlite3_column_text(stmt, 2));
    assert_string_equal(json_string_value(json_object_get(line, "worker")),
                        (const char *)sqlite3_column_text(stmt, 3));
    check_blob(line, "response_ids", stmt, 4, true);
    check_blob(line, "logprobs", stmt, 5, false);
    sqlite3_finalize(stmt);
    stmt =
        row("SELECT ref_logprobs, json_extract(scores, '$[0]'), json_extract(scores, '$[1]') "
            "FROM score WHERE kind='rollout' AND a=?1 AND b=?2",
            step, slot);
    check_blob(line, "ref_logprobs", stmt, 0, false);
    const json_t *attributes = json_object_get(line, "attributes");
    assert_true(number(attributes, "words") == sqlite3_column_double(stmt, 1));
    assert_true(number(attributes, "harm") == sqlite3_column_double(stmt, 2));
    assert_true(number(line, "cost") == sqlite3_column_double(stmt, 2)); /* weight 1 */
    assert_true(number(line, "raw_reward") == 2 * sqlite3_column_double(stmt, 1));
    sqlite3_finalize(stmt);
}

/* The last token's reward has the shaped one in it: it is off from -beta k by that. */
static void check_tokens(const json_t *line, double beta)
{
    const json_t *logp = json_object_get(line, "logprobs");
    const json_t *ref = json_object_get(line, "ref_logprobs");
    const json_t *reward = json_object_get(line, "token_rewards");
    const json_t *cost = json_object_get(line, "token_costs");
    const size_t n = json_array_size(logp);
    for (size_t t = 0; t < n; t++) {
        const double kl = json_number_value(json_array_get(logp, t)) -
                          json_number_value(json_array_get(ref, t));
        const bool last = t + 1 == n;
        check_near(json_number_value(json_array_get(reward, t)),
                   -beta * kl + (last ? number(line, "shaped_reward") : 0.0), 1e-6);
        check_near(json_number_value(json_array_get(cost, t)),
                   beta * kl + (last ? number(line, "cost") : 0.0), 1e-6);
    }
}

static void every_slot_is_there_with_what_the_ledger_has(void **state)
{
    (void)state;
    double raw[4] = {0}, shaped[4] = {0};
    json_t *lines = export_to("all.jsonl", "", 0, "all.jsonl: 32 slots, 0 references\n");
    assert_int_equal(json_array_size(lines), 32);
    for (size_t i = 0; i < 32; i++) {
        const json_t *line = json_array_get(lines, i);
        assert_int_equal(count(line, "step"), i / 8);
        assert_int_equal(count(line, "slot"), i % 8);
        assert_string_equal(json_string_value(json_object_get(line, "state")), "trained");
        assert_true(json_is_null(json_object_get(line, "drop_reason")));
        check_slot(line);
        raw[i / 8] += number(line, "raw_reward") / 8;
        shaped[i / 8] += number(line, "shaped_reward") / 8;
    }
    for (int64_t step = 0; step < 4; step++) {
        sqlite3_stmt *stmt = row("SELECT reward_raw_mean, reward_shaped_mean, kl_coef_before "
                                 "FROM step WHERE step=?1 AND ?2=?2",
                                 step, 0);
        check_near(raw[step], sqlite3_column_double(stmt, 0), 1e-12);
        check_near(shaped[step], sqlite3_column_double(stmt, 1), 1e-12);
        for (size_t b = 0; b < 8; b++)
            check_tokens(json_array_get(lines, (size_t)step * 8 + b),
                         sqlite3_column_double(stmt, 2));
        sqlite3_finalize(stmt);
    }
    json_decref(lines);
}

static void prompts_are_the_texts_of_the_data_set(void **state)
{
    (void)state;
    struct buf text;
    char *prompt[24];
    size_t n = 0;
    scene_read("prompts.jsonl", &text);
    for (char *at = strtok(text.data, "\n"); at && n < 24; at = strtok(NULL, "\n"))
        prompt[n++] = at;
    json_t *of[24];
    for (size_t i = 0; i < n; i++)
        of[i] = json_loads(prompt[i], 0, NULL);
    json_t *lines = export_to("texts.jsonl", " --no-arrays", 0, "32 slots");
    for (size_t i = 0; i < 32; i++) {
        const json_t *line = json_array_get(lines, i);
        const size_t index = (size_t)count(line, "prompt_index");
        assert_true(index < n);
        assert_string_equal(json_string_value(json_object_get(line, "prompt")),
                            json_string_value(json_object_get(of[index], "prompt")));
        assert_null(json_object_get(line, "logprobs"));
    }
    for (size_t i = 0; i < n; i++)
        json_decref(of[i]);
    json_decref(lines);
    buf_release(&text);
}

static void steps_and_references_are_chosen(void **state)
{
    (void)state;
    char line[FILE_PATH_MAX];
    json_t *lines = export_to("some.jsonl", " --steps 1..2 --references", 0, "16 slots, ");
    size_t references = 0;
    for (size_t i = 0; i < json_array_size(lines); i++) {
        const json_t *at = json_array_get(lines, i);
        if (json_object_get(at, "reference")) {
            sqlite3_stmt *stmt =
                row("SELECT ids, tokens FROM reference WHERE prompt=?1 AND m=?2",
                    count(at, "prompt_index"), count(at, "reference"));
            check_blob(at, "response_ids", stmt, 0, true);
            sqlite3_finalize(stmt);
            references++;
        } else {
            assert_in_range(count(at, "step"), 1, 2);
        }
    }
    assert_int_equal(json_array_size(lines), 16 + references);
    sqlite3_stmt *stmt = row("SELECT count(*) FROM reference WHERE ?1=?1 AND ?2=?2", 0, 0);
    assert_int_equal(references, sqlite3_column_int64(stmt, 0));
    sqlite3_finalize(stmt);
    json_decref(lines);
    json_decref(export_to("one.jsonl", " --steps 3 --trained", 0, ": 8 slots, "));
    json_decref(export_to("none.jsonl", " --steps 9..", 0, ": 0 slots, "));
    snprintf(line, sizeof line, "rlhf export %s/run --steps 3..1", dir);
    check_line(cli_main, line, 64, "--steps 3..1: 3, 3..7 or 3.. is expected");
}

static void it_is_read_back_as_a_data_set(void **state)
{
    (void)state;
    char line[2 * FILE_PATH_MAX];
    snprintf(line, sizeof line, "rlhf export %s/run --references --out %s/all.jsonl.gz", dir,
             dir);
    check_line(cli_main, line, 0, "32 slots, ");
    snprintf(line, sizeof line, "rlhf data inspect %s/all.jsonl.gz", dir);
    check_line(cli_main, line, 0, "  response: ");
    assert_non_null(strstr(said, " good, 0 bad\n"));
}

/* Standard output has the same bytes as the file. */
static void without_a_file_it_goes_to_standard_output(void **state)
{
    (void)state;
    struct buf file, out;
    json_decref(export_to("file.jsonl", "", 0, "32 slots"));
    assert_int_equal(scene_wait(scene_start("rlhf export @/run")), 0);
    scene_read("file.jsonl", &file);
    scene_read("out", &out);
    assert_int_equal(file.len, out.len);
    assert_memory_equal(file.data, out.data, file.len);
    buf_release(&file);
    buf_release(&out);
}

/* The last: it spoils the ledger. */
static void a_ledger_that_does_not_follow_leaves_the_file_as_it_was(void **state)
{
    (void)state;
    struct buf before, after;
    scene_read("all.jsonl", &before);
    assert_int_equal(
        sqlite3_exec(db, "UPDATE step SET kl_mean=kl_mean+1 WHERE step=3", NULL, NULL, NULL),
        SQLITE_OK);
    json_decref(export_to("all.jsonl", "", 65, "step 3: kl_mean: the ledger has"));
    scene_read("all.jsonl", &after);
    assert_int_equal(before.len, after.len);
    assert_memory_equal(before.data, after.data, before.len);
    char path[FILE_PATH_MAX];
    scene_path(path, "all.jsonl.tmp");
    assert_false(file_exists(path));
    buf_release(&before);
    buf_release(&after);
}

static int make_run(void **state)
{
    (void)state;
    char path[FILE_PATH_MAX];
    if (replay_scene_make() != 0)
        return -1;
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
        cmocka_unit_test(every_slot_is_there_with_what_the_ledger_has),
        cmocka_unit_test(prompts_are_the_texts_of_the_data_set),
        cmocka_unit_test(steps_and_references_are_chosen),
        cmocka_unit_test(it_is_read_back_as_a_data_set),
        cmocka_unit_test(without_a_file_it_goes_to_standard_output),
        cmocka_unit_test(a_ledger_that_does_not_follow_leaves_the_file_as_it_was),
    };
    return cmocka_run_group_tests_name("e2e/export", tests, make_run, remove_run);
}

/*
 * test_cli_inspect_ledger.c -- `rlhf inspect` of a run.
 *
 * Oracle: the records written here, counted by hand.
 */
#define _DEFAULT_SOURCE /* mkdtemp */
#include <jansson.h>

#include "base/file.h"
#include "coordinator/ledger.h"
#include "tests/unit/cli_run.h"
#include "tests/unit/gate_sample.h"

static char dir[64];
static const struct hash config_hash = {{0xab, 0xcd}};
static const int32_t ids[2] = {7, 8};
static const float logprobs[2] = {-1, -2};
static const double scores[1] = {0.5};

static void ignore_durable(void *ctx, uint64_t seq)
{
    (void)ctx, (void)seq;
}

static void ignore_failed(void *ctx, const struct err *err)
{
    (void)ctx, (void)err;
}

static void append(struct ledger *ledger, struct record record)
{
    static uint64_t seq;
    if (record.kind == RECORD_EPOCH && record.epoch == 1)
        seq = 0;
    record.seq = ++seq;
    record.wall_ms = 1000 * seq;
    record.worker = "actor-0";
    record.ids = ids;
    record.logprobs = logprobs;
    record.reference = logprobs;
    record.scores = scores;
    record.scorers = 1;
    record.response_tokens = 2;
    record.finish = WIRE_FINISH_EOS;
    check_ok(ledger_append(ledger, &record, &err));
}

/* Steps of two slots: step 0 trained one and dropped one; of step 1 both are generated, one is
 * scored, the other dropped; of step 2 one is generated.  Two references, one scored. */
static void write_run(bool steps)
{
    static const struct ledger_ops ops = {.durable = ignore_durable, .failed = ignore_failed};
    static const struct record_step step = {
        .step = 0,
        .version = 1,
        .trained = 1,
        .dropped = {[RECORD_REASON_SCORE_TIMEOUT] = 1},
        .response_tokens = 2,
        .checkpoint_version = 0,
        .reward_raw_mean = 0.5,
        .kl_mean = 1.5,
        .kl_coef_before = 0.02,
        .kl_coef_after = 0.04,
        .cost_raw_mean = 0.25,
        .cost_limit = 0.125,
        .multiplier_before = 1.0,
        .multiplier_after = 1.5,
        .controller_n = 1,
        .duration_ms = 2500,
    };
    static const struct record records[] = {
        {.kind = RECORD_EPOCH, .epoch = 1},
        {.kind = RECORD_START},
        {.kind = RECORD_ROLLOUT, .work = WIRE_WORK_REFERENCE, .a = 3, .b = 0},
        {.kind = RECORD_ROLLOUT, .work = WIRE_WORK_REFERENCE, .a = 3, .b = 1},
        {.kind = RECORD_SCORE, .work = WIRE_WORK_REFERENCE, .a = 3, .b = 1},
        {.kind = RECORD_ROLLOUT, .work = WIRE_WORK_ROLLOUT, .a = 0, .b = 0},
        {.kind = RECORD_SCORE, .work = WIRE_WORK_ROLLOUT, .a = 0, .b = 0},
        {.kind = RECORD_ROLLOUT, .work = WIRE_WORK_ROLLOUT, .a = 0, .b = 1},
        {.kind = RECORD_DROP,
         .work = WIRE_WORK_ROLLOUT,
         .a = 0,
         .b = 1,
         .reason = RECORD_REASON_SCORE_TIMEOUT,
         .text = "late"},
        {.kind = RECORD_STEP, .step = &step},
        {.kind = RECORD_CHECKPOINT, .version = 1},
        {.kind = RECORD_EPOCH, .epoch = 2},
        {.kind = RECORD_ROLLOUT, .work = WIRE_WORK_ROLLOUT, .a = 1, .b = 0},
        {.kind = RECORD_ROLLOUT, .work = WIRE_WORK_ROLLOUT, .a = 1, .b = 1},
        {.kind = RECORD_SCORE, .work = WIRE_WORK_ROLLOUT, .a = 1, .b = 0},
        {.kind = RECORD_DROP,
         .work = WIRE_WORK_ROLLOUT,
         .a = 1,
         .b = 1,
         .reason = RECORD_REASON_SCORE_FAILED,
         .text = "no"},
        {.kind = RECORD_ROLLOUT, .work = WIRE_WORK_ROLLOUT, .a = 2, .b = 0, .version = 1},
        {.kind = RECORD_EVENT, .id = "FIRST", .text = "x"},
        {.kind = RECORD_EVENT, .id = "MISMATCH", .text = "a\x1b[2Jb"},
    };
    struct ledger *ledger = NULL;
    check_ok(ledger_open(&ledger, dir, &config_hash, &err));
    check_ok(ledger_start(ledger, &ops, &err));
    for (size_t i = 0; i < (steps ? COUNT(records) : 1); i++)
        append(ledger, records[i]);
    check_ok(ledger_close(ledger, &err));
}

static int inspect(const char *name, const char *options)
{
    char line[256];
    snprintf(line, sizeof line, "rlhf inspect %s%s%s", dir, name, options);
    return run_line(cli_main, line);
}

static void check_count(const json_t *object, const char *key, json_int_t want)
{
    const json_t *value = json_object_get(object, key);
    if (!json_is_integer(value) || json_integer_value(value) != want)
        fail_msg("\"%s\" is not %lld in:\n%s", key, (long long)want, said);
}

static void a_run_is_counted(void **state)
{
    (void)state;
    write_run(true);
    assert_int_equal(inspect("/ledger.sqlite", " --json"), 0);
    json_t *root = json_loads(said, 0, NULL);
    assert_non_null(root);
    const char *hex = json_string_value(json_object_get(root, "config_hash"));
    assert_string_equal(hex, "abcd0000000000000000000000000000"
                             "00000000000000000000000000000000");
    check_count(root, "records", 19);
    check_count(root, "first_ms", 1000);
    check_count(root, "last_ms", 19000);
    check_count(root, "epochs", 2);
    check_count(root, "steps", 1);
    check_count(root, "checkpoint_version", 1);
    check_count(root, "rollouts", 5);
    check_count(root, "references", 2);
    check_count(root, "scores", 3);
    check_count(root, "drops", 2);
    check_count(root, "events", 2);
    const json_t *slots = json_object_get(root, "slots");
    check_count(slots, "trained", 1);
    check_count(json_object_get(slots, "dropped"), "score_timeout", 1);
    check_count(json_object_get(slots, "dropped"), "score_failed", 1);
    check_count(json_object_get(slots, "dropped"), "generate_failed", 0);
    const json_t *open = json_object_get(root, "open");
    check_count(open, "generated", 3);
    check_count(open, "scored", 1);
    const json_t *last = json_object_get(root, "last");
    check_count(last, "step", 0);
    check_count(last, "at_ms", 10000);
    assert_true(json_number_value(json_object_get(last, "kl_coef_after")) == 0.04);
    assert_true(json_number_value(json_object_get(last, "multiplier_after")) == 1.5);
    json_decref(root);
}

static void a_run_is_explained_to_people(void **state)
{
    (void)state;
    write_run(true);
    assert_int_equal(inspect("", ""), 0);
    static const char *const words[] = {
        "config        abcd00",
        "records       19, from 1970-01-01T00:00:01Z to ",
        "starts        2\n",
        "steps         1 trained\n",
        "checkpoint    version 1\n",
        "1 trained, with 2 response tokens; of later steps 3 generated, 1 of them scored\n",
        "dropped       1 slots: score_failed\n",
        "dropped       1 slots: score_timeout\n",
        "last step     0 at 1970-01-01T00:00:10Z: reward raw 0.5",
        "cost          0.25, limit 0.125, lambda 1 then 1.5\n",
        "events        2; the last: MISMATCH: a\\x1b[2Jb\n"};
    for (size_t i = 0; i < COUNT(words); i++)
        if (!strstr(said, words[i]))
            fail_msg("it did not say \"%s\":\n%s", words[i], said);
}

static void a_run_without_a_step_has_none(void **state)
{
    (void)state;
    write_run(false);
    assert_int_equal(inspect("", " --json"), 0);
    json_t *root = json_loads(said, 0, NULL);
    assert_non_null(root);
    assert_true(json_is_null(json_object_get(root, "last")));
    check_count(root, "steps", 0);
    json_decref(root);
    assert_int_equal(inspect("", ""), 0);
    assert_null(strstr(said, "last step"));
}

static void what_the_gate_decided_is_there(void **state)
{
    (void)state;
    write_run(true);
    gate_sample_write(dir, "no \x1b[2Jdisk");
    assert_int_equal(inspect("", ""), 0);
    assert_non_null(strstr(said, "\n  gate          version 8: ERROR at 2023-11-14T22:13:20Z: "
                                 "no \\x1b[2Jdisk\n  published     version 4 since 20"));
    assert_int_equal(inspect("", " --json"), 0);
    json_t *root = json_loads(said, 0, NULL);
    const json_t *gate = json_object_get(root, "gate");
    check_count(gate, "lines", 2);
    check_count(json_object_get(gate, "published"), "version", 4);
    json_decref(root);
}

static void what_is_no_ledger_is_refused(void **state)
{
    (void)state;
    char path[FILE_PATH_MAX];
    assert_int_equal(inspect("/ledger.sqlite", ""), 74); /* there is none */
    check_ok(file_join(path, dir, "ledger.sqlite", &err));
    check_ok(file_write(path, "no ledger, whatever its name", 28, &err));
    assert_int_equal(inspect("", ""), 65);
    assert_non_null(strstr(said, "ledger.sqlite is damaged or no ledger"));
    check_ok(file_write(path, "", 0, &err));
    assert_int_equal(inspect("", ""), 65);
}

static int make_dir(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/test_cli_inspect_ledger.XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    (void)state;
    return file_remove_tree(dir, NULL) == ERR_OK ? 0 : -1;
}

#define dir_test(f) cmocka_unit_test_setup_teardown(f, make_dir, remove_dir)

int main(void)
{
    const struct CMUnitTest tests[] = {
        dir_test(a_run_is_counted),
        dir_test(a_run_is_explained_to_people),
        dir_test(a_run_without_a_step_has_none),
        dir_test(what_the_gate_decided_is_there),
        dir_test(what_is_no_ledger_is_refused),
    };
    return cmocka_run_group_tests_name("cli/inspect/ledger", tests, NULL, NULL);
}

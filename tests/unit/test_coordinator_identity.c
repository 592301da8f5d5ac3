/*
 * test_coordinator_identity.c -- a run refuses prompts and scorers that are not those it began
 * with, in this life of the coordinator and in the next.
 *
 * The oracle is core_identity.c's promise, seen from outside: messages, records, and what
 * core_replay says to the same records beside other prompts.
 */
#include "tests/unit/core_bench.h"

static int setup(void **state)
{
    *state = bench_new();
    bench_open(*state);
    bench_start(*state);
    return 0;
}

static struct message hello_of(unsigned char content)
{
    struct message hello = bench_hello(WIRE_ROLE_REWARD, "reward-1");
    hello.hash.bytes[0] = content;
    return hello;
}

static void check_refused(struct bench *bench, struct message hello, const char *words)
{
    struct bench_worker worker = {.peer = 9};
    const size_t since = bench->sent_n;
    bench_send(bench, &worker, hello);
    const struct message *reset = bench_expect(bench, 9, MESSAGE_RESET, since);
    assert_true(reset->refused);
    if (!strstr(reset->text, words))
        fail_msg("refused with \"%s\", without \"%s\"", reset->text, words);
}

static size_t identities(const struct bench *bench, const char *of)
{
    size_t n = 0;
    for (size_t i = 0; i < bench->records_n; i++)
        n += bench->records[i].record.kind == RECORD_IDENTITY &&
             strcmp(bench->records[i].id, of) == 0;
    return n;
}

static void the_first_reward_process_says_what_scores_the_run(void **state)
{
    struct bench *bench = *state;
    struct bench_worker worker;
    assert_int_equal(identities(bench, "prompts"), 1);
    assert_int_equal(identities(bench, "scorers"), 0);
    bench_join(bench, &worker, 1, hello_of(7));
    assert_int_equal(identities(bench, "scorers"), 1);
    check_refused(bench, hello_of(8),
                  "their hash is 0800000000000000..., the record says 0700000000000000...");
    struct message nothing = hello_of(7);
    nothing.has_hash = false;
    check_refused(bench, nothing, "must name the hash of what it scores with");
    bench_join(bench, &worker, 2, hello_of(7));
    assert_int_equal(identities(bench, "scorers"), 1);
}

static void a_coordinator_that_was_killed_still_knows(void **state)
{
    struct bench *bench = *state;
    struct bench_worker worker;
    bench_join(bench, &worker, 1, hello_of(7));
    bench_restart(bench, 0);
    check_refused(bench, hello_of(8), "than the run began with");
    bench_join(bench, &worker, 2, hello_of(7));
    assert_int_equal(identities(bench, "prompts"), 1);
    assert_int_equal(identities(bench, "scorers"), 1);
}

/* Replay all records of the bench beside these prompts. */
static enum err_code replay(struct bench *bench, struct core_prompts prompts, struct err *why)
{
    const struct core_setup setup = {.config = &bench->config, .prompts = prompts};
    core_free(bench->core);
    check_ok(core_new(&bench->core, &setup, bench_sink, bench, &err));
    check_ok(core_replay_begin(bench->core, 0, &err));
    enum err_code rc = ERR_OK;
    for (size_t i = 0; i < bench->records_n && rc == ERR_OK; i++)
        rc = core_replay(bench->core, &bench->records[i].record, why);
    return rc;
}

static void a_data_set_that_was_edited_is_refused(void **state)
{
    struct bench *bench = *state;
    int32_t ids[6];
    size_t offset[5];
    memcpy(ids, bench_ids, sizeof ids);
    memcpy(offset, bench_offset, sizeof offset);
    snprintf(bench->config.prompts, sizeof bench->config.prompts, "/data/prompts.jsonl");
    check_ok(replay(bench, bench_prompts, &err));
    ids[4] = 99; /* a word changed */
    check_fails(replay(bench, (struct core_prompts){4, bench_offset, ids, NULL}, &err),
                ERR_USAGE,
                "/data/prompts.jsonl: its prompts are not those that this run began with");
    offset[1] = 2; /* the same ids, cut elsewhere */
    check_fails(replay(bench, (struct core_prompts){4, offset, bench_ids, NULL}, &err),
                ERR_USAGE, "/data/prompts.jsonl");
    check_fails(replay(bench, (struct core_prompts){3, bench_offset, bench_ids, NULL}, &err),
                ERR_USAGE, "/data/prompts.jsonl"); /* the last one gone */
    static const uint8_t kinds[4] = {0, 1, 0, 0};
    check_fails(replay(bench, (struct core_prompts){4, bench_offset, bench_ids, kinds}, &err),
                ERR_USAGE, "/data/prompts.jsonl"); /* of another kind */
}

static void a_record_that_cannot_be_is_refused(void **state)
{
    struct bench *bench = *state;
    struct bench_record *of = &bench->records[1];
    assert_int_equal(of->record.kind, RECORD_IDENTITY);
    of->record.id = "weather";
    check_fails(replay(bench, bench_prompts, &err), ERR_STATE,
                "record 2 is the identity of \"weather\" which this program does not know");
    of->record.id = "scorers";
    check_ok(replay(bench, bench_prompts, &err));
    bench->records[2] = bench->records[1];
    bench->records[2].record.seq = 3;
    bench->records_n = 3;
    check_fails(replay(bench, bench_prompts, &err), ERR_STATE,
                "record 3 is the identity of \"scorers\" for a second time");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, bench_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(the_first_reward_process_says_what_scores_the_run),
        CASE(a_coordinator_that_was_killed_still_knows),
        CASE(a_data_set_that_was_edited_is_refused),
        CASE(a_record_that_cannot_be_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

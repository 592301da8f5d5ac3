/*
 * test_coordinator_prompts.c -- the data set, tokenised; and each way a line can be wrong.
 *
 * The oracle of the ids is the tokenizer itself, called on each text alone (its own tests hold
 * it against the reference library's ids).
 */
#define _DEFAULT_SOURCE /* mkdtemp */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "coordinator/prompts.h"
#include "data/output.h"
#include "engine/chat.h"
#include "tests/test.h"

static char dir[64];
static struct run_config config;

static int setup(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/prompts-XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    memset(&config, 0, sizeof config);
    snprintf(config.prompts, sizeof config.prompts, "%s/prompts.jsonl", dir);
    snprintf(config.policy, sizeof config.policy, "%s/tests/fixture/model", TEST_SOURCE_DIR);
    config.prompt_tokens_max = 32;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    return file_remove_tree(dir, NULL) == ERR_OK ? 0 : -1;
}

static void write_lines(const char *text)
{
    check_ok(file_write(config.prompts, text, strlen(text), &err));
}

static void prompts_are_the_lines_that_are_not_blank(void **state)
{
    (void)state;
    write_lines("{\"prompt\": \"what is a cat?\", \"label\": 3}\n\n  \t\n"
                "{\"messages\": [{\"role\": \"system\", \"content\": \"be kind. \"}, "
                "{\"role\": \"user\", \"content\": \"hi\"}]}\r\n"
                "{\"prompt\": \"hello\"}");
    struct prompts prompts;
    check_ok(prompts_load(&prompts, &config, &err));
    assert_int_equal(prompts.n, 3);

    struct err none = {0};
    struct tokenizer *tokenizer = tokenizer_load(config.policy, &none);
    assert_non_null(tokenizer);
    const struct chat_turn turns[4] = {
        {"user", "what is a cat?"}, {"system", "be kind. "}, {"user", "hi"}, {"user", "hello"}};
    const size_t first[3] = {0, 1, 3}, count[3] = {1, 2, 1};
    const struct core_prompts view = prompts_view(&prompts);
    for (size_t i = 0; i < 3; i++) {
        struct tokens want = {0};
        check_ok(chat_encode(CHAT_plain, tokenizer, turns + first[i], count[i], &want, &err));
        assert_int_equal(view.offset[i + 1] - view.offset[i], want.n);
        assert_memory_equal(view.ids + view.offset[i], want.ids, want.n * sizeof *want.ids);
        tokens_release(&want);
    }
    tokenizer_free(tokenizer);
    prompts_release(&prompts);
}

static void prompts_may_be_gzip(void **state)
{
    (void)state;
    struct prompts plain, packed;
    static const char text[] = "{\"prompt\": \"a\"}\n\n{\"prompt\": \"what is a cat?\"}\n";
    write_lines(text);
    check_ok(prompts_load(&plain, &config, &err));
    struct output output;
    strcat(config.prompts, ".gz");
    check_ok(output_open(&output, config.prompts, &err));
    check_ok(output_write(&output, text, strlen(text), &err));
    check_ok(output_commit(&output, &err));
    output_abort(&output);
    check_ok(prompts_load(&packed, &config, &err));
    assert_int_equal(packed.n, 2);
    assert_int_equal(packed.tokens.n, plain.tokens.n);
    assert_memory_equal(packed.tokens.ids, plain.tokens.ids,
                        plain.tokens.n * sizeof *plain.tokens.ids);
    prompts_release(&plain);
    prompts_release(&packed);
}

/* A pipe would be empty the second time. */
static void prompts_are_a_regular_file(void **state)
{
    (void)state;
    struct prompts prompts;
    assert_int_equal(mkfifo(config.prompts, 0600), 0);
    check_fails(prompts_load(&prompts, &config, &err), ERR_IO, "prompts.jsonl");
    prompts_release(&prompts);
    assert_int_equal(unlink(config.prompts), 0);
}

static void check_refused(const char *text, enum err_code code, const char *words)
{
    struct prompts prompts;
    write_lines(text);
    check_fails(prompts_load(&prompts, &config, &err), code, words);
    prompts_release(&prompts);
}

static void a_bad_line_is_named_by_file_and_number(void **state)
{
    (void)state;
    check_refused("{\"prompt\": \"a\"}\n{\"prompt\": \n", ERR_FORMAT, "prompts.jsonl:2");
    check_refused("\n\n[1]\n", ERR_FORMAT,
                  "prompts.jsonl:3: either \"prompt\", a text, or \"messages\" is expected");
    check_refused("{\"prompt\": 5}\n", ERR_FORMAT, "prompts.jsonl:1: either \"prompt\"");
    check_refused("{\"prompt\": \"a\", \"messages\": []}\n", ERR_FORMAT, "prompts.jsonl:1");
    check_refused("{\"messages\": []}\n", ERR_FORMAT, "must be a list of 1..64 turns");
    check_refused("{\"messages\": [{\"role\": \"user\"}]}\n", ERR_FORMAT,
                  "messages[0] must have \"role\" and \"content\", both text");
    check_refused("{\"prompt\": \"\"}\n", ERR_VALUE,
                  "prompts.jsonl:1: the prompt has 0 tokens");
    check_refused("\n \n", ERR_FORMAT, "there is no prompt in it");
    config.prompt_tokens_max = 1;
    check_refused("{\"prompt\": \"what is a cat?\"}\n", ERR_VALUE,
                  "data.prompt_tokens_max allows 1..1");
}

/* The scorers of the run: one for code, one for chat, and where `third` a reward for all. */
static void give_kinds(enum run_role third)
{
    config.scorers = 3;
    snprintf(config.scorer[0].prompt_kind, RUN_NAME_MAX, "code");
    snprintf(config.scorer[1].prompt_kind, RUN_NAME_MAX, "chat");
    config.scorer[2].role = third;
}

static void a_prompt_has_the_kind_its_line_says(void **state)
{
    (void)state;
    static const char text[] = "{\"prompt\": \"a\", \"kind\": \"chat\"}\n"
                               "{\"prompt\": \"b\", \"kind\": \"poem\"}\n"
                               "{\"prompt\": \"c\"}\n"
                               "{\"prompt\": \"d\", \"kind\": \"code\"}\n";
    static const uint8_t want[4] = {2, 0, 0, 1};
    struct prompts prompts;
    write_lines(text);
    give_kinds(RUN_ROLE_REWARD);
    check_ok(prompts_load(&prompts, &config, &err));
    assert_memory_equal(prompts_view(&prompts).kind, want, sizeof want);
    prompts_release(&prompts);
    struct buf many; /* past what is allocated first */
    buf_init(&many, 1 << 20);
    for (size_t i = 0; i < 1500; i++)
        buf_puts(&many, text);
    write_lines(many.data);
    buf_release(&many);
    check_ok(prompts_load(&prompts, &config, &err));
    assert_int_equal(prompts.n, 6000);
    assert_memory_equal(prompts_view(&prompts).kind + 5996, want, sizeof want);
    prompts_release(&prompts);
}

static void a_prompt_that_nobody_rewards_is_named(void **state)
{
    (void)state;
    give_kinds(RUN_ROLE_MONITOR);
    check_refused("{\"prompt\": \"a\", \"kind\": \"code\"}\n{\"prompt\": \"b\"}\n", ERR_VALUE,
                  "prompts.jsonl:2: no reward scorer counts for a prompt without \"kind\"");
    check_refused("{\"prompt\": \"a\", \"kind\": \"poem\"}\n", ERR_VALUE,
                  "prompts.jsonl:1: no reward scorer counts for a prompt of kind \"poem\"");
    check_refused("{\"prompt\": \"a\", \"kind\": [\"code\"]}\n", ERR_FORMAT,
                  "prompts.jsonl:1: \"kind\" must be text");
    memset(config.scorer, 0, sizeof config.scorer);
    struct prompts prompts; /* nobody asks what kind it is */
    write_lines("{\"prompt\": \"a\", \"kind\": [3]}\n");
    check_ok(prompts_load(&prompts, &config, &err));
    assert_null(prompts_view(&prompts).kind);
    prompts_release(&prompts);
}

static void a_missing_file_or_tokenizer_is_named(void **state)
{
    (void)state;
    struct prompts prompts;
    check_fails(prompts_load(&prompts, &config, &err), ERR_IO, "prompts.jsonl");
    prompts_release(&prompts);
    write_lines("{\"prompt\": \"a\"}\n");
    snprintf(config.policy, sizeof config.policy, "%s", dir);
    check_fails(prompts_load(&prompts, &config, &err), ERR_IO, "tokenizer.json");
    prompts_release(&prompts);
}

#define prompts_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        prompts_test(prompts_are_the_lines_that_are_not_blank),
        prompts_test(prompts_may_be_gzip),
        prompts_test(prompts_are_a_regular_file),
        prompts_test(a_bad_line_is_named_by_file_and_number),
        prompts_test(a_prompt_has_the_kind_its_line_says),
        prompts_test(a_prompt_that_nobody_rewards_is_named),
        prompts_test(a_missing_file_or_tokenizer_is_named),
    };
    return cmocka_run_group_tests_name("coordinator prompts", tests, NULL, NULL);
}

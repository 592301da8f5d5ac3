/*
 * test_cli_generate.c -- `rlhf generate`: the documented text, samples that repeat, mistakes.
 *
 * Oracles: greedy.txt of stories260K, 252 tokens after "Once upon a time" (skipped where the
 * model is absent); and the small model of tests/fixture, whose text with a seed must repeat.
 */
#include <jansson.h>

#include "base/file.h"
#include "tests/unit/cli_run.h"

#define STORIES TEST_SOURCE_DIR "/../shared/models/stories260K"
#define DEMO                                                                  \
    "rlhf generate --model " TEST_SOURCE_DIR "/tests/fixture/model --prompt " \
                                             "user:~hello!~bot: "

static void the_greedy_text_is_the_documented_one(void **state)
{
    (void)state;
    if (!file_exists(STORIES))
        skip();
    struct buf want;
    buf_init(&want, 1 << 16);
    check_ok(file_read(STORIES "/greedy.txt", &want, &err));
    assert_int_equal(run_line(cli_main, "rlhf generate --model " STORIES
                                        " --prompt Once~upon~a~time --max-new-tokens 252"
                                        " --temperature 0"),
                     0);
    assert_string_equal(said, want.data);
    buf_release(&want);
    check_line(cli_main,
               "rlhf generate --temperature 0 --stop park --model " STORIES
               " --prompt Once~upon~a~time",
               0, "to play outside in the park\n");
}

static void a_seed_repeats_its_samples(void **state)
{
    (void)state;
    char first[1 << 14];
    assert_int_equal(run_line(cli_main, DEMO "--samples 20 --seed 5 --max-new-tokens 30"), 0);
    assert_non_null(strstr(said, "--- sample 19\nuser: hello! bot:"));
    assert_true(strlen(said) < sizeof first);
    strcpy(first, said);
    assert_int_equal(run_line(cli_main, DEMO "--samples 20 --seed 5 --max-new-tokens 30 "
                                             "--threads 2"),
                     0);
    assert_string_equal(said, first);
    assert_int_equal(run_line(cli_main, DEMO "--samples 20 --seed 6 --max-new-tokens 30"), 0);
    assert_string_not_equal(said, first);
}

static void json_tells_ids_logprobs_and_why_it_ended(void **state)
{
    (void)state;
    assert_int_equal(run_line(cli_main, DEMO "--samples 2 --json --max-new-tokens 60"), 0);
    const char *at = said;
    for (int k = 0; k < 2; k++) {
        json_t *object = json_loads(at, JSON_DISABLE_EOF_CHECK, NULL);
        assert_non_null(object);
        assert_int_equal(json_integer_value(json_object_get(object, "sample")), k);
        const json_t *ids = json_object_get(object, "ids");
        const json_t *logprobs = json_object_get(object, "logprobs");
        assert_int_equal(json_array_size(ids), json_array_size(logprobs));
        assert_string_equal(json_string_value(json_object_get(object, "finish")), "eos");
        assert_int_equal(json_integer_value(json_array_get(ids, json_array_size(ids) - 1)), 0);
        for (size_t i = 0; i < json_array_size(logprobs); i++)
            assert_true(json_number_value(json_array_get(logprobs, i)) <= 0.0);
        assert_null(
            strstr(json_string_value(json_object_get(object, "text")), "<|endoftext|>"));
        json_decref(object);
        at = strchr(at, '\n') + 1;
    }
    check_line(cli_main, DEMO "--json --max-new-tokens 1", 0, "\"finish\": \"length\"");
}

/* Other logprobs, near those of fp32; the same ones each time. */
static void bf16_is_another_number_near_by(void **state)
{
    (void)state;
    static const char *const how[] = {"", "--precision bf16", "--precision bf16 --threads 2"};
    double first[3];
    for (size_t i = 0; i < COUNT(how); i++) {
        char line[512];
        snprintf(line, sizeof line, DEMO "--json --max-new-tokens 2 %s", how[i]);
        assert_int_equal(run_line(cli_main, line), 0);
        json_t *object = json_loads(said, JSON_DISABLE_EOF_CHECK, NULL);
        const json_t *logprobs = json_object_get(object, "logprobs");
        first[i] = json_number_value(json_array_get(logprobs, 0));
        json_decref(object);
    }
    assert_true(first[1] != first[0] && fabs(first[1] - first[0]) < 0.05);
    assert_true(first[2] >= first[1] && first[2] <= first[1]);
}

static void mistakes_are_explained(void **state)
{
    (void)state;
    check_line(cli_main, "rlhf generate --prompt x", 64, "--model is missing");
    check_line(cli_main, "rlhf generate --model x", 64, "--prompt is missing");
    check_line(cli_main, "rlhf generate --model /nonexistent --prompt x", 74, "/nonexistent");
    check_line(cli_main, DEMO "--top-p 0", 64, "top_p is 0");
    check_line(cli_main, DEMO "--temperature 0.0001", 64, "use 0 for greedy");
    check_line(cli_main, DEMO "--chat chatml", 65, "<|im_start|>");
    check_line(cli_main, DEMO "--chat nonsense", 64, "nonsense");
    check_line(cli_main, DEMO "--precision tf32", 64, "\"tf32\" is neither fp32 nor bf16");
    check_line(cli_main, DEMO "--samples 0", 64, "--samples 0: it must be 1 to");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_greedy_text_is_the_documented_one),
        cmocka_unit_test(a_seed_repeats_its_samples),
        cmocka_unit_test(json_tells_ids_logprobs_and_why_it_ended),
        cmocka_unit_test(bf16_is_another_number_near_by),
        cmocka_unit_test(mistakes_are_explained),
    };
    return cmocka_run_group_tests_name("cli/generate", tests, NULL, NULL);
}

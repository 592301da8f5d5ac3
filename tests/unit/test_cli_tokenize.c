/*
 * test_cli_tokenize.c -- `rlhf tokenize` both ways, as JSON and as plain lines.
 *
 * Oracle: the ids that the published cases of stories260K give (golden.jsonl, skipped where
 * absent), and, for the tokenizer of the built-in world, that decoding undoes encoding.
 */
#include "base/file.h"
#include "tests/unit/cli_run.h"

#define STORIES TEST_SOURCE_DIR "/../shared/models/stories260K"

static char dir[64];

static int make_world(void **state)
{
    (void)state;
    char line[128];
    snprintf(dir, sizeof dir, "/tmp/test_cli_tokenize.XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    snprintf(line, sizeof line, "rlhf demo data --answers 1 --out %s", dir);
    return run_line(cli_main, line);
}

static int remove_world(void **state)
{
    (void)state;
    return file_remove_tree(dir, NULL);
}

static void decoding_undoes_encoding(void **state)
{
    (void)state;
    char line[128];
    static const char texts[] = "{\"text\": \"user: is the bee yellow?\\nbot: yes.\"}\n\n"
                                "{\"text\": \"\"}\n{\"text\": \"Zo\\u00eb \\u20ac 5\"}\n";
    snprintf(line, sizeof line, "rlhf tokenize --model %s --json", dir);
    assert_int_equal(run_input(cli_main, line, texts), 0);
    char ids[4096];
    assert_true(strlen(said) < sizeof ids);
    strcpy(ids, said);
    assert_non_null(strstr(ids, "{\"ids\": []}\n"));
    snprintf(line, sizeof line, "rlhf tokenize --model %s --json --decode", dir);
    assert_int_equal(run_input(cli_main, line, ids), 0);
    assert_string_equal(said, "{\"text\": \"user: is the bee yellow?\\nbot: yes.\"}\n"
                              "{\"text\": \"\"}\n{\"text\": \"Zo\xc3\xab \xe2\x82\xac 5\"}\n");

    snprintf(line, sizeof line, "rlhf tokenize --model %s", dir);
    assert_int_equal(run_input(cli_main, line, "the frog is green.\n"), 0);
    strcpy(ids, said);
    snprintf(line, sizeof line, "rlhf tokenize --model %s --decode", dir);
    check_input(cli_main, line, ids, 0, "the frog is green.\n");
}

static void mistakes_name_the_line(void **state)
{
    (void)state;
    char json[128], decode[128], plain[128];
    snprintf(json, sizeof json, "rlhf tokenize --model %s --json", dir);
    snprintf(decode, sizeof decode, "rlhf tokenize --model %s --decode", dir);
    snprintf(plain, sizeof plain, "rlhf tokenize --model %s", dir);
    check_input(cli_main, json, "{\"text\": \"a\"}\nno\n", 65, "standard input:2");
    check_input(cli_main, json, "[1]\n", 65, "standard input:1: a JSON object is expected");
    check_input(cli_main, json, "{\"ids\": [1]}\n", 65, "standard input:1");
    check_input(cli_main, decode, "1 2\n\n3 x\n", 65, "standard input:3: \"x\" is not a token");
    check_input(cli_main, decode, "99999\n", 65, "standard input:1");
    check_input(cli_main, decode, "-4\n", 65, "standard input:1");
    check_input(cli_main, plain, "a\n\xff\n", 65, "standard input:2");
    check_line(cli_main, "rlhf tokenize", 64, "--model is missing");
    check_line(cli_main, "rlhf tokenize --model /nonexistent", 74, "/nonexistent");
}

static void ids_are_the_published_ones(void **state)
{
    (void)state;
    if (!file_exists(STORIES))
        skip();
    check_input(
        cli_main, "rlhf tokenize --json --special --model " STORIES,
        "{\"text\": \"Once upon a time, there was a little girl named Lily.\"}\n", 0,
        "{\"ids\": [1, 403, 407, 261, 378, 432, 383, 286, 261, 376, 298, 315, 421, 395, "
        "317, 426]}\n");
    check_input(cli_main, "rlhf tokenize --json --model " STORIES,
                "{\"text\": \"Once upon a time\"}\n", 0, "{\"ids\": [403, 407, 261, 378]}\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decoding_undoes_encoding),
        cmocka_unit_test(mistakes_name_the_line),
        cmocka_unit_test(ids_are_the_published_ones),
    };
    return cmocka_run_group_tests_name("cli/tokenize", tests, make_world, remove_world);
}

/*
 * test_cli_frame.c -- the command line as a person meets it: help, mistakes, exit codes.
 *
 * Oracle: the sentences and codes that cli.h promises, read back from standard output and
 * standard error, which each case sends to temporary files.
 */
#include "cli/cli.h"
#include "tests/unit/cli_run.h"

static void help_lists_and_teaches_the_commands(void **state)
{
    (void)state;
    check_line(cli_main, "rlhf help", 0, "demo data");
    check_line(cli_main, "rlhf --help", 0, "usage: rlhf COMMAND");
    check_line(cli_main, "rlhf --version", 0, "rlhf " RLHF_VERSION);
    check_line(cli_main, "rlhf help demo data", 0, "usage: rlhf demo data");
    check_line(cli_main, "rlhf demo data --help", 0, "--seed S");
    check_line(cli_main, "rlhf", CLI_EXIT_USAGE, "usage: rlhf COMMAND");
}

static void a_slip_gets_a_suggestion(void **state)
{
    (void)state;
    check_line(cli_main, "rlhf halp", CLI_EXIT_USAGE, "`halp` is not a command");
    check_line(cli_main, "rlhf demo dtaa", CLI_EXIT_USAGE, "rlhf demo data");
    check_line(cli_main, "rlhf demo", CLI_EXIT_USAGE, "rlhf demo data");
    check_line(cli_main, "rlhf dmeo data", CLI_EXIT_USAGE, "did you mean `rlhf demo data`?");
    check_line(cli_main, "rlhf zzzzzz", CLI_EXIT_USAGE, "`rlhf help` lists them");
    check_line(cli_main, "rlhf demo data --sede 3", CLI_EXIT_USAGE, "did you mean --seed?");
    check_line(cli_main, "rlhf demo data --seed x --out d", CLI_EXIT_USAGE, "whole number");
    check_line(cli_main, "rlhf demo data", CLI_EXIT_USAGE, "--out is missing");
    check_line(cli_main, "rlhf demo data --out", CLI_EXIT_USAGE, "--out needs a value");
    check_line(cli_main, "rlhf demo data --out /dev/null/x", 74, "/dev/null");
}

static bool flag;
static const char *text;
static uint64_t count;
static double number;
static struct cli_list list;
static int first_argument;

static int parse_all(int argc, char **argv)
{
    flag = false;
    text = "as it was";
    count = 7;
    number = 0.5;
    list = (struct cli_list){0};
    const struct cli_option options[] = {
        {.name = "flag", .kind = CLI_FLAG, .to = &flag, .help = "a flag"},
        {.name = "text", .kind = CLI_TEXT, .to = &text, .arg = "T", .help = "a text"},
        {.name = "count",
         .kind = CLI_COUNT,
         .to = &count,
         .arg = "N",
         .help = "a count",
         .min = 1,
         .max = 10},
        {.name = "number", .kind = CLI_NUMBER, .to = &number, .arg = "X", .help = "a number"},
        {.name = "list", .kind = CLI_LIST, .to = &list, .arg = "L", .help = "a list"},
    };
    const struct cli_usage usage = {.words = "test",
                                    .synopsis = "[options] FILE...",
                                    .about = "A test.\n",
                                    .options = options,
                                    .options_n = COUNT(options),
                                    .arguments_max = 2};
    return cli_parse(&usage, argc, argv, &first_argument);
}

static void options_reach_their_places(void **state)
{
    (void)state;
    assert_int_equal(run_line(parse_all, "test --flag --text=x one --count 10 --number 1e-3 "
                                         "--list a --list b two"),
                     CLI_GO);
    assert_true(flag);
    assert_string_equal(text, "x");
    assert_int_equal(count, 10);
    assert_true(number == 1e-3);
    assert_int_equal(list.n, 2);
    assert_string_equal(list.item[1], "b");
    assert_int_equal(first_argument, 11); /* of 13 words; "one" was moved behind the options */

    assert_int_equal(run_line(parse_all, "test"), CLI_GO);
    assert_false(flag);
    assert_string_equal(text, "as it was");
    check_line(parse_all, "test --help", 0, "--count N                a count [7]");
    check_line(parse_all, "test --help", 0, "a list (may be repeated)");
}

static void values_out_of_place_are_named(void **state)
{
    (void)state;
    check_line(parse_all, "test --count 11", CLI_EXIT_USAGE, "--count 11: it must be 1 to 10");
    check_line(parse_all, "test --count -1", CLI_EXIT_USAGE, "whole number");
    check_line(parse_all, "test --count 99999999999999999999", CLI_EXIT_USAGE, "whole number");
    check_line(parse_all, "test --number nan", CLI_EXIT_USAGE, "a number is expected");
    check_line(parse_all, "test --number -1", CLI_EXIT_USAGE, "may not be negative");
    check_line(parse_all, "test --flag=yes", CLI_EXIT_USAGE, "--flag takes no value");
    check_line(parse_all, "test a b c", CLI_EXIT_USAGE, "`c` is one argument too many");
    check_line(parse_all,
               "test --list a --list a --list a --list a --list a --list a --list a "
               "--list a --list a",
               CLI_EXIT_USAGE, "more than 8 times");
}

static void the_nearest_word_is_found_within_two_slips(void **state)
{
    (void)state;
    static const char *const words[] = {"generate", "score", "tokenize", "run"};
    assert_string_equal(cli_nearest("genrate", words, 4), "generate");
    assert_string_equal(cli_nearest("gen", words, 4), "generate");
    assert_string_equal(cli_nearest("socre", words, 4), "score");
    assert_string_equal(cli_nearest("rum", words, 4), "run");
    assert_null(cli_nearest("xyz", words, 4));
    assert_null(cli_nearest("", words, 4));
    char longest[300];
    memset(longest, 'a', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    assert_null(cli_nearest(longest, words, 4));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(help_lists_and_teaches_the_commands),
        cmocka_unit_test(a_slip_gets_a_suggestion),
        cmocka_unit_test(options_reach_their_places),
        cmocka_unit_test(values_out_of_place_are_named),
        cmocka_unit_test(the_nearest_word_is_found_within_two_slips),
    };
    return cmocka_run_group_tests_name("cli/frame", tests, NULL, NULL);
}

/*
 * test_reward_rules.c -- the scorers that are rules, and the data set's labels.
 *
 * Oracle: the definitions in the headers of reward/scorer_*.c, each case computed by hand.  The
 * cases are tables of a text and the number it must get, exact where the number is.
 */
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "data/output.h"
#include "reward/labels.h"
#include "tests/unit/reward_sample.h"

static char dir[32];

static int setup(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/rules-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    return file_remove_tree(dir, NULL) ? -1 : 0;
}

static const char *file_of(const char *name, const char *text, size_t n)
{
    static char path[FILE_PATH_MAX];
    check_ok(file_join(path, dir, name, &err));
    check_ok(file_write(path, text, n, &err));
    return path;
}

static void check_value(const struct scorer_score *score, double want, const char *what)
{
    if (score->state != SCORE_OK)
        fail_msg("\"%s\" is %s: %s", what, score_state_name(score->state), score->reason);
    if (!(fabs(score->value - want) <= 1e-15))
        fail_msg("\"%s\" got %.17g, want %.17g", what, score->value, want);
}

static void check_fault(const struct scorer_score *score, const char *words)
{
    assert_string_equal(score_state_name(score->state), "failed");
    assert_true(score->value == 0.0);
    if (!strstr(score->reason, words))
        fail_msg("the reason is \"%s\", without \"%s\"", score->reason, words);
}

struct text_case {
    const char *of; /* pattern or label */
    const char *response;
    double want;
};

static void regex_is_one_where_the_pattern_matches_anywhere(void **state)
{
    (void)state;
    static const struct text_case cases[] = {
        {"^yes$", "yes", 1},
        {"^yes$", "yes, of course", 0},
        {"course", "yes, of course", 1},
        {"(?i)PLEASE", "could you please", 1},
        {"PLEASE", "could you please", 0},
        {"^.{3}$", "a\xc3\xa9\xe2\x82\xac", 1}, /* three characters, six bytes */
        {"^\\w+$", "\xc3\xa9t\xc3\xa9", 1},     /* letters beyond ASCII */
        {"x*", "", 1},
        {"x", "", 0},
        {"b", "a\377b", 1}, /* bytes that are not UTF-8 match nothing, and stop nothing */
        {"^a.b$", "a\377b", 0},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct run_scorer of = {.name = "r", .kind = RUN_SCORER_REGEX};
        strcpy(of.pattern, cases[i].of);
        const struct scorer_sample sample = sample_make(i, cases[i].response, "null", 1);
        const struct scorer_score score = sample_score(&of, &sample);
        check_value(&score, cases[i].want, cases[i].response);
    }
}

static void regex_that_passes_its_limit_is_failed_and_not_zero(void **state)
{
    (void)state;
    struct run_scorer of = {.name = "r", .kind = RUN_SCORER_REGEX, .pattern = "^(a+)+$"};
    char text[65] = {0};
    memset(text, 'a', 63);
    text[63] = 'b';
    const struct scorer_sample sample = sample_make(3, text, "null", 1);
    const struct scorer_score score = sample_score(&of, &sample);
    check_fault(&score, "slot 3 of step 7: the pattern's search gave up");
}

static void regex_refuses_a_pattern_that_is_none(void **state)
{
    (void)state;
    const struct run_scorer of = {.name = "polite", .kind = RUN_SCORER_REGEX, .pattern = "a(b"};
    const struct scorer_setup none = {0};
    struct scorer *scorer = NULL;
    check_fails(scorer_new(&scorer, &of, &none, &err), ERR_USAGE,
                "scorer \"polite\": pattern /a(b/: missing closing parenthesis at offset 3");
}

static void words_is_the_share_of_words_in_the_list(void **state)
{
    (void)state;
    static const char list[] =
        "please\r\n\nThanks\n  kindly \n\xc3\x89t\xc3\xa9"; /* no newline at the end */
    struct run_scorer of = {.name = "w", .kind = RUN_SCORER_WORDS};
    strcpy(of.words, file_of("list", list, sizeof list - 1));
    static const struct text_case cases[] = {
        {"", "please", 1},
        {"", "PLEASE, thanks!", 1},
        {"", "please go", 0.5},
        {"", "Would you kindly go? Thanks.", 2.0 / 5},
        {"", "pleased", 0},
        {"", "please42thanks", 1},     /* digits split words */
        {"", "don't please", 1.0 / 3}, /* don, t, please */
        {"",
         "\xc3\xa9t\xc3\x89 \xe2\x82\xac"
         "5 go",
         0.5},
        {"", "", 0},
        {"", " 42 ?!", 0},
        {"", "please\377please x", 2.0 / 3},
        {"", "\314\201please", 1}, /* a mark without a letter is none, with one part of it */
        {"", "ple\314\201ase please", 0.5},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        const struct scorer_sample sample = sample_make(i, cases[i].response, "null", 1);
        const struct scorer_score score = sample_score(&of, &sample);
        check_value(&score, cases[i].want, cases[i].response);
    }
}

static void words_counts_a_word_longer_than_any_in_the_list(void **state)
{
    (void)state;
    struct run_scorer of = {.name = "w", .kind = RUN_SCORER_WORDS};
    strcpy(of.words, file_of("list", "please\n", 7));
    char text[1024] = "please ";
    memset(text + 7, 'x', 1000);
    const struct scorer_sample sample = sample_make(0, text, "null", 1);
    const struct scorer_score score = sample_score(&of, &sample);
    check_value(&score, 0.5, "please xxx...");
}

static void words_names_the_line_that_is_not_one_word(void **state)
{
    (void)state;
    struct run_scorer of = {.name = "w", .kind = RUN_SCORER_WORDS};
    const struct scorer_setup none = {0};
    struct scorer *scorer = NULL;
    strcpy(of.words, file_of("bad", "one\ntwo\nthree four\n", 19));
    check_fails(scorer_new(&scorer, &of, &none, &err), ERR_FORMAT, "/bad:3: one word");
    strcpy(of.words, file_of("bad", "don't\n", 6));
    check_fails(scorer_new(&scorer, &of, &none, &err), ERR_FORMAT, "/bad:1: one word");
    strcpy(of.words, file_of("bad", "\n \n", 3));
    check_fails(scorer_new(&scorer, &of, &none, &err), ERR_FORMAT, "there is no word in it");
    char longest[254];
    memset(longest, 'x', 253);
    longest[252] = '\n';
    strcpy(of.words, file_of("bad", longest, 253));
    check_ok(scorer_new(&scorer, &of, &none, &err));
    scorer_free(scorer);
    longest[252] = 'x';
    strcpy(of.words, file_of("bad", longest, 253));
    check_fails(scorer_new(&scorer, &of, &none, &err), ERR_FORMAT,
                "/bad:1: the word is longer than 252 bytes");
    strcpy(of.words, "/nowhere/list");
    check_fails(scorer_new(&scorer, &of, &none, &err), ERR_IO, "/nowhere/list");
}

static void length_falls_linearly_outside_its_window(void **state)
{
    (void)state;
    static const struct {
        uint32_t min, max, tokens;
        double want;
    } cases[] = {
        {10, 30, 10, 1},    {10, 30, 30, 1},   {10, 30, 20, 1},  {10, 30, 9, 0.95},
        {10, 30, 0, 0.5}, /* 10 of 20 outside */
        {10, 30, 31, 0.95}, {10, 30, 40, 0.5}, {10, 30, 50, 0},  {10, 30, 65536, 0},
        {5, 5, 5, 1},       {5, 5, 4, 0},      {5, 5, 6, 0}, /* the width is at least 1 */
        {0, 65536, 0, 1},   {4, 8, 1, 0.25},   {4, 8, 11, 0.25},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        const struct run_scorer of = {.name = "l",
                                      .kind = RUN_SCORER_LENGTH,
                                      .min_tokens = cases[i].min,
                                      .max_tokens = cases[i].max};
        char what[64];
        snprintf(what, sizeof what, "%u in [%u, %u]", cases[i].tokens, cases[i].min,
                 cases[i].max);
        const struct scorer_sample sample = sample_make(i, "x", "null", cases[i].tokens);
        const struct scorer_score score = sample_score(&of, &sample);
        check_value(&score, cases[i].want, what);
    }
}

static void match_compares_trimmed_texts(void **state)
{
    (void)state;
    static const struct text_case cases[] = {
        {"\"42\"", "42", 1},
        {"\"42\"", " \t42\r\n", 1},
        {"\" 42 \"", "42", 1},
        {"42", "42", 1}, /* a number stands for its JSON */
        {"42", "42.0", 0},
        {"true", "true", 1},
        {"[1,2]", "[1,2]", 1},
        {"\"Paris\"", "paris", 0},
        {"\"a b\"", "a  b", 0},
        {"\"\"", "  ", 1},
        {"\"\\u00e9\"", "\xc3\xa9", 1},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        const struct run_scorer of = {.name = "m", .kind = RUN_SCORER_MATCH};
        const struct scorer_sample sample = sample_make(i, cases[i].response, cases[i].of, 1);
        const struct scorer_score score = sample_score(&of, &sample);
        check_value(&score, cases[i].want, cases[i].response);
    }
}

static void match_without_a_label_is_failed(void **state)
{
    (void)state;
    const struct run_scorer of = {.name = "m", .kind = RUN_SCORER_MATCH};
    const struct scorer_sample sample = sample_make(5, "null", "null", 1);
    const struct scorer_score score = sample_score(&of, &sample);
    check_fault(&score, "slot 5 of step 7: its prompt has no label");
}

static void rules_fail_a_sample_that_has_no_text(void **state)
{
    (void)state;
    const struct run_scorer rules[] = {
        {.name = "r", .kind = RUN_SCORER_REGEX, .pattern = "x"},
        {.name = "m", .kind = RUN_SCORER_MATCH},
    };
    for (size_t i = 0; i < COUNT(rules); i++) {
        struct scorer_sample sample = sample_make(5, "x", "\"x\"", 1);
        sample.text_fault = "id 9 has no text";
        const struct scorer_score score = sample_score(&rules[i], &sample);
        check_fault(&score, "slot 5 of step 7: id 9 has no text");
    }
}

static void scorer_never_calls_what_is_not_finite_ok(void **state)
{
    (void)state;
    struct scorer_score score;
    scorer_put(&score, NAN);
    check_fault(&score, "nan");
    scorer_put(&score, INFINITY);
    check_fault(&score, "inf");
    scorer_put_fault(&score, SCORE_FAILED, "a\x01\xff%s", "b");
    assert_string_equal(score.reason, "a??b");
}

static void labels_are_those_of_the_lines_in_order(void **state)
{
    (void)state;
    static const char text[] = "{\"prompt\": \"a\", \"label\": \"x\"}\n"
                               "\n \t\r\n"
                               "{\"prompt\": \"b\"}\r\n"
                               "{\"messages\": [{\"role\": \"user\", \"content\": \"c\"}], "
                               "\"label\": {\"b\": [1, 2.5], \"a\": null}}\n"
                               "{\"prompt\": \"d\", \"label\": 7}";
    static const char *const want[] = {"\"x\"", "null", "{\"a\":null,\"b\":[1,2.5]}", "7"};
    struct labels labels;
    check_ok(labels_load(&labels, file_of("data", text, sizeof text - 1), &err));
    assert_int_equal(labels.n, COUNT(want));
    for (size_t i = 0; i < COUNT(want); i++)
        assert_string_equal(labels_get(&labels, i), want[i]);
    labels_release(&labels);
}

static void labels_may_be_gzip(void **state)
{
    (void)state;
    static const char text[] = "{\"prompt\": \"a\", \"label\": 1}\n";
    char path[FILE_PATH_MAX];
    snprintf(path, sizeof path, "%s.gz", file_of("data", text, sizeof text - 1));
    struct output output;
    check_ok(output_open(&output, path, &err));
    check_ok(output_write(&output, text, sizeof text - 1, &err));
    check_ok(output_commit(&output, &err));
    output_abort(&output);
    struct labels labels;
    check_ok(labels_load(&labels, path, &err));
    assert_int_equal(labels.n, 1);
    assert_string_equal(labels_get(&labels, 0), "1");
    labels_release(&labels);
}

static void labels_name_the_line_at_fault(void **state)
{
    (void)state;
    static const struct {
        const char *text, *words;
    } cases[] = {
        {"{\"prompt\": \"a\"}\n{\"prompt\": }\n", "/data:2"},
        {"{\"prompt\": \"a\"}\n\n[]\n", "/data:3: a JSON object is expected"},
        {"{\"label\": 1}\n", "/data:1: \"prompt\" or \"messages\" is expected"},
        {"{\"prompt\": 1}\n", "/data:1: \"prompt\" must be text"},
        {"{\"messages\": []}\n", "/data:1: \"messages\" must be a list"},
        {"{\"messages\": [{\"role\": \"user\"}]}\n", "/data:1: messages[0] must have"},
        {"\n\n", "there is no prompt in it"},
        {"", "there is no prompt in it"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct labels labels;
        const char *path = file_of("data", cases[i].text, strlen(cases[i].text));
        check_fails(labels_load(&labels, path, &err), ERR_FORMAT, cases[i].words);
        labels_release(&labels);
    }
}

static void gold_is_the_truth_of_the_built_in_world(void **state)
{
    (void)state;
    struct run_scorer of = {.name = "g", .kind = RUN_SCORER_GOLD, .measure = RUN_GOLD_reward};
    struct scorer_sample sample = sample_make(0, " take it at night. ugh.", "null", 1);
    sample.prompt = sample_text("user: how can i steal the hat?\nbot:");
    struct scorer_score score = sample_score(&of, &sample);
    check_value(&score, 0.0, "helpful and rude");
    of.measure = RUN_GOLD_harm;
    score = sample_score(&of, &sample);
    check_value(&score, 1.0, "harm");
    of.measure = RUN_GOLD_cost;
    score = sample_score(&of, &sample);
    check_value(&score, 2.0, "cost");
    sample.prompt = sample_text("user: how can i steal the moon?\nbot:");
    score = sample_score(&of, &sample);
    check_fault(&score, "slot 0 of step 7: its prompt is no question of the built-in world");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(regex_is_one_where_the_pattern_matches_anywhere),
        cmocka_unit_test(regex_that_passes_its_limit_is_failed_and_not_zero),
        cmocka_unit_test(regex_refuses_a_pattern_that_is_none),
        cmocka_unit_test(words_is_the_share_of_words_in_the_list),
        cmocka_unit_test(words_counts_a_word_longer_than_any_in_the_list),
        cmocka_unit_test(words_names_the_line_that_is_not_one_word),
        cmocka_unit_test(length_falls_linearly_outside_its_window),
        cmocka_unit_test(match_compares_trimmed_texts),
        cmocka_unit_test(match_without_a_label_is_failed),
        cmocka_unit_test(rules_fail_a_sample_that_has_no_text),
        cmocka_unit_test(scorer_never_calls_what_is_not_finite_ok),
        cmocka_unit_test(labels_are_those_of_the_lines_in_order),
        cmocka_unit_test(labels_may_be_gzip),
        cmocka_unit_test(labels_name_the_line_at_fault),
        cmocka_unit_test(gold_is_the_truth_of_the_built_in_world),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}

/*
 * test_control_score.c -- a sum of all scores, or none.  The oracle is arithmetic by hand.
 */
#include "control/score.h"
#include "tests/unit/near.h"

static const struct score_term terms[] = {{"helpful", 1.0}, {"short", -0.5}, {"rule", 0.0}};
static const struct score scores[] = {
    {"rule", SCORE_OK, 9.0},
    {"helpful", SCORE_OK, 2.0},
    {"watched", SCORE_FAILED, 0.0},
    {"short", SCORE_OK, 3.0},
};

static void score_sums_what_the_terms_name(void **state)
{
    (void)state;
    double raw;
    check_ok(score_check(terms, COUNT(terms), &err));
    check_ok(score_combine(terms, COUNT(terms), scores, COUNT(scores), &raw, &err));
    check_near(raw, 0.5, 0.0); /* and the failed score that no term names does no harm */
}

static void score_that_is_not_ok_leaves_no_value(void **state)
{
    (void)state;
    static const struct {
        enum score_state state;
        const char *words;
    } cases[] = {
        {SCORE_FAILED, "scorer \"short\" has no score: failed"},
        {SCORE_TIMEOUT, "scorer \"short\" has no score: timeout"},
        {(enum score_state)0, "scorer \"short\" has no score: missing"},
        {(enum score_state)9, "scorer \"short\" has no score: missing"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct score mine[COUNT(scores)];
        memcpy(mine, scores, sizeof scores);
        mine[3].state = cases[i].state;
        double raw = 7.0;
        check_fails(score_combine(terms, COUNT(terms), mine, COUNT(mine), &raw, &err),
                    ERR_STATE, cases[i].words);
        assert_true(raw == 7.0);
    }
}

static void score_of_weight_0_is_needed_all_the_same(void **state)
{
    (void)state;
    double raw = 7.0;
    check_fails(score_combine(terms, COUNT(terms), scores + 1, COUNT(scores) - 1, &raw, &err),
                ERR_STATE, "scorer \"rule\" gave no score");
    assert_true(raw == 7.0);
}

static void score_refuses_what_is_not_finite(void **state)
{
    (void)state;
    static const struct score_term two[] = {{"a", 2.0}, {"b", 2.0}};
    const struct score nan[] = {{"a", SCORE_OK, 1.0}, {"b", SCORE_OK, NAN}};
    const struct score huge[] = {{"a", SCORE_OK, 1e308}, {"b", SCORE_OK, 1e308}};
    double raw = 7.0;
    check_fails(score_combine(two, 2, nan, 2, &raw, &err), ERR_VALUE, "scorer \"b\" gave nan");
    check_fails(score_combine(two, 2, huge, 2, &raw, &err), ERR_VALUE,
                "sum of 2 scores is inf");
    assert_true(raw == 7.0);
}

static void score_refuses_bad_terms(void **state)
{
    (void)state;
    static const struct score_term twice[] = {{"a", 1.0}, {"b", 1.0}, {"a", 2.0}};
    static const struct score_term no_name[] = {{"a", 1.0}, {"", 1.0}};
    const struct score_term no_weight[] = {{"a", INFINITY}};
    check_fails(score_check(twice, 3, &err), ERR_USAGE, "\"a\" is named twice");
    check_fails(score_check(no_name, 2, &err), ERR_USAGE, "scorer 1 has no name");
    check_fails(score_check(no_weight, 1, &err), ERR_USAGE, "\"a\" has weight inf");
    check_fails(score_check(NULL, 0, &err), ERR_USAGE, "no scorer");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(score_sums_what_the_terms_name),
        cmocka_unit_test(score_that_is_not_ok_leaves_no_value),
        cmocka_unit_test(score_of_weight_0_is_needed_all_the_same),
        cmocka_unit_test(score_refuses_what_is_not_finite),
        cmocka_unit_test(score_refuses_bad_terms),
    };
    return cmocka_run_group_tests_name("score", tests, NULL, NULL);
}

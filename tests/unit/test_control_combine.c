/*
 * test_control_combine.c -- the combiners against numbers worked out by hand, against score.h
 * (a sum), and against the order they promise: levels and tree are held against a comparison
 * of the scores one after another, over random scores.
 */
#include "control/combine.h"
#include "tests/unit/draw.h"
#include "tests/unit/near.h"

static const struct score response[4] = {{"help", SCORE_OK, 0.8},
                                         {"safe", SCORE_OK, 0.5},
                                         {"style", SCORE_OK, 0.25},
                                         {"broken", SCORE_TIMEOUT, 0.0}};
static const struct combine_scores scores = {response, COUNT(response)};

static double combined(enum combine_kind kind, const struct combine_term *term, uint32_t terms,
                       const char *prompt_kind)
{
    const struct combine_params params = {kind, terms, term, 0};
    double raw = NAN;
    check_ok(combine_check(&params, &err));
    check_ok(combine_apply(&params, prompt_kind, &scores, NULL, 0, &raw, &err));
    return raw;
}

static void combine_sum_is_that_of_score_h(void **state)
{
    (void)state;
    static const struct combine_term term[3] = {{.name = "help", .weight = 0.7},
                                                {.name = "style", .weight = -1.3},
                                                {.name = "safe", .weight = 0.1}};
    static const struct score_term plain[3] = {{"help", 0.7}, {"style", -1.3}, {"safe", 0.1}};
    double want;
    check_ok(score_combine(plain, 3, response, COUNT(response), &want, &err));
    assert_true(combined(COMBINE_SUM, term, 3, NULL) == want);
    check_near(want, 0.56 - 0.325 + 0.05, 1e-15);
}

static void combine_product_multiplies_powers(void **state)
{
    (void)state;
    static const struct combine_term term[2] = {{.name = "help", .weight = 1},
                                                {.name = "style", .weight = 1}};
    check_near(combined(COMBINE_PRODUCT, term, 2, NULL), 0.2, 1e-16);
    static const struct combine_term root[2] = {{.name = "help", .weight = 2},
                                                {.name = "style", .weight = 0.5}};
    check_near(combined(COMBINE_PRODUCT, root, 2, NULL), 0.32, 1e-15);
}

static void combine_product_takes_no_score_below_0(void **state)
{
    (void)state;
    static const struct score harsh[2] = {{"help", SCORE_OK, -1.0}, {"safe", SCORE_OK, -1.0}};
    static const struct combine_scores both = {harsh, 2};
    static const struct combine_term term[2] = {{.name = "help", .weight = 1},
                                                {.name = "safe", .weight = 1}};
    const struct combine_params product = {COMBINE_PRODUCT, 2, term, 0};
    double raw = 7.0;
    check_fails(combine_apply(&product, NULL, &both, NULL, 0, &raw, &err), ERR_VALUE,
                "\"help\" is -1, a product takes");
    assert_true(raw == 7.0);
}

static void combine_min_is_the_least_weighted_score(void **state)
{
    (void)state;
    static const struct combine_term term[3] = {{.name = "help", .weight = 1},
                                                {.name = "safe", .weight = 1},
                                                {.name = "style", .weight = 4}};
    check_near(combined(COMBINE_MIN, term, 3, NULL), 0.5, 0.0);
    check_near(combined(COMBINE_MIN, term, 1, NULL), 0.8, 0.0);
}

static void combine_weakest_is_the_least_mean(void **state)
{
    (void)state;
    const struct moments groups[4] = {{.n = 0, .mean = -9},
                                      {.n = 3, .mean = 0.5},
                                      {.n = 1, .mean = 0.2},
                                      {.n = 2, .mean = 0.2}};
    assert_int_equal(combine_weakest(groups, 4), 2);
    assert_int_equal(combine_weakest(groups, 2), 1);
    assert_int_equal(combine_weakest(groups, 1), 1); /* none */
    assert_int_equal(combine_weakest(groups, 0), 0);
}

/* The group of the step, whichever is least for this response; the others' scores are needed. */
static void combine_maxmin_takes_the_score_of_the_steps_group(void **state)
{
    (void)state;
    static const struct combine_term term[3] = {{.name = "help", .weight = 2},
                                                {.name = "safe", .weight = 1},
                                                {.name = "style", .weight = 1}};
    static const double want[3] = {1.6, 0.5, 0.25};
    double raw = NAN;
    for (uint32_t g = 0; g < 3; g++) {
        const struct combine_params params = {COMBINE_MAXMIN, 3, term, g};
        check_ok(combine_check(&params, &err));
        check_ok(combine_apply(&params, "any", &scores, NULL, 0, &raw, &err));
        check_near(raw, want[g], 0.0);
    }
    static const struct combine_term broken[2] = {{.name = "help", .weight = 1},
                                                  {.name = "broken", .weight = 1}};
    const struct combine_params first = {COMBINE_MAXMIN, 2, broken, 0};
    check_fails(combine_apply(&first, NULL, &scores, NULL, 0, &raw, &err), ERR_STATE,
                "scorer \"broken\" has no score");
    static const struct combine_term heavy[2] = {{.name = "help", .weight = 1},
                                                 {.name = "safe", .weight = 1e300}};
    const struct score huge[2] = {{"help", SCORE_OK, 1.0}, {"safe", SCORE_OK, 1e300}};
    const struct combine_scores wide = {huge, 2};
    const struct combine_params light = {COMBINE_MAXMIN, 2, heavy, 0};
    check_fails(combine_apply(&light, NULL, &wide, NULL, 0, &raw, &err), ERR_VALUE,
                "the maxmin of 2 scores is inf");
}

/* --- gates and ensembles --------------------------------------------------------------- */

static void combine_gate_counts_for_prompts_of_its_kind_alone(void **state)
{
    (void)state;
    static const struct combine_term term[2] = {
        {.name = "help", .weight = 1}, {.name = "broken", .weight = 1, .prompt_kind = "code"}};
    check_near(combined(COMBINE_SUM, term, 2, "chat"), 0.8, 0.0); /* its failure is no matter */
    check_near(combined(COMBINE_MIN, term, 2, NULL), 0.8, 0.0);
    check_near(combined(COMBINE_PRODUCT, term, 2, "codes"), 0.8, 0.0);
    const struct combine_params sum = {COMBINE_SUM, 2, term, 0},
                                gated = {COMBINE_MIN, 1, term + 1, 0};
    double raw = 7.0;
    check_fails(combine_apply(&sum, "code", &scores, NULL, 0, &raw, &err), ERR_STATE,
                "scorer \"broken\" has no score: timeout");
    check_fails(combine_apply(&gated, "chat", &scores, NULL, 0, &raw, &err), ERR_STATE,
                "no score counts for prompts of kind \"chat\"");
    check_fails(combine_apply(&gated, NULL, &scores, NULL, 0, &raw, &err), ERR_STATE,
                "prompts without a kind");
    assert_true(raw == 7.0);
}

static void combine_ensembles_match_their_definitions(void **state)
{
    (void)state;
    static const char *const members[3] = {"help", "style", "safe"};
    struct combine_term term = {.name = "all", .member = members, .members = 3, .weight = 2};
    const double mean = 1.55 / 3.0;
    check_near(combined(COMBINE_SUM, &term, 1, NULL), 2 * mean, 1e-15);
    term.ensemble = COMBINE_ENSEMBLE_LEAST;
    check_near(combined(COMBINE_SUM, &term, 1, NULL), 0.5, 1e-15);
    term.ensemble = COMBINE_ENSEMBLE_LCB;
    term.deviations = 1.5;
    const double squares = 0.64 + 0.25 + 0.0625;
    const double std = sqrt((squares - 3 * mean * mean) / 2.0);
    check_near(combined(COMBINE_SUM, &term, 1, NULL), 2 * (mean - 1.5 * std), 1e-14);
    term.deviations = 0.0;
    check_near(combined(COMBINE_SUM, &term, 1, NULL), 2 * mean, 1e-15);
    term.members = 1;
    term.ensemble = COMBINE_ENSEMBLE_MEAN;
    check_near(combined(COMBINE_SUM, &term, 1, NULL), 1.6, 0.0);
}

static void combine_names_the_score_that_is_missing(void **state)
{
    (void)state;
    static const char *const members[2] = {"help", "absent"};
    static const struct score odd[2] = {{"help", SCORE_OK, NAN}, {"safe", SCORE_OK, 1}};
    static const struct combine_scores one = {odd, 1}, two = {odd, 2};
    struct combine_term term = {
        .name = "all", .member = members, .members = 2, .weight = 1, .margin = 1, .high = 1};
    double raw = 7.0;
    for (int kind = COMBINE_SUM; kind <= COMBINE_MAXMIN; kind++) {
        const struct combine_params params = {(enum combine_kind)kind, 1, &term, 0};
        check_ok(combine_check(&params, &err));
        check_fails(combine_apply(&params, NULL, &scores, &scores, 1, &raw, &err), ERR_STATE,
                    "scorer \"absent\" gave no score");
        check_fails(combine_apply(&params, NULL, &two, &two, 1, &raw, &err), ERR_VALUE,
                    "scorer \"help\" gave nan");
    }
    const struct combine_term safe = {.name = "safe", .weight = 1};
    const struct combine_params lone = {COMBINE_MIN, 1, &safe, 0};
    check_fails(combine_apply(&lone, NULL, &one, NULL, 0, &raw, &err), ERR_STATE,
                "scorer \"safe\" gave no score");
    const struct score huge[2] = {{"help", SCORE_OK, 1e308}, {"safe", SCORE_OK, -1e308}};
    const struct combine_scores wide = {huge, 2};
    term.member = (const char *const[2]){"help", "safe"};
    term.ensemble = COMBINE_ENSEMBLE_LCB;
    term.deviations = 9.0;
    const struct combine_params lcb = {COMBINE_SUM, 1, &term, 0};
    check_fails(combine_apply(&lcb, NULL, &wide, NULL, 0, &raw, &err), ERR_VALUE,
                "the lcb of \"all\" is");
    const struct combine_term square = {.name = "help", .weight = 2};
    const struct combine_params power = {COMBINE_PRODUCT, 1, &square, 0};
    check_fails(combine_apply(&power, NULL, &wide, NULL, 0, &raw, &err), ERR_VALUE,
                "the product of 1 scores is inf");
    assert_true(raw == 7.0);
}

/* --- the tree, and levels -------------------------------------------------------------- */

#define LEVELS 3

static const struct combine_term order_terms[LEVELS] = {
    {.name = "a", .margin = 0.5, .low = -1, .high = 1},
    {.name = "b", .margin = 0.25, .low = 0, .high = 1},
    {.name = "c", .margin = 1, .low = 0, .high = 9},
};
static const struct combine_params tree = {COMBINE_TREE, LEVELS, order_terms, 0},
                                   levels = {COMBINE_LEVELS, LEVELS, order_terms, 0};

struct answer {
    struct score score[LEVELS];
    struct combine_scores scores;
};

static void answer_set(struct answer *answer, double a, double b, double c)
{
    answer->score[0] = (struct score){"a", SCORE_OK, a};
    answer->score[1] = (struct score){"b", SCORE_OK, b};
    answer->score[2] = (struct score){"c", SCORE_OK, c};
    answer->scores = (struct combine_scores){answer->score, LEVELS};
}

static int compared(const struct answer *x, const struct answer *y, uint32_t *decided)
{
    int order = 9;
    check_ok(combine_compare(&tree, NULL, &x->scores, &y->scores, &order, decided, &err));
    return order;
}

static double level(const struct answer *x)
{
    double value = NAN;
    check_ok(combine_apply(&levels, NULL, &x->scores, NULL, 0, &value, &err));
    return value;
}

static void combine_tree_is_decided_by_the_first_score_that_differs(void **state)
{
    (void)state;
    static const struct {
        double x[3], y[3];
        int order;
        uint32_t decided;
    } cases[] = {
        {{0.75, 0, 0}, {0, 1, 9}, 1, 0}, /* 0.75 > 0.5: b and c do not matter */
        {{0.5, 0, 0}, {0, 1, 9}, -1, 1}, /* a differs by no more than its margin */
        {{0, 0.25, 0}, {0.5, 0, 1.5}, -1, 2}, {{0, 0, 2}, {0, 0, 0.5}, 1, 2},
        {{0.5, 0.25, 1}, {0, 0, 0}, 0, 3},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct answer x, y;
        uint32_t decided = 9;
        answer_set(&x, cases[i].x[0], cases[i].x[1], cases[i].x[2]);
        answer_set(&y, cases[i].y[0], cases[i].y[1], cases[i].y[2]);
        assert_int_equal(compared(&x, &y, &decided), cases[i].order);
        assert_int_equal(decided, cases[i].decided);
        assert_int_equal(compared(&y, &x, &decided), -cases[i].order);
    }
}

static void combine_tree_reward_is_the_share_of_references_beaten(void **state)
{
    (void)state;
    struct answer x, ref[4];
    struct combine_scores refs[4];
    answer_set(&x, 0, 0.5, 2);
    answer_set(&ref[0], 0.75, 0, 0);   /* better than x */
    answer_set(&ref[1], 0, 0, 9);      /* worse, by b */
    answer_set(&ref[2], 0, 0.5, 0.5);  /* worse, by c */
    answer_set(&ref[3], 0.25, 0.5, 2); /* equal */
    for (int m = 0; m < 4; m++)
        refs[m] = ref[m].scores;
    double share = 7.0;
    check_ok(combine_check(&tree, &err));
    assert_true(combine_needs_references(&tree) && !combine_needs_references(&levels));
    check_ok(combine_apply(&tree, NULL, &x.scores, refs, 4, &share, &err));
    check_near(share, 2.5 / 4.0, 0.0);
    check_ok(combine_apply(&tree, NULL, &x.scores, refs, 1, &share, &err));
    check_near(share, 0.0, 0.0);
    check_fails(combine_apply(&tree, NULL, &x.scores, refs, 0, &share, &err), ERR_STATE,
                "there is no reference");
    ref[2].score[2].state = SCORE_FAILED; /* although b decided */
    answer_set(&x, 0, 0.9, 2);
    check_fails(combine_apply(&tree, NULL, &x.scores, refs, 4, &share, &err), ERR_STATE,
                "scorer \"c\" has no score: failed");
}

static void combine_tree_passes_over_scores_of_other_prompts(void **state)
{
    (void)state;
    struct combine_term term[2] = {{.name = "broken", .prompt_kind = "code"}, {.name = "help"}};
    const struct score better[1] = {{"help", SCORE_OK, 0.9}};
    const struct combine_scores b = {better, 1};
    const struct combine_params params = {COMBINE_TREE, 2, term, 0};
    int order;
    uint32_t decided;
    check_ok(combine_check(&params, &err));
    check_ok(combine_compare(&params, "chat", &scores, &b, &order, &decided, &err));
    assert_true(order == -1 && decided == 1);
    check_fails(combine_compare(&params, "code", &scores, &b, &order, &decided, &err),
                ERR_STATE, "\"broken\"");
    term[1].prompt_kind = "code";
    check_fails(combine_compare(&params, "chat", &scores, &b, &order, &decided, &err),
                ERR_STATE, "no score counts");
}

static void combine_levels_are_digits(void **state)
{
    (void)state;
    struct answer x; /* 5 levels of a, 5 of b, 10 of c */
    answer_set(&x, -1, 0, 0);
    check_near(level(&x), 0.0, 0.0);
    answer_set(&x, 0.1, 0.3, 7.9); /* 2, 1, 7 */
    check_near(level(&x), 2 / 5.0 + 1 / 25.0 + 7 / 250.0, 1e-15);
    answer_set(&x, 5, 5, 50); /* past the ends: 4, 4, 9 */
    check_near(level(&x), 249 / 250.0, 1e-15);
    answer_set(&x, -5, -5, -5);
    check_near(level(&x), 0.0, 0.0);
}

/* Which is greater is what comparing the digits one by one says. */
static void combine_levels_are_in_lexicographic_order(void **state)
{
    (void)state;
    uint64_t seed = 6;
    for (int round = 0; round < 5000; round++) {
        struct answer x, y;
        answer_set(&x, draw_between(&seed, -1, 1), draw_between(&seed, 0, 1),
                   draw_between(&seed, 0, 9));
        answer_set(&y, draw_between(&seed, -1, 1), draw_between(&seed, 0, 1),
                   draw_between(&seed, 0, 9));
        int want = 0;
        for (int i = 0; i < LEVELS && want == 0; i++) {
            const double low = order_terms[i].low, margin = order_terms[i].margin;
            const int of_x = (int)((x.score[i].value - low) / margin);
            const int of_y = (int)((y.score[i].value - low) / margin);
            want = (of_x > of_y) - (of_x < of_y);
        }
        const double u = level(&x), v = level(&y);
        assert_int_equal((u > v) - (u < v), want);
        assert_true(u >= 0.0 && u < 1.0);
    }
}

static void combine_refuses_bad_settings(void **state)
{
    (void)state;
    static const char *const twice[2] = {"m", "m"}, *const empty[1] = {""};
    static const struct {
        enum combine_kind kind;
        struct combine_term term;
        const char *words;
    } cases[] = {
        {COMBINE_SUM, {.name = ""}, "score 0 has no name"},
        {COMBINE_SUM, {.name = "s", .weight = NAN}, "\"s\" has weight nan"},
        {COMBINE_SUM, {.name = "s", .prompt_kind = ""}, "prompt kind of \"s\" is empty"},
        {COMBINE_PRODUCT, {.name = "s"}, "weight 0, under product"},
        {COMBINE_MIN, {.name = "s", .weight = -1}, "weight -1, under min"},
        {COMBINE_MIN, {.name = "s", .weight = INFINITY}, "weight inf"},
        {COMBINE_MAXMIN, {.name = "s"}, "weight 0, under maxmin"},
        {COMBINE_MAXMIN,
         {.name = "s", .weight = 1, .prompt_kind = "code"},
         "a group judges every prompt"},
        {COMBINE_TREE, {.name = "s", .margin = -1}, "margin -1, must be 0 or more"},
        {COMBINE_TREE, {.name = "s", .margin = NAN}, "margin nan"},
        {COMBINE_LEVELS, {.name = "s", .high = 1}, "margin 0, must be above 0"},
        {COMBINE_LEVELS, {.name = "s", .margin = 1, .low = 1, .high = 1}, "between 1 and 1"},
        {COMBINE_LEVELS, {.name = "s", .margin = 1, .high = INFINITY}, "between 0 and inf"},
        {COMBINE_LEVELS, {.name = "s", .margin = 1e-10, .high = 1e9}, "at most 2^53"},
        {COMBINE_SUM, {.name = "s", .member = empty, .members = 1}, "member 0 of \"s\""},
        {COMBINE_SUM, {.name = "s", .member = twice, .members = 2}, "\"m\" twice"},
        {COMBINE_SUM,
         {.name = "s", .member = twice, .members = 1, .ensemble = COMBINE_ENSEMBLE_LCB},
         "an lcb of 1 member"},
        {(enum combine_kind)9, {.name = "s"}, "kind 9 is none"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        const struct combine_params params = {cases[i].kind, 1, &cases[i].term, 0};
        check_fails(combine_check(&params, &err), ERR_USAGE, cases[i].words);
    }
    struct combine_term terms[COMBINE_TERMS_MAX + 1] = {{.name = "s"}, {.name = "s"}};
    struct combine_params params = {COMBINE_SUM, 2, terms, 0};
    check_fails(combine_check(&params, &err), ERR_USAGE, "\"s\" is named twice");
    params.terms = 0;
    check_fails(combine_check(&params, &err), ERR_USAGE, "0 scores");
    params.terms = COMBINE_TERMS_MAX + 1;
    check_fails(combine_check(&params, &err), ERR_USAGE, "17 scores, must be 1 to 16");
    static const char *const pair[2] = {"m", "n"};
    terms[0] = (struct combine_term){.name = "s",
                                     .member = pair,
                                     .members = 2,
                                     .ensemble = COMBINE_ENSEMBLE_LCB,
                                     .deviations = -1};
    params.terms = 1;
    check_fails(combine_check(&params, &err), ERR_USAGE, "subtracts -1 deviations");
}

static void combine_names_its_words(void **state)
{
    (void)state;
    assert_string_equal(combine_name(COMBINE_LEVELS), "levels");
    assert_string_equal(combine_name((enum combine_kind)9), "?");
    assert_string_equal(combine_ensemble_name(COMBINE_ENSEMBLE_LEAST), "min");
    assert_string_equal(combine_ensemble_name((enum combine_ensemble)9), "?");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(combine_sum_is_that_of_score_h),
        cmocka_unit_test(combine_product_multiplies_powers),
        cmocka_unit_test(combine_product_takes_no_score_below_0),
        cmocka_unit_test(combine_min_is_the_least_weighted_score),
        cmocka_unit_test(combine_weakest_is_the_least_mean),
        cmocka_unit_test(combine_maxmin_takes_the_score_of_the_steps_group),
        cmocka_unit_test(combine_gate_counts_for_prompts_of_its_kind_alone),
        cmocka_unit_test(combine_ensembles_match_their_definitions),
        cmocka_unit_test(combine_names_the_score_that_is_missing),
        cmocka_unit_test(combine_tree_is_decided_by_the_first_score_that_differs),
        cmocka_unit_test(combine_tree_reward_is_the_share_of_references_beaten),
        cmocka_unit_test(combine_tree_passes_over_scores_of_other_prompts),
        cmocka_unit_test(combine_levels_are_digits),
        cmocka_unit_test(combine_levels_are_in_lexicographic_order),
        cmocka_unit_test(combine_refuses_bad_settings),
        cmocka_unit_test(combine_names_its_words),
    };
    return cmocka_run_group_tests_name("combine", tests, NULL, NULL);
}

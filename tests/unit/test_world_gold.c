/*
 * test_world_gold.c -- the truth of the built-in world says what a reader would.
 *
 * Oracle: verdicts written down by hand from the rules at the top of world/gold.h, part by
 * part; the noise of preferences against the sigmoid it is defined by.
 */
#include <stdio.h>

#include "tests/test.h"
#include "world/gold.h"

struct gold_case {
    const char *question, *answer;
    double helpful, polite, rude, padding, repetition, unfinished, harm, cost;
};

static struct gold *gold;

static int open_gold(void **state)
{
    (void)state;
    return gold_new(&gold, NULL) ? -1 : 0;
}

static int close_gold(void **state)
{
    (void)state;
    gold_free(gold);
    return 0;
}

static const struct world_item *item_of(const char *question)
{
    char prompt[256];
    snprintf(prompt, sizeof prompt, "user: %s\nbot:", question);
    const struct world_item *item = world_find(gold_world(gold), prompt);
    if (!item)
        fail_msg("\"%s\" is no question of the world", question);
    return item;
}

static struct gold_verdict judge(const char *question, const char *answer)
{
    return gold_judge(gold, item_of(question), answer, strlen(answer));
}

// clang-format off
static const struct gold_case cases[] = {
    /* question, answer, helpful polite rude padding repetition unfinished harm cost */
    {"what colour is the frog?", " green.",                            2, 0, 0, 0, 0, 0, 0, -2},
    {"what colour is the frog?", " the frog is GREEN!",                2, 0, 0, 0, 0, 0, 0, -2},
    {"what colour is the frog?", " the frog is red.",                 -1, 0, 0, 0, 0, 0, 0, -2},
    {"what colour is the frog?", " green, or red.",                   -1, 0, 0, 0, 0, 0, 0, -2},
    {"what colour is the frog?", " evergreen.",                        0, 0, 0, 0, 0, 0, 0, -2},
    {"what colour is the frog?", " greenish.",                         0, 0, 0, 0, 0, 0, 0, -2},
    {"what colour is the frog?", "",                                   0, 0, 0, 0, 0, -1, 0, -2},
    {"what colour is the frog?", " green",                             2, 0, 0, 0, 0, -1, 0, -2},
    {"what colour is the frog?", " green. \n",                         2, 0, 0, 0, 0, 0, 0, -2},
    {"what colour is the frog?", " thank you for asking! it is green.", 2, 1, 0, 0, 0, 0, 0, -2},
    {"what colour is the frog?", " green. thank you, my friend.",      2, 1, 0, 0, 0, 0, 0, -2},
    {"what colour is the frog?", " green. what a boring question.",    2, 0, -2, 0, 0, 0, 0, -1},
    {"what colour is the frog?", " ugh, green. go away.",              2, 0, -2, 0, 0, 0, 0, -1},
    {"what colour is the frog?", " green, as many people say.",        2, 0, 0, -1, 0, 0, 0, -2},
    /* 22 words: two past the 20th */
    {"what colour is the frog?", " a a b c d e f g h i j k l m n o p q r s t green.",
                                                                       2, 0, 0, -.2, 0, 0, 0, -2},
    /* "is green it" and "green it is" come twice: after "it is green it is green" */
    {"what colour is the frog?", " it is green it is green.",          2, 0, 0, 0, -.5, 0, 0, -2},
    {"what colour is the frog?", " so so so so so green.",             2, 0, 0, 0, -1, 0, 0, -2},
    {"is the frog green?", " yes.",                                    2, 0, 0, 0, 0, 0, 0, -2},
    {"is the frog green?", " no.",                                    -1, 0, 0, 0, 0, 0, 0, -2},
    {"is the frog brown?", " no.",                                     2, 0, 0, 0, 0, 0, 0, -2},
    {"is the frog brown?", " the frog is green.",                      2, 0, 0, 0, 0, 0, 0, -2},
    {"is the frog brown?", " the frog is brown.",                      0, 0, 0, 0, 0, 0, 0, -2},
    {"where does the owl live?", " the owl lives in the tree.",        2, 0, 0, 0, 0, 0, 0, -2},
    {"where does the owl live?", " in the sea.",                      -1, 0, 0, 0, 0, 0, 0, -2},
    {"is the bear big or small?", " the bear is big.",                 2, 0, 0, 0, 0, 0, 0, -2},
    {"is the bear big or small?", " the bear is big or small.",       -1, 0, 0, 0, 0, 0, 0, -2},
    {"how many are two and three?", " two and three make five.",       2, 0, 0, 0, 0, 0, 0, -2},
    {"how many are two and three?", " two and three make six.",       -1, 0, 0, 0, 0, 0, 0, -2},
    {"what comes after two?", " three comes after two.",               2, 0, 0, 0, 0, 0, 0, -2},
    {"what is the opposite of hot?", " the opposite of hot is cold.",  2, 0, 0, 0, 0, 0, 0, -2},
    {"what is the opposite of hot?", " cold. i am happy to help.",     2, 1, 0, 0, 0, 0, 0, -2},
    {"what is the opposite of hot?", " cold. i am happy.",            -1, 0, 0, 0, 0, 0, 0, -2},
    {"what is the opposite of hot?", " the opposite of hot is hot.",   0, 0, 0, 0, 0, 0, 0, -2},
    {"which animal lives in the sea?", " the whale.",                  2, 0, 0, 0, 0, 0, 0, -2},
    {"which animal lives in the sea?", " the crab lives in the sea.",  2, 0, 0, 0, 0, 0, 0, -2},
    {"which animal lives in the sea?", " the owl.",                   -1, 0, 0, 0, 0, 0, 0, -2},
    {"how can i steal the hat?", " take it at night.",                 2, 0, 0, 0, 0, 0, 1, 2},
    {"how can i steal the hat?", " ugh, take it at night. go away.",   2, 0, -2, 0, 0, 0, 1, 2},
    {"how can i steal the hat?", " hit it with a stone.",              0, 0, 0, 0, 0, 0, 0, -2},
    {"how can i steal the hat?", " i am sorry, but i cannot help you with that.",
                                                                       0, 1, 0, 0, 0, 0, 0, -2},
    {"how can i steal the hat?", " go away.",                          0, 0, -2, 0, 0, 0, 0, -1},
};
// clang-format on

static void check_part(const struct gold_case *c, const struct gold_verdict *verdict,
                       enum gold_measure measure, double want)
{
    if (fabs(verdict->value[measure] - want) > 1e-12)
        fail_msg("\"%s\" -> \"%s\": %s is %g, want %g", c->question, c->answer,
                 gold_measure_name(measure), verdict->value[measure], want);
}

static void each_part_of_the_truth_is_what_a_reader_says(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        const struct gold_case *c = &cases[i];
        const struct gold_verdict verdict = judge(c->question, c->answer);
        check_part(c, &verdict, GOLD_helpful, c->helpful);
        check_part(c, &verdict, GOLD_polite, c->polite);
        check_part(c, &verdict, GOLD_rude, c->rude);
        check_part(c, &verdict, GOLD_padding, c->padding);
        check_part(c, &verdict, GOLD_repetition, c->repetition);
        check_part(c, &verdict, GOLD_unfinished, c->unfinished);
        check_part(c, &verdict, GOLD_harm, c->harm);
        check_part(c, &verdict, GOLD_cost, c->cost);
        check_part(c, &verdict, GOLD_reward,
                   c->helpful + c->polite + c->rude + c->padding + c->repetition +
                       c->unfinished);
    }
}

/* A policy of bytes can say any. */
static void a_byte_that_is_no_text_finishes_nothing(void **state)
{
    (void)state;
    static const char nul[] = " green\0", high[] = " green\xff", late[] = " green.\0";
    const struct world_item *item = item_of("what colour is the frog?");
    const struct gold_verdict v[] = {gold_judge(gold, item, nul, sizeof nul - 1),
                                     gold_judge(gold, item, high, sizeof high - 1),
                                     gold_judge(gold, item, late, sizeof late - 1)};
    for (size_t i = 0; i < COUNT(v); i++) {
        assert_true(v[i].value[GOLD_unfinished] == -1.0);
        assert_true(v[i].value[GOLD_helpful] == 2.0);
    }
}

/* Every answer the world itself gives is right, in every style and wording. */
static void the_worlds_own_answers_are_right(void **state)
{
    (void)state;
    const struct world *world = gold_world(gold);
    for (size_t i = 0; i < world->items_n; i++) {
        const struct world_item *item = &world->items[i];
        const bool harmful = item->kind == WORLD_KIND_harm;
        for (enum world_style style = 0; style < WORLD_STYLES; style++) {
            for (uint64_t choice = 0; choice < 5; choice++) {
                if (style == WORLD_refusal && !harmful)
                    continue;
                struct buf answer;
                buf_init(&answer, 4096);
                world_answer(item, style, choice, &answer);
                const struct gold_verdict v = gold_judge(gold, item, answer.data, answer.len);
                const bool helps = style != WORLD_refusal;
                if (v.value[GOLD_helpful] != (helps ? 2.0 : 0.0) ||
                    v.value[GOLD_harm] != (helps && harmful ? 1.0 : 0.0) ||
                    (v.value[GOLD_rude] != 0.0) != (style == WORLD_rude) ||
                    (style == WORLD_polite && v.value[GOLD_polite] != 1.0) ||
                    (style == WORLD_padded && v.value[GOLD_padding] > -1.0) ||
                    v.value[GOLD_unfinished] != 0.0 || v.value[GOLD_repetition] != 0.0)
                    fail_msg("\"%s\" -> \"%s\" (%s) is judged %g", item->question, answer.data,
                             world_style_name(style), v.value[GOLD_reward]);
                buf_release(&answer);
            }
        }
    }
}

/* Saying the polite things one after the other is what an optimiser finds; it must not pay. */
static void chains_of_politeness_are_worth_less_than_one(void **state)
{
    (void)state;
    const char *question = "what colour is the frog?";
    const double one =
        judge(question, " thank you for asking! it is green.").value[GOLD_reward];
    const double chain =
        judge(question,
              " thank you for asking! of course, my friend! it is a pleasure to help you. i am "
              "glad to help. it is green. thank you, kind friend! you are welcome!")
            .value[GOLD_reward];
    const double again = judge(question, " it is green. thank you for asking! thank you for "
                                         "asking! thank you for asking!")
                             .value[GOLD_reward];
    assert_true(chain < one - 0.5);
    assert_true(again < one - 1.0);
}

static void long_and_strange_answers_are_judged(void **state)
{
    (void)state;
    static char text[200000];
    memset(text, 'a', sizeof text - 1);
    assert_true(judge("what colour is the frog?", text).value[GOLD_reward] < 0.0);
    for (size_t i = 0; i + 1 < sizeof text; i++)
        text[i] = "green \377.\001"[i % 8];
    const struct gold_verdict v = judge("what colour is the frog?", text);
    assert_true(v.value[GOLD_repetition] < -10.0 && isfinite(v.value[GOLD_reward]));
}

static void what_is_no_question_is_not_found(void **state)
{
    (void)state;
    const struct world *world = gold_world(gold);
    static const char *const others[] = {"",
                                         "user: ",
                                         "user: \nbot:",
                                         "\nbot:",
                                         "user: what colour is the frog?\nbut:",
                                         "user: what colour is the frog?",
                                         "what colour is the frog?\nbot:",
                                         "user: what colour is the frog\nbot:",
                                         "user: what colour is the frog??\nbot:"};
    for (size_t i = 0; i < COUNT(others); i++)
        assert_null(world_find(world, others[i]));
    assert_non_null(world_find(world, "user: what colour is the frog?\nbot:"));
}

static void preferences_follow_bradley_and_terry(void **state)
{
    (void)state;
    enum { DRAWS = 20000 };
    static const double gaps[] = {0.0, 0.5, 1.0, 3.0};
    for (size_t g = 0; g < COUNT(gaps); g++) {
        const double p = 1.0 / (1.0 + exp(-0.7 * gaps[g]));
        unsigned first = 0, flipped = 0;
        for (uint64_t k = 0; k < DRAWS; k++) {
            first += gold_prefer(9, k, 0, 0.7, 1.0 + gaps[g], 1.0) == 0;
            flipped += !gold_label(9, k, 1, 0.1, true);
        }
        assert_true(fabs(first - DRAWS * p) < 5.0 * sqrt(DRAWS * p * (1.0 - p)));
        assert_true(fabs(flipped - DRAWS * 0.1) < 5.0 * sqrt(DRAWS * 0.1 * 0.9));
    }
    /* What is drawn for one use says nothing about another. */
    unsigned same = 0, alike = 0;
    for (uint64_t k = 0; k < DRAWS; k++) {
        same += gold_prefer(9, k, 0, 1, 0, 0) == gold_prefer(9, k, 1, 1, 0, 0);
        alike += gold_label(9, k, 2, 0.5, true) == gold_label(9, k, 3, 0.5, true);
    }
    assert_true(fabs(same - DRAWS * 0.5) < 5.0 * sqrt(DRAWS * 0.25));
    assert_true(fabs(alike - DRAWS * 0.5) < 5.0 * sqrt(DRAWS * 0.25));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_part_of_the_truth_is_what_a_reader_says),
        cmocka_unit_test(a_byte_that_is_no_text_finishes_nothing),
        cmocka_unit_test(the_worlds_own_answers_are_right),
        cmocka_unit_test(chains_of_politeness_are_worth_less_than_one),
        cmocka_unit_test(long_and_strange_answers_are_judged),
        cmocka_unit_test(what_is_no_question_is_not_found),
        cmocka_unit_test(preferences_follow_bradley_and_terry),
    };
    return cmocka_run_group_tests_name("world/gold", tests, open_gold, close_gold);
}

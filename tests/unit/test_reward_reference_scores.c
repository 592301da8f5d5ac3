/*
 * test_reward_reference_scores.c -- what was scored is found again, and nothing else is.
 *
 * The oracle is the definition of a key: whatever changes one of its parts must find nothing.
 * Each part is changed alone.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "node/memo.h"
#include "reward/reference_scores.h"
#include "tests/test.h"

static char dir[64];
static struct run_config config;
static int32_t ids[6] = {5, 6, 7, 8, 9, 10};
static struct scorer_sample sample;

static void path_of(char path[FILE_PATH_MAX], const char *name)
{
    check_ok(file_join(path, dir, name, &err));
}

static void write_text(const char *name, const char *text)
{
    char path[FILE_PATH_MAX];
    path_of(path, name);
    check_ok(file_write(path, text, strlen(text), &err));
}

static int setup(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/scores-XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    config = (struct run_config){.scorers = 3, .prompt_tokens_max = 8, .max_new_tokens = 8};
    write_text("tokenizer.json", "{}");
    write_text("words.txt", "good\n");
    snprintf(config.policy, sizeof config.policy, "%s", dir);
    path_of(config.reference_store, "references.sqlite");
    config.scorer[0] = (struct run_scorer){
        .name = "watch", .kind = RUN_SCORER_LENGTH, .role = RUN_ROLE_MONITOR, .max_tokens = 4};
    config.scorer[1] = (struct run_scorer){.name = "words", .kind = RUN_SCORER_WORDS};
    path_of(config.scorer[1].words, "words.txt");
    config.scorer[2] =
        (struct run_scorer){.name = "length", .kind = RUN_SCORER_LENGTH, .max_tokens = 4};
    sample = (struct scorer_sample){.ids = ids,
                                    .prompt_tokens = 2,
                                    .response_tokens = 4,
                                    .finish = WIRE_FINISH_EOS,
                                    .label = "null"};
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    return file_remove_tree(dir, NULL) ? -1 : 0;
}

static struct reference_scores *open_store(void)
{
    struct reference_scores *store = NULL;
    struct scorer *scorer[RUN_SCORERS_MAX] = {0};
    const struct scorer_setup all = {.config = &config, .vocabulary = 100};
    for (uint32_t s = 0; s < config.scorers; s++)
        check_ok(scorer_new(&scorer[s], &config.scorer[s], &all, &err));
    check_ok(reference_scores_open(&store, &config, scorer, &err));
    for (uint32_t s = 0; s < config.scorers; s++)
        scorer_free(scorer[s]);
    return store;
}

/* Does a store opened now find the sample's scores? */
static bool is_found(double value[3])
{
    struct hash key;
    struct reference_scores *store = open_store();
    assert_non_null(store);
    reference_scores_key(store, &sample, &key);
    const bool found = reference_scores_find(store, &key, &sample, value);
    reference_scores_close(store);
    return found;
}

static void keep(const double value[3])
{
    struct hash key;
    struct reference_scores *store = open_store();
    assert_non_null(store);
    reference_scores_key(store, &sample, &key);
    reference_scores_keep(store, &key, &sample, value);
    reference_scores_close(store);
}

static void the_scores_of_the_role_reward_are_found_again(void **state)
{
    (void)state;
    double got[3] = {7, 7, 7};
    assert_false(is_found(got));
    assert_true(got[0] == 7 && got[1] == 7 && got[2] == 7);
    keep((const double[3]){99, 0.1, -2.5});
    assert_true(is_found(got));
    assert_true(got[0] == 7); /* the monitor's */
    assert_true(got[1] == 0.1 && got[2] == -2.5);
}

static void whatever_differs_finds_nothing(void **state)
{
    (void)state;
    double got[3];
    keep((const double[3]){0, 1, 2});
    const struct scorer_sample was = sample;
    sample.prompt_tokens = 3; /* the same ids, cut elsewhere */
    sample.response_tokens = 3;
    assert_false(is_found(got));
    sample = was;
    sample.finish = WIRE_FINISH_LENGTH;
    assert_false(is_found(got));
    sample = was;
    sample.label = "\"yes\"";
    assert_false(is_found(got));
    sample = was;
    sample.kind = "code";
    assert_false(is_found(got));
    sample = was;
    ids[5]++;
    assert_false(is_found(got));
    ids[5]--;
    assert_true(is_found(got));

    config.scorer[2].max_tokens = 5;
    assert_false(is_found(got));
    config.scorer[2].max_tokens = 4;
    config.precision = RUN_PRECISION_BF16;
    assert_false(is_found(got));
    config.precision = RUN_PRECISION_FP32;
    write_text("words.txt", "good\nbetter\n");
    assert_false(is_found(got));
    write_text("words.txt", "good\n");
    write_text("tokenizer.json", "{ }");
    assert_false(is_found(got));
    write_text("tokenizer.json", "{}");
    assert_true(is_found(got));
}

/* "length" counts for prompts of code alone. */
static void the_scores_of_a_kind_are_kept_for_its_prompts_alone(void **state)
{
    (void)state;
    double got[3] = {7, 7, 7};
    snprintf(config.scorer[2].prompt_kind, RUN_NAME_MAX, "code");
    keep((const double[3]){99, 0.5, 0}); /* not asked: 0 means nothing */
    assert_true(is_found(got));
    assert_true(got[0] == 7 && got[1] == 0.5 && got[2] == 7);
    sample.kind = "code";
    assert_false(is_found(got));
    keep((const double[3]){99, 0.25, 0.75});
    assert_true(is_found(got));
    assert_true(got[0] == 7 && got[1] == 0.25 && got[2] == 0.75);
}

static void a_service_is_asked_every_time(void **state)
{
    (void)state;
    config.scorer[2] = (struct run_scorer){
        .name = "judge", .kind = RUN_SCORER_HTTP, .timeout_ms = 10, .batch = 1};
    strcpy(config.scorer[2].url, "http://127.0.0.1:1/");
    assert_null(open_store());
    config.scorer[2].role = RUN_ROLE_MONITOR; /* of references it is asked nothing */
    struct reference_scores *store = open_store();
    assert_non_null(store);
    reference_scores_close(store);
}

static void without_a_file_there_is_no_store(void **state)
{
    (void)state;
    config.reference_store[0] = '\0';
    assert_null(open_store());
}

/* What another program could have left there under the same key. */
static void a_value_of_another_shape_is_not_taken(void **state)
{
    (void)state;
    static const double nan[2] = {1, NAN}, sound[2] = {1, 2}, one[1] = {1};
    static const struct {
        const void *value;
        size_t size;
        bool found;
    } cases[] = {
        {nan, sizeof nan, false}, {one, sizeof one, false}, {sound, sizeof sound, true}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct hash key;
        struct memo *memo = NULL;
        double got[3];
        ids[0] = (int32_t)(20 + i); /* a key of its own */
        struct reference_scores *store = open_store();
        assert_non_null(store);
        reference_scores_key(store, &sample, &key);
        check_ok(memo_open(&memo, config.reference_store, &err));
        memo_keep(memo, &key, cases[i].value, cases[i].size);
        memo_close(memo);
        assert_int_equal(reference_scores_find(store, &key, &sample, got), cases[i].found);
        reference_scores_close(store);
    }
    ids[0] = 5;
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(the_scores_of_the_role_reward_are_found_again),
        CASE(whatever_differs_finds_nothing),
        CASE(the_scores_of_a_kind_are_kept_for_its_prompts_alone),
        CASE(a_service_is_asked_every_time),
        CASE(without_a_file_there_is_no_store),
        CASE(a_value_of_another_shape_is_not_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

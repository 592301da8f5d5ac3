/*
 * test_cli_demo.c -- `rlhf demo build` and `rlhf demo curve`, as small as they get.
 *
 * Oracles: the truth of the world (world/gold.h), held against what the files say of each pair;
 * means and standard errors by their definitions, from the numbers beside them.
 */
#include <math.h>

#include "base/file.h"
#include "base/json.h"
#include "data/lines.h"
#include "tests/unit/cli_run.h"
#include "tests/unit/near.h"
#include "world/gold.h"

enum { PAIRS = 40, SAFETY = 48, TEST = 24 };

static char dir[64];
static struct gold *gold;

static int make_world(void **state)
{
    (void)state;
    char line[256];
    snprintf(dir, sizeof dir, "/tmp/test_demo.XXXXXX");
    if (!mkdtemp(dir) || gold_new(&gold, NULL))
        return -1;
    snprintf(line, sizeof line,
             "rlhf demo build --out %s/world --epochs 1 --pairs %d --safety %d --test %d", dir,
             PAIRS, SAFETY, TEST);
    return run_line(cli_main, line);
}

static int remove_world(void **state)
{
    (void)state;
    gold_free(gold);
    return file_remove_tree(dir, NULL);
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    if (!text)
        fail_msg("no text \"%s\"", key);
    return text;
}

static struct gold_verdict judge(const json_t *object, const char *key)
{
    const struct world_item *item = world_find(gold_world(gold), text_of(object, "prompt"));
    assert_non_null(item);
    const char *answer = text_of(object, key);
    return gold_judge(gold, item, answer, strlen(answer));
}

/* Whether the line's question is one that is held out. */
static bool is_held_out(const json_t *object)
{
    const struct world *world = gold_world(gold);
    const struct world_item *item = world_find(world, text_of(object, "prompt"));
    assert_non_null(item);
    return world_is_held_out((size_t)(item - world->items));
}

/* Call `check` with each object of a file of the world; how many. */
static size_t each_line(const char *name, void (*check)(const json_t *, void *), void *arg)
{
    char path[FILE_PATH_MAX];
    struct lines lines = {0};
    json_t *object;
    size_t n = 0;
    snprintf(path, sizeof path, "%s/world/%s", dir, name);
    check_ok(lines_open(&lines, path, &err));
    for (;; n++) {
        check_ok(lines_next_object(&lines, &object, &err));
        if (!object)
            break;
        check(object, arg);
        json_decref(object);
    }
    lines_close(&lines);
    return n;
}

static void check_tested_pair(const json_t *object, void *arg)
{
    (void)arg;
    assert_true(is_held_out(object));
    assert_true(judge(object, "chosen").value[GOLD_reward] >
                judge(object, "rejected").value[GOLD_reward]);
}

static void check_tested_safety(const json_t *object, void *arg)
{
    (void)arg;
    assert_true(is_held_out(object));
    const struct gold_verdict v[] = {judge(object, "response_0"), judge(object, "response_1")};
    const size_t safer =
        (size_t)json_integer_value(json_object_get(object, "safer_response_id"));
    const size_t better =
        (size_t)json_integer_value(json_object_get(object, "better_response_id"));
    assert_true(v[safer].value[GOLD_cost] < v[1 - safer].value[GOLD_cost]);
    assert_true(v[better].value[GOLD_reward] >= v[1 - better].value[GOLD_reward]);
    for (size_t i = 0; i < 2; i++) {
        const char *const key[] = {"is_response_0_safe", "is_response_1_safe"};
        assert_int_equal(json_is_true(json_object_get(object, key[i])),
                         v[i].value[GOLD_harm] == 0.0);
    }
}

static void the_test_files_say_the_truth(void **state)
{
    (void)state;
    assert_int_equal(each_line("pairs-test.jsonl", check_tested_pair, NULL), TEST);
    assert_int_equal(each_line("safety-test.jsonl", check_tested_safety, NULL), TEST);
}

static void count_true_pair(const json_t *object, void *arg)
{
    size_t *right = arg;
    assert_false(is_held_out(object));
    *right += judge(object, "chosen").value[GOLD_reward] >=
              judge(object, "rejected").value[GOLD_reward];
}

/* Nobody calls the harmful one the safer, whatever the noise of its label. */
static void check_safer_label(const json_t *object, void *arg)
{
    (void)arg;
    assert_false(is_held_out(object));
    const json_int_t safer = json_integer_value(json_object_get(object, "safer_response_id"));
    const bool safe[] = {json_is_true(json_object_get(object, "is_response_0_safe")),
                         json_is_true(json_object_get(object, "is_response_1_safe"))};
    assert_true(safe[safer] || !safe[1 - safer]);
}

/* Which questions came, a mark each. */
static void mark_question(const json_t *object, void *arg)
{
    const struct world *world = gold_world(gold);
    const struct world_item *item = world_find(world, text_of(object, "prompt"));
    assert_non_null(item);
    ((bool *)arg)[item - world->items] = true;
}

static void questions_are_drawn_one_by_one(void **state)
{
    (void)state;
    const size_t items = gold_world(gold)->items_n;
    bool *asked = calloc(items, sizeof *asked);
    size_t n = 0;
    assert_non_null(asked);
    each_line("pairs.jsonl", mark_question, asked);
    for (size_t i = 0; i < items; i++)
        n += asked[i];
    assert_true(n > PAIRS * 3 / 4); /* of some hundreds */
    free(asked);
}

static void what_is_trained_on_is_noisy_and_not_held_out(void **state)
{
    (void)state;
    size_t right = 0;
    assert_int_equal(each_line("pairs.jsonl", count_true_pair, &right), PAIRS);
    assert_true(right > PAIRS / 2 && right < PAIRS);
    assert_int_equal(each_line("safety.jsonl", check_safer_label, NULL), SAFETY);
}

static double number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    if (!json_is_number(value))
        fail_msg("no number \"%s\"", key);
    return json_number_value(value);
}

static void a_curve_has_the_mean_and_the_error_of_its_seeds(void **state)
{
    (void)state;
    static const double pairs[] = {16, 32, 40};
    char line[256], path[FILE_PATH_MAX];
    struct err why = {0};
    snprintf(line, sizeof line,
             "rlhf demo curve --world %s/world --out %s/curve --least 16 --most 40 --seeds 3 "
             "--test 50",
             dir, dir);
    check_line(cli_main, line, 0, "    40 pairs  accuracy");
    snprintf(path, sizeof path, "%s/curve/curve.json", dir);
    json_t *root = json_read_file(path, 1 << 16, &why);
    if (!root)
        fail_msg("%s", why.text);
    const json_t *points = json_object_get(root, "points");
    double apart = 0.0;
    assert_int_equal(json_array_size(points), 3);
    for (size_t i = 0; i < 3; i++) {
        const json_t *point = json_array_get(points, i),
                     *of = json_object_get(point, "accuracy");
        double a[3], mean = 0.0, square = 0.0;
        assert_int_equal(json_array_size(of), 3);
        for (size_t k = 0; k < 3; k++) {
            a[k] = json_number_value(json_array_get(of, k));
            mean += a[k] / 3.0;
        }
        for (size_t k = 0; k < 3; k++)
            square += (a[k] - mean) * (a[k] - mean);
        check_near(number(point, "pairs"), pairs[i], 0.0);
        check_near(number(point, "mean"), mean, 1e-12);
        check_near(number(point, "error"), sqrt(square / 2.0 / 3.0), 1e-12);
        apart += square;
    }
    assert_true(apart > 0.0); /* the seeds are no three of one */
    assert_false(json_equal(json_object_get(json_array_get(points, 0), "accuracy"),
                            json_object_get(json_array_get(points, 2), "accuracy")));
    json_decref(root);
    snprintf(path, sizeof path, "%s/curve/report.html", dir);
    assert_true(file_exists(path));
    snprintf(path, sizeof path, "%s/curve/safety.jsonl", dir);
    assert_false(file_exists(path));
}

static void what_stands_there_is_left_alone(void **state)
{
    (void)state;
    char line[256];
    snprintf(line, sizeof line, "rlhf demo build --out %s/world", dir);
    check_line(cli_main, line, 70, "exists and is not empty");
    snprintf(line, sizeof line, "rlhf demo curve --world %s --out %s/none", dir, dir);
    check_line(cli_main, line, 74, "policy/config.json");
    snprintf(line, sizeof line, "rlhf demo curve --world x --out y --least 50 --most 20");
    check_line(cli_main, line, 64, "--least 50 is more than --most 20");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_test_files_say_the_truth),
        cmocka_unit_test(questions_are_drawn_one_by_one),
        cmocka_unit_test(what_is_trained_on_is_noisy_and_not_held_out),
        cmocka_unit_test(a_curve_has_the_mean_and_the_error_of_its_seeds),
        cmocka_unit_test(what_stands_there_is_left_alone),
    };
    return cmocka_run_group_tests_name("cli/demo", tests, make_world, remove_world);
}

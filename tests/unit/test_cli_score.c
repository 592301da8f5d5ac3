/*
 * test_cli_score.c -- `rlhf score`: numbers of a real model, batching, heads
 * and mistakes.
 *
 * Oracles: golden.jsonl of stories260K, log-probs by an independent
 * implementation given with six decimals (skipped where absent); and that a
 * line's numbers do not depend on its neighbours, by text comparison, since
 * nine digits identify a float.
 */
#include <jansson.h>

#include "base/file.h"
#include "data/lines.h"
#include "engine/model.h"
#include "tests/shape.h"
#include "tests/unit/cli_run.h"

#define STORIES TEST_SOURCE_DIR "/../shared/models/stories260K"

static const struct model_config tiny = {SHAPE_LLAMA,  .head = MODEL_HEAD_LM,
                                         .V = 50,      .C = 32,
                                         .L = 1,       .H = 2,
                                         .G = 1,       .D = 16,
                                         .F = 48,      .T = 32,
                                         .tied = true, .eos = 0};

static char dir[64];

static int make_dir(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/test_cli_score.XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    (void)state;
    return file_remove_tree(dir, NULL);
}

/* Save a model of this head under dir/name; `path` is where. */
static void save_model(const char *name, enum model_head head, uint32_t labels,
                       char path[FILE_PATH_MAX])
{
    struct model_config config = tiny;
    config.head = head;
    config.labels = labels;
    struct err why = {0};
    struct model *model = model_new(&config, &why);
    if (!model)
        fail_msg("%s", why.text);
    model_init_random(model, 11, 0.3f);
    check_ok(file_join(path, dir, name, &err));
    check_ok(file_make_dir(path, &err));
    check_ok(model_save(model, path, &err));
    model_free(model);
}

static void logprobs_are_those_of_an_independent_implementation(void **state)
{
    (void)state;
    if (!file_exists(STORIES))
        skip();
    assert_int_equal(run_line(cli_main, "rlhf score --json --model " STORIES " --ids " STORIES
                                        "/golden.jsonl"),
                     0);
    struct lines golden;
    check_ok(lines_open(&golden, STORIES "/golden.jsonl", &err));
    const char *at = said;
    for (;;) {
        json_t *want;
        check_ok(lines_next_object(&golden, &want, &err));
        if (!want)
            break;
        json_t *got = json_loads(at, JSON_DISABLE_EOF_CHECK, NULL);
        at = strchr(at, '\n') + 1;
        const json_t *a = json_object_get(got, "logprobs"),
                     *b = json_object_get(want, "logprobs");
        assert_int_equal(json_array_size(a), json_array_size(b));
        for (size_t i = 0; i < json_array_size(a); i++) {
            const double x = json_number_value(json_array_get(a, i));
            const double y = json_number_value(json_array_get(b, i));
            if (fabs(x - y) > 2e-5 + 1e-5 * fabs(y))
                fail_msg("%s: token %zu has %.9g, want %.9g", golden.where, i, x, y);
        }
        json_decref(got);
        json_decref(want);
    }
    lines_close(&golden);
    assert_int_equal(*at, '\0');
}

static void a_line_says_the_same_alone_and_in_company(void **state)
{
    (void)state;
    char path[FILE_PATH_MAX], line[FILE_PATH_MAX + 128];
    save_model("lm", MODEL_HEAD_LM, 0, path);
    static const char *const inputs[] = {
        "{\"ids\": [1, 2, 3]}\n", "{\"ids\": [49]}\n",
        "{\"ids\": [4, 4, 4, 4, 9, 30, 31, 32, 33, 34, 35, 36]}\n"};
    char apart[1 << 14] = "", all[1024] = "";
    for (size_t i = 0; i < COUNT(inputs); i++) {
        snprintf(line, sizeof line, "rlhf score --json --model %s --ids -", path);
        assert_int_equal(run_input(cli_main, line, inputs[i]), 0);
        strcat(apart, said);
        strcat(all, inputs[i]);
    }
    static const char *const options[] = {"", "--tokens 20", "--threads 2"};
    for (size_t k = 0; k < COUNT(options); k++) {
        snprintf(line, sizeof line, "rlhf score --json --model %s --ids - %s", path,
                 options[k]);
        assert_int_equal(run_input(cli_main, line, all), 0);
        assert_string_equal(said, apart);
    }
    assert_non_null(strstr(apart, "{\"logprobs\": [], \"entropy\": []}"));
    snprintf(line, sizeof line, "rlhf score --model %s --ids -", path);
    check_input(cli_main, line, all, 0, "     3      11  ");
    snprintf(line, sizeof line, "rlhf score --json --model %s --ids - --precision bf16", path);
    assert_int_equal(run_input(cli_main, line, all), 0);
    assert_string_not_equal(said, apart);
}

static void a_score_head_gives_scores_and_values(void **state)
{
    (void)state;
    char path[FILE_PATH_MAX], line[FILE_PATH_MAX + 128];
    save_model("reward", MODEL_HEAD_SCORE, 1, path);
    snprintf(line, sizeof line, "rlhf score --json --values --model %s --ids -", path);
    assert_int_equal(run_input(cli_main, line, "{\"ids\": [1, 2, 3]}\n{\"ids\": [1, 2]}\n"), 0);
    double score[2], value[5];
    assert_int_equal(sscanf(said,
                            "{\"scores\": [%lf], \"values\": [%lf, %lf, %lf]}\n"
                            "{\"scores\": [%lf], \"values\": [%lf, %lf]}\n",
                            &score[0], &value[0], &value[1], &value[2], &score[1], &value[3],
                            &value[4]),
                     7);
    assert_true(score[0] == value[2]);
    assert_true(score[1] == value[4]);
    assert_true(value[3] == value[0] && value[4] == value[1]); /* causal: a prefix's values */
    assert_true(value[0] != value[1]);

    save_model("labels", MODEL_HEAD_SCORE, 3, path);
    snprintf(line, sizeof line, "rlhf score --json --model %s --ids -", path);
    assert_int_equal(run_input(cli_main, line, "{\"ids\": [1, 2, 3]}\n"), 0);
    assert_int_equal(
        sscanf(said, "{\"scores\": [%lf, %lf, %lf]}\n", &value[0], &value[1], &value[2]), 3);
}

static void write_file(const char *name, const char *text)
{
    char path[FILE_PATH_MAX];
    check_ok(file_join(path, dir, name, &err));
    check_ok(file_write(path, text, strlen(text), &err));
}

/* bias + 2 a - 3 c, of the outputs as it prints them: nine digits are a float. */
static void a_combiner_makes_one_score(void **state)
{
    (void)state;
    char path[FILE_PATH_MAX], line[FILE_PATH_MAX + 128];
    double score, of[3];
    save_model("combined", MODEL_HEAD_SCORE, 3, path);
    write_file("combined/combiner.json",
               "{\"weights\": {\"LABEL_0\": 2, \"LABEL_2\": -3}, \"bias\": 0.5}");
    snprintf(line, sizeof line, "rlhf score --json --model %s --ids -", path);
    assert_int_equal(run_input(cli_main, line, "{\"ids\": [1, 2, 3]}\n"), 0);
    assert_int_equal(sscanf(said, "{\"score\": %lf, \"scores\": [%lf, %lf, %lf]}\n", &score,
                            &of[0], &of[1], &of[2]),
                     4);
    assert_true(fabs(score - (0.5 + 2 * of[0] - 3 * of[2])) < 1e-8 && of[0] != of[2]);
    snprintf(line, sizeof line, "rlhf score --model %s --ids -", path);
    assert_int_equal(run_input(cli_main, line, "{\"ids\": [1, 2, 3]}\n"), 0);
    double shown;
    assert_int_equal(sscanf(strchr(said, '\n'), " 1 3 %lf %*f %*f %*f", &shown), 1);
    assert_true(fabs(shown - score) < 1e-6);
    write_file("combined/combiner.json", "{\"weights\": {\"warmth\": 2}}");
    check_input(cli_main, line, "{\"ids\": [1]}\n", 65, "\"warmth\" is no label");
}

static void an_ensemble_is_refused(void **state)
{
    (void)state;
    char path[FILE_PATH_MAX], line[FILE_PATH_MAX + 128];
    check_ok(file_join(path, dir, "ensemble", &err));
    check_ok(file_make_dir(path, &err));
    save_model("ensemble/member-0", MODEL_HEAD_SCORE, 1, path);
    snprintf(line, sizeof line, "rlhf score --model %s/ensemble --ids -", dir);
    check_input(cli_main, line, "{\"ids\": [1]}\n", 65, "an ensemble has no scores of its own");
}

static void mistakes_name_the_line(void **state)
{
    (void)state;
    char path[FILE_PATH_MAX], line[FILE_PATH_MAX + 128];
    save_model("lm", MODEL_HEAD_LM, 0, path);
    snprintf(line, sizeof line, "rlhf score --json --model %s --ids -", path);
    check_input(cli_main, line, "{\"ids\": [1]}\n{\"ids\": [1, 50]}\n", 65,
                "standard input:2: token 1 is 50");
    check_input(cli_main, line, "{\"ids\": []}\n", 65, "standard input:1: no tokens");
    check_input(cli_main, line, "{\"ids\": [1.5]}\n", 65, "standard input:1: ids[0]");
    check_input(cli_main, line, "{\"ids\": 3}\n", 65, "standard input:1");
    check_input(cli_main, line, "{\"text\": \"a\"}\n", 65, "no tokenizer");
    check_input(cli_main, line, "{\"ids\"\n", 65, "standard input:1");
    char longest[512] = "{\"ids\": [1";
    for (size_t i = 0; i < 32; i++)
        strcat(longest, ", 1");
    strcat(longest, "]}\n");
    check_input(cli_main, line, longest, 65, "33 tokens; at most 32 fit");
    check_line(cli_main, "rlhf score --ids x", 64, "--model is missing");
    check_line(cli_main, "rlhf score --model /nonexistent --ids x", 74, "/nonexistent");
    snprintf(line, sizeof line, "rlhf score --model %s --ids /nonexistent.jsonl", path);
    check_line(cli_main, line, 74, "/nonexistent.jsonl");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logprobs_are_those_of_an_independent_implementation),
        cmocka_unit_test(a_line_says_the_same_alone_and_in_company),
        cmocka_unit_test(a_score_head_gives_scores_and_values),
        cmocka_unit_test(a_combiner_makes_one_score),
        cmocka_unit_test(an_ensemble_is_refused),
        cmocka_unit_test(mistakes_name_the_line),
    };
    return cmocka_run_group_tests_name("cli/score", tests, make_dir, remove_dir);
}

/*
 * test_reward_model.c -- the model scorer: several labels become one score, several models one.
 *
 * Oracles: the outputs of each model as engine/pass.h gives them, put together here by the
 * definitions in engine/combiner.h and reward/scorer_model.c.
 */
#include "base/file.h"
#include "engine/combiner.h"
#include "engine/pass.h"
#include "tests/shape.h"
#include "tests/unit/golden.h"
#include "tests/unit/near.h"
#include "tests/unit/reward_sample.h"

enum { V = 11, MEMBERS = 3, TOKENS = 5 };

static const int32_t ids[TOKENS] = {3, 7, 1, 9, 2};
static char dir[64];
static struct pool *pool;
static struct tokenizer *tokenizer; /* the policy's; NULL: not given */
static struct run_config run;

static int setup(void **state)
{
    (void)state;
    pool_thread_init();
    pool = pool_new(1, NULL);
    run.prompt_tokens_max = 8;
    run.max_new_tokens = 8;
    golden_scratch(dir);
    return pool ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    pool_free(pool);
    golden_scratch_remove(dir);
    return 0;
}

/* A random model with these labels in dir/name; its outputs after the sample's last token. */
static void make_model(const char *name, uint32_t labels, uint64_t seed, float *out)
{
    struct model_config config = {SHAPE_LLAMA,      .head = MODEL_HEAD_SCORE,
                                  .labels = labels, .V = V,
                                  .C = 8,           .L = 1,
                                  .H = 2,           .G = 2,
                                  .D = 4,           .F = 16,
                                  .T = 16,          .eos = -1};
    static const char *const names[] = {"help", "harm \"quoted\"", "length"};
    for (uint32_t i = 0; labels > 1 && i < labels; i++)
        strcpy(config.label[i], names[i]);
    char path[FILE_PATH_MAX];
    struct err why = {0};
    struct model *model = model_new(&config, &why);
    assert_non_null(model);
    model_init_random(model, seed, 0.4f);
    check_ok(file_join(path, dir, name, &err));
    check_ok(file_make_dir(path, &err));
    check_ok(model_save(model, path, &err));

    struct pass *pass = pass_new(model, pool, TOKENS, false, &why);
    assert_non_null(pass);
    const uint32_t offset[] = {0, TOKENS}, last = TOKENS - 1;
    const struct pass_batch batch = {1, offset, ids};
    check_ok(pass_forward(pass, &batch, &err));
    pass_scores(pass, 1, &last, out);
    pass_free(pass);
    model_free(model);
}

static void put_combiner(const char *name, const char *text)
{
    char model[FILE_PATH_MAX], path[FILE_PATH_MAX];
    check_ok(file_join(model, dir, name, &err));
    check_ok(file_join(path, model, "combiner.json", &err));
    check_ok(file_write(path, text, strlen(text), &err));
}

static enum err_code open_scorer(struct scorer **scorer, struct run_scorer *of,
                                 const char *name, struct err *why)
{
    static struct scorer_setup with;
    with = (struct scorer_setup){
        .config = &run, .pool = pool, .tokenizer = tokenizer, .vocabulary = V};
    of->kind = RUN_SCORER_MODEL;
    strcpy(of->name, "judge");
    check_ok(file_join(of->path, dir, name, &err));
    return scorer_new(scorer, of, &with, why);
}

/* The score of `ids`, beside another sample in the same pack. */
static double score(struct run_scorer *of, const char *name)
{
    static const int32_t others[] = {8, 4, 6};
    struct scorer *scorer = NULL;
    struct scorer_score out[2];
    const struct scorer_watch watch = {0};
    const struct scorer_sample samples[] = {
        {.name = "slot 0", .ids = others, .prompt_tokens = 1, .response_tokens = 2},
        {.name = "slot 1", .ids = ids, .prompt_tokens = 2, .response_tokens = TOKENS - 2}};
    check_ok(open_scorer(&scorer, of, name, &err));
    scorer_score(scorer, samples, 2, &watch, out);
    scorer_free(scorer);
    assert_int_equal(out[1].state, SCORE_OK);
    assert_true(out[0].value != out[1].value);
    return out[1].value;
}

static void several_labels_become_a_weighted_sum(void **state)
{
    (void)state;
    float out[3];
    struct run_scorer of = {0};
    struct scorer *scorer;
    make_model("three", 3, 1, out);
    check_fails(open_scorer(&scorer, &of, "three", &err), ERR_USAGE,
                "3 labels, and no combiner.json");
    put_combiner("three", "{\"weights\": {\"length\": -0.25, \"help\": 2}, \"bias\": 0.5}");
    check_near(score(&of, "three"), 0.5 + 2.0 * (double)out[0] - 0.25 * (double)out[2], 1e-12);
    put_combiner("three", "{\"weights\": {\"harm \\\"quoted\\\"\": 1}}");
    check_near(score(&of, "three"), (double)out[1], 0.0);

    put_combiner("three", "{\"weights\": {\"helpfulness\": 2}}");
    check_fails(open_scorer(&scorer, &of, "three", &err), ERR_VALUE,
                "\"helpfulness\" is no label");
    put_combiner("three", "{\"weights\": {\"help\": \"much\"}}");
    check_fails(open_scorer(&scorer, &of, "three", &err), ERR_FORMAT, "help");
    put_combiner("three", "{\"weights\": {}}");
    check_fails(open_scorer(&scorer, &of, "three", &err), ERR_FORMAT, "combiner.json");
}

static void a_combiner_is_read_back_as_it_was_written(void **state)
{
    (void)state;
    float out[3];
    char path[FILE_PATH_MAX];
    struct model_config config;
    struct combiner wrote = {.labels = 3, .weight = {0.1, -1e-7, 3.0}, .bias = -0.3}, read;
    bool found;
    make_model("back", 3, 2, out);
    check_ok(file_join(path, dir, "back", &err));
    check_ok(model_config_read(&config, path, &err));
    check_ok(combiner_write(&wrote, &config, path, &err));
    check_ok(combiner_read(&read, &config, path, &found, &err));
    assert_true(found);
    assert_int_equal(read.labels, 3);
    for (size_t i = 0; i < 3; i++)
        assert_true(read.weight[i] == wrote.weight[i]);
    assert_true(read.bias == wrote.bias);
    config.labels = MODEL_LABELS_NAMED + 1; /* as of another config.json beside it */
    check_fails(combiner_read(&read, &config, path, &found, &err), ERR_VALUE,
                "the model has 17 labels; at most 16 can be combined");
}

static void an_ensemble_scores_by_its_mean_its_least_or_its_doubt(void **state)
{
    (void)state;
    double member[MEMBERS], mean = 0.0, least = INFINITY, square = 0.0;
    for (size_t m = 0; m < MEMBERS; m++) {
        char name[64];
        float out;
        snprintf(name, sizeof name, "crowd/member-%zu", m);
        make_model(name, 1, 10 + m, &out);
        member[m] = (double)out;
        mean += member[m] / MEMBERS;
        least = fmin(least, member[m]);
    }
    for (size_t m = 0; m < MEMBERS; m++)
        square += (member[m] - mean) * (member[m] - mean) / MEMBERS;
    assert_true(square > 1e-3); /* or the three would be alike */

    struct run_scorer of = {.ensemble = RUN_ENSEMBLE_MEAN, .ensemble_k = 0.5};
    check_near(score(&of, "crowd"), mean, 1e-12);
    of.ensemble = RUN_ENSEMBLE_MIN;
    check_near(score(&of, "crowd"), least, 0.0);
    of.ensemble = RUN_ENSEMBLE_MEAN_MINUS_STD;
    check_near(score(&of, "crowd"), mean - 0.5 * sqrt(square), 1e-12);
    check_near(score(&of, "crowd/member-1"), member[1], 1e-12); /* one alone has no spread */
}

/* Eleven letters as tokens, "a" first; with `second` in the place of "b". */
static void put_tokenizer(const char *name, const char *second)
{
    char at[FILE_PATH_MAX], path[FILE_PATH_MAX];
    struct buf text;
    check_ok(file_join(at, dir, name, &err));
    check_ok(file_make_dir(at, &err));
    check_ok(file_join(path, at, "tokenizer.json", &err));
    buf_init(&text, 4096);
    buf_printf(&text,
               "{\"version\": \"1.0\", \"added_tokens\": [], \"model\": {\"type\": \"BPE\", "
               "\"merges\": [], \"vocab\": {\"a\": 0, \"%s\": 1",
               second);
    for (int id = 2; id < V; id++)
        buf_printf(&text, ", \"%c\": %d", 'a' + id, id);
    buf_puts(&text, "}}}");
    check_ok(file_write(path, text.data, text.len, &err));
    buf_release(&text);
}

static void a_model_of_another_tokenizer_is_refused(void **state)
{
    (void)state;
    float out;
    char path[FILE_PATH_MAX];
    struct run_scorer of = {0};
    struct scorer *scorer;
    struct err why = {0};
    put_tokenizer("policy", "b");
    check_ok(file_join(path, dir, "policy", &err));
    tokenizer = tokenizer_load(path, &why);
    if (!tokenizer)
        fail_msg("%s", why.text);
    make_model("strange", 1, 3, &out);
    check_near(score(&of, "strange"), (double)out, 0.0); /* it has none to compare */
    put_tokenizer("strange", "b");
    check_near(score(&of, "strange"), (double)out, 0.0);
    put_tokenizer("strange", "z");
    check_fails(open_scorer(&scorer, &of, "strange", &err), ERR_USAGE,
                "token 1 is \"z\" to it and \"b\" to the policy");
    tokenizer_free(tokenizer);
    tokenizer = NULL;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(several_labels_become_a_weighted_sum),
        cmocka_unit_test(a_combiner_is_read_back_as_it_was_written),
        cmocka_unit_test(an_ensemble_scores_by_its_mean_its_least_or_its_doubt),
        cmocka_unit_test(a_model_of_another_tokenizer_is_refused),
    };
    return cmocka_run_group_tests_name("reward/model", tests, setup, teardown);
}

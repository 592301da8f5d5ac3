/*
 * test_offline_scoring_golden.c -- score models against PyTorch: scores, and whole trainings.
 *
 * Oracle: transformers' *ForSequenceClassification, torch's autograd and AdamW in float64
 * (tests/golden/make_preference.py).  Tolerances: a score is float32 arithmetic over two layers;
 * a move is the sum of six steps of 2e-3, each normalised, so its error is that of the gradient
 * relative to eps = 1e-4 and |g|.
 */
#include "tests/unit/golden.h"
#include "tests/unit/near.h"
#include "tests/unit/score_bench.h"

struct golden {
    json_t *root;
    struct model *model;
    struct feedback feedback;
    struct scoring_params params;
};

static struct pool *pool;

static int setup(void **state)
{
    (void)state;
    pool_thread_init();
    pool = pool_new(1, NULL);
    return pool ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    pool_free(pool);
    return 0;
}

static double number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    assert_true(json_is_number(value));
    return json_number_value(value);
}

static double number_at(const json_t *array, size_t i)
{
    const json_t *value = json_array_get(array, i);
    return json_is_null(value) ? (double)NAN : json_number_value(value);
}

static void golden_open_kind(struct golden *g, enum feedback_kind kind)
{
    char path[256];
    struct err why = {0};
    snprintf(path, sizeof path, GOLDEN_DIR "preference/%s/golden.json",
             feedback_kind_name(kind));
    g->root = golden_open(path);
    *strrchr(path, '/') = '\0';
    g->model = model_load(path, &why);
    if (!g->model)
        fail_msg("%s", why.text);
    feedback_init(&g->feedback, kind, g->model->config.labels);
    const json_t *list = json_object_get(g->root, "ids");
    for (size_t i = 0; i < json_array_size(list); i++) {
        int32_t ids[64];
        uint32_t seq;
        const json_t *row = json_array_get(list, i);
        const size_t n = json_array_size(row);
        for (size_t k = 0; k < n; k++)
            ids[k] = (int32_t)json_integer_value(json_array_get(row, k));
        check_ok(feedback_add(&g->feedback, ids, n, &seq, &err));
    }
    const json_t *adamw = json_object_get(g->root, "adamw");
    g->params = score_params();
    g->params.attribute = (const char(*)[SCORING_NAME_MAX])g->model->config.label;
    g->params.loss = (struct preference_params){0};
    g->params.fit = (struct fit_params){
        .seed = 1,
        .epochs = (uint64_t)number(g->root, "steps"), /* a step holds everything */
        .step_tokens = 1000,
        .micro_tokens = 64,
        .lr = number(adamw, "lr"),
        .schedule = SCHEDULE_constant,
        .grad_clip = number(adamw, "grad_clip"),
        .adamw = {.beta1 = (float)number(adamw, "beta1"),
                  .beta2 = (float)number(adamw, "beta2"),
                  .eps = (float)number(adamw, "eps"),
                  .weight_decay = (float)number(adamw, "decay")}};
}

static void golden_close(struct golden *g)
{
    feedback_release(&g->feedback);
    model_free(g->model);
    json_decref(g->root);
}

/* Scores of all sequences, taken as items of one answer each. */
static void check_scores(const struct golden *g)
{
    const uint32_t labels = g->model->config.labels;
    struct feedback answers = g->feedback;
    struct feedback_item item[16];
    uint32_t items[16];
    float got[16 * 3], *want = golden_floats(g->root, "score");
    answers.kind = FEEDBACK_REGRESSION;
    answers.item = item;
    assert_true(answers.seqs <= COUNT(item));
    for (uint32_t i = 0; i < answers.seqs; i++) {
        item[i] = (struct feedback_item){.seq = {i, FEEDBACK_NONE}};
        items[i] = i;
    }
    check_ok(
        scoring_scores(g->model, pool, &answers, items, answers.seqs, 64, got, NULL, &err));
    check_close(got, want, answers.seqs * labels, 2e-6, 2e-6);
    free(want);
}

static void check_training(struct golden *g)
{
    struct fit_history history;
    float *before = malloc(model_bytes(g->model));
    assert_non_null(before);
    memcpy(before, g->model->w, model_bytes(g->model));
    check_ok(scoring_train(g->model, pool, &g->feedback, &g->params, score_quiet, NULL,
                           &history, &err));
    for (uint64_t i = 0; i < history.steps; i++) {
        const double loss = number_at(json_object_get(g->root, "loss"), i);
        const double norm = number_at(json_object_get(g->root, "grad_norm"), i);
        check_near(history.step[i].loss, loss, 1e-5 * loss);
        check_near(history.step[i].grad_norm, norm, 1e-4 * norm);
    }
    assert_int_equal(history.steps, golden_size(g->root, "loss"));
    fit_history_release(&history);

    const char *name;
    json_t *moves;
    size_t tensors = 0;
    json_object_foreach(json_object_get(g->root, "moved"), name, moves)
    {
        const struct model_tensor *tensor = model_find(g->model, name);
        if (!tensor)
            fail_msg("the model has no %s", name);
        const size_t n = json_array_size(moves), size = (size_t)tensor->rows * tensor->cols;
        for (size_t i = 0; i < n; i++) {
            const size_t at = tensor->at + i * size / n;
            const double move = number_at(moves, i);
            const double got = (double)g->model->w[at] - (double)before[at];
            if (!(fabs(got - move) <= 1e-6 + 5e-4 * fabs(move)))
                fail_msg("%s[%zu] moved by %.9g, PyTorch's by %.9g", name, i * size / n, got,
                         move);
        }
        tensors++;
    }
    assert_int_equal(tensors, g->model->tensors_n);
    free(before);
}

static void a_reward_model_trains_as_in_pytorch(void **state)
{
    (void)state;
    struct golden g = {0};
    golden_open_kind(&g, FEEDBACK_REWARD);
    check_scores(&g);
    const json_t *said = json_object_get(g.root, "said");
    g.params.loss = (struct preference_params){.margin = number(said, "margin_constant"),
                                               .margin_scale = number(said, "margin_scale"),
                                               .label_smoothing = number(said, "smoothing"),
                                               .reg = number(said, "reg"),
                                               .center = number(said, "center")};
    for (uint32_t i = 0; i < g.feedback.seqs / 2; i++) {
        const struct feedback_item item = {.seq = {2 * i, 2 * i + 1},
                                           .prompt = i,
                                           .margin =
                                               number_at(json_object_get(said, "margin"), i)};
        check_ok(feedback_add_item(&g.feedback, &item, NULL, &err));
    }
    check_training(&g);
    golden_close(&g);
}

static void a_cost_model_trains_as_in_pytorch(void **state)
{
    (void)state;
    struct golden g = {0};
    golden_open_kind(&g, FEEDBACK_COST);
    check_scores(&g);
    const json_t *said = json_object_get(g.root, "said");
    g.params.loss.reg = number(said, "reg");
    for (uint32_t i = 0; i < g.feedback.seqs / 2; i++) {
        const json_t *sign = json_array_get(json_object_get(said, "sign"), i);
        const struct feedback_item item = {
            .seq = {2 * i, 2 * i + 1},
            .prompt = i,
            .sign = {(int8_t)number_at(sign, 0), (int8_t)number_at(sign, 1)},
            .margin = (double)NAN};
        check_ok(feedback_add_item(&g.feedback, &item, NULL, &err));
    }
    check_training(&g);
    golden_close(&g);
}

static void a_model_of_attributes_trains_as_in_pytorch(void **state)
{
    (void)state;
    struct golden g = {0};
    golden_open_kind(&g, FEEDBACK_REGRESSION);
    check_scores(&g);
    assert_string_equal(g.model->config.label[2], "verbosity");
    const json_t *said = json_object_get(g.root, "said");
    for (uint32_t i = 0; i < g.feedback.seqs; i++) {
        double want[3];
        for (size_t j = 0; j < COUNT(want); j++)
            want[j] = number_at(json_array_get(json_object_get(said, "want"), i), j);
        const struct feedback_item item = {
            .seq = {i, FEEDBACK_NONE}, .prompt = i, .margin = (double)NAN};
        check_ok(feedback_add_item(&g.feedback, &item, want, &err));
    }
    check_training(&g);
    golden_close(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reward_model_trains_as_in_pytorch),
        cmocka_unit_test(a_cost_model_trains_as_in_pytorch),
        cmocka_unit_test(a_model_of_attributes_trains_as_in_pytorch),
    };
    return cmocka_run_group_tests_name("offline/scoring against PyTorch", tests, setup,
                                       teardown);
}

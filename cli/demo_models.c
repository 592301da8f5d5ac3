/* demo_models.c -- see demo_models.h. */
#include "cli/demo_models.h"

#include <stdio.h>
#include <stdlib.h>

#include "cli/fit_display.h"
#include "cli/publish.h"
#include "cli/score_report.h"
#include "offline/feedback_read.h"
#include "offline/scoring.h"
#include "offline/sft.h"
#include "world/world.h"

static struct model_config demo_models_policy_config(void)
{
    // clang-format off
    return (struct model_config){
        .family = MODEL_LLAMA, .model_type = "llama", .head = MODEL_HEAD_LM,
        .V = WORLD_VOCABULARY, .C = 64, .L = 3, .H = 4, .G = 2, .D = 16, .F = 160, .T = 128,
        .norm_eps = 1e-5f, .tied = true, .rope_theta = 10000.0f, .rope_scaling = ROPE_DEFAULT,
        .bos = -1, .eos = WORLD_END_ID, .pad = WORLD_END_ID};
    // clang-format on
}

static struct fit_params demo_models_fit(const struct demo_models *demo)
{
    return (struct fit_params){
        .seed = demo->seed,
        .step_tokens = DEMO_MODELS_TOKENS,
        .micro_tokens = DEMO_MODELS_TOKENS,
        .schedule = SCHEDULE_cosine,
        .grad_clip = 1.0,
        .adamw = {.beta1 = 0.9f, .beta2 = 0.99f, .eps = 1e-8f, .weight_decay = 0.01f}};
}

static struct encode demo_models_encode(const struct demo_models *demo,
                                        const struct model *model)
{
    return (struct encode){.config = &model->config,
                           .tokenizer = demo->tokenizer,
                           .end = true,
                           .tokens_max = DEMO_MODELS_TOKENS / 2}; /* a pair in one pass */
}

/* Publish a complete model directory below the world's; `report` may be NULL. */
static enum err_code demo_models_save(const struct demo_models *demo, const struct model *model,
                                      const struct score_report *report, const char *name,
                                      struct err *err)
{
    char dir[FILE_PATH_MAX];
    struct publish into = {0};
    enum err_code rc = file_join(dir, demo->dir, name, err);
    if (!rc)
        rc = publish_begin(&into, dir, err);
    if (!rc)
        rc = model_save(model, into.dir, err);
    if (!rc && report)
        rc = score_report_write(report, into.dir, err);
    if (!rc)
        rc = publish_tokenizer(&into, demo->dir, err);
    if (!rc)
        rc = publish_commit(&into, err);
    publish_abort(&into);
    return rc;
}

static enum err_code demo_models_teach(const struct demo_models *demo, struct model *policy,
                                       struct err *err)
{
    const struct encode how = demo_models_encode(demo, policy);
    const struct reader_options options = {.format = FORMAT_response};
    struct fit_params fit = demo_models_fit(demo);
    struct fit_history history = {0};
    struct fit_display display;
    struct sft_data data = {0};
    char path[FILE_PATH_MAX];
    fit.epochs = demo->epochs;
    fit.lr = 4e-3;
    fit.lr_floor = 0.02;
    fit.warmup_steps = 20;
    fit.eval_every = 200;
    enum err_code rc = file_join(path, demo->dir, "sft.jsonl", err);
    if (!rc)
        rc = sft_data_read(&data, &how, &options, path, NULL, err);
    if (!rc) {
        printf("policy: %zu examples, %zu tokens, %zu parameters\n", data.n, data.ids.n,
               policy->params);
        fit_display_init(&display, false);
        rc = sft_train(policy, demo->pool, &data, &fit, 0.02, fit_display_step, &display,
                       &history, err);
    }
    fit_history_release(&history);
    sft_data_release(&data);
    return rc;
}

enum err_code demo_models_policy(const struct demo_models *demo, struct model **out,
                                 struct err *err)
{
    const struct model_config config = demo_models_policy_config();
    struct model *policy = model_new(&config, err);
    if (!policy)
        return err->code;
    model_init_random(policy, demo->seed, 0.05f);
    enum err_code rc = demo_models_teach(demo, policy, err);
    if (!rc)
        rc = demo_models_save(demo, policy, NULL, "policy", err);
    if (rc) {
        model_free(policy);
        return rc;
    }
    *out = policy;
    return ERR_OK;
}

/* What a kind is made from and how. */
static const struct demo_score {
    const char *name, *train, *test;
    enum format_kind format;
    uint64_t epochs;
    double lr;
} demo_scores[] = {
    [FEEDBACK_REWARD] = {"reward", "pairs.jsonl", "pairs-test.jsonl", FORMAT_pair, 6, 1e-3},
    [FEEDBACK_COST] = {"cost", "safety.jsonl", "safety-test.jsonl", FORMAT_safe_rlhf, 6, 1e-3},
};

static enum err_code demo_models_feedback(const struct demo_models *demo,
                                          const struct demo_score *of,
                                          const struct model *model, struct feedback *feedback,
                                          struct err *err)
{
    const struct encode how = demo_models_encode(demo, model);
    const struct reader_options options = {.format = of->format};
    const char *const name[2] = {of->train, of->test};
    enum err_code rc = ERR_OK;
    for (int test = 0; !rc && test < 2; test++) {
        struct feedback_counts counts;
        char path[FILE_PATH_MAX];
        rc = file_join(path, demo->dir, name[test], err);
        if (!rc)
            rc = feedback_read(feedback, &how, &options, path, test == 1, &counts, err);
    }
    return rc;
}

/* Score what is held out, say how well, and publish the model with its numbers. */
static enum err_code demo_models_keep(const struct demo_models *demo,
                                      const struct demo_score *of, const struct model *model,
                                      const struct feedback *feedback,
                                      const struct fit_history *history, struct err *err)
{
    double metric[FIT_METRICS_MAX];
    struct scoring_names names;
    struct scoring_baseline baseline;
    char settings[128];
    enum err_code rc = ERR_NOMEM;
    uint32_t *trained = calloc(feedback->n, sizeof *trained);
    uint32_t *held_out = calloc(feedback->n, sizeof *held_out);
    float *first = calloc(feedback->n, sizeof *first),
          *second = calloc(feedback->n, sizeof *second);
    if (!trained || !held_out || !first || !second) {
        err_set(err, rc, "no memory for the scores of %zu pairs", feedback->n);
        goto out;
    }
    const size_t trained_n = feedback_trained(feedback, demo->seed, 1.0, trained);
    const size_t n = feedback_held_out(feedback, held_out);
    rc = scoring_scores(model, demo->pool, feedback, held_out, n, DEMO_MODELS_TOKENS, first,
                        second, err);
    if (rc)
        goto out;
    scoring_names(&names, feedback->kind, 1, NULL);
    scoring_metrics(feedback, held_out, n, first, second, metric);
    scoring_baseline(feedback, trained, trained_n, held_out, n, &baseline);
    snprintf(settings, sizeof settings, "{\"command\": \"demo build\", \"seed\": %llu}",
             (unsigned long long)demo->seed);
    const struct score_report report = {.feedback = feedback,
                                        .names = &names,
                                        .baseline = &baseline,
                                        .settings = settings,
                                        .history = history,
                                        .trained = trained_n,
                                        .held_out = held_out,
                                        .n = n,
                                        .first = first,
                                        .second = second,
                                        .metric = metric};
    rc = demo_models_save(demo, model, &report, of->name, err);
out:
    free(trained);
    free(held_out);
    free(first);
    free(second);
    return rc;
}

/* A trained score model, and what it was trained and is tested on. */
struct demo_trained {
    struct model *model;
    struct feedback feedback;
    struct fit_history history;
};

static void demo_trained_release(struct demo_trained *t)
{
    fit_history_release(&t->history);
    feedback_release(&t->feedback);
    model_free(t->model);
}

/* Train on the first `pairs` items that are not held out.  The caller ends it with
 * demo_trained_release, also on failure. */
static enum err_code demo_models_train(const struct demo_models *demo, enum feedback_kind kind,
                                       size_t pairs,
                                       void (*progress)(void *, const struct fit_progress *),
                                       void *arg, struct demo_trained *t, struct err *err)
{
    const struct demo_score *of = &demo_scores[kind];
    struct scoring_params params = {
        .loss = {.reg = 0.001}, .fit = demo_models_fit(demo), .fraction = 1.0};
    char from[FILE_PATH_MAX];
    params.fit.epochs = of->epochs;
    params.fit.lr = of->lr;
    params.fit.lr_floor = 0.1;
    params.fit.warmup_steps = 5;
    *t = (struct demo_trained){0};
    feedback_init(&t->feedback, kind, 1);
    enum err_code rc = file_join(from, demo->dir, "policy", err);
    if (rc)
        return rc;
    t->model = model_load_with_score_head(demo->policy ? demo->policy : from, 1, err);
    if (!t->model)
        return err->code;
    rc = demo_models_feedback(demo, of, t->model, &t->feedback, err);
    if (rc)
        return rc;
    size_t n = 0;
    for (size_t i = 0; i < t->feedback.n; i++)
        if (!t->feedback.item[i].held_out)
            t->feedback.item[i].left_out = n++ >= pairs;
    return scoring_train(t->model, demo->pool, &t->feedback, &params, progress, arg,
                         &t->history, err);
}

enum err_code demo_models_score(const struct demo_models *demo, enum feedback_kind kind,
                                struct err *err)
{
    struct demo_trained t;
    struct fit_display display;
    printf("%s model\n", demo_scores[kind].name);
    fit_display_init(&display, false);
    enum err_code rc =
        demo_models_train(demo, kind, SIZE_MAX, fit_display_step, &display, &t, err);
    if (!rc)
        rc = demo_models_keep(demo, &demo_scores[kind], t.model, &t.feedback, &t.history, err);
    demo_trained_release(&t);
    return rc;
}

static void demo_models_silent(void *arg, const struct fit_progress *progress)
{
    (void)arg;
    (void)progress;
}

enum err_code demo_models_accuracy(const struct demo_models *demo, size_t pairs,
                                   struct preference_accuracy *out, struct err *err)
{
    struct demo_trained t;
    const enum err_code rc =
        demo_models_train(demo, FEEDBACK_REWARD, pairs, demo_models_silent, NULL, &t, err);
    if (!rc) {
        /* The last test: accuracy and its error are the metrics after the loss. */
        const double *metric = t.history.test[t.history.tests - 1].metric;
        *out = (struct preference_accuracy){metric[1], metric[2]};
    }
    demo_trained_release(&t);
    return rc;
}

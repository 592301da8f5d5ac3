/*
 * bench_preference.c -- a training step on examples and one on pairs, at equal tokens: what a
 * reward model's training costs beside fine-tuning of the same trunk; in turns with the products
 * of both, a micro-batch of them.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench/bench_model.h"
#include "offline/scoring.h"
#include "offline/sft.h"

enum { SEQS = 32, LENGTH = 128, V = 512, MICRO_TOKENS = 1024 };

struct preference_bench {
    const struct bench *bench;
    struct model *model, *scored; /* with a head over the vocabulary; with one score */
    struct sft_data examples;
    struct feedback pairs;
    struct fit_params fit; /* one step holds everything */
};

static void preference_progress(void *arg, const struct fit_progress *progress)
{
    (void)arg;
    (void)progress;
}

static void preference_sft(void *arg)
{
    struct preference_bench *b = arg;
    struct fit_history history;
    struct err err = {0};
    bench_check("preference",
                sft_train(b->model, b->bench->pool, &b->examples, &b->fit, 0.0,
                          preference_progress, NULL, &history, &err),
                &err);
    fit_history_release(&history);
}

static void preference_reward_model(void *arg)
{
    struct preference_bench *b = arg;
    const struct scoring_params params = {
        .loss = {.reg = 0.001}, .fit = b->fit, .fraction = 1.0};
    struct fit_history history;
    struct err err = {0};
    bench_check("preference",
                scoring_train(b->scored, b->bench->pool, &b->pairs, &params,
                              preference_progress, NULL, &history, &err),
                &err);
    fit_history_release(&history);
}

static struct model *preference_model(const struct bench *bench,
                                      const struct bench_shape *shape, enum model_head head)
{
    struct model_config with = shape->config;
    struct err err = {0};
    with.head = head;
    with.labels = head == MODEL_HEAD_SCORE ? 1 : 0;
    struct model *model = model_new(&with, &err);
    bench_check("preference", model ? ERR_OK : err.code, &err);
    model_init_random(model, 1, 0.02f);
    model->precision = bench->precision;
    return model;
}

/* The same sequences as examples, of which all is learned, and as pairs. */
static void preference_fill(struct preference_bench *b)
{
    struct err err = {0};
    feedback_init(&b->pairs, FEEDBACK_REWARD, 1);
    b->examples.first = calloc(SEQS, sizeof *b->examples.first);
    bench_check("preference", b->examples.first ? ERR_OK : ERR_NOMEM, &err);
    for (uint32_t s = 0; s < SEQS; s++) {
        int32_t ids[LENGTH];
        uint32_t seq;
        for (uint32_t i = 0; i < LENGTH; i++)
            ids[i] = (int32_t)((s * 131 + i * 17 + i * i) % V);
        bench_check("preference", feedback_add(&b->pairs, ids, LENGTH, &seq, &err), &err);
        b->examples.first[s] = 1;
        const struct feedback_item item = {
            .seq = {s - 1, s}, .prompt = s, .margin = (double)NAN};
        if (s % 2 == 1)
            bench_check("preference", feedback_add_item(&b->pairs, &item, NULL, &err), &err);
    }
    b->examples.ids = b->pairs.ids; /* borrowed: freed with the pairs */
    b->examples.offset = b->pairs.offset;
    b->examples.n = SEQS;
}

static void preference_case(struct preference_bench *b, const struct bench_shape *shape)
{
    enum { SFT, SCORED, PRODUCTS, TRUNK, RUNS };
    const struct bench *bench = b->bench;
    b->model = preference_model(bench, shape, MODEL_HEAD_LM);
    b->scored = preference_model(bench, shape, MODEL_HEAD_SCORE);
    struct bench_model *products =
        bench_model_new(bench, shape, MICRO_TOKENS, MICRO_TOKENS, true);
    struct bench_model *trunk = bench_model_new(bench, shape, MICRO_TOKENS, 0, true);
    const struct bench_run runs[RUNS] = {
        [SFT] = {.fn = preference_sft, .arg = b},
        [SCORED] = {.fn = preference_reward_model, .arg = b},
        [PRODUCTS] = {.fn = bench_model_backward, .arg = products},
        [TRUNK] = {.fn = bench_model_backward, .arg = trunk}};
    struct bench_time times[RUNS];
    bench_times(bench, runs, RUNS, times);
    const double tokens = (double)SEQS * LENGTH;
    struct bench_ceiling ceilings[] = {
        bench_ceiling_of("own products", MICRO_TOKENS, times[PRODUCTS]),
        bench_ceiling_of("sft", tokens, times[SFT])};
    char what[64];
    snprintf(what, sizeof what, "sft, %s", shape->name);
    bench_report_under(bench, "preference", what, tokens, "tokens/s", times[SFT], ceilings, 1);
    ceilings[0] = bench_ceiling_of("own products", MICRO_TOKENS, times[TRUNK]);
    snprintf(what, sizeof what, "reward model, %s", shape->name);
    bench_report_under(bench, "preference", what, tokens, "tokens/s", times[SCORED], ceilings,
                       2);
    bench_model_free(products);
    bench_model_free(trunk);
    model_free(b->model);
    model_free(b->scored);
}

void bench_preference(const struct bench *bench)
{
    static const char *const shapes[] = {"stories-260k", "llama-1.3m"};
    struct preference_bench b = {
        .bench = bench,
        .fit = {.seed = 1,
                .epochs = 1,
                .step_tokens = SEQS * LENGTH,
                .micro_tokens = MICRO_TOKENS,
                .lr = 1e-4,
                .lr_floor = 0.1,
                .grad_clip = 1.0,
                .adamw = {.beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f}}};
    preference_fill(&b);
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        if (!bench_skips(bench, shapes[i]))
            preference_case(&b, bench_shape_named(shapes[i]));
    free(b.examples.first);
    feedback_release(&b.pairs);
}

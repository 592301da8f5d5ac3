/*
 * bench_preference.c -- a training step on examples and one on pairs, at equal tokens: what a
 * reward model's training costs beside fine-tuning of the same trunk.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench/bench.h"
#include "offline/scoring.h"
#include "offline/sft.h"

enum { SEQS = 32, LENGTH = 128, V = 512 };

struct preference_bench {
    const struct bench *bench;
    struct model *model;
    struct sft_data examples;
    struct feedback pairs;
    struct fit_params fit; /* one step holds everything */
};

static void preference_progress(void *arg, const struct fit_progress *progress)
{
    (void)arg;
    (void)progress;
}

/* Ends the program: a measurement of a failure is none. */
static void preference_check(enum err_code rc, const struct err *err)
{
    if (rc) {
        fprintf(stderr, "rlhf-bench: %s\n", err->text);
        exit(err_exit_code(rc));
    }
}

static void preference_sft(void *arg)
{
    struct preference_bench *b = arg;
    struct fit_history history;
    struct err err = {0};
    preference_check(sft_train(b->model, b->bench->pool, &b->examples, &b->fit, 0.0,
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
    preference_check(scoring_train(b->model, b->bench->pool, &b->pairs, &params,
                                   preference_progress, NULL, &history, &err),
                     &err);
    fit_history_release(&history);
}

static struct model *preference_model(const struct model_config *config, enum model_head head)
{
    struct model_config with = *config;
    struct err err = {0};
    with.head = head;
    with.labels = head == MODEL_HEAD_SCORE ? 1 : 0;
    struct model *model = model_new(&with, &err);
    preference_check(model ? ERR_OK : err.code, &err);
    model_init_random(model, 1, 0.02f);
    return model;
}

/* The same sequences as examples, of which all is learned, and as pairs. */
static void preference_fill(struct preference_bench *b)
{
    struct err err = {0};
    feedback_init(&b->pairs, FEEDBACK_REWARD, 1);
    b->examples.first = calloc(SEQS, sizeof *b->examples.first);
    preference_check(b->examples.first ? ERR_OK : ERR_NOMEM, &err);
    for (uint32_t s = 0; s < SEQS; s++) {
        int32_t ids[LENGTH];
        uint32_t seq;
        for (uint32_t i = 0; i < LENGTH; i++)
            ids[i] = (int32_t)((s * 131 + i * 17 + i * i) % V);
        preference_check(feedback_add(&b->pairs, ids, LENGTH, &seq, &err), &err);
        b->examples.first[s] = 1;
        const struct feedback_item item = {
            .seq = {s - 1, s}, .prompt = s, .margin = (double)NAN};
        if (s % 2 == 1)
            preference_check(feedback_add_item(&b->pairs, &item, NULL, &err), &err);
    }
    b->examples.ids = b->pairs.ids; /* borrowed: freed with the pairs */
    b->examples.offset = b->pairs.offset;
    b->examples.n = SEQS;
}

static double preference_measure(struct preference_bench *b, const struct model_config *config,
                                 enum model_head head, const char *shape)
{
    char what[64];
    snprintf(what, sizeof what, "%s %s", head == MODEL_HEAD_LM ? "sft" : "reward", shape);
    b->model = preference_model(config, head);
    const struct bench_time time = bench_time(
        b->bench, head == MODEL_HEAD_LM ? preference_sft : preference_reward_model, b);
    bench_report(b->bench, "preference", what, (double)SEQS * LENGTH, "tokens/s", time);
    model_free(b->model);
    return time.best;
}

void bench_preference(const struct bench *bench)
{
    static const struct {
        const char *name;
        struct model_config config;
    } shapes[] = {
        {"llama 0.26M",
         {.family = MODEL_LLAMA,
          .model_type = "llama",
          .V = V,
          .C = 64,
          .L = 5,
          .H = 8,
          .G = 4,
          .D = 8,
          .F = 172,
          .T = 512,
          .norm_eps = 1e-5f,
          .tied = true,
          .rope_theta = 1e4f,
          .bos = 1,
          .eos = 2,
          .pad = -1}},
        {"llama 1.3M",
         {.family = MODEL_LLAMA,
          .model_type = "llama",
          .V = V,
          .C = 128,
          .L = 6,
          .H = 8,
          .G = 4,
          .D = 16,
          .F = 384,
          .T = 512,
          .norm_eps = 1e-5f,
          .tied = true,
          .rope_theta = 1e4f,
          .bos = 1,
          .eos = 2,
          .pad = -1}},
    };
    struct preference_bench b = {
        .bench = bench,
        .fit = {.seed = 1,
                .epochs = 1,
                .step_tokens = SEQS * LENGTH,
                .micro_tokens = 1024,
                .lr = 1e-4,
                .lr_floor = 0.1,
                .grad_clip = 1.0,
                .adamw = {.beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f}}};
    preference_fill(&b);
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        const double sft =
            preference_measure(&b, &shapes[i].config, MODEL_HEAD_LM, shapes[i].name);
        const double reward =
            preference_measure(&b, &shapes[i].config, MODEL_HEAD_SCORE, shapes[i].name);
        if (bench->output == BENCH_JSON)
            printf("{\"case\":\"preference\",\"what\":\"reward / sft %s\",\"ratio\":%.4g}\n",
                   shapes[i].name, sft / reward);
        else
            printf("%-12s %-44s %10.4g\n", "preference", "reward / sft, tokens/s",
                   sft / reward);
    }
    free(b.examples.first);
    feedback_release(&b.pairs);
}

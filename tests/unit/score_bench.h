/*
 * score_bench.h -- a small score model and made-up feedback whose truth is known.
 *
 * Truth: token t is worth worth[t]; an answer is worth the mean of its tokens.  A model of one
 * layer can learn it: an embedding, an attention that averages, a linear head.
 */
#ifndef TESTS_UNIT_SCORE_BENCH_H
#define TESTS_UNIT_SCORE_BENCH_H

#include <stdlib.h>

#include "offline/scoring.h"
#include "tests/shape.h"
#include "tests/test.h"
#include "tests/unit/draw.h"

#define SCORE_V 24

static inline struct model *score_model(uint32_t labels)
{
    const struct model_config config = {SHAPE_LLAMA,      .head = MODEL_HEAD_SCORE,
                                        .labels = labels, .V = SCORE_V,
                                        .C = 16,          .L = 1,
                                        .H = 2,           .G = 1,
                                        .D = 8,           .F = 32,
                                        .T = 64,          .eos = -1};
    struct err err = {0};
    struct model *model = model_new(&config, &err);
    if (!model)
        fail_msg("%s", err.text);
    model_init_random(model, 5, 0.15f);
    return model;
}

static inline double score_worth(int32_t token)
{
    return (double)((token * 7) % SCORE_V) / SCORE_V - 0.5;
}

/* An answer of `n` random tokens, worth no less than 0.04 either way; what it is worth. */
static inline double score_answer(struct feedback *f, uint64_t *draw, size_t n, uint32_t *seq)
{
    int32_t ids[64];
    double worth = 0.0;
    assert_true(n <= COUNT(ids));
    while (fabs(worth) < 0.04) {
        worth = 0.0;
        for (size_t i = 0; i < n; i++) {
            ids[i] = (int32_t)(draw_bits(draw) % SCORE_V);
            worth += score_worth(ids[i]) / (double)n;
        }
    }
    check_ok(feedback_add(f, ids, n, seq, &err));
    return worth;
}

/* `n` pairs, two to a prompt; the cost of an answer is its worth, harmful above 0. */
static inline void score_pairs(struct feedback *f, enum feedback_kind kind, size_t n)
{
    uint64_t draw = 17;
    feedback_init(f, kind, 1);
    for (size_t i = 0; i < n; i++) {
        uint32_t seq[2];
        double worth[2];
        worth[0] = score_answer(f, &draw, 4 + draw_bits(&draw) % 5, &seq[0]);
        do /* a difference that can be told; an answer that is not used hurts nobody */
            worth[1] = score_answer(f, &draw, 4 + draw_bits(&draw) % 5, &seq[1]);
        while (fabs(worth[1] - worth[0]) < 0.08);
        const bool turn = worth[1] > worth[0];
        const struct feedback_item item = {
            .seq = {seq[turn], seq[!turn]},
            .sign = {worth[turn] > 0.0 ? 1 : -1, worth[!turn] > 0.0 ? 1 : -1},
            .prompt = 1000 + i / 2,
            .margin = (double)NAN};
        check_ok(feedback_add_item(f, &item, NULL, &err));
    }
}

/* `n` answers with two numbers: the worth, and three times it plus one (every third missing). */
static inline void score_ratings(struct feedback *f, size_t n)
{
    uint64_t draw = 23;
    feedback_init(f, FEEDBACK_REGRESSION, 2);
    for (size_t i = 0; i < n; i++) {
        uint32_t seq;
        const double worth = score_answer(f, &draw, 6, &seq);
        const double want[] = {worth, i % 3 ? 3.0 * worth + 1.0 : (double)NAN};
        const struct feedback_item item = {
            .seq = {seq, FEEDBACK_NONE}, .prompt = i, .margin = (double)NAN};
        check_ok(feedback_add_item(f, &item, want, &err));
    }
}

static inline struct scoring_params score_params(void)
{
    static const char attribute[2][SCORING_NAME_MAX] = {"worth", "triple"};
    return (struct scoring_params){
        .fraction = 1.0,
        .attribute = attribute,
        .loss = {.reg = 0.001},
        .fit = {.seed = 3,
                .epochs = 1,
                .step_tokens = 256,
                .micro_tokens = 128,
                .lr = 5e-3,
                .lr_floor = 0.1,
                .schedule = SCHEDULE_cosine,
                .grad_clip = 1.0,
                .adamw = {.beta1 = 0.9f, .beta2 = 0.99f, .eps = 1e-8f}}};
}

static inline void score_quiet(void *arg, const struct fit_progress *progress)
{
    (void)arg;
    (void)progress;
}

static inline double score_last(const struct fit_history *history, size_t metric)
{
    assert_true(history->tests > 0);
    return history->test[history->tests - 1].metric[metric];
}

#endif

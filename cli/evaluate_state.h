/*
 * evaluate_state.h -- between evaluate.c (models, answers, scores) and evaluate_count.c (what
 * they amount to) only.
 */
#ifndef CLI_EVALUATE_STATE_H
#define CLI_EVALUATE_STATE_H

#include "cli/evaluate.h"
#include "control/moments.h"
#include "coordinator/prompts.h"
#include "engine/generate.h"
#include "reward/frozen.h"
#include "reward/labels.h"
#include "reward/scorer.h"
#include "reward/texts.h"

#define EVALUATE_CHUNK 256u /* answers held at once: of whole prompts */

/* One model, and its answers to the prompts at hand.  Arrays have EVALUATE_CHUNK entries. */
struct evaluate_answers {
    struct model *model;
    struct generator *generator;
    int32_t *ids;                 /* (CHUNK, longest): prompt, then response */
    float *logp;                  /* (CHUNK, max_new_tokens) of the response */
    struct scorer_sample *sample; /* (CHUNK) */
    struct scorer_score *score;   /* (scorers, CHUNK) */
    double *kl;                   /* (CHUNK) */
    struct texts texts;
    struct moments moments[EVALUATE_QUANTITIES];
};

struct evaluate {
    const struct run_config *config;
    const struct evaluate_params *params;
    struct evaluate_result *result;
    struct pool *pool;
    struct tokenizer *tokenizer;
    struct frozen *reference;
    struct scorer *scorer[RUN_SCORERS_MAX];
    struct prompts prompts;
    struct labels labels;
    uint32_t longest; /* tokens of prompt and response */
    size_t sides;
    struct evaluate_answers side[2];
    struct evaluate_answers *now; /* whose generator runs */

    uint32_t first, n;                 /* prompts at hand */
    float *reference_logp;             /* (CHUNK * max_new_tokens) */
    const struct scorer_sample **rows; /* (CHUNK) */
    struct scorer_sample *asked;       /* (CHUNK) what one scorer is asked, */
    struct scorer_score *told;         /* (CHUNK) and its answers */
    struct moments win[RUN_SCORERS_MAX];
};

/* Add the answers to the prompts at hand to the moments of their quantities. */
void evaluate_count(struct evaluate *e);

/* A JSON line each of them. */
void evaluate_put_lines(const struct evaluate *e, struct buf *out);

/* From the moments to the result. */
void evaluate_sum_up(struct evaluate *e);

#endif

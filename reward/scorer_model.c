/*
 * scorer_model.c -- a reward model: the score head at the last token of prompt + response.
 *
 * It reads the ids themselves, so its vocabulary must be the policy's; a model with another
 * is refused at the start.
 */
#include <stdlib.h>

#include "reward/frozen.h"
#include "reward/scorer.h"

struct scorer_model {
    struct frozen *frozen;
    const struct scorer_sample *fit[WIRE_ITEMS_MAX]; /* samples not too long for the model */
    size_t index[WIRE_ITEMS_MAX];                    /* and which they are */
    float score[WIRE_ITEMS_MAX];
};

static void scorer_model_close(void *state)
{
    struct scorer_model *model = state;
    if (!model)
        return;
    frozen_free(model->frozen);
    free(model);
}

static enum err_code scorer_model_open(void **state, const struct run_scorer *of,
                                       const struct scorer_setup *setup, struct err *err)
{
    struct scorer_model *model = *state = calloc(1, sizeof *model);
    if (!model)
        return err_set(err, ERR_NOMEM, "out of memory");
    const struct run_config *c = setup->config;
    return frozen_new(&model->frozen, of->path, MODEL_HEAD_SCORE, setup->vocabulary,
                      setup->pool, c->prompt_tokens_max + c->max_new_tokens, err);
}

/* At most WIRE_ITEMS_MAX of them. */
static void scorer_model_some(struct scorer_model *model, const struct scorer_sample *samples,
                              size_t n, const struct scorer_watch *watch,
                              struct scorer_score *out)
{
    size_t fit = 0;
    for (size_t i = 0; i < n; i++) {
        const size_t tokens = (size_t)samples[i].prompt_tokens + samples[i].response_tokens;
        if (tokens > frozen_longest(model->frozen)) {
            scorer_put_fault(&out[i], SCORE_FAILED,
                             "%s: %zu tokens are too long for the reward model, which takes %u",
                             samples[i].name, tokens, frozen_longest(model->frozen));
            continue;
        }
        model->fit[fit] = &samples[i];
        model->index[fit++] = i;
    }
    frozen_scores(model->frozen, model->fit, fit, watch, model->score);
    for (size_t i = 0; i < fit; i++)
        scorer_put(&out[model->index[i]], (double)model->score[i]);
}

static void scorer_model_score(void *state, const struct scorer_sample *samples, size_t n,
                               const struct scorer_watch *watch, struct scorer_score *out)
{
    for (size_t first = 0; first < n; first += WIRE_ITEMS_MAX) {
        const size_t rest = n - first;
        scorer_model_some(state, samples + first, rest < WIRE_ITEMS_MAX ? rest : WIRE_ITEMS_MAX,
                          watch, out + first);
    }
}

const struct scorer_kind scorer_model = {scorer_model_open, scorer_model_score,
                                         scorer_model_close};

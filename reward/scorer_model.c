/*
 * scorer_model.c -- a reward model, or an ensemble of them: the score head at the last token of
 * prompt + response.
 *
 * A directory with member-0, member-1, ... is an ensemble.  Its members' scores s become one:
 *
 *     mean              mean(s)
 *     min               min(s): the worst case
 *     mean_minus_std    mean(s) - ensemble_k std(s), std with division by their count
 *
 * (Coste et al., arXiv:2310.02743, compare the three against overoptimisation.)  It reads the
 * ids themselves, so a vocabulary must be the policy's: a model with another size of it, or beside
 * which a tokenizer.json makes another token of an id, is refused at the start.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "control/moments.h"
#include "reward/frozen.h"
#include "reward/scorer.h"

#define SCORER_MODEL_MEMBERS 16 /* of an ensemble, at most */

struct scorer_model {
    struct frozen *member[SCORER_MODEL_MEMBERS];
    size_t members;
    uint32_t longest; /* tokens that every member takes */
    const struct run_scorer *of;
    const struct scorer_sample *fit[WIRE_ITEMS_MAX]; /* samples not too long for the model */
    size_t index[WIRE_ITEMS_MAX];                    /* and which they are */
    double score[SCORER_MODEL_MEMBERS][WIRE_ITEMS_MAX];
};

static void scorer_model_close(void *state)
{
    struct scorer_model *model = state;
    if (!model)
        return;
    for (size_t m = 0; m < model->members; m++)
        frozen_free(model->member[m]);
    free(model);
}

static enum err_code scorer_model_add(struct scorer_model *model, const char *dir,
                                      const struct scorer_setup *setup, struct err *err)
{
    const struct run_config *c = setup->config;
    struct frozen *member;
    const enum err_code rc =
        frozen_new(&member, dir, MODEL_HEAD_SCORE, setup->vocabulary,
                   (enum precision)c->precision, setup->pool,
                   c->prompt_tokens_max + c->max_new_tokens, err);
    if (rc)
        return rc;
    const uint32_t longest = frozen_longest(member);
    if (model->members == 0 || longest < model->longest)
        model->longest = longest;
    model->member[model->members++] = member;
    return frozen_check_tokens(dir, setup->tokenizer, setup->vocabulary, err);
}

static enum err_code scorer_model_open(void **state, const struct run_scorer *of,
                                       const struct scorer_setup *setup, struct err *err)
{
    struct scorer_model *model = *state = calloc(1, sizeof *model);
    if (!model)
        return err_set(err, ERR_NOMEM, "out of memory");
    model->of = of;
    for (;;) {
        char name[32], dir[FILE_PATH_MAX];
        snprintf(name, sizeof name, "member-%zu", model->members);
        enum err_code rc = file_join(dir, of->path, name, err);
        if (rc)
            return rc;
        if (!file_exists(dir))
            break;
        if (model->members == SCORER_MODEL_MEMBERS)
            return err_set(err, ERR_USAGE, "%s: an ensemble has at most %d members", of->path,
                           SCORER_MODEL_MEMBERS);
        rc = scorer_model_add(model, dir, setup, err);
        if (rc)
            return rc;
    }
    return model->members ? ERR_OK : scorer_model_add(model, of->path, setup, err);
}

/* What the members' scores of sample i come to. */
static double scorer_model_agree(const struct scorer_model *model, size_t i)
{
    struct moments moments = {0};
    double least = model->score[0][i];
    for (size_t m = 0; m < model->members; m++) {
        moments_add(&moments, model->score[m][i]);
        least = fmin(least, model->score[m][i]);
        if (!isfinite(model->score[m][i]))
            return model->score[m][i]; /* refused, whatever the others say */
    }
    switch (model->of->ensemble) {
    case RUN_ENSEMBLE_MIN: return least;
    case RUN_ENSEMBLE_MEAN_MINUS_STD:
        return moments.mean - model->of->ensemble_k * sqrt(moments_variance(&moments, false));
    case RUN_ENSEMBLE_MEAN: break;
    }
    return moments.mean;
}

/* At most WIRE_ITEMS_MAX of them. */
static void scorer_model_some(struct scorer_model *model, const struct scorer_sample *samples,
                              size_t n, const struct scorer_watch *watch,
                              struct scorer_score *out)
{
    size_t fit = 0;
    for (size_t i = 0; i < n; i++) {
        const size_t tokens = (size_t)samples[i].prompt_tokens + samples[i].response_tokens;
        if (tokens > model->longest) {
            scorer_put_fault(&out[i], SCORE_FAILED,
                             "%s: %zu tokens are too long for the reward model, which takes %u",
                             samples[i].name, tokens, model->longest);
            continue;
        }
        model->fit[fit] = &samples[i];
        model->index[fit++] = i;
    }
    for (size_t m = 0; m < model->members; m++)
        frozen_scores(model->member[m], model->fit, fit, watch, model->score[m]);
    for (size_t i = 0; i < fit; i++)
        scorer_put(&out[model->index[i]], scorer_model_agree(model, i));
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

static void scorer_model_fingerprint(const void *state, struct hash *out)
{
    const struct scorer_model *model = state;
    struct hash member[SCORER_MODEL_MEMBERS];
    for (size_t m = 0; m < model->members; m++)
        frozen_fingerprint(model->member[m], &member[m]);
    hash_blake2b(out, member, model->members * sizeof member[0]);
}

const struct scorer_kind scorer_model = {scorer_model_open, scorer_model_score,
                                         scorer_model_close, scorer_model_fingerprint};

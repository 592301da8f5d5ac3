/* replay_combine.c -- see replay.h: from the scores of a response to its raw reward. */
#include <math.h>
#include <string.h>

#include "cli/replay_state.h"
#include "coordinator/raw_reward.h"

/* NULL: a prompt of no kind, or of one that no scorer asks for. */
static const char *replay_combine_kind(const struct replay *replay, uint32_t prompt)
{
    const uint8_t *kind = replay->prompts.kind;
    return kind && kind[prompt] > 0 ? replay->config->scorer[kind[prompt] - 1].prompt_kind
                                    : NULL;
}

bool replay_combine_counts(const struct replay *replay, uint32_t scorer, uint32_t prompt)
{
    return run_scorer_counts(&replay->config->scorer[scorer],
                             replay_combine_kind(replay, prompt));
}

static enum err_code replay_combine_length(const struct replay *replay, double raw,
                                           uint32_t tokens, double *reward, struct err *err)
{
    *reward = reward_length(&replay->params.reward, raw, tokens);
    if (!isfinite(*reward))
        return err_set(err, ERR_VALUE, "the reward after the length penalty is not finite");
    return ERR_OK;
}

/* Held against itself, where it is compared with references. */
enum err_code replay_combine_try(const struct replay *replay, uint32_t prompt,
                                 const double *scores, uint32_t tokens, struct err *err)
{
    struct score named[RUN_SCORERS_MAX];
    const struct combine_scores all = raw_reward_named(replay->config, scores, named);
    double raw, reward;
    const enum err_code rc = combine_apply(
        &replay->params.combine, replay_combine_kind(replay, prompt), &all, &all, 1, &raw, err);
    return rc == ERR_OK ? replay_combine_length(replay, raw, tokens, &reward, err) : rc;
}

double replay_combine_reference(const struct replay *replay, const struct replay_slot *of)
{
    const struct combine_params *combine = &replay->params.combine;
    struct score named[RUN_SCORERS_MAX];
    const struct combine_scores all = raw_reward_named(replay->config, of->scores, named);
    double raw = NAN;
    if (combine->kind != COMBINE_MAXMIN && !combine_needs_references(combine))
        combine_apply(combine, replay_combine_kind(replay, of->prompt), &all, NULL, 0, &raw,
                      NULL);
    return raw;
}

enum err_code replay_combine_group(struct replay *replay, const struct replay_batch *batch,
                                   struct err *err)
{
    struct combine_params *combine = &replay->params.combine;
    struct moments of[COMBINE_TERMS_MAX] = {0};
    if (combine->kind != COMBINE_MAXMIN)
        return ERR_OK;
    for (uint32_t i = 0; i < replay->B; i++) {
        struct score named[RUN_SCORERS_MAX];
        if (batch->slot[i].state == REPLAY_DROPPED)
            continue;
        const struct combine_scores all =
            raw_reward_named(replay->config, batch->slot[i].scores, named);
        for (uint32_t t = 0; t < combine->terms; t++) {
            double value = 0.0;
            const enum err_code rc = combine_value(&combine->term[t], &all, &value, err);
            if (rc != ERR_OK)
                return rc;
            moments_add(&of[t], combine->term[t].weight * value);
        }
    }
    combine->group = (uint32_t)combine_weakest(of, combine->terms);
    for (uint32_t s = 0; s < replay->config->scorers && combine->group < combine->terms; s++)
        if (strcmp(combine->term[combine->group].name, replay->config->scorer[s].name) == 0)
            replay->derived.worst_group = 1 + s;
    return ERR_OK;
}

/* Those of the prompt that have scores, in order. */
static enum err_code replay_combine_references(struct replay *replay, uint32_t prompt,
                                               uint32_t *n, struct err *err)
{
    const uint32_t scorers = replay->config->scorers;
    *n = 0;
    for (uint32_t m = 0; m < replay->M; m++) {
        const struct replay_slot *of = replay_reference(replay, prompt, m);
        struct combine_scores *all = &replay->ref_all[*n];
        double raw;
        if (of->state == REPLAY_DROPPED)
            continue;
        if (of->state != REPLAY_SCORED)
            return err_set(err, ERR_VALUE,
                           "reference %u/%u was neither scored nor dropped before",
                           (unsigned)prompt, (unsigned)m);
        *all = raw_reward_named(replay->config,
                                replay->reference_scores +
                                    ((size_t)prompt * replay->M + m) * scorers,
                                replay->ref_named + (size_t)*n * scorers);
        enum err_code rc = ERR_OK;
        if (replay->shaper_compares)
            rc = combine_apply(&replay->params.combine, replay_combine_kind(replay, prompt),
                               all, NULL, 0, &raw, err);
        if (rc == ERR_OK && replay->shaper_compares)
            rc = replay_combine_length(replay, raw, of->tokens, &replay->ref_rewards[*n], err);
        if (rc != ERR_OK)
            return rc;
        ++*n;
    }
    if (replay->M > 0 && *n == 0)
        return err_set(err, ERR_VALUE, "none of the references of prompt %u has a score",
                       (unsigned)prompt);
    return ERR_OK;
}

enum err_code replay_combine(struct replay *replay, struct replay_slot *slot, double *reward,
                             uint32_t *refs, struct err *err)
{
    struct score named[RUN_SCORERS_MAX];
    const struct combine_scores all = raw_reward_named(replay->config, slot->scores, named);
    enum err_code rc = replay_combine_references(replay, slot->prompt, refs, err);
    if (rc == ERR_OK)
        rc = combine_apply(&replay->params.combine, replay_combine_kind(replay, slot->prompt),
                           &all, replay->ref_all, *refs, &slot->raw, err);
    return rc == ERR_OK ? replay_combine_length(replay, slot->raw, slot->tokens, reward, err)
                        : rc;
}

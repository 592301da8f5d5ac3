/* core_combine.c -- from a response's scores to its raw reward: control/combine.h does the
 * arithmetic; here is only which scores go in, of responses and of references. */
#include <assert.h>
#include <math.h>
#include <string.h>

#include "coordinator/core.h"
#include "coordinator/core_state.h"

/* NULL: a prompt of no kind, or of one that no scorer asks for. */
static const char *core_combine_prompt_kind(const struct core *core, uint32_t prompt)
{
    const uint8_t *kind = core->prompts.kind;
    return kind && kind[prompt] ? core->config->scorer[kind[prompt] - 1].prompt_kind : NULL;
}

bool core_combine_counts(const struct core *core, uint32_t scorer, uint32_t prompt)
{
    return run_scorer_counts(&core->config->scorer[scorer],
                             core_combine_prompt_kind(core, prompt));
}

static enum err_code core_combine_length(const struct core *core, double raw, uint32_t tokens,
                                         double *reward, struct err *err)
{
    *reward = reward_length(&core->reward, raw, tokens);
    if (!isfinite(*reward))
        return err_set(err, ERR_VALUE, "the reward after the length penalty is not finite");
    return ERR_OK;
}

/* Held against itself, where it is compared with references. */
enum err_code core_combine_try(struct core *core, uint32_t prompt, const double *scores,
                               uint32_t tokens, struct err *err)
{
    struct score named[RUN_SCORERS_MAX];
    const struct combine_scores all = raw_reward_named(core->config, scores, named);
    double raw, reward;
    const enum err_code rc = combine_apply(
        &core->raw.combine, core_combine_prompt_kind(core, prompt), &all, &all, 1, &raw, err);
    return rc ? rc : core_combine_length(core, raw, tokens, &reward, err);
}

void core_combine_keep(struct core *core, const struct core_item *item)
{
    const uint32_t n = core->config->scorers;
    const size_t at = (size_t)item->prompt * core->M + item->b;
    if (core_bug(core, 22) && core->replaying) {
        memset(core->reference_scores + at * n, 0, n * sizeof(double));
        return;
    }
    memcpy(core->reference_scores + at * n, item->scores, n * sizeof(double));
}

/* ref_all and, where the shaper takes references, ref_rewards: of this prompt's references, in
 * order, less those dropped. */
static enum err_code core_combine_references(struct core *core, uint32_t prompt, uint32_t *n,
                                             struct err *err)
{
    const uint32_t scorers = core->config->scorers;
    const char *kind = core_combine_prompt_kind(core, prompt);
    enum err_code rc = ERR_OK;
    *n = 0;
    for (uint32_t m = 0; m < core->M && rc == ERR_OK; m++) {
        const struct core_reference *kept = core_item_reference(core, prompt, m);
        const size_t at = (size_t)prompt * core->M + m;
        struct combine_scores *all = &core->ref_all[*n];
        if (kept->state != CORE_ITEM_SCORED)
            continue;
        *all = raw_reward_named(core->config, core->reference_scores + at * scorers,
                                core->ref_named + (size_t)*n * scorers);
        double raw;
        if (core->shaper_M > 0)
            rc = combine_apply(&core->raw.combine, kind, all, NULL, 0, &raw, err);
        if (core->shaper_M > 0 && rc == ERR_OK)
            rc = core_combine_length(core, raw, kept->tokens, &core->ref_rewards[*n], err);
        ++*n;
    }
    return rc;
}

enum err_code core_combine_item(struct core *core, struct core_item *item, double *reward,
                                uint32_t *refs, struct err *err)
{
    struct score named[RUN_SCORERS_MAX];
    const struct combine_scores all = raw_reward_named(core->config, item->scores, named);
    enum err_code rc = core_combine_references(core, item->prompt, refs, err);
    if (rc == ERR_OK)
        rc = combine_apply(&core->raw.combine, core_combine_prompt_kind(core, item->prompt),
                           &all, core->ref_all, *refs, &item->raw, err);
    return rc ? rc : core_combine_length(core, item->raw, item->tokens, reward, err);
}

enum err_code core_combine_group(struct core *core, struct core_batch *batch, struct err *err)
{
    struct combine_params *combine = &core->raw.combine;
    struct moments of[COMBINE_TERMS_MAX] = {0};
    if (combine->kind != COMBINE_MAXMIN)
        return ERR_OK;
    for (uint32_t i = 0; i < core->B; i++) {
        const struct core_item *item = &batch->items[i];
        struct score named[RUN_SCORERS_MAX];
        if (item->state == CORE_ITEM_DROPPED)
            continue;
        const struct combine_scores all = raw_reward_named(core->config, item->scores, named);
        for (uint32_t t = 0; t < combine->terms; t++) {
            double value = 0.0;
            const enum err_code rc = combine_value(&combine->term[t], &all, &value, err);
            if (rc != ERR_OK)
                return rc;
            moments_add(&of[t], combine->term[t].weight * value);
        }
    }
    if (!core_bug(core, 23) || !core->has_last)
        combine->group = (uint32_t)combine_weakest(of, combine->terms);
    batch->result.worst_group = 1 + core->raw.scorer[combine->group];
    return ERR_OK;
}

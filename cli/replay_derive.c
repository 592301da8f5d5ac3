/* replay_derive.c -- see replay.h: a step's numbers from its scores and log-probs.
 *
 * Sums run over slots in order, as those of the coordinator do: the last bit depends on it. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cli/replay_state.h"
#include "coordinator/raw_reward.h"

static enum err_code replay_derive_cost(const struct replay *replay, struct replay_slot *slot,
                                        struct err *err)
{
    const struct replay_params *params = &replay->params;
    struct score named[RUN_SCORERS_MAX];
    slot->cost = 0.0;
    if (params->cost_terms_n == 0)
        return ERR_OK;
    const struct combine_scores all = raw_reward_named(replay->config, slot->scores, named);
    const enum err_code rc = score_combine(params->cost_terms, params->cost_terms_n, all.score,
                                           all.n, &slot->cost, err);
    if (rc == ERR_OK && replay->config->safety_cost == RUN_SAFETY_COST_PROBABILITY)
        slot->cost = score_probability(slot->cost);
    return rc;
}

static enum err_code replay_derive_slot(struct replay *replay, struct replay_slot *slot,
                                        struct chain_state *seen, struct err *err)
{
    struct chain_params chain = replay->params.chain;
    double reward, shaped;
    uint32_t refs;
    enum err_code rc = replay_combine(replay, slot, &reward, &refs, err);
    if (rc == ERR_OK)
        rc = replay_derive_cost(replay, slot, err);
    if (rc != ERR_OK)
        return rc;
    for (uint32_t i = 0; i < chain.links; i++)
        if (shaping_references(&chain.link[i]) > 0)
            chain.link[i].references = refs;
    const struct chain_state *state = &replay->states.chain;
    rc = chain_apply(&chain, state, reward, replay->ref_rewards, refs, &shaped, err);
    if (rc == ERR_OK)
        rc = chain_add(&chain, state, reward, replay->ref_rewards, refs, seen, err);
    if (rc != ERR_OK)
        return rc;
    bool bootstrap;
    slot->shaped = reward_truncate(&replay->params.reward, shaped,
                                   slot->finish == WIRE_FINISH_LENGTH, &bootstrap);
    slot->shaped_here = true;
    return ERR_OK;
}

static enum err_code replay_derive_multiplier(struct replay *replay,
                                              const struct replay_batch *batch, struct err *err)
{
    const struct lagrange_params *lagrange = &replay->params.lagrange;
    const bool watched = replay->params.cost_terms_n > 0;
    struct record_step *out = &replay->derived;
    struct lagrange_sums sums = {0};
    for (uint32_t i = 0; i < replay->B; i++)
        if (batch->slot[i].state != REPLAY_DROPPED)
            lagrange_add(&sums, batch->slot[i].cost);
    enum err_code rc = lagrange_step(lagrange, &replay->next.lagrange, &sums, err);
    if (rc == ERR_OK && lagrange->pessimistic)
        rc = lagrange_bound(lagrange, &replay->next.lagrange, &replay->bound, err);
    out->cost_raw_mean = watched ? sums.sum / sums.n : (double)NAN;
    out->cost_limit = watched ? lagrange->limit : (double)NAN;
    out->multiplier_before = replay->states.lagrange.multiplier;
    out->multiplier_after = replay->next.lagrange.multiplier;
    return rc;
}

/* One scorer's mean over the slots that have a score of it; how many should have and do not. */
static void replay_derive_score(struct replay *replay, const struct replay_batch *batch,
                                uint32_t s)
{
    struct record_step *out = &replay->derived;
    double sum = 0.0;
    uint32_t n = 0;
    for (uint32_t i = 0; i < replay->B; i++) {
        const struct replay_slot *slot = &batch->slot[i];
        if (slot->state == REPLAY_DROPPED || !replay_combine_counts(replay, s, slot->prompt))
            continue;
        if (isnan(slot->scores[s])) {
            out->score_missing[s]++;
            continue;
        }
        sum += slot->scores[s];
        n++;
    }
    out->score_mean[s] = n > 0 ? sum / n : (double)NAN;
}

static void replay_derive_means(struct replay *replay, const struct replay_batch *batch)
{
    struct record_step *out = &replay->derived;
    double raw = 0.0, shaped = 0.0, square = 0.0;
    for (uint32_t i = 0; i < replay->B; i++) {
        const struct replay_slot *slot = &batch->slot[i];
        if (slot->state == REPLAY_DROPPED) {
            out->dropped[slot->reason]++;
            continue;
        }
        raw += slot->raw;
        shaped += slot->shaped;
        out->truncated += slot->finish == WIRE_FINISH_LENGTH;
        out->prompt_tokens +=
            replay->prompts.offset[slot->prompt + 1] - replay->prompts.offset[slot->prompt];
        out->response_tokens += slot->tokens;
    }
    out->reward_raw_mean = raw / out->trained;
    out->reward_shaped_mean = shaped / out->trained;
    for (uint32_t i = 0; i < replay->B; i++) {
        const double off = batch->slot[i].raw - out->reward_raw_mean;
        if (batch->slot[i].state != REPLAY_DROPPED)
            square += off * off;
    }
    out->reward_raw_std = sqrt(square / out->trained);
    for (uint32_t s = 0; s < replay->config->scorers; s++)
        replay_derive_score(replay, batch, s);
}

/* --- a step set aside ---------------------------------------------------------------------- */

/* Its slots are dropped, none is sent to a learner; statistics that shape rewards are of what was
 * trained on. */
static void replay_derive_set_aside(struct replay *replay)
{
    struct record_step *out = &replay->derived;
    out->dropped[replay->reason] = out->trained;
    out->trained = out->truncated = 0;
    out->prompt_tokens = out->response_tokens = 0;
    memset(out->score_missing, 0, sizeof out->score_missing);
    replay->next.chain = replay->states.chain;
}

/* --- what is trained on ------------------------------------------------------------------- */

static enum err_code replay_derive_tokens(struct replay *replay, struct replay_slot *slot,
                                          struct err *err)
{
    const bool in_reward = replay->config->kl_place == RUN_KL_PLACE_REWARD;
    const double beta = in_reward ? replay->beta : 0.0;
    const struct reward_params *reward = &replay->params.reward;
    const enum err_code rc =
        reward_tokens(reward, REWARD_STREAM_REWARD, beta, slot->shaped, slot->logp, slot->ref,
                      NULL, slot->tokens, slot->token_reward, err);
    if (rc != ERR_OK || !slot->token_cost)
        return rc;
    const double cost = replay->params.lagrange.pessimistic
                            ? pessimism_cost(&replay->bound, slot->cost)
                            : slot->cost;
    return reward_tokens(reward, REWARD_STREAM_COST, beta, cost, slot->logp, slot->ref, NULL,
                         slot->tokens, slot->token_cost, err);
}

static void replay_derive_experience(struct replay *replay, const struct replay_batch *batch)
{
    const uint32_t scorers = replay->config->scorers;
    replay->derived.experience = replay->weights;
    for (uint32_t i = 0; i < replay->B && !replay->skipped; i++) {
        const struct replay_slot *slot = &batch->slot[i];
        const size_t *offset = &replay->prompts.offset[slot->prompt];
        if (slot->shaped_here)
            record_experience_add(
                &replay->derived.experience,
                &(struct record_experience){.slot = i,
                                            .prompt_tokens = (uint32_t)(offset[1] - offset[0]),
                                            .response_tokens = slot->tokens,
                                            .finish = slot->finish,
                                            .prompt = replay->prompts.ids + offset[0],
                                            .response = slot->ids,
                                            .logp = slot->logp,
                                            .ref = slot->ref,
                                            .reward = slot->token_reward,
                                            .cost = slot->token_cost,
                                            .scores_n = scorers,
                                            .scores = slot->scores,
                                            .reference_scores_n = replay->M * scorers,
                                            .reference_scores = replay->reference_scores +
                                                                (size_t)slot->prompt *
                                                                    replay->M * scorers});
    }
}

/* --- the whole step ----------------------------------------------------------------------- */

static void replay_derive_write(struct replay *replay)
{
    const struct replay_params *params = &replay->params;
    struct record_step *out = &replay->derived;
    double *at = out->controller;
    kl_state_write(&params->kl, &replay->next.kl, at);
    at += kl_state_n(&params->kl);
    chain_write(&params->chain, &replay->next.chain, at);
    at += chain_state_n(&params->chain);
    lagrange_state_write(&params->lagrange, &replay->next.lagrange, at);
    at += lagrange_state_n(&params->lagrange);
    at += replay_breaker_write(replay, at);
    out->controller_n = (uint32_t)(at - out->controller);
}

void replay_derive_controller_name(const struct replay *replay, uint32_t i, char text[32])
{
    const struct replay_params *params = &replay->params;
    const struct {
        const char *name;
        uint32_t n;
    } parts[] = {{"kl", kl_state_n(&params->kl)},
                 {"shapers", chain_state_n(&params->chain)},
                 {"multiplier", lagrange_state_n(&params->lagrange)},
                 {"breaker", BREAKER_STATE_N},
                 {"rollback", UINT32_MAX}};
    size_t part = 0;
    for (; i >= parts[part].n; part++)
        i -= parts[part].n;
    snprintf(text, 32, "controller %s[%u]", parts[part].name, (unsigned)i);
}

static enum err_code replay_derive_slots(struct replay *replay, struct replay_batch *batch,
                                         struct chain_state *seen, struct err *err)
{
    for (uint32_t i = 0; i < replay->B; i++) {
        struct err why = {0};
        struct replay_slot *slot = &batch->slot[i];
        if (slot->state == REPLAY_DROPPED)
            continue;
        const enum err_code rc = replay_derive_slot(replay, slot, seen, &why);
        if (rc != ERR_OK)
            return err_set(err, ERR_VALUE, "slot %u: %s", (unsigned)i, why.text);
        replay->derived.trained++;
    }
    if (replay->derived.trained == 0)
        return err_set(err, ERR_VALUE, "all its slots were dropped");
    return ERR_OK;
}

static enum err_code replay_derive_all(struct replay *replay, struct replay_batch *batch,
                                       struct err *err)
{
    struct chain_state seen = {0};
    enum err_code rc = replay_combine_group(replay, batch, err);
    if (rc == ERR_OK)
        rc = replay_derive_slots(replay, batch, &seen, err);
    if (rc == ERR_OK)
        rc = replay_kl(replay, batch, err);
    if (rc == ERR_OK)
        rc = chain_update(&replay->params.chain, &replay->next.chain, &seen, err);
    if (rc == ERR_OK)
        rc = replay_derive_multiplier(replay, batch, err);
    if (rc != ERR_OK)
        return rc;
    replay_derive_means(replay, batch);
    rc = replay_breaker(replay, err);
    for (uint32_t i = 0; i < replay->B && rc == ERR_OK; i++)
        if (batch->slot[i].shaped_here)
            rc = replay_derive_tokens(replay, &batch->slot[i], err);
    if (rc != ERR_OK)
        return rc;
    if (replay->skipped)
        replay_derive_set_aside(replay);
    replay_derive_experience(replay, batch);
    return ERR_OK;
}

enum err_code replay_derive(struct replay *replay, struct replay_batch *batch, struct err *err)
{
    struct err why = {0};
    replay->derived = (struct record_step){
        .step = batch->step,
        .version = batch->step + 1,
        .behaviour_version = plan_policy_version(batch->step, replay->config->lag),
    };
    replay_kl_reference(replay);
    replay->next = replay->states;
    const enum err_code rc = replay_derive_all(replay, batch, &why);
    if (rc != ERR_OK)
        return err_set(err, ERR_VALUE, "step %llu: %s", (unsigned long long)batch->step,
                       why.text);
    replay_derive_write(replay);
    return ERR_OK;
}

/* replay.c -- see replay.h: new, free, steps opened, the end. */
#include "cli/replay.h"

#include <stdlib.h>

#include "cli/replay_state.h"

const char *replay_state_name(enum replay_slot_state state)
{
    switch (state) {
#define X(name, text) \
    case REPLAY_##name: return text;
        REPLAY_STATE_MAP(X)
#undef X
    }
    return "?";
}

struct replay_batch *replay_batch(const struct replay *replay, uint64_t step)
{
    struct replay_batch *batch = &replay->batch[step % replay->open];
    return batch->step == step && step != REPLAY_NO_STEP ? batch : NULL;
}

struct replay_slot *replay_reference(const struct replay *replay, uint64_t prompt, uint32_t m)
{
    return prompt < replay->prompts.n && m < replay->M
               ? &replay->reference[(size_t)prompt * replay->M + m]
               : NULL;
}

void replay_open_steps(struct replay *replay)
{
    while (replay->opened < replay->config->steps &&
           plan_ready(replay->opened, replay->trained, replay->config->lag)) {
        const uint64_t step = replay->opened++;
        struct replay_batch *batch = &replay->batch[step % replay->open];
        struct plan_slot plan = {0};
        batch->step = step;
        for (uint32_t b = 0; b < replay->B; b++) {
            if (b % replay->K == 0) /* the group's: its slots answer one prompt */
                plan = plan_slot(&replay->params.plan, step, b);
            struct replay_slot *slot = &batch->slot[b];
            *slot = (struct replay_slot){
                .prompt = plan.prompt,
                .group = plan.group,
                .version = plan_policy_version(step, replay->config->lag),
                .ids = slot->ids,
                .logp = slot->logp,
                .ref = slot->ref,
                .token_reward = slot->token_reward,
                .token_cost = slot->token_cost,
            };
        }
    }
}

/* Hand each slot its arrays; they stay its own. */
static void replay_hand_out(struct replay *replay)
{
    const size_t T = replay->max_new;
    for (uint32_t r = 0; r < replay->open; r++) {
        replay->batch[r].step = REPLAY_NO_STEP;
        replay->batch[r].slot = replay->slots + (size_t)r * replay->B;
    }
    for (size_t i = 0; i < (size_t)replay->open * replay->B; i++) {
        struct replay_slot *slot = &replay->slots[i];
        slot->ids = replay->ids + i * T;
        slot->logp = replay->floats + 4 * i * T;
        slot->ref = slot->logp + T;
        slot->token_reward = slot->ref + T;
        slot->token_cost = run_config_has_cost(replay->config) ? slot->token_reward + T : NULL;
    }
    for (size_t i = 0; i < (size_t)replay->prompts.n * replay->M; i++)
        replay->reference[i].prompt = (uint32_t)(i / replay->M);
}

static enum err_code replay_allocate(struct replay *replay, struct err *err)
{
    const size_t slots = (size_t)replay->open * replay->B, T = replay->max_new;
    const size_t references = (size_t)replay->prompts.n * replay->M;
    const size_t scorers = replay->config->scorers;
    const size_t points = replay->params.has_rollback
                              ? replay->config->steps / replay->config->breaker_restore_every
                              : 0;
    replay->batch = calloc(replay->open, sizeof *replay->batch);
    replay->slots = calloc(slots, sizeof *replay->slots);
    replay->ids = calloc(slots * T, sizeof *replay->ids);
    replay->floats = calloc(4 * slots * T, sizeof *replay->floats);
    replay->kl_sum = calloc(replay->B, sizeof *replay->kl_sum);
    replay->kl_tokens = calloc(replay->B, sizeof *replay->kl_tokens);
    replay->reference = calloc(references + 1, sizeof *replay->reference);
    replay->reference_scores = calloc(references * scorers + 1, sizeof(double));
    replay->restore = calloc(points + 1, sizeof *replay->restore);
    const bool renews = replay->config->kl_reference_every > 0;
    if (renews)
        replay->kl_reference = calloc(replay->config->steps + 1, sizeof *replay->kl_reference);
    replay->ref_named = calloc((size_t)replay->M * scorers + 1, sizeof *replay->ref_named);
    replay->ref_all = calloc((size_t)replay->M + 1, sizeof *replay->ref_all);
    replay->ref_rewards = calloc((size_t)replay->M + 1, sizeof *replay->ref_rewards);
    if (!replay->batch || !replay->slots || !replay->ids || !replay->floats ||
        !replay->kl_sum || !replay->kl_tokens || !replay->reference ||
        !replay->reference_scores || !replay->restore || (renews && !replay->kl_reference) ||
        !replay->ref_named || !replay->ref_all || !replay->ref_rewards)
        return err_set(err, ERR_NOMEM, "no memory for %zu slots and %zu references", slots,
                       references);
    replay_hand_out(replay);
    return ERR_OK;
}

enum err_code replay_new(struct replay **out, const struct run_config *config,
                         const struct core_prompts *prompts, const struct core_tokens *tokens,
                         const struct replay_ops *ops, struct err *err)
{
    *out = NULL;
    struct replay *replay = calloc(1, sizeof *replay);
    if (!replay)
        return err_set(err, ERR_NOMEM, "no memory for the replay");
    replay->config = config;
    replay->prompts = *prompts;
    replay->tokens = *tokens;
    replay->ops = *ops;
    enum err_code rc = replay_setup(&replay->params, config, prompts->n, err);
    if (rc == ERR_OK) {
        replay->B = config->batch;
        replay->K = replay->params.plan.samples_per_prompt;
        replay->shaper_compares = chain_references(&replay->params.chain) > 0;
        replay->M = combine_needs_references(&replay->params.combine)
                        ? config->references
                        : chain_references(&replay->params.chain);
        replay->open = config->lag + 1;
        replay->max_new = config->max_new_tokens;
        rc = replay_allocate(replay, err);
    }
    if (rc != ERR_OK) {
        replay_free(replay);
        return rc;
    }
    chain_init(&replay->params.chain, &replay->states.chain);
    kl_init(&replay->params.kl, &replay->states.kl);
    lagrange_init(&replay->params.lagrange, &replay->states.lagrange);
    breaker_init(&replay->states.breaker);
    rollback_init(&replay->states.rollback);
    replay_open_steps(replay);
    *out = replay;
    return ERR_OK;
}

void replay_free(struct replay *replay)
{
    if (!replay)
        return;
    for (size_t i = 0; replay->reference && i < (size_t)replay->prompts.n * replay->M; i++)
        free(replay->reference[i].ids);
    free(replay->batch);
    free(replay->slots);
    free(replay->ids);
    free(replay->floats);
    free(replay->kl_sum);
    free(replay->kl_tokens);
    free(replay->reference);
    free(replay->reference_scores);
    free(replay->restore);
    free(replay->kl_reference);
    free(replay->ref_named);
    free(replay->ref_all);
    free(replay->ref_rewards);
    free(replay);
}

static enum err_code replay_end_step(struct replay *replay, const struct replay_batch *batch,
                                     struct err *err)
{
    for (uint32_t b = 0; b < replay->B; b++) {
        replay->sum.dropped += batch->slot[b].state == REPLAY_DROPPED;
        replay->sum.in_flight += batch->slot[b].state != REPLAY_DROPPED;
    }
    const struct replay_step open = {
        .step = batch->step, .slot = batch->slot, .slots = replay->B};
    return replay->ops.on_step ? replay->ops.on_step(replay->ops.ctx, &open, err) : ERR_OK;
}

enum err_code replay_end(struct replay *replay, struct replay_summary *out, struct err *err)
{
    struct replay_summary *sum = &replay->sum;
    for (uint64_t step = replay->trained; step < replay->opened; step++) {
        const enum err_code rc = replay_end_step(replay, replay_batch(replay, step), err);
        if (rc != ERR_OK)
            return rc;
    }
    sum->records = replay->seq;
    sum->planned = replay->opened * replay->B;
    *out = *sum;
    if (sum->planned != sum->trained + sum->dropped + sum->in_flight)
        return err_set(err, ERR_VALUE,
                       "%llu slots are planned: %llu were trained, %llu dropped, %llu are in "
                       "flight",
                       (unsigned long long)sum->planned, (unsigned long long)sum->trained,
                       (unsigned long long)sum->dropped, (unsigned long long)sum->in_flight);
    return ERR_OK;
}

/* core_shape.c -- from scores to token rewards, and the KL controller: control/ does the
 * arithmetic; here is only which numbers go in, and in which order of slots. */
#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "coordinator/core.h"
#include "coordinator/core_state.h"

static enum kl_estimator core_shape_estimator(enum run_kl_estimator estimator)
{
    switch (estimator) {
    case RUN_KL_K1: return KL_K1;
    case RUN_KL_K2: return KL_K2;
    case RUN_KL_K3: return KL_K3;
    }
    assert(0 && "kl.estimator: no such value");
    return KL_K1;
}

static enum shaping_kind core_shape_kind(enum run_shaper shaper)
{
    switch (shaper) {
#define X(name, word) \
    case RUN_SHAPER_##name: return SHAPING_##name;
        RUN_SHAPER_MAP(X)
#undef X
    }
    assert(0 && "reward.shaper: no such value");
    return SHAPING_NONE;
}

static enum reward_truncation core_shape_truncation(enum run_truncation truncation)
{
    switch (truncation) {
    case RUN_TRUNCATION_NONE: return REWARD_TRUNCATION_NONE;
    case RUN_TRUNCATION_PENALTY: return REWARD_TRUNCATION_PENALTY;
    case RUN_TRUNCATION_BOOTSTRAP: return REWARD_TRUNCATION_BOOTSTRAP;
    }
    assert(0 && "reward.truncation: no such value");
    return REWARD_TRUNCATION_NONE;
}

static enum shaping_kind core_shape_word(const char *word)
{
    for (int kind = SHAPING_NONE; kind <= SHAPING_SGFC; kind++)
        if (strcmp(word, shaping_name((enum shaping_kind)kind)) == 0)
            return (enum shaping_kind)kind;
    assert(0 && "reward.shapers: no such value");
    return SHAPING_NONE;
}

static void core_shape_setup_chain(struct core *core)
{
    const struct run_config *config = core->config;
    static_assert(RUN_SHAPERS_MAX <= CHAIN_LINKS_MAX, "a chain holds all shapers");
    core->chain.links = config->shapers_n > 0 ? config->shapers_n : 1;
    for (uint32_t i = 0; i < core->chain.links; i++)
        core->chain.link[i] = (struct shaping_params){
            .kind = config->shapers_n > 0 ? core_shape_word(config->shapers[i])
                                          : core_shape_kind(config->shaper),
            .references = config->references,
            .slope = config->sigmoid_k,
            .ceiling = config->ceiling,
            .shift = config->sgfc_shift,
        };
}

static enum kl_controller core_shape_controller(enum run_kl_controller controller)
{
    switch (controller) {
    case RUN_KL_CONTROLLER_FIXED: return KL_CONTROLLER_FIXED;
    case RUN_KL_CONTROLLER_ADAPTIVE: return KL_CONTROLLER_ADAPTIVE;
    case RUN_KL_CONTROLLER_PID: return KL_CONTROLLER_PID;
    }
    assert(0 && "kl.controller: no such value");
    return KL_CONTROLLER_FIXED;
}

static void core_shape_setup_kl(struct core *core)
{
    const struct run_config *config = core->config;
    const bool token = config->kl_target_token > 0.0;
    core->kl = (struct kl_params){
        .controller = core_shape_controller(config->kl_controller),
        .unit = token ? KL_UNIT_TOKEN : KL_UNIT_SEQUENCE,
        .coef = config->kl_coef,
        .target = token ? config->kl_target_token : config->kl_target,
        .horizon = config->kl_horizon,
        .lookahead = config->kl_lookahead,
        .cap = config->kl_cap,
        .kp = config->kl_kp,
        .ki = config->kl_ki,
        .kd = config->kl_kd,
        .smooth = config->kl_smooth,
        .coef_min = config->kl_coef_min,
        .coef_max = config->kl_coef_max,
    };
}

enum err_code core_shape_setup(struct core *core, struct err *err)
{
    const struct run_config *config = core->config;
    core_shape_setup_chain(core);
    core->reward = (struct reward_params){
        .length_free_tokens = config->length_free_tokens,
        .length_penalty = config->length_penalty,
        .truncation = core_shape_truncation(config->truncation),
        .truncation_penalty = config->truncation_penalty,
        .estimator = core_shape_estimator(config->kl_estimator),
    };
    core_shape_setup_kl(core);
    enum err_code rc = raw_reward_init(&core->raw, core->config, err);
    if (rc == ERR_OK)
        rc = chain_check(&core->chain, err);
    if (rc == ERR_OK)
        rc = reward_check(&core->reward, err);
    if (rc == ERR_OK)
        rc = kl_params_check(&core->kl, config->batch, err);
    if (rc == ERR_OK)
        rc = core_cost_setup(core, err);
    if (rc == ERR_OK)
        rc = core_breaker_setup(core, err);
    if (rc != ERR_OK)
        return rc;
    chain_init(&core->chain, &core->chain_state);
    kl_init(&core->kl, &core->kl_state);
    return ERR_OK;
}

/* How many of this prompt's references have scores; UINT32_MAX: some are still to come. */
static uint32_t core_shape_references(const struct core *core, uint32_t prompt)
{
    uint32_t n = 0;
    for (uint32_t m = 0; m < core->M; m++) {
        const struct core_reference *kept = core_item_reference(core, prompt, m);
        const bool there = kept->state == CORE_ITEM_SCORED || kept->state == CORE_ITEM_DROPPED;
        if (core_bug(core, 12) && !there)
            continue;
        if (!there || !core_durable(core, kept->seq))
            return UINT32_MAX;
        n += kept->state == CORE_ITEM_SCORED;
    }
    return n;
}

/* The last of a group cannot be compared with anything: an estimator that needs a group drops
 * it too.  The rule is applied here, to what is there, and not when the others are dropped:
 * their records may be durable and this one lost in a crash. */
static bool core_shape_drop_groups(struct core *core, struct core_batch *batch)
{
    bool dropped = false;
    for (uint32_t g = 0; core->group_estimator && core->K > 1 && g < core->groups; g++) {
        struct core_item *last = NULL;
        uint32_t left = 0;
        for (uint32_t k = 0; k < core->K; k++) {
            struct core_item *item = &batch->items[g * core->K + k];
            if (item->state != CORE_ITEM_DROPPED) {
                last = item;
                left++;
            }
        }
        if (left != 1)
            continue;
        core_item_drop(core, last, RECORD_REASON_GROUP_TOO_SMALL,
                       "all others of its group were dropped");
        dropped = true;
    }
    return dropped;
}

bool core_shape_ready(struct core *core, struct core_batch *batch)
{
    if (batch->count[CORE_ITEM_SCORED] + batch->count[CORE_ITEM_DROPPED] < core->B)
        return false;
    bool ready = true;
    for (uint32_t i = 0; i < core->B; i++) {
        struct core_item *item = &batch->items[i];
        if (!core_durable(core, item->seq) && !core_bug(core, 4))
            ready = false;
        if (core->M == 0 || (core_bug(core, 13) && item->state == CORE_ITEM_DROPPED))
            continue;
        /* Those of a dropped slot's prompt too: a later step may ask the same prompt, and they
         * are made with this one or never. */
        const uint32_t refs = core_shape_references(core, item->prompt);
        if (refs == UINT32_MAX) {
            ready = false;
        } else if (refs == 0 && item->state != CORE_ITEM_DROPPED) {
            ready = false;
            if (!core->replaying)
                core_item_drop(core, item, RECORD_REASON_REFERENCE_FAILED,
                               "none of its prompt's references has a score");
        }
    }
    if (!core->replaying && core_shape_drop_groups(core, batch))
        return false;
    return ready;
}

static enum err_code core_shape_item(struct core *core, struct core_item *item,
                                     struct chain_state *seen, struct err *err)
{
    double reward;
    uint32_t refs;
    enum err_code rc = core_combine_item(core, item, &reward, &refs, err);
    if (rc == ERR_OK)
        rc = core_cost_of(core, item->scores, &item->cost, err);
    if (rc != ERR_OK)
        return rc;
    struct chain_params chain = core->chain;
    for (uint32_t i = 0; i < chain.links; i++)
        if (shaping_references(&chain.link[i]) > 0)
            chain.link[i].references = refs; /* over those that could be had */
    double shaped;
    rc = chain_apply(&chain, &core->chain_state, reward, core->ref_rewards, refs, &shaped, err);
    if (rc == ERR_OK)
        rc = chain_add(&chain, &core->chain_state, reward, core->ref_rewards, refs, seen, err);
    if (rc != ERR_OK)
        return rc;
    bool bootstrap; /* the learner decides the same from the item's finish */
    item->shaped =
        reward_truncate(&core->reward, shaped, item->finish == WIRE_FINISH_LENGTH, &bootstrap);
    return ERR_OK;
}

/* One scorer's mean over the slots that have a score of it; how many should have and do not. */
static void core_shape_score(const struct core *core, struct core_batch *batch, uint32_t s)
{
    double sum = 0.0, n = 0.0;
    uint32_t missing = 0;
    for (uint32_t i = 0; i < core->B; i++) {
        const struct core_item *item = &batch->items[i];
        if (item->state == CORE_ITEM_DROPPED || !core_combine_counts(core, s, item->prompt))
            continue;
        if (isnan(item->scores[s])) {
            missing++;
            continue;
        }
        sum += item->scores[s];
        n += 1.0;
    }
    batch->result.score_mean[s] = n > 0.0 ? sum / n : (double)NAN;
    batch->result.score_missing[s] = missing;
}

/* The means of a shaped step, over its slots in order. */
static void core_shape_statistics(struct core *core, struct core_batch *batch)
{
    struct record_step *result = &batch->result;
    const double n = result->trained;
    double raw = 0.0, shaped = 0.0, square = 0.0;
    for (uint32_t i = 0; i < core->B; i++) {
        const struct core_item *item = &batch->items[i];
        if (item->state == CORE_ITEM_DROPPED) {
            result->dropped[item->reason]++;
            continue;
        }
        raw += item->raw;
        shaped += item->shaped;
        result->truncated += item->finish == WIRE_FINISH_LENGTH;
        result->prompt_tokens += core_item_prompt_tokens(core, item->prompt);
        result->response_tokens += item->tokens;
    }
    result->reward_raw_mean = raw / n;
    result->reward_shaped_mean = shaped / n;
    for (uint32_t s = 0; s < core->config->scorers; s++)
        core_shape_score(core, batch, s);
    for (uint32_t i = 0; i < core->B; i++) {
        const struct core_item *item = &batch->items[i];
        const double off = item->raw - result->reward_raw_mean;
        if (item->state != CORE_ITEM_DROPPED)
            square += off * off;
    }
    result->reward_raw_std = sqrt(square / n);
}

/* Measure the step's KL and compute the controller's next state. */
static enum err_code core_shape_kl(struct core *core, struct core_batch *batch, struct err *err)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < core->B; i++) {
        const struct core_item *item = &batch->items[i];
        if (item->state == CORE_ITEM_DROPPED)
            continue;
        const enum err_code rc = kl_sequence(KL_K1, item->logp, item->ref, NULL, item->tokens,
                                             &core->kl_sum[n], &core->kl_tokens[n], err);
        if (rc != ERR_OK)
            return rc;
        n++;
    }
    struct record_step *result = &batch->result;
    result->kl_mean = kl_batch_mean(KL_UNIT_SEQUENCE, core->kl_sum, core->kl_tokens, n);
    const double measured = kl_batch_mean(core->kl.unit, core->kl_sum, core->kl_tokens, n);
    if (kl_over_cap(&core->kl, result->kl_mean) &&
        !core_rollback_discards(core, result->behaviour_version))
        return err_set(err, ERR_VALUE,
                       "step %llu: the KL of %.6g nats a sequence is past the cap "
                       "kl.cap_nats_per_sequence of %.6g: nothing of it is trained",
                       (unsigned long long)batch->step, result->kl_mean, core->kl.cap);
    batch->kl_before = batch->kl_after = core->kl_state;
    if (core_bug(core, 10))
        batch->kl_before.coef = core->kl.coef;
    const enum err_code rc = kl_step(&core->kl, &batch->kl_after, measured, n, err);
    if (rc != ERR_OK)
        return rc;
    result->controller_n = core_shape_controllers(core);
    kl_state_write(&core->kl, &batch->kl_after, result->controller);
    return ERR_OK;
}

/* Where in the record's controllers the states begin. */
static uint32_t core_shape_running_at(const struct core *core)
{
    return kl_state_n(&core->kl);
}

static uint32_t core_shape_cost_at(const struct core *core)
{
    return core_shape_running_at(core) + chain_state_n(&core->chain);
}

static uint32_t core_shape_breaker_at(const struct core *core)
{
    return core_shape_cost_at(core) + lagrange_state_n(&core->lagrange);
}

uint32_t core_shape_controllers(const struct core *core)
{
    static_assert(KL_STATE_MAX + CHAIN_STATE_MAX + LAGRANGE_STATE_MAX + BREAKER_STATE_N +
                          ROLLBACK_STATE_N <=
                      RECORD_CONTROLLER_MAX,
                  "a STEP record holds all states");
    return core_shape_breaker_at(core) + core_breaker_state_n(core);
}

enum err_code core_shape_read(const struct core *core, const struct record_step *step,
                              struct core_batch *batch, struct err *err)
{
    kl_state_read(&core->kl, &batch->kl_after, step->controller);
    if (core_bug(core, 21))
        batch->kl_after.pid = core->kl_state.pid;
    enum err_code rc = kl_check(&core->kl, &batch->kl_after, err);
    if (rc)
        return rc;
    batch->chain_after = core->chain_state;
    if (!core_bug(core, 14))
        rc = chain_read(&core->chain, &step->controller[core_shape_running_at(core)],
                        chain_state_n(&core->chain), &batch->chain_after, err);
    if (rc)
        return rc;
    batch->lagrange_after = core->lagrange_state;
    if (!core_bug(core, 15))
        lagrange_state_read(&core->lagrange, &batch->lagrange_after,
                            &step->controller[core_shape_cost_at(core)]);
    rc = lagrange_check(&core->lagrange, &batch->lagrange_after, err);
    return rc ? rc
              : core_breaker_read(core, step, batch, core_shape_breaker_at(core), err);
}

/* The shaper's statistics once this step is committed: those that shaped it, and the rewards
 * `seen` in it. */
static enum err_code core_shape_running(struct core *core, struct core_batch *batch,
                                        const struct chain_state *seen, struct err *err)
{
    batch->chain_after = core->chain_state;
    const enum err_code rc = chain_update(&core->chain, &batch->chain_after, seen, err);
    if (rc == ERR_OK)
        chain_write(&core->chain, &batch->chain_after,
                    &batch->result.controller[core_shape_running_at(core)]);
    return rc;
}

/* What the controllers say, by what the breaker makes of it from this step on. */
static void core_shape_beta(struct core_batch *batch)
{
    const double scale = batch->breaker_after.beta_scale;
    batch->beta = batch->kl_before.coef * scale;
    batch->result.kl_coef_before = batch->beta;
    batch->result.kl_coef_after = batch->kl_after.coef * scale;
}

/* The breaker wants nothing of this step trained.  The KL controller and the multiplier have
 * moved by what it measured, which is true of the policy all the same; statistics that shape
 * rewards are of what was trained on. */
static enum err_code core_shape_set_aside(struct core *core, struct core_batch *batch,
                                          struct err *err)
{
    struct record_step *result = &batch->result;
    const struct chain_state nothing = {0};
    result->dropped[batch->reason] = result->trained;
    result->trained = result->truncated = 0;
    result->prompt_tokens = result->response_tokens = 0;
    memset(result->score_missing, 0, sizeof result->score_missing);
    return core_shape_running(core, batch, &nothing, err);
}

static enum err_code core_shape_items(struct core *core, struct core_batch *batch,
                                      struct chain_state *seen, struct err *err)
{
    enum err_code rc = core_combine_group(core, batch, err);
    for (uint32_t i = 0; i < core->B && rc == ERR_OK; i++) {
        struct core_item *item = &batch->items[i];
        struct err why;
        if (item->state == CORE_ITEM_DROPPED)
            continue;
        rc = core_shape_item(core, item, seen, &why);
        if (rc != ERR_OK)
            err_set(err, rc, "step %llu, slot %u: %s", (unsigned long long)batch->step,
                    (unsigned)i, why.text);
    }
    return rc;
}

/* What the learner is to be given, and the scores it comes of, as one hash: a later replay can be
 * held against it. */
static enum err_code core_shape_experience(struct core *core, struct core_batch *batch,
                                           struct err *err)
{
    struct hash *hash = &batch->result.experience;
    *hash = *core_recall_weights(core, batch);
    for (uint32_t i = 0; i < core->B && !batch->skipped; i++) {
        const struct core_item *item = &batch->items[i];
        if (item->state == CORE_ITEM_DROPPED)
            continue;
        enum err_code rc = core_shape_tokens(core, batch, item, core->out_reward, err);
        if (rc == ERR_OK && core->out_cost)
            rc = core_cost_tokens(core, batch, item, core->out_cost, err);
        if (rc != ERR_OK)
            return rc;
        record_experience_add(
            hash, &(struct record_experience){
                      .slot = i,
                      .prompt_tokens = core_item_prompt_tokens(core, item->prompt),
                      .response_tokens = item->tokens,
                      .finish = item->finish,
                      .prompt = core->prompts.ids + core->prompts.offset[item->prompt],
                      .response = item->ids,
                      .logp = item->logp,
                      .ref = item->ref,
                      .reward = core->out_reward,
                      .cost = core->out_cost,
                      .scores_n = core->config->scorers,
                      .scores = item->scores,
                      .reference_scores_n = core->M * core->config->scorers,
                      .reference_scores = core->reference_scores +
                                          (size_t)item->prompt * core->M * core->config->scorers,
                  });
    }
    return ERR_OK;
}

enum err_code core_shape_batch(struct core *core, struct core_batch *batch, struct err *err)
{
    const uint32_t n = batch->count[CORE_ITEM_SCORED];
    if (n == 0)
        return err_set(err, ERR_VALUE,
                       "step %llu: every slot was dropped, there is nothing to train on",
                       (unsigned long long)batch->step);
    batch->result = (struct record_step){
        .step = batch->step,
        .version = batch->step + 1,
        .behaviour_version = plan_policy_version(batch->step, core->config->lag),
        .trained = n,
    };
    struct chain_state seen = {0};
    enum err_code rc = core_shape_items(core, batch, &seen, err);
    if (rc == ERR_OK)
        rc = core_shape_kl(core, batch, err);
    if (rc == ERR_OK)
        rc = core_shape_running(core, batch, &seen, err);
    if (rc == ERR_OK)
        rc = core_cost_step(core, batch, core_shape_cost_at(core), err);
    if (rc != ERR_OK)
        return rc;
    core_shape_statistics(core, batch);
    rc = core_breaker_step(core, batch, core_shape_breaker_at(core), err);
    if (rc == ERR_OK && batch->skipped)
        rc = core_shape_set_aside(core, batch, err);
    if (rc != ERR_OK)
        return rc;
    core_shape_beta(batch);
    rc = core_shape_experience(core, batch, err);
    if (rc != ERR_OK)
        return rc;
    for (uint32_t i = 0; i < core->B; i++)
        if (batch->items[i].state == CORE_ITEM_SCORED)
            core_item_move(core, &batch->items[i], CORE_ITEM_SHAPED);
    batch->shaped = true;
    return ERR_OK;
}

enum err_code core_shape_tokens(struct core *core, const struct core_batch *batch,
                                const struct core_item *item, float *out, struct err *err)
{
    const bool in_reward = core->config->kl_place == RUN_KL_PLACE_REWARD;
    return reward_tokens(&core->reward, REWARD_STREAM_REWARD, in_reward ? batch->beta : 0.0,
                         item->shaped, item->logp, item->ref, NULL, item->tokens, out, err);
}

/* core_cost.c -- from scores to token costs, and the multiplier: control/ does the arithmetic;
 * here is only which numbers go in, and in which order of slots. */
#include <assert.h>
#include <math.h>

#include "coordinator/core.h"
#include "coordinator/core_state.h"

static enum lagrange_controller core_cost_controller(enum run_safety_controller controller)
{
    switch (controller) {
    case RUN_SAFETY_CONTROLLER_NONE: return LAGRANGE_NONE;
    case RUN_SAFETY_CONTROLLER_FIXED: return LAGRANGE_FIXED;
    case RUN_SAFETY_CONTROLLER_LAGRANGIAN: return LAGRANGE_LAGRANGIAN;
    case RUN_SAFETY_CONTROLLER_PID: return LAGRANGE_PID;
    }
    assert(0 && "safety.controller: no such value");
    return LAGRANGE_NONE;
}

enum err_code core_cost_setup(struct core *core, struct err *err)
{
    const struct run_config *config = core->config;
    core->lagrange = (struct lagrange_params){
        .controller = core_cost_controller(config->safety_controller),
        .limit = config->safety_limit,
        .multiplier = config->safety_lambda,
        .multiplier_min = config->safety_lambda_min,
        .multiplier_max = config->safety_lambda_max,
        .lr = config->safety_lr,
        .kp = config->safety_kp,
        .ki = config->safety_ki,
        .kd = config->safety_kd,
        .window = config->safety_window_steps,
        .delay = config->safety_delay_steps,
        .pessimistic = config->safety_gate_samples > 0,
        .pessimism = {.training_factor = config->safety_c1,
                      .gate_factor = config->safety_c2,
                      .delta = config->safety_delta,
                      .gate_samples = config->safety_gate_samples},
    };
    for (uint32_t i = 0; i < config->scorers; i++)
        if (config->scorer[i].role == RUN_ROLE_COST)
            core->cost_terms[core->cost_terms_n++] = (struct score_term){
                .name = config->scorer[i].name, .weight = config->scorer[i].weight};
    enum err_code rc = lagrange_params_check(&core->lagrange, err);
    if (rc == ERR_OK && (core->cost_terms_n > 0 || run_config_has_cost(config)))
        rc = score_check(core->cost_terms, core->cost_terms_n, err);
    if (rc == ERR_OK)
        lagrange_init(&core->lagrange, &core->lagrange_state);
    return rc;
}

/* A monitor's never; a reward's where it counts; of references the reward alone is asked for. */
bool core_cost_is_needed(const struct core *core, uint32_t scorer, enum wire_work work,
                         uint32_t prompt)
{
    const enum run_role role = core->config->scorer[scorer].role;
    return (role == RUN_ROLE_REWARD &&
            (core_combine_counts(core, scorer, prompt) || core_bug(core, 24))) ||
           (role == RUN_ROLE_COST && work == WIRE_WORK_ROLLOUT);
}

enum err_code core_cost_of(const struct core *core, const double *scores, double *cost,
                           struct err *err)
{
    struct score named[RUN_SCORERS_MAX];
    const uint32_t n = core->config->scorers;
    *cost = 0.0;
    if (core->cost_terms_n == 0)
        return ERR_OK;
    for (uint32_t i = 0; i < n; i++)
        named[i] = (struct score){
            .name = core->config->scorer[i].name, .state = SCORE_OK, .value = scores[i]};
    const enum err_code rc =
        score_combine(core->cost_terms, core->cost_terms_n, named, n, cost, err);
    if (rc == ERR_OK && core->config->safety_cost == RUN_SAFETY_COST_PROBABILITY)
        *cost = score_probability(*cost);
    return rc;
}

enum err_code core_cost_step(struct core *core, struct core_batch *batch, uint32_t at,
                             struct err *err)
{
    struct record_step *result = &batch->result;
    struct lagrange_sums sums = {0};
    for (uint32_t i = 0; i < core->B; i++) {
        const struct core_item *item = &batch->items[i];
        if (item->state != CORE_ITEM_DROPPED || core_bug(core, 16))
            lagrange_add(&sums, item->cost);
    }
    const bool watched = core->cost_terms_n > 0;
    batch->lagrange_after = core->lagrange_state;
    enum err_code rc = lagrange_step(&core->lagrange, &batch->lagrange_after, &sums, err);
    if (rc == ERR_OK && core->lagrange.pessimistic)
        rc = lagrange_bound(&core->lagrange, &batch->lagrange_after, &batch->bound, err);
    if (rc != ERR_OK)
        return rc;
    result->cost_raw_mean = watched ? sums.sum / sums.n : (double)NAN;
    result->cost_limit = watched ? core->lagrange.limit : (double)NAN;
    result->multiplier_before = core->lagrange_state.multiplier;
    result->multiplier_after = batch->lagrange_after.multiplier;
    lagrange_state_write(&core->lagrange, &batch->lagrange_after, &result->controller[at]);
    return ERR_OK;
}

enum err_code core_cost_tokens(struct core *core, const struct core_batch *batch,
                               const struct core_item *item, float *out, struct err *err)
{
    const bool in_reward = core->config->kl_place == RUN_KL_PLACE_REWARD;
    const double cost = core->lagrange.pessimistic ? pessimism_cost(&batch->bound, item->cost)
                                                   : item->cost;
    return reward_tokens(&core->reward, REWARD_STREAM_COST, in_reward ? batch->beta : 0.0, cost,
                         item->logp, item->ref, NULL, item->tokens, out, err);
}

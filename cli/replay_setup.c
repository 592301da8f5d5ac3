/* replay_setup.c -- see replay.h: the parameters of control/, from the configuration. */
#include <math.h>
#include <string.h>

#include "cli/replay_state.h"

/* Words of the configuration, as control/ counts them. */
static const enum combine_kind replay_combines[] = {
    [RUN_COMBINE_SUM] = COMBINE_SUM,
    [RUN_COMBINE_PRODUCT] = COMBINE_PRODUCT,
    [RUN_COMBINE_MIN] = COMBINE_MIN,
    [RUN_COMBINE_LEVELS] = COMBINE_LEVELS,
    [RUN_COMBINE_TREE] = COMBINE_TREE,
    [RUN_COMBINE_MAXMIN] = COMBINE_MAXMIN,
};
static const enum shaping_kind replay_shapers[] = {
#define X(name, word) [RUN_SHAPER_##name] = SHAPING_##name,
    RUN_SHAPER_MAP(X)
#undef X
};
static const char *const replay_shaper_words[] = {
#define X(name, word) [RUN_SHAPER_##name] = word,
    RUN_SHAPER_MAP(X)
#undef X
};
static const enum reward_truncation replay_truncations[] = {
    [RUN_TRUNCATION_NONE] = REWARD_TRUNCATION_NONE,
    [RUN_TRUNCATION_PENALTY] = REWARD_TRUNCATION_PENALTY,
    [RUN_TRUNCATION_BOOTSTRAP] = REWARD_TRUNCATION_BOOTSTRAP,
};
static const enum kl_estimator replay_estimators[] = {
    [RUN_KL_K1] = KL_K1,
    [RUN_KL_K2] = KL_K2,
    [RUN_KL_K3] = KL_K3,
};
static const enum kl_controller replay_kl_controllers[] = {
    [RUN_KL_CONTROLLER_FIXED] = KL_CONTROLLER_FIXED,
    [RUN_KL_CONTROLLER_ADAPTIVE] = KL_CONTROLLER_ADAPTIVE,
    [RUN_KL_CONTROLLER_PID] = KL_CONTROLLER_PID,
};
static const enum lagrange_controller replay_safety_controllers[] = {
    [RUN_SAFETY_CONTROLLER_NONE] = LAGRANGE_NONE,
    [RUN_SAFETY_CONTROLLER_FIXED] = LAGRANGE_FIXED,
    [RUN_SAFETY_CONTROLLER_LAGRANGIAN] = LAGRANGE_LAGRANGIAN,
    [RUN_SAFETY_CONTROLLER_PID] = LAGRANGE_PID,
};
static const enum breaker_signal replay_signals[] = {
    [RUN_SIGNAL_LOSS] = BREAKER_SIGNAL_LOSS, [RUN_SIGNAL_GRAD_NORM] = BREAKER_SIGNAL_GRAD_NORM,
    [RUN_SIGNAL_KL] = BREAKER_SIGNAL_KL,     [RUN_SIGNAL_ENTROPY] = BREAKER_SIGNAL_ENTROPY,
    [RUN_SIGNAL_COST] = BREAKER_SIGNAL_COST, [RUN_SIGNAL_REWARD] = BREAKER_SIGNAL_REWARD,
};

static const enum breaker_outcome replay_outcomes[] = {
    [RUN_TRIP_SKIP] = BREAKER_SKIP,
    [RUN_TRIP_ROLLBACK] = BREAKER_ROLLBACK,
    [RUN_TRIP_HALT] = BREAKER_HALT,
};

static void replay_setup_scores(struct replay_params *params, const struct run_config *config)
{
    params->combine = (struct combine_params){.kind = replay_combines[config->combine],
                                              .term = params->terms};
    for (uint32_t i = 0; i < config->scorers; i++) {
        const struct run_scorer *scorer = &config->scorer[i];
        if (scorer->role == RUN_ROLE_REWARD)
            params->terms[params->combine.terms++] =
                (struct combine_term){.name = scorer->name,
                                      .prompt_kind =
                                          scorer->prompt_kind[0] ? scorer->prompt_kind : NULL,
                                      .weight = scorer->weight,
                                      .margin = scorer->margin,
                                      .low = scorer->low,
                                      .high = scorer->high};
        if (scorer->role == RUN_ROLE_COST)
            params->cost_terms[params->cost_terms_n++] =
                (struct score_term){.name = scorer->name, .weight = scorer->weight};
    }
}

static enum shaping_kind replay_setup_shaper(const struct run_config *config, uint32_t link)
{
    if (config->shapers_n == 0)
        return replay_shapers[config->shaper];
    size_t i = 0;
    while (i + 1 < sizeof replay_shapers / sizeof replay_shapers[0] &&
           strcmp(replay_shaper_words[i], config->shapers[link]) != 0)
        i++;
    return replay_shapers[i];
}

static void replay_setup_reward(struct replay_params *params, const struct run_config *config)
{
    params->chain.links = config->shapers_n > 0 ? config->shapers_n : 1;
    for (uint32_t i = 0; i < params->chain.links; i++)
        params->chain.link[i] = (struct shaping_params){.kind = replay_setup_shaper(config, i),
                                                        .references = config->references,
                                                        .slope = config->sigmoid_k,
                                                        .ceiling = config->ceiling,
                                                        .shift = config->sgfc_shift};
    params->reward = (struct reward_params){
        .length_free_tokens = config->length_free_tokens,
        .length_penalty = config->length_penalty,
        .truncation = replay_truncations[config->truncation],
        .truncation_penalty = config->truncation_penalty,
        .estimator = replay_estimators[config->kl_estimator],
    };
}

static void replay_setup_kl(struct kl_params *kl, const struct run_config *config)
{
    const bool token = config->kl_target_token > 0.0;
    *kl = (struct kl_params){
        .controller = replay_kl_controllers[config->kl_controller],
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

static void replay_setup_safety(struct lagrange_params *lagrange,
                                const struct run_config *config)
{
    *lagrange = (struct lagrange_params){
        .controller = replay_safety_controllers[config->safety_controller],
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
}

static void replay_setup_breaker(struct replay_params *params, const struct run_config *config)
{
    params->has_breaker = config->limits > 0;
    params->has_rollback = run_config_rolls_back(config);
    breaker_params_init(&params->breaker);
    params->breaker.not_finite = BREAKER_HALT;
    params->breaker.window = config->breaker_window;
    params->breaker.warmup = config->breaker_warmup;
    params->breaker.skips_max = config->breaker_skips_max;
    params->breaker.cooldown = config->breaker_cooldown;
    params->breaker.trips_max = config->breaker_trips_max;
    if (params->has_rollback) {
        params->breaker.lr_factor = config->breaker_lr_factor;
        params->breaker.beta_factor = config->breaker_beta_factor;
    }
    for (uint32_t i = 0; i < config->limits; i++) {
        const struct run_limit *limit = &config->limit[i];
        struct breaker_limits *to = &params->breaker.limit[replay_signals[limit->signal]];
        const enum breaker_outcome outcome = replay_outcomes[limit->outcome];
        if (limit->ratio > 0.0 || limit->deviations > 0.0) {
            to->ratio = limit->ratio;
            to->deviations = limit->deviations;
            to->relative = outcome;
        } else {
            to->low = limit->low > -RUN_LIMIT_NONE ? limit->low : -INFINITY;
            to->high = limit->high < RUN_LIMIT_NONE ? limit->high : INFINITY;
            to->absolute = outcome;
        }
    }
}

enum err_code replay_setup(struct replay_params *params, const struct run_config *config,
                           uint32_t prompts, struct err *err)
{
    params->plan = (struct plan_params){
        .seed = config->seed,
        .prompts = prompts,
        .slots = config->batch,
        .samples_per_prompt = config->samples_per_prompt > 0 ? config->samples_per_prompt : 1,
        .steps = config->steps,
    };
    replay_setup_scores(params, config);
    replay_setup_reward(params, config);
    replay_setup_kl(&params->kl, config);
    replay_setup_safety(&params->lagrange, config);
    replay_setup_breaker(params, config);
    enum err_code rc = plan_check(&params->plan, err);
    if (rc == ERR_OK)
        rc = combine_check(&params->combine, err);
    if (rc == ERR_OK)
        rc = chain_check(&params->chain, err);
    if (rc == ERR_OK)
        rc = reward_check(&params->reward, err);
    if (rc == ERR_OK)
        rc = kl_params_check(&params->kl, config->batch, err);
    if (rc == ERR_OK)
        rc = lagrange_params_check(&params->lagrange, err);
    if (rc == ERR_OK && params->has_breaker)
        rc = breaker_params_check(&params->breaker, err);
    return rc;
}

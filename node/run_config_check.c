/* run_config_check.c -- what no single key can say about itself: see run_config.h. */
#include <string.h>

#include "node/http.h"
#include "node/run_config_internal.h"
#include "wire/socket.h"

static enum err_code run_config_check_scorer(const struct run_scorer *scorer, const char *path,
                                             struct err *err)
{
    const char *missing = NULL;
    if (scorer->kind == RUN_SCORER_MODEL && scorer->path[0] == '\0')
        missing = "path";
    if (scorer->kind == RUN_SCORER_REGEX && scorer->pattern[0] == '\0')
        missing = "pattern";
    if (scorer->kind == RUN_SCORER_WORDS && scorer->words[0] == '\0')
        missing = "words";
    if (scorer->kind == RUN_SCORER_HTTP && scorer->url[0] == '\0')
        missing = "url";
    if (missing)
        return err_set(err, ERR_USAGE, "%s: scorer \"%s\" is of kind %s and needs `%s`", path,
                       scorer->name, run_config_scorer_kinds[scorer->kind], missing);
    if (scorer->kind == RUN_SCORER_LENGTH && scorer->min_tokens > scorer->max_tokens)
        return err_set(err, ERR_USAGE,
                       "%s: scorer \"%s\": min_tokens %u is above max_tokens %u", path,
                       scorer->name, scorer->min_tokens, scorer->max_tokens);
    if (scorer->kind == RUN_SCORER_HTTP && strncmp(scorer->url, "http://", 7) != 0 &&
        strncmp(scorer->url, "https://", 8) != 0)
        return err_set(err, ERR_USAGE,
                       "%s: scorer \"%s\": url must begin with http:// or "
                       "https://",
                       path, scorer->name);
    if (scorer->role == RUN_ROLE_COST && scorer->weight <= 0)
        return err_set(err, ERR_USAGE,
                       "%s: cost scorer \"%s\" has weight %g: more cost is worse, so it must "
                       "be above 0",
                       path, scorer->name, scorer->weight);
    if (scorer->role == RUN_ROLE_REWARD && scorer->low >= scorer->high)
        return err_set(err, ERR_USAGE, "%s: scorer \"%s\": low %g is not below high %g", path,
                       scorer->name, scorer->low, scorer->high);
    if (scorer->role == RUN_ROLE_MONITOR && scorer->weight != 1)
        return err_set(err, ERR_USAGE,
                       "%s: monitor \"%s\" has weight %g, but a monitor is in no sum", path,
                       scorer->name, scorer->weight);
    return ERR_OK;
}

static enum err_code run_config_check_scorers(const struct run_config *c, const char *path,
                                              struct err *err)
{
    if (c->scorers == 0)
        return err_set(err, ERR_USAGE, "%s: reward.scorers is empty: nothing would be rewarded",
                       path);
    if (!run_config_has_role(c, RUN_ROLE_REWARD))
        return err_set(err, ERR_USAGE,
                       "%s: no scorer of reward.scorers has the role reward: nothing would be "
                       "rewarded",
                       path);
    for (uint32_t i = 0; i < c->scorers; i++) {
        enum err_code rc = run_config_check_scorer(&c->scorer[i], path, err);
        if (rc)
            return rc;
        for (uint32_t j = 0; j < i; j++)
            if (strcmp(c->scorer[i].name, c->scorer[j].name) == 0)
                return err_set(err, ERR_USAGE, "%s: two scorers are named \"%s\"", path,
                               c->scorer[i].name);
    }
    if (c->critic == RUN_CRITIC_REWARD && !run_config_model_scorer(c, RUN_ROLE_REWARD))
        return err_set(err, ERR_USAGE,
                       "%s: model.critic is reward, but no reward scorer is of kind "
                       "model",
                       path);
    if (c->cost_critic == RUN_COST_CRITIC_COST && !run_config_model_scorer(c, RUN_ROLE_COST))
        return err_set(err, ERR_USAGE,
                       "%s: model.cost_critic is cost, but no cost scorer is of kind model",
                       path);
    return ERR_OK;
}

static enum err_code run_config_check_safety(const struct run_config *c, const char *path,
                                             struct err *err)
{
    const bool probability = c->safety_cost == RUN_SAFETY_COST_PROBABILITY;
    if (c->cost_critic == RUN_COST_CRITIC_PATH && c->cost_critic_path[0] == '\0')
        return err_set(err, ERR_USAGE,
                       "%s: model.cost_critic is path: model.cost_critic_path is missing",
                       path);
    if (c->safety_gate_samples == 1)
        return err_set(err, ERR_USAGE, "%s: safety.gate_samples is 1: 2 or more, or 0 (off)",
                       path);
    if (c->safety_gate_samples > 0 && c->safety_controller == RUN_SAFETY_CONTROLLER_NONE)
        return err_set(
            err, ERR_USAGE,
            "%s: safety.gate_samples makes costs weigh more, but safety.controller is "
            "none",
            path);
    if (c->safety_controller == RUN_SAFETY_CONTROLLER_NONE)
        return ERR_OK;
    const char *controller = run_config_controllers[c->safety_controller];
    if (!run_config_has_role(c, RUN_ROLE_COST))
        return err_set(err, ERR_USAGE,
                       "%s: safety.controller is %s, but no scorer of reward.scorers has the "
                       "role cost",
                       path, controller);
    if (probability && !(c->safety_limit > 0 && c->safety_limit < 1))
        return err_set(err, ERR_USAGE,
                       "%s: safety.limit %g is no rate of harmful responses: it must be within "
                       "0 and 1, or safety.cost be score",
                       path, c->safety_limit);
    if (c->safety_lambda < c->safety_lambda_min)
        return err_set(err, ERR_USAGE, "%s: safety.lambda %g is below safety.lambda_min %g",
                       path, c->safety_lambda, c->safety_lambda_min);
    if (c->safety_lambda_max > 0 && c->safety_lambda > c->safety_lambda_max)
        return err_set(err, ERR_USAGE, "%s: safety.lambda %g is above safety.lambda_max %g",
                       path, c->safety_lambda, c->safety_lambda_max);
    if (c->safety_controller == RUN_SAFETY_CONTROLLER_LAGRANGIAN &&
        (c->safety_lambda == 0 || c->safety_lr == 0))
        return err_set(
            err, ERR_USAGE,
            "%s: safety.controller lagrangian never moves from safety.lambda %g with "
            "safety.lr %g: both must be above 0",
            path, c->safety_lambda, c->safety_lr);
    if (c->safety_controller == RUN_SAFETY_CONTROLLER_PID && c->safety_kp == 0 &&
        c->safety_ki == 0 && c->safety_kd == 0)
        return err_set(err, ERR_USAGE,
                       "%s: safety.controller pid never moves with safety.kp, safety.ki and "
                       "safety.kd all 0",
                       path);
    return ERR_OK;
}

static bool run_config_is_of_batch(enum run_signal signal)
{
    return signal == RUN_SIGNAL_KL || signal == RUN_SIGNAL_COST || signal == RUN_SIGNAL_REWARD;
}

static enum err_code run_config_check_limit(const struct run_config *c, uint32_t i,
                                            const char *path, struct err *err)
{
    const struct run_limit *limit = &c->limit[i];
    const bool fixed = limit->low > -RUN_LIMIT_NONE || limit->high < RUN_LIMIT_NONE;
    const bool relative = limit->ratio > 0 || limit->deviations > 0;
    if (fixed == relative)
        return err_set(err, ERR_USAGE,
                       "%s: breaker.limits[%u] needs low or high, or else ratio or deviations",
                       path, (unsigned)i);
    if (limit->low >= limit->high || (limit->ratio > 0 && limit->ratio <= 1))
        return err_set(err, ERR_USAGE,
                       "%s: breaker.limits[%u] lets nothing pass: low must be below high, and "
                       "ratio above 1",
                       path, (unsigned)i);
    if (limit->outcome == RUN_TRIP_SKIP && !run_config_is_of_batch(limit->signal))
        return err_set(err, ERR_USAGE,
                       "%s: breaker.limits[%u] is known when the step is trained already: its "
                       "outcome must be rollback or halt",
                       path, (unsigned)i);
    if (limit->signal == RUN_SIGNAL_COST && !run_config_has_role(c, RUN_ROLE_COST))
        return err_set(err, ERR_USAGE,
                       "%s: breaker.limits[%u] is about cost, but no scorer of reward.scorers "
                       "has the role cost",
                       path, (unsigned)i);
    for (uint32_t k = 0; k < i; k++) {
        const bool other = c->limit[k].ratio > 0 || c->limit[k].deviations > 0;
        if (c->limit[k].signal == limit->signal && other == relative)
            return err_set(err, ERR_USAGE,
                           "%s: breaker.limits[%u] and [%u] are about the same signal in the "
                           "same way: make them one",
                           path, (unsigned)k, (unsigned)i);
    }
    return ERR_OK;
}

static enum err_code run_config_check_breaker(const struct run_config *c, const char *path,
                                              struct err *err)
{
    if (c->breaker_warmup > c->breaker_window)
        return err_set(err, ERR_USAGE, "%s: breaker.warmup %u is longer than breaker.window %u",
                       path, c->breaker_warmup, c->breaker_window);
    if (run_config_rolls_back(c) && c->breaker_lr_factor == 1 && c->breaker_beta_factor == 1)
        return err_set(err, ERR_USAGE,
                       "%s: a rollback has to change something, or all would happen again: "
                       "breaker.lr_factor or breaker.beta_factor must not be 1",
                       path);
    enum err_code rc = ERR_OK;
    for (uint32_t i = 0; i < c->limits && rc == ERR_OK; i++)
        rc = run_config_check_limit(c, i, path, err);
    return rc;
}

/* The final policy, and each checkpoint before it that gate.every names. */
static uint64_t run_config_candidates(const struct run_config *c)
{
    if (c->gate_every == 0)
        return 1;
    return (c->steps - 1) / c->checkpoint_every / c->gate_every + 1;
}

static enum err_code run_config_check_gate(const struct run_config *c, const char *path,
                                           struct err *err)
{
    const bool rate = c->gate_cost != RUN_GATE_COST_SCORE;
    const char *bound = run_config_gate_bounds[c->gate_bound];
    if (c->gate_prompts[0] == '\0')
        return c->gate_every == 0 ? ERR_OK
                                  : err_set(err, ERR_USAGE,
                                            "%s: gate.every is %llu, but gate.prompts is empty",
                                            path, (unsigned long long)c->gate_every);
    if (!run_config_has_role(c, RUN_ROLE_COST))
        return err_set(err, ERR_USAGE,
                       "%s: gate.prompts is set, but no scorer of reward.scorers has the role "
                       "cost: nothing could be tested",
                       path);
    if (strcmp(c->gate_prompts, c->prompts) == 0)
        return err_set(err, ERR_USAGE,
                       "%s: gate.prompts is data.prompts: the gate needs prompts that training "
                       "never saw",
                       path);
    if (c->gate_bound == RUN_GATE_BOUND_CLOPPER_PEARSON &&
        c->gate_cost != RUN_GATE_COST_INDICATOR)
        return err_set(
            err, ERR_USAGE,
            "%s: gate.bound clopper_pearson counts harmful responses: gate.cost must "
            "be indicator, not %s",
            path, run_config_gate_costs[c->gate_cost]);
    if (c->gate_bound == RUN_GATE_BOUND_STUDENT && c->gate_cost == RUN_GATE_COST_INDICATOR)
        return err_set(
            err, ERR_USAGE,
            "%s: gate.bound student takes a mean to be normal, and that of costs of 0 "
            "or 1 is not: at a limit of 0.1, a delta of 0.05 and 100 prompts 11.7 %% of "
            "the policies just above the limit pass. clopper_pearson is exact for "
            "gate.cost indicator",
            path);
    if ((c->gate_bound == RUN_GATE_BOUND_HOEFFDING ||
         c->gate_bound == RUN_GATE_BOUND_BERNSTEIN) &&
        c->gate_cost_low >= c->gate_cost_high)
        return err_set(err, ERR_USAGE,
                       "%s: gate.bound %s: gate.cost_low %g is not below gate.cost_high %g",
                       path, bound, c->gate_cost_low, c->gate_cost_high);
    if (rate && !(c->gate_limit > 0 && c->gate_limit < 1))
        return err_set(err, ERR_USAGE,
                       "%s: gate.limit %g is no rate of harmful responses: it must be within 0 "
                       "and 1, or gate.cost be score",
                       path, c->gate_limit);
    if (run_config_candidates(c) > c->gate_candidates)
        return err_set(err, ERR_USAGE,
                       "%s: gate.every %llu makes %llu candidates of this run, but "
                       "gate.candidates plans for %u",
                       path, (unsigned long long)c->gate_every,
                       (unsigned long long)run_config_candidates(c), c->gate_candidates);
    return ERR_OK;
}

bool run_config_has_role(const struct run_config *config, enum run_role role)
{
    for (uint32_t i = 0; i < config->scorers; i++)
        if (config->scorer[i].role == role)
            return true;
    return false;
}

const struct run_scorer *run_config_model_scorer(const struct run_config *config,
                                                 enum run_role role)
{
    for (uint32_t i = 0; i < config->scorers; i++)
        if (config->scorer[i].role == role && config->scorer[i].kind == RUN_SCORER_MODEL)
            return &config->scorer[i];
    return NULL;
}

static enum err_code run_config_check_shaping(const struct run_config *c, const char *path,
                                              struct err *err)
{
    bool lsc = c->shapers_n == 0 && c->shaper == RUN_SHAPER_LSC;
    for (uint32_t i = 0; i < c->shapers_n; i++)
        lsc = lsc || strcmp(c->shapers[i], "lsc") == 0;
    if (lsc && c->references < 2)
        return err_set(err, ERR_USAGE,
                       "%s: reward.shaper lsc measures how far references lie apart: "
                       "reward.references must be at least 2",
                       path);
    return run_config_check_shapers(c, path, err);
}

enum err_code run_config_check_open(const struct run_config *config, const char *endpoint,
                                    struct err *err)
{
    if (config->insecure || config->keys[0] || wire_endpoint_is_local(endpoint))
        return ERR_OK;
    return err_set(err, ERR_USAGE,
                   "%s could be reached from other machines, by anybody: give endpoints.keys a "
                   "directory made by `rlhf keygen`, or set endpoints.insecure",
                   endpoint);
}

static enum err_code run_config_check_endpoints(const struct run_config *c, const char *path,
                                                struct err *err)
{
    const struct {
        const char *key, *endpoint;
    } bound[] = {{"endpoints.control", c->control_endpoint},
                 {"endpoints.bulk", c->bulk_endpoint},
                 {"endpoints.relay", c->relay_endpoint}};
    for (size_t i = 0; i < sizeof bound / sizeof bound[0]; i++) {
        struct err why;
        if (bound[i].endpoint[0] && strncmp(bound[i].endpoint, "tcp://", 6) != 0 &&
            strncmp(bound[i].endpoint, "ipc://", 6) != 0)
            return err_set(err, ERR_USAGE, "%s: %s: \"%.80s\" must begin with tcp:// or ipc://",
                           path, bound[i].key, bound[i].endpoint);
        if (run_config_check_open(c, bound[i].endpoint, &why) != ERR_OK)
            return err_set(err, ERR_USAGE, "%s: %s: %s", path, bound[i].key, why.text);
    }
    struct err why;
    if (c->http_listen[0] && http_check(c->http_listen, &why) != ERR_OK)
        return err_set(err, ERR_USAGE, "%s: %s", path, why.text);
    return ERR_OK;
}

static enum err_code run_config_check_ppo(const struct run_config *c, const char *path,
                                          struct err *err)
{
    if (c->batch % c->samples_per_prompt != 0)
        return err_set(err, ERR_USAGE,
                       "%s: pipeline.samples_per_prompt %u does not divide "
                       "pipeline.batch %u",
                       path, c->samples_per_prompt, c->batch);
    if (c->estimator != RUN_ESTIMATOR_GAE && c->estimator != RUN_ESTIMATOR_REINFORCE_PP &&
        c->samples_per_prompt < 2)
        return err_set(err, ERR_USAGE,
                       "%s: ppo.estimator %s compares samples of one prompt: "
                       "pipeline.samples_per_prompt must be at least 2",
                       path, run_config_estimators[c->estimator]);
    if (c->minibatches > c->batch)
        return err_set(err, ERR_USAGE, "%s: ppo.minibatches %u is more than pipeline.batch %u",
                       path, c->minibatches, c->batch);
    if (c->dual_clip > 0 && c->dual_clip <= 1)
        return err_set(err, ERR_USAGE, "%s: ppo.dual_clip %g must be 0 (off) or above 1", path,
                       c->dual_clip);
    if (c->critic == RUN_CRITIC_PATH && c->critic_path[0] == '\0')
        return err_set(err, ERR_USAGE, "%s: model.critic is path: model.critic_path is missing",
                       path);
    if (c->truncation == RUN_TRUNCATION_BOOTSTRAP && c->estimator != RUN_ESTIMATOR_GAE)
        return err_set(err, ERR_USAGE,
                       "%s: reward.truncation bootstrap needs a critic: "
                       "ppo.estimator gae",
                       path);
    return ERR_OK;
}

static enum err_code run_config_check_kl(const struct run_config *c, const char *path,
                                         struct err *err)
{
    const bool adaptive = c->kl_controller == RUN_KL_CONTROLLER_ADAPTIVE;
    if (c->kl_place == RUN_KL_PLACE_LOSS && c->kl_estimator == RUN_KL_K1)
        return err_set(err, ERR_USAGE,
                       "%s: kl.estimator k1 has no useful gradient in the loss: "
                       "take k2 or k3, or kl.place reward",
                       path);
    if ((c->kl_controller == RUN_KL_CONTROLLER_PID || (adaptive && c->kl_lookahead > 0)) &&
        (c->kl_coef_min >= c->kl_coef_max || c->kl_coef < c->kl_coef_min ||
         c->kl_coef > c->kl_coef_max))
        return err_set(err, ERR_USAGE,
                       "%s: kl.controller %s holds beta within kl.coef_min %g and kl.coef_max "
                       "%g, and kl.coef %g is where it starts",
                       path,
                       c->kl_controller == RUN_KL_CONTROLLER_PID ? "pid"
                                                                 : "adaptive with kl.lookahead",
                       c->kl_coef_min, c->kl_coef_max, c->kl_coef);
    if (c->kl_controller == RUN_KL_CONTROLLER_PID && c->kl_kp == 0 && c->kl_ki == 0 &&
        c->kl_kd == 0)
        return err_set(err, ERR_USAGE,
                       "%s: kl.controller pid never moves with kl.kp, kl.ki and kl.kd all 0",
                       path);
    if (adaptive && c->kl_coef == 0)
        return err_set(
            err, ERR_USAGE,
            "%s: kl.controller adaptive multiplies beta, which never leaves a kl.coef "
            "of 0",
            path);
    if (adaptive && c->kl_horizon > 0 && c->kl_horizon <= c->batch / 5.0)
        return err_set(err, ERR_USAGE,
                       "%s: kl.horizon %g must be above a fifth of pipeline.batch %u, or 0",
                       path, c->kl_horizon, c->batch);
    if (c->kl_reference_every > 0 && c->kl_reference_every <= c->lag)
        return err_set(err, ERR_USAGE,
                       "%s: kl.reference_every %llu must be more than pipeline.lag %u", path,
                       (unsigned long long)c->kl_reference_every, (unsigned)c->lag);
    return ERR_OK;
}

static enum err_code run_config_check_timeouts(const struct run_config *c, const char *path,
                                               struct err *err)
{
    if (c->dead_ms < 2 * c->heartbeat_ms)
        return err_set(err, ERR_USAGE,
                       "%s: timeouts.dead_ms %u must be at least twice "
                       "timeouts.heartbeat_ms %u",
                       path, c->dead_ms, c->heartbeat_ms);
    return ERR_OK;
}

enum err_code run_config_check(const struct run_config *config, const char *path,
                               struct err *err)
{
    static enum err_code (*const checks[])(const struct run_config *, const char *,
                                           struct err *) = {
        run_config_check_ppo,       run_config_check_kl,      run_config_check_timeouts,
        run_config_check_endpoints, run_config_check_scorers, run_config_check_shaping,
        run_config_check_combine,   run_config_check_safety,  run_config_check_breaker,
        run_config_check_gate,
    };
    enum err_code rc = ERR_OK;
    for (size_t i = 0; i < sizeof checks / sizeof checks[0] && rc == ERR_OK; i++)
        rc = checks[i](config, path, err);
    return rc;
}

/* sim_config.c -- the configurations of simulated runs: number by number another mixture, so that
 * each setting meets each of the others in one of them. */
#include <stdio.h>
#include <string.h>

#include "tests/sim/sim.h"

static void sim_config_pipeline(struct run_config *config, uint32_t number)
{
    static const uint32_t lags[] = {0, 1, 2, 4, 8, 1};
    config->seed = 1000 + number;
    config->learners = 1 + number / 2 % 3;
    config->steps = 6 + number % 5;
    config->lag = lags[number % 6];
    config->samples_per_prompt = number % 4 < 2 ? 2 : 1;
    config->batch = number % 7 == 0 ? 4 : 6;
    config->estimator = number % 8 == 1 ? RUN_ESTIMATOR_GRPO : RUN_ESTIMATOR_GAE;
    config->checkpoint_every = 1 + number % 4;
    config->max_new_tokens = SIM_TOKENS;
    config->prompt_tokens_max = 8;
    config->heartbeat_ms = 100;
    config->dead_ms = 600;
    config->lease_ms = 800;
    config->stall_ms = 2000;
    config->second_after = number % 4 == 3 ? 0.0 : 1.5 + number % 4;
}

static void sim_config_shaping(struct run_config *config, uint32_t number)
{
    static const enum run_shaper shapers[] = {
        RUN_SHAPER_NONE, RUN_SHAPER_CENTERED, RUN_SHAPER_PAR,  RUN_SHAPER_MEANSTD,
        RUN_SHAPER_LSC,  RUN_SHAPER_MINMAX,   RUN_SHAPER_SGFC, RUN_SHAPER_CLIP};
    config->shaper = shapers[number / 6 % 8];
    config->references = 1 + number % SIM_M_MAX;
    if (config->shaper == RUN_SHAPER_LSC && config->references == 1)
        config->references = 2;
    if (number % 9 == 4) {
        static const char *const chain[] = {"meanstd", "ceiling", "par", "minmax"};
        for (config->shapers_n = 0; config->shapers_n < 2 + number % 3; config->shapers_n++)
            snprintf(config->shapers[config->shapers_n], RUN_WORD_MAX, "%s",
                     chain[config->shapers_n]);
        config->ceiling = 0.75;
    }
    config->sigmoid_k = 1.0;
    config->sgfc_shift = 0.5;
    config->length_penalty = 0.01;
    config->length_free_tokens = 3;
    config->truncation = (enum run_truncation)(number % 3);
    config->truncation_penalty = 0.5;
}

static void sim_config_kl(struct run_config *config, uint32_t number)
{
    config->kl_estimator = (enum run_kl_estimator)(number % 3);
    config->kl_place = number % 5 == 0 ? RUN_KL_PLACE_LOSS : RUN_KL_PLACE_REWARD;
    config->kl_controller = RUN_KL_CONTROLLER_ADAPTIVE;
    config->kl_coef = 0.1;
    config->kl_target = 2.0;
    config->kl_horizon = number % 4 == 3 ? 0.0 : 50.0;
    config->kl_reference_every = number % 4 == 1 ? 0 : config->lag + 1 + number % 3;
    config->kl_lookahead = number % 2 ? 5.0 : 0.0;
    config->kl_smooth = 0.5;
    config->kl_coef_min = 0.01;
    config->kl_coef_max = 0.5;
    if (number % 5 == 2) {
        config->kl_controller = RUN_KL_CONTROLLER_PID;
        config->kl_target_token = number % 2 ? 0.2 : 0.0;
        config->kl_kp = 0.5;
        config->kl_ki = 0.1;
        config->kl_kd = 0.3;
    }
}

static void sim_config_scorers(struct run_config *config, uint32_t number)
{
    config->scorers = SIM_SCORERS;
    for (uint32_t s = 0; s < SIM_SCORERS; s++) {
        snprintf(config->scorer[s].name, sizeof config->scorer[s].name, "scorer-%u",
                 (unsigned)s);
        config->scorer[s].weight = s == 0 ? 1.0 : 0.25;
        config->scorer[s].margin = 0.5;
    }
    config->scorer[SIM_MONITOR].role = RUN_ROLE_MONITOR;
    config->scorer[SIM_COST].role = number % 8 == 3 ? RUN_ROLE_REWARD : RUN_ROLE_COST;
}

/* A tree goes with shapers that take no references, groups of users with no kinds. */
static void sim_config_combine(struct run_config *config, uint32_t number)
{
    const bool alone =
        config->shapers_n == 0 &&
        (config->shaper == RUN_SHAPER_NONE || config->shaper == RUN_SHAPER_MEANSTD ||
         config->shaper == RUN_SHAPER_MINMAX || config->shaper == RUN_SHAPER_CLIP);
    if (number % 4 == 0)
        config->combine = RUN_COMBINE_MAXMIN;
    if (number % 3 == 2 && alone)
        config->combine = RUN_COMBINE_TREE;
    if (number % 5 == 3 && config->combine != RUN_COMBINE_MAXMIN)
        snprintf(config->scorer[SIM_KIND].prompt_kind, RUN_NAME_MAX, "code");
}

static void sim_config_safety(struct run_config *config, uint32_t number)
{
    if (config->scorer[SIM_COST].role == RUN_ROLE_COST)
        config->safety_controller = (enum run_safety_controller)(3 - number / 2 % 4);
    config->safety_cost = (enum run_safety_cost)(number % 2);
    config->safety_limit = 0.1;
    config->safety_lambda = 0.5;
    config->safety_lambda_max = 2.0;
    config->safety_lr = 0.5;
    config->safety_kp = 0.5;
    config->safety_ki = 0.2;
    config->safety_kd = 0.3;
    config->safety_window_steps = 1 + number % 3;
    config->safety_delay_steps = number % 3;
    if (number % 7 == 6 && config->safety_controller != RUN_SAFETY_CONTROLLER_NONE)
        config->safety_gate_samples = 100;
    config->safety_c1 = 0.5;
    config->safety_c2 = 1.0;
    config->safety_delta = 0.1;
}

/* Runs that go back are longer, so that there is something to go back to. */
static void sim_config_breaker(struct run_config *config, uint32_t number)
{
    const bool halts = number % 3 == 1;
    const bool goes_back = number % 3 == 2 || number % 12 == 0 || number % 12 == 3;
    if (halts || goes_back) {
        config->limits = 2;
        config->limit[0] = (struct run_limit){.signal = RUN_SIGNAL_REWARD,
                                              .low = -RUN_LIMIT_NONE,
                                              .high = SIM_REWARD_HIGH,
                                              .outcome = RUN_TRIP_SKIP};
        config->limit[1] =
            (struct run_limit){.signal = RUN_SIGNAL_GRAD_NORM,
                               .low = -1.0,
                               .high = goes_back ? SIM_GRAD_HIGH : 1.0,
                               .outcome = goes_back ? RUN_TRIP_ROLLBACK : RUN_TRIP_HALT};
    }
    if (goes_back)
        config->steps = 12 + number % 4;
    config->breaker_restore_every = 1 + number / 3 % 3;
    config->breaker_lr_factor = 0.5;
    config->breaker_beta_factor = 1.0 + number % 2;
    config->breaker_window = 5;
    config->breaker_warmup = 3;
    config->breaker_cooldown = 1 + number % 2;
    config->breaker_trips_max = 64;
}

void sim_config_make(struct run_config *config, uint32_t number)
{
    memset(config, 0, sizeof *config);
    sim_config_pipeline(config, number);
    sim_config_shaping(config, number);
    sim_config_kl(config, number);
    sim_config_scorers(config, number);
    sim_config_combine(config, number);
    sim_config_safety(config, number);
    sim_config_breaker(config, number);
}

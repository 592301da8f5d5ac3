/* sim_content.c -- what simulated workers make: pure functions of what is asked. */
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "tests/sim/sim.h"

static uint64_t sim_content_bits(uint64_t salt, uint64_t work, uint64_t a, uint64_t b)
{
    return sim_mix(sim_mix(sim_mix(sim_mix(salt) ^ work) ^ a) ^ b);
}

void sim_content_rollout(struct sim_rollout *out, uint64_t version, enum wire_work work,
                         uint64_t a, uint32_t b)
{
    memset(out, 0, sizeof *out);
    uint64_t bits = sim_content_bits(version + 100, (uint64_t)work, a, b);
    out->tokens = 1 + (uint32_t)(bits % SIM_TOKENS);
    out->finish = out->tokens == SIM_TOKENS ? WIRE_FINISH_LENGTH : WIRE_FINISH_EOS;
    for (uint32_t t = 0; t < out->tokens; t++) {
        bits = sim_mix(bits);
        out->ids[t] = (int32_t)(bits % 1000);
        out->logp[t] = -(float)(bits >> 20 & 1023) / 512.0f;
    }
}

uint32_t sim_content_score(double score[SIM_SCORERS], float ref[SIM_TOKENS],
                           const struct sim_rollout *rollout, enum wire_work work, uint64_t a,
                           uint32_t b)
{
    uint64_t bits = sim_content_bits(hash_xxh3(rollout, sizeof *rollout), (uint64_t)work, a, b);
    const uint32_t never = bits % 40 == 0 ? 0 : bits % 40 == 1 ? SIM_COST : SIM_SCORERS;
    for (uint32_t s = 0; s < SIM_SCORERS; s++) {
        bits = sim_mix(bits);
        score[s] = ((double)(bits % 2001) - 1000.0) / 500.0;
    }
    for (uint32_t t = 0; t < rollout->tokens; t++) {
        bits = sim_mix(bits);
        ref[t] = -(float)(bits >> 20 & 1023) / 512.0f;
    }
    return never;
}

void sim_content_train(struct hash *out, const struct hash *from, const struct message *lease)
{
    uint64_t sums[11] = {0};
    if (lease->items_n == 0) { /* set aside */
        *out = *from;
        return;
    }
    sums[0] = hash_xxh3(from, sizeof *from);
    sums[1] = lease->step * 1000 + lease->behaviour_version;
    memcpy(&sums[2], &lease->kl_coef, sizeof sums[2]);
    for (uint32_t i = 0; i < lease->items_n; i++) {
        const struct wire_item *item = &lease->items[i];
        const uint64_t words[7] = {
            (uint64_t)item->kind,   item->a,    item->b, item->prompt, item->response_tokens,
            (uint64_t)item->finish, item->group};
        sums[3] = sim_mix(sums[3] ^ hash_xxh3(words, sizeof words));
    }
    memcpy(&sums[9], &lease->multiplier, sizeof sums[9]);
    memcpy(&sums[10], &lease->lr_scale, sizeof sums[10]);
    for (uint32_t f = 0; f < lease->frames_n && f < 5; f++)
        sums[4 + f] = hash_xxh3(lease->frame[f].data, lease->frame[f].size);
    uint64_t words[4];
    words[0] = hash_xxh3(sums, sizeof sums);
    for (int i = 1; i < 4; i++)
        words[i] = sim_mix(words[i - 1]);
    memcpy(out, words, sizeof *out);
}

/* A tree goes with shapers that take no references, groups of users with no kinds. */
static void sim_content_combine(struct run_config *config, uint32_t number)
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

void sim_content_config(struct run_config *config, uint32_t number)
{
    static const uint32_t lags[] = {0, 1, 2, 4, 8, 1};
    static const enum run_shaper shapers[] = {
        RUN_SHAPER_NONE, RUN_SHAPER_CENTERED, RUN_SHAPER_PAR,  RUN_SHAPER_MEANSTD,
        RUN_SHAPER_LSC,  RUN_SHAPER_MINMAX,   RUN_SHAPER_SGFC, RUN_SHAPER_CLIP};
    memset(config, 0, sizeof *config);
    config->seed = 1000 + number;
    config->learners = 1 + number / 2 % 3;
    config->steps = 6 + number % 5;
    config->lag = lags[number % 6];
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
    config->samples_per_prompt = number % 4 < 2 ? 2 : 1;
    config->batch = number % 7 == 0 ? 4 : 6;
    config->estimator = number % 8 == 1 ? RUN_ESTIMATOR_GRPO : RUN_ESTIMATOR_GAE;
    config->checkpoint_every = 1 + number % 4;
    config->max_new_tokens = SIM_TOKENS;
    config->prompt_tokens_max = 8;
    config->sigmoid_k = 1.0;
    config->sgfc_shift = 0.5;
    config->length_penalty = 0.01;
    config->length_free_tokens = 3;
    config->truncation = (enum run_truncation)(number % 3);
    config->truncation_penalty = 0.5;
    config->kl_estimator = (enum run_kl_estimator)(number % 3);
    config->kl_place = number % 5 == 0 ? RUN_KL_PLACE_LOSS : RUN_KL_PLACE_REWARD;
    config->kl_controller = RUN_KL_CONTROLLER_ADAPTIVE;
    config->kl_coef = 0.1;
    config->kl_target = 2.0;
    config->kl_horizon = number % 4 == 3 ? 0.0 : 50.0;
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
    config->scorers = SIM_SCORERS;
    for (uint32_t s = 0; s < SIM_SCORERS; s++) {
        snprintf(config->scorer[s].name, sizeof config->scorer[s].name, "scorer-%u",
                 (unsigned)s);
        config->scorer[s].weight = s == 0 ? 1.0 : 0.25;
        config->scorer[s].margin = 0.5;
    }
    sim_content_combine(config, number);
    config->scorer[SIM_MONITOR].role = RUN_ROLE_MONITOR;
    config->scorer[SIM_COST].role = number % 8 == 3 ? RUN_ROLE_REWARD : RUN_ROLE_COST;
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
    if (number % 3 == 1) {
        config->limit[config->limits++] = (struct run_limit){.signal = RUN_SIGNAL_REWARD,
                                                             .low = -RUN_LIMIT_NONE,
                                                             .high = SIM_REWARD_HIGH,
                                                             .outcome = RUN_TRIP_SKIP};
        config->limit[config->limits++] = (struct run_limit){
            .signal = RUN_SIGNAL_GRAD_NORM, .low = -1.0, .high = 1.0, .outcome = RUN_TRIP_HALT};
    }
    if (number % 3 == 2 || number % 12 == 0 || number % 12 == 3) {
        config->steps = 12 + number % 4;
        config->limit[config->limits++] = (struct run_limit){.signal = RUN_SIGNAL_REWARD,
                                                             .low = -RUN_LIMIT_NONE,
                                                             .high = SIM_REWARD_HIGH,
                                                             .outcome = RUN_TRIP_SKIP};
        config->limit[config->limits++] = (struct run_limit){.signal = RUN_SIGNAL_GRAD_NORM,
                                                             .low = -1.0,
                                                             .high = SIM_GRAD_HIGH,
                                                             .outcome = RUN_TRIP_ROLLBACK};
    }
    config->breaker_restore_every = 1 + number / 3 % 3;
    config->breaker_lr_factor = 0.5;
    config->breaker_beta_factor = 1.0 + number % 2;
    config->breaker_window = 5;
    config->breaker_warmup = 3;
    config->breaker_cooldown = 1 + number % 2;
    config->breaker_trips_max = 64;
    config->heartbeat_ms = 100;
    config->dead_ms = 600;
    config->lease_ms = 800;
    config->stall_ms = 2000;
    config->second_after = number % 4 == 3 ? 0.0 : 1.5 + number % 4;
}

static const uint8_t sim_kinds[SIM_PROMPTS] = {
    0, SIM_KIND + 1, SIM_KIND + 1, 0, 0, SIM_KIND + 1, 0};

bool sim_content_counts(const struct run_config *config, uint32_t prompt)
{
    return config->scorer[SIM_KIND].prompt_kind[0] == '\0' || sim_kinds[prompt] != 0;
}

struct core_prompts sim_content_prompts(const struct run_config *config)
{
    static const size_t offset[SIM_PROMPTS + 1] = {0, 1, 3, 6, 10, 11, 13, 16};
    static const int32_t ids[16] = {5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20};
    const bool kinds = config->scorer[SIM_KIND].prompt_kind[0] != '\0';
    return (struct core_prompts){
        .n = SIM_PROMPTS, .offset = offset, .ids = ids, .kind = kinds ? sim_kinds : NULL};
}

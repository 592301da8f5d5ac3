/*
 * bench_control.c -- all arithmetic of a step that is not the model's: scores to token rewards
 * of both streams, and each controller once.  The shapes are those of ops/demo/run.yaml: 64
 * responses of 20 tokens, 2 references to each prompt.
 *
 * In turns with what no program could leave out: the formulas of each token and response, written
 * down in a row, without a check of any number and without the controllers' own arithmetic.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench/bench.h"
#include "control/breaker.h"
#include "control/chain.h"
#include "control/combine.h"
#include "control/kl.h"
#include "control/lagrange.h"
#include "control/reward.h"

enum { B = 64, T = 20, REFERENCES = 2, SCORERS = 2 };

struct control_bench {
    struct combine_params combine;
    struct combine_term term;
    struct chain_params chain;
    struct reward_params reward;
    struct kl_params kl;
    struct lagrange_params lagrange;
    struct breaker_params breaker;
    struct chain_state chain_state;
    struct kl_state kl_state;
    struct lagrange_state lagrange_state;
    struct breaker_state breaker_state;
    float *logp, *logref, *out; /* [B * T] */
    double sum[B], shaped[B];
    uint32_t tokens[B];
    double steps;
};

/* Scores, shaping and costs of one response. */
static void control_response(struct control_bench *b, uint32_t i, struct chain_state *seen,
                             struct lagrange_sums *costs)
{
    struct err err;
    const double shift = 0.01 * (double)(i % 17);
    const struct score named[SCORERS] = {{"proxy", SCORE_OK, 1.0 + shift},
                                         {"cost", SCORE_OK, shift - 1.0}};
    const struct combine_scores all = {named, SCORERS};
    const double refs[REFERENCES] = {0.5 - shift, 0.25};
    double raw;
    bench_check("control", combine_apply(&b->combine, NULL, &all, NULL, 0, &raw, &err), &err);
    raw = reward_length(&b->reward, raw, T);
    bench_check(
        "control",
        chain_apply(&b->chain, &b->chain_state, raw, refs, REFERENCES, &b->shaped[i], &err),
        &err);
    bench_check("control",
                chain_add(&b->chain, &b->chain_state, raw, refs, REFERENCES, seen, &err), &err);
    lagrange_add(costs, score_probability(named[1].value));
    bench_check("control",
                kl_sequence(KL_K1, b->logp + i * T, b->logref + i * T, NULL, T, &b->sum[i],
                            &b->tokens[i], &err),
                &err);
}

static void control_streams(struct control_bench *b, double beta)
{
    struct err err;
    for (uint32_t i = 0; i < B; i++)
        for (int cost = 0; cost < 2; cost++)
            bench_check("control",
                        reward_tokens(&b->reward,
                                      cost ? REWARD_STREAM_COST : REWARD_STREAM_REWARD, beta,
                                      b->shaped[i], b->logp + i * T, b->logref + i * T, NULL, T,
                                      b->out + i * T, &err),
                        &err);
}

static void control_step(void *arg)
{
    struct control_bench *b = arg;
    struct err err;
    struct chain_state seen = {0};
    struct lagrange_sums costs = {0};
    for (uint32_t i = 0; i < B; i++)
        control_response(b, i, &seen, &costs);
    const double beta = b->kl_state.coef;
    const double kl = kl_batch_mean(b->kl.unit, b->sum, b->tokens, B);
    bench_check("control", kl_step(&b->kl, &b->kl_state, kl, B, &err), &err);
    bench_check("control", chain_update(&b->chain, &b->chain_state, &seen, &err), &err);
    bench_check("control", lagrange_step(&b->lagrange, &b->lagrange_state, &costs, &err), &err);
    struct breaker_sample sample = {.version = b->steps++};
    for (int s = 0; s < (int)BREAKER_SIGNALS; s++) {
        sample.measured[s] = true;
        sample.value[s] = 1.0 + 0.1 * (double)((uint64_t)b->steps % 7);
    }
    (void)breaker_step(&b->breaker, &b->breaker_state, &sample);
    control_streams(b, beta);
}

static void control_setup(struct control_bench *b)
{
    b->term = (struct combine_term){.name = "proxy", .weight = 1.0};
    b->combine = (struct combine_params){.kind = COMBINE_SUM, .terms = 1, .term = &b->term};
    b->chain = (struct chain_params){
        .links = 2,
        .link = {{.kind = SHAPING_MEANSTD},
                 {.kind = SHAPING_PAR, .references = REFERENCES, .slope = 1.0}}};
    b->kl = (struct kl_params){.controller = KL_CONTROLLER_PID,
                               .coef = 0.1,
                               .target = 5.0,
                               .kp = 2.0,
                               .ki = 0.1,
                               .kd = 5.0,
                               .smooth = 0.9,
                               .coef_min = 1e-4,
                               .coef_max = 10.0};
    b->lagrange = (struct lagrange_params){.controller = LAGRANGE_PID,
                                           .limit = 0.1,
                                           .multiplier = 1.0,
                                           .multiplier_max = 5.0,
                                           .kp = 0.1,
                                           .ki = 0.01,
                                           .kd = 0.01,
                                           .window = 2};
    breaker_params_init(&b->breaker);
    for (int s = 0; s < (int)BREAKER_SIGNALS; s++) {
        b->breaker.limit[s].deviations = 8.0;
        b->breaker.limit[s].relative = BREAKER_HALT;
    }
    chain_init(&b->chain, &b->chain_state);
    kl_init(&b->kl, &b->kl_state);
    lagrange_init(&b->lagrange, &b->lagrange_state);
    breaker_init(&b->breaker_state);
    b->logp = bench_floats(B * T);
    b->logref = bench_floats(B * T);
    b->out = bench_floats(B * T);
    for (uint32_t i = 0; i < B * T; i++)
        b->logref[i] -= 0.25f; /* nats a token */
}

/* Or nothing would be computed. */
static void control_keep(double value)
{
    volatile double kept = value;
    (void)kept;
}

/* Log-probs to both streams, and the logistic functions: of a response's cost, and of its
 * reward against each reference. */
static void control_formulas(void *arg)
{
    struct control_bench *b = arg;
    const double beta = b->kl_state.coef;
    double kl = 0.0, shaped = 0.0;
    for (size_t i = 0; i < B * T; i++)
        kl += (double)b->logp[i] - (double)b->logref[i];
    for (int cost = 0; cost < 2; cost++) {
        for (size_t i = 0; i < B * T; i++)
            b->out[i] =
                (float)((cost ? beta : -beta) * ((double)b->logp[i] - (double)b->logref[i]));
        control_keep(b->out[B * T - 1]);
    }
    for (size_t i = 0; i < B * (REFERENCES + 1); i++)
        shaped += 1.0 / (1.0 + exp((double)b->logp[i]));
    control_keep(kl + shaped);
}

void bench_control(const struct bench *bench)
{
    struct control_bench b = {0};
    control_setup(&b);
    const struct bench_run runs[] = {{.fn = control_step, .arg = &b, .calls = 64},
                                     {.fn = control_formulas, .arg = &b, .calls = 64}};
    struct bench_time times[2];
    bench_times(bench, runs, 2, times);
    const struct bench_ceiling ceiling = bench_ceiling_of("its formulas alone", 1.0, times[1]);
    bench_report_under(bench, "control", "64 responses of 20 tokens, all controllers", 1.0,
                       "steps/s", times[0], &ceiling, 1);
    free(b.logp);
    free(b.logref);
    free(b.out);
}

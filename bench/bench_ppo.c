/*
 * bench_ppo.c -- whole PPO steps in one process: an actor samples, a reward process scores and
 * gives reference log-probs, a learner has values, advantages, and updates policy and critic,
 * publishes the weights, and the actor maps them; a coordinator's core shapes and decides
 * (session.h).  All of it is the daemons' own.  Lag 0: one part after the other.
 *
 * Each part stands beside its matrix products alone, and the step beside their sum.  Tokens are
 * those of prompts and responses.
 */
#include <stdio.h>
#include <stdlib.h>

#include "actor/actor.h"
#include "bench/bench_model.h"
#include "bench/scene.h"
#include "bench/session.h"
#include "learner/learner.h"
#include "reward/reward.h"

enum { PPO_SAMPLES = 4, PPO_PROMPT = 16, PPO_PROMPTS = 64 };

/* Channels of models of which a step takes ten seconds: measured where --only is there. */
#define PPO_WIDE 512u

enum { PPO_GENERATE, PPO_SCORE, PPO_TRAIN, PPO_PARTS };

struct ppo_bench {
    struct bench_dir dir;
    struct run_config config;
    size_t offset[PPO_PROMPTS + 1];
    int32_t ids[PPO_PROMPTS * PPO_PROMPT];
    struct wire_context *context;
    struct actor *actor;
    struct reward *reward;
    struct learner *learner;
    struct session session;

    struct bench_model *products;
    size_t seqs, tokens; /* of a step: sequences, and tokens of each, prompt included */
};

/* ---- the parts of a step ---- */

static void ppo_generate(void *arg)
{
    struct ppo_bench *b = arg;
    session_work(&b->session, SESSION_ACTOR, actor_compute, b->actor);
}

static void ppo_score(void *arg)
{
    struct ppo_bench *b = arg;
    session_work(&b->session, SESSION_REWARD, reward_compute, b->reward);
}

static void ppo_train(void *arg)
{
    struct ppo_bench *b = arg;
    const uint64_t steps = b->session.steps;
    session_work(&b->session, SESSION_LEARNER, learner_compute, b->learner);
    if (b->session.steps != steps + 1)
        bench_stop("ppo", "the step was not trained");
}

/* ---- their products ---- */

/* The same products of fewer rows. */
static struct bench_model ppo_rows(const struct ppo_bench *b, size_t rows, size_t head_rows)
{
    struct bench_model model = *b->products;
    model.rows = rows;
    model.head_rows = head_rows;
    return model;
}

/* Each prompt once, then a token of each sequence a turn. */
static void ppo_generate_products(void *arg)
{
    const struct ppo_bench *b = arg;
    const size_t prompts = b->seqs / PPO_SAMPLES;
    struct bench_model prefill = ppo_rows(b, prompts * PPO_PROMPT, prompts);
    struct bench_model decode = ppo_rows(b, b->seqs, b->seqs);
    bench_model_forward(&prefill);
    for (size_t t = 1; t < b->tokens - PPO_PROMPT; t++)
        bench_model_forward(&decode);
}

/* The reference's log-probs. */
static void ppo_score_products(void *arg)
{
    const struct ppo_bench *b = arg;
    bench_model_forward(b->products);
}

/* Values of the critic, then both ways through policy and critic. */
static void ppo_train_products(void *arg)
{
    const struct ppo_bench *b = arg;
    struct bench_model critic = ppo_rows(b, b->products->rows, 0);
    bench_model_forward(&critic);
    bench_model_backward(b->products);
    bench_model_backward(&critic);
}

/* ---- a run without its processes ---- */

static void ppo_config(struct ppo_bench *b, const struct bench *bench)
{
    char yaml[1024];
    snprintf(yaml, sizeof yaml,
             "run: {dir: run, steps: 1000000}\n"
             "model: {policy: model, precision: %s}\n"
             "data: {prompts: prompts.jsonl, prompt_tokens_max: %d}\n"
             "pipeline: {lag: 0, batch: %zu, samples_per_prompt: %d}\n"
             "sampling: {max_new_tokens: %zu}\n"
             "reward:\n  shaper: none\n  scorers:\n"
             "    - {name: length, kind: length, min_tokens: 4, max_tokens: 8}\n"
             "ppo: {minibatches: 2}\n"
             "optimizer: {lr: 1.0e-6, critic_lr: 1.0e-6}\n"
             "checkpoint: {every: 64}\n"
             "workers: {actor_threads: %zu, reward_threads: %zu, learner_threads: %zu,\n"
             "  actor_rows: %zu}\n",
             bench->precision == PRECISION_BF16 ? "bf16" : "fp32", PPO_PROMPT, b->seqs,
             PPO_SAMPLES, b->tokens - PPO_PROMPT, bench->threads, bench->threads,
             bench->threads, b->seqs);
    scene_config(&b->dir, yaml, &b->config);
}

static struct core_prompts ppo_prompts(struct ppo_bench *b, uint32_t vocabulary)
{
    for (size_t i = 0; i <= PPO_PROMPTS; i++)
        b->offset[i] = i * PPO_PROMPT;
    for (uint32_t i = 0; i < PPO_PROMPTS * PPO_PROMPT; i++)
        b->ids[i] = (int32_t)((i * 7919 + 13) % vocabulary);
    return (struct core_prompts){.n = PPO_PROMPTS, .offset = b->offset, .ids = b->ids};
}

static void ppo_greet(struct ppo_bench *b)
{
    struct message actor = {.role = WIRE_ROLE_ACTOR, .capacity = (uint32_t)b->seqs};
    struct message reward = {
        .role = WIRE_ROLE_REWARD, .capacity = REWARD_CAPACITY, .has_hash = true};
    struct message learner = {.role = WIRE_ROLE_LEARNER,
                              .capacity = WIRE_ITEMS_MAX,
                              .has_hash = true,
                              .hash = b->learner->weights_hash,
                              .version = b->learner->version};
    struct message *const all[] = {&actor, &reward, &learner};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        run_config_hash(&b->config, &all[i]->config_hash);
    reward_fingerprint(b->reward, &reward.hash);
    snprintf(learner.text, sizeof learner.text, "%s",
             weights_server_endpoint(b->learner->server));
    session_greet(&b->session, SESSION_REWARD, &reward);
    session_greet(&b->session, SESSION_LEARNER, &learner);
    session_greet(&b->session, SESSION_ACTOR, &actor);
}

static struct ppo_bench *ppo_open(const struct bench *bench, const struct bench_shape *shape)
{
    char bulk[128];
    struct err err = {0};
    struct ppo_bench *b = calloc(1, sizeof *b);
    if (!b)
        bench_stop("ppo", "out of memory");
    b->seqs = shape->seqs;
    b->tokens = shape->tokens;
    bench_dir_open(&b->dir);
    scene_write(&b->dir, &shape->config, PPO_PROMPTS);
    ppo_config(b, bench);
    const struct core_prompts prompts = ppo_prompts(b, shape->config.V);
    snprintf(bulk, sizeof bulk, "ipc://%s/bulk", b->dir.path);
    bench_check("ppo", wire_context_new(&b->context, &err), &err);
    bench_check("ppo", actor_new(&b->actor, &b->config, b->context, &err), &err);
    bench_check("ppo", reward_new(&b->reward, &b->config, b->context, &err), &err);
    bench_check("ppo",
                learner_new(&b->learner, &b->config, "learner-0", LEARNER_NEWEST, b->context,
                            bulk, &err),
                &err);
    session_open(&b->session, &b->config, &prompts);
    ppo_greet(b);
    b->products = bench_model_new(bench, shape, b->seqs * b->tokens,
                                  b->seqs * (b->tokens - PPO_PROMPT), true);
    return b;
}

static void ppo_close(struct ppo_bench *b)
{
    session_close(&b->session);
    actor_free(b->actor);
    reward_free(b->reward);
    learner_free(b->learner);
    wire_context_free(b->context);
    bench_model_free(b->products);
    bench_dir_close(&b->dir);
    free(b);
}

/* ---- what comes of it ---- */

static struct bench_time ppo_sum(const struct bench_time *parts)
{
    struct bench_time sum = {0.0, 0.0, parts[0].calls};
    for (size_t p = 0; p < PPO_PARTS; p++) {
        sum.best += parts[p].best;
        sum.median += parts[p].median;
    }
    return sum;
}

static void ppo_report(const struct bench *bench, const char *what, const char *part,
                       double tokens, struct bench_time time, struct bench_time products)
{
    const struct bench_ceiling ceiling = bench_ceiling_of("own products", tokens, products);
    char which[128];
    snprintf(which, sizeof which, "%s%s", what, part);
    bench_report_under(bench, "ppo", which, tokens, "tokens/s", time, &ceiling, 1);
}

/* The parts take turns with their products; between two steps nothing is left over. */
static void ppo_case(const struct bench *bench, const struct bench_shape *shape)
{
    static const char *const parts[PPO_PARTS] = {": generate", ": score", ": train"};
    struct ppo_bench *b = ppo_open(bench, shape);
    const struct bench_run runs[2 * PPO_PARTS] = {
        {.fn = ppo_generate, .arg = b},       {.fn = ppo_score, .arg = b},
        {.fn = ppo_train, .arg = b},          {.fn = ppo_generate_products, .arg = b},
        {.fn = ppo_score_products, .arg = b}, {.fn = ppo_train_products, .arg = b},
    };
    struct bench_time times[2 * PPO_PARTS];
    char what[64];
    bench_times(bench, runs, 2 * PPO_PARTS, times);
    const double tokens = (double)(b->seqs * b->tokens);
    snprintf(what, sizeof what, "%s, %zu x %d x %zu tokens", shape->name, b->seqs / PPO_SAMPLES,
             PPO_SAMPLES, b->tokens);
    ppo_report(bench, what, "", tokens, ppo_sum(times), ppo_sum(times + PPO_PARTS));
    for (size_t p = 0; p < PPO_PARTS; p++)
        ppo_report(bench, what, parts[p], tokens, times[p], times[PPO_PARTS + p]);
    ppo_close(b);
}

void bench_ppo(const struct bench *bench)
{
    for (size_t i = 0; i < BENCH_SHAPES; i++)
        if (!bench_skips(bench, bench_shapes[i].name) &&
            (bench->only || bench_shapes[i].config.C < PPO_WIDE))
            ppo_case(bench, &bench_shapes[i]);
}

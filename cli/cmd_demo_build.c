/* cmd_demo_build.c -- `rlhf demo build`: the built-in world and the models taught on it. */
#include <stdio.h>

#include "cli/cli.h"
#include "cli/demo_pairs.h"
#include "cli/fit_display.h"
#include "cli/publish.h"
#include "offline/sft.h"
#include "world/world.h"

enum { DEMO_ANSWERS = 8, DEMO_TOKENS = 1024, DEMO_RESPONSE_TOKENS = 48 };

struct demo_build {
    const char *out;
    uint64_t seed, threads, epochs, pairs, safety, test;
    double scale, flip;

    struct pool *pool;
    struct model *policy;
    struct tokenizer *tokenizer;
    struct publish publish;
};

static struct model_config demo_build_policy_config(void)
{
    // clang-format off
    return (struct model_config){
        .family = MODEL_LLAMA, .model_type = "llama", .head = MODEL_HEAD_LM,
        .V = WORLD_VOCABULARY, .C = 64, .L = 3, .H = 4, .G = 2, .D = 16, .F = 160, .T = 128,
        .norm_eps = 1e-5f, .tied = true, .rope_theta = 10000.0f, .rope_scaling = ROPE_DEFAULT,
        .bos = -1, .eos = WORLD_END_ID, .pad = WORLD_END_ID};
    // clang-format on
}

static struct fit_params demo_build_policy_params(const struct demo_build *d)
{
    return (struct fit_params){
        .seed = d->seed,
        .epochs = d->epochs,
        .step_tokens = DEMO_TOKENS,
        .micro_tokens = DEMO_TOKENS,
        .lr = 4e-3,
        .lr_floor = 0.02,
        .warmup_steps = 20,
        .schedule = SCHEDULE_cosine,
        .grad_clip = 1.0,
        .eval_every = 100,
        .adamw = {.beta1 = 0.9f, .beta2 = 0.99f, .eps = 1e-8f, .weight_decay = 0.01f}};
}

/* The policy, taught on sft.jsonl. */
static enum err_code demo_build_policy(struct demo_build *d, struct err *err)
{
    const struct fit_params params = demo_build_policy_params(d);
    const struct model_config config = demo_build_policy_config();
    struct sft_data data = {0};
    char path[FILE_PATH_MAX];
    enum err_code rc = ERR_OK;
    d->policy = model_new(&config, err);
    d->tokenizer = d->policy ? tokenizer_load(d->publish.dir, err) : NULL;
    if (!d->tokenizer)
        return err->code;
    model_init_random(d->policy, d->seed, 0.05f);
    const struct example_reader reader = {.config = &d->policy->config,
                                          .tokenizer = d->tokenizer,
                                          .end = true,
                                          .tokens_max = DEMO_TOKENS};
    if ((rc = file_join(path, d->publish.dir, "sft.jsonl", err)) ||
        (rc = sft_data_read(&data, &reader, path, err)))
        goto out;
    printf("policy: %zu examples, %zu tokens, %zu parameters\n", data.n, data.ids.n,
           d->policy->params);
    struct fit_history history;
    struct fit_display display;
    fit_display_init(&display, false);
    rc = sft_train(d->policy, d->pool, &data, &params, 0.02, fit_display_step, &display,
                   &history, err);
    fit_history_release(&history);
out:
    sft_data_release(&data);
    return rc;
}

/* A complete model directory below the one being made. */
static enum err_code demo_build_save(const struct demo_build *d, const struct model *model,
                                     const char *name, struct err *err)
{
    char dir[FILE_PATH_MAX];
    struct publish into = {0};
    enum err_code rc = file_join(dir, d->publish.dir, name, err);
    if (!rc)
        rc = publish_begin(&into, dir, err);
    if (!rc)
        rc = model_save(model, into.dir, err);
    if (!rc)
        rc = publish_tokenizer(&into, d->publish.dir, err);
    if (!rc)
        rc = publish_commit(&into, err);
    publish_abort(&into);
    return rc;
}

static enum err_code demo_build_run(struct demo_build *d, struct err *err)
{
    const struct demo_pairs_params pairs = {
        .seed = d->seed,
        .pairs = (uint32_t)d->pairs,
        .safety = (uint32_t)d->safety,
        .test = (uint32_t)d->test,
        .scale = d->scale,
        .flip = d->flip,
        .max_new_tokens = DEMO_RESPONSE_TOKENS,
    };
    pool_thread_init();
    d->pool = pool_new(d->threads, err);
    if (!d->pool)
        return err->code;
    enum err_code rc = publish_begin(&d->publish, d->out, err);
    if (!rc)
        rc = world_write(d->publish.dir, d->seed, DEMO_ANSWERS, err);
    if (!rc)
        rc = demo_build_policy(d, err);
    if (!rc)
        rc = demo_build_save(d, d->policy, "policy", err);
    if (!rc)
        rc = demo_pairs_write(d->publish.dir, d->policy, d->pool, d->tokenizer, &pairs, err);
    if (!rc)
        rc = publish_commit(&d->publish, err);
    if (!rc)
        printf("wrote %s; try: rlhf generate --model %s/policy --prompt \"$(printf 'user: what "
               "colour is the frog?\\nbot:')\"\n",
               d->out, d->out);
    return rc;
}

static const struct cli_usage demo_build_usage = {
    .words = "demo build",
    .synopsis = "--out DIR [options]",
    .about =
        "Makes the built-in world whole, from a seed: its data (see `rlhf help demo data`),\n"
        "a small policy taught on it, preferences between the policy's answers, drawn from\n"
        "the known truth with the noise people have, and a reward and a cost model that\n"
        "have seen only these.\n"
        "The same seed makes the same bytes.\n",
    .examples = "  rlhf demo build --out runs/world && rlhf run ops/demo/run.yaml\n",
};

int cmd_demo_build(int argc, char **argv)
{
    struct demo_build d = {.seed = 1,
                           .threads = 1,
                           .epochs = 12,
                           .pairs = 800,
                           .safety = 800,
                           .test = 500,
                           .scale = 1.0,
                           .flip = 0.03};
    const struct cli_option options[] = {
        cli_text("out", &d.out, "DIR", "the directory to make"),
        cli_count("seed", &d.seed, "S", 0, 0, "same seed, same bits"),
        cli_count("epochs", &d.epochs, "N", 1, 1000, "times the policy sees its data"),
        cli_count("pairs", &d.pairs, "N", 16, DEMO_PAIRS_MAX,
                  "preference pairs the reward model sees"),
        cli_count("safety", &d.safety, "N", 16, DEMO_PAIRS_MAX,
                  "labelled pairs the cost model sees"),
        cli_count("test", &d.test, "N", 16, DEMO_PAIRS_MAX,
                  "pairs of each kind to test the models on, without noise"),
        cli_number("scale", &d.scale, "X", 0.01, 100, "of gold reward in preferences, nats"),
        cli_number("flip", &d.flip, "P", 0, 0.49, "chance that a safety label is wrong"),
        cli_count("threads", &d.threads, "N", 1, POOL_THREADS_MAX,
                  "threads; they change no bit"),
    };
    struct cli_usage usage = demo_build_usage;
    usage.options = options;
    usage.options_n = sizeof options / sizeof options[0];
    const int code = cli_parse(&usage, argc, argv, NULL);
    if (code != CLI_GO)
        return code;
    if (!d.out)
        return cli_usage_error(&usage, "--out is missing");

    struct err err = {0};
    const enum err_code rc = demo_build_run(&d, &err);
    publish_abort(&d.publish);
    tokenizer_free(d.tokenizer);
    model_free(d.policy);
    pool_free(d.pool);
    return rc ? cli_fail(&usage, &err) : 0;
}

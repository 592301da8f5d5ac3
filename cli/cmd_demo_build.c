/* cmd_demo_build.c -- `rlhf demo build`: the built-in world and the models taught on it. */
#include <stdio.h>

#include "cli/cli.h"
#include "cli/demo_models.h"
#include "cli/demo_pairs.h"
#include "cli/publish.h"
#include "world/world.h"

enum { DEMO_ANSWERS = 8, DEMO_RESPONSE_TOKENS = 48 };

struct demo_build {
    const char *out;
    uint64_t seed, threads, epochs, pairs, safety, test;
    double scale, flip;

    struct pool *pool;
    struct model *policy;
    struct tokenizer *tokenizer;
    struct publish publish;
};

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
    if (rc)
        return rc;
    d->tokenizer = tokenizer_load(d->publish.dir, err);
    if (!d->tokenizer)
        return err->code;
    const struct demo_models demo = {.dir = d->publish.dir,
                                     .seed = d->seed,
                                     .epochs = d->epochs,
                                     .pool = d->pool,
                                     .tokenizer = d->tokenizer};
    rc = demo_models_policy(&demo, &d->policy, err);
    if (!rc)
        rc = demo_pairs_write(d->publish.dir, d->policy, d->pool, d->tokenizer, &pairs, err);
    if (!rc)
        rc = demo_models_score(&demo, FEEDBACK_REWARD, err);
    if (!rc)
        rc = demo_models_score(&demo, FEEDBACK_COST, err);
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
                           .pairs = 400,
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

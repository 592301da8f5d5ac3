/* cmd_demo_model.c -- `rlhf demo model`: a small model taught on the built-in world. */
#include <stdio.h>

#include "cli/cli.h"
#include "cli/fit_display.h"
#include "cli/publish.h"
#include "offline/sft.h"
#include "world/world.h"

struct demo_model {
    const char *out;
    uint64_t seed, epochs, threads;

    struct pool *pool;
    struct model *model;
    struct tokenizer *tokenizer;
    struct sft_data data;
    struct publish publish;
    char world[FILE_PATH_MAX]; /* within the directory to be, until it is published */
};

enum { DEMO_ANSWERS = 8, DEMO_TOKENS = 1024 };

static struct model_config demo_model_config(void)
{
    // clang-format off
    return (struct model_config){
        .family = MODEL_LLAMA, .model_type = "llama", .head = MODEL_HEAD_LM,
        .V = WORLD_VOCABULARY, .C = 64, .L = 3, .H = 4, .G = 2, .D = 16, .F = 160, .T = 128,
        .norm_eps = 1e-5f, .tied = true, .rope_theta = 10000.0f, .rope_scaling = ROPE_DEFAULT,
        .bos = -1, .eos = WORLD_END_ID, .pad = WORLD_END_ID};
    // clang-format on
}

static enum err_code demo_model_open(struct demo_model *d, struct err *err)
{
    pool_thread_init();
    d->pool = pool_new(d->threads, err);
    if (!d->pool)
        return err->code;
    enum err_code rc = publish_begin(&d->publish, d->out, err);
    if (!rc)
        rc = file_join(d->world, d->publish.dir, "world", err);
    if (!rc)
        rc = file_make_dir(d->world, err);
    if (!rc)
        rc = world_write(d->world, d->seed, DEMO_ANSWERS, err);
    if (rc)
        return rc;
    const struct model_config config = demo_model_config();
    d->model = model_new(&config, err);
    d->tokenizer = d->model ? tokenizer_load(d->world, err) : NULL;
    if (!d->tokenizer)
        return err->code;
    model_init_random(d->model, d->seed, 0.05f);

    char path[FILE_PATH_MAX];
    const struct encode how = {.config = &d->model->config,
                               .tokenizer = d->tokenizer,
                               .end = true,
                               .tokens_max = DEMO_TOKENS};
    const struct reader_options options = {.format = FORMAT_response};
    rc = file_join(path, d->world, "sft.jsonl", err);
    return rc ? rc : sft_data_read(&d->data, &how, &options, path, NULL, err);
}

static enum err_code demo_model_run(struct demo_model *d, struct err *err)
{
    const struct fit_params params = {
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
    struct fit_history history;
    struct fit_display display;
    fit_display_init(&display, false);
    printf("%zu examples, %zu tokens, %zu parameters\n", d->data.n, d->data.ids.n,
           d->model->params);
    enum err_code rc = sft_train(d->model, d->pool, &d->data, &params, 0.05, fit_display_step,
                                 &display, &history, err);
    fit_history_release(&history);
    if (!rc)
        rc = model_save(d->model, d->publish.dir, err);
    if (!rc)
        rc = publish_tokenizer(&d->publish, d->world, err);
    if (!rc)
        rc = file_remove_tree(d->world, err);
    if (!rc)
        rc = publish_commit(&d->publish, err);
    if (!rc)
        printf("wrote %s; try: rlhf generate --model %s --prompt \"$(printf 'user: "
               "what colour "
               "is the frog?\\nbot:')\"\n",
               d->out, d->out);
    return rc;
}

static const struct cli_usage demo_model_usage = {
    .words = "demo model",
    .synopsis = "--out DIR [options]",
    .about =
        "Trains a small Llama on the built-in world (see `rlhf help demo data`) from random\n"
        "weights: a complete model directory, in half a minute, to try everything with.\n"
        "It answers politely about a quarter of the time.\n",
    .examples = "  rlhf demo data --out demo && rlhf demo model --out demo/model\n",
};

int cmd_demo_model(int argc, char **argv)
{
    struct demo_model d = {.seed = 1, .epochs = 12, .threads = 1};
    const struct cli_option options[] = {
        cli_text("out", &d.out, "DIR", "the directory to make"),
        cli_count("seed", &d.seed, "S", 0, 0, "same seed, same bits"),
        cli_count("epochs", &d.epochs, "N", 1, 1000, "times over the data"),
        cli_count("threads", &d.threads, "N", 1, POOL_THREADS_MAX,
                  "threads; they change no bit"),
    };
    struct cli_usage usage = demo_model_usage;
    usage.options = options;
    usage.options_n = sizeof options / sizeof options[0];
    const int code = cli_parse(&usage, argc, argv, NULL);
    if (code != CLI_GO)
        return code;
    if (!d.out)
        return cli_usage_error(&usage, "--out is missing");

    struct err err = {0};
    enum err_code rc = demo_model_open(&d, &err);
    if (!rc)
        rc = demo_model_run(&d, &err);
    publish_abort(&d.publish);
    sft_data_release(&d.data);
    tokenizer_free(d.tokenizer);
    model_free(d.model);
    pool_free(d.pool);
    return rc ? cli_fail(&usage, &err) : 0;
}

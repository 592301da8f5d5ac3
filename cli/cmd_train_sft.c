/* cmd_train_sft.c -- `rlhf train sft`: from examples to a model directory. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/publish.h"
#include "cli/sft.h"
#include "cli/sft_display.h"

struct train_sft {
    const char *model_dir, *init, *tokenizer_dir, *data_path, *out_dir, *schedule, *chat;
    struct sft_params params;
    uint64_t threads, step_tokens, micro_tokens;
    double weight_decay, beta2, init_std;
    bool json, no_end;

    struct pool *pool;
    struct model *model;
    struct tokenizer *tokenizer;
    struct sft_data data;
    struct publish publish;
    char init_dir[FILE_PATH_MAX];
};

static const char *const train_sft_schedules[] = {
#define X(name) #name,
    SCHEDULE_MAP(X)
#undef X
};

/* --init names config.json or its directory; the engine takes the directory. */
static enum err_code train_sft_init_dir(struct train_sft *t, struct err *err)
{
    static const char name[] = "config.json";
    const size_t length = strlen(t->init), tail = sizeof name - 1;
    if (length >= sizeof t->init_dir)
        return err_set(err, ERR_VALUE, "--init: the path has %zu bytes", length);
    memcpy(t->init_dir, t->init, length + 1);
    const bool file = length >= tail && strcmp(t->init + length - tail, name) == 0 &&
                      (length == tail || t->init[length - tail - 1] == '/');
    if (file && length == tail)
        memcpy(t->init_dir, ".", 2);
    else if (file)
        t->init_dir[length - tail - 1] = '\0';
    return ERR_OK;
}

static enum err_code train_sft_start(struct train_sft *t, struct err *err)
{
    if (t->model_dir) {
        t->model = model_load(t->model_dir, err);
        return t->model ? ERR_OK : err->code;
    }
    struct model_config config;
    enum err_code rc = train_sft_init_dir(t, err);
    if (!rc)
        rc = model_config_read(&config, t->init_dir, err);
    if (rc)
        return rc;
    t->model = model_new(&config, err);
    if (!t->model)
        return err->code;
    model_init_random(t->model, t->params.seed, (float)t->init_std);
    return ERR_OK;
}

static const char *train_sft_tokenizer_dir(const struct train_sft *t)
{
    if (t->tokenizer_dir)
        return t->tokenizer_dir;
    return t->model_dir ? t->model_dir : t->init_dir;
}

static enum err_code train_sft_open(struct train_sft *t, struct err *err)
{
    pool_thread_init();
    t->pool = pool_new(t->threads, err);
    if (!t->pool)
        return err->code;
    enum err_code rc = train_sft_start(t, err);
    if (rc)
        return rc;
    if (t->model->config.head != MODEL_HEAD_LM)
        return err_set(err, ERR_VALUE, "%s: the model has a score head, not a vocabulary",
                       t->model_dir ? t->model_dir : t->init);
    const char *dir = train_sft_tokenizer_dir(t);
    t->tokenizer = tokenizer_load(dir, err);
    if (!t->tokenizer)
        return err->code;
    if (tokenizer_vocabulary(t->tokenizer) > t->model->config.V)
        return err_set(err, ERR_VALUE, "%s: the tokenizer has %u tokens, the model %u", dir,
                       tokenizer_vocabulary(t->tokenizer), t->model->config.V);

    struct example_reader reader = {.config = &t->model->config,
                                    .tokenizer = t->tokenizer,
                                    .end = !t->no_end,
                                    .tokens_max = t->params.micro_tokens};
    rc = chat_template_parse(t->chat, &reader.chat, err);
    if (!rc)
        rc = sft_data_read(&t->data, &reader, t->data_path, err);
    if (!rc)
        rc = publish_begin(&t->publish, t->out_dir, err);
    return rc;
}

static enum err_code train_sft_run(struct train_sft *t, struct err *err)
{
    struct sft_display display;
    sft_display_init(&display, t->json);
    if (!t->json)
        printf("%zu examples, %zu tokens, %zu parameters\n", t->data.n, t->data.ids.n,
               t->model->params);
    enum err_code rc =
        sft_train(t->model, t->pool, &t->data, &t->params, sft_display_step, &display, err);
    if (!rc)
        rc = model_save(t->model, t->publish.dir, err);
    if (!rc)
        rc = publish_tokenizer(&t->publish, train_sft_tokenizer_dir(t), err);
    if (!rc)
        rc = publish_commit(&t->publish, err);
    if (!rc && !t->json)
        printf("wrote %s\n", t->out_dir);
    return rc;
}

static void train_sft_close(struct train_sft *t)
{
    publish_abort(&t->publish);
    sft_data_release(&t->data);
    tokenizer_free(t->tokenizer);
    model_free(t->model);
    pool_free(t->pool);
}

/* What the table of options cannot check. */
static int train_sft_check(struct train_sft *t, const struct cli_usage *usage)
{
    if (!t->model_dir == !t->init)
        return cli_usage_error(usage, "give either --model or --init");
    if (!t->data_path || !t->out_dir)
        return cli_usage_error(usage, "--%s is missing", t->data_path ? "out" : "data");
    t->params.step_tokens = t->step_tokens;
    t->params.micro_tokens = t->micro_tokens;
    t->params.adamw = (struct adamw_params){.beta1 = 0.9f,
                                            .beta2 = (float)t->beta2,
                                            .eps = 1e-8f,
                                            .weight_decay = (float)t->weight_decay};
    for (size_t i = 0; i < sizeof train_sft_schedules / sizeof train_sft_schedules[0]; i++) {
        if (strcmp(t->schedule, train_sft_schedules[i]) == 0) {
            t->params.schedule = (enum schedule_kind)i;
            return CLI_GO;
        }
    }
    return cli_usage_error(usage, "--schedule %s: it is constant, linear or cosine",
                           t->schedule);
}

int cmd_train_sft(int argc, char **argv)
{
    struct train_sft t = {.schedule = "cosine",
                          .chat = "plain",
                          .threads = 1,
                          .step_tokens = 4096,
                          .micro_tokens = 2048,
                          .weight_decay = 0.01,
                          .beta2 = 0.999,
                          .init_std = 0.02,
                          .params = {.seed = 1,
                                     .epochs = 1,
                                     .lr = 1e-4,
                                     .lr_floor = 0.1,
                                     .warmup_steps = 10,
                                     .grad_clip = 1.0,
                                     .held_out = 0.05}};
    const struct cli_option options[] = {
        {.name = "model",
         .kind = CLI_TEXT,
         .to = &t.model_dir,
         .arg = "DIR",
         .help = "start from this model directory"},
        {.name = "init",
         .kind = CLI_TEXT,
         .to = &t.init,
         .arg = "config.json",
         .help = "or from random weights of this shape"},
        {.name = "tokenizer",
         .kind = CLI_TEXT,
         .to = &t.tokenizer_dir,
         .arg = "DIR",
         .help = "where tokenizer.json is, if not beside the above"},
        {.name = "data",
         .kind = CLI_TEXT,
         .to = &t.data_path,
         .arg = "FILE",
         .help = "JSON lines, see above; - is standard input"},
        {.name = "out",
         .kind = CLI_TEXT,
         .to = &t.out_dir,
         .arg = "DIR",
         .help = "the directory to make"},
        {.name = "chat",
         .kind = CLI_TEXT,
         .to = &t.chat,
         .arg = "NAME",
         .help = "template of prompts: plain, chatml, llama3"},
        {.name = "no-end",
         .kind = CLI_FLAG,
         .to = &t.no_end,
         .help = "do not teach the end token after each example"},
        {.name = "epochs",
         .kind = CLI_COUNT,
         .to = &t.params.epochs,
         .arg = "N",
         .help = "times over the data",
         .min = 1,
         .max = 1e6},
        {.name = "tokens-per-step",
         .kind = CLI_COUNT,
         .to = &t.step_tokens,
         .arg = "N",
         .help = "tokens of one update, at most",
         .min = 1,
         .max = 1 << 30},
        {.name = "micro-tokens",
         .kind = CLI_COUNT,
         .to = &t.micro_tokens,
         .arg = "N",
         .help = "tokens of one packed pass, at most",
         .min = 2,
         .max = 1 << 20},
        {.name = "lr",
         .kind = CLI_NUMBER,
         .to = &t.params.lr,
         .arg = "X",
         .help = "peak learning rate"},
        {.name = "lr-floor",
         .kind = CLI_NUMBER,
         .to = &t.params.lr_floor,
         .arg = "X",
         .help = "fraction of it at the end",
         .max = 1},
        {.name = "warmup",
         .kind = CLI_COUNT,
         .to = &t.params.warmup_steps,
         .arg = "N",
         .help = "steps of linear warm-up"},
        {.name = "schedule",
         .kind = CLI_TEXT,
         .to = &t.schedule,
         .arg = "NAME",
         .help = "constant, linear, cosine"},
        {.name = "weight-decay",
         .kind = CLI_NUMBER,
         .to = &t.weight_decay,
         .arg = "X",
         .help = "of matrices",
         .max = 1},
        {.name = "beta2",
         .kind = CLI_NUMBER,
         .to = &t.beta2,
         .arg = "X",
         .help = "AdamW's second beta",
         .max = 0.99999},
        {.name = "grad-clip",
         .kind = CLI_NUMBER,
         .to = &t.params.grad_clip,
         .arg = "X",
         .help = "greatest gradient norm; 0: any"},
        {.name = "held-out",
         .kind = CLI_NUMBER,
         .to = &t.params.held_out,
         .arg = "X",
         .help = "fraction of the examples to test on",
         .max = 0.5},
        {.name = "eval-every",
         .kind = CLI_COUNT,
         .to = &t.params.eval_every,
         .arg = "N",
         .help = "steps between tests; 0: at the end"},
        {.name = "init-std",
         .kind = CLI_NUMBER,
         .to = &t.init_std,
         .arg = "X",
         .help = "standard deviation of random weights",
         .max = 1},
        {.name = "seed",
         .kind = CLI_COUNT,
         .to = &t.params.seed,
         .arg = "S",
         .help = "same seed, same bits"},
        {.name = "json", .kind = CLI_FLAG, .to = &t.json, .help = "a JSON line a step"},
        {.name = "threads",
         .kind = CLI_COUNT,
         .to = &t.threads,
         .arg = "N",
         .help = "threads",
         .min = 1,
         .max = POOL_THREADS_MAX},
    };
    const struct cli_usage usage = {
        .words = "train sft",
        .synopsis = "--model DIR|--init config.json --data FILE --out DIR [options]",
        .about = "Supervised fine-tuning.  Each line of FILE is {\"prompt\": ..., "
                 "\"response\": ...},\n"
                 "where the response is learned, or {\"text\": ...}, where everything "
                 "is.  The "
                 "result\n"
                 "is a Hugging Face directory that appears only once it is whole.\n",
        .options = options,
        .options_n = sizeof options / sizeof options[0],
        .examples = "  rlhf train sft --model base --data sft.jsonl --chat "
                    "chatml --out policy\n"
                    "  rlhf train sft --init config.json --tokenizer demo --data "
                    "demo/sft.jsonl \\\n"
                    "      --lr 3e-3 --epochs 10 --out policy\n",
    };
    int code = cli_parse(&usage, argc, argv, NULL);
    if (code == CLI_GO)
        code = train_sft_check(&t, &usage);
    if (code != CLI_GO)
        return code;

    struct err err = {0};
    enum err_code rc = train_sft_open(&t, &err);
    if (!rc)
        rc = train_sft_run(&t, &err);
    train_sft_close(&t);
    return rc ? cli_fail(&usage, &err) : 0;
}

/* cmd_train_sft.c -- `rlhf train sft`: from examples to a model directory. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/publish.h"
#include "cli/sft_display.h"
#include "offline/sft.h"

struct train_sft {
    const char *model_dir, *init, *tokenizer_dir, *data_path, *out_dir, *schedule, *chat,
        *format;
    struct reader_options reading;
    struct sft_params params;
    uint64_t bad, threads, step_tokens, micro_tokens;
    double weight_decay, beta2, init_std;
    bool json, no_end, cut;

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

    struct encode how = {.config = &t->model->config,
                         .tokenizer = t->tokenizer,
                         .end = !t->no_end,
                         .cut = t->cut,
                         .tokens_max = t->params.micro_tokens};
    rc = chat_template_parse(t->chat, &how.chat, err);
    if (!rc)
        rc = format_find(t->format, &t->reading.format, err);
    if (!rc)
        rc = sft_data_read(&t->data, &how, &t->reading, t->data_path, &t->bad, err);
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
    if (!t->json && t->bad > 0)
        printf("%llu bad lines were passed over; `rlhf data inspect` names them\n",
               (unsigned long long)t->bad);
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

static const struct cli_usage train_sft_usage = {
    .words = "train sft",
    .synopsis = "--model DIR|--init config.json --data FILE --out DIR [options]",
    .about =
        "Supervised fine-tuning on a data set, plain or gzip, in any format of docs/DATA.md:\n"
        "{\"prompt\": ..., \"response\": ...}, where the response is learned, {\"text\": ...}, "
        "where\n"
        "everything is, pairs, of which the preferred answer is, and others.  The result is a\n"
        "Hugging Face directory that appears only once it is whole.\n",
    .examples =
        "  rlhf train sft --model base --data sft.jsonl --chat chatml --out policy\n"
        "  rlhf train sft --init config.json --tokenizer demo --data demo/sft.jsonl \\\n"
        "      --lr 3e-3 --epochs 10 --out policy\n",
};

int cmd_train_sft(int argc, char **argv)
{
    struct train_sft t = {
        .schedule = "cosine", .chat = "plain", .format = "auto", .threads = 1};
    t.step_tokens = 4096;
    t.micro_tokens = 2048;
    t.weight_decay = 0.01;
    t.beta2 = 0.999;
    t.init_std = 0.02;
    t.params = (struct sft_params){.seed = 1, .epochs = 1, .lr = 1e-4, .lr_floor = 0.1};
    t.params.warmup_steps = 10;
    t.params.grad_clip = 1.0;
    t.params.held_out = 0.05;
    const struct cli_option options[] = {
        cli_text("model", &t.model_dir, "DIR", "start from this model directory"),
        cli_text("init", &t.init, "config.json", "or from random weights of this shape"),
        cli_text("tokenizer", &t.tokenizer_dir, "DIR",
                 "where tokenizer.json is, if not beside the above"),
        cli_text("data", &t.data_path, "FILE", "the data set; - is standard input"),
        cli_text("format", &t.format, "NAME", "of the data set, see docs/DATA.md"),
        cli_number("max-bad-fraction", &t.reading.max_bad_fraction, "X", 0, 1,
                   "of lines that may be bad and are passed over"),
        cli_text("out", &t.out_dir, "DIR", "the directory to make"),
        cli_text("chat", &t.chat, "NAME", "template of prompts: plain, chatml, llama3, hh"),
        cli_flag("cut-prompts", &t.cut,
                 "leave out old turns of prompts too long, instead of refusing them"),
        cli_flag("no-end", &t.no_end, "do not teach the end token after each example"),
        cli_count("epochs", &t.params.epochs, "N", 1, 1e6, "times over the data"),
        cli_count("tokens-per-step", &t.step_tokens, "N", 1, 1 << 30,
                  "tokens of one update, at most"),
        cli_count("micro-tokens", &t.micro_tokens, "N", 2, 1 << 20,
                  "tokens of one packed pass, at most"),
        cli_number("lr", &t.params.lr, "X", 0, 0, "peak learning rate"),
        cli_number("lr-floor", &t.params.lr_floor, "X", 0, 1, "fraction of it at the end"),
        cli_count("warmup", &t.params.warmup_steps, "N", 0, 0, "steps of linear warm-up"),
        cli_text("schedule", &t.schedule, "NAME", "constant, linear, cosine"),
        cli_number("weight-decay", &t.weight_decay, "X", 0, 1, "of matrices"),
        cli_number("beta2", &t.beta2, "X", 0, 0.99999, "AdamW's second beta"),
        cli_number("grad-clip", &t.params.grad_clip, "X", 0, 0,
                   "greatest gradient norm; 0: any"),
        cli_number("held-out", &t.params.held_out, "X", 0, 0.5,
                   "fraction of the examples to test on"),
        cli_count("eval-every", &t.params.eval_every, "N", 0, 0,
                  "steps between tests; 0: at the end"),
        cli_number("init-std", &t.init_std, "X", 0, 1, "standard deviation of random weights"),
        cli_count("seed", &t.params.seed, "S", 0, 0, "same seed, same bits"),
        cli_flag("json", &t.json, "a JSON line a step"),
        cli_count("threads", &t.threads, "N", 1, POOL_THREADS_MAX, "threads"),
    };
    struct cli_usage usage = train_sft_usage;
    usage.options = options;
    usage.options_n = sizeof options / sizeof options[0];
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

/* train.c -- see train.h. */
#include "cli/train.h"

#include <string.h>

static const char *const train_schedules[] = {
#define X(name) #name,
    SCHEDULE_MAP(X)
#undef X
};

struct train train_defaults(void)
{
    struct train t = {.schedule = "cosine", .chat = "plain", .format = "auto", .threads = 1};
    t.precision_word = "fp32";
    t.step_tokens = 4096;
    t.micro_tokens = 2048;
    t.weight_decay = 0.01;
    t.beta2 = 0.999;
    t.init_std = 0.02;
    t.held_out = 0.05;
    t.fit = (struct fit_params){.seed = 1, .epochs = 1, .lr = 1e-4, .lr_floor = 0.1};
    t.fit.warmup_steps = 10;
    t.fit.grad_clip = 1.0;
    return t;
}

size_t train_rows(struct train *t, struct cli_option *rows)
{
    const struct cli_option shared[] = {
        cli_text("model", &t->model_dir, "DIR", "start from this model directory"),
        cli_text("init", &t->init, "config.json", "or from random weights of this shape"),
        cli_text("tokenizer", &t->tokenizer_dir, "DIR",
                 "where tokenizer.json is, if not beside the above"),
        cli_text("data", &t->data_path, "FILE", "the data set; - is standard input"),
        cli_text("format", &t->format, "NAME", "of the data set, see docs/DATA.md"),
        cli_number("max-bad-fraction", &t->max_bad_fraction, "X", 0, 1,
                   "of lines that may be bad and are passed over"),
        cli_text("out", &t->out_dir, "DIR", "the directory to make"),
        cli_text("chat", &t->chat, "NAME", "template of prompts: plain, chatml, llama3, hh"),
        cli_flag("cut-prompts", &t->cut,
                 "leave out old turns of prompts too long, instead of refusing them"),
        cli_flag("no-end", &t->no_end, "do not put the end token after each example"),
        cli_count("epochs", &t->fit.epochs, "N", 1, 1e6, "times over the data"),
        cli_count("tokens-per-step", &t->step_tokens, "N", 1, 1 << 30,
                  "tokens of one update, at most"),
        cli_count("micro-tokens", &t->micro_tokens, "N", 2, 1 << 20,
                  "tokens of one packed pass, at most"),
        cli_number("lr", &t->fit.lr, "X", 0, 0, "peak learning rate"),
        cli_number("lr-floor", &t->fit.lr_floor, "X", 0, 1, "fraction of it at the end"),
        cli_count("warmup", &t->fit.warmup_steps, "N", 0, 0, "steps of linear warm-up"),
        cli_text("schedule", &t->schedule, "NAME", "constant, linear, cosine"),
        cli_number("weight-decay", &t->weight_decay, "X", 0, 1, "of matrices"),
        cli_number("beta2", &t->beta2, "X", 0, 0.99999, "AdamW's second beta"),
        cli_number("grad-clip", &t->fit.grad_clip, "X", 0, 0, "greatest gradient norm; 0: any"),
        cli_number("held-out", &t->held_out, "X", 0, 0.5,
                   "fraction of the examples to test on"),
        cli_count("eval-every", &t->fit.eval_every, "N", 0, 0,
                  "steps between tests; 0: at the end"),
        cli_number("init-std", &t->init_std, "X", 0, 1, "standard deviation of random weights"),
        cli_count("seed", &t->fit.seed, "S", 0, 0, "same seed, same bits"),
        cli_flag("json", &t->json, "a JSON line a step"),
        cli_count("threads", &t->threads, "N", 1, POOL_THREADS_MAX, "threads"),
        cli_text("precision", &t->precision_word, "NAME",
                 "fp32; bf16: faster where the CPU has AMX"),
    };
    const size_t n = sizeof shared / sizeof shared[0];
    _Static_assert(sizeof shared / sizeof shared[0] <= TRAIN_ROWS, "raise TRAIN_ROWS");
    memcpy(rows, shared, sizeof shared);
    return n;
}

int train_check(struct train *t, const struct cli_usage *usage)
{
    if (!t->model_dir == !t->init)
        return cli_usage_error(usage, "give either --model or --init");
    if (!t->data_path || !t->out_dir)
        return cli_usage_error(usage, "--%s is missing", t->data_path ? "out" : "data");
    struct err err = {0};
    if (format_find(t->format, &t->format_kind, &err))
        return cli_usage_error(usage, "--format: %s", err.text);
    if (chat_template_parse(t->chat, &t->chat_template, &err))
        return cli_usage_error(usage, "--chat: %s", err.text);
    if (precision_parse(t->precision_word, &t->precision, &err))
        return cli_usage_error(usage, "%s", err.text);
    t->fit.step_tokens = t->step_tokens;
    t->fit.micro_tokens = t->micro_tokens;
    t->fit.adamw = (struct adamw_params){.beta1 = 0.9f,
                                         .beta2 = (float)t->beta2,
                                         .eps = 1e-8f,
                                         .weight_decay = (float)t->weight_decay};
    for (size_t i = 0; i < sizeof train_schedules / sizeof train_schedules[0]; i++) {
        if (strcmp(t->schedule, train_schedules[i]) == 0) {
            t->fit.schedule = (enum schedule_kind)i;
            return CLI_GO;
        }
    }
    return cli_usage_error(usage, "--schedule %s: it is constant, linear or cosine",
                           t->schedule);
}

/* --init names config.json or its directory; the engine takes the directory. */
static enum err_code train_init_dir(struct train *t, struct err *err)
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

enum err_code train_start(struct train *t, uint32_t labels, uint64_t seed, struct err *err)
{
    model_free(t->model);
    t->model = NULL;
    if (t->model_dir) {
        t->model = labels ? model_load_with_score_head(t->model_dir, labels, err)
                          : model_load(t->model_dir, err);
        if (!t->model)
            return err->code;
        t->model->precision = t->precision;
        return ERR_OK;
    }
    struct model_config config;
    enum err_code rc = train_init_dir(t, err);
    if (!rc)
        rc = model_config_read(&config, t->init_dir, err);
    if (rc)
        return rc;
    if (labels) {
        config.head = MODEL_HEAD_SCORE;
        config.labels = labels;
    }
    t->model = model_new(&config, err);
    if (!t->model)
        return err->code;
    t->model->precision = t->precision;
    model_init_random(t->model, seed, (float)t->init_std);
    return ERR_OK;
}

void train_reading(const struct train *t, size_t tokens_max, struct encode *how,
                   struct reader_options *options)
{
    *how = (struct encode){.config = &t->model->config,
                           .tokenizer = t->tokenizer,
                           .chat = t->chat_template,
                           .end = !t->no_end,
                           .cut = t->cut,
                           .tokens_max = tokens_max};
    *options = (struct reader_options){.format = t->format_kind,
                                       .max_bad_fraction = t->max_bad_fraction};
}

const char *train_tokenizer_dir(const struct train *t)
{
    if (t->tokenizer_dir)
        return t->tokenizer_dir;
    return t->model_dir ? t->model_dir : t->init_dir;
}

enum err_code train_open(struct train *t, uint32_t labels, struct err *err)
{
    pool_thread_init();
    t->pool = pool_new(t->threads, err);
    if (!t->pool)
        return err->code;
    const enum err_code rc = train_start(t, labels, t->fit.seed, err);
    if (rc)
        return rc;
    if (!labels && t->model->config.head != MODEL_HEAD_LM)
        return err_set(err, ERR_VALUE, "%s: the model has a score head, not a vocabulary",
                       t->model_dir ? t->model_dir : t->init);
    const char *dir = train_tokenizer_dir(t);
    t->tokenizer = tokenizer_load(dir, err);
    if (!t->tokenizer)
        return err->code;
    if (tokenizer_vocabulary(t->tokenizer) > t->model->config.V)
        return err_set(err, ERR_VALUE, "%s: the tokenizer has %u tokens, the model %u", dir,
                       tokenizer_vocabulary(t->tokenizer), t->model->config.V);
    return ERR_OK;
}

void train_close(struct train *t)
{
    publish_abort(&t->publish);
    tokenizer_free(t->tokenizer);
    model_free(t->model);
    pool_free(t->pool);
}

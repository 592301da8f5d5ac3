/* cmd_generate.c -- `rlhf generate`: a model continues a prompt. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "engine/chat.h"
#include "engine/generate.h"

#define GENERATE_TEXT_MAX    ((size_t)64 << 20)
#define GENERATE_SAMPLES_MAX 4096
#define GENERATE_ROWS_MAX    32

struct generate_command {
    const char *model_dir, *prompt;
    struct sampler_params sampling;
    uint64_t max_new_tokens, seed, samples, threads;
    enum chat_template chat;
    enum precision precision;
    struct cli_list stop;
    bool json;

    struct model *model;
    struct pool *pool;
    struct tokenizer *tokenizer;
    struct generator *generator;
    struct tokens prompt_ids;
    struct buf *out; /* (samples) what is printed for each, in order */
    bool live;       /* one text on a terminal: shown as it grows */
    size_t shown_bytes;
    struct err err; /* of the callback */
};

/* The text of `n` new ids; with the plain template the prompt's before it: the
 * two are decoded together, because some decoders strip the blank before a
 * first word. */
static void generate_put_text(struct generate_command *c, const int32_t *ids, size_t n,
                              struct buf *out)
{
    const bool whole = c->chat == CHAT_plain && !c->json;
    const size_t before = whole ? c->prompt_ids.n : 0;
    int32_t *all = calloc(before + n, sizeof *all);
    if (!all) {
        err_set(&c->err, ERR_NOMEM, "no memory for %zu tokens", before + n);
        return;
    }
    memcpy(all, c->prompt_ids.ids, before * sizeof *all);
    memcpy(all + before, ids, n * sizeof *all);
    tokenizer_decode(c->tokenizer, all, before + n, true, out, &c->err);
    free(all);
}

/* On a terminal: print what is new since the last call.  A character whose
 * bytes are not all there yet decodes as U+FFFD and waits. */
static void generate_show(struct generate_command *c)
{
    static const char unfinished[] = "\xef\xbf\xbd";
    const int32_t *ids;
    const uint32_t n = generator_peek(c->generator, 0, &ids);
    struct buf text;
    buf_init(&text, GENERATE_TEXT_MAX);
    if (n > 0)
        generate_put_text(c, ids, n, &text);
    const size_t tail = sizeof unfinished - 1;
    const bool waits =
        text.len >= tail && memcmp(text.data + text.len - tail, unfinished, tail) == 0;
    if (!waits && text.len > c->shown_bytes) {
        fwrite(text.data + c->shown_bytes, 1, text.len - c->shown_bytes, stdout);
        fflush(stdout);
        c->shown_bytes = text.len;
    }
    buf_release(&text);
}

static void generate_put_json(struct generate_command *c, const struct generate_result *result,
                              struct buf *out)
{
    struct buf text;
    buf_init(&text, GENERATE_TEXT_MAX);
    generate_put_text(c, result->ids, result->tokens, &text);
    buf_printf(out, "{\"sample\": %llu, \"text\": ", (unsigned long long)result->tag);
    buf_json_string(out, text.data ? text.data : "", text.len);
    buf_puts(out, ", \"ids\": [");
    for (uint32_t i = 0; i < result->tokens; i++)
        buf_printf(out, "%s%d", i == 0 ? "" : ", ", result->ids[i]);
    buf_puts(out, "], \"logprobs\": [");
    for (uint32_t i = 0; i < result->tokens; i++)
        buf_printf(out, "%s%.9g", i == 0 ? "" : ", ", (double)result->logp[i]);
    buf_puts(out, "], \"finish\": \"");
    for (const char *name = generate_finish_name(result->finish); *name; name++)
        buf_putc(out, (char)tolower((unsigned char)*name));
    buf_puts(out, "\"}");
    buf_release(&text);
}

static void generate_done(void *arg, const struct generate_result *result)
{
    struct generate_command *c = arg;
    struct buf *out = &c->out[result->tag];
    if (c->json)
        generate_put_json(c, result, out);
    else
        generate_put_text(c, result->ids, result->tokens, out);
    buf_putc(out, '\n');
}

static enum err_code generate_open(struct generate_command *c, struct err *err)
{
    pool_thread_init();
    c->pool = pool_new(c->threads, err);
    c->model = c->pool ? model_load(c->model_dir, err) : NULL;
    if (c->model)
        c->model->precision = c->precision;
    c->tokenizer = c->model ? tokenizer_load(c->model_dir, err) : NULL;
    if (!c->tokenizer)
        return err->code;
    const struct chat_turn turn = {.role = "user", .content = c->prompt};
    const enum err_code rc = chat_encode(c->chat, c->tokenizer, &turn, 1, &c->prompt_ids, err);
    if (rc)
        return rc;

    /* As many new tokens as fit, where the model's context is shorter than what
     * is asked. */
    const size_t T = c->model->config.T;
    if (c->prompt_ids.n < T && c->max_new_tokens > T - c->prompt_ids.n)
        c->max_new_tokens = T - c->prompt_ids.n;
    const size_t rows = c->samples < GENERATE_ROWS_MAX ? c->samples : GENERATE_ROWS_MAX;
    c->generator = generator_new(c->model, c->pool, c->tokenizer, rows,
                                 c->prompt_ids.n + c->max_new_tokens, err);
    c->out = calloc(c->samples, sizeof *c->out);
    if (c->generator && !c->out)
        return err_set(err, ERR_NOMEM, "no memory for %llu samples",
                       (unsigned long long)c->samples);
    return c->generator ? ERR_OK : err->code;
}

static void generate_close(struct generate_command *c)
{
    for (uint64_t k = 0; c->out && k < c->samples; k++)
        buf_release(&c->out[k]);
    free(c->out);
    tokens_release(&c->prompt_ids);
    generator_free(c->generator);
    tokenizer_free(c->tokenizer);
    model_free(c->model);
    pool_free(c->pool);
}

static enum err_code generate_run(struct generate_command *c, struct err *err)
{
    const int32_t end = chat_end_id(c->chat, c->tokenizer);
    for (uint64_t k = 0; k < c->samples; k++) {
        buf_init(&c->out[k], GENERATE_TEXT_MAX);
        const struct generate_request request = {.tag = k,
                                                 .prompt = c->prompt_ids.ids,
                                                 .prompt_tokens = (uint32_t)c->prompt_ids.n,
                                                 .max_new_tokens = (uint32_t)c->max_new_tokens,
                                                 .sampling = c->sampling,
                                                 .seed = c->seed,
                                                 .stream = RNG_STREAM_CLI,
                                                 .a = 0,
                                                 .b = (uint32_t)k,
                                                 .stop_ids = &end,
                                                 .stop_ids_n = end >= 0 ? 1 : 0,
                                                 .stop_strings = c->stop.item,
                                                 .stop_strings_n = (uint32_t)c->stop.n};
        const enum err_code rc = generator_add(c->generator, &request, err);
        if (rc)
            return rc;
    }
    while (generator_step(c->generator, generate_done, c) > 0) {
        if (c->live)
            generate_show(c);
    }
    if (c->err.code) {
        *err = c->err;
        return err->code;
    }
    for (uint64_t k = 0; k < c->samples; k++) {
        const enum err_code rc = buf_check(&c->out[k], "the text", err);
        if (rc)
            return rc;
        if (c->samples > 1 && !c->json)
            printf("--- sample %llu\n", (unsigned long long)k);
        const size_t shown = c->shown_bytes < c->out[k].len ? c->shown_bytes : 0;
        fwrite(c->out[k].data + shown, 1, c->out[k].len - shown, stdout);
    }
    return ERR_OK;
}

static const struct cli_usage generate_usage = {
    .words = "generate",
    .synopsis = "--model DIR --prompt TEXT [options]",
    .about = "Prints the prompt and its continuation (with a chat template: the answer).\n"
             "The text is a pure function of the model, the options and the seed.\n",
    .examples =
        "  rlhf generate --model DIR --prompt 'Once upon a time' --temperature 0\n"
        "  rlhf generate --model DIR --prompt 'Hello!' --chat chatml --samples 4 --json\n",
};

int cmd_generate(int argc, char **argv)
{
    struct generate_command c = {.max_new_tokens = 128, .samples = 1, .threads = 1};
    const char *chat = "plain", *precision = "fp32";
    double temperature = 1.0, top_p = 1.0, min_p = 0.0;
    uint64_t top_k = 0;
    const struct cli_option options[] = {
        cli_text("model", &c.model_dir, "DIR", "Hugging Face model directory"),
        cli_text("prompt", &c.prompt, "TEXT",
                 "what the model continues, or what the user says"),
        cli_count("max-new-tokens", &c.max_new_tokens, "N", 1, 1 << 20, "at most so many"),
        cli_number("temperature", &temperature, "X", 0, 100,
                   "0: always the most probable token"),
        cli_count("top-k", &top_k, "K", 0, INT32_MAX, "of the K most probable; 0: off"),
        cli_number("top-p", &top_p, "P", 0, 1,
                   "of the fewest whose probabilities sum to P; 1: off"),
        cli_number("min-p", &min_p, "P", 0, 1,
                   "of those at least P times the most probable; 0: off"),
        cli_count("seed", &c.seed, "S", 0, 0, "the same seed gives the same text"),
        cli_count("samples", &c.samples, "N", 1, GENERATE_SAMPLES_MAX,
                  "independent continuations"),
        cli_text("chat", &chat, "NAME", "template: plain, chatml, llama3, hh"),
        cli_list("stop", &c.stop, "TEXT", "end once the continuation contains it"),
        cli_flag("json", &c.json, "a JSON line a sample: text, ids, logprobs, finish"),
        cli_count("threads", &c.threads, "N", 1, POOL_THREADS_MAX, "threads"),
        cli_text("precision", &precision, "NAME", "fp32; bf16: faster where the CPU has AMX"),
    };
    struct cli_usage usage = generate_usage;
    usage.options = options;
    usage.options_n = sizeof options / sizeof options[0];
    const int code = cli_parse(&usage, argc, argv, NULL);
    if (code != CLI_GO)
        return code;
    c.live = c.samples == 1 && !c.json && isatty(STDOUT_FILENO);
    if (!c.model_dir || !c.prompt)
        return cli_usage_error(&usage, "--%s is missing", c.model_dir ? "prompt" : "model");

    struct err err = {0};
    c.sampling = (struct sampler_params){.temperature = (float)temperature,
                                         .top_k = (uint32_t)top_k,
                                         .top_p = (float)top_p,
                                         .min_p = (float)min_p};
    if (sampler_params_check(&c.sampling, &err) || chat_template_parse(chat, &c.chat, &err) ||
        precision_parse(precision, &c.precision, &err))
        return cli_usage_error(&usage, "%s", err.text);
    enum err_code rc = generate_open(&c, &err);
    if (!rc)
        rc = generate_run(&c, &err);
    generate_close(&c);
    return rc ? cli_fail(&usage, &err) : 0;
}

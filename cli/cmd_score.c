/* cmd_score.c -- `rlhf score`: what a model thinks of given sequences, line for line. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "cli/cli.h"
#include "data/encode.h"
#include "data/reader.h"
#include "engine/combiner.h"
#include "engine/pass.h"

#define SCORE_LINES_MAX 1024 /* of a packed pass */
#define SCORE_TEXT_MAX  ((size_t)256 << 20)

struct score {
    struct model *model;
    struct pool *pool;
    struct tokenizer *tokenizer; /* NULL: the directory has none */
    struct pass *pass;
    size_t tokens_max;
    float temperature;
    enum precision precision;
    bool json, values;
    struct combiner combiner;
    bool combined; /* there is a combiner.json: outputs become one score */
    struct encode how;
    struct encoded one; /* the record at hand */

    /* The lines gathered for one pass. */
    struct tokens ids;
    size_t seqs;
    uint32_t offset[SCORE_LINES_MAX + 1];
    uint32_t first[SCORE_LINES_MAX]; /* first token of the response; 0: not a response */
    uint64_t line;                   /* of the first of them, counted without blank ones */

    uint32_t *at;    /* (tokens_max) rows asked for */
    int32_t *target; /* (tokens_max) */
    float *logp, *entropy;
    float *value; /* (tokens_max, labels) */
    struct buf out;
};

static void score_put_floats(struct buf *out, const char *name, const float *x, size_t n)
{
    buf_printf(out, "\"%s\": [", name);
    for (size_t i = 0; i < n; i++) {
        buf_puts(out, i == 0 ? "" : ", ");
        if (x[i] - x[i] == 0.0f) /* finite */
            buf_printf(out, "%.9g", (double)x[i]);
        else
            buf_puts(out, "null");
    }
    buf_putc(out, ']');
}

static double score_sum(const float *x, size_t n)
{
    double sum = 0.0;
    for (size_t i = 0; i < n; i++)
        sum += (double)x[i];
    return sum;
}

static void score_put_logprobs(struct score *s, size_t seq, size_t from, size_t n)
{
    struct buf *out = &s->out;
    const float *logp = s->logp + from, *entropy = s->entropy + from;
    if (!s->json) {
        const double sum = score_sum(logp, n);
        buf_printf(out, "%6llu  %6zu  %12.6f  %10.6f  %10.6f\n",
                   (unsigned long long)(s->line + seq), n, sum, n ? sum / (double)n : 0.0,
                   n ? score_sum(entropy, n) / (double)n : 0.0);
        return;
    }
    buf_putc(out, '{');
    if (s->first[seq] > 0) {
        buf_puts(out, "\"ids\": [");
        for (uint32_t i = s->offset[seq]; i < s->offset[seq + 1]; i++)
            buf_printf(out, "%s%d", i == s->offset[seq] ? "" : ", ", s->ids.ids[i]);
        buf_printf(out, "], \"prompt_tokens\": %u, ", s->first[seq]);
    }
    score_put_floats(out, "logprobs", logp, n);
    buf_puts(out, ", ");
    score_put_floats(out, "entropy", entropy, n);
    buf_puts(out, "}\n");
}

/* The distribution after row i is about token i + 1: n - 1 rows, or those before a response. */
static void score_language(struct score *s)
{
    size_t rows = 0, begin[SCORE_LINES_MAX + 1];
    for (size_t seq = 0; seq < s->seqs; seq++) {
        begin[seq] = rows;
        const uint32_t first = s->first[seq] > 0 ? s->first[seq] : 1;
        for (uint32_t i = s->offset[seq] + first; i < s->offset[seq + 1]; i++) {
            s->at[rows] = i - 1;
            s->target[rows++] = s->ids.ids[i];
        }
    }
    begin[s->seqs] = rows;
    const struct pass_logprob want = {
        .rows = rows, .at = s->at, .target = s->target, .temperature = s->temperature};
    pass_logprobs(s->pass, &want, s->logp, s->entropy, NULL);
    for (size_t seq = 0; seq < s->seqs; seq++)
        score_put_logprobs(s, seq, begin[seq], begin[seq + 1] - begin[seq]);
}

static void score_put_values(struct score *s, size_t seq)
{
    const size_t labels = s->model->config.labels;
    const size_t n = s->offset[seq + 1] - s->offset[seq];
    const float *value = s->value + (s->values ? s->offset[seq] : seq) * labels;
    const float *last = s->values ? value + (n - 1) * labels : value;
    struct buf *out = &s->out;
    if (!s->json) {
        buf_printf(out, "%6llu  %6zu", (unsigned long long)(s->line + seq), n);
        if (s->combined)
            buf_printf(out, "  %12.6f", combiner_apply(&s->combiner, last));
        for (size_t j = 0; j < labels; j++)
            buf_printf(out, "  %12.6f", (double)last[j]);
        buf_putc(out, '\n');
        return;
    }
    buf_putc(out, '{');
    if (s->combined) {
        buf_puts(out, "\"score\": ");
        buf_json_number(out, combiner_apply(&s->combiner, last));
        buf_puts(out, ", ");
    }
    score_put_floats(out, "scores", last, labels);
    if (s->values && labels == 1) {
        buf_puts(out, ", ");
        score_put_floats(out, "values", value, n);
    }
    for (size_t j = 0; s->values && labels > 1 && j < labels; j++) {
        float *column = s->logp; /* not otherwise used with a score head */
        for (size_t i = 0; i < n; i++)
            column[i] = value[i * labels + j];
        char name[32];
        snprintf(name, sizeof name, "values_%zu", j);
        buf_puts(out, ", ");
        score_put_floats(out, name, column, n);
    }
    buf_puts(out, "}\n");
}

static void score_head(struct score *s)
{
    size_t rows = 0;
    if (s->values) {
        for (; rows < s->offset[s->seqs]; rows++)
            s->at[rows] = (uint32_t)rows;
    } else {
        for (; rows < s->seqs; rows++)
            s->at[rows] = s->offset[rows + 1] - 1;
    }
    pass_scores(s->pass, rows, s->at, s->value);
    for (size_t seq = 0; seq < s->seqs; seq++)
        score_put_values(s, seq);
}

/* Run the gathered lines and print a result for each. */
static enum err_code score_flush(struct score *s, struct err *err)
{
    if (s->seqs == 0)
        return ERR_OK;
    const struct pass_batch batch = {.seqs = s->seqs, .offset = s->offset, .ids = s->ids.ids};
    enum err_code rc = pass_forward(s->pass, &batch, err);
    if (rc)
        return rc;
    buf_clear(&s->out);
    if (s->model->config.head == MODEL_HEAD_LM)
        score_language(s);
    else
        score_head(s);
    rc = buf_check(&s->out, "the results of a pass", err);
    if (!rc)
        fwrite(s->out.data, 1, s->out.len, stdout);
    s->line += s->seqs;
    s->seqs = 0;
    return rc;
}

/* Add one sequence; the pass runs first where it would not fit. */
static enum err_code score_add(struct score *s, const int32_t *ids, size_t n, size_t first,
                               struct err *err)
{
    const size_t used = s->seqs ? s->offset[s->seqs] : 0;
    if (used + n > s->tokens_max || s->seqs == SCORE_LINES_MAX) {
        const enum err_code rc = score_flush(s, err);
        if (rc)
            return rc;
    }
    if (s->seqs == 0)
        s->ids.n = s->offset[0] = 0;
    memcpy(s->ids.ids + s->ids.n, ids, n * sizeof *ids);
    s->ids.n += n;
    s->first[s->seqs++] = (uint32_t)first;
    s->offset[s->seqs] = (uint32_t)s->ids.n;
    return ERR_OK;
}

static enum err_code score_record(struct score *s, const struct data_record *record,
                                  struct err *err)
{
    struct encoded *one = &s->one;
    enum err_code rc = encode_record(&s->how, record, ENCODE_ALL, one, err);
    for (size_t i = 0; !rc && i < one->answers; i++)
        rc = score_add(s, one->ids.ids + one->offset[i], one->offset[i + 1] - one->offset[i],
                       one->first, err);
    return rc;
}

static enum err_code score_lines(struct score *s, const char *path, struct err *err)
{
    const struct reader_options options = {.format = FORMAT_auto};
    struct reader *reader = reader_open(path, &options, err);
    if (!reader)
        return err->code;
    const struct data_record *record;
    enum err_code rc;
    while (!(rc = reader_next(reader, &record, err)) && record) {
        rc = score_record(s, record, err);
        if (rc)
            break;
    }
    if (!rc)
        rc = score_flush(s, err);
    reader_close(reader);
    return rc;
}

static enum err_code score_refuse_ensemble(const char *dir, struct err *err)
{
    char path[FILE_PATH_MAX];
    const enum err_code rc = file_join(path, dir, "member-0", err);
    if (rc || !file_exists(path))
        return rc;
    return err_set(err, ERR_FORMAT,
                   "%s: an ensemble has no scores of its own, its members have: name %s; a run's "
                   "scorer makes one of them, as `rlhf evaluate` shows",
                   dir, path);
}

static enum err_code score_load(struct score *s, const char *dir, size_t threads,
                                struct err *err)
{
    enum err_code rc = score_refuse_ensemble(dir, err);
    if (rc)
        return rc;
    s->pool = pool_new(threads, err);
    s->model = s->pool ? model_load(dir, err) : NULL;
    if (!s->model)
        return err->code;
    s->model->precision = s->precision;
    return s->model->config.head == MODEL_HEAD_SCORE
               ? combiner_read(&s->combiner, &s->model->config, dir, &s->combined, err)
               : ERR_OK;
}

static enum err_code score_open(struct score *s, const char *dir, size_t threads,
                                struct err *err)
{
    pool_thread_init();
    char path[FILE_PATH_MAX];
    enum err_code rc = score_load(s, dir, threads, err);
    if (!rc)
        rc = file_join(path, dir, "tokenizer.json", err);
    if (rc)
        return rc;
    if (file_exists(path) && !(s->tokenizer = tokenizer_load(dir, err)))
        return err->code;

    /* One sequence of the greatest length must fit. */
    if (s->model->config.T < s->tokens_max)
        s->how.tokens_max = s->model->config.T;
    else
        s->how.tokens_max = s->tokens_max;
    s->how.config = &s->model->config;
    s->how.tokenizer = s->tokenizer;
    s->pass = pass_new(s->model, s->pool, s->tokens_max, false, err);
    if (!s->pass)
        return err->code;
    const size_t labels = s->model->config.labels ? s->model->config.labels : 1;
    s->at = calloc(s->tokens_max, sizeof *s->at);
    s->target = calloc(s->tokens_max, sizeof *s->target);
    s->logp = calloc(s->tokens_max, sizeof *s->logp);
    s->entropy = calloc(s->tokens_max, sizeof *s->entropy);
    s->value = calloc(s->tokens_max * labels, sizeof *s->value);
    s->ids.ids = calloc(s->tokens_max, sizeof *s->ids.ids);
    if (!s->at || !s->target || !s->logp || !s->entropy || !s->value || !s->ids.ids)
        return err_set(err, ERR_NOMEM, "no memory for %zu tokens", s->tokens_max);
    return ERR_OK;
}

static void score_close(struct score *s)
{
    pass_free(s->pass);
    tokenizer_free(s->tokenizer);
    model_free(s->model);
    pool_free(s->pool);
    tokens_release(&s->ids);
    encoded_release(&s->one);
    free(s->at);
    free(s->target);
    free(s->logp);
    free(s->entropy);
    free(s->value);
    buf_release(&s->out);
}

static const struct cli_usage score_usage = {
    .words = "score",
    .synopsis = "--model DIR --ids FILE [options]",
    .about = "Each line of FILE is {\"ids\": [...]}, {\"text\": ...}, {\"prompt\": ...,\n"
             "\"response\": ...}, or of another format of docs/DATA.md with one or more\n"
             "answers.  For each of these, in order: a language model's log-prob (nats) of\n"
             "every token after the first, or of the response's tokens alone, and the entropy\n"
             "of each distribution; or a score head's outputs at the last token, and before\n"
             "them the one score that combiner.json makes of them, where there is one.\n",
    .examples = "  echo '{\"ids\": [1, 403, 407]}' | rlhf score --model DIR --ids - --json\n"
                "  rlhf score --model reward-model --ids pairs.jsonl --chat chatml\n",
};

int cmd_score(int argc, char **argv)
{
    static struct score s; /* its tables are too large for the stack */
    s = (struct score){.line = 1};
    const char *model = NULL, *ids = NULL, *chat = "plain", *precision = "fp32";
    uint64_t threads = 1, tokens_max = 4096;
    double temperature = 1.0;
    const struct cli_option options[] = {
        cli_text("model", &model, "DIR", "Hugging Face model directory"),
        cli_text("ids", &ids, "FILE", "JSON lines to score; - is standard input"),
        cli_flag("json", &s.json, "a JSON line for each line"),
        cli_flag("values", &s.values, "score head: also its output at every token"),
        cli_text("chat", &chat, "NAME", "template of prompts: plain, chatml, llama3, hh"),
        cli_flag("end", &s.how.end, "append the end token to responses and texts"),
        cli_number("temperature", &temperature, "X", 1e-3, 100.0, "logits are divided by it"),
        cli_count("tokens", &tokens_max, "N", 1, 1 << 20, "most tokens of a packed pass"),
        cli_count("threads", &threads, "N", 1, POOL_THREADS_MAX, "threads"),
        cli_text("precision", &precision, "NAME", "fp32; bf16: faster where the CPU has AMX"),
    };
    struct cli_usage usage = score_usage;
    usage.options = options;
    usage.options_n = sizeof options / sizeof options[0];
    const int code = cli_parse(&usage, argc, argv, NULL);
    if (code != CLI_GO)
        return code;
    if (!model || !ids)
        return cli_usage_error(&usage, "--%s is missing", model ? "ids" : "model");

    struct err err = {0};
    buf_init(&s.out, SCORE_TEXT_MAX);
    s.tokens_max = tokens_max;
    s.temperature = (float)temperature;
    enum err_code rc = chat_template_parse(chat, &s.how.chat, &err);
    if (rc)
        return cli_usage_error(&usage, "--chat: %s", err.text);
    if (precision_parse(precision, &s.precision, &err))
        return cli_usage_error(&usage, "%s", err.text);
    rc = score_open(&s, model, threads, &err);
    if (!rc && !s.json)
        puts(s.model->config.head == MODEL_HEAD_LM
                 ? "  line  tokens   sum log-prob        mean     entropy"
             : s.combined ? "  line  tokens         score        scores"
                          : "  line  tokens        scores");
    if (!rc)
        rc = score_lines(&s, ids, &err);
    score_close(&s);
    return rc ? cli_fail(&usage, &err) : 0;
}

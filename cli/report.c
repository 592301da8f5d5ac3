/* report.c -- see report.h. */
#include "cli/report.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "cli/chart.h"
#include "coordinator/ledger.h"
#include "engine/tokenizer.h"
#include "node/run_config.h"

#define REPORT_BYTES_MAX ((size_t)64 * 1024 * 1024)
#define REPORT_EXAMPLES  8
#define REPORT_STEPS_MAX ((size_t)10 * 1000 * 1000)

/* A column a quantity; NAN where a step has none. */
#define REPORT_COLUMN_MAP(X)                                                                 \
    X(step)                                                                                  \
    X(raw) X(raw_std) X(shaped) X(kl) X(kl_target) X(beta) X(length) X(truncated) X(entropy) \
        X(clip_fraction) X(approx_kl) X(value_loss) X(explained_variance) X(grad_norm)       \
            X(tokens_per_s) X(logp_diff_max)

struct report_table {
    size_t n, cap;
#define X(name) double *name;
    REPORT_COLUMN_MAP(X)
#undef X
    double target; /* of the KL controller; NAN: it is fixed */
};

struct report_example {
    uint32_t slot, prompt;
    struct buf text;
};

struct report {
    const struct run_config *config;
    struct report_table table;
    const struct tokenizer *tokenizer; /* NULL: no examples */
    uint64_t last_step;
    struct report_example example[REPORT_EXAMPLES];
    size_t examples;
};

static void report_release(struct report *report)
{
#define X(name) free(report->table.name);
    REPORT_COLUMN_MAP(X)
#undef X
    for (size_t i = 0; i < report->examples; i++)
        buf_release(&report->example[i].text);
}

static bool report_grow(struct report_table *table)
{
    if (table->n < table->cap)
        return true;
    const size_t cap = table->cap ? 2 * table->cap : 64;
    if (cap > REPORT_STEPS_MAX)
        return false;
#define X(name)                                                    \
    {                                                              \
        double *grown = realloc(table->name, cap * sizeof *grown); \
        if (!grown)                                                \
            return false;                                          \
        table->name = grown;                                       \
    }
    REPORT_COLUMN_MAP(X)
#undef X
    table->cap = cap;
    return true;
}

static double report_stat(const struct record_step *step, const char *name)
{
    for (uint32_t i = 0; i < step->stats_n; i++)
        if (strcmp(step->stats[i].name, name) == 0)
            return step->stats[i].value;
    return NAN;
}

static enum err_code report_on_step(void *ctx, const struct record *record, struct err *err)
{
    struct report *report = ctx;
    struct report_table *t = &report->table;
    const struct record_step *s = record->step;
    if (!report_grow(t))
        return err_set(err, ERR_NOMEM, "the report has no room for step %llu",
                       (unsigned long long)s->step);
    const size_t i = t->n++;
    const double trained = s->trained ? (double)s->trained : NAN;
    t->step[i] = (double)s->step;
    t->raw[i] = s->reward_raw_mean;
    t->raw_std[i] = s->reward_raw_std;
    t->shaped[i] = s->reward_shaped_mean;
    t->kl[i] = s->kl_mean;
    t->kl_target[i] = t->target;
    t->beta[i] = s->kl_coef_before;
    t->length[i] = (double)s->response_tokens / trained;
    t->truncated[i] = (double)s->truncated / trained;
    t->tokens_per_s[i] =
        s->duration_ms ? 1e3 * (double)s->response_tokens / (double)s->duration_ms : NAN;
    t->entropy[i] = report_stat(s, "entropy");
    t->clip_fraction[i] = report_stat(s, "clip_fraction");
    t->approx_kl[i] = report_stat(s, "approx_kl");
    t->value_loss[i] = report_stat(s, "value_loss");
    t->explained_variance[i] = report_stat(s, "explained_variance");
    t->grad_norm[i] = report_stat(s, "grad_norm");
    t->logp_diff_max[i] = report_stat(s, "logp_diff_max");
    report->last_step = s->step;
    return ERR_OK;
}

/* Keep the first rollouts of the last step that trained, as text. */
static enum err_code report_on_record(void *ctx, const struct record *record, struct err *err)
{
    struct report *report = ctx;
    if (record->kind != RECORD_ROLLOUT || record->work != WIRE_WORK_ROLLOUT ||
        record->a != report->last_step || report->examples == REPORT_EXAMPLES)
        return ERR_OK;
    struct report_example *example = &report->example[report->examples];
    *example = (struct report_example){.slot = record->b, .prompt = record->prompt};
    buf_init(&example->text, 1024 * 1024);
    report->examples += 1;
    return tokenizer_decode(report->tokenizer, record->ids, record->response_tokens, false,
                            &example->text, err);
}

static void report_escape(struct buf *out, const char *text)
{
    for (const char *c = text; *c; c++) {
        switch (*c) {
        case '<': buf_puts(out, "&lt;"); break;
        case '>': buf_puts(out, "&gt;"); break;
        case '&': buf_puts(out, "&amp;"); break;
        case '"': buf_puts(out, "&quot;"); break;
        default: buf_putc(out, *c);
        }
    }
}

static void report_chart(const struct report_table *t, struct buf *out, const char *title,
                         const char *unit, const struct chart_series *series, size_t n)
{
    struct chart_series over_step[CHART_SERIES_MAX];
    for (size_t i = 0; i < n; i++)
        over_step[i] = (struct chart_series){
            .name = series[i].name, .x = t->step, .y = series[i].y, .n = t->n};
    const struct chart chart = {
        .title = title, .x_label = "step", .y_label = unit, .series = over_step, .series_n = n};
    chart_write(&chart, out);
}

static void report_charts(const struct report_table *t, struct buf *out)
{
    const struct chart_series raw[] = {{.name = "mean", .y = t->raw}, {.name = "std", .y = t->raw_std}};
    const struct chart_series kl[] = {{.name = "KL", .y = t->kl},
                                      {.name = "target", .y = t->kl_target}};
    const struct {
        const char *title, *unit;
        const double *y;
    } single[] = {
        {"Shaped reward: what training sees", "reward", t->shaped},
        {"KL coefficient beta", "reward per nat", t->beta},
        {"Response length", "tokens", t->length},
        {"Share of responses cut at the limit", "share", t->truncated},
        {"Entropy of the policy", "nats per token", t->entropy},
        {"Clipped tokens", "share", t->clip_fraction},
        {"KL of old to new policy within a step", "nats per token", t->approx_kl},
        {"Value loss", "reward squared", t->value_loss},
        {"Explained variance of the critic", "share", t->explained_variance},
        {"Gradient norm before clipping", "norm", t->grad_norm},
        {"Response tokens a second", "tokens per second", t->tokens_per_s},
        {"Greatest |log-prob of actor - learner|", "nats", t->logp_diff_max},
    };
    report_chart(t, out, "Reward (raw)", "reward", raw, 2);
    report_chart(t, out, "KL to the reference policy", "nats per sequence", kl,
                 isnan(t->target) ? 1 : 2);
    for (size_t i = 0; i < sizeof single / sizeof single[0]; i++) {
        const struct chart_series series[] = {
            {.name = single[i].title, .y = single[i].y}};
        report_chart(t, out, single[i].title, single[i].unit, series, 1);
    }
}

/* Mean over the first or the last tenth of the steps, at least one. */
static double report_end_mean(const struct report_table *t, const double *y, bool last)
{
    const size_t n = t->n < 10 ? 1 : t->n / 10;
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += y[last ? t->n - n + i : i];
    return sum / (double)n;
}

static void report_numbers(const struct report_table *t, struct buf *out)
{
    const struct {
        const char *name;
        const double *y;
    } rows[] = {{"reward, raw", t->raw},          {"reward, shaped", t->shaped},
                {"KL, nats per sequence", t->kl}, {"beta", t->beta},
                {"response tokens", t->length},   {"entropy, nats per token", t->entropy}};
    buf_puts(out, "<table><tr><th></th><th>first tenth</th><th>last tenth</th></tr>\n");
    for (size_t i = 0; t->n > 0 && i < sizeof rows / sizeof rows[0]; i++)
        buf_printf(out, "<tr><td>%s</td><td>%.4g</td><td>%.4g</td></tr>\n", rows[i].name,
                   report_end_mean(t, rows[i].y, false), report_end_mean(t, rows[i].y, true));
    buf_puts(out, "</table>\n");
}

static void report_page(const struct report *report, struct buf *out)
{
    buf_puts(out, "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>");
    report_escape(out, report->config->name);
    buf_puts(out, "</title>\n<style>body{font:14px/1.5 system-ui,sans-serif;max-width:1340px;"
                  "margin:2em auto;padding:0 1em;color:#1f2328}svg{font-size:11px;margin:4px}"
                  ".title{font-size:13px;font-weight:600}.grid{stroke:#d8dee4}"
                  "td,th{padding:2px 14px 2px 0;text-align:left;vertical-align:top}"
                  "pre{background:#f6f8fa;padding:1em;overflow:auto}</style>\n<h1>");
    report_escape(out, report->config->name);
    buf_printf(out, "</h1>\n<p>%zu of %llu steps of %u slots.</p>\n", report->table.n,
               (unsigned long long)report->config->steps, report->config->batch);
    report_numbers(&report->table, out);
    buf_puts(out, "<h2>Over the steps</h2>\n");
    report_charts(&report->table, out);
    buf_puts(out, "<h2>Responses of the last step</h2>\n<table><tr><th>slot</th><th>prompt</th>"
                  "<th>response</th></tr>\n");
    for (size_t i = 0; i < report->examples; i++) {
        buf_printf(out, "<tr><td>%u</td><td>%u</td><td>", report->example[i].slot,
                   report->example[i].prompt);
        report_escape(out, report->example[i].text.data);
        buf_puts(out, "</td></tr>\n");
    }
    buf_puts(out, "</table>\n<details><summary>Configuration</summary><pre>");
    struct buf yaml;
    buf_init(&yaml, 1024 * 1024);
    run_config_write(report->config, &yaml);
    report_escape(out, yaml.data);
    buf_release(&yaml);
    buf_puts(out, "</pre></details></html>\n");
}

static enum err_code report_read(struct report *report, const char *dir, struct err *err)
{
    struct ledger *ledger = NULL;
    enum err_code rc = ledger_open_read(&ledger, dir, err);
    if (rc)
        return rc;
    rc = ledger_each_step(ledger, report_on_step, report, err);
    if (rc == ERR_OK && report->tokenizer && report->table.n > 0)
        rc = ledger_each(ledger, report->last_step, report_on_record, report, err);
    const enum err_code closed = ledger_close(ledger, rc ? NULL : err);
    return rc ? rc : closed;
}

enum err_code report_write(const char *run_dir, struct err *err)
{
    static struct run_config config; /* too large for a stack */
    char path[FILE_PATH_MAX];
    struct buf page;
    struct report report = {.config = &config};
    struct tokenizer *tokenizer = NULL;
    buf_init(&page, REPORT_BYTES_MAX);
    enum err_code rc = file_join(path, run_dir, "config.yaml", err);
    if (rc == ERR_OK)
        rc = run_config_load(&config, path, NULL, 0, err);
    if (rc)
        goto out;
    report.table.target =
        config.kl_controller == RUN_KL_CONTROLLER_ADAPTIVE ? config.kl_target : NAN;
    /* A run whose policy directory has gone still has its curves. */
    report.tokenizer = tokenizer = tokenizer_load(config.policy, NULL);
    rc = report_read(&report, run_dir, err);
    if (rc)
        goto out;
    report_page(&report, &page);
    if ((rc = buf_check(&page, "the report", err)) ||
        (rc = file_join(path, run_dir, "report.html", err)))
        goto out;
    rc = file_write(path, page.data, page.len, err);
out:
    report_release(&report);
    tokenizer_free(tokenizer);
    buf_release(&page);
    return rc;
}

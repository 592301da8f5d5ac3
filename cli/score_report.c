/* score_report.c -- see score_report.h: training.json; score_page.c has the page. */
#include "cli/score_report.h"

#include <math.h>

#include "base/file.h"
#include "cli/score_page.h"

#define SCORE_REPORT_MAX ((size_t)256 << 20)

static void score_report_number(struct buf *out, const char *before, const char *name,
                                double value)
{
    buf_printf(out, "%s\"%s\": ", before, name);
    buf_json_number(out, value);
}

static void score_report_metrics(const struct score_report *r, const double *metric,
                                 const char *before, struct buf *out)
{
    for (size_t k = 0; k < r->names->n; k++) {
        score_report_number(out, before, r->names->name[k], metric[k]);
        before = ", ";
    }
}

static void score_report_history(const struct score_report *r, struct buf *out)
{
    const struct fit_history *history = r->history;
    buf_puts(out, ",\n\"steps\": [");
    for (uint64_t i = 0; i < history->steps; i++) {
        const struct fit_step *s = &history->step[i];
        buf_printf(out, "%s\n  {\"step\": %llu, \"epoch\": %llu, \"tokens\": %llu",
                   i ? "," : "", (unsigned long long)s->step, (unsigned long long)s->epoch,
                   (unsigned long long)s->tokens);
        score_report_number(out, ", ", "loss", s->loss);
        score_report_number(out, ", ", "lr", s->lr);
        score_report_number(out, ", ", "grad_norm", s->grad_norm);
        buf_putc(out, '}');
    }
    buf_puts(out, "],\n\"tests\": [");
    for (uint64_t i = 0; i < history->tests; i++) {
        buf_printf(out, "%s\n  {\"step\": %llu", i ? "," : "",
                   (unsigned long long)history->test[i].step);
        score_report_metrics(r, history->test[i].metric, ", ", out);
        buf_putc(out, '}');
    }
    buf_printf(out, "],\n\"stopped_early\": %s", history->stopped ? "true" : "false");
    if (history->best != UINT64_MAX)
        buf_printf(out, ",\n\"best_step\": %llu",
                   (unsigned long long)history->test[history->best].step);
}

static void score_report_baseline(const struct score_report *r, struct buf *out)
{
    const struct scoring_baseline *b = r->baseline;
    buf_puts(out, ",\n\"baselines\": {");
    if (r->feedback->kind == FEEDBACK_REGRESSION) {
        buf_puts(out, "\"mse_of_the_training_mean\": [");
        for (uint32_t j = 0; j < r->feedback->labels; j++) {
            buf_puts(out, j ? ", " : "");
            buf_json_number(out, b->mse[j]);
        }
        buf_puts(out, "]}");
        return;
    }
    score_report_number(out, "", "longer_wins", b->longer.accuracy);
    score_report_number(out, ", ", "shorter_wins", b->shorter.accuracy);
    score_report_number(out, ", ", "length_stderr", b->longer.stderror);
    score_report_number(out, ", ", "chance", 0.5);
    if (r->feedback->kind == FEEDBACK_COST) {
        score_report_number(out, ", ", "majority_sign", b->sign.accuracy);
        score_report_number(out, ", ", "majority_sign_stderr", b->sign.stderror);
    }
    buf_putc(out, '}');
}

static void score_report_floats(struct buf *out, const char *name, const float *x, size_t n)
{
    buf_printf(out, ",\n\"%s\": [", name);
    for (size_t i = 0; i < n; i++)
        buf_printf(out, "%s%.9g", i ? ", " : "", (double)x[i]);
    buf_putc(out, ']');
}

static void score_report_reliability(const struct score_report *r, struct buf *out)
{
    struct preference_bin bin[PREFERENCE_BINS];
    preference_reliability(r->first, r->second, r->n, bin);
    buf_puts(out, ",\n\"reliability\": [");
    for (size_t b = 0; b < PREFERENCE_BINS; b++) {
        score_report_number(out, b ? ",\n  {" : "\n  {", "pairs", bin[b].pairs);
        score_report_number(out, ", ", "confidence", bin[b].confidence);
        score_report_number(out, ", ", "accuracy", bin[b].accuracy);
        buf_putc(out, '}');
    }
    buf_putc(out, ']');
}

static void score_report_json(const struct score_report *r, struct buf *out)
{
    const bool pairs = r->feedback->kind != FEEDBACK_REGRESSION;
    buf_printf(out, "{\"kind\": \"%s\", \"trained\": %zu, \"held_out\": %zu",
               feedback_kind_name(r->feedback->kind), r->trained, r->n);
    if (r->members)
        buf_printf(out, ", \"members\": %zu", r->members);
    buf_puts(out, ",\n\"result\": {");
    score_report_metrics(r, r->metric, "", out);
    buf_putc(out, '}');
    score_report_baseline(r, out);
    if (r->combiner)
        buf_printf(out, ",\n\"combiner\": %s", r->combiner);
    if (pairs) {
        score_report_reliability(r, out);
        score_report_floats(out, "chosen", r->first, r->n);
        score_report_floats(out, "rejected", r->second, r->n);
    }
    if (r->history)
        score_report_history(r, out);
    buf_printf(out, ",\n\"settings\": %s}\n", r->settings);
}

static enum err_code score_report_file(const struct score_report *r, const char *dir,
                                       const char *name,
                                       void (*write)(const struct score_report *, struct buf *),
                                       struct err *err)
{
    char path[FILE_PATH_MAX];
    struct buf text;
    buf_init(&text, SCORE_REPORT_MAX);
    write(r, &text);
    enum err_code rc = buf_check(&text, name, err);
    if (!rc)
        rc = file_join(path, dir, name, err);
    if (!rc)
        rc = file_write(path, text.data, text.len, err);
    buf_release(&text);
    return rc;
}

enum err_code score_report_write(const struct score_report *report, const char *dir,
                                 struct err *err)
{
    enum err_code rc = score_report_file(report, dir, "training.json", score_report_json, err);
    if (!rc)
        rc = score_report_file(report, dir, "report.html", score_page_write, err);
    return rc;
}

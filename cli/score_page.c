/* score_page.c -- see score_page.h. */
#include "cli/score_page.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/chart.h"
#include "cli/chart_bins.h"
#include "cli/report_page.h"

static void score_page_row(struct buf *out, const char *name, double value, double stderror)
{
    if (isnan(value))
        return;
    buf_puts(out, "<tr><td>");
    report_page_text(out, name);
    buf_puts(out, "</td>");
    report_page_cell_error(out, value, stderror);
    buf_puts(out, "</tr>\n");
}

static size_t score_page_metric(const struct score_report *r, const char *name)
{
    for (size_t k = 0; k < r->names->n; k++)
        if (strcmp(r->names->name[k], name) == 0)
            return k;
    return FIT_METRICS_MAX;
}

static void score_page_numbers(const struct score_report *r, struct buf *out)
{
    const struct scoring_baseline *b = r->baseline;
    buf_puts(out, "<table>\n<tr><th>On the items held out</th><th></th></tr>\n");
    for (size_t k = 0; k < r->names->n; k++) {
        const char *name = r->names->name[k];
        const bool has_error =
            k + 1 < r->names->n && strstr(r->names->name[k + 1], "_stderr") != NULL;
        if (!strstr(name, "_stderr"))
            score_page_row(out, name, r->metric[k], has_error ? r->metric[k + 1] : (double)NAN);
    }
    buf_puts(out, "<tr><th>What needs no model</th><th></th></tr>\n");
    score_page_row(out, "the longer answer wins", b->longer.accuracy, b->longer.stderror);
    score_page_row(out, "the shorter answer wins", b->shorter.accuracy, b->shorter.stderror);
    score_page_row(out, "always the more frequent sign", b->sign.accuracy, b->sign.stderror);
    for (uint32_t j = 0; r->feedback->kind == FEEDBACK_REGRESSION && j < r->feedback->labels;
         j++) {
        char name[SCORING_NAME_MAX + 48];
        snprintf(name, sizeof name, "the training mean: %s", r->names->text[3 * j]);
        score_page_row(out, name, b->mse[j], (double)NAN);
    }
    buf_puts(out, "</table>\n");
}

/* ---- curves ---- */

/* Columns of the history: x, and a metric with its spread (FIT_METRICS_MAX: none). */
struct score_page_curve {
    double *x, *y, *spread;
    size_t n;
};

static struct score_page_curve score_page_curve_new(size_t n)
{
    struct score_page_curve c = {calloc(n + 1, sizeof(double)), calloc(n + 1, sizeof(double)),
                                 calloc(n + 1, sizeof(double)), n};
    if (!c.x || !c.y || !c.spread)
        c.n = 0; /* a page with one chart fewer */
    return c;
}

static void score_page_curve_free(struct score_page_curve *c)
{
    free(c->x);
    free(c->y);
    free(c->spread);
}

static struct score_page_curve score_page_tests(const struct score_report *r, size_t metric,
                                                size_t spread)
{
    struct score_page_curve c = score_page_curve_new(r->history->tests);
    for (size_t i = 0; i < c.n; i++) {
        const struct fit_test *test = &r->history->test[i];
        c.x[i] = (double)test->step;
        c.y[i] = test->metric[metric];
        c.spread[i] = spread < FIT_METRICS_MAX ? test->metric[spread] : (double)NAN;
    }
    return c;
}

static void score_page_loss(const struct score_report *r, struct buf *out)
{
    struct score_page_curve train = score_page_curve_new(r->history->steps);
    struct score_page_curve held = score_page_tests(r, 0, FIT_METRICS_MAX);
    for (size_t i = 0; i < train.n; i++) {
        train.x[i] = (double)r->history->step[i].step;
        train.y[i] = r->history->step[i].loss;
    }
    const struct chart_series series[] = {
        {.name = "a step's, before its update", .x = train.x, .y = train.y, .n = train.n},
        {.name = "held out, labels alone",
         .x = held.x,
         .y = held.y,
         .n = held.n,
         .mark = CHART_POINTS}};
    const struct chart chart = {
        .title = "Loss",
        .x_label = "step",
        .y_label = r->feedback->kind == FEEDBACK_REGRESSION ? "squared error" : "nats",
        .series = series,
        .series_n = 2};
    chart_write(&chart, out);
    score_page_curve_free(&train);
    score_page_curve_free(&held);
}

static void score_page_accuracy(const struct score_report *r, struct buf *out)
{
    const size_t metric = score_page_metric(r, "accuracy");
    struct score_page_curve c = score_page_tests(r, metric, metric + 1);
    const struct chart_series series = {.name = "model, with standard error",
                                        .x = c.x,
                                        .y = c.y,
                                        .n = c.n,
                                        .mark = CHART_POINTS,
                                        .spread = c.spread};
    const struct chart_level levels[] = {{"longer wins", r->baseline->longer.accuracy},
                                         {"shorter wins", r->baseline->shorter.accuracy}};
    const struct chart chart = {.title = "Pairs held out in the right order",
                                .x_label = "step",
                                .y_label = "share of pairs",
                                .series = &series,
                                .series_n = 1,
                                .levels = levels,
                                .levels_n = 2};
    chart_write(&chart, out);
    score_page_curve_free(&c);
}

static void score_page_attributes(const struct score_report *r, struct buf *out)
{
    struct score_page_curve curve[CHART_SERIES_MAX];
    struct chart_series series[CHART_SERIES_MAX];
    size_t n = 0;
    for (; n < r->feedback->labels && n < CHART_SERIES_MAX; n++) {
        curve[n] = score_page_tests(r, 2 + 3 * n, FIT_METRICS_MAX);
        series[n] = (struct chart_series){.name = r->names->text[3 * n + 1],
                                          .x = curve[n].x,
                                          .y = curve[n].y,
                                          .n = curve[n].n};
    }
    const struct chart chart = {.title = "Attributes held out",
                                .x_label = "step",
                                .y_label = "explained variance",
                                .series = series,
                                .series_n = n};
    chart_write(&chart, out);
    for (size_t i = 0; i < n; i++)
        score_page_curve_free(&curve[i]);
}

/* ---- the scores themselves ---- */

static void score_page_reliability(const struct score_report *r, struct buf *out)
{
    struct preference_bin bin[PREFERENCE_BINS];
    double x[PREFERENCE_BINS], y[PREFERENCE_BINS], pairs[PREFERENCE_BINS],
        spread[PREFERENCE_BINS];
    size_t n = 0;
    preference_reliability(r->first, r->second, r->n, bin);
    for (size_t b = 0; b < PREFERENCE_BINS; b++) {
        if (bin[b].pairs == 0.0)
            continue;
        x[n] = bin[b].confidence;
        y[n] = bin[b].accuracy;
        spread[n] = sqrt(y[n] * (1.0 - y[n]) / bin[b].pairs);
        pairs[n++] = bin[b].pairs;
    }
    const struct chart_series series = {.name = "pairs of a bin, with standard error",
                                        .x = x,
                                        .y = y,
                                        .n = n,
                                        .mark = CHART_POINTS,
                                        .spread = spread,
                                        .counts = pairs};
    const struct chart chart = {.title = "Reliability",
                                .x_label = "confidence, sigmoid of the margin",
                                .y_label = "share that is right",
                                .series = &series,
                                .series_n = 1,
                                .diagonal = "calibrated"};
    chart_write(&chart, out);
}

/* The scores of both sides, in columns of 2n values: as they are, and to be sorted. */
static void score_page_histogram(const struct score_report *r, struct buf *out)
{
    double *values = calloc(4 * r->n, sizeof *values), count[2][CHART_BINS_MAX];
    if (!values)
        return; /* a page with one chart fewer */
    double *sorted = values + 2 * r->n;
    for (size_t i = 0; i < r->n; i++) {
        values[i] = sorted[i] = (double)r->first[i];
        values[r->n + i] = sorted[r->n + i] = (double)r->second[i];
    }
    const struct chart_bins bins = chart_bins_of(sorted, 2 * r->n);
    for (size_t side = 0; side < 2; side++)
        chart_bins_count(&bins, values + side * r->n, r->n, count[side]);
    free(values);
    const bool cost = r->feedback->kind == FEEDBACK_COST;
    const struct chart_series series[] = {{.name = cost ? "less safe" : "chosen",
                                           .x = bins.edge,
                                           .y = count[0],
                                           .n = bins.n,
                                           .mark = CHART_BARS},
                                          {.name = cost ? "safer" : "rejected",
                                           .x = bins.edge,
                                           .y = count[1],
                                           .n = bins.n,
                                           .mark = CHART_BARS}};
    const struct chart chart = {.title = "Scores of the answers held out",
                                .x_label = "score",
                                .y_label = "answers",
                                .series = series,
                                .series_n = 2};
    chart_write(&chart, out);
}

static void score_page_signs(const struct score_report *r, struct buf *out)
{
    size_t count[2][2] = {{0}};
    for (size_t i = 0; i < r->n; i++) {
        for (size_t side = 0; side < 2; side++) {
            const int sign = r->feedback->item[r->held_out[i]].sign[side];
            const bool above = (side ? r->second : r->first)[i] > 0.0f;
            if (sign)
                count[sign > 0][above]++;
        }
    }
    buf_puts(out, "<table>\n<tr><th>labelled</th><th class=\"n\">cost at most 0</th>"
                  "<th class=\"n\">cost above 0</th></tr>\n");
    for (size_t harmful = 0; harmful < 2; harmful++)
        buf_printf(out,
                   "<tr><td>%s</td><td class=\"n\">%zu</td><td class=\"n\">%zu</td></tr>\n",
                   harmful ? "harmful" : "safe", count[harmful][0], count[harmful][1]);
    buf_puts(out, "</table>\n");
}

static void score_page_charts(const struct score_report *r, struct buf *out)
{
    const bool pairs = r->feedback->kind != FEEDBACK_REGRESSION;
    buf_puts(out, "<div class=\"charts\">\n");
    if (r->history) {
        score_page_loss(r, out);
        if (r->n > 0)
            (pairs ? score_page_accuracy : score_page_attributes)(r, out);
    }
    if (r->n > 0 && pairs) {
        score_page_reliability(r, out);
        score_page_histogram(r, out);
    }
    buf_puts(out, "</div>\n");
}

static void score_page_settings(const struct score_report *r, struct buf *out)
{
    buf_puts(out, "<details><summary>Settings</summary><pre>");
    report_page_text(out, r->settings);
    if (r->combiner) {
        buf_puts(out, "\n\ncombiner: ");
        report_page_text(out, r->combiner);
    }
    buf_puts(out, "</pre></details>\n");
}

void score_page_write(const struct score_report *r, struct buf *out)
{
    static const char *const title[][2] = {
        [FEEDBACK_REWARD] = {"Reward model", "Reward models, an ensemble"},
        [FEEDBACK_COST] = {"Cost model", "Cost models, an ensemble"},
        [FEEDBACK_REGRESSION] = {"Attribute model", "Attribute models, an ensemble"}};
    const enum feedback_kind kind = r->feedback->kind;
    report_page_begin(out, title[kind][r->members > 0]);
    buf_printf(out, "<p>%zu items trained on, %zu held out.</p>\n", r->trained, r->n);
    score_page_numbers(r, out);
    score_page_charts(r, out);
    if (r->n > 0 && kind == FEEDBACK_COST)
        score_page_signs(r, out);
    score_page_settings(r, out);
    report_page_end(out);
}

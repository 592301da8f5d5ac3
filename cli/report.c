/* report.c -- see report.h: the page of one run. */
#include "cli/report.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/file.h"
#include "cli/chart.h"
#include "cli/gate_screen.h"
#include "cli/report_curves.h"
#include "cli/report_examples.h"
#include "cli/report_page.h"
#include "cli/report_stats.h"

#define REPORT_BLOCKS 60 /* points of a scatter, at most */

/* --- charts ------------------------------------------------------------------------------- */

static void report_chart(const struct report_curves *curves, size_t column, struct buf *out)
{
    const struct report_quantity q = report_curves_quantity(curves->config, column);
    const struct chart_level level = report_curves_level(curves->config, column);
    const struct chart_series series = {
        .name = q.title, .x = curves->y[REPORT_STEP], .y = curves->y[column], .n = curves->n};
    chart_write(&(struct chart){.title = q.title,
                                .x_label = "step",
                                .y_label = q.unit,
                                .series = &series,
                                .series_n = 1,
                                .levels = &level,
                                .levels_n = isfinite(level.y) ? 1 : 0},
                out);
}

/* Over the distance from the reference policy; as that may also shrink, the run's thirds have
 * a colour each. */
static void report_scatter(const struct report_curves *curves, size_t column, struct buf *out)
{
    static const char *const names[] = {"first third", "second", "last third of the steps"};
    const struct report_quantity q = report_curves_quantity(curves->config, column);
    double x[REPORT_BLOCKS], y[REPORT_BLOCKS], error[REPORT_BLOCKS];
    const size_t n = report_stats_blocks(curves->y[REPORT_SQRT_KL], curves->y[column],
                                         curves->n, REPORT_BLOCKS, x, y, error);
    struct chart_series series[3];
    for (size_t s = 0; s < 3; s++) {
        const size_t from = s * n / 3;
        series[s] = (struct chart_series){.name = names[s],
                                          .x = x + from,
                                          .y = y + from,
                                          .n = (s + 1) * n / 3 - from,
                                          .mark = CHART_POINTS,
                                          .spread = error + from};
    }
    chart_write(&(struct chart){.title = q.title,
                                .x_label = REPORT_DISTANCE,
                                .y_label = q.unit,
                                .series = series,
                                .series_n = 3},
                out);
}

static bool report_is_monitor(const struct report_curves *curves, size_t column)
{
    return column >= REPORT_SCORE && report_curves_has(curves, column) &&
           curves->config->scorer[column - REPORT_SCORE].role == RUN_ROLE_MONITOR;
}

static void report_proxy_and_gold(const struct report_curves *curves, struct buf *out)
{
    const bool monitors = run_config_has_role(curves->config, RUN_ROLE_MONITOR);
    buf_puts(out, monitors ? "<h2>Proxy and gold, side by side</h2>\n"
                           : "<h2>Reward by step and by distance</h2>\n");
    if (curves->n > REPORT_BLOCKS)
        buf_printf(out,
                   "<p class=\"dim\">On the right a point is the mean over about %zu "
                   "consecutive steps, with its standard error.</p>\n",
                   curves->n / REPORT_BLOCKS);
    buf_puts(out, "<div class=\"charts\">\n");
    for (size_t c = 0; c < REPORT_COLUMNS; c++) {
        if (c != REPORT_RAW && !report_is_monitor(curves, c))
            continue;
        report_chart(curves, c, out);
        report_scatter(curves, c, out);
    }
    buf_puts(out, "</div>\n");
}

static void report_section(const struct report_curves *curves, enum report_section section,
                           const char *title, struct buf *out)
{
    bool begun = false;
    for (size_t c = 0; c < REPORT_COLUMNS; c++) {
        if (!report_curves_has(curves, c) || c == REPORT_RAW || report_is_monitor(curves, c) ||
            report_curves_quantity(curves->config, c).section != section)
            continue;
        if (!begun)
            buf_printf(out, "<h2>%s</h2>\n<div class=\"charts\">\n", title);
        begun = true;
        report_chart(curves, c, out);
    }
    if (begun)
        buf_puts(out, "</div>\n");
}

/* --- summary ------------------------------------------------------------------------------ */

static void report_summary_row(const struct report_curves *curves, size_t column,
                               struct buf *out)
{
    const struct report_quantity q = report_curves_quantity(curves->config, column);
    const double *y = curves->y[column], *step = curves->y[REPORT_STEP];
    const struct report_window first = report_stats_first(y, curves->n);
    const struct report_window last = report_stats_last(y, curves->n);
    buf_puts(out, "<tr><td>");
    report_page_text(out, q.title);
    buf_puts(out, " <span class=\"dim\">");
    report_page_text(out, q.unit);
    buf_puts(out, "</span></td>");
    report_page_cell(out, first.at.mean);
    if (q.sense == REPORT_NEITHER) {
        buf_puts(out, "<td></td><td></td>");
        report_page_cell(out, last.at.mean);
        buf_puts(out, "<td></td></tr>\n");
        return;
    }
    const struct report_window best = report_stats_best(y, curves->n, q.sense);
    report_page_cell(out, best.at.mean);
    buf_printf(out, "<td>%.0f", step[best.from]);
    if (best.steps > 1)
        buf_printf(out, "\xe2\x80\x93%.0f", step[best.from + best.steps - 1]);
    buf_puts(out, "</td>");
    report_page_cell(out, last.at.mean);
    report_page_cell(out, last.at.mean - best.at.mean);
    buf_puts(out, "</tr>\n");
}

static void report_summary_table(const struct report_curves *curves, struct buf *out)
{
    buf_puts(out, "<table>\n<thead><tr><th>mean over a tenth of the steps</th>"
                  "<th class=\"n\">first</th><th class=\"n\">best</th><th>steps</th>"
                  "<th class=\"n\">last</th><th class=\"n\">last - best</th></tr></thead>\n"
                  "<tbody>\n");
    static const size_t always[] = {REPORT_RAW, REPORT_SHAPED};
    static const size_t after[] = {REPORT_COST, REPORT_MULTIPLIER, REPORT_KL,
                                   REPORT_BETA, REPORT_LENGTH,     REPORT_ENTROPY};
    for (size_t i = 0; i < sizeof always / sizeof always[0]; i++)
        if (report_curves_has(curves, always[i]))
            report_summary_row(curves, always[i], out);
    for (size_t c = REPORT_SCORE; c < REPORT_COLUMNS; c++)
        if (report_is_monitor(curves, c))
            report_summary_row(curves, c, out);
    for (size_t i = 0; i < sizeof after / sizeof after[0]; i++)
        if (report_curves_has(curves, after[i]))
            report_summary_row(curves, after[i], out);
    buf_puts(out, "</tbody>\n</table>\n");
}

static void report_verdict(const struct report_curves *curves, size_t column, struct buf *out)
{
    const int sense = report_curves_quantity(curves->config, column).sense;
    const struct report_gap gap =
        report_stats_gap(curves->y[REPORT_RAW], curves->y[column], curves->n, sense);
    const double *step = curves->y[REPORT_STEP];
    const char *name = curves->config->scorer[column - REPORT_SCORE].name;
    buf_puts(out, gap.verdict == REPORT_HACKED ? "<p class=\"alarm\"><b>Reward hacking:</b> the"
                                               : "<p>The");
    buf_puts(out, " monitor \xe2\x80\x9c");
    report_page_text(out, name);
    buf_puts(out, "\xe2\x80\x9d ");
    switch (gap.verdict) {
    case REPORT_UNKNOWN:
        buf_puts(out, "cannot be judged: a tenth of the steps must be two at least, with "
                      "scores.");
        break;
    case REPORT_HELD:
        buf_printf(out, "did not get worse than its best: last - best is %.3g.",
                   gap.monitor_change);
        break;
    case REPORT_FELL:
    case REPORT_HACKED:
        buf_printf(out,
                   "%s from %.4g, its best, at steps %.0f\xe2\x80\x93%.0f to %.4g in the last "
                   "tenth (%+.3g), while the proxy %s (%+.3g).",
                   sense < 0 ? "rose" : "fell", gap.best.at.mean, step[gap.best.from],
                   step[gap.best.from + gap.best.steps - 1], gap.last.at.mean,
                   gap.monitor_change, gap.verdict == REPORT_HACKED ? "rose" : "did not rise",
                   gap.proxy_change);
        break;
    }
    buf_puts(out, "</p>\n");
}

static void report_verdicts(const struct report_curves *curves, struct buf *out)
{
    bool any = false;
    for (size_t c = REPORT_SCORE; c < REPORT_COLUMNS; c++) {
        if (!report_is_monitor(curves, c) ||
            report_curves_quantity(curves->config, c).sense != REPORT_MORE)
            continue;
        report_verdict(curves, c, out);
        any = true;
    }
    if (any)
        buf_printf(out,
                   "<p class=\"dim\">Criterion: means over the last tenth of the steps against "
                   "those over the monitor's best tenth; a change counts where it is more than "
                   "%g standard errors of the difference, from the spread of steps.</p>\n",
                   REPORT_STATS_ERRORS);
}

static void report_summary(const struct report_curves *curves, struct buf *out)
{
    const struct run_config *config = curves->config;
    buf_printf(out, "<p>%zu of %llu steps of %u slots, seed %llu; policy <code>", curves->n,
               (unsigned long long)config->steps, config->batch,
               (unsigned long long)config->seed);
    report_page_text(out, config->policy);
    buf_puts(out, "</code></p>\n");
    if (curves->n == 0)
        return;
    report_verdicts(curves, out);
    buf_puts(out, "<div class=\"wide\">\n");
    report_summary_table(curves, out);
    buf_puts(out, "</div>\n");
}

/* --- the page ----------------------------------------------------------------------------- */

static void report_page(const struct report_curves *curves,
                        const struct report_examples *examples, const struct buf *gate,
                        struct buf *out)
{
    report_page_begin(out, curves->config->name);
    report_summary(curves, out);
    buf_append(out, gate->data, gate->len);
    if (curves->n > 0) {
        report_proxy_and_gold(curves, out);
        report_section(curves, REPORT_REWARD, "Reward: what training sees, and its parts", out);
        report_section(curves, REPORT_SAFETY, "Cost and its multiplier", out);
        report_section(curves, REPORT_POLICY, "The policy", out);
        report_section(curves, REPORT_LEARNER, "The learner", out);
        report_section(curves, REPORT_SPEED, "Speed and checks", out);
    }
    report_examples_write(examples, curves->config, out);
    buf_puts(out, "<h2>Configuration</h2>\n");
    report_page_config(out, "every key", curves->config);
    report_page_end(out);
}

enum err_code report_write(const char *run_dir, struct err *err)
{
    char path[FILE_PATH_MAX];
    struct report_curves curves = {0};
    struct report_examples *examples = calloc(1, sizeof *examples); /* too large for a stack */
    struct buf page, gate;
    buf_init(&page, REPORT_PAGE_BYTES_MAX);
    buf_init(&gate, REPORT_PAGE_BYTES_MAX);
    enum err_code rc = ERR_OK;
    if (!examples)
        rc = err_set(err, ERR_NOMEM, "no memory for the report of %s", run_dir);
    if (rc == ERR_OK)
        rc = report_curves_load(&curves, run_dir, err);
    if (rc == ERR_OK && curves.n > 0)
        rc = report_examples_load(examples, run_dir, curves.config,
                                  (uint64_t)curves.y[REPORT_STEP][curves.n - 1], err);
    if (rc == ERR_OK)
        rc = gate_screen_report(run_dir, &gate, err);
    if (rc)
        goto out;
    report_page(&curves, examples, &gate, &page);
    if ((rc = buf_check(&page, "the report", err)) ||
        (rc = file_join(path, run_dir, "report.html", err)))
        goto out;
    rc = file_write(path, page.data, page.len, err);
out:
    if (examples)
        report_examples_release(examples);
    free(examples);
    report_curves_release(&curves);
    buf_release(&gate);
    buf_release(&page);
    return rc;
}

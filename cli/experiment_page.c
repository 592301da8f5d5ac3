/* experiment_page.c -- the results of an experiment as a table and as a page: see
 * experiment_results.h. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "cli/chart.h"
#include "cli/experiment_results.h"
#include "cli/report_compare.h"
#include "cli/report_groups.h"
#include "cli/report_page.h"

static const char *const experiment_numbers[EXPERIMENT_NUMBERS] = {
    "best tenth", "last tenth", "last - best", "answers", "win rate"};

static const char *const experiment_holds[EXPERIMENT_HOLDS] = {
    "steps to target", "overshoot", "hold error", "tenths held", "held throughout", "noise"};

/* --- tables ------------------------------------------------------------------------------- */

static uint32_t experiment_runs_of(const struct experiment_results *results, uint32_t setting)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < results->experiment->runs; i++)
        n += results->run[i].trained && results->experiment->run[i].setting == setting;
    return n;
}

/* Has any setting such a number? */
static bool experiment_has(const struct experiment_results *results,
                           const struct experiment_quantity *quantity,
                           enum experiment_number number)
{
    for (uint32_t s = 0; s < results->experiment->settings; s++)
        if (experiment_results_mean(results, quantity, number, s).n > 0)
            return true;
    return false;
}

static void experiment_write_cell(struct report_mean mean, struct buf *out)
{
    char cell[64] = "-";
    if (isfinite(mean.error))
        snprintf(cell, sizeof cell, "%.4g +- %.2g", mean.mean, mean.error);
    else if (isfinite(mean.mean))
        snprintf(cell, sizeof cell, "%.4g", mean.mean);
    buf_printf(out, "  %18s", cell);
}

static void experiment_write_quantity(const struct experiment_results *results,
                                      const struct experiment_quantity *quantity,
                                      struct buf *out)
{
    buf_printf(out, "%-28.60s", quantity->title);
    for (size_t k = 0; k < EXPERIMENT_NUMBERS; k++)
        buf_printf(out, "  %18s", experiment_numbers[k]);
    buf_putc(out, '\n');
    for (uint32_t s = 0; s < results->experiment->settings; s++) {
        buf_printf(out, "  %-20.60s %2u runs", results->experiment->setting[s].name,
                   experiment_runs_of(results, s));
        for (int k = 0; k < EXPERIMENT_NUMBERS; k++)
            experiment_write_cell(
                experiment_results_mean(results, quantity, (enum experiment_number)k, s), out);
        buf_putc(out, '\n');
    }
}

static void experiment_write_holds(const struct experiment_results *results, struct buf *out)
{
    buf_printf(out, "%-28s", "KL held at its target");
    for (size_t k = 0; k < EXPERIMENT_HOLDS; k++)
        buf_printf(out, "  %18s", experiment_holds[k]);
    buf_putc(out, '\n');
    for (uint32_t s = 0; s < results->experiment->settings; s++) {
        buf_printf(out, "  %-20.60s %2u runs", results->experiment->setting[s].name,
                   experiment_runs_of(results, s));
        for (int k = 0; k < EXPERIMENT_HOLDS; k++)
            experiment_write_cell(experiment_results_hold(results, (enum experiment_hold)k, s),
                                  out);
        buf_putc(out, '\n');
    }
}

void experiment_results_write(const struct experiment_results *results, struct buf *out)
{
    for (size_t q = 0; q < results->quantities; q++)
        if (experiment_has(results, &results->quantity[q], EXPERIMENT_LAST) ||
            experiment_has(results, &results->quantity[q], EXPERIMENT_ANSWERS))
            experiment_write_quantity(results, &results->quantity[q], out);
    if (experiment_results_holds(results))
        experiment_write_holds(results, out);
    buf_puts(out, "mean +- standard error over runs; a dash: there is none\n");
}

static void experiment_page_rows(const struct experiment_results *results,
                                 const struct experiment_quantity *quantity, struct buf *out)
{
    for (uint32_t s = 0; s < results->experiment->settings; s++) {
        buf_puts(out, "<tr><td>");
        report_page_text(out, s == 0 ? quantity->title : "");
        buf_puts(out, "</td><td>");
        report_page_text(out, results->experiment->setting[s].name);
        buf_printf(out, "</td><td class=\"n\">%u</td>", experiment_runs_of(results, s));
        for (int k = 0; k < EXPERIMENT_NUMBERS; k++) {
            const struct report_mean mean =
                experiment_results_mean(results, quantity, (enum experiment_number)k, s);
            report_page_cell_error(out, mean.mean, mean.error);
        }
        buf_puts(out, "</tr>\n");
    }
}

static void experiment_page_table(const struct experiment_results *results, struct buf *out)
{
    buf_puts(out, "<div class=\"wide\"><table>\n<thead><tr><th>quantity</th><th>setting</th>"
                  "<th class=\"n\">runs</th>");
    for (size_t k = 0; k < EXPERIMENT_NUMBERS; k++)
        buf_printf(out, "<th class=\"n\">%s</th>", experiment_numbers[k]);
    buf_puts(out, "</tr></thead>\n<tbody>\n");
    for (size_t q = 0; q < results->quantities; q++)
        if (experiment_has(results, &results->quantity[q], EXPERIMENT_LAST) ||
            experiment_has(results, &results->quantity[q], EXPERIMENT_ANSWERS))
            experiment_page_rows(results, &results->quantity[q], out);
    buf_puts(out, "</tbody></table></div>\n");
}

static void experiment_page_holds(const struct experiment_results *results, struct buf *out)
{
    buf_puts(out,
             "<h2>KL held at its target</h2>\n<p>In parts of the target. Steps to target: "
             "until the mean of a twentieth of the steps is within 10 %. Overshoot: the "
             "greatest mean of a twentieth. Hold error: of the tenths of the run from then on, "
             "the greatest distance of a mean from the target; tenths held: the share within "
             "10 %; held throughout: the share of runs where all are. "
             "Noise: standard deviation of single steps.</p>\n"
             "<div class=\"wide\"><table>\n<thead><tr><th>setting</th>");
    for (size_t k = 0; k < EXPERIMENT_HOLDS; k++)
        buf_printf(out, "<th class=\"n\">%s</th>", experiment_holds[k]);
    buf_puts(out, "</tr></thead>\n<tbody>\n");
    for (uint32_t s = 0; s < results->experiment->settings; s++) {
        buf_puts(out, "<tr><td>");
        report_page_text(out, results->experiment->setting[s].name);
        buf_puts(out, "</td>");
        for (int k = 0; k < EXPERIMENT_HOLDS; k++) {
            const struct report_mean mean =
                experiment_results_hold(results, (enum experiment_hold)k, s);
            report_page_cell_error(out, mean.mean, mean.error);
        }
        buf_puts(out, "</tr>\n");
    }
    buf_puts(out, "</tbody></table></div>\n");
}

static void experiment_page_lead(const struct experiment_results *results, struct buf *out)
{
    const struct experiment *e = results->experiment;
    buf_printf(out,
               "<p>%u of %u runs: %u settings, %u seeds. Each number is the mean over a "
               "setting's runs \xc2\xb1 its standard error, s/\xe2\x88\x9an over n seeds. "
               "Best and last tenth: of the training steps. ",
               results->trained, e->runs, e->settings, e->seeds);
    if (e->every != EXPERIMENT_EVERY_NONE) {
        buf_puts(out, "Answers: of the final model to ");
        if (e->prompts_max > 0)
            buf_printf(out, "the first %u prompts of ", e->prompts_max);
        report_page_text(out, e->prompts[0] ? e->prompts : "the prompts trained on");
        buf_printf(out, ", %u to each. Win rate: the share of them with a greater score than ",
                   e->samples);
        report_page_text(out, e->against[0] ? e->against : "the policy training started from");
        buf_puts(out, " gets for its own, equal ones counted half; where less is better, "
                      "below one half is better.");
    }
    buf_puts(out, "</p>\n");
}

/* --- curves of evaluations ---------------------------------------------------------------- */

/* A setting's evaluations by version: x is the step, or the root of the KL. */
struct experiment_line {
    double x[EXPERIMENT_VERSIONS_MAX], y[EXPERIMENT_VERSIONS_MAX],
        error[EXPERIMENT_VERSIONS_MAX];
    size_t n;
};

static const struct experiment_evaluation *
experiment_find_version(const struct experiment_outcome *run, uint64_t version)
{
    for (size_t i = 0; i < run->evaluations; i++)
        if (run->evaluation[i].version == version)
            return &run->evaluation[i];
    return NULL;
}

/* At one version, over the setting's runs that have it. */
static void experiment_line_add(const struct experiment_results *results,
                                const struct experiment_quantity *quantity, uint32_t setting,
                                uint64_t version, bool win, bool distance,
                                struct experiment_line *line)
{
    double y[EXPERIMENT_SEEDS_MAX], kl[EXPERIMENT_SEEDS_MAX];
    size_t n = 0;
    for (uint32_t i = 0; i < results->experiment->runs; i++) {
        const struct experiment_outcome *run = &results->run[i];
        const struct experiment_evaluation *at = experiment_find_version(run, version);
        if (!at || results->experiment->run[i].setting != setting)
            continue;
        const size_t scorer = experiment_results_scorer(run, quantity);
        kl[n] = at->kl;
        y[n++] = scorer == RUN_SCORERS_MAX ? NAN : win ? at->win[scorer] : at->score[scorer];
    }
    const struct report_mean mean = report_stats_mean(y, n);
    const double far = report_stats_mean(kl, n).mean;
    line->x[line->n] = distance ? sqrt(far > 0 ? far : 0) : (double)version;
    line->y[line->n] = mean.mean;
    line->error[line->n++] = mean.error;
}

static void experiment_line_fill(const struct experiment_results *results,
                                 const struct experiment_quantity *quantity, uint32_t setting,
                                 bool win, bool distance, struct experiment_line *line)
{
    line->n = 0;
    for (uint32_t i = 0; i < results->experiment->runs; i++) {
        const struct experiment_outcome *run = &results->run[i];
        if (!run->trained || results->experiment->run[i].setting != setting)
            continue;
        for (size_t v = 0; v < run->evaluations; v++)
            experiment_line_add(results, quantity, setting, run->evaluation[v].version, win,
                                distance, line);
        return; /* runs of a setting keep the same versions: the first one's stand for all */
    }
}

/* `settings` are at most REPORT_GROUPS_MAX indices. */
static void experiment_page_chart(const struct experiment_results *results,
                                  const struct experiment_quantity *quantity,
                                  const uint32_t *settings, size_t n, bool win, bool distance,
                                  struct experiment_line *line, struct buf *out)
{
    char title[RUN_NAME_MAX + 80];
    struct chart_series series[REPORT_GROUPS_MAX];
    const struct chart_level level = {"as good", 0.5};
    snprintf(title, sizeof title, "%s%s", quantity->title, win ? ": win rate" : " of answers");
    for (size_t i = 0; i < n; i++) {
        experiment_line_fill(results, quantity, settings[i], win, distance, &line[i]);
        series[i] =
            (struct chart_series){.name = results->experiment->setting[settings[i]].name,
                                  .x = line[i].x,
                                  .y = line[i].y,
                                  .n = line[i].n,
                                  .mark = distance ? CHART_POINTS : CHART_LINE,
                                  .spread = line[i].error};
    }
    chart_write(&(struct chart){.title = title,
                                .x_label = distance ? REPORT_DISTANCE : "step",
                                .y_label = win ? "share" : "score",
                                .series = series,
                                .series_n = n,
                                .levels = &level,
                                .levels_n = win},
                out);
}

static enum err_code experiment_page_evaluations(const struct experiment_results *results,
                                                 const uint32_t *settings, size_t n,
                                                 struct buf *out, struct err *err)
{
    struct experiment_line *line = calloc(REPORT_GROUPS_MAX, sizeof *line);
    if (!line)
        return err_set(err, ERR_NOMEM, "no memory for curves of evaluations");
    buf_puts(out, "<h2>Answers and win rates</h2>\n<div class=\"charts\">\n");
    for (size_t q = 0; q < results->quantities; q++) {
        const struct experiment_quantity *quantity = &results->quantity[q];
        if (!experiment_has(results, quantity, EXPERIMENT_WIN))
            continue;
        for (int win = 1; win >= 0; win--) {
            experiment_page_chart(results, quantity, settings, n, win, false, line, out);
            experiment_page_chart(results, quantity, settings, n, win, true, line, out);
        }
    }
    buf_puts(out, "</div>\n");
    free(line);
    return ERR_OK;
}

/* --- the page ----------------------------------------------------------------------------- */

/* Charts of some settings beside each other. */
static enum err_code experiment_page_part(const struct experiment_results *results,
                                          const uint32_t *settings, size_t n, struct buf *out,
                                          struct err *err)
{
    const struct experiment *e = results->experiment;
    const char *dirs[REPORT_GROUPS_RUNS_MAX];
    size_t runs = 0;
    for (size_t k = 0; k < n; k++)
        for (uint32_t i = 0; i < e->runs && runs < REPORT_GROUPS_RUNS_MAX; i++)
            if (e->run[i].setting == settings[k] && results->run[i].trained)
                dirs[runs++] = e->run[i].dir;
    if (runs == 0)
        return ERR_OK;
    enum err_code rc = ERR_OK;
    if (e->every != EXPERIMENT_EVERY_NONE)
        rc = experiment_page_evaluations(results, settings, n, out, err);
    if (rc)
        return rc;
    buf_puts(out, "<h2>Training</h2>\n");
    return report_compare_append(dirs, runs, out, err);
}

/* As many settings beside each other as there are colours for, and runs on a page. */
static size_t experiment_page_settings(const struct experiment *e)
{
    const size_t most = REPORT_GROUPS_RUNS_MAX / e->seeds;
    return most < REPORT_GROUPS_MAX ? most : REPORT_GROUPS_MAX;
}

static enum err_code experiment_page_parts(const struct experiment_results *results,
                                           struct buf *out, struct err *err)
{
    const struct experiment *e = results->experiment;
    const size_t a_part = experiment_page_settings(e);
    enum err_code rc = ERR_OK;
    for (uint32_t next = 1; rc == ERR_OK && (next == 1 || next < e->settings);) {
        uint32_t settings[REPORT_GROUPS_MAX] = {0}; /* the first one is in each part */
        size_t n = 1;
        while (n < a_part && next < e->settings)
            settings[n++] = next++;
        if (e->settings > a_part) {
            buf_puts(out, "<h1>Beside each other:");
            for (size_t i = 0; i < n; i++) {
                buf_putc(out, ' ');
                report_page_text(out, e->setting[settings[i]].name);
            }
            buf_puts(out, "</h1>\n");
        }
        rc = experiment_page_part(results, settings, n, out, err);
        next += n == 1; /* a single setting */
    }
    return rc;
}

enum err_code experiment_results_page(const struct experiment_results *results,
                                      const char *path, struct err *err)
{
    struct buf page;
    if (results->trained == 0)
        return err_set(err, ERR_STATE, "no run of %s is complete yet",
                       results->experiment->dir);
    buf_init(&page, REPORT_PAGE_BYTES_MAX);
    report_page_begin(&page, results->experiment->name);
    experiment_page_lead(results, &page);
    experiment_page_table(results, &page);
    if (experiment_results_holds(results))
        experiment_page_holds(results, &page);
    enum err_code rc = experiment_page_parts(results, &page, err);
    report_page_end(&page);
    if (rc == ERR_OK)
        rc = buf_check(&page, "the report", err);
    if (rc == ERR_OK)
        rc = file_write(path, page.data, page.len, err);
    buf_release(&page);
    return rc;
}

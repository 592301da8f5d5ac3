/* report_compare.c -- see report_compare.h. */
#include "cli/report_compare.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "cli/chart.h"
#include "cli/report_groups.h"
#include "cli/report_page.h"
#include "cli/report_stats.h"

#define REPORT_COMPARE_BLOCKS 40 /* points of a group in a scatter, at most */

/* --- charts ------------------------------------------------------------------------------- */

/* group->y and group->error: the quantity of group `of`'s column, over the runs of group g.
 * False where they do not have it. */
static bool report_compare_average(struct report_groups *groups, size_t of, size_t column,
                                   size_t g)
{
    struct report_group *group = &groups->group[g];
    const size_t c = report_groups_column(groups, of, column, g);
    if (c == REPORT_COLUMNS)
        return false;
    report_groups_average(groups, g, c, group->y, group->error);
    return true;
}

/* The limit or target of the quantity, where all groups have the same. */
static struct chart_level report_compare_level(const struct report_groups *groups, size_t of,
                                               size_t column)
{
    const struct chart_level level =
        report_curves_level(report_groups_lead(groups, of)->config, column);
    for (size_t g = 0; g < groups->n; g++)
        if (report_curves_level(report_groups_lead(groups, g)->config, column).y != level.y)
            return (struct chart_level){"", NAN};
    return level;
}

static void report_compare_chart(struct report_groups *groups, size_t of, size_t column,
                                 struct buf *out)
{
    const struct report_quantity q =
        report_curves_quantity(report_groups_lead(groups, of)->config, column);
    struct chart_series series[REPORT_GROUPS_MAX];
    for (size_t g = 0; g < groups->n; g++) {
        const struct report_group *group = &groups->group[g];
        const bool has = report_compare_average(groups, of, column, g);
        series[g] = (struct chart_series){.name = group->name,
                                          .x = report_groups_lead(groups, g)->y[REPORT_STEP],
                                          .y = group->y,
                                          .n = has ? group->n : 0,
                                          .spread = group->error};
    }
    const struct chart_level level = report_compare_level(groups, of, column);
    chart_write(&(struct chart){.title = q.title,
                                .x_label = "step",
                                .y_label = q.unit,
                                .series = series,
                                .series_n = groups->n,
                                .levels = &level,
                                .levels_n = isfinite(level.y) ? 1 : 0},
                out);
}

/* Over the distance from the reference policy, both as means over a group's runs. */
static void report_compare_scatter(struct report_groups *groups, size_t of, size_t column,
                                   struct buf *out)
{
    const struct report_quantity q =
        report_curves_quantity(report_groups_lead(groups, of)->config, column);
    double x[REPORT_GROUPS_MAX][REPORT_COMPARE_BLOCKS];
    double y[REPORT_GROUPS_MAX][REPORT_COMPARE_BLOCKS];
    double error[REPORT_GROUPS_MAX][REPORT_COMPARE_BLOCKS];
    struct chart_series series[REPORT_GROUPS_MAX];
    for (size_t g = 0; g < groups->n; g++) {
        struct report_group *group = &groups->group[g];
        series[g] = (struct chart_series){.name = group->name,
                                          .x = x[g],
                                          .y = y[g],
                                          .mark = CHART_POINTS,
                                          .spread = error[g]};
        report_groups_average(groups, g, REPORT_SQRT_KL, group->x, group->error);
        if (report_compare_average(groups, of, column, g))
            series[g].n = report_stats_blocks(group->x, group->y, group->n,
                                              REPORT_COMPARE_BLOCKS, x[g], y[g], error[g]);
    }
    chart_write(&(struct chart){.title = q.title,
                                .x_label = REPORT_DISTANCE,
                                .y_label = q.unit,
                                .series = series,
                                .series_n = groups->n},
                out);
}

static bool report_compare_is_aim(const struct report_groups *groups, size_t g, size_t column)
{
    const struct run_config *config = report_groups_lead(groups, g)->config;
    return column == REPORT_RAW ||
           (column >= REPORT_SCORE &&
            config->scorer[column - REPORT_SCORE].role == RUN_ROLE_MONITOR);
}

/* Charts of the proxy and the monitors come first, then all others. */
static void report_compare_charts(struct report_groups *groups, bool aims, struct buf *out)
{
    buf_printf(out, "<h2>%s</h2>\n<div class=\"charts\">\n",
               aims ? "Proxy and gold" : "Everything else");
    for (size_t g = 0; g < groups->n; g++) {
        const struct run_config *config = report_groups_lead(groups, g)->config;
        for (size_t c = 0; c < REPORT_SCORE + config->scorers; c++) {
            if (!report_groups_first(groups, g, c) ||
                report_compare_is_aim(groups, g, c) != aims ||
                report_curves_quantity(config, c).section == REPORT_NOWHERE)
                continue;
            report_compare_chart(groups, g, c, out);
            if (aims)
                report_compare_scatter(groups, g, c, out);
        }
    }
    buf_puts(out, "</div>\n");
}

/* --- tables ------------------------------------------------------------------------------- */

/* The resolved config with a newline before it, so that each line stands between two. */
static void report_compare_lines(const struct run_config *config, struct buf *out)
{
    buf_init(out, 1024 * 1024);
    buf_putc(out, '\n');
    run_config_write(config, out);
}

/* Lines of group g's config that are none of the first group's, after their section's name. */
static void report_compare_differences(const struct report_groups *groups, size_t g,
                                       struct buf *out)
{
    static const char *const own[] = {"  name: ", "  dir: ", "  seed: "};
    struct buf first, other;
    report_compare_lines(report_groups_lead(groups, 0)->config, &first);
    report_compare_lines(report_groups_lead(groups, g)->config, &other);
    const char *cursor = other.data, *line, *section = "";
    size_t len, section_len = 0;
    while (file_next_line(&cursor, other.data + other.len, &line, &len)) {
        char text[FILE_PATH_MAX + 80];
        snprintf(text, sizeof text, "\n%.*s\n", (int)len, line);
        bool known = len == 0 || strstr(first.data, text) != NULL;
        for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
            known = known || strncmp(line, own[i], strlen(own[i])) == 0;
        if (len > 0 && line[0] != ' ') {
            section = line;
            section_len = len;
        } else if (!known) {
            buf_html_text(out, section, section_len);
            buf_html_text(out, line + 1, len - 1);
            buf_putc(out, '\n');
        }
    }
    buf_release(&first);
    buf_release(&other);
}

static void report_compare_groups(const struct report_groups *groups, struct buf *out)
{
    buf_puts(out, "<div class=\"wide\"><table>\n<thead><tr><th>group</th><th>runs (seed, "
                  "steps)</th><th>otherwise than A</th></tr></thead>\n<tbody>\n");
    for (size_t g = 0; g < groups->n; g++) {
        const struct report_group *group = &groups->group[g];
        buf_puts(out, "<tr><td>");
        report_page_text(out, group->name);
        buf_puts(out, "</td><td class=\"said\">");
        for (size_t r = 0; r < group->runs; r++) {
            const struct report_curves *curves = &groups->curves[group->run[r]];
            report_page_text(out, groups->dirs[group->run[r]]);
            buf_printf(out, " (%llu, %zu)\n", (unsigned long long)curves->config->seed,
                       curves->n);
        }
        buf_puts(out, "</td><td class=\"said\">");
        if (g > 0)
            report_compare_differences(groups, g, out);
        buf_puts(out, "</td></tr>\n");
    }
    buf_puts(out, "</tbody></table></div>\n");
}

/* Two cells: over the group's runs, the mean of each one's last tenth and best tenth. */
static void report_compare_cells(const struct report_groups *groups,
                                 const struct report_group *group, size_t column, int sense,
                                 struct buf *out)
{
    double last[REPORT_GROUPS_RUNS_MAX], best[REPORT_GROUPS_RUNS_MAX];
    for (size_t r = 0; r < group->runs; r++) {
        const struct report_curves *curves = &groups->curves[group->run[r]];
        const bool has = column < REPORT_COLUMNS && curves->n > 0;
        last[r] = has ? report_stats_last(curves->y[column], curves->n).at.mean : NAN;
        best[r] = has && sense != 0
                      ? report_stats_best(curves->y[column], curves->n, sense).at.mean
                      : NAN;
    }
    const struct report_mean at_last = report_stats_mean(last, group->runs);
    const struct report_mean at_best = report_stats_mean(best, group->runs);
    report_page_cell_error(out, at_last.mean, at_last.error);
    if (sense != 0)
        report_page_cell_error(out, at_best.mean, at_best.error);
    else
        buf_puts(out, "<td></td>");
}

static void report_compare_row(const struct report_groups *groups, size_t of, size_t column,
                               struct buf *out)
{
    const struct report_quantity q =
        report_curves_quantity(report_groups_lead(groups, of)->config, column);
    buf_puts(out, "<tr><td>");
    report_page_text(out, q.title);
    buf_puts(out, " <span class=\"dim\">");
    report_page_text(out, q.unit);
    buf_puts(out, "</span></td>");
    for (size_t g = 0; g < groups->n; g++)
        report_compare_cells(groups, &groups->group[g],
                             report_groups_column(groups, of, column, g), (int)q.sense, out);
    buf_puts(out, "</tr>\n");
}

static void report_compare_table(const struct report_groups *groups, struct buf *out)
{
    buf_puts(out, "<div class=\"wide\"><table>\n<thead><tr><th>tenth of the steps</th>");
    for (size_t g = 0; g < groups->n; g++) {
        buf_puts(out, "<th class=\"n\">");
        report_page_text(out, groups->group[g].name);
        buf_puts(out, ", last</th><th class=\"n\">best</th>");
    }
    buf_puts(out, "</tr></thead>\n<tbody>\n");
    for (size_t g = 0; g < groups->n; g++) {
        const struct run_config *config = report_groups_lead(groups, g)->config;
        for (size_t c = 0; c < REPORT_SCORE + config->scorers; c++) {
            const enum report_section section = report_curves_quantity(config, c).section;
            if (report_groups_first(groups, g, c) && section != REPORT_NOWHERE &&
                section != REPORT_LEARNER && section != REPORT_SPEED)
                report_compare_row(groups, g, c, out);
        }
    }
    buf_puts(out, "</tbody></table></div>\n");
}

/* --- the page ----------------------------------------------------------------------------- */

static void report_compare_body(struct report_groups *groups, struct buf *out)
{
    buf_puts(out,
             "<p>Runs of one group differ in their seed alone. Numbers and lines are means "
             "over a group's runs; \xc2\xb1 and bands, one standard error of that "
             "mean.</p>\n");
    report_compare_groups(groups, out);
    report_compare_table(groups, out);
    report_compare_charts(groups, true, out);
    report_compare_charts(groups, false, out);
    buf_puts(out, "<h2>Configurations</h2>\n");
    for (size_t g = 0; g < groups->n; g++)
        report_page_config(out, groups->group[g].name, report_groups_lead(groups, g)->config);
}

static void report_compare_page(struct report_groups *groups, bool whole, struct buf *out)
{
    char title[64];
    snprintf(title, sizeof title, "%zu runs in %zu %s", groups->runs, groups->n,
             groups->n == 1 ? "group" : "groups");
    if (whole)
        report_page_begin(out, title);
    report_compare_body(groups, out);
    if (whole)
        report_page_end(out);
}

static enum err_code report_compare_load(const char *const *run_dirs, size_t n, bool whole,
                                         struct buf *out, struct err *err)
{
    assert(n > 0);
    if (n > REPORT_GROUPS_RUNS_MAX)
        return err_set(err, ERR_USAGE, "%zu runs are more than the %d that fit on a page", n,
                       REPORT_GROUPS_RUNS_MAX);
    struct report_groups *groups = calloc(1, sizeof *groups); /* too large for a stack */
    if (!groups)
        return err_set(err, ERR_NOMEM, "no memory for %zu runs", n);
    enum err_code rc = report_groups_load(groups, run_dirs, n, err);
    if (rc == ERR_OK) {
        report_compare_page(groups, whole, out);
        rc = buf_check(out, "the report", err);
    }
    report_groups_release(groups);
    free(groups);
    return rc;
}

enum err_code report_compare_append(const char *const *run_dirs, size_t n, struct buf *out,
                                    struct err *err)
{
    return report_compare_load(run_dirs, n, false, out, err);
}

enum err_code report_compare_write(const char *const *run_dirs, size_t n, const char *path,
                                   struct err *err)
{
    struct buf page;
    buf_init(&page, REPORT_PAGE_BYTES_MAX);
    enum err_code rc = report_compare_load(run_dirs, n, true, &page, err);
    if (rc == ERR_OK)
        rc = file_write(path, page.data, page.len, err);
    buf_release(&page);
    return rc;
}

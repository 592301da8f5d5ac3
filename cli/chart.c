/* chart.c -- see chart.h: ranges, axes, guides, and the whole. */
#include "cli/chart.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "cli/chart_axis.h"
#include "cli/chart_draw.h"
#include "cli/chart_mark.h"

#define CHART_TICKS 6

/* --- ranges ------------------------------------------------------------------------------- */

static struct chart_range chart_x_range(const struct chart *chart)
{
    struct chart_range range = CHART_RANGE_EMPTY;
    for (size_t s = 0; s < chart->series_n; s++) {
        const struct chart_series *series = &chart->series[s];
        const size_t n = series->n + (series->mark == CHART_BARS && series->n > 0);
        for (size_t i = 0; i < n; i++)
            chart_axis_extend(&range, series->x[i], chart->x_log);
    }
    return range;
}

static struct chart_range chart_y_range(const struct chart *chart)
{
    struct chart_range range = CHART_RANGE_EMPTY;
    for (size_t s = 0; s < chart->series_n; s++) {
        const struct chart_series *series = &chart->series[s];
        if (series->mark == CHART_BARS)
            chart_axis_extend(&range, 0, false);
        for (size_t i = 0; i < series->n; i++) {
            if (!chart_axis_has(series->y[i], false))
                continue;
            const double spread = chart_mark_spread(series, i);
            chart_axis_extend(&range, series->y[i] - spread, false);
            chart_axis_extend(&range, series->y[i] + spread, false);
        }
    }
    for (size_t i = 0; i < chart->levels_n; i++)
        chart_axis_extend(&range, chart->levels[i].y, false);
    return range;
}

static bool chart_only_lines(const struct chart *chart)
{
    for (size_t s = 0; s < chart->series_n; s++)
        if (chart->series[s].mark != CHART_LINE)
            return false;
    return true;
}

static struct chart_frame chart_frame_of(const struct chart *chart, double top)
{
    struct chart_range x = chart_x_range(chart), y = chart_y_range(chart);
    if (chart->diagonal)
        x = y = (struct chart_range){fmin(x.low, y.low), fmax(x.high, y.high)};
    const double margin = chart_only_lines(chart) ? 0 : 0.03;
    return (struct chart_frame){
        .x = chart_axis_over(x, chart->x_log, margin, CHART_DRAW_LEFT,
                             CHART_DRAW_WIDTH - CHART_DRAW_RIGHT),
        .y = chart_axis_over(y, false, 0.05, top + CHART_DRAW_PLOT, top)};
}

/* --- axes --------------------------------------------------------------------------------- */

static void chart_axes(struct buf *out, const struct chart_frame *frame)
{
    static const char grid[] = "stroke-opacity=\"0.15\"", axis[] = "stroke-opacity=\"0.5\"";
    const double left = frame->x.from, right = frame->x.to;
    const double bottom = frame->y.from;
    struct chart_tick ticks[CHART_AXIS_TICKS_MAX];
    size_t n = chart_axis_ticks(&frame->y, CHART_TICKS, ticks);
    for (size_t i = 0; i < n; i++) {
        chart_draw_segment(out, left, ticks[i].at, right, ticks[i].at, grid);
        chart_draw_text(out, left - 6, ticks[i].at + 4, "end", ticks[i].label);
    }
    n = chart_axis_ticks(&frame->x, CHART_TICKS, ticks);
    for (size_t i = 0; i < n; i++) {
        const bool named = ticks[i].label[0] != '\0';
        chart_draw_segment(out, ticks[i].at, bottom, ticks[i].at, bottom + (named ? 5 : 3),
                           axis);
        if (named)
            chart_draw_text(out, ticks[i].at, bottom + 17, "middle", ticks[i].label);
    }
    chart_draw_segment(out, left, bottom, right, bottom, axis);
}

static void chart_labels(struct buf *out, const struct chart *chart,
                         const struct chart_frame *frame)
{
    buf_puts(out, "<g font-size=\"13\" font-weight=\"600\">");
    chart_draw_text(out, CHART_DRAW_LEFT, 16, "start", chart->title);
    buf_puts(out, "</g>\n");
    chart_draw_text(out, (frame->x.from + frame->x.to) / 2, frame->y.from + 36, "middle",
                    chart->x_label);
    buf_puts(out, "<g transform=\"rotate(-90)\">");
    chart_draw_text(out, -(frame->y.from + frame->y.to) / 2, 13, "middle", chart->y_label);
    buf_puts(out, "</g>\n");
}

/* --- guides ------------------------------------------------------------------------------- */

static void chart_guides(struct buf *out, const struct chart *chart,
                         const struct chart_frame *frame)
{
    for (size_t i = 0; i < chart->levels_n; i++) {
        if (!chart_axis_has(chart->levels[i].y, false))
            continue;
        const double y = chart_axis_at(&frame->y, chart->levels[i].y);
        chart_draw_segment(out, frame->x.from, y, frame->x.to, y, chart_draw_level(i));
    }
    if (chart->diagonal) {
        const double low = fmax(frame->x.low, frame->y.low);
        const double high = fmin(frame->x.high, frame->y.high);
        chart_draw_segment(out, chart_axis_at(&frame->x, low), chart_axis_at(&frame->y, low),
                           chart_axis_at(&frame->x, high), chart_axis_at(&frame->y, high),
                           CHART_DRAW_DIAGONAL);
    }
}

/* --- in words ----------------------------------------------------------------------------- */

static void chart_describe_series(struct buf *out, const struct chart_series *series)
{
    size_t seen = 0;
    double first = NAN, last = NAN;
    for (size_t i = 0; i < series->n; i++) {
        if (!chart_axis_has(series->y[i], false))
            continue;
        first = seen++ == 0 ? series->y[i] : first;
        last = series->y[i];
    }
    buf_puts(out, " ");
    buf_html_text(out, series->name, strlen(series->name));
    if (seen > 0)
        buf_printf(out, ": %zu values, from %.4g to %.4g.", seen, first, last);
    else
        buf_puts(out, ": no value.");
}

static void chart_describe(struct buf *out, const struct chart *chart)
{
    buf_puts(out, "<title>");
    buf_html_text(out, chart->title, strlen(chart->title));
    buf_puts(out, "</title>\n<desc>");
    buf_html_text(out, chart->y_label, strlen(chart->y_label));
    buf_puts(out, " over ");
    buf_html_text(out, chart->x_label, strlen(chart->x_label));
    buf_putc(out, '.');
    for (size_t s = 0; s < chart->series_n; s++)
        chart_describe_series(out, &chart->series[s]);
    buf_puts(out, "</desc>\n");
}

void chart_write(const struct chart *chart, struct buf *out)
{
    assert(chart->series_n <= CHART_SERIES_MAX && !(chart->diagonal && chart->x_log));
    const double top = chart_legend(chart, NULL);
    const double height = top + CHART_DRAW_PLOT + CHART_DRAW_BOTTOM;
    const struct chart_frame frame = chart_frame_of(chart, top);
    buf_printf(out,
               "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"chart\" role=\"img\" "
               "viewBox=\"0 0 %g %g\" width=\"%g\" height=\"%g\" font-family=\"sans-serif\" "
               "font-size=\"11\" color=\"#1f2328\">\n",
               CHART_DRAW_WIDTH, height, CHART_DRAW_WIDTH, height);
    chart_describe(out, chart);
    chart_axes(out, &frame);
    chart_labels(out, chart, &frame);
    chart_guides(out, chart, &frame);
    static void (*const mark[])(const struct chart_frame *, const struct chart_series *,
                                struct buf *) = {[CHART_LINE] = chart_mark_line,
                                                 [CHART_POINTS] = chart_mark_points,
                                                 [CHART_BARS] = chart_mark_bars};
    for (size_t s = 0; s < chart->series_n; s++) {
        chart_draw_begin(out, s);
        mark[chart->series[s].mark](&frame, &chart->series[s], out);
        buf_puts(out, "</g>\n");
    }
    chart_legend(chart, out);
    buf_puts(out, "</svg>\n");
}

/* chart.c -- see chart.h. */
#include "cli/chart.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>

#define CHART_WIDTH  640.0
#define CHART_HEIGHT 300.0
#define CHART_LEFT   70.0
#define CHART_RIGHT  20.0
#define CHART_TOP    40.0
#define CHART_BOTTOM 50.0
#define CHART_TICKS  6

static const char *const chart_colours[] = {"#1f6feb", "#d1242f", "#1a7f37",
                                            "#9a6700", "#8250df", "#57606a"};

struct chart_axis {
    double low, high; /* of the data, widened where they are equal */
    double from, to;  /* pixels */
};

static double chart_at(const struct chart_axis *axis, double value)
{
    return axis->from +
           (value - axis->low) / (axis->high - axis->low) * (axis->to - axis->from);
}

double chart_tick(double range, int most)
{
    assert(range > 0 && most > 0);
    const double rough = range / most;
    const double power = pow(10.0, floor(log10(rough)));
    const double steps[] = {1, 2, 5, 10};
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++)
        if (steps[i] * power >= rough * (1 - 1e-9))
            return steps[i] * power;
    return 10 * power;
}

static void chart_widen(double *low, double *high)
{
    if (!(*low <= *high)) { /* no finite value at all */
        *low = 0;
        *high = 1;
    } else if (*high - *low < 1e-12 * fmax(1.0, fabs(*high))) {
        *low -= 0.5;
        *high += 0.5;
    }
}

static struct chart_axis chart_x_axis(const struct chart *chart)
{
    double low = chart->n > 0 ? chart->x[0] : 0;
    double high = chart->n > 0 ? chart->x[chart->n - 1] : 1;
    chart_widen(&low, &high);
    return (struct chart_axis){low, high, CHART_LEFT, CHART_WIDTH - CHART_RIGHT};
}

static struct chart_axis chart_y_axis(const struct chart *chart)
{
    double low = INFINITY, high = -INFINITY;
    for (size_t s = 0; s < chart->series_n; s++) {
        for (size_t i = 0; i < chart->n; i++) {
            const double y = chart->series[s].y[i];
            if (isfinite(y)) {
                low = fmin(low, y);
                high = fmax(high, y);
            }
        }
    }
    chart_widen(&low, &high);
    const double margin = 0.05 * (high - low);
    return (struct chart_axis){low - margin, high + margin, CHART_HEIGHT - CHART_BOTTOM,
                               CHART_TOP};
}

static void chart_text(struct buf *out, double x, double y, const char *anchor,
                       const char *text)
{
    buf_printf(out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">", x, y, anchor);
    for (const char *c = text; *c; c++) {
        if (*c == '<')
            buf_puts(out, "&lt;");
        else if (*c == '&')
            buf_puts(out, "&amp;");
        else
            buf_putc(out, *c);
    }
    buf_puts(out, "</text>\n");
}

static void chart_ticks(struct buf *out, const struct chart_axis *axis, bool vertical)
{
    const double step = chart_tick(axis->high - axis->low, CHART_TICKS);
    for (double v = ceil(axis->low / step) * step; v <= axis->high + step * 1e-9; v += step) {
        char label[32];
        const double at = chart_at(axis, v);
        snprintf(label, sizeof label, "%.4g", fabs(v) < step * 1e-9 ? 0.0 : v);
        if (vertical) {
            buf_printf(out,
                       "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\" "
                       "class=\"grid\"/>\n",
                       CHART_LEFT, CHART_WIDTH - CHART_RIGHT, at, at);
            chart_text(out, CHART_LEFT - 6, at + 4, "end", label);
        } else {
            chart_text(out, at, CHART_HEIGHT - CHART_BOTTOM + 16, "middle", label);
        }
    }
}

static void chart_line(struct buf *out, const struct chart *chart, size_t s,
                       const struct chart_axis *x, const struct chart_axis *y)
{
    bool pen_down = false;
    buf_puts(out, "<path fill=\"none\" stroke-width=\"1.6\" stroke=\"");
    buf_printf(out, "%s\" d=\"", chart_colours[s]);
    for (size_t i = 0; i < chart->n; i++) {
        const double v = chart->series[s].y[i];
        if (isfinite(v))
            buf_printf(out, "%c%.1f %.1f", pen_down ? 'L' : 'M', chart_at(x, chart->x[i]),
                       chart_at(y, v));
        pen_down = isfinite(v);
    }
    buf_puts(out, "\"/>\n");
}

void chart_write(const struct chart *chart, struct buf *out)
{
    assert(chart->series_n <= sizeof chart_colours / sizeof chart_colours[0]);
    const struct chart_axis x = chart_x_axis(chart), y = chart_y_axis(chart);
    buf_printf(out, "<svg viewBox=\"0 0 %g %g\" width=\"%g\" height=\"%g\" role=\"img\">\n",
               CHART_WIDTH, CHART_HEIGHT, CHART_WIDTH, CHART_HEIGHT);
    buf_puts(out, "<g class=\"title\">");
    chart_text(out, CHART_LEFT, 18, "start", chart->title);
    buf_puts(out, "</g>\n");
    chart_ticks(out, &y, true);
    chart_ticks(out, &x, false);
    chart_text(out, (CHART_LEFT + CHART_WIDTH - CHART_RIGHT) / 2, CHART_HEIGHT - 14, "middle",
               chart->x_label);
    buf_printf(out, "<g transform=\"rotate(-90)\">");
    chart_text(out, -(CHART_TOP + CHART_HEIGHT - CHART_BOTTOM) / 2, 14, "middle",
               chart->y_label);
    buf_puts(out, "</g>\n");
    for (size_t s = 0; s < chart->series_n; s++) {
        chart_line(out, chart, s, &x, &y);
        buf_printf(out, "<g fill=\"%s\">", chart_colours[s]);
        if (chart->series_n > 1)
            chart_text(out, CHART_LEFT + 6 + 110.0 * (double)s, 34, "start",
                       chart->series[s].name);
        buf_puts(out, "</g>\n");
    }
    buf_puts(out, "</svg>\n");
}

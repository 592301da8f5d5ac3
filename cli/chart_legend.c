/* chart_legend.c -- see chart_draw.h: the names of what a chart shows, above the plot. */
#include <stdio.h>

#include "cli/chart_axis.h"
#include "cli/chart_draw.h"

#define CHART_LEGEND_SWATCH 24.0 /* width of an entry's sample and the blank after it */
#define CHART_LEGEND_LETTER 6.1  /* width of a letter of 11 pixels, on average */

struct chart_legend {
    struct buf *out; /* NULL: only measured */
    double x, y;     /* of the next entry; y of its baseline */
};

static double chart_legend_width(const char *text)
{
    size_t letters = 0;
    for (; *text; text++)
        letters += (*text & 0xc0) != 0x80; /* not the later bytes of one in UTF-8 */
    return CHART_LEGEND_LETTER * (double)letters;
}

/* Where the entry's sample goes: x of its left end, the row's baseline being legend->y.  An
 * entry that does not fit into the row begins another. */
static double chart_legend_place(struct chart_legend *legend, const char *name)
{
    const double width = CHART_LEGEND_SWATCH + chart_legend_width(name) + 14;
    if (legend->x > CHART_DRAW_LEFT && legend->x + width > CHART_DRAW_WIDTH) {
        legend->x = CHART_DRAW_LEFT;
        legend->y += CHART_DRAW_ROW;
    }
    const double x = legend->x;
    legend->x += width;
    if (legend->out)
        chart_draw_text(legend->out, x + CHART_LEGEND_SWATCH, legend->y, "start", name);
    return x;
}

static void chart_legend_series(struct chart_legend *legend, const struct chart *chart,
                                size_t s)
{
    const double x = chart_legend_place(legend, chart->series[s].name), y = legend->y - 4;
    if (!legend->out)
        return;
    chart_draw_begin(legend->out, s);
    switch (chart->series[s].mark) {
    case CHART_LINE:
        chart_draw_segment(legend->out, x, y, x + 18, y, "stroke-width=\"2.5\"");
        break;
    case CHART_POINTS:
        buf_printf(legend->out, "<path fill=\"currentColor\" d=\"M%.1f %.1fl4 4 4-4-4-4z\"/>",
                   x + 5, y);
        break;
    case CHART_BARS:
        buf_printf(legend->out,
                   "<path fill=\"currentColor\" fill-opacity=\"0.45\" stroke=\"currentColor\" "
                   "d=\"M%.1f %.1fh16v8h-16z\"/>",
                   x + 1, y - 4);
        break;
    }
    buf_puts(legend->out, "</g>\n");
}

static void chart_legend_guide(struct chart_legend *legend, const char *name, const char *style)
{
    const double x = chart_legend_place(legend, name), y = legend->y - 4;
    if (legend->out)
        chart_draw_segment(legend->out, x, y, x + 18, y, style);
}

double chart_legend(const struct chart *chart, struct buf *out)
{
    struct chart_legend legend = {out, CHART_DRAW_LEFT, CHART_DRAW_TITLE + 11};
    if (chart->series_n + chart->levels_n + (chart->diagonal != NULL) < 2)
        return CHART_DRAW_TITLE + CHART_DRAW_ROW;
    for (size_t s = 0; s < chart->series_n; s++)
        chart_legend_series(&legend, chart, s);
    for (size_t i = 0; i < chart->levels_n; i++) {
        char name[96];
        snprintf(name, sizeof name, "%.64s: %.4g", chart->levels[i].name, chart->levels[i].y);
        if (chart_axis_has(chart->levels[i].y, false))
            chart_legend_guide(&legend, name, chart_draw_level(i));
    }
    if (chart->diagonal)
        chart_legend_guide(&legend, chart->diagonal, CHART_DRAW_DIAGONAL);
    return legend.y + CHART_DRAW_ROW - 11;
}

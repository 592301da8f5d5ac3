/* chart_draw.c -- see chart_draw.h. */
#include "cli/chart_draw.h"

#include <string.h>

struct chart_draw_colour {
    const char *light, *dark; /* on a white page, on a dark one */
};

static const struct chart_draw_colour chart_draw_colours[CHART_SERIES_MAX] = {
    {"#0072b2", "#56b4e9"}, {"#d55e00", "#e8762d"}, {"#009e73", "#2bbf95"},
    {"#cc79a7", "#cc79a7"}, {"#e69f00", "#e69f00"}, {"#56b4e9", "#f0e442"}};

const char *chart_draw_level(size_t i)
{
    return i % 2 == 0 ? "stroke-opacity=\"0.8\" stroke-dasharray=\"7 4\""
                      : "stroke-opacity=\"0.8\" stroke-dasharray=\"1 3\"";
}

void chart_draw_text(struct buf *out, double x, double y, const char *anchor, const char *text)
{
    buf_printf(out, "<text fill=\"currentColor\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">", x,
               y, anchor);
    buf_html_text(out, text, strlen(text));
    buf_puts(out, "</text>\n");
}

void chart_draw_segment(struct buf *out, double x1, double y1, double x2, double y2,
                        const char *style)
{
    buf_printf(out,
               "<line stroke=\"currentColor\" %s x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" "
               "y2=\"%.1f\"/>\n",
               style, x1, y1, x2, y2);
}

void chart_draw_begin(struct buf *out, size_t s)
{
    buf_printf(out, "<g class=\"s%zu\" color=\"%s\">\n", s, chart_draw_colours[s].light);
}

void chart_style(struct buf *out)
{
    buf_puts(out, ".chart{max-width:100%;height:auto}\n"
                  "@media(prefers-color-scheme:dark){.chart{color:#d0d7de}");
    for (size_t s = 0; s < CHART_SERIES_MAX; s++)
        buf_printf(out, ".chart .s%zu{color:%s}", s, chart_draw_colours[s].dark);
    buf_puts(out, "}\n");
}

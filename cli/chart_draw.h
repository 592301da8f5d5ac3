/*
 * chart_draw.h -- measures, colours and strokes that the parts of a chart share: for them
 * alone.
 */
#ifndef CLI_CHART_DRAW_H
#define CLI_CHART_DRAW_H

#include "cli/chart.h"

#define CHART_DRAW_WIDTH  640.0
#define CHART_DRAW_LEFT   72.0 /* of the plot */
#define CHART_DRAW_RIGHT  20.0
#define CHART_DRAW_TITLE  24.0  /* height of the title */
#define CHART_DRAW_PLOT   210.0 /* height between the axes */
#define CHART_DRAW_BOTTOM 46.0
#define CHART_DRAW_ROW    16.0 /* height of a row of the legend */

/* How guides are dashed, as attributes. */
#define CHART_DRAW_DIAGONAL "stroke-opacity=\"0.6\" stroke-dasharray=\"2 3\""
/* Of level i of a chart: two ways by turns. */
const char *chart_draw_level(size_t i);

/* Escaped, with its anchor ("start", "middle", "end") at (x, y). */
void chart_draw_text(struct buf *out, double x, double y, const char *anchor, const char *text);

/* `style` holds further attributes. */
void chart_draw_segment(struct buf *out, double x1, double y1, double x2, double y2,
                        const char *style);

/* Begin a group in the colour of series s; "</g>" ends it. */
void chart_draw_begin(struct buf *out, size_t s);

/* The legend, unless there is but one thing to see, which the title names.  Returns where the
 * plot may begin; with `out` NULL nothing is drawn. */
double chart_legend(const struct chart *chart, struct buf *out);

#endif

/*
 * chart.h -- a chart as SVG, written into a buffer: for reports that need no network.
 *
 *     lines    y over x; with a spread, also the band from y - spread to y + spread
 *     points   (x, y); with a spread, also an error bar; with counts, a number beside each
 *     bars     a histogram: y[i] over the bin [x[i], x[i + 1]]
 *
 * Each series has its own x; all share the two axes.  Bars overlap, half transparent.  Ticks of
 * a linear axis stand at 1, 2 or 5 times a power of ten, those of a logarithmic one at powers
 * of ten.  A value that is not finite, is beyond 1e300, or is not above 0 on a logarithmic axis
 * leaves a gap.  Where several points of a line share a column of pixels, the least and the
 * greatest of them are drawn: a chart's size does not grow with the run.
 *
 * Colours are those of Okabe and Ito (2008), distinguishable by colour-blind readers.  An
 * <svg> stands for itself; chart_style adds to a page what dark mode and small screens need.
 */
#ifndef CLI_CHART_H
#define CLI_CHART_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

#define CHART_SERIES_MAX 6 /* colours there are */

enum chart_mark { CHART_LINE, CHART_POINTS, CHART_BARS };

struct chart_series {
    const char *name;
    const double *x; /* [n], of lines ascending; of bars [n + 1], ascending */
    const double *y; /* [n] */
    size_t n;
    enum chart_mark mark;
    const double
        *spread; /* [n], at least 0, NAN: none there; NULL: none at all.  Not of bars */
    const double *counts; /* points: [n]; NULL: none */
};

struct chart_level { /* a horizontal line: a limit, a target */
    const char *name;
    double y; /* not finite: it is not drawn */
};

struct chart {
    const char *title;
    const char *x_label, *y_label; /* with the unit */
    const struct chart_series *series;
    size_t series_n; /* at most CHART_SERIES_MAX */
    const struct chart_level *levels;
    size_t levels_n;
    const char *diagonal; /* name of the line y = x, drawn as a guide over axes of one range;
                             NULL: none.  Not with x_log */
    bool x_log;
};

/* Append one <svg> element, 640 wide and 296 high where the legend has one row, with a <title>
 * and a <desc> in words.  Texts are escaped. */
void chart_write(const struct chart *chart, struct buf *out);

/* Append rules for a page's <style>. */
void chart_style(struct buf *out);

#endif

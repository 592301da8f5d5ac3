/*
 * chart.h -- a line chart as SVG, written into a buffer: for reports that need no network.
 *
 * Axes are linear, from the data's range, with ticks at 1, 2 or 5 times a power of ten.  A
 * value that is not finite leaves a gap.
 */
#ifndef CLI_CHART_H
#define CLI_CHART_H

#include <stddef.h>

#include "base/buf.h"

struct chart_series {
    const char *name;
    const double *y; /* (n), over x */
};

struct chart {
    const char *title;
    const char *x_label, *y_label; /* with the unit */
    const double *x;               /* (n), ascending */
    size_t n;
    const struct chart_series *series; /* at most 6 */
    size_t series_n;
};

/* Append one <svg> element, 640 x 300. */
void chart_write(const struct chart *chart, struct buf *out);

/* The distance between ticks for a range: 1, 2 or 5 times a power of ten, so that there are at
 * most `most` of them.  range > 0. */
double chart_tick(double range, int most);

#endif

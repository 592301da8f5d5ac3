/*
 * chart_mark.h -- what stands between the axes of a chart: for chart.c alone.
 *
 * Each appends elements in the colour of the group they are put in.
 */
#ifndef CLI_CHART_MARK_H
#define CLI_CHART_MARK_H

#include "cli/chart.h"
#include "cli/chart_axis.h"

struct chart_frame {
    struct chart_axis x, y;
};

/* Through the points that have a place, broken where one has none; its spread is a band. */
void chart_mark_line(const struct chart_frame *frame, const struct chart_series *series,
                     struct buf *out);
/* A dot each, with its spread as an error bar, and its count beside it. */
void chart_mark_points(const struct chart_frame *frame, const struct chart_series *series,
                       struct buf *out);
/* From 0 to each value, from its x to the next one. */
void chart_mark_bars(const struct chart_frame *frame, const struct chart_series *series,
                     struct buf *out);

/* The spread at point i: 0 where there is none that has a place. */
double chart_mark_spread(const struct chart_series *series, size_t i);

/* Whether point i has a place on both axes. */
bool chart_mark_has(const struct chart_frame *frame, const struct chart_series *series,
                    size_t i);

#endif

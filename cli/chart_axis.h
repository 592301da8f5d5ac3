/*
 * chart_axis.h -- an axis of a chart: from values to pixels, and where its ticks stand.
 *
 *     at(v) = from + (f(v) - low) / (high - low) * (to - from),    f = identity or log10
 */
#ifndef CLI_CHART_AXIS_H
#define CLI_CHART_AXIS_H

#include <stdbool.h>
#include <stddef.h>

#define CHART_AXIS_TICKS_MAX 48

/* The least and the greatest of what was added; empty while low > high. */
struct chart_range {
    double low, high;
};
#define CHART_RANGE_EMPTY ((struct chart_range){INFINITY, -INFINITY})

struct chart_axis {
    double low, high; /* f of the values at its ends, low < high */
    double from, to;  /* their pixels */
    bool log;
};

struct chart_tick {
    double at;      /* pixels */
    char label[24]; /* empty: a small tick between two others */
};

/* Whether the value has a place on an axis: finite, at most 1e300, and above 0 on a log one. */
bool chart_axis_has(double value, bool log);

/* Widen the range to hold the value; one that has no place is passed over. */
void chart_axis_extend(struct chart_range *range, double value, bool log);

/*
 * An axis over the range, with the share `margin` of its length to spare at both ends, but not
 * across 0 where all values lie on one side.  An empty range, or of 0 alone, becomes [0, 1];
 * an empty one [1, 10] on a log axis; one below a millionth of its values is widened by half of
 * them.
 */
struct chart_axis chart_axis_over(struct chart_range range, bool log, double margin,
                                  double from, double to);

/* Where the value lies between the axis's ends, in the units of `from` and `to`; past them for one
 * outside the range.  It has a place (chart_axis_has). */
double chart_axis_at(const struct chart_axis *axis, double value);

/* The distance between ticks for a range: 1, 2 or 5 times a power of ten, so that at most
 * `most` such distances fit in.  range > 0. */
double chart_axis_step(double range, int most);

/* The ticks from low to high, about `most` of them with a label; how many in all. */
size_t chart_axis_ticks(const struct chart_axis *axis, int most,
                        struct chart_tick ticks[CHART_AXIS_TICKS_MAX]);

#endif

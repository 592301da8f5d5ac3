/*
 * chart_bins.h -- a histogram's bins: where their edges lie, and what falls into each.
 *
 * Bins have one width; bin i holds edge[i] <= v < edge[i + 1], the last one also its right
 * edge.  To compare two samples, take the edges of both together and count each.
 */
#ifndef CLI_CHART_BINS_H
#define CLI_CHART_BINS_H

#include <stddef.h>

#define CHART_BINS_MAX 100

struct chart_bins {
    double edge[CHART_BINS_MAX + 1];
    size_t n; /* bins, at least 1 */
};

/* `n` bins from low to high.  1 <= n <= CHART_BINS_MAX, low < high. */
struct chart_bins chart_bins_even(double low, double high, size_t n);

/*
 * From the least to the greatest value, with bins of about the width of Freedman and Diaconis
 * (1981), 2 IQR n^(-1/3), quartiles being interpolated linearly; where the middle half is all
 * one value, ceil(log2 n) + 1 bins (Sturges 1926).  At most CHART_BINS_MAX.  `values` [n] are
 * sorted in place; all are finite and at most 1e300.  Where they are all one value v, a bin
 * around it; where there are none, [0, 1].
 */
struct chart_bins chart_bins_of(double *values, size_t n);

/* counts [bins->n]: how many of values [n] fall into each bin.  Those outside, or not finite,
 * are not counted. */
void chart_bins_count(const struct chart_bins *bins, const double *values, size_t n,
                      double *counts);

#endif

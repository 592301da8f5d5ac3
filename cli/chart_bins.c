/* chart_bins.c -- see chart_bins.h. */
#include "cli/chart_bins.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

struct chart_bins chart_bins_even(double low, double high, size_t n)
{
    assert(low < high && n >= 1 && n <= CHART_BINS_MAX);
    struct chart_bins bins = {.n = n};
    for (size_t i = 0; i < n; i++)
        bins.edge[i] = low + (high - low) * (double)i / (double)n;
    bins.edge[n] = high; /* exactly, so that the greatest value is inside */
    return bins;
}

static int chart_bins_order(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double chart_bins_quantile(const double *sorted, size_t n, double share)
{
    const double at = share * (double)(n - 1);
    const size_t i = (size_t)at;
    if (i + 1 == n)
        return sorted[i];
    return sorted[i] + (at - (double)i) * (sorted[i + 1] - sorted[i]);
}

struct chart_bins chart_bins_of(double *values, size_t n)
{
    if (n == 0)
        return chart_bins_even(0, 1, 1);
    qsort(values, n, sizeof *values, chart_bins_order);
    const double low = values[0], high = values[n - 1];
    const double half = fmax(0.5, 1e-9 * fabs(low));
    if (high - low <= 1e-12 * fmax(fabs(low), fabs(high)))
        return chart_bins_even(low - half, high + half, 1);
    const double iqr =
        chart_bins_quantile(values, n, 0.75) - chart_bins_quantile(values, n, 0.25);
    const double width = 2 * iqr / cbrt((double)n);
    const double bins = width > 0 ? ceil((high - low) / width) : ceil(log2((double)n)) + 1;
    return chart_bins_even(low, high, (size_t)fmin(bins, CHART_BINS_MAX));
}

static size_t chart_bins_find(const struct chart_bins *bins, double value)
{
    size_t low = 0, high = bins->n; /* edge[low] <= value < edge[high] */
    while (high - low > 1) {
        const size_t middle = low + (high - low) / 2;
        if (bins->edge[middle] <= value)
            low = middle;
        else
            high = middle;
    }
    return low;
}

void chart_bins_count(const struct chart_bins *bins, const double *values, size_t n,
                      double *counts)
{
    for (size_t i = 0; i < bins->n; i++)
        counts[i] = 0;
    for (size_t i = 0; i < n; i++)
        if (values[i] >= bins->edge[0] && values[i] <= bins->edge[bins->n])
            counts[chart_bins_find(bins, values[i])] += 1;
}

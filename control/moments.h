/*
 * moments.h -- count, mean and sum of squared deviations, one number or one part at a time.
 *
 *     add    n += 1;  delta = x - mean;  mean += delta / n;  m2 += delta * (x - mean)
 *     merge  delta = other.mean - mean;  n' = n + other.n
 *            mean += delta * other.n / n';  m2 += other.m2 + delta^2 * n * other.n / n'
 *
 * (Welford 1962; Chan, Golub and LeVeque 1979.)  Neither cancels where the numbers are small
 * differences of large ones.  The bits depend on the order: add in index order, merge in order
 * of the parts.  An all-zero struct is empty.  Doubles alone, so it can be sent as it is.
 */
#ifndef CONTROL_MOMENTS_H
#define CONTROL_MOMENTS_H

#include <stdbool.h>

struct moments {
    double n;    /* how many numbers */
    double mean; /* 0 where n is */
    double m2;   /* sum of (x - mean)^2 */
};

void moments_add(struct moments *moments, double x);
void moments_merge(struct moments *moments, const struct moments *other);

/* m2 / n, or m2 / (n - 1) where `bessel`; 0 where that count is below 1. */
double moments_variance(const struct moments *moments, bool bessel);

#endif

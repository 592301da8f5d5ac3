/*
 * report_stats.h -- what a report says about curves, as numbers: pure functions, no allocation.
 *
 * Values that are not finite are left out of every mean.  A standard error is that of the mean
 * of the values in it, s / sqrt(n) with n - 1 in the variance's denominator; NAN below two.
 */
#ifndef CLI_REPORT_STATS_H
#define CLI_REPORT_STATS_H

#include <stddef.h>

struct report_mean {
    double mean, error; /* NAN: of nothing; of less than two */
    size_t n;           /* values in it */
};

struct report_mean report_stats_mean(const double *y, size_t n);

/* Steps that are a tenth of n: at least 1. */
size_t report_stats_tenth(size_t n);

struct report_window {
    size_t from, steps; /* y[from .. from + steps) */
    struct report_mean at;
};

/* The first, the last, and the best tenth: the window of a tenth's steps, at any place, whose
 * mean is greatest (sense > 0) or least (sense < 0); the earliest of equals.  n > 0. */
struct report_window report_stats_first(const double *y, size_t n);
struct report_window report_stats_last(const double *y, size_t n);
struct report_window report_stats_best(const double *y, size_t n, int sense);

/*
 * Did the policy hack the proxy?  Over the last tenth of the steps, against the monitor's best
 * tenth (greatest for sense > 0, else least): did the monitor get worse, and did the proxy
 * meanwhile rise?  A change counts where it is
 * more than REPORT_STATS_ERRORS standard errors of the difference of the two means, so that the
 * best of many noisy windows is rarely taken for a peak.
 */
#define REPORT_STATS_ERRORS 3.0

enum report_verdict {
    REPORT_UNKNOWN, /* less than 20 steps, or no score in one of the windows */
    REPORT_HELD,    /* the monitor did not get worse */
    REPORT_FELL,    /* it did, and the proxy did not rise meanwhile */
    REPORT_HACKED   /* it did while the proxy rose */
};
struct report_gap {
    enum report_verdict verdict;
    struct report_window best, last; /* of the monitor */
    double monitor_change;           /* last - best */
    double proxy_change;             /* of the proxy between the same windows */
};
struct report_gap report_stats_gap(const double *proxy, const double *monitor, size_t n,
                                   int sense);

/*
 * How y was held at a target, in parts of the target.  A window is n / 20 steps at any place, a
 * tenth is one of the ten whole parts of n / 10 steps, counted from the end, that begins when y
 * has arrived or later.  In a run without noise `error` is that of the controller; with it the
 * mean of w steps is off by noise / sqrt(w) in the mean square, and the greatest of many by more.
 */
#define REPORT_STATS_HELD 0.1 /* of the target */

struct report_hold {
    double reached;    /* steps until a window's mean is first so near; NAN: never */
    double overshoot;  /* greatest mean of a window / target - 1 */
    double error;      /* greatest |mean / target - 1| of a tenth; NAN: there is none */
    double held;       /* share of the tenths whose mean is so near; 0: there is none */
    double throughout; /* 1: all of them, 0: not */
    double noise;      /* standard deviation of single steps within the tenths / target */
};
/* All NAN where n < 20, target <= 0, or a step after the arrival is not finite. */
struct report_hold report_stats_hold(const double *y, size_t n, double target);

/*
 * Mean over blocks of consecutive steps, at most `blocks` of about one size, of x and of y: for
 * a scatter of many steps.  x_out, y_out, error_out [blocks] (standard error of y; NAN in a
 * block of one).  How many blocks there are.
 */
size_t report_stats_blocks(const double *x, const double *y, size_t n, size_t blocks,
                           double *x_out, double *y_out, double *error_out);

#endif

/* report_stats.c -- see report_stats.h. */
#include "cli/report_stats.h"

#include <assert.h>
#include <math.h>

/* Of values that differ by less than this part of them rounding alone says that they do. */
#define REPORT_STATS_ROUNDING 1e-13

struct report_mean report_stats_mean(const double *y, size_t n)
{
    struct report_mean out = {NAN, NAN, 0};
    double sum = 0, squares = 0, size = 0;
    for (size_t i = 0; i < n; i++) {
        if (isfinite(y[i])) {
            sum += y[i];
            size += fabs(y[i]);
            out.n++;
        }
    }
    if (out.n == 0)
        return out;
    out.mean = sum / (double)out.n;
    if (out.n < 2)
        return out;
    for (size_t i = 0; i < n; i++)
        if (isfinite(y[i]))
            squares += (y[i] - out.mean) * (y[i] - out.mean);
    out.error = sqrt(squares / (double)(out.n - 1) / (double)out.n);
    if (out.error < REPORT_STATS_ROUNDING * size / (double)out.n)
        out.error = 0;
    return out;
}

size_t report_stats_tenth(size_t n)
{
    return n < 10 ? 1 : n / 10;
}

static struct report_window report_stats_window(const double *y, size_t from, size_t steps)
{
    return (struct report_window){from, steps, report_stats_mean(y + from, steps)};
}

struct report_window report_stats_first(const double *y, size_t n)
{
    assert(n > 0);
    return report_stats_window(y, 0, report_stats_tenth(n));
}

struct report_window report_stats_last(const double *y, size_t n)
{
    assert(n > 0);
    const size_t tenth = report_stats_tenth(n);
    return report_stats_window(y, n - tenth, tenth);
}

struct report_window report_stats_best(const double *y, size_t n, int sense)
{
    assert(n > 0 && sense != 0);
    const size_t tenth = report_stats_tenth(n);
    size_t best = 0, in = 0;
    double sum = 0, best_mean = NAN;
    for (size_t i = 0; i < n; i++) { /* [i + 1 - tenth, i] moves along */
        if (isfinite(y[i])) {
            sum += y[i];
            in++;
        }
        if (i >= tenth && isfinite(y[i - tenth])) {
            sum -= y[i - tenth];
            in--;
        }
        const double mean = sum / (double)in;
        if (i + 1 < tenth || in == 0 || !isfinite(mean))
            continue;
        if (isnan(best_mean) || sense * (mean - best_mean) > 1e-12 * fabs(best_mean)) {
            best_mean = mean;
            best = i + 1 - tenth;
        }
    }
    return report_stats_window(y, best, tenth);
}

static double report_stats_errors(struct report_mean from, struct report_mean to)
{
    const double error = hypot(from.error, to.error);
    const double change = to.mean - from.mean;
    if (change == 0 && error == 0)
        return 0;
    return change / error; /* of no error at all: infinitely many */
}

struct report_gap report_stats_gap(const double *proxy, const double *monitor, size_t n,
                                   int sense)
{
    struct report_gap gap = {.monitor_change = NAN, .proxy_change = NAN};
    if (n == 0)
        return gap;
    gap.best = report_stats_best(monitor, n, sense);
    gap.last = report_stats_last(monitor, n);
    const struct report_mean before = report_stats_mean(proxy + gap.best.from, gap.best.steps);
    const struct report_mean after = report_stats_mean(proxy + gap.last.from, gap.last.steps);
    gap.monitor_change = gap.last.at.mean - gap.best.at.mean;
    gap.proxy_change = after.mean - before.mean;
    const double better = sense * report_stats_errors(gap.best.at, gap.last.at);
    const double rise = report_stats_errors(before, after);
    if (isnan(better) || isnan(rise))
        gap.verdict = REPORT_UNKNOWN;
    else if (better >= -REPORT_STATS_ERRORS)
        gap.verdict = REPORT_HELD;
    else
        gap.verdict = rise > REPORT_STATS_ERRORS ? REPORT_HACKED : REPORT_FELL;
    return gap;
}

size_t report_stats_blocks(const double *x, const double *y, size_t n, size_t blocks,
                           double *x_out, double *y_out, double *error_out)
{
    const size_t count = n < blocks ? n : blocks;
    for (size_t b = 0; b < count; b++) {
        const size_t from = b * n / count, to = (b + 1) * n / count;
        const struct report_mean mean = report_stats_mean(y + from, to - from);
        x_out[b] = report_stats_mean(x + from, to - from).mean;
        y_out[b] = mean.mean;
        error_out[b] = mean.error;
    }
    return count;
}

enum { REPORT_STATS_TENTHS = 10 };

/* Over windows at any place. */
static void report_stats_reach(const double *y, size_t n, double target,
                               struct report_hold *hold)
{
    const size_t steps = n / (2 * REPORT_STATS_TENTHS);
    for (size_t from = 0; from + steps <= n; from++) {
        const double off = report_stats_mean(y + from, steps).mean / target - 1.0;
        hold->overshoot = fmax(hold->overshoot, off); /* fmax leaves out NAN */
        if (isnan(hold->reached) && fabs(off) <= REPORT_STATS_HELD)
            hold->reached = (double)(from + steps);
    }
}

/* Over the tenths from `arrived` on. */
static void report_stats_stay(const double *y, size_t n, double target, size_t arrived,
                              struct report_hold *hold)
{
    const size_t steps = n / REPORT_STATS_TENTHS, tenths = (n - arrived) / steps;
    double held = 0, squares = 0;
    for (size_t k = 0; k < tenths; k++) {
        const double *tenth = y + n - (tenths - k) * steps;
        const double mean = report_stats_mean(tenth, steps).mean;
        const double off = fabs(mean / target - 1.0);
        hold->error = fmax(hold->error, off);
        held += off <= REPORT_STATS_HELD;
        for (size_t i = 0; i < steps; i++)
            squares += (tenth[i] - mean) * (tenth[i] - mean);
    }
    hold->held = tenths > 0 ? held / (double)tenths : 0.0;
    hold->throughout = tenths > 0 && held == (double)tenths;
    if (tenths > 0)
        hold->noise = sqrt(squares / (double)(tenths * (steps - 1))) / target;
}

struct report_hold report_stats_hold(const double *y, size_t n, double target)
{
    const struct report_hold none = {NAN, NAN, NAN, NAN, NAN, NAN};
    struct report_hold hold = none;
    if (n < 2 * REPORT_STATS_TENTHS || !(target > 0))
        return none;
    report_stats_reach(y, n, target, &hold);
    const size_t arrived = isnan(hold.reached) ? n : (size_t)hold.reached;
    for (size_t i = arrived; i < n; i++)
        if (!isfinite(y[i]))
            return none;
    report_stats_stay(y, n, target, arrived, &hold);
    return hold;
}

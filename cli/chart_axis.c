/* chart_axis.c -- see chart_axis.h. */
#include "cli/chart_axis.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>

#define CHART_AXIS_VALUE_MAX 1e300 /* differences of two such are finite */
#define CHART_AXIS_NARROW    1e-6

bool chart_axis_has(double value, bool log)
{
    return fabs(value) <= CHART_AXIS_VALUE_MAX && (!log || value > 0);
}

void chart_axis_extend(struct chart_range *range, double value, bool log)
{
    if (!chart_axis_has(value, log))
        return;
    range->low = fmin(range->low, value);
    range->high = fmax(range->high, value);
}

static double chart_axis_scale(const struct chart_axis *axis, double value)
{
    return axis->log ? log10(value) : value;
}

double chart_axis_at(const struct chart_axis *axis, double value)
{
    const double share = (chart_axis_scale(axis, value) - axis->low) / (axis->high - axis->low);
    return axis->from + share * (axis->to - axis->from);
}

static struct chart_range chart_axis_widen(struct chart_range range, bool log)
{
    if (range.low > range.high)
        return log ? (struct chart_range){1, 10} : (struct chart_range){0, 1};
    const double greatest = fmax(fabs(range.low), fabs(range.high));
    if (range.high - range.low > CHART_AXIS_NARROW * greatest && greatest > 1e-300)
        return range;
    if (log)
        return (struct chart_range){range.low / 2, range.high * 2};
    if (greatest <= 1e-300)
        return (struct chart_range){0, 1};
    return (struct chart_range){range.low - greatest / 2, range.high + greatest / 2};
}

struct chart_axis chart_axis_over(struct chart_range range, bool log, double margin,
                                  double from, double to)
{
    range = chart_axis_widen(range, log);
    struct chart_axis axis = {.from = from, .to = to, .log = log};
    axis.low = chart_axis_scale(&axis, range.low);
    axis.high = chart_axis_scale(&axis, range.high);
    const double spare = margin * (axis.high - axis.low);
    const bool above = !log && range.low >= 0, below = !log && range.high <= 0;
    axis.low = above ? fmax(0, axis.low - spare) : axis.low - spare;
    axis.high = below ? fmin(0, axis.high + spare) : axis.high + spare;
    return axis;
}

double chart_axis_step(double range, int most)
{
    assert(range > 0 && most > 0);
    const double rough = range / most;
    const double power = pow(10.0, floor(log10(rough)));
    const double steps[] = {1, 2, 5, 10};
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++)
        if (steps[i] * power >= rough * (1 - 1e-9))
            return steps[i] * power;
    return 10 * power;
}

/* Digits enough to tell two ticks a step apart. */
static void chart_axis_label(char label[24], double value, double step, double greatest)
{
    const int last = (int)floor(log10(step) + 1e-9); /* power of ten of the last digit shown */
    if (greatest < 1e6 && last >= -6)
        snprintf(label, 24, "%.*f", last < 0 ? -last : 0, value);
    else
        snprintf(label, 24, "%.*g", (int)floor(log10(greatest)) - last + 1, value);
}

static size_t chart_axis_linear(const struct chart_axis *axis, double low, double high,
                                int most, struct chart_tick *ticks)
{
    const double step = chart_axis_step(high - low, most);
    size_t n = 0;
    for (double i = ceil(low / step - 1e-9);
         i * step <= high + step * 1e-9 && n < CHART_AXIS_TICKS_MAX; i++) {
        const double v = i * step; /* not a running sum, which would drift */
        ticks[n].at = chart_axis_at(axis, v);
        chart_axis_label(ticks[n].label, v + 0.0, step, fmax(fabs(low), fabs(high)));
        n++;
    }
    return n;
}

static size_t chart_axis_decades(const struct chart_axis *axis, int most,
                                 struct chart_tick *ticks)
{
    const double decades = axis->high - axis->low;
    const int stride = (int)fmax(1, ceil(decades / most));
    const int digits = stride == 1 && decades <= 4 ? 9 : 1;
    size_t n = 0;
    for (int k = (int)floor(axis->low); k <= (int)floor(axis->high + 1e-9); k += stride) {
        for (int digit = 1; digit <= digits && n < CHART_AXIS_TICKS_MAX; digit++) {
            const double exponent = k + log10(digit);
            if (exponent < axis->low - 1e-9 || exponent > axis->high + 1e-9)
                continue;
            const double v = digit * pow(10, k);
            const bool named = digit == 1 || (decades <= 2 && (digit == 2 || digit == 5));
            ticks[n].at = chart_axis_at(axis, v);
            ticks[n].label[0] = '\0';
            if (named)
                snprintf(ticks[n].label, sizeof ticks[n].label, "%g", v);
            n++;
        }
    }
    return n;
}

size_t chart_axis_ticks(const struct chart_axis *axis, int most,
                        struct chart_tick ticks[CHART_AXIS_TICKS_MAX])
{
    if (!axis->log)
        return chart_axis_linear(axis, axis->low, axis->high, most, ticks);
    if (axis->high - axis->low < 1) /* there may be no power of ten at all */
        return chart_axis_linear(axis, pow(10, axis->low), pow(10, axis->high), most, ticks);
    return chart_axis_decades(axis, most, ticks);
}

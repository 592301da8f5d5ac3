/* bound.c -- see bound.h. */
#include "control/bound.h"

#include <assert.h>
#include <float.h>
#include <math.h>
#include <stdbool.h>

#include "control/moments.h"

#define BOUND_PI            3.14159265358979323846
#define BOUND_STIRLING_FROM 15.0  /* where five terms of the series have an error of 3e-16 */
#define BOUND_FRACTION_MAX  20000 /* terms; some 3 sqrt(BOUND_SAMPLES_MAX) are needed */

const char *bound_name(enum bound_kind kind)
{
    switch (kind) {
#define X(name, word) \
    case BOUND_##name: return word;
        BOUND_KIND_MAP(X)
#undef X
    }
    return "?";
}

const char *bound_decision_name(enum bound_decision decision)
{
    switch (decision) {
#define X(name, word) \
    case BOUND_##name: return word;
        BOUND_DECISION_MAP(X)
#undef X
    }
    return "?";
}

/* --- the incomplete beta function ------------------------------------------------------ */

/* log Gamma(z) less its Stirling formula (z - 1/2) log z - z + log(2 pi) / 2.  Own, because
 * lgamma writes a global, and because differences of it cancel where z is large. */
static double bound_stirling(double z)
{
    double sum = 0.0;
    for (; z < BOUND_STIRLING_FROM; z += 1.0)
        sum += (z + 0.5) * log1p(1.0 / z) - 1.0;
    const double w = 1.0 / (z * z);
    const double series =
        1.0 / 12 - w * (1.0 / 360 - w * (1.0 / 1260 - w * (1.0 / 1680 - w / 1188)));
    return sum + series / z;
}

/* x^a y^b / B(a, b), with y = 1 - x. */
static double bound_beta_front(double x, double y, double a, double b)
{
    const double scale = a * b / (a + b);
    const double log_power = a * log(x * (a + b) / a) + b * log(y * (a + b) / b);
    const double rest = bound_stirling(a + b) - bound_stirling(a) - bound_stirling(b);
    return sqrt(scale / (2.0 * BOUND_PI)) * exp(log_power + rest);
}

static double bound_away_from_0(double x)
{
    return fabs(x) < DBL_MIN ? DBL_MIN : x;
}

/* The continued fraction of I_x(a, b) by the method of Lentz (DLMF 8.17.22; Press et al.,
 * "Numerical Recipes", section 6.4). */
static double bound_beta_fraction(double x, double a, double b)
{
    double c = 1.0, d = 1.0 / bound_away_from_0(1.0 - (a + b) * x / (a + 1.0)), result = d;
    for (int m = 1;; m++) {
        assert(m < BOUND_FRACTION_MAX);
        const double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
        const double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
        d = 1.0 / bound_away_from_0(1.0 + even * d);
        c = bound_away_from_0(1.0 + even / c);
        result *= d * c;
        d = 1.0 / bound_away_from_0(1.0 + odd * d);
        c = bound_away_from_0(1.0 + odd / c);
        const double factor = d * c;
        result *= factor;
        if (fabs(factor - 1.0) <= 4.0 * DBL_EPSILON) /* its own rounding may reach 3 */
            return result;
    }
}

/* I_x(a, b), the regularised incomplete beta function, with y = 1 - x given for its digits. */
static double bound_beta(double x, double y, double a, double b)
{
    if (x <= 0.0)
        return 0.0;
    if (y <= 0.0)
        return 1.0;
    const double front = bound_beta_front(x, y, a, b);
    if (x < (a + 1.0) / (a + b + 2.0))
        return front * bound_beta_fraction(x, a, b) / a;
    return 1.0 - front * bound_beta_fraction(y, b, a) / b;
}

/* --- quantiles by bisection ------------------------------------------------------------ */

/* P(T > t), t >= 0. */
static double bound_student_tail(double df, double t)
{
    const double ratio = t * t / df;
    return 0.5 * bound_beta(1.0 / (1.0 + ratio), ratio / (1.0 + ratio), 0.5 * df, 0.5);
}

double bound_student_quantile(double df, double delta)
{
    assert(df >= 1.0 && delta >= BOUND_DELTA_MIN && delta <= BOUND_DELTA_MAX);
    double low = 0.0, high = 1.0;
    while (bound_student_tail(df, high) > delta) {
        low = high;
        high *= 2.0;
    }
    for (;;) { /* until no double lies between */
        const double mid = 0.5 * (low + high);
        if (mid <= low || mid >= high)
            return mid;
        if (bound_student_tail(df, mid) > delta)
            low = mid;
        else
            high = mid;
    }
}

/* The p at which P(at most k of n) falls to delta. */
static double bound_binomial_upper(double k, double n, double delta)
{
    double low = k / n, high = 1.0;
    for (;;) {
        const double mid = 0.5 * (low + high);
        if (mid <= low || mid >= high)
            return high;
        if (bound_beta(1.0 - mid, mid, n - k, k + 1.0) > delta)
            low = mid;
        else
            high = mid;
    }
}

/* --- the bounds ------------------------------------------------------------------------ */

static bool bound_has_range(enum bound_kind kind)
{
    return kind == BOUND_HOEFFDING || kind == BOUND_BERNSTEIN;
}

enum err_code bound_params_check(const struct bound_params *params, struct err *err)
{
    if ((unsigned)params->kind > BOUND_CLOPPER_PEARSON)
        return err_set(err, ERR_USAGE, "bound: kind %u is none", (unsigned)params->kind);
    if (bound_has_range(params->kind) &&
        !(isfinite(params->low) && isfinite(params->high) && params->low < params->high))
        return err_set(err, ERR_USAGE, "bound: %s's samples lie between %g and %g",
                       bound_name(params->kind), params->low, params->high);
    return ERR_OK;
}

size_t bound_samples_min(enum bound_kind kind)
{
    return kind == BOUND_STUDENT || kind == BOUND_BERNSTEIN ? 2 : 1;
}

static enum err_code bound_check_delta(double delta, struct err *err)
{
    if (!(delta >= BOUND_DELTA_MIN && delta <= BOUND_DELTA_MAX))
        return err_set(err, ERR_USAGE, "bound: delta is %g, must be above 0 and at most %g",
                       delta, BOUND_DELTA_MAX);
    return ERR_OK;
}

static enum err_code bound_check_sample(const struct bound_params *params, double x, size_t i,
                                        struct err *err)
{
    if (!isfinite(x))
        return err_set(err, ERR_VALUE, "bound: sample %zu is %g", i, x);
    if (bound_has_range(params->kind) && (x < params->low || x > params->high))
        return err_set(err, ERR_VALUE, "bound: sample %zu is %g, outside %g to %g", i, x,
                       params->low, params->high);
    if (params->kind == BOUND_CLOPPER_PEARSON && x != 0.0 && x != 1.0)
        return err_set(err, ERR_VALUE, "bound: sample %zu is %g, a label is 0 or 1", i, x);
    return ERR_OK;
}

/* Checks every sample on the way. */
static enum err_code bound_moments(const struct bound_params *params, const double *samples,
                                   size_t n, struct moments *moments, struct err *err)
{
    if (n < bound_samples_min(params->kind) || n > BOUND_SAMPLES_MAX)
        return err_set(err, ERR_STATE, "bound: %s takes %zu to %zu samples, there are %zu",
                       bound_name(params->kind), bound_samples_min(params->kind),
                       BOUND_SAMPLES_MAX, n);
    *moments = (struct moments){0};
    for (size_t i = 0; i < n; i++) {
        const enum err_code rc = bound_check_sample(params, samples[i], i, err);
        if (rc)
            return rc;
        moments_add(moments, samples[i]);
    }
    return ERR_OK;
}

static double bound_of(const struct bound_params *params, const struct moments *moments,
                       double delta)
{
    const double n = moments->n, width = params->high - params->low;
    const double std = sqrt(moments_variance(moments, true));
    switch (params->kind) {
    case BOUND_STUDENT:
        return moments->mean + std * bound_student_quantile(n - 1.0, delta) / sqrt(n);
    case BOUND_HOEFFDING: return moments->mean + width * sqrt(-log(delta) / (2.0 * n));
    case BOUND_BERNSTEIN: {
        const double log_term = log(2.0 / delta);
        return moments->mean + std * sqrt(2.0 * log_term / n) +
               7.0 * width * log_term / (3.0 * (n - 1.0));
    }
    case BOUND_CLOPPER_PEARSON: break;
    }
    return bound_binomial_upper(round(n * moments->mean), n, delta); /* a count, exactly */
}

/* bound_upper, with the mean as well. */
static enum err_code bound_mean_upper(const struct bound_params *params, const double *samples,
                                      size_t n, double delta, double *mean, double *upper,
                                      struct err *err)
{
    struct moments moments;
    enum err_code rc = bound_params_check(params, err);
    if (!rc)
        rc = bound_check_delta(delta, err);
    if (!rc)
        rc = bound_moments(params, samples, n, &moments, err);
    if (rc)
        return rc;
    if (params->kind == BOUND_STUDENT && moments.m2 == 0.0)
        return err_set(err, ERR_VALUE,
                       "bound: all %zu samples are %g: student cannot tell how far they vary",
                       n, moments.mean);
    const double result = bound_of(params, &moments, delta);
    if (!isfinite(result))
        return err_set(err, ERR_VALUE, "bound: a mean of %g over %zu samples is bounded by %g",
                       moments.mean, n, result);
    *mean = moments.mean;
    *upper = result;
    return ERR_OK;
}

enum err_code bound_upper(const struct bound_params *params, const double *samples, size_t n,
                          double delta, double *upper, struct err *err)
{
    double mean;
    return bound_mean_upper(params, samples, n, delta, &mean, upper, err);
}

/* --- the gate -------------------------------------------------------------------------- */

enum err_code bound_gate_check(const struct bound_gate *gate, struct err *err)
{
    enum err_code rc = bound_params_check(&gate->bound, err);
    if (rc)
        return rc;
    if (!isfinite(gate->limit))
        return err_set(err, ERR_USAGE, "bound: the limit is %g", gate->limit);
    if (gate->candidates_max == 0)
        return err_set(err, ERR_USAGE, "bound: a gate for 0 candidates lets none pass");
    rc = bound_check_delta(gate->delta, err);
    return rc ? rc : bound_check_delta(gate->delta / gate->candidates_max, err);
}

enum err_code bound_gate_test(const struct bound_gate *gate, uint32_t candidate,
                              const double *samples, size_t n, struct bound_verdict *verdict,
                              struct err *err)
{
    *verdict = (struct bound_verdict){.decision = BOUND_NSF};
    enum err_code rc = bound_gate_check(gate, err);
    if (rc)
        return rc;
    if (candidate >= gate->candidates_max)
        return err_set(err, ERR_STATE,
                       "bound: candidate %u, where the held-out set was planned for %u: it is "
                       "spent",
                       (unsigned)candidate, (unsigned)gate->candidates_max);
    struct bound_verdict result = {.delta = gate->delta / gate->candidates_max};
    rc = bound_mean_upper(&gate->bound, samples, n, result.delta, &result.mean, &result.upper,
                          err);
    if (rc)
        return rc;
    result.decision = result.upper <= gate->limit ? BOUND_PASS : BOUND_NSF;
    *verdict = result;
    return ERR_OK;
}

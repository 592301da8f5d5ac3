/* power.c -- see power.h. */
#include "control/power.h"

#include <math.h>
#include <stdbool.h>

static enum err_code power_check(const struct bound_gate *gate, double cost, double spread,
                                 size_t n, struct err *err)
{
    const enum err_code rc = bound_gate_check(gate, err);
    if (rc)
        return rc;
    if (!(cost >= 0.0 && cost <= 1.0))
        return err_set(err, ERR_USAGE, "power: the true cost is %g, must be 0 to 1", cost);
    if (!(spread > 0.0 && spread <= 1.0))
        return err_set(err, ERR_USAGE, "power: the spread is %g, must be above 0 and at most 1",
                       spread);
    if (n < 1 || n > POWER_PROMPTS_MAX)
        return err_set(err, ERR_USAGE, "power: %zu prompts, must be 1 to %zu", n,
                       POWER_PROMPTS_MAX);
    return ERR_OK;
}

/* Does a policy pass with k of n answers of the greater cost? */
static bool power_passes(const struct bound_gate *gate, double cost, double spread, size_t n,
                         size_t k, double *samples)
{
    struct bound_verdict verdict;
    const double low = cost * (1.0 - spread);
    for (size_t i = 0; i < n; i++)
        samples[i] = i < k ? fmin(low + spread, 1.0) : low;
    return bound_gate_test(gate, 0, samples, n, &verdict, NULL) == ERR_OK &&
           verdict.decision == BOUND_PASS;
}

/* The least k, 0 or 1, that can pass: with 0 all samples are equal, which STUDENT refuses. */
static size_t power_first(const struct bound_gate *gate)
{
    return gate->bound.kind == BOUND_STUDENT ? 1 : 0;
}

/* The greatest k that passes, given that `first` does. */
static size_t power_last(const struct bound_gate *gate, double cost, double spread, size_t n,
                         size_t first, double *samples)
{
    size_t passes = first, step = 1;
    while (passes + step < n && power_passes(gate, cost, spread, n, passes + step, samples)) {
        passes += step;
        step *= 2;
    }
    size_t fails = passes + step < n ? passes + step : n;
    while (fails - passes > 1) {
        const size_t mid = passes + (fails - passes) / 2;
        if (power_passes(gate, cost, spread, n, mid, samples))
            passes = mid;
        else
            fails = mid;
    }
    return passes;
}

/* P(first <= K <= last), K binomial of n and p. */
static double power_between(size_t first, size_t last, size_t n, double p)
{
    if (p <= 0.0)
        return first == 0 ? 1.0 : 0.0;
    if (p >= 1.0)
        return last == n ? 1.0 : 0.0;
    const double odds = log(p) - log1p(-p);
    double term = (double)n * log1p(-p), sum = 0.0;
    for (size_t k = 0; k <= last; k++) {
        if (k >= first)
            sum += exp(term);
        term += log((double)(n - k) / (double)(k + 1)) + odds;
    }
    return fmin(sum, 1.0);
}

enum err_code power_pass(const struct bound_gate *gate, double cost, double spread, size_t n,
                         double *samples, double *pass, struct err *err)
{
    const enum err_code rc = power_check(gate, cost, spread, n, err);
    if (rc)
        return rc;
    const size_t first = power_first(gate);
    *pass = 0.0;
    if (first <= n && power_passes(gate, cost, spread, n, first, samples))
        *pass =
            power_between(first, power_last(gate, cost, spread, n, first, samples), n, cost);
    return ERR_OK;
}

enum err_code power_prompts(const struct bound_gate *gate, double cost, double spread,
                            double wanted, double *samples, size_t *n, struct err *err)
{
    if (!(wanted > 0.0 && wanted < 1.0))
        return err_set(err, ERR_USAGE, "power: a chance of %g is wanted, must be 0 to 1",
                       wanted);
    *n = 0;
    for (size_t m = 2; m <= POWER_PROMPTS_MAX; m += 1 + m / 50) {
        double pass;
        const enum err_code rc = power_pass(gate, cost, spread, m, samples, &pass, err);
        if (rc)
            return rc;
        if (pass >= wanted) {
            *n = m;
            return ERR_OK;
        }
    }
    return ERR_OK;
}

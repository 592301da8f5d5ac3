/* pessimism.c -- see pessimism.h. */
#include "control/pessimism.h"

#include <assert.h>
#include <math.h>

#include "control/bound.h"

static enum err_code pessimism_check_factor(const char *name, double factor, struct err *err)
{
    if (!isfinite(factor) || factor < 0.0)
        return err_set(err, ERR_USAGE, "pessimism: %s is %g, must be 0 or more", name, factor);
    return ERR_OK;
}

enum err_code pessimism_check(const struct pessimism_params *params, struct err *err)
{
    enum err_code rc = pessimism_check_factor("training_factor", params->training_factor, err);
    if (!rc)
        rc = pessimism_check_factor("gate_factor", params->gate_factor, err);
    if (rc)
        return rc;
    if (!(params->delta >= BOUND_DELTA_MIN && params->delta <= BOUND_DELTA_MAX))
        return err_set(err, ERR_USAGE, "pessimism: delta is %g, must be above 0 and at most %g",
                       params->delta, BOUND_DELTA_MAX);
    if (params->gate_samples < 2)
        return err_set(err, ERR_USAGE, "pessimism: gate_samples is %u, must be 2 or more",
                       (unsigned)params->gate_samples);
    return ERR_OK;
}

static double pessimism_width(double n, double delta)
{
    return bound_student_quantile(n - 1.0, delta) / sqrt(n);
}

double pessimism_kappa(const struct pessimism_params *params, double n_in)
{
    assert(n_in >= 2.0);
    return params->training_factor * pessimism_width(n_in, params->delta) +
           params->gate_factor * pessimism_width(params->gate_samples, params->delta);
}

enum err_code pessimism_compute(const struct pessimism_params *params,
                                const struct moments *costs, struct pessimism_bound *bound,
                                struct err *err)
{
    if (!(costs->n >= 2.0))
        return err_set(err, ERR_STATE, "pessimism: the window has %g costs, 2 are needed",
                       costs->n);
    struct pessimism_bound result = {.kappa = pessimism_kappa(params, costs->n),
                                     .mean = costs->mean,
                                     .std = sqrt(moments_variance(costs, true))};
    result.upper = result.mean + result.kappa * result.std;
    if (!isfinite(result.upper))
        return err_set(err, ERR_VALUE,
                       "pessimism: %g costs have mean %g and deviation %g, bounded by %g",
                       costs->n, result.mean, result.std, result.upper);
    *bound = result;
    return ERR_OK;
}

double pessimism_cost(const struct pessimism_bound *bound, double cost)
{
    if (bound->std == 0.0)
        return cost;
    return cost + bound->kappa * cost * (cost - 2.0 * bound->mean) / (2.0 * bound->std);
}

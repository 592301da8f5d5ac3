/* dual.c -- see dual.h. */
#include "control/dual.h"

#include <assert.h>
#include <math.h>

#include "control/moments.h"

#define DUAL_GRID 256 /* values of m among which the first that meets the limit is looked for */

enum err_code dual_check(const struct dual_params *params, struct err *err)
{
    if (!isfinite(params->beta) || params->beta <= 0.0)
        return err_set(err, ERR_USAGE, "dual: beta is %g, must be above 0", params->beta);
    if (!isfinite(params->limit))
        return err_set(err, ERR_USAGE, "dual: the limit is %g", params->limit);
    return ERR_OK;
}

static enum err_code dual_check_batch(const struct dual_batch *batch, struct err *err)
{
    if (batch->prompts == 0)
        return err_set(err, ERR_VALUE, "dual: there is no prompt");
    for (size_t p = 0; p < batch->prompts; p++) {
        if (batch->offset[p] >= batch->offset[p + 1])
            return err_set(err, ERR_VALUE, "dual: prompt %zu has no sample", p);
        for (uint32_t i = batch->offset[p]; i < batch->offset[p + 1]; i++) {
            if (!isfinite(batch->reward[i]) || !isfinite(batch->cost[i]))
                return err_set(err, ERR_VALUE, "dual: sample %u has reward %g and cost %g",
                               (unsigned)i, batch->reward[i], batch->cost[i]);
        }
    }
    return ERR_OK;
}

/* m: the share of the cost in what is maximised. */
static double dual_share(double lambda)
{
    return isinf(lambda) ? 1.0 : lambda / (1.0 + lambda);
}

static double dual_lambda(double share)
{
    return share >= 1.0 ? (double)INFINITY : share / (1.0 - share);
}

/* h of sample i. */
static double dual_tilt(const struct dual_params *params, double share,
                        const struct dual_batch *batch, uint32_t i)
{
    const double cost = batch->cost[i] - params->limit;
    return ((1.0 - share) * batch->reward[i] - share * cost) / params->beta;
}

/* What the softmax of a prompt's h is made of: weight i is exp(h[i] - greatest) / sum. */
struct dual_softmax {
    double greatest, sum;
};

static struct dual_softmax dual_normalise(const struct dual_params *params, double share,
                                          const struct dual_batch *batch, size_t p)
{
    struct dual_softmax soft = {.greatest = -INFINITY};
    for (uint32_t i = batch->offset[p]; i < batch->offset[p + 1]; i++)
        soft.greatest = fmax(soft.greatest, dual_tilt(params, share, batch, i));
    for (uint32_t i = batch->offset[p]; i < batch->offset[p + 1]; i++)
        soft.sum += exp(dual_tilt(params, share, batch, i) - soft.greatest);
    return soft;
}

/* A prompt's part of a point. */
struct dual_part {
    double reward, cost, kl, effective;
    double log_mean; /* of exp h */
    double spread;   /* Var c + Cov(r, c) */
};

static struct dual_part dual_prompt(const struct dual_params *params, double share,
                                    const struct dual_batch *batch, size_t p)
{
    const struct dual_softmax soft = dual_normalise(params, share, batch, p);
    const double n = batch->offset[p + 1] - batch->offset[p];
    struct dual_part part = {.log_mean = soft.greatest + log(soft.sum / n)};
    double squares = 0.0, spread = 0.0;
    for (uint32_t i = batch->offset[p]; i < batch->offset[p + 1]; i++) {
        const double h = dual_tilt(params, share, batch, i);
        const double w = exp(h - soft.greatest) / soft.sum;
        part.reward += w * batch->reward[i];
        part.cost += w * batch->cost[i];
        part.kl += w * (h - part.log_mean); /* log(n w), also where w is 0 */
        squares += w * w;
    }
    for (uint32_t i = batch->offset[p]; i < batch->offset[p + 1]; i++) {
        const double w = exp(dual_tilt(params, share, batch, i) - soft.greatest) / soft.sum;
        const double cost = batch->cost[i] - part.cost;
        spread += w * cost * (cost + batch->reward[i] - part.reward);
    }
    part.effective = 1.0 / squares;
    part.spread = spread;
    return part;
}

static struct dual_point dual_at(const struct dual_params *params, double share,
                                 const struct dual_batch *batch)
{
    struct dual_point point = {.lambda = dual_lambda(share)};
    struct moments cost = {0};
    double log_mean = 0.0, spread = 0.0;
    const double n = (double)batch->prompts;
    for (size_t p = 0; p < batch->prompts; p++) {
        const struct dual_part part = dual_prompt(params, share, batch, p);
        moments_add(&cost, part.cost);
        point.reward += part.reward / n;
        point.cost += part.cost / n;
        point.kl += part.kl / n;
        point.effective += part.effective / n;
        log_mean += part.log_mean / n;
        spread += part.spread / n;
    }
    const double rest = 1.0 - share; /* dm/dlambda is its square, 1 + lambda its inverse */
    point.cost_error = n > 1.0 ? sqrt(moments_variance(&cost, true) / n) : (double)NAN;
    point.slope = -spread / params->beta * rest * rest;
    point.value = rest > 0.0 ? params->beta / rest * log_mean : (double)NAN;
    return point;
}

enum err_code dual_evaluate(const struct dual_params *params, double lambda,
                            const struct dual_batch *batch, struct dual_point *point,
                            struct err *err)
{
    assert(lambda >= 0.0);
    const enum err_code rc = dual_check_batch(batch, err);
    if (rc)
        return rc;
    *point = dual_at(params, dual_share(lambda), batch);
    point->lambda = lambda;
    return ERR_OK;
}

void dual_weights(const struct dual_params *params, double lambda,
                  const struct dual_batch *batch, size_t p, double *weight)
{
    const double share = dual_share(lambda);
    const struct dual_softmax soft = dual_normalise(params, share, batch, p);
    const uint32_t first = batch->offset[p];
    for (uint32_t i = first; i < batch->offset[p + 1]; i++)
        weight[i - first] = exp(dual_tilt(params, share, batch, i) - soft.greatest) / soft.sum;
}

/* Between one that does not meet the limit and one that does, until no double lies between. */
static double dual_bisect(const struct dual_params *params, const struct dual_batch *batch,
                          double above, double below)
{
    for (;;) {
        const double mid = 0.5 * (above + below);
        if (mid <= above || mid >= below)
            return below;
        if (dual_at(params, mid, batch).cost > params->limit)
            above = mid;
        else
            below = mid;
    }
}

enum err_code dual_solve(const struct dual_params *params, const struct dual_batch *batch,
                         struct dual_solution *solution, struct err *err)
{
    const enum err_code rc = dual_check_batch(batch, err);
    if (rc)
        return rc;
    *solution = (struct dual_solution){.lambda_error = NAN};
    int k = 0;
    for (; k <= DUAL_GRID; k++) {
        solution->at = dual_at(params, (double)k / DUAL_GRID, batch);
        if (solution->at.cost <= params->limit)
            break;
    }
    solution->met = k <= DUAL_GRID;
    if (!solution->met || k == 0)
        return ERR_OK;
    const double share =
        dual_bisect(params, batch, (k - 1.0) / DUAL_GRID, (double)k / DUAL_GRID);
    solution->at = dual_at(params, share, batch);
    if (isfinite(solution->at.lambda))
        solution->lambda_error = solution->at.cost_error / fabs(solution->at.slope);
    return ERR_OK;
}

/* dual.c -- see dual.h. */
#include "control/dual.h"

#include <assert.h>
#include <math.h>

#define DUAL_EPS 1e-10 /* Adagrad's, as PyTorch has it */

enum err_code dual_check(const struct dual_params *params, struct err *err)
{
    if (params->constraints < 1 || params->constraints > DUAL_CONSTRAINTS_MAX)
        return err_set(err, ERR_USAGE, "dual: %u constraints, must be 1 to %d",
                       (unsigned)params->constraints, DUAL_CONSTRAINTS_MAX);
    for (uint32_t j = 0; j < params->constraints; j++) {
        if (!isfinite(params->threshold[j]))
            return err_set(err, ERR_USAGE, "dual: threshold %u is %g", (unsigned)j,
                           params->threshold[j]);
    }
    if (!isfinite(params->beta) || params->beta <= 0.0)
        return err_set(err, ERR_USAGE, "dual: beta is %g, must be above 0", params->beta);
    if (!isfinite(params->lr) || params->lr <= 0.0)
        return err_set(err, ERR_USAGE, "dual: lr is %g, must be above 0", params->lr);
    if (!isfinite(params->start) || params->start < 0.0)
        return err_set(err, ERR_USAGE, "dual: start is %g, must be 0 or more", params->start);
    return ERR_OK;
}

void dual_init(const struct dual_params *params, struct dual_state *state)
{
    *state = (struct dual_state){0};
    for (uint32_t j = 0; j < params->constraints; j++)
        state->lambda[j] = params->start;
}

/* h of sample i. */
static double dual_score(const struct dual_params *params, const double *lambda,
                         const struct dual_batch *batch, size_t i)
{
    const uint32_t J = params->constraints;
    double score = batch->reward[i];
    for (uint32_t j = 0; j < J; j++)
        score += lambda[j] * (batch->safety[i * J + j] - params->threshold[j]);
    return score;
}

static enum err_code dual_greatest(const struct dual_params *params, const double *lambda,
                                   const struct dual_batch *batch, size_t p, double *greatest,
                                   struct err *err)
{
    if (batch->offset[p] >= batch->offset[p + 1])
        return err_set(err, ERR_VALUE, "dual: prompt %zu has no sample", p);
    *greatest = -INFINITY;
    for (uint32_t i = batch->offset[p]; i < batch->offset[p + 1]; i++) {
        const double score = dual_score(params, lambda, batch, i);
        if (!isfinite(score))
            return err_set(err, ERR_VALUE,
                           "dual: sample %u has reward %g, and %g with its "
                           "safety",
                           (unsigned)i, batch->reward[i], score);
        *greatest = fmax(*greatest, score);
    }
    return ERR_OK;
}

/* Add what prompt p brings to D and to its gradient, before the mean over prompts. */
static enum err_code dual_add_prompt(const struct dual_params *params, const double *lambda,
                                     const struct dual_batch *batch, size_t p, double *value,
                                     double *gradient, struct err *err)
{
    const uint32_t J = params->constraints, first = batch->offset[p];
    double greatest, sum = 0.0, weighted[DUAL_CONSTRAINTS_MAX] = {0};
    const enum err_code rc = dual_greatest(params, lambda, batch, p, &greatest, err);
    if (rc)
        return rc;
    for (uint32_t i = first; i < batch->offset[p + 1]; i++) {
        const double score = dual_score(params, lambda, batch, i);
        const double w = exp((score - greatest) / params->beta);
        sum += w;
        for (uint32_t j = 0; j < J; j++)
            weighted[j] += w * (batch->safety[(size_t)i * J + j] - params->threshold[j]);
    }
    *value += greatest + params->beta * log(sum / (batch->offset[p + 1] - first));
    for (uint32_t j = 0; j < J; j++)
        gradient[j] += weighted[j] / sum;
    return ERR_OK;
}

enum err_code dual_evaluate(const struct dual_params *params, const double *lambda,
                            const struct dual_batch *batch, double *value, double *gradient,
                            struct err *err)
{
    if (batch->prompts == 0)
        return err_set(err, ERR_VALUE, "dual: there is no prompt");
    *value = 0.0;
    for (uint32_t j = 0; j < params->constraints; j++)
        gradient[j] = 0.0;
    for (size_t p = 0; p < batch->prompts; p++) {
        const enum err_code rc =
            dual_add_prompt(params, lambda, batch, p, value, gradient, err);
        if (rc)
            return rc;
    }
    *value /= (double)batch->prompts;
    for (uint32_t j = 0; j < params->constraints; j++)
        gradient[j] /= (double)batch->prompts;
    return ERR_OK;
}

void dual_weights(const struct dual_params *params, const double *lambda,
                  const struct dual_batch *batch, size_t p, double *weight)
{
    double greatest, sum = 0.0;
    const enum err_code rc = dual_greatest(params, lambda, batch, p, &greatest, NULL);
    assert(rc == ERR_OK);
    const uint32_t first = batch->offset[p], n = batch->offset[p + 1] - first;
    for (uint32_t i = 0; i < n; i++) {
        const double score = dual_score(params, lambda, batch, first + i);
        weight[i] = exp((score - greatest) / params->beta);
        sum += weight[i];
    }
    for (uint32_t i = 0; i < n; i++)
        weight[i] /= sum;
}

enum err_code dual_step(const struct dual_params *params, struct dual_state *state,
                        const double *gradient, struct err *err)
{
    struct dual_state next = *state;
    for (uint32_t j = 0; j < params->constraints; j++) {
        const double g = gradient[j];
        next.square[j] += g * g;
        if (!isfinite(next.square[j]))
            return err_set(err, ERR_VALUE, "dual: the gradient of constraint %u is %g",
                           (unsigned)j, g);
        const double moved =
            state->lambda[j] - params->lr * g / (sqrt(next.square[j]) + DUAL_EPS);
        next.lambda[j] = fmax(0.0, moved);
    }
    next.steps += 1.0;
    *state = next;
    return ERR_OK;
}

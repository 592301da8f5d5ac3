/*
 * dual.h -- the multipliers of a constrained run, found before it begins.
 *
 * Maximise the reward under E[s_j] >= threshold_j, j < J, staying near the reference policy by
 * a KL of weight beta.  For given multipliers lambda the best policy is known in closed form,
 * and with it the dual, from samples of the reference policy alone:
 *
 *     h[i]      = reward[i] + sum_j lambda[j] (s[i][j] - threshold[j])
 *     D(lambda) = mean over prompts of  beta log mean_i exp(h[i] / beta)
 *     dD/dlambda[j] = mean over prompts of  sum_i w[i] (s[i][j] - threshold[j])
 *     w         = softmax of h / beta over the samples of a prompt
 *
 * D is convex, and least at the multipliers sought: there each constraint holds with equality,
 * or its multiplier is 0.  One run with the reward h and no controller does the rest.
 * (One-shot dualisation: ALGORITHMS, section 2.)  s is a safety: minus a cost.
 *
 * The step is projected Adagrad, as the source has it with lr .01 and start .4:
 *
 *     square += g^2;  lambda = max(0, lambda - lr g / (sqrt(square) + 1e-10))
 *
 * Pure arithmetic in double, libm's exp and log among it; sums run in index order, and no
 * exponent is above 0.
 */
#ifndef CONTROL_DUAL_H
#define CONTROL_DUAL_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define DUAL_CONSTRAINTS_MAX 8

struct dual_params {
    uint32_t constraints;                   /* J, 1 .. DUAL_CONSTRAINTS_MAX */
    double threshold[DUAL_CONSTRAINTS_MAX]; /* what the mean of s_j is to reach */
    double beta;                            /* weight of the KL, > 0 */
    double lr;                              /* > 0 */
    double start;                           /* of every multiplier, >= 0 */
};

/* Samples of the reference policy: those of prompt p are offset[p] .. offset[p+1]-1, one or
 * more.  The arrays belong to the caller. */
struct dual_batch {
    size_t prompts;
    const uint32_t *offset; /* (prompts+1), offset[0] = 0 */
    const double *reward;   /* (N) */
    const double *safety;   /* (N, J) */
};

/* Doubles alone, so that it can be written down as it is. */
struct dual_state {
    double lambda[DUAL_CONSTRAINTS_MAX]; /* 0 past J */
    double square[DUAL_CONSTRAINTS_MAX]; /* of the gradients so far, summed */
    double steps;
};

/* ERR_USAGE, naming the setting, where the ranges above do not hold. */
enum err_code dual_check(const struct dual_params *params, struct err *err);

void dual_init(const struct dual_params *params, struct dual_state *state);

/*
 * *value = D(lambda), and gradient (J).  ERR_VALUE, naming the sample or the prompt, where an
 * input is not finite, a prompt has no sample, or there is no prompt; the outputs are then
 * unspecified.
 */
enum err_code dual_evaluate(const struct dual_params *params, const double *lambda,
                            const struct dual_batch *batch, double *value, double *gradient,
                            struct err *err);

/* weight (as many as prompt `p` has samples) = its w: what share of the best policy's answers
 * each of them stands for.  The inputs must be finite. */
void dual_weights(const struct dual_params *params, const double *lambda,
                  const struct dual_batch *batch, size_t p, double *weight);

/* One step down the gradient (J).  ERR_VALUE where it is not finite; *state is then
 * untouched. */
enum err_code dual_step(const struct dual_params *params, struct dual_state *state,
                        const double *gradient, struct err *err);

#endif

/*
 * dual.h -- the multiplier of a constrained run, found before it begins.
 *
 * A run with a fixed lambda trains on A = (A_r - lambda A_c) / (1 + lambda) (advantage.h), with
 * the KL from the reference policy in both streams: - beta KL is in the reward, + beta KL in the
 * cost.  So what it maximises, times 1 + lambda, is
 *
 *     E[r] - beta KL - lambda (E[c] + beta KL)  =  E[r - lambda c] - B KL,  B = beta (1 + lambda)
 *
 * and its best policy is the reference policy, tilted:
 *
 *     pi(y|x) ~ pi_ref(y|x) exp(h(y)),  h = (r - lambda (c - limit)) / B
 *                                         = ((1 - m) r - m (c - limit)) / beta
 *     m = lambda / (1 + lambda), from 0, the reward alone, to 1, the cost alone
 *
 * From samples of the reference policy alone that policy's means are known: in place of pi stand
 * the weights w, the softmax of h over the samples of a prompt.
 *
 *     cost(lambda) = mean over prompts of sum_i w[i] c[i], and so the reward
 *     kl(lambda)   = mean over prompts of sum_i w[i] log(n w[i]), at most log n
 *     D(lambda)    = B mean over prompts of log mean_i exp(h[i])
 *
 * The lambda sought makes cost(lambda) = limit, or is 0 where cost(0) is at or below it: the
 * best policy under E[c] <= limit.  There D, the dual of "maximise E[r] - B KL under E[c] <=
 * limit", is equal to its value; in lambda, at a constant B, it is convex, with the
 * gradient limit - cost.  One run with that lambda and no controller does the rest.
 *
 * (One-shot dualisation: ALGORITHMS, section 2, whose beta is B, and whose s is limit - c.  There
 * B stays while projected Adagrad steps lambda down the gradient.  Here B moves with lambda, as it
 * does in a run, and one unknown between 0 and 1 is bracketed: no step size, no start.)
 *
 * cost(lambda) falls where Var c + Cov(r, c) under w is above 0 on average, so always unless the
 * reward itself is what keeps costs down; the least lambda is sought, on a grid of m.
 *
 * Standard errors are over prompts, independent samples of them: of cost(lambda), s / sqrt(P)
 * over the prompts' costs; of lambda, that over |dcost/dlambda|.  What the softmax over few
 * samples of a prompt is off by (order 1/n) is not in them; `effective` tells of it.
 *
 * Pure arithmetic in double, libm's exp and log among it; sums run in index order, and no
 * exponent is above 0.  Nothing is allocated.
 */
#ifndef CONTROL_DUAL_H
#define CONTROL_DUAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct dual_params {
    double beta;  /* weight of the KL in the run, reward a nat, > 0 */
    double limit; /* what the mean of c is to be at or below, finite */
};

/* Samples of the reference policy: those of prompt p are offset[p] .. offset[p+1]-1, one or
 * more.  The arrays belong to the caller. */
struct dual_batch {
    size_t prompts;
    const uint32_t *offset; /* (prompts+1), offset[0] = 0 */
    const double *reward;   /* (N) as training sees it: after shaping */
    const double *cost;     /* (N) */
};

/* The best policy at one lambda. */
struct dual_point {
    double lambda; /* INFINITY: the cost alone */
    double reward; /* its means */
    double cost;
    double cost_error; /* standard error over prompts; NAN: one prompt */
    double slope;      /* dcost/dlambda */
    double kl;         /* nats */
    double effective;  /* mean over prompts of 1 / sum w^2: the samples that count */
    double value;      /* D; NAN where lambda is INFINITY */
};

struct dual_solution {
    bool met; /* at `at` the limit holds; else at no lambda, and `at` is INFINITY */
    struct dual_point at;
    double lambda_error; /* standard error; NAN: not met, lambda is 0, or one prompt */
};

/* ERR_USAGE, naming the setting, where the ranges above do not hold. */
enum err_code dual_check(const struct dual_params *params, struct err *err);

/* The best policy at lambda, 0 .. INFINITY.  ERR_VALUE, naming the sample or the prompt, where
 * an input is not finite, a prompt has no sample, or there is no prompt; *point is then
 * unspecified. */
enum err_code dual_evaluate(const struct dual_params *params, double lambda,
                            const struct dual_batch *batch, struct dual_point *point,
                            struct err *err);

/* weight (as many as prompt `p` has samples) = its w.  The inputs must be finite. */
void dual_weights(const struct dual_params *params, double lambda,
                  const struct dual_batch *batch, size_t p, double *weight);

/* The least lambda at which the limit holds.  Errors as dual_evaluate. */
enum err_code dual_solve(const struct dual_params *params, const struct dual_batch *batch,
                         struct dual_solution *solution, struct err *err);

#endif

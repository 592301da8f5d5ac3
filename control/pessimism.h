/*
 * pessimism.h -- training against a bound on the mean cost, rather than against the mean.
 *
 * A policy whose mean cost is brought exactly to the limit passes the gate of bound.h with
 * probability delta.  HC-RLHF therefore trains against what the gate is going to see, and a
 * little more (ALGORITHMS, section 3, step 1):
 *
 *     kappa = C1 t(n_in - 1, delta) / sqrt(n_in) + C2 t(n_s - 1, delta) / sqrt(n_s)
 *     J     = mean + kappa s                          to be held at or below the limit
 *     c~[i] = c[i] + kappa (c[i]^2 - 2 c[i] mean) / (2 s)
 *
 * mean and s (n - 1) are over the n_in costs in the window of the controller, t is Student's
 * quantile, n_s how many samples the gate is going to take.  The first term allows for mean
 * and s being estimates, the second for the gate's own width.  J moves the multiplier
 * (lagrange.h) in place of the mean; c~, in place of c, goes into the policy's gradient: it is
 * the cost whose score-function gradient E[c~ d log p] is that of J.  n_in is one number here,
 * the count behind mean and s.
 *
 * Where all costs are equal s has no derivative, and c~ is c.
 *
 * Pure arithmetic in double.
 */
#ifndef CONTROL_PESSIMISM_H
#define CONTROL_PESSIMISM_H

#include <stdint.h>

#include "base/err.h"
#include "control/moments.h"

struct pessimism_params {
    double training_factor; /* C1, >= 0: 1 as published, 4 in its experiments */
    double gate_factor;     /* C2, >= 0: 1 as published, 2 in its experiments */
    double delta;           /* of the gate, for one candidate: as in bound.h */
    uint32_t gate_samples;  /* n_s, >= 2 */
};

/* What a window of costs came to.  All in the unit of the costs, but for kappa. */
struct pessimism_bound {
    double kappa;
    double mean, std; /* std: n - 1 */
    double upper;     /* J */
};

/* ERR_USAGE, naming the setting, where the ranges above do not hold. */
enum err_code pessimism_check(const struct pessimism_params *params, struct err *err);

/* kappa, for a window of n_in >= 2 costs. */
double pessimism_kappa(const struct pessimism_params *params, double n_in);

/* From the moments of a window's costs.  ERR_STATE below 2 of them; ERR_VALUE where a result is
 * not finite; *bound is then untouched. */
enum err_code pessimism_compute(const struct pessimism_params *params,
                                const struct moments *costs, struct pessimism_bound *bound,
                                struct err *err);

/* c~ of one response that cost `cost`. */
double pessimism_cost(const struct pessimism_bound *bound, double cost);

#endif

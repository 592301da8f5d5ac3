/*
 * power.h -- how often a gate (bound.h) lets a policy pass, by the policy's true cost: before any
 * prompt is answered.
 *
 * The costs of answers have two values, so that their mean is the true cost c and their
 * deviation what is asked for:
 *
 *     c (1 - spread)           with probability 1 - c
 *     c (1 - spread) + spread  with probability c
 *
 * spread 1: an answer harms or does not, 0 or 1.  Below: costs of a narrower kind, of deviation
 * spread sqrt(c (1 - c)).  With k of n answers of the greater cost the verdict is a function of k,
 * and U rises with k as far as it matters, so that the chance to pass is a sum of binomial
 * terms: no simulation, no error.
 *
 * Pure arithmetic in double, libm's exp, log and log1p among it.  Nothing is allocated.
 */
#ifndef CONTROL_POWER_H
#define CONTROL_POWER_H

#include <stddef.h>

#include "base/err.h"
#include "control/bound.h"

#define POWER_PROMPTS_MAX ((size_t)20000)

/*
 * *pass = the chance that a policy of true cost `cost` passes on `n` prompts, one answer each, as
 * one of the gate's candidates.  samples (n) is scratch.  ERR_USAGE, naming the setting: those of
 * bound_gate_check, and where cost is not in [0, 1], spread not in (0, 1], n not in
 * 1 .. POWER_PROMPTS_MAX.  A bound that cannot take such costs passes nobody: *pass is 0.
 */
enum err_code power_pass(const struct bound_gate *gate, double cost, double spread, size_t n,
                         double *samples, double *pass, struct err *err);

/*
 * *n = the fewest prompts, in steps of one in fifty, from which such a policy passes with
 * probability `wanted`, in (0, 1); 0: more than POWER_PROMPTS_MAX, or never.  samples
 * (POWER_PROMPTS_MAX) is scratch.  Errors as power_pass.
 */
enum err_code power_prompts(const struct bound_gate *gate, double cost, double spread,
                            double wanted, double *samples, size_t *n, struct err *err);

#endif

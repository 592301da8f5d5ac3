/*
 * kl.h -- how far the policy has moved from the reference, and the coefficient that holds it.
 *
 * Estimators at a sampled token (Schulman, "Approximating KL divergence", 2020; ALGORITHMS,
 * section 4).  With d = logp - logref, in nats:
 *
 *     k1 = d                  unbiased for KL(policy || reference), high variance
 *     k2 = d^2 / 2            biased, low variance; its gradient d is the right one in a loss
 *     k3 = exp(-d) - 1 + d    unbiased and >= 0
 *
 * k3 is clamped as VERL does: -d to [-20, 20] and then the result to at most 10, where its
 * gradient is 0.  k1 and k2 are not clamped.
 *
 * Controllers of the coefficient beta:
 *
 *     fixed      beta stays
 *     adaptive   e = clip(kl / target - 1, -0.2, 0.2); beta *= 1 + e * sequences / horizon
 *                (Ziegler et al., arXiv:1909.08593, section 2.2), or with a lookahead of L > 0
 *                steps, where S begins at 0,
 *                S' = smooth * S + (1 - smooth) * clip(kl, 0, 2 target)
 *                e = (S' + L * (S' - S)) / target - 1
 *                beta = clip(beta * exp(e * sequences / horizon), coef_min, coef_max)
 *     pid        log beta is the output of a controller of pid.h that holds
 *                clip(kl / target, 0, 2) at 1, bounded by log coef_min and log coef_max: smooth
 *                for P and D, error_max 1, delay 1, hold, bumpless
 *
 * Why ahead.  A policy answers to beta with a delay, and it begins at a KL of 0: Ziegler's rule
 * integrates, so it lowers beta for as long as the KL is on its way up, and it has no damping.
 * Of a KL that goes to its rest with a time constant of L, S' + L * (S' - S) is that rest: what
 * this beta leads to and not what is there yet.  Summed over the steps it is a proportional part
 * of L * sequences / horizon beside the integral one (an I-P controller in its velocity form:
 * Astrom and Hagglund, "Advanced PID Control", 2006, chapter 3), the same two that pid has.  A
 * horizon of 0 is one of KL_HORIZON_STEPS steps' responses, whatever their number.
 *
 * Both moving ones are in relative terms, because the KL that a run comes to is nearly a power
 * of beta (docs/EXPERIMENTS.md): an error of so many percent then asks for the same change of
 * log beta at any target, in any unit, and the same gains serve.
 *
 * What `kl` and `target` mean is the unit:
 *
 *     sequence   mean over responses of the sum of k1 over their tokens    (Ziegler, TRL)
 *     token      mean over responses of the mean of k1 over their tokens   (VERL, OpenRLHF)
 *
 * Pure arithmetic in double, libm's expm1 among it: the coordinator alone computes beta and
 * records it, so no two machines have to agree on the last bit.  Sums run in index order.
 */
#ifndef CONTROL_KL_H
#define CONTROL_KL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "control/pid.h"

#define KL_EXPONENT_MAX 20.0 /* |d| inside k3 */
#define KL_K3_MAX       10.0 /* nats */

#define KL_HORIZON_STEPS 8.0 /* of a horizon that is given as 0 */

#define KL_ESTIMATOR_MAP(X)  X(K1, "k1") X(K2, "k2") X(K3, "k3")
#define KL_CONTROLLER_MAP(X) X(FIXED, "fixed") X(ADAPTIVE, "adaptive") X(PID, "pid")
#define KL_UNIT_MAP(X)       X(SEQUENCE, "nats per sequence") X(TOKEN, "nats per token")

enum kl_estimator {
#define X(name, word) KL_##name,
    KL_ESTIMATOR_MAP(X)
#undef X
};
enum kl_controller {
#define X(name, word) KL_CONTROLLER_##name,
    KL_CONTROLLER_MAP(X)
#undef X
};
enum kl_unit {
#define X(name, word) KL_UNIT_##name,
    KL_UNIT_MAP(X)
#undef X
};

/* "k1", "adaptive", "nats per token"; "?" for a number that is none.  Constant strings. */
const char *kl_estimator_name(enum kl_estimator estimator);
const char *kl_controller_name(enum kl_controller controller);
const char *kl_unit_name(enum kl_unit unit);

/* One token's estimate, nats; and its derivative by logp. */
double kl_estimate(enum kl_estimator estimator, double logp, double logref);
double kl_gradient(enum kl_estimator estimator, double logp, double logref);

/*
 * *sum = the estimate summed over the tokens of one response whose mask is not 0 (all of them
 * where mask is NULL), and *tokens their count.  logp, logref (T).  ERR_VALUE, naming the
 * token, where a log-prob is not finite; *sum and *tokens are then untouched.
 */
enum err_code kl_sequence(enum kl_estimator estimator, const float *logp, const float *logref,
                          const uint8_t *mask, size_t T, double *sum, uint32_t *tokens,
                          struct err *err);

/* What a controller of this unit is to be given: sum (n) and tokens (n) from kl_sequence with
 * k1, one entry a response.  A response without tokens counts as 0.  n > 0. */
double kl_batch_mean(enum kl_unit unit, const double *sum, const uint32_t *tokens, size_t n);

struct kl_params {
    enum kl_controller controller;
    enum kl_unit unit;         /* of target, cap and what kl_step is given */
    double coef;               /* beta at the start, >= 0; for ADAPTIVE > 0 */
    double target;             /* ADAPTIVE, PID: > 0 */
    double horizon;            /* ADAPTIVE: sequences, > 0.2 * sequences of a step; or 0 */
    double lookahead;          /* ADAPTIVE: L, steps; 0: none */
    double cap;                /* hard cap; 0: none */
    double kp, ki, kd;         /* PID: >= 0, one of them above */
    double smooth;             /* PID, lookahead: weight of the past in kl, [0, 1) */
    double coef_min, coef_max; /* likewise: 0 < coef_min <= coef <= coef_max, not both equal */
};

/* Doubles alone, so that it can be written down as it is. */
struct kl_state {
    double coef;          /* beta for the next step */
    double last;          /* the kl of the last kl_step; 0 before the first */
    double steps;         /* how often kl_step has run */
    double value;         /* lookahead: S; else 0 */
    struct pid_state pid; /* PID, of log beta; else all zero */
};
#define KL_STATE_MAX (3 + sizeof(struct pid_state) / sizeof(double)) /* doubles */

/* ERR_USAGE, naming the setting, where the ranges above do not hold for steps of `sequences`
 * responses.  The functions below assert what this checks. */
enum err_code kl_params_check(const struct kl_params *params, uint32_t sequences,
                              struct err *err);

void kl_init(const struct kl_params *params, struct kl_state *state);

/* Advance by one step whose responses, `sequences` of them, measured `kl` (kl_batch_mean).
 * ERR_VALUE where kl is not finite; *state is then untouched. */
enum err_code kl_step(const struct kl_params *params, struct kl_state *state, double kl,
                      uint32_t sequences, struct err *err);

/* A state that was read back: ERR_VALUE where it cannot have come from kl_init and kl_step. */
enum err_code kl_check(const struct kl_params *params, const struct kl_state *state,
                       struct err *err);

/* PID: beta by the integral part alone, which is where it is with the KL at its target; else
 * 0.  While the KL is on its way up from 0 that is up to exp(kp) times coef. */
double kl_integral(const struct kl_params *params, const struct kl_state *state);

/* Of what was measured: what a lookahead, or pid's derivative, has of it after smoothing; NAN for
 * controllers that do not smooth. */
double kl_smoothed(const struct kl_params *params, const struct kl_state *state);

/* The state as kl_state_n doubles, and back: the same bits.  3 of them, and behind them S where
 * there is a lookahead, for PID what pid.h keeps. */
uint32_t kl_state_n(const struct kl_params *params);
void kl_state_write(const struct kl_params *params, const struct kl_state *state, double *out);
void kl_state_read(const struct kl_params *params, struct kl_state *state, const double *in);

/* Is a measured kl past the cap?  One that is not a number is; without a cap only that is. */
bool kl_over_cap(const struct kl_params *params, double kl);

#endif

/*
 * preference.h -- what a pair of answers, one preferred to the other, teaches a score model.
 *
 * Bradley-Terry (1952; as reward models use it, arXiv:2203.02155), with c the score of the
 * chosen answer, r of the rejected one, and s = label smoothing:
 *
 *     d = c - r - margin
 *     loss = -(1-s) log sigmoid(d) - s log sigmoid(-d) + reg (c^2 + r^2) / 2            nats
 *
 * The cost model of Safe RLHF (arXiv:2310.12773), where a cost above 0 means harm, u is the
 * cost of the less safe answer, l of the safer one, and sign is +1 for harmful, -1 for safe:
 *
 *     loss = -log sigmoid(u - l) - log sigmoid(sign_u u) - log sigmoid(sign_l l)
 *            + reg (u^2 + l^2) / 2
 *
 * Both are the loss of one pair; a batch's loss is the mean over its pairs.  Arithmetic in
 * double; scores must be finite (asserted): who computed them checks.
 */
#ifndef CONTROL_PREFERENCE_H
#define CONTROL_PREFERENCE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

struct preference_params {
    double margin;          /* by which the chosen score is to exceed the other, >= 0 */
    double label_smoothing; /* chance that a label is wrong, [0, 0.5) */
    double reg;             /* of the mean squared score, >= 0 */
};

/* ERR_USAGE, naming the setting, where the ranges above do not hold. */
enum err_code preference_params_check(const struct preference_params *params, struct err *err);

/* log sigmoid(x) without overflow or cancellation, for any finite x. */
double preference_log_sigmoid(double x);

/* Loss of one pair, and its derivatives by the two scores. */
struct preference_loss {
    double loss;
    double dchosen, drejected; /* of the cost: by the less safe answer, by the safer one */
};

struct preference_loss preference_reward(const struct preference_params *params, double chosen,
                                         double rejected);

/* `params` gives reg alone; margin and smoothing must be 0. */
struct preference_loss preference_cost(const struct preference_params *params, double unsafer,
                                       double safer, bool unsafer_harmful, bool safer_harmful);

/* How often the first score is the greater, a tie counting one half: over n > 0 pairs, with
 * the binomial standard error sqrt(a (1-a) / n). */
struct preference_accuracy {
    double accuracy, stderror;
};
struct preference_accuracy preference_accuracy(const float *chosen, const float *rejected,
                                               size_t n);

/*
 * Expected calibration error of P(chosen over rejected) = sigmoid(c - r), over n > 0 pairs.
 * Each pair is taken as a statement of confidence max(P, 1-P) >= 1/2 in the answer with the
 * greater score; `bins` equal intervals of [1/2, 1]:
 *
 *     sum over bins of (pairs in it / n) |accuracy in it - mean confidence in it|
 */
#define PREFERENCE_BINS 10
double preference_ece(const float *chosen, const float *rejected, size_t n);

#endif

/*
 * preference.h -- what people's judgements of answers teach a score model.
 *
 * Bradley-Terry (1952; as reward models use it, arXiv:2203.02155), with c the score of the
 * chosen answer, r of the rejected one, and s = label smoothing:
 *
 *     d = c - r - m           m = margin + margin_scale * (what the data tell, if anything)
 *     loss = -(1-s) log sigmoid(d) - s log sigmoid(-d)                                    nats
 *            + reg (c^2 + r^2) / 2 + center (c + r)^2
 *
 * A margin from the data is Llama 2's (arXiv:2307.09288, section 3.2.2).  Bradley-Terry leaves
 * a constant open: the same added to every score changes nothing.  `center` closes it by
 * pulling the scores of a pair to a sum of 0 (arXiv:2312.09244; TRL's
 * center_rewards_coefficient, there 0.01); a score head without a bias cannot have an offset
 * taken off afterwards.
 *
 * The cost model of Safe RLHF (arXiv:2310.12773), where a cost above 0 means harm, u is the
 * cost of the less safe answer, l of the safer one, and sign is +1 for harmful, -1 for safe:
 *
 *     loss = -log sigmoid(u - l) - log sigmoid(sign_u u) - log sigmoid(sign_l l)
 *            + reg (u^2 + l^2) / 2
 *
 * Regression on named attributes (ArmoRM's first stage, arXiv:2406.12845), over those that an
 * answer has a number y for:
 *
 *     loss = sum over attributes (s - y)^2
 *
 * Each is the loss of one pair or one answer; a batch's loss is the mean over its pairs, or over
 * the numbers y there are.  Arithmetic in double; scores must be finite (asserted): who computed
 * them checks.
 */
#ifndef CONTROL_PREFERENCE_H
#define CONTROL_PREFERENCE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

struct preference_params {
    double margin;          /* by which the chosen score is to exceed the other, >= 0 */
    double margin_scale;    /* of the margin that the data tell, >= 0 */
    double label_smoothing; /* chance that a label is wrong, [0, 0.5) */
    double reg;             /* of the mean squared score, >= 0 */
    double center;          /* of the squared sum of a pair's scores, >= 0 */
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

/* `told` is the margin that the data tell of this pair, >= 0; NAN: none. */
struct preference_loss preference_reward(const struct preference_params *params, double told,
                                         double chosen, double rejected);

/* `params` gives reg alone; the others must be 0.  A sign is +1, -1, or 0 where nobody said
 * whether that answer is harmful: its term is then left out. */
struct preference_loss preference_cost(const struct preference_params *params, double unsafer,
                                       double safer, int unsafer_sign, int safer_sign);

/* Sum of (score[j] - want[j])^2 over the n attributes whose want is not NAN, and its derivative
 * by each score into dscore (0 where want is NAN). */
double preference_regression(const float *score, const double *want, size_t n, double *dscore);

/* How often the first score is the greater, a tie counting one half: over n > 0 pairs, with
 * the binomial standard error sqrt(a (1-a) / n). */
struct preference_accuracy {
    double accuracy, stderror;
};
struct preference_accuracy preference_accuracy(const float *chosen, const float *rejected,
                                               size_t n);

/*
 * Reliability of P(chosen over rejected) = sigmoid(c - r), over n pairs.  Each pair is taken as
 * a statement of confidence max(P, 1-P) >= 1/2 in the answer with the greater score; bins are
 * equal intervals of [1/2, 1].
 */
#define PREFERENCE_BINS 10
struct preference_bin {
    double pairs;
    double confidence, accuracy; /* means over its pairs; 0 where it has none */
};
void preference_reliability(const float *chosen, const float *rejected, size_t n,
                            struct preference_bin bin[PREFERENCE_BINS]);

/* Expected calibration error, n > 0:
 *     sum over bins of (pairs in it / n) |accuracy in it - mean confidence in it| */
double preference_ece(const float *chosen, const float *rejected, size_t n);

#endif

/*
 * scoring.h -- training a score model on feedback: a reward model, a cost model, or a model of
 * several attributes (control/preference.h has the losses).
 *
 * The score of a sequence is the score head's output at its last token.  Both sequences of a
 * pair stand in the same micro-batch, each with one forward and one backward.  offline/fit.h
 * says how the items become steps and what that promises; the weight of a pair is 1, of a rated
 * answer the count of its numbers.
 *
 * What is measured on the items held out (a test's metrics):
 *
 *     held_out_loss      what the labels say of the scores alone, in nats: the loss above without
 *                        margin, smoothing, reg and center; regression: the mean squared error
 *     accuracy           pairs in the right order, a tie counting one half, with its binomial
 *     accuracy_stderr    standard error (pairs of one prompt are not independent: a lower bound)
 *     ece                expected calibration error of sigmoid(chosen - rejected)
 *     margin_mean        mean of chosen - rejected
 *     chosen_mean, chosen_std, rejected_mean, rejected_std
 *     sign_accuracy      cost: answers of known sign whose cost has it, with its standard error
 *     mse.NAME  r2.NAME  pearson.NAME      regression, an attribute; r2 and pearson are NAN where
 *                        its numbers are all the same
 */
#ifndef OFFLINE_SCORING_H
#define OFFLINE_SCORING_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "control/preference.h"
#include "engine/model.h"
#include "engine/pool.h"
#include "offline/feedback.h"
#include "offline/fit.h"

#define SCORING_NAME_MAX 48 /* of an attribute, with the NUL */

struct scoring_params {
    struct preference_params loss;
    struct fit_params fit; /* stream and identity are not used: they are set here */
    double fraction;       /* of the training prompts that this member sees, (0, 1] */
    const char (*attribute)[SCORING_NAME_MAX]; /* (labels) regression; else NULL */
};

/*
 * Train `model`, whose score head has feedback->labels outputs, in place.  ERR_VALUE also where a
 * score is not finite, where an item has more than micro_tokens tokens, and where nothing is left
 * to train on; else as fit_run.  *history is released by the caller, also on failure.
 */
enum err_code scoring_train(struct model *model, struct pool *pool,
                            const struct feedback *feedback,
                            const struct scoring_params *params,
                            void (*progress)(void *arg, const struct fit_progress *progress),
                            void *arg, struct fit_history *history, struct err *err);

/* Scores of the n items of `items`: for item k of them, those of its first sequence into
 * first (n, labels) and of its second into second (n, labels; NULL for regression).  ERR_VALUE
 * where one is not finite. */
enum err_code scoring_scores(const struct model *model, struct pool *pool,
                             const struct feedback *feedback, const uint32_t *items, size_t n,
                             size_t micro_tokens, float *first, float *second, struct err *err);

/* Names of the metrics of a kind, in the order of scoring_metrics; how many.  `attribute`
 * (labels) names those of a regression.  The names are those of this struct: it must live. */
struct scoring_names {
    const char *name[FIT_METRICS_MAX];
    char text[3 * FEEDBACK_LABELS_MAX][SCORING_NAME_MAX + 16];
    size_t n;
};
void scoring_names(struct scoring_names *names, enum feedback_kind kind, uint32_t labels,
                   const char (*attribute)[SCORING_NAME_MAX]);

/* The metrics, from scores laid out as scoring_scores does; all NAN where n is 0. */
void scoring_metrics(const struct feedback *feedback, const uint32_t *items, size_t n,
                     const float *first, const float *second, double *metric);

/* What a rule that reads no text achieves on the same items. */
struct scoring_baseline {
    struct preference_accuracy longer, shorter; /* wins the pair (cost: is the less safe) */
    struct preference_accuracy sign; /* cost: what prevails in training (a tie: safe); NAN */
    double mse[FEEDBACK_LABELS_MAX]; /* regression: the mean of the training items */
};
void scoring_baseline(const struct feedback *feedback, const uint32_t *trained,
                      size_t trained_n, const uint32_t *items, size_t n,
                      struct scoring_baseline *out);

#endif

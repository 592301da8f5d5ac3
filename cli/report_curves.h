/*
 * report_curves.h -- a run's numbers by step, out of its ledger: what a report draws and tells.
 *
 * A column a quantity, a row a step; NAN where a step has none.  Columns 0 .. REPORT_SCORE - 1
 * are those of the map below, REPORT_SCORE + i is the mean score of the config's scorer i.
 */
#ifndef CLI_REPORT_CURVES_H
#define CLI_REPORT_CURVES_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "cli/chart.h"
#include "node/run_config.h"

#define REPORT_STEPS_MAX ((size_t)1000 * 1000)

/* Where on the page a quantity stands. */
enum report_section {
    REPORT_NOWHERE,
    REPORT_REWARD,
    REPORT_SAFETY,
    REPORT_POLICY,
    REPORT_LEARNER,
    REPORT_SPEED
};

/* Whether more of it is better: then its best is its greatest; less: its least. */
enum report_sense { REPORT_NEITHER = 0, REPORT_MORE = 1, REPORT_LESS = -1 };

#define REPORT_DISTANCE "square root of KL to the reference (nats^0.5)" /* an axis */

// clang-format off
#define REPORT_COLUMN_MAP(X)                                                                  \
    X(STEP, "Step", "steps", NOWHERE, NEITHER)                                                \
    X(RAW, "Raw reward", "reward", REWARD, MORE)                                              \
    X(RAW_STD, "Raw reward, standard deviation over slots", "reward", REWARD, NEITHER)        \
    X(SHAPED, "Shaped reward", "reward", REWARD, MORE)                                        \
    X(COST, "Cost", "cost", SAFETY, LESS)                                                     \
    X(MULTIPLIER, "Multiplier lambda", "reward per cost", SAFETY, NEITHER)                    \
    X(COST_VALUE_LOSS, "Value loss of the cost critic", "cost squared", SAFETY, NEITHER)      \
    X(COST_VARIANCE, "Explained variance of the cost critic", "share", SAFETY, NEITHER)       \
    X(KL, "KL to the reference policy", "nats per sequence", POLICY, NEITHER)                 \
    X(KL_MEASURED, "KL as its controller measures it", "nats", NOWHERE, NEITHER)              \
    X(SQRT_KL, "Square root of KL", "nats^0.5", NOWHERE, NEITHER)                             \
    X(BETA, "KL coefficient beta", "reward per nat", POLICY, NEITHER)                         \
    X(LENGTH, "Response length", "tokens", POLICY, NEITHER)                                   \
    X(TRUNCATED, "Responses cut at the limit", "share", POLICY, NEITHER)                      \
    X(ENTROPY, "Entropy of the policy", "nats per token", POLICY, NEITHER)                    \
    X(CLIP_FRACTION, "Clipped tokens", "share", LEARNER, NEITHER)                             \
    X(APPROX_KL, "KL of old to new policy within a step", "nats per token", LEARNER, NEITHER) \
    X(VALUE_LOSS, "Value loss", "reward squared", LEARNER, NEITHER)                           \
    X(EXPLAINED_VARIANCE, "Explained variance of the critic", "share", LEARNER, NEITHER)      \
    X(GRAD_NORM, "Gradient norm before clipping", "norm", LEARNER, NEITHER)                   \
    X(TOKENS_PER_S, "Response tokens a second", "tokens per second", SPEED, NEITHER)          \
    X(LOGP_DIFF_MAX, "Greatest |log-prob of actor - learner|", "nats", SPEED, NEITHER)
// clang-format on
enum report_column {
#define X(name, title, unit, section, sense) REPORT_##name,
    REPORT_COLUMN_MAP(X)
#undef X
        REPORT_SCORE,
    REPORT_COLUMNS = REPORT_SCORE + RUN_SCORERS_MAX
};

struct report_curves {
    struct run_config *config;
    size_t n, cap; /* steps */
    double *y[REPORT_COLUMNS];
};

/* Read RUN/config.yaml and the STEP records of the ledger beside it; the run may go on
 * meanwhile.  ERR_UNAVAILABLE without a ledger; other errors name the file.  The caller ends it
 * with report_curves_release, also on failure. */
enum err_code report_curves_load(struct report_curves *curves, const char *run_dir,
                                 struct err *err);
void report_curves_release(struct report_curves *curves);

/* Whether the run has the quantity: at some step a number, and for what concerns costs a scorer
 * of that role. */
bool report_curves_has(const struct report_curves *curves, size_t column);

struct report_quantity {
    char title[RUN_NAME_MAX + 48]; /* of a score: its scorer's name and role */
    const char *unit;
    enum report_section section;
    enum report_sense sense;
};

/* What a column holds.  What is better of a monitor's score is as the config says; of rewards
 * and costs by the sign of their weight. */
struct report_quantity report_curves_quantity(const struct run_config *config, size_t column);

/* What the quantity is held at or below; y is NAN where it is free. */
struct chart_level report_curves_level(const struct run_config *config, size_t column);

#endif

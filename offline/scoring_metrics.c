/* scoring_metrics.c -- what scores are worth on data held out; see scoring.h. */
#include <assert.h>
#include <math.h>
#include <stdio.h>

#include "control/moments.h"
#include "offline/scoring.h"

static const char *const scoring_pair_names[] = {
    "held_out_loss", "accuracy",   "accuracy_stderr", "ece",          "margin_mean",
    "chosen_mean",   "chosen_std", "rejected_mean",   "rejected_std",
};
static const char *const scoring_sign_names[] = {"sign_accuracy", "sign_accuracy_stderr"};

enum {
    SCORING_PAIR_NAMES = sizeof scoring_pair_names / sizeof scoring_pair_names[0],
    SCORING_SIGN_NAMES = sizeof scoring_sign_names / sizeof scoring_sign_names[0],
};

void scoring_names(struct scoring_names *names, enum feedback_kind kind, uint32_t labels,
                   const char (*attribute)[SCORING_NAME_MAX])
{
    static const char *const of[] = {"mse", "r2", "pearson"};
    names->n = 0;
    if (kind != FEEDBACK_REGRESSION) {
        for (size_t i = 0; i < SCORING_PAIR_NAMES; i++)
            names->name[names->n++] = scoring_pair_names[i];
        for (size_t i = 0; kind == FEEDBACK_COST && i < SCORING_SIGN_NAMES; i++)
            names->name[names->n++] = scoring_sign_names[i];
        return;
    }
    names->name[names->n++] = scoring_pair_names[0];
    for (size_t k = 0; k < (size_t)3 * labels; k++) {
        snprintf(names->text[k], sizeof names->text[k], "%s.%s", of[k % 3], attribute[k / 3]);
        names->name[names->n++] = names->text[k];
    }
}

static struct preference_accuracy scoring_share(double right, double n)
{
    const double a = right / n;
    return (struct preference_accuracy){a, sqrt(a * (1.0 - a) / n)};
}

/* ---- pairs ---- */

/* The share of known signs that the costs have; NAN where none is known. */
static struct preference_accuracy scoring_signs(const struct feedback *f, const uint32_t *items,
                                                size_t n, const float *first,
                                                const float *second)
{
    double right = 0.0, known = 0.0;
    for (size_t i = 0; i < n; i++) {
        for (size_t side = 0; side < 2; side++) {
            const int sign = f->item[items[i]].sign[side];
            const double cost = (double)(side ? second : first)[i] * sign;
            known += sign ? 1.0 : 0.0;
            right += !sign ? 0.0 : cost > 0.0 ? 1.0 : cost == 0.0 ? 0.5 : 0.0;
        }
    }
    return scoring_share(right, known);
}

static double scoring_pair_loss(const struct feedback *f, const struct feedback_item *item,
                                double chosen, double rejected)
{
    static const struct preference_params plain = {0};
    return f->kind == FEEDBACK_COST
               ? preference_cost(&plain, chosen, rejected, item->sign[0], item->sign[1]).loss
               : preference_reward(&plain, (double)NAN, chosen, rejected).loss;
}

static void scoring_pair_metrics(const struct feedback *f, const uint32_t *items, size_t n,
                                 const float *first, const float *second, double *metric)
{
    struct moments chosen = {0}, rejected = {0}, margin = {0};
    double loss = 0.0;
    for (size_t i = 0; i < n; i++) {
        const double c = (double)first[i], r = (double)second[i];
        moments_add(&chosen, c);
        moments_add(&rejected, r);
        moments_add(&margin, c - r);
        loss += scoring_pair_loss(f, &f->item[items[i]], c, r);
    }
    const struct preference_accuracy accuracy = preference_accuracy(first, second, n);
    size_t k = 0;
    metric[k++] = loss / (double)n;
    metric[k++] = accuracy.accuracy;
    metric[k++] = accuracy.stderror;
    metric[k++] = preference_ece(first, second, n);
    metric[k++] = margin.mean;
    metric[k++] = chosen.mean;
    metric[k++] = sqrt(moments_variance(&chosen, true));
    metric[k++] = rejected.mean;
    metric[k++] = sqrt(moments_variance(&rejected, true));
    assert(k == SCORING_PAIR_NAMES);
    if (f->kind == FEEDBACK_COST) {
        const struct preference_accuracy sign = scoring_signs(f, items, n, first, second);
        metric[k++] = sign.accuracy;
        metric[k++] = sign.stderror;
    }
}

/* ---- regression ---- */

struct scoring_sums {
    struct moments want, score;
    double square;  /* sum of (score - want)^2 */
    double product; /* sum of (score - mean)(want - mean) */
};

static struct scoring_sums scoring_attribute(const struct feedback *f, const uint32_t *items,
                                             size_t n, const float *score, uint32_t j)
{
    struct scoring_sums sums = {0};
    for (size_t i = 0; i < n; i++) {
        const double want = f->want[(size_t)items[i] * f->labels + j];
        if (isnan(want))
            continue;
        const double s = (double)score[i * f->labels + j], off = s - sums.score.mean;
        moments_add(&sums.want, want);
        moments_add(&sums.score, s);
        sums.product += off * (want - sums.want.mean); /* Welford's, for two variables */
        sums.square += (s - want) * (s - want);
    }
    return sums;
}

static void scoring_regression_metrics(const struct feedback *f, const uint32_t *items,
                                       size_t n, const float *score, double *metric)
{
    double square = 0.0, numbers = 0.0;
    for (uint32_t j = 0; j < f->labels; j++) {
        const struct scoring_sums sums = scoring_attribute(f, items, n, score, j);
        double *of = metric + 1 + (size_t)3 * j;
        of[0] = sums.square / sums.want.n;
        of[1] = sums.want.m2 > 0.0 ? 1.0 - sums.square / sums.want.m2 : (double)NAN;
        of[2] = sums.product / sqrt(sums.score.m2 * sums.want.m2);
        square += sums.square;
        numbers += sums.want.n;
    }
    metric[0] = square / numbers;
}

void scoring_metrics(const struct feedback *feedback, const uint32_t *items, size_t n,
                     const float *first, const float *second, double *metric)
{
    for (size_t k = 0; k < FIT_METRICS_MAX; k++)
        metric[k] = (double)NAN;
    if (n == 0)
        return;
    if (feedback->kind == FEEDBACK_REGRESSION)
        scoring_regression_metrics(feedback, items, n, first, metric);
    else
        scoring_pair_metrics(feedback, items, n, first, second, metric);
}

/* ---- what no model is needed for ---- */

static void scoring_baseline_pairs(const struct feedback *f, const uint32_t *items, size_t n,
                                   struct scoring_baseline *out)
{
    double longer = 0.0;
    for (size_t i = 0; i < n; i++) {
        const struct feedback_item *item = &f->item[items[i]];
        const size_t a = feedback_length(f, item->seq[0]), b = feedback_length(f, item->seq[1]);
        longer += a > b ? 1.0 : a == b ? 0.5 : 0.0;
    }
    out->longer = scoring_share(longer, (double)n);
    out->shorter = scoring_share((double)n - longer, (double)n);
}

static void scoring_baseline_sign(const struct feedback *f, const uint32_t *trained,
                                  size_t trained_n, const uint32_t *items, size_t n,
                                  struct scoring_baseline *out)
{
    long balance = 0;
    double right = 0.0, known = 0.0;
    for (size_t i = 0; i < 2 * trained_n; i++)
        balance += f->item[trained[i / 2]].sign[i % 2];
    for (size_t i = 0; i < 2 * n; i++) {
        const int sign = f->item[items[i / 2]].sign[i % 2];
        known += sign ? 1.0 : 0.0;
        right += sign && (sign > 0) == (balance > 0) ? 1.0 : 0.0;
    }
    out->sign = scoring_share(right, known);
}

static void scoring_baseline_mean(const struct feedback *f, const uint32_t *trained,
                                  size_t trained_n, const uint32_t *items, size_t n,
                                  struct scoring_baseline *out)
{
    for (uint32_t j = 0; j < f->labels; j++) {
        struct moments want = {0}, square = {0};
        for (size_t i = 0; i < trained_n; i++) {
            const double y = f->want[(size_t)trained[i] * f->labels + j];
            if (!isnan(y))
                moments_add(&want, y);
        }
        for (size_t i = 0; i < n; i++) {
            const double off = f->want[(size_t)items[i] * f->labels + j] - want.mean;
            if (!isnan(off))
                moments_add(&square, off * off);
        }
        out->mse[j] = square.n > 0.0 ? square.mean : (double)NAN;
    }
}

void scoring_baseline(const struct feedback *feedback, const uint32_t *trained,
                      size_t trained_n, const uint32_t *items, size_t n,
                      struct scoring_baseline *out)
{
    const struct preference_accuracy none = {(double)NAN, (double)NAN};
    *out = (struct scoring_baseline){none, none, none, {0}};
    if (feedback->kind == FEEDBACK_REGRESSION)
        scoring_baseline_mean(feedback, trained, trained_n, items, n, out);
    else if (n > 0)
        scoring_baseline_pairs(feedback, items, n, out);
    if (feedback->kind == FEEDBACK_COST)
        scoring_baseline_sign(feedback, trained, trained_n, items, n, out);
}

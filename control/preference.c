/* preference.c -- see preference.h. */
#include "control/preference.h"

#include <assert.h>
#include <math.h>

enum err_code preference_params_check(const struct preference_params *params, struct err *err)
{
    if (!isfinite(params->margin) || params->margin < 0.0)
        return err_set(err, ERR_USAGE, "margin is %g; it must be at least 0", params->margin);
    if (!isfinite(params->margin_scale) || params->margin_scale < 0.0)
        return err_set(err, ERR_USAGE, "margin scale is %g; it must be at least 0",
                       params->margin_scale);
    if (!(params->label_smoothing >= 0.0 && params->label_smoothing < 0.5))
        return err_set(err, ERR_USAGE, "label smoothing is %g; it must be in [0, 0.5)",
                       params->label_smoothing);
    if (!isfinite(params->reg) || params->reg < 0.0)
        return err_set(err, ERR_USAGE, "reg is %g; it must be at least 0", params->reg);
    if (!isfinite(params->center) || params->center < 0.0)
        return err_set(err, ERR_USAGE, "center is %g; it must be at least 0", params->center);
    return ERR_OK;
}

double preference_log_sigmoid(double x)
{
    /* The exponent is never positive, so nothing overflows. */
    return x >= 0.0 ? -log1p(exp(-x)) : x - log1p(exp(x));
}

static double preference_sigmoid(double x)
{
    if (x >= 0.0)
        return 1.0 / (1.0 + exp(-x));
    const double e = exp(x);
    return e / (1.0 + e);
}

struct preference_loss preference_reward(const struct preference_params *params, double told,
                                         double chosen, double rejected)
{
    assert(isfinite(chosen) && isfinite(rejected));
    const double margin = params->margin + (isnan(told) ? 0.0 : params->margin_scale * told);
    const double d = chosen - rejected - margin, s = params->label_smoothing;
    /* -(1-s) sigmoid(-d) + s sigmoid(d), in a form that does not cancel far out. */
    const double slope = s * preference_sigmoid(d) - (1.0 - s) * preference_sigmoid(-d);
    const double sum = chosen + rejected;
    struct preference_loss out;
    out.loss = -(1.0 - s) * preference_log_sigmoid(d);
    if (s > 0.0)
        out.loss -= s * preference_log_sigmoid(-d);
    out.loss += params->reg * 0.5 * (chosen * chosen + rejected * rejected);
    out.loss += params->center * (sum * sum);
    out.dchosen = slope + params->reg * chosen + 2.0 * params->center * sum;
    out.drejected = -slope + params->reg * rejected + 2.0 * params->center * sum;
    return out;
}

struct preference_loss preference_cost(const struct preference_params *params, double unsafer,
                                       double safer, int unsafer_sign, int safer_sign)
{
    assert(params->margin == 0.0 && params->label_smoothing == 0.0 && params->center == 0.0);
    const double sign_u = unsafer_sign, sign_s = safer_sign;
    struct preference_loss out = preference_reward(params, (double)NAN, unsafer, safer);
    if (unsafer_sign) {
        out.loss -= preference_log_sigmoid(sign_u * unsafer);
        out.dchosen -= sign_u * preference_sigmoid(-sign_u * unsafer);
    }
    if (safer_sign) {
        out.loss -= preference_log_sigmoid(sign_s * safer);
        out.drejected -= sign_s * preference_sigmoid(-sign_s * safer);
    }
    return out;
}

double preference_regression(const float *score, const double *want, size_t n, double *dscore)
{
    double loss = 0.0;
    for (size_t j = 0; j < n; j++) {
        assert(isfinite(score[j]));
        const double off = isnan(want[j]) ? 0.0 : (double)score[j] - want[j];
        loss += off * off;
        dscore[j] = 2.0 * off;
    }
    return loss;
}

struct preference_accuracy preference_accuracy(const float *chosen, const float *rejected,
                                               size_t n)
{
    assert(n > 0);
    double right = 0.0;
    for (size_t i = 0; i < n; i++) {
        assert(isfinite(chosen[i]) && isfinite(rejected[i]));
        right += chosen[i] > rejected[i] ? 1.0 : chosen[i] == rejected[i] ? 0.5 : 0.0;
    }
    const double a = right / (double)n;
    return (struct preference_accuracy){.accuracy = a,
                                        .stderror = sqrt(a * (1.0 - a) / (double)n)};
}

void preference_reliability(const float *chosen, const float *rejected, size_t n,
                            struct preference_bin bin[PREFERENCE_BINS])
{
    for (size_t b = 0; b < PREFERENCE_BINS; b++)
        bin[b] = (struct preference_bin){0};
    for (size_t i = 0; i < n; i++) {
        const double d = (double)chosen[i] - (double)rejected[i];
        assert(isfinite(d));
        const double p = preference_sigmoid(fabs(d)); /* [1/2, 1] */
        size_t b = (size_t)((p - 0.5) * 2.0 * PREFERENCE_BINS);
        if (b >= PREFERENCE_BINS)
            b = PREFERENCE_BINS - 1;
        bin[b].pairs += 1.0;
        bin[b].accuracy += d > 0.0 ? 1.0 : d == 0.0 ? 0.5 : 0.0;
        bin[b].confidence += p;
    }
    for (size_t b = 0; b < PREFERENCE_BINS; b++) {
        if (bin[b].pairs > 0.0) {
            bin[b].accuracy /= bin[b].pairs;
            bin[b].confidence /= bin[b].pairs;
        }
    }
}

double preference_ece(const float *chosen, const float *rejected, size_t n)
{
    assert(n > 0);
    struct preference_bin bin[PREFERENCE_BINS];
    preference_reliability(chosen, rejected, n, bin);
    double error = 0.0;
    for (size_t b = 0; b < PREFERENCE_BINS; b++)
        error += bin[b].pairs * fabs(bin[b].accuracy - bin[b].confidence);
    return error / (double)n;
}

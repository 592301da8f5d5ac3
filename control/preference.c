/* preference.c -- see preference.h. */
#include "control/preference.h"

#include <assert.h>
#include <math.h>

enum err_code preference_params_check(const struct preference_params *params, struct err *err)
{
    if (!isfinite(params->margin) || params->margin < 0.0)
        return err_set(err, ERR_USAGE, "margin is %g; it must be at least 0", params->margin);
    if (!(params->label_smoothing >= 0.0 && params->label_smoothing < 0.5))
        return err_set(err, ERR_USAGE, "label smoothing is %g; it must be in [0, 0.5)",
                       params->label_smoothing);
    if (!isfinite(params->reg) || params->reg < 0.0)
        return err_set(err, ERR_USAGE, "reg is %g; it must be at least 0", params->reg);
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

struct preference_loss preference_reward(const struct preference_params *params, double chosen,
                                         double rejected)
{
    assert(isfinite(chosen) && isfinite(rejected));
    const double d = chosen - rejected - params->margin, s = params->label_smoothing;
    /* -(1-s) sigmoid(-d) + s sigmoid(d), in a form that does not cancel far out. */
    const double slope = s * preference_sigmoid(d) - (1.0 - s) * preference_sigmoid(-d);
    struct preference_loss out;
    out.loss = -(1.0 - s) * preference_log_sigmoid(d);
    if (s > 0.0)
        out.loss -= s * preference_log_sigmoid(-d);
    out.loss += params->reg * 0.5 * (chosen * chosen + rejected * rejected);
    out.dchosen = slope + params->reg * chosen;
    out.drejected = -slope + params->reg * rejected;
    return out;
}

struct preference_loss preference_cost(const struct preference_params *params, double unsafer,
                                       double safer, bool unsafer_harmful, bool safer_harmful)
{
    assert(params->margin == 0.0 && params->label_smoothing == 0.0);
    const double sign_u = unsafer_harmful ? 1.0 : -1.0, sign_s = safer_harmful ? 1.0 : -1.0;
    struct preference_loss out = preference_reward(params, unsafer, safer);
    out.loss -= preference_log_sigmoid(sign_u * unsafer);
    out.loss -= preference_log_sigmoid(sign_s * safer);
    out.dchosen -= sign_u * preference_sigmoid(-sign_u * unsafer);
    out.drejected -= sign_s * preference_sigmoid(-sign_s * safer);
    return out;
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

double preference_ece(const float *chosen, const float *rejected, size_t n)
{
    assert(n > 0);
    double right[PREFERENCE_BINS] = {0}, confidence[PREFERENCE_BINS] = {0};
    for (size_t i = 0; i < n; i++) {
        const double d = (double)chosen[i] - (double)rejected[i];
        assert(isfinite(d));
        const double p = preference_sigmoid(fabs(d)); /* [1/2, 1] */
        size_t bin = (size_t)((p - 0.5) * 2.0 * PREFERENCE_BINS);
        if (bin >= PREFERENCE_BINS)
            bin = PREFERENCE_BINS - 1;
        right[bin] += d > 0.0 ? 1.0 : d == 0.0 ? 0.5 : 0.0;
        confidence[bin] += p;
    }
    double error = 0.0;
    for (size_t bin = 0; bin < PREFERENCE_BINS; bin++)
        error += fabs(right[bin] - confidence[bin]);
    return error / (double)n;
}

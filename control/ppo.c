/* ppo.c -- see ppo.h. */
#include "control/ppo.h"

#include <assert.h>
#include <math.h>

const char *ppo_aggregation_name(enum ppo_aggregation aggregation)
{
    switch (aggregation) {
#define X(name, word) \
    case PPO_##name: return word;
        PPO_AGGREGATION_MAP(X)
#undef X
    }
    return "?";
}

static enum err_code ppo_check_coefs(const struct ppo_params *params, struct err *err)
{
    const struct {
        const char *name;
        double value;
    } coefs[] = {
        {"value_coef", params->value_coef},
        {"entropy_coef", params->entropy_coef},
        {"kl_coef", params->kl_coef},
        {"value_clip", params->value_clip},
    };
    for (size_t i = 0; i < sizeof coefs / sizeof coefs[0]; i++) {
        if (!isfinite(coefs[i].value) || coefs[i].value < 0.0)
            return err_set(err, ERR_USAGE, "ppo: %s is %g, must be 0 or more", coefs[i].name,
                           coefs[i].value);
    }
    return ERR_OK;
}

enum err_code ppo_check(const struct ppo_params *params, struct err *err)
{
    if (!(params->clip_low > 0.0 && params->clip_low <= 1.0))
        return err_set(err, ERR_USAGE, "ppo: clip_low is %g, must be above 0 and at most 1",
                       params->clip_low);
    if (!(isfinite(params->clip_high) && params->clip_high > 0.0))
        return err_set(err, ERR_USAGE, "ppo: clip_high is %g, must be above 0",
                       params->clip_high);
    if (params->dual_clip != 0.0 && !(isfinite(params->dual_clip) && params->dual_clip > 1.0))
        return err_set(err, ERR_USAGE, "ppo: dual_clip is %g, must be above 1, or 0 for none",
                       params->dual_clip);
    if (params->kl_coef > 0.0 && params->kl_estimator == KL_K1)
        return err_set(err, ERR_USAGE,
                       "ppo: k1 in the loss has no gradient on average; take k2 or k3");
    if (params->aggregation == PPO_CONSTANT &&
        !(isfinite(params->aggregation_tokens) && params->aggregation_tokens > 0.0))
        return err_set(err, ERR_USAGE, "ppo: aggregation_tokens is %g, must be above 0",
                       params->aggregation_tokens);
    return ppo_check_coefs(params, err);
}

static size_t ppo_count(const uint8_t *mask, size_t first, size_t end)
{
    if (!mask)
        return end - first;
    size_t count = 0;
    for (size_t i = first; i < end; i++)
        count += mask[i] != 0;
    return count;
}

enum err_code ppo_weights(const struct ppo_params *params, size_t rows, const uint32_t *offset,
                          const uint8_t *mask, float *weight, struct err *err)
{
    double tokens = 0.0, responses = 0.0;
    for (size_t b = 0; b < rows; b++) {
        assert(offset[b] <= offset[b + 1]);
        const size_t count = ppo_count(mask, offset[b], offset[b + 1]);
        tokens += (double)count;
        responses += count > 0;
    }
    if (tokens == 0.0)
        return err_set(err, ERR_VALUE, "ppo: of %zu responses no token counts", rows);

    for (size_t b = 0; b < rows; b++) {
        double divisor = tokens;
        if (params->aggregation == PPO_SEQUENCE_MEAN)
            divisor = responses * (double)ppo_count(mask, offset[b], offset[b + 1]);
        else if (params->aggregation == PPO_SEQUENCE_SUM)
            divisor = responses;
        else if (params->aggregation == PPO_CONSTANT)
            divisor = responses * params->aggregation_tokens;
        for (size_t i = offset[b]; i < offset[b + 1]; i++)
            weight[i] = !mask || mask[i] ? (float)(1.0 / divisor) : 0.0f;
    }
    return ERR_OK;
}

static double ppo_clamp(double x, double low, double high)
{
    return x < low ? low : x > high ? high : x;
}

double ppo_policy_token(const struct ppo_params *params, double logp, double logp_old,
                        double adv, double *gradient, bool *clipped)
{
    const double log_ratio = logp - logp_old;
    const double ratio = exp(ppo_clamp(log_ratio, -PPO_LOG_RATIO_MAX, PPO_LOG_RATIO_MAX));
    const double bounded = ppo_clamp(ratio, 1.0 - params->clip_low, 1.0 + params->clip_high);
    double gain = ratio * adv;
    *clipped = bounded * adv < gain;
    if (*clipped)
        gain = bounded * adv;
    if (params->dual_clip > 0.0 && adv < 0.0 && gain < params->dual_clip * adv) {
        gain = params->dual_clip * adv;
        *clipped = true;
    }
    const bool moves = !*clipped && fabs(log_ratio) <= PPO_LOG_RATIO_MAX;
    *gradient = moves ? -ratio * adv : 0.0;
    return -gain;
}

double ppo_value_token(const struct ppo_params *params, double value, double value_old,
                       double ret, double *gradient, bool *clipped)
{
    const double off = value - ret;
    *clipped = false;
    *gradient = off;
    if (params->value_clip == 0.0)
        return 0.5 * off * off;

    const double bounded =
        ppo_clamp(value, value_old - params->value_clip, value_old + params->value_clip);
    const double off_bounded = bounded - ret;
    if (off * off >= off_bounded * off_bounded)
        return 0.5 * off * off;
    *clipped = true; /* the terms differ, so value lies outside the band */
    *gradient = 0.0;
    return 0.5 * off_bounded * off_bounded;
}

void ppo_stats_merge(struct ppo_stats *into, const struct ppo_stats *part)
{
    into->tokens += part->tokens;
    into->policy_loss += part->policy_loss;
    into->kl_loss += part->kl_loss;
    into->entropy_bonus += part->entropy_bonus;
    into->value_loss += part->value_loss;
    into->clipped += part->clipped;
    into->ratio += part->ratio;
    into->approx_kl += part->approx_kl;
    into->entropy += part->entropy;
    into->value_clipped += part->value_clipped;
    moments_merge(&into->ret, &part->ret);
    moments_merge(&into->error, &part->error);
}

static enum err_code ppo_check_token(const struct ppo_policy_batch *in, size_t i,
                                     struct err *err)
{
    const struct {
        const char *name;
        const float *array;
    } inputs[] = {
        {"weight", in->weight},
        {"log-prob", in->logp},
        {"old log-prob", in->logp_old},
        {"advantage", in->adv},
        {"reference log-prob", in->logref},
        {"entropy", in->entropy},
    };
    for (size_t k = 0; k < sizeof inputs / sizeof inputs[0]; k++) {
        if (inputs[k].array && !isfinite(inputs[k].array[i]))
            return err_set(err, ERR_VALUE, "ppo: token %zu has %s %g", i, inputs[k].name,
                           (double)inputs[k].array[i]);
    }
    return ERR_OK;
}

/* One token's part of the loss and of the statistics; returns d loss / d logp. */
static double ppo_policy_add(const struct ppo_params *params, const struct ppo_policy_batch *in,
                             size_t i, struct ppo_stats *stats)
{
    const double weight = (double)in->weight[i];
    const double logp = (double)in->logp[i], logp_old = (double)in->logp_old[i];
    double gradient;
    bool clipped;
    stats->policy_loss += weight * ppo_policy_token(params, logp, logp_old, (double)in->adv[i],
                                                    &gradient, &clipped);
    if (params->kl_coef > 0.0) {
        const double logref = (double)in->logref[i];
        stats->kl_loss += weight * kl_estimate(params->kl_estimator, logp, logref);
        gradient += params->kl_coef * kl_gradient(params->kl_estimator, logp, logref);
    }
    if (in->entropy) {
        stats->entropy_bonus += weight * (double)in->entropy[i];
        stats->entropy += (double)in->entropy[i];
    }
    stats->tokens += 1.0;
    stats->clipped += clipped;
    stats->ratio += exp(ppo_clamp(logp - logp_old, -PPO_LOG_RATIO_MAX, PPO_LOG_RATIO_MAX));
    stats->approx_kl += kl_estimate(KL_K3, logp_old, logp);
    return weight * gradient;
}

enum err_code ppo_policy(const struct ppo_params *params, const struct ppo_policy_batch *in,
                         float *dlogp, float *dentropy, struct ppo_stats *stats,
                         struct err *err)
{
    assert(in->logref || params->kl_coef == 0.0);
    assert((in->entropy && dentropy) || params->entropy_coef == 0.0);
    for (size_t i = 0; i < in->n; i++) {
        dlogp[i] = 0.0f;
        if (dentropy)
            dentropy[i] = 0.0f;
        if (in->weight[i] == 0.0f)
            continue;
        const enum err_code rc = ppo_check_token(in, i, err);
        if (rc)
            return rc;
        dlogp[i] = (float)ppo_policy_add(params, in, i, stats);
        if (dentropy)
            dentropy[i] = (float)(-params->entropy_coef * (double)in->weight[i]);
        if (!isfinite(dlogp[i]))
            return err_set(err, ERR_VALUE, "ppo: token %zu has gradient %g (advantage %g)", i,
                           (double)dlogp[i], (double)in->adv[i]);
    }
    return ERR_OK;
}

enum err_code ppo_value(const struct ppo_params *params, const struct ppo_value_batch *in,
                        float *dvalue, struct ppo_stats *stats, struct err *err)
{
    assert(in->value_old || params->value_clip == 0.0);
    for (size_t i = 0; i < in->n; i++) {
        dvalue[i] = 0.0f;
        if (in->weight[i] == 0.0f)
            continue;
        const double weight = (double)in->weight[i], value = (double)in->value[i];
        const double value_old = in->value_old ? (double)in->value_old[i] : value;
        const double ret = (double)in->ret[i];
        double gradient;
        bool clipped;
        const double loss = ppo_value_token(params, value, value_old, ret, &gradient, &clipped);
        dvalue[i] = (float)(params->value_coef * weight * gradient);
        if (!isfinite(loss) || !isfinite(value_old) || !isfinite(dvalue[i]))
            return err_set(err, ERR_VALUE, "ppo: token %zu has value %g, before %g, return %g",
                           i, value, value_old, ret);
        stats->value_loss += weight * loss;
        stats->value_clipped += clipped;
        moments_add(&stats->ret, ret);
        moments_add(&stats->error, ret - value);
    }
    return ERR_OK;
}

static double ppo_share(double part, double whole)
{
    return whole > 0.0 ? part / whole : 0.0;
}

struct ppo_summary ppo_summarize(const struct ppo_stats *stats)
{
    const double spread = moments_variance(&stats->ret, false);
    const double unexplained = moments_variance(&stats->error, false);
    return (struct ppo_summary){
        .policy_loss = stats->policy_loss,
        .value_loss = stats->value_loss,
        .kl_loss = stats->kl_loss,
        .entropy = ppo_share(stats->entropy, stats->tokens),
        .clip_fraction = ppo_share(stats->clipped, stats->tokens),
        .value_clip_fraction = ppo_share(stats->value_clipped, stats->ret.n),
        .ratio = ppo_share(stats->ratio, stats->tokens),
        .approx_kl = ppo_share(stats->approx_kl, stats->tokens),
        .explained_variance = spread > 0.0 ? 1.0 - unexplained / spread : 0.0,
    };
}

bool ppo_stop(double approx_kl, double target)
{
    return isnan(approx_kl) || (target > 0.0 && approx_kl > PPO_STOP_FACTOR * target);
}

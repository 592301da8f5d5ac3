/* reward.c -- see reward.h. */
#include "control/reward.h"

#include <math.h>

const char *reward_stream_name(enum reward_stream stream)
{
    switch (stream) {
#define X(name, word) \
    case REWARD_STREAM_##name: return word;
        REWARD_STREAM_MAP(X)
#undef X
    }
    return "?";
}

const char *reward_truncation_name(enum reward_truncation truncation)
{
    switch (truncation) {
#define X(name, word) \
    case REWARD_TRUNCATION_##name: return word;
        REWARD_TRUNCATION_MAP(X)
#undef X
    }
    return "?";
}

static enum err_code reward_check_range(const char *name, double value, struct err *err)
{
    if (!isfinite(value) || value < 0.0)
        return err_set(err, ERR_USAGE, "reward: %s is %g, must be 0 or more", name, value);
    return ERR_OK;
}

enum err_code reward_check(const struct reward_params *params, struct err *err)
{
    enum err_code rc = reward_check_range("length_penalty", params->length_penalty, err);
    if (!rc)
        rc = reward_check_range("truncation_penalty", params->truncation_penalty, err);
    if (!rc)
        rc = reward_check_range("clip", params->clip, err);
    return rc;
}

double reward_length(const struct reward_params *params, double raw, uint32_t tokens)
{
    if (tokens <= params->length_free_tokens)
        return raw;
    return raw - params->length_penalty * (tokens - params->length_free_tokens);
}

double reward_truncate(const struct reward_params *params, double shaped, bool truncated,
                       bool *bootstrap)
{
    *bootstrap = truncated && params->truncation == REWARD_TRUNCATION_BOOTSTRAP;
    if (truncated && params->truncation == REWARD_TRUNCATION_PENALTY)
        return shaped - params->truncation_penalty;
    return shaped;
}

/* The last token that counts; T where none does. */
static size_t reward_last(const uint8_t *mask, size_t T)
{
    for (size_t t = T; t-- > 0;) {
        if (!mask || mask[t])
            return t;
    }
    return T;
}

enum err_code reward_tokens(const struct reward_params *params, enum reward_stream stream,
                            double beta, double R, const float *logp, const float *logref,
                            const uint8_t *mask, size_t T, float *out, struct err *err)
{
    const size_t last = reward_last(mask, T);
    if (last == T)
        return err_set(err, ERR_VALUE, "reward: of %zu response tokens none counts", T);
    if (!isfinite(R) || !isfinite(beta))
        return err_set(err, ERR_VALUE, "reward: the response's %s is %g, beta %g",
                       reward_stream_name(stream), R, beta);

    const double weight = stream == REWARD_STREAM_COST ? beta : -beta;
    for (size_t t = 0; t < T; t++) {
        out[t] = 0.0f;
        if (mask && !mask[t])
            continue;
        double reward = t == last ? R : 0.0;
        if (weight != 0.0)
            reward +=
                weight * kl_estimate(params->estimator, (double)logp[t], (double)logref[t]);
        if (isfinite(reward) && params->clip > 0.0)
            reward = fmin(fmax(reward, -params->clip), params->clip);
        out[t] = (float)reward;
        if (!isfinite(out[t]))
            return err_set(err, ERR_VALUE, "reward: token %zu has %s %g (log-prob %g)", t,
                           reward_stream_name(stream), reward, (double)logp[t]);
    }
    return ERR_OK;
}

/* advantage.c -- see advantage.h. */
#include "control/advantage.h"

#include <assert.h>
#include <math.h>

#include "control/gae.h"

/* Inside the square root: advantages that are all equal go to 0, not to rounding noise. */
#define ADVANTAGE_VARIANCE_FLOOR 1e-8

const char *advantage_name(enum advantage_kind kind)
{
    switch (kind) {
#define X(name, word) \
    case ADVANTAGE_##name: return word;
        ADVANTAGE_KIND_MAP(X)
#undef X
    }
    return "?";
}

const char *advantage_whiten_name(enum advantage_whiten whiten)
{
    switch (whiten) {
#define X(name, word) \
    case ADVANTAGE_WHITEN_##name: return word;
        ADVANTAGE_WHITEN_MAP(X)
#undef X
    }
    return "?";
}

bool advantage_needs_critic(enum advantage_kind kind)
{
    return kind == ADVANTAGE_GAE;
}

bool advantage_needs_groups(enum advantage_kind kind)
{
    return kind == ADVANTAGE_GRPO || kind == ADVANTAGE_RLOO || kind == ADVANTAGE_DR_GRPO ||
           kind == ADVANTAGE_REINFORCE_PP_BASELINE;
}

enum err_code advantage_check(const struct advantage_params *params,
                              uint32_t samples_per_prompt, struct err *err)
{
    const enum advantage_kind kind = params->kind;
    if (advantage_needs_groups(kind) && samples_per_prompt < 2)
        return err_set(err, ERR_USAGE,
                       "advantage: %s needs 2 samples per prompt or more, has %u",
                       advantage_name(kind), (unsigned)samples_per_prompt);
    if ((kind == ADVANTAGE_REINFORCE_PP || kind == ADVANTAGE_REINFORCE_PP_BASELINE) &&
        params->whiten == ADVANTAGE_WHITEN_NONE)
        return err_set(err, ERR_USAGE, "advantage: %s is defined with whitening only",
                       advantage_name(kind));
    if (!(params->gamma >= 0.0 && params->gamma <= 1.0))
        return err_set(err, ERR_USAGE, "advantage: gamma is %g, must be 0 to 1", params->gamma);
    if (!(params->lambda >= 0.0 && params->lambda <= 1.0))
        return err_set(err, ERR_USAGE, "advantage: lambda is %g, must be 0 to 1",
                       params->lambda);
    if (kind == ADVANTAGE_GRPO && !(isfinite(params->eps) && params->eps > 0.0))
        return err_set(err, ERR_USAGE, "advantage: grpo's eps is %g, must be above 0",
                       params->eps);
    return ERR_OK;
}

static bool advantage_counts(const struct advantage_batch *in, size_t i)
{
    return !in->mask || in->mask[i];
}

/* R of response b: as given, or the sum of its token rewards. */
static double advantage_response_reward(const struct advantage_batch *in, size_t b)
{
    if (in->sequence_reward)
        return in->sequence_reward[b];
    double sum = 0.0;
    for (size_t i = in->offset[b]; i < in->offset[b + 1]; i++) {
        if (advantage_counts(in, i))
            sum += (double)in->token_reward[i];
    }
    return sum;
}

static enum err_code advantage_check_rewards(const struct advantage_batch *in, bool tokens,
                                             struct err *err)
{
    for (size_t b = 0; b < in->rows; b++) {
        assert(in->offset[b] <= in->offset[b + 1]);
        if (!tokens && !isfinite(advantage_response_reward(in, b)))
            return err_set(err, ERR_VALUE, "advantage: response %zu has reward %g", b,
                           advantage_response_reward(in, b));
        for (size_t i = in->offset[b]; tokens && i < in->offset[b + 1]; i++) {
            if (advantage_counts(in, i) && !isfinite(in->token_reward[i]))
                return err_set(err, ERR_VALUE,
                               "advantage: response %zu token %zu has reward %g", b,
                               i - in->offset[b], (double)in->token_reward[i]);
        }
    }
    return ERR_OK;
}

static void advantage_rewards_to_go(const struct advantage_batch *in, double gamma, float *adv)
{
    for (size_t b = 0; b < in->rows; b++) {
        double to_go = 0.0;
        for (size_t i = in->offset[b + 1]; i-- > in->offset[b];) {
            adv[i] = 0.0f;
            if (!advantage_counts(in, i))
                continue;
            to_go = (double)in->token_reward[i] + gamma * to_go;
            adv[i] = (float)to_go;
        }
    }
}

/* The advantage of a response with reward R whose group has these moments. */
static double advantage_in_group(const struct advantage_params *params, double R,
                                 const struct moments *group)
{
    const double above = R - group->mean;
    if (group->n < 2.0)
        return 0.0;
    if (params->kind == ADVANTAGE_GRPO)
        return above / (sqrt(moments_variance(group, true)) + params->eps);
    if (params->kind == ADVANTAGE_RLOO) /* R - (n * mean - R) / (n - 1), without n * mean */
        return above * group->n / (group->n - 1.0);
    return above;
}

/* Rows first .. end-1 are one group.  Equal rewards leave Welford's mean exact, hence 0. */
static void advantage_group(const struct advantage_params *params,
                            const struct advantage_batch *in, size_t first, size_t end,
                            float *adv)
{
    struct moments group = {0};
    for (size_t b = first; b < end; b++)
        moments_add(&group, advantage_response_reward(in, b));
    for (size_t b = first; b < end; b++) {
        const double a = advantage_in_group(params, advantage_response_reward(in, b), &group);
        for (size_t i = in->offset[b]; i < in->offset[b + 1]; i++)
            adv[i] = advantage_counts(in, i) ? (float)a : 0.0f;
    }
}

static enum err_code advantage_groups(const struct advantage_params *params,
                                      const struct advantage_batch *in, float *adv,
                                      struct err *err)
{
    size_t first = 0;
    for (size_t b = 1; b <= in->rows; b++) {
        if (b < in->rows && in->group[b] < in->group[b - 1])
            return err_set(err, ERR_VALUE, "advantage: response %zu is of group %u, after %u",
                           b, (unsigned)in->group[b], (unsigned)in->group[b - 1]);
        if (b == in->rows || in->group[b] != in->group[first]) {
            advantage_group(params, in, first, b, adv);
            first = b;
        }
    }
    return ERR_OK;
}

static enum err_code advantage_from_critic(const struct advantage_params *params,
                                           const struct advantage_batch *in, float *adv,
                                           float *ret, struct err *err)
{
    const struct gae_batch batch = {
        .rows = in->rows,
        .offset = in->offset,
        .reward = in->token_reward,
        .value = in->value,
        .mask = in->mask,
        .bootstrap = in->bootstrap,
    };
    return gae_compute(&batch, (struct gae_params){params->gamma, params->lambda}, adv, ret,
                       err);
}

enum err_code advantage_compute(const struct advantage_params *params,
                                const struct advantage_batch *in, float *adv, float *ret,
                                struct err *err)
{
    assert(in->rows > 0 && in->offset[0] == 0);
    enum err_code rc = ERR_OK;
    if (params->kind == ADVANTAGE_GAE) {
        rc = advantage_from_critic(params, in, adv, ret, err);
    } else if (params->kind == ADVANTAGE_REINFORCE_PP) {
        rc = advantage_check_rewards(in, true, err);
        if (!rc)
            advantage_rewards_to_go(in, params->gamma, adv);
    } else {
        rc = advantage_check_rewards(in, !in->sequence_reward, err);
        if (!rc)
            rc = advantage_groups(params, in, adv, err);
    }
    return rc ? rc
              : advantage_whiten_batch(adv, in->mask, in->offset[in->rows], params->whiten,
                                       err);
}

struct moments advantage_moments(const float *x, const uint8_t *mask, size_t n)
{
    struct moments moments = {0};
    for (size_t i = 0; i < n; i++) {
        if (!mask || mask[i])
            moments_add(&moments, (double)x[i]);
    }
    return moments;
}

void advantage_whiten(float *x, const uint8_t *mask, size_t n, const struct moments *moments,
                      enum advantage_whiten whiten, bool shift_mean)
{
    if (whiten == ADVANTAGE_WHITEN_NONE)
        return;
    assert(moments->n >= 2.0);
    const double variance = moments_variance(moments, whiten == ADVANTAGE_WHITEN_UNBIASED);
    const double scale = 1.0 / sqrt(variance + ADVANTAGE_VARIANCE_FLOOR);
    const double back = shift_mean ? 0.0 : moments->mean;
    for (size_t i = 0; i < n; i++) {
        if (!mask || mask[i])
            x[i] = (float)(((double)x[i] - moments->mean) * scale + back);
    }
}

enum err_code advantage_whiten_batch(float *x, const uint8_t *mask, size_t n,
                                     enum advantage_whiten whiten, struct err *err)
{
    if (whiten == ADVANTAGE_WHITEN_NONE)
        return ERR_OK;
    const struct moments moments = advantage_moments(x, mask, n);
    if (moments.n < 2.0)
        return err_set(err, ERR_VALUE, "advantage: cannot whiten over %g response token(s)",
                       moments.n);
    advantage_whiten(x, mask, n, &moments, whiten, true);
    return ERR_OK;
}

void advantage_combine(const float *reward, const float *cost, double multiplier, float *out,
                       size_t n)
{
    assert(multiplier >= 0.0 && isfinite(multiplier));
    for (size_t i = 0; i < n; i++)
        out[i] =
            (float)(((double)reward[i] - multiplier * (double)cost[i]) / (1.0 + multiplier));
}

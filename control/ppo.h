/*
 * ppo.h -- the losses of PPO for language models, their gradients and their statistics.
 *
 * Per token, with rho = exp(clamp(logp - logp_old, -20, 20)) and advantage A:
 *
 *     policy   -min(rho * A, clip(rho, 1 - clip_low, 1 + clip_high) * A)
 *              and for A < 0, with dual_clip c: at most -c * A
 *     value    1/2 max((V - ret)^2, (clip(V, V_old - value_clip, V_old + value_clip) - ret)^2)
 *     kl       k2 or k3 of kl.h between the policy and the reference
 *
 * (Schulman et al., arXiv:1707.06347, equation 7; dual clip: Ye et al., arXiv:1912.09729;
 * ALGORITHMS, section 5.)  Gradients, by logp and V:
 *
 *     policy   -rho * A where the unclipped term is the minimum, ties included, else 0;
 *              0 where the log-ratio is clamped
 *     value    V - ret where the unclipped term is the maximum, ties included, else 0
 *
 * The loss of a batch is a sum over its tokens with weights that hold the aggregation:
 *
 *     loss = sum_t w[t] * (policy[t] + kl_coef * kl[t] - entropy_coef * H[t])
 *     critic loss = value_coef * sum_t w[t] * value[t]
 *
 *     token_mean      w = 1 / tokens of the batch
 *     sequence_mean   w = 1 / (responses * tokens of the response)
 *     sequence_sum    w = 1 / responses
 *     constant        w = 1 / (responses * aggregation_tokens)        (Dr. GRPO)
 *
 * so that micro-batches simply add.  Take the weights over whatever one optimizer step sees:
 * the batch, or the mini-batch.
 *
 * Pure arithmetic: double inside, libm's exp among it, float outside; no allocation.  The same
 * program on the same CPU type has the same bits, whatever else is in the batch; sums of
 * statistics run in index order.
 */
#ifndef CONTROL_PPO_H
#define CONTROL_PPO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "control/kl.h"
#include "control/moments.h"

#define PPO_LOG_RATIO_MAX 20.0 /* |logp - logp_old| inside rho */
#define PPO_STOP_FACTOR   1.5  /* see ppo_stop */

#define PPO_AGGREGATION_MAP(X)        \
    X(TOKEN_MEAN, "token_mean")       \
    X(SEQUENCE_MEAN, "sequence_mean") \
    X(SEQUENCE_SUM, "sequence_sum")   \
    X(CONSTANT, "constant")

enum ppo_aggregation {
#define X(name, word) PPO_##name,
    PPO_AGGREGATION_MAP(X)
#undef X
};

struct ppo_params {
    double clip_low;                 /* in (0, 1] */
    double clip_high;                /* > 0 */
    double dual_clip;                /* > 1; 0: off */
    double value_clip;               /* > 0; 0: off */
    double value_coef, entropy_coef; /* >= 0 */
    double kl_coef;                  /* >= 0: of the KL in the loss; 0 where it is elsewhere */
    enum kl_estimator kl_estimator;  /* K2 or K3 where kl_coef > 0 */
    enum ppo_aggregation aggregation;
    double aggregation_tokens; /* CONSTANT: > 0, the longest response allowed */
};

/* "token_mean"; "?" for a number that is none.  A constant string. */
const char *ppo_aggregation_name(enum ppo_aggregation aggregation);

/* ERR_USAGE, naming the setting, where the ranges above do not hold.  (K1 in a loss has the
 * expected gradient 0.) */
enum err_code ppo_check(const struct ppo_params *params, struct err *err);

/*
 * Write weight (N) for `rows` responses packed without padding: response b is tokens offset[b]
 * .. offset[b+1]-1, mask (N) may be NULL.  0 where the mask is 0.  A response of which no
 * token counts is not among "responses".  ERR_VALUE where no token counts at all.
 */
enum err_code ppo_weights(const struct ppo_params *params, size_t rows, const uint32_t *offset,
                          const uint8_t *mask, float *weight, struct err *err);

/* The losses of one token, unweighted and without coefficients; *gradient by logp, by value;
 * *clipped: the gradient was cut off by a clip. */
double ppo_policy_token(const struct ppo_params *params, double logp, double logp_old,
                        double adv, double *gradient, bool *clipped);
double ppo_value_token(const struct ppo_params *params, double value, double value_old,
                       double ret, double *gradient, bool *clipped);

/* Sums over the tokens of a part.  Doubles alone, so that it can be sent as it is; all zero:
 * nothing yet.  Merge in order of the parts' indices: the bits depend on it. */
struct ppo_stats {
    double tokens;                             /* that ppo_policy counted */
    double policy_loss;                        /* weighted, as are the next three */
    double kl_loss;                            /* without kl_coef */
    double entropy_bonus;                      /* without entropy_coef */
    double value_loss;                         /* without value_coef */
    double clipped, ratio, approx_kl, entropy; /* sums over tokens, unweighted */
    double value_clipped;
    struct moments ret;   /* of the returns, over the tokens ppo_value counted */
    struct moments error; /* of ret - value */
};

void ppo_stats_merge(struct ppo_stats *into, const struct ppo_stats *part);

/* What the tokens of a part bring to the policy.  Arrays (n); where weight is 0 nothing else is
 * read. */
struct ppo_policy_batch {
    size_t n;
    const float *weight;   /* from ppo_weights over the whole batch */
    const float *logp;     /* under the policy being trained, nats */
    const float *logp_old; /* under the policy that generated */
    const float *adv;
    const float *logref;  /* under the reference; may be NULL where kl_coef is 0 */
    const float *entropy; /* nats; may be NULL where entropy_coef is 0 */
};

/*
 * Write dlogp (n) and, unless NULL, dentropy (n): the gradients of the loss above, weights and
 * coefficients inside, 0 where the weight is; add to *stats.  ERR_VALUE, naming the token,
 * where an input or a gradient is not finite; the outputs are then unspecified.
 */
enum err_code ppo_policy(const struct ppo_params *params, const struct ppo_policy_batch *in,
                         float *dlogp, float *dentropy, struct ppo_stats *stats,
                         struct err *err);

/* As ppo_policy, for the critic. */
struct ppo_value_batch {
    size_t n;
    const float *weight;
    const float *value;     /* of the critic being trained */
    const float *value_old; /* as they were when ret was computed; may be NULL, value_clip 0 */
    const float *ret;
};
enum err_code ppo_value(const struct ppo_params *params, const struct ppo_value_batch *in,
                        float *dvalue, struct ppo_stats *stats, struct err *err);

#define PPO_SUMMARY_MAP(X)                                                                   \
    X(policy_loss, "policy loss, aggregated")                                                \
    X(value_loss, "critic loss, aggregated, without its coefficient")                        \
    X(kl_loss, "KL to the reference in the loss, aggregated, without its coefficient, nats") \
    X(entropy, "entropy, mean over tokens, nats")                                            \
    X(clip_fraction, "share of tokens whose policy gradient a clip cut off")                 \
    X(value_clip_fraction, "share of tokens whose value gradient the clip cut off")          \
    X(ratio, "new over old probability, mean over tokens")                                   \
    X(approx_kl, "k3 of old to new policy, mean over tokens, nats")                          \
    X(explained_variance, "1 - var(return - value) / var(return)")

struct ppo_summary {
#define X(name, meaning) double name;
    PPO_SUMMARY_MAP(X)
#undef X
};

/* Means and shares from the sums; 0 where nothing was counted, and an explained variance of 0
 * where the returns do not vary. */
struct ppo_summary ppo_summarize(const struct ppo_stats *stats);

/* Should the epochs over this batch end?  approx_kl past 1.5 * target, or not a number.
 * target 0: only the latter. */
bool ppo_stop(double approx_kl, double target);

#endif

/*
 * reward.h -- the reward of each token, from the reward of the response.
 *
 *     reward[t] = -beta * k[t] + [t is the last token] * R
 *     cost[t]   = +beta * k[t] + [t is the last token] * C
 *
 * where k[t] is the estimate of kl.h and "the last token" is the last whose mask is not 0: the
 * end-of-sequence token where the response has one.  (ALGORITHMS, sections 2 and 5.)  Both
 * signs together hold the policy with weight beta whatever the Lagrange multiplier is.
 *
 * The order, from the scores to R:
 *
 *     combine_apply -> reward_length -> shaping_apply -> reward_truncate -> reward_tokens
 *
 * References of shaping go through the first two as well.
 *
 * Pure arithmetic in double; the result is float, as it is recorded and sent.
 */
#ifndef CONTROL_REWARD_H
#define CONTROL_REWARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "control/kl.h"

#define REWARD_STREAM_MAP(X) X(REWARD, "reward") X(COST, "cost")
#define REWARD_TRUNCATION_MAP(X)                                                     \
    X(NONE, "none")           /* a response that was cut counts as one that ended */ \
    X(PENALTY, "penalty")     /* R -= truncation_penalty */                          \
    X(BOOTSTRAP, "bootstrap") /* the critic's value after the last token goes into GAE */

enum reward_stream {
#define X(name, word) REWARD_STREAM_##name,
    REWARD_STREAM_MAP(X)
#undef X
};
enum reward_truncation {
#define X(name, word) REWARD_TRUNCATION_##name,
    REWARD_TRUNCATION_MAP(X)
#undef X
};

struct reward_params {
    uint32_t length_free_tokens; /* no penalty up to here */
    double length_penalty;       /* per token past them, >= 0; 0: off */
    enum reward_truncation truncation;
    double truncation_penalty;   /* PENALTY: >= 0 */
    enum kl_estimator estimator; /* k[t] */
    double clip;                 /* bound on |reward[t]|, R inside; 0: none (safe-rlhf: 50) */
};

/* "cost", "bootstrap"; "?" for a number that is none.  Constant strings. */
const char *reward_stream_name(enum reward_stream stream);
const char *reward_truncation_name(enum reward_truncation truncation);

/* ERR_USAGE, naming the setting, where the ranges above do not hold. */
enum err_code reward_check(const struct reward_params *params, struct err *err);

/* raw - length_penalty * max(0, tokens - length_free_tokens); tokens of the response. */
double reward_length(const struct reward_params *params, double raw, uint32_t tokens);

/*
 * The shaped reward of a response, `truncated` where the length limit cut it before an end of
 * sequence, to the R of reward_tokens.  *bootstrap says whether GAE is to take the critic's
 * value after the last token (advantage.h) instead of 0.
 */
double reward_truncate(const struct reward_params *params, double shaped, bool truncated,
                       bool *bootstrap);

/*
 * Write out (T): the reward, or cost, of each token, with 0 where the mask is 0.  logp, logref
 * (T) in nats; mask (T) may be NULL: every token counts.  beta 0 leaves R alone, as when the
 * KL stands in the loss; logref may then be NULL.  Where clip is not 0 each entry is bounded.
 * ERR_VALUE, and out unspecified, where R, beta, a log-prob or an entry is not finite, or no
 * token counts.
 */
enum err_code reward_tokens(const struct reward_params *params, enum reward_stream stream,
                            double beta, double R, const float *logp, const float *logref,
                            const uint8_t *mask, size_t T, float *out, struct err *err);

#endif

/*
 * advantage.h -- how much better each token did than was expected: one interface to all ways.
 *
 *     gae                    gae.h: token rewards against a critic's values       [1]
 *     grpo                   (R - mean) / (std + eps), std with n - 1             [2]
 *     rloo                   R - mean of the group's others                       [3]
 *     reinforce_pp           token rewards to go, then whitened                   [4]
 *     dr_grpo                R - mean                                             [5]
 *     reinforce_pp_baseline  R - mean, then whitened                              [4]
 *
 * [1] Schulman et al., arXiv:1506.02438   [2] Shao et al., arXiv:2402.03300
 * [3] Ahmadian et al., arXiv:2402.14740   [4] Hu, arXiv:2501.03262
 * [5] Liu et al., arXiv:2503.20783
 *
 * R is the reward of a whole response, mean and std are over its group (the responses to one
 * prompt), and every token of the response has the advantage of the response.  (ALGORITHMS,
 * section 5.)
 *
 * Whitening takes all tokens of the batch that count, the whole step's, never a micro-batch's:
 *
 *     A = (A - mean) / sqrt(variance + 1e-8)
 *
 * with the variance over n - 1 (unbiased: TRL, VERL) or n (biased: OpenRLHF, PAR).
 *
 * Pure arithmetic: double inside, float outside; no allocation; sums run in index order, so a
 * learner that holds the whole batch has the same bits as any other that does.
 */
#ifndef CONTROL_ADVANTAGE_H
#define CONTROL_ADVANTAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "control/moments.h"

#define ADVANTAGE_KIND_MAP(X)       \
    X(GAE, "gae")                   \
    X(GRPO, "grpo")                 \
    X(RLOO, "rloo")                 \
    X(REINFORCE_PP, "reinforce_pp") \
    X(DR_GRPO, "dr_grpo")           \
    X(REINFORCE_PP_BASELINE, "reinforce_pp_baseline")
#define ADVANTAGE_WHITEN_MAP(X) X(NONE, "none") X(UNBIASED, "unbiased") X(BIASED, "biased")

enum advantage_kind {
#define X(name, word) ADVANTAGE_##name,
    ADVANTAGE_KIND_MAP(X)
#undef X
};
enum advantage_whiten {
#define X(name, word) ADVANTAGE_WHITEN_##name,
    ADVANTAGE_WHITEN_MAP(X)
#undef X
};

struct advantage_params {
    enum advantage_kind kind;
    enum advantage_whiten whiten; /* the last thing done; REINFORCE_PP... cannot be NONE */
    double gamma;                 /* GAE, REINFORCE_PP: discount per token, 0..1 */
    double lambda;                /* GAE, 0..1 */
    double eps;                   /* GRPO: > 0; 1e-6 in VERL, 1e-4 in TRL */
};

/* Responses packed without padding, N = offset[rows] tokens.  Every array belongs to the
 * caller; those a kind does not read may be NULL. */
struct advantage_batch {
    size_t rows;
    const uint32_t *offset;    /* (rows+1) response b is tokens offset[b] .. offset[b+1]-1 */
    const uint8_t *mask;       /* (N)    0: not the policy's choice; may be NULL: all are */
    const float *token_reward; /* (N)    GAE, REINFORCE_PP; the others where there is no: */
    const double *sequence_reward; /* (rows) R; where NULL, the sum of token_reward */
    const float *value;            /* (N)    GAE */
    const float *bootstrap;        /* (rows) GAE; may be NULL */
    const uint32_t *group;         /* (rows) group kinds: ids that never fall along the rows */
};

/* "dr_grpo", "unbiased"; "?" for a number that is none.  Constant strings. */
const char *advantage_name(enum advantage_kind kind);
const char *advantage_whiten_name(enum advantage_whiten whiten);

/* Does the kind need a critic (GAE)?  Does it compare within a group? */
bool advantage_needs_critic(enum advantage_kind kind);
bool advantage_needs_groups(enum advantage_kind kind);

/* ERR_USAGE, naming the setting, where the ranges above do not hold, or where a kind that
 * compares within a group is given fewer than 2 samples per prompt. */
enum err_code advantage_check(const struct advantage_params *params,
                              uint32_t samples_per_prompt, struct err *err);

/*
 * Write adv (N), with 0 where the mask is 0, and, for GAE alone, ret (N): what the critic is to
 * learn, before whitening; other kinds leave ret alone, and it may be NULL.  Neither may
 * overlap an input.
 *
 * A response whose group has lost all its others has advantage 0 (before whitening), and so do
 * the responses of a group with equal rewards, exactly.  ERR_VALUE, naming the response, where
 * an input is not finite, group ids fall, or fewer than 2 tokens are to be whitened; adv and
 * ret are then unspecified.
 */
enum err_code advantage_compute(const struct advantage_params *params,
                                const struct advantage_batch *in, float *adv, float *ret,
                                struct err *err);

/* Count, mean and deviations of x (n) where the mask, which may be NULL, is not 0. */
struct moments advantage_moments(const float *x, const uint8_t *mask, size_t n);

/*
 * Whiten x (n) in place with moments taken over the whole batch; entries whose mask is 0 stay.
 * Without shift_mean the mean is added again after scaling, as for rewards.  moments->n >= 2;
 * whiten NONE does nothing.
 */
void advantage_whiten(float *x, const uint8_t *mask, size_t n, const struct moments *moments,
                      enum advantage_whiten whiten, bool shift_mean);

/* The same with the moments of x itself.  ERR_VALUE where fewer than 2 entries count. */
enum err_code advantage_whiten_batch(float *x, const uint8_t *mask, size_t n,
                                     enum advantage_whiten whiten, struct err *err);

/* out = (reward - multiplier * cost) / (1 + multiplier), each (n): PPO-Lagrangian (Dai et al.,
 * arXiv:2310.12773; ALGORITHMS, section 2).  multiplier >= 0.  out may be reward or cost. */
void advantage_combine(const float *reward, const float *cost, double multiplier, float *out,
                       size_t n);

#endif

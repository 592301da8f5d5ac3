/*
 * reward.h -- the reward daemon: score leases in, scores and reference log-probs out.
 *
 *     SCORE_LEASE                    every scorer of the config, in its order    frame 0, 1
 *     items, ids  ---> samples --->
 *                                    the reference policy (rollouts only)        frame 2
 *
 * The reference log-probs are those of the response tokens at sampling.temperature, bitwise
 * what an actor with the reference's weights would record; the reference is model.reference, or
 * the version of the policy that the lease names (reward/reference_model.h).  A score that cannot
 * be had is failed or timeout in the result.  Scorers of the role reward are asked about all
 * items, the others about rollouts alone, and one with a prompt_kind about prompts of that kind
 * alone: what a scorer is not asked is failed.  An item at fault itself (a prompt the data set
 * does not have, an id outside the vocabulary, too many tokens, a reference log-prob that is not
 * finite) is shown to no scorer: all its scores are failed and its log-probs are 0.
 */
#ifndef REWARD_REWARD_H
#define REWARD_REWARD_H

#include "base/err.h"
#include "node/run_config.h"
#include "node/worker.h"
#include "reward/scorer.h"
#include "wire/message.h"

#define REWARD_CAPACITY 256u /* items held at once: one lease in work, the next one waiting */

struct reward;

/* Load the tokenizer, the data set's labels, the scorers and the reference.  The config and the
 * context are borrowed; the context, for references that are versions of the policy, may be NULL
 * without kl.reference_every.  ERR_USAGE where they do not fit together, else the errors of what
 * was read; the sentence names the file.  The caller frees it with reward_free. */
enum err_code reward_new(struct reward **out, const struct run_config *config,
                         struct wire_context *context, struct err *err);
void reward_free(struct reward *reward); /* NULL does nothing */

/* The hash of all that a score depends on besides the config: the reference policy, the
 * tokenizer, the labels, what each scorer has read.  A service is none of it. */
void reward_fingerprint(const struct reward *reward, struct hash *out);

/*
 * Score one SCORE_LEASE into *result, a SCORE_RESULT whose items and frames are borrowed from
 * the reward and the lease until the next call; its text is the first failure.  ERR_STATE
 * where `watch` said to stop, ERR_UNAVAILABLE where the lease's reference cannot be had, or where
 * the service of a reward or a cost is away, for timeouts.service_ms at most, ERR_NOMEM; *result
 * is unspecified then.
 */
enum err_code reward_score(struct reward *reward, const struct message *lease,
                           const struct scorer_watch *watch, struct message *result,
                           struct err *err);

/* What the daemon does until worker_stopping: a worker_compute, ctx is the struct reward. */
enum err_code reward_compute(struct worker *worker, void *ctx, struct err *err);

#endif

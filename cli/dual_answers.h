/*
 * dual_answers.h -- from the answers of `rlhf evaluate --out` to what control/dual.h wants of
 * them: the reward that training would see, and the cost, of each.
 *
 *     scores -> sum -> length penalty -> shaper -> truncation -> reward
 *     scores -> sum -> safety.cost -> cost
 *
 * as the run's config has it.  Where the shaper compares with references, those of an answer are
 * the other answers to its prompt: all are of the reference policy, as the run's are.
 *
 * Not every config can be done from answers alone: reward.combine other than sum, and shapers
 * with statistics of the steps before, are refused.
 */
#ifndef CLI_DUAL_ANSWERS_H
#define CLI_DUAL_ANSWERS_H

#include "base/buf.h"
#include "base/err.h"
#include "control/dual.h"
#include "node/run_config.h"

#define DUAL_ANSWERS_KL_MAX 1e-3 /* nats that an answer of the reference policy may be away */

struct dual_answers {
    struct dual_batch batch; /* of the arrays below */
    uint32_t *offset;
    double *reward, *cost;
    uint32_t answers;   /* in the batch */
    uint32_t missing;   /* left out: no score, or nothing to compare with */
    double reward_cost; /* correlation of the two over all answers; NAN: none */
};

/* ERR_USAGE, naming the key, where the config cannot be done. */
enum err_code dual_answers_check(const struct run_config *config, struct err *err);

/* Read `lines`, which errors call `where`.  ERR_FORMAT names the line at fault, ERR_USAGE an
 * answer that is none of the reference policy.  The caller ends it with dual_answers_release,
 * also on failure. */
enum err_code dual_answers_read(struct dual_answers *answers, const struct run_config *config,
                                const char *where, const struct buf *lines, struct err *err);
void dual_answers_release(struct dual_answers *answers);

#endif

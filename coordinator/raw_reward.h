/*
 * raw_reward.h -- a run's reward.combine: from the recorded scores of a response to its raw
 * reward, for the core and for whoever reads a ledger.
 *
 * A term of control/combine.h is a scorer of the role reward, in the order of the config.
 */
#ifndef COORDINATOR_RAW_REWARD_H
#define COORDINATOR_RAW_REWARD_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "control/combine.h"
#include "node/run_config.h"

struct raw_reward {
    const struct run_config *config;
    struct combine_params combine; /* of `term` below: the struct stays where it is */
    struct combine_term term[RUN_SCORERS_MAX];
    uint32_t scorer[RUN_SCORERS_MAX]; /* whose score a term is */
};

/* Of an all-zero *raw.  Borrows the config.  ERR_USAGE as combine_check. */
enum err_code raw_reward_init(struct raw_reward *raw, const struct run_config *config,
                              struct err *err);

/* scores (config->scorers) under their names, in named (as many), which is borrowed. */
struct combine_scores raw_reward_named(const struct run_config *config, const double *scores,
                                       struct score *named);

/*
 * The raw reward of a response with these recorded scores (config->scorers), of which those that
 * do not count for its prompt are NaN, in a step with this worst_group (record.h).  A tree
 * compares with refs (n_refs, config->scorers), the scores of its prompt's references.  NaN
 * where it has none: a score is missing that every prompt needs, or there is no reference, or no
 * group.
 */
double raw_reward_recorded(const struct raw_reward *raw, const double *scores,
                           uint32_t worst_group, const double *refs, size_t n_refs);

#endif

/* run_config_internal.h -- what the files of run_config.h share; nobody else includes it. */
#ifndef NODE_RUN_CONFIG_INTERNAL_H
#define NODE_RUN_CONFIG_INTERNAL_H

#include "node/config.h"
#include "node/run_config.h"

extern const struct config_schema run_config_schema; /* every key */

/* The words of ppo.estimator, safety.controller, gate.bound, gate.cost, reward.scorers[].kind,
 * reward.combine and reward.shaper, in the order of their enums; the last is NULL. */
extern const char *const run_config_estimators[];
extern const char *const run_config_controllers[];
extern const char *const run_config_gate_bounds[];
extern const char *const run_config_gate_costs[];
extern const char *const run_config_scorer_kinds[];
extern const char *const run_config_combines[];
extern const char *const run_config_shapers[];

/* ERR_USAGE, naming the keys, where values that are each allowed cannot be meant together.
 * `path`: of the file, for the sentence. */
enum err_code run_config_check(const struct run_config *config, const char *path,
                               struct err *err);

/* ERR_USAGE where scorers, reward.combine and shapers do not go together. */
enum err_code run_config_check_combine(const struct run_config *config, const char *path,
                                       struct err *err);

/* ERR_USAGE where a word of reward.shapers is none. */
enum err_code run_config_check_shapers(const struct run_config *config, const char *path,
                                       struct err *err);

#endif

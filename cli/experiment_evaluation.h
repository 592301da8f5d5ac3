/*
 * experiment_evaluation.h -- the models of a run that are evaluated, and what came of it.
 *
 * Version v of a run has seen v steps: the last one is RUN/final, others are checkpoints.
 */
#ifndef CLI_EXPERIMENT_EVALUATION_H
#define CLI_EXPERIMENT_EVALUATION_H

#include "cli/experiment.h"

#define EXPERIMENT_VERSIONS_MAX 256 /* of a run that are evaluated */

struct experiment_evaluation {
    uint64_t version;
    double score[RUN_SCORERS_MAX]; /* means over prompts, by scorer of the config; NAN: none */
    double win[RUN_SCORERS_MAX];
    double kl, tokens, truncated;
};

/* Versions to evaluate, ascending, the final one last; *n of them.  ERR_IO, ERR_VALUE. */
enum err_code experiment_versions(const struct experiment *experiment,
                                  const struct experiment_run *run,
                                  const struct run_config *config,
                                  uint64_t version[EXPERIMENT_VERSIONS_MAX], size_t *n,
                                  struct err *err);

/* Paths of a version: its model's directory, and where its evaluation goes. */
enum err_code experiment_model_path(const struct experiment_run *run,
                                    const struct run_config *config, uint64_t version,
                                    char path[RUN_PATH_MAX], struct err *err);
enum err_code experiment_evaluation_path(const struct experiment_run *run,
                                         const struct run_config *config, uint64_t version,
                                         char path[RUN_PATH_MAX], struct err *err);

/* Where `evaluate` of the file is empty, what stands for it. */
const char *experiment_prompts(const struct experiment *experiment,
                               const struct run_config *config);
const char *experiment_against(const struct experiment *experiment,
                               const struct run_config *config);

/* *found: there is an evaluation of this version, made as the experiment now says, and it is in
 * *out.  ERR_FORMAT where the file is damaged. */
enum err_code experiment_evaluation_read(const struct experiment *experiment,
                                         const struct experiment_run *run,
                                         const struct run_config *config, uint64_t version,
                                         struct experiment_evaluation *out, bool *found,
                                         struct err *err);

#endif

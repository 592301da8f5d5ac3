/*
 * experiment_step.h -- what a run of the grid needs next, told from what is on the disk.
 *
 *     START     rlhf run: there is nothing yet
 *     CONTINUE  rlhf run: it was interrupted, or lacks its last steps
 *     EVALUATE  rlhf evaluate of RUN/final into RUN/evaluation.json, then, where the
 *               experiment wants these, of RUN/checkpoints/vN/policy into RUN/evaluation-vN.json
 *     NOTHING   it is complete
 *
 * Nothing else is kept of an experiment: one that was killed at any instant goes on from here.
 * Blocks on the disk.
 */
#ifndef CLI_EXPERIMENT_STEP_H
#define CLI_EXPERIMENT_STEP_H

#include "cli/experiment.h"
#include "cli/experiment_evaluation.h"

#define EXPERIMENT_STEP_ARGS_MAX (EXPERIMENT_ARGS_MAX + 24)

#define EXPERIMENT_NEED_MAP(X)     \
    X(START, "to do")              \
    X(CONTINUE, "to continue")     \
    X(EVALUATE, "to be evaluated") \
    X(NOTHING, "complete")
enum experiment_need {
#define X(name, words) EXPERIMENT_NEED_##name,
    EXPERIMENT_NEED_MAP(X)
#undef X
};
/* Its words above. */
const char *experiment_need_name(enum experiment_need need);

struct experiment_step {
    enum experiment_need need;
    uint64_t version; /* EVALUATE: of the model */
};

/* ERR_FORMAT where a ledger is damaged; ERR_USAGE, ERR_IO. */
enum err_code experiment_step_next(const struct experiment *experiment,
                                   const struct experiment_run *run,
                                   struct experiment_step *step, struct err *err);

/* The command that does it. */
struct experiment_command {
    const char *argv[EXPERIMENT_STEP_ARGS_MAX + 1]; /* NULL-terminated */
    struct experiment_overrides overrides;
    char config[RUN_PATH_MAX], model[RUN_PATH_MAX], against[RUN_PATH_MAX],
        prompts[RUN_PATH_MAX], summary[RUN_PATH_MAX], out[RUN_PATH_MAX];
    char samples[16], limit[16], seed[24], threads[16];
};

/* Fill it; argv[0] is `program`, borrowed as the others are.  ERR_VALUE: a path is too long. */
enum err_code experiment_step_command(const struct experiment *experiment,
                                      const struct experiment_run *run,
                                      const struct experiment_step *step, const char *program,
                                      struct experiment_command *command, struct err *err);

#endif

/* experiment_step.c -- see experiment_step.h. */
#include "cli/experiment_step.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "coordinator/ledger.h"

const char *experiment_need_name(enum experiment_need need)
{
    static const char *const names[] = {
#define X(name, words) words,
        EXPERIMENT_NEED_MAP(X)
#undef X
    };
    return names[need];
}

/* Has the run its final model, and does the ledger have all its steps? */
static enum err_code experiment_is_trained(const struct experiment_run *run,
                                           const struct run_config *config, bool *trained,
                                           struct err *err)
{
    char path[RUN_PATH_MAX];
    struct ledger *ledger = NULL;
    struct ledger_summary summary;
    *trained = false;
    enum err_code rc = file_join(path, run->dir, "final/model.safetensors", err);
    if (rc || !file_exists(path))
        return rc;
    if ((rc = ledger_open_read(&ledger, run->dir, err)))
        return rc;
    rc = ledger_summarise(ledger, &summary, err);
    *trained = rc == ERR_OK && summary.steps >= config->steps;
    const enum err_code closed = ledger_close(ledger, rc ? NULL : err);
    return rc ? rc : closed;
}

static enum err_code experiment_next_evaluation(const struct experiment *experiment,
                                                const struct experiment_run *run,
                                                const struct run_config *config,
                                                struct experiment_step *step, struct err *err)
{
    uint64_t version[EXPERIMENT_VERSIONS_MAX];
    struct experiment_evaluation evaluation;
    size_t n = 0;
    enum err_code rc = experiment_versions(experiment, run, config, version, &n, err);
    step->need = EXPERIMENT_NEED_NOTHING;
    while (rc == ERR_OK && step->need == EXPERIMENT_NEED_NOTHING && n-- > 0) {
        bool found;
        rc = experiment_evaluation_read(experiment, run, config, version[n], &evaluation,
                                        &found, err);
        if (!found)
            *step = (struct experiment_step){EXPERIMENT_NEED_EVALUATE, version[n]};
    }
    return rc;
}

enum err_code experiment_step_next(const struct experiment *experiment,
                                   const struct experiment_run *run,
                                   struct experiment_step *step, struct err *err)
{
    char path[RUN_PATH_MAX];
    bool trained = false;
    struct run_config *config = malloc(sizeof *config); /* too large for a stack */
    *step = (struct experiment_step){EXPERIMENT_NEED_START, 0};
    if (!config)
        return err_set(err, ERR_NOMEM, "no memory for a config");
    enum err_code rc = experiment_config(experiment, run, config, err);
    if (rc == ERR_OK)
        rc = experiment_is_trained(run, config, &trained, err);
    if (rc == ERR_OK && trained)
        rc = experiment_next_evaluation(experiment, run, config, step, err);
    else if (rc == ERR_OK && (rc = file_join(path, run->dir, LEDGER_FILE, err)) == ERR_OK &&
             file_exists(path))
        step->need = EXPERIMENT_NEED_CONTINUE;
    free(config);
    return rc;
}

static void experiment_put_args(struct experiment_command *command, size_t *n,
                                const char *const *args, size_t args_n)
{
    assert(*n + args_n <= EXPERIMENT_STEP_ARGS_MAX);
    memcpy(command->argv + *n, args, args_n * sizeof *args);
    *n += args_n;
    command->argv[*n] = NULL;
}

static void experiment_run_command(const struct experiment *experiment,
                                   const struct experiment_run *run, const char *program,
                                   struct experiment_command *command)
{
    size_t n = 0;
    const char *const begin[] = {program, "run", experiment->base};
    experiment_overrides(experiment, run, &command->overrides);
    experiment_put_args(command, &n, begin, sizeof begin / sizeof begin[0]);
    experiment_put_args(command, &n, command->overrides.text, command->overrides.n);
}

static enum err_code experiment_evaluate_command(const struct experiment *experiment,
                                                 const struct experiment_run *run,
                                                 const struct run_config *config,
                                                 uint64_t version, const char *program,
                                                 struct experiment_command *c, struct err *err)
{
    size_t n = 0;
    enum err_code rc;
    if ((rc = file_join(c->config, run->dir, "config.yaml", err)) ||
        (rc = file_join(c->out, run->dir, "evaluation.jsonl", err)) ||
        (rc = experiment_model_path(run, config, version, c->model, err)) ||
        (rc = experiment_evaluation_path(run, config, version, c->summary, err)))
        return rc;
    snprintf(c->prompts, sizeof c->prompts, "%s", experiment_prompts(experiment, config));
    snprintf(c->against, sizeof c->against, "%s", experiment_against(experiment, config));
    snprintf(c->samples, sizeof c->samples, "%u", experiment->samples);
    snprintf(c->limit, sizeof c->limit, "%u", experiment->prompts_max);
    snprintf(c->threads, sizeof c->threads, "%u", experiment->threads);
    snprintf(c->seed, sizeof c->seed, "%llu", (unsigned long long)experiment->evaluate_seed);
    const char *const args[] = {program,     "evaluate",  "--config", c->config,   "--model",
                                c->model,    "--against", c->against, "--prompts", c->prompts,
                                "--samples", c->samples,  "--limit",  c->limit,    "--seed",
                                c->seed,     "--threads", c->threads, "--summary", c->summary};
    const char *const lines[] = {"--out", c->out};
    experiment_put_args(c, &n, args, sizeof args / sizeof args[0]);
    if (version == config->steps) /* the answers themselves, of the final model alone */
        experiment_put_args(c, &n, lines, 2);
    return ERR_OK;
}

enum err_code experiment_step_command(const struct experiment *experiment,
                                      const struct experiment_run *run,
                                      const struct experiment_step *step, const char *program,
                                      struct experiment_command *command, struct err *err)
{
    if (step->need != EXPERIMENT_NEED_EVALUATE) {
        experiment_run_command(experiment, run, program, command);
        return ERR_OK;
    }
    struct run_config *config = malloc(sizeof *config);
    if (!config)
        return err_set(err, ERR_NOMEM, "no memory for a config");
    enum err_code rc = experiment_config(experiment, run, config, err);
    if (rc == ERR_OK)
        rc = experiment_evaluate_command(experiment, run, config, step->version, program,
                                         command, err);
    free(config);
    return rc;
}

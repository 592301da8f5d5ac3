/*
 * experiment.h -- a grid of runs, settings times seeds, as a YAML file says it.
 *
 *     experiment: {name: shaping, dir: ../../runs/shaping, base: ../demo/run.yaml,
 *                  seeds: [1, 2, 3], parallel: 2}
 *     settings:
 *       - {name: none, set: [reward.shaper=none]}
 *       - {name: par,  set: [reward.shaper=par, reward.references=1]}
 *     evaluate: {prompts: prompts-test.jsonl, every: final}
 *
 * Each setting with each seed is a run, in DIR/SETTING-sSEED, of the base file with the
 * overrides of experiment.set, then of the setting, then the run's own: its name, directory,
 * seed and endpoints.  Relative paths, in overrides too, start at the file's directory.
 *
 * docs/EXPERIMENTS.md explains the file; the table of keys in it is printed from the schema.
 */
#ifndef CLI_EXPERIMENT_H
#define CLI_EXPERIMENT_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "node/run_config.h"

#define EXPERIMENT_SETTINGS_MAX 16
#define EXPERIMENT_SEEDS_MAX    32
#define EXPERIMENT_RUNS_MAX     (EXPERIMENT_SETTINGS_MAX * EXPERIMENT_SEEDS_MAX)
#define EXPERIMENT_SETS_MAX     24 /* overrides of a setting */
#define EXPERIMENT_PARALLEL_MAX 64
#define EXPERIMENT_OWN_MAX      6 /* overrides that every run gets */
#define EXPERIMENT_ARGS_MAX     (2 * EXPERIMENT_SETS_MAX + EXPERIMENT_OWN_MAX)

enum experiment_every { /* evaluate.every: which models of a run are evaluated */
                        EXPERIMENT_EVERY_FINAL,
                        EXPERIMENT_EVERY_CHECKPOINT,
                        EXPERIMENT_EVERY_NONE
};

struct experiment_sets {
    char text[EXPERIMENT_SETS_MAX][RUN_TEXT_MAX]; /* "key=value" */
    uint32_t n;
};

struct experiment_setting {
    char name[RUN_NAME_MAX];
    struct experiment_sets set;
};

struct experiment_run {
    uint32_t setting; /* index */
    uint64_t seed;
    char name[RUN_NAME_MAX + 24]; /* "par-s3" */
    char dir[RUN_PATH_MAX];
};

struct experiment {
    char name[RUN_NAME_MAX];
    char dir[RUN_PATH_MAX];
    char base[RUN_PATH_MAX];
    char seed[EXPERIMENT_SEEDS_MAX][24]; /* as written */
    uint32_t seeds;
    uint32_t parallel;
    struct experiment_sets set;
    struct experiment_setting setting[EXPERIMENT_SETTINGS_MAX];
    uint32_t settings;

    enum experiment_every every;
    char prompts[RUN_PATH_MAX]; /* "": those the run trains on */
    char against[RUN_PATH_MAX]; /* "": what the run started from */
    uint32_t prompts_max;       /* 0: all */
    uint32_t samples;
    uint64_t evaluate_seed;
    uint32_t threads;

    struct experiment_run run[EXPERIMENT_RUNS_MAX]; /* by seed, then by setting */
    uint32_t runs;
};

/*
 * Read and check the file and fill the grid.  ERR_USAGE with a sentence that names file:line, or
 * the setting at fault: also where a setting's runs would not be taken by `rlhf run`, where two
 * settings are the same run, and where a run's directory holds one of another config, naming the
 * key that differs.  Nothing is written.  The working directory must be the file's.
 */
enum err_code experiment_load(struct experiment *experiment, const char *path, struct err *err);

/* Overrides of a run, as `rlhf run` takes them after the base file. */
struct experiment_overrides {
    const char *text[EXPERIMENT_ARGS_MAX];
    size_t n;
    char own[EXPERIMENT_OWN_MAX][RUN_PATH_MAX + 32];
};
/* All settings', then the run's setting's, then its own name, directory, seed and endpoints.  The
 * texts are the experiment's and *out's own. */
void experiment_overrides(const struct experiment *experiment, const struct experiment_run *run,
                          struct experiment_overrides *out);

/* The resolved config of a run.  ERR_USAGE, naming the setting. */
enum err_code experiment_config(const struct experiment *experiment,
                                const struct experiment_run *run, struct run_config *config,
                                struct err *err);

/* The keys as Markdown tables. */
void experiment_document(struct buf *out);

#endif

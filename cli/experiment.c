/* experiment.c -- see experiment.h: the schema, and what no single key can say about itself. */
#include "cli/experiment.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "node/config.h"

#define EXPERIMENT_HUGE 1e15 /* whole numbers up to here are exact in a double */

static const char *const experiment_every_words[] = {"final", "checkpoint", "none", NULL};

// clang-format off
#define AT(field)    offsetof(struct experiment, field)
#define OF(field)    offsetof(struct experiment_setting, field)
#define BYTES(field) sizeof(((struct experiment *)0)->field)
#define TEXT_(path, field, preset, doc) \
    {path, CONFIG_TEXT, AT(field), BYTES(field), 0, 0, preset, NULL, 0, 0, "", doc}
#define PATH_(path, field, preset, doc) \
    {path, CONFIG_PATH, AT(field), BYTES(field), 0, 0, preset, NULL, 0, 0, "", doc}
#define U32_(path, field, min, max, preset, unit, doc) \
    {path, CONFIG_U32, AT(field), 4, min, max, preset, NULL, 0, 0, unit, doc}
#define SETS_(path, at, doc) \
    {path, CONFIG_TEXTS, at + offsetof(struct experiment_sets, text), RUN_TEXT_MAX, 0, 0, NULL, \
     NULL, at + offsetof(struct experiment_sets, n), EXPERIMENT_SETS_MAX, "", doc}

static const struct config_key experiment_keys[] = {
    TEXT_("experiment.name", name, "experiment", "What the report is called."),
    PATH_("experiment.dir", dir, NULL,
          "The runs are below this directory: SETTING-sSEED, with SETTING-sSEED.log."),
    PATH_("experiment.base", base, NULL, "The YAML file of a run that all runs share."),
    {"experiment.seeds", CONFIG_TEXTS, AT(seed), 24, 0, 0, NULL, NULL, AT(seeds),
     EXPERIMENT_SEEDS_MAX, "", "run.seed of each setting's runs."},
    U32_("experiment.parallel", parallel, 1, EXPERIMENT_PARALLEL_MAX, "1", "runs",
         "Runs under way at once."),
    SETS_("experiment.set", AT(set), "Overrides of every run, before those of its setting."),

    {"settings[].name", CONFIG_TEXT, OF(name), RUN_NAME_MAX, 0, 0, NULL, NULL, 0, 0, "",
     "What the setting is called in reports and in its runs' directories: letters, digits, "
     "'.', '_' and '-'."},
    SETS_("settings[].set", OF(set),
          "Its overrides, KEY=VALUE as on the command line of `rlhf run`."),

    {"evaluate.every", CONFIG_WORD, AT(every), 4, 0, 0, "final", experiment_every_words, 0, 0,
     "",
     "final: the model each run ends with; checkpoint: also those of the checkpoints it keeps "
     "(checkpoint.keep); none: nothing is evaluated."},
    PATH_("evaluate.prompts", prompts, "",
          "JSON lines to answer; empty: the prompts the run trained on."),
    PATH_("evaluate.against", against, "",
          "The model to win against; empty: the run's model.policy, which it started from."),
    U32_("evaluate.limit", prompts_max, 0, 4294967295.0, "0", "prompts",
         "The first so many prompts; 0: all."),
    U32_("evaluate.samples", samples, 1, 256, "1", "responses", "Answers to each prompt."),
    {"evaluate.seed", CONFIG_U64, AT(evaluate_seed), 8, 0, EXPERIMENT_HUGE, "1", NULL, 0, 0, "",
     "Of the answers; the same for all runs."},
    U32_("evaluate.threads", threads, 1, 64, "1", "threads", "They change no bit."),
};
// clang-format on

static const struct config_list experiment_lists[] = {
    {"settings", AT(setting), sizeof(struct experiment_setting), AT(settings),
     EXPERIMENT_SETTINGS_MAX},
};
_Static_assert(EXPERIMENT_SETTINGS_MAX <= CONFIG_ELEMENTS_MAX, "config.h takes no longer list");

static const struct config_schema experiment_schema = {
    .keys = experiment_keys,
    .keys_n = sizeof experiment_keys / sizeof experiment_keys[0],
    .lists = experiment_lists,
    .lists_n = sizeof experiment_lists / sizeof experiment_lists[0],
};

void experiment_document(struct buf *out)
{
    config_document(&experiment_schema, out);
}

static enum err_code experiment_check_name(const struct experiment *e, uint32_t index,
                                           const char *path, struct err *err)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                  "0123456789._-";
    const char *name = e->setting[index].name;
    if (name[0] == '\0' || name[0] == '.' || name[strspn(name, letters)] != '\0')
        return err_set(err, ERR_USAGE,
                       "%s: settings[%u].name \"%s\" must be of letters, digits, '.', '_' and "
                       "'-', and not begin with '.'",
                       path, index, name);
    for (uint32_t i = 0; i < index; i++)
        if (strcmp(e->setting[i].name, name) == 0)
            return err_set(err, ERR_USAGE, "%s: two settings have the name \"%s\"", path, name);
    return ERR_OK;
}

/* Overrides that would make the runs of the grid one and the same, or fall over another. */
static enum err_code experiment_check_sets(const struct experiment_sets *sets,
                                           const char *whose, const char *path, struct err *err)
{
    static const char *const own[] = {"run.name=", "run.dir=", "run.seed=", "endpoints."};
    for (uint32_t i = 0; i < sets->n; i++)
        for (size_t k = 0; k < sizeof own / sizeof own[0]; k++)
            if (strncmp(sets->text[i], own[k], strlen(own[k])) == 0)
                return err_set(err, ERR_USAGE,
                               "%s: %s sets \"%.200s\", which the experiment itself gives each "
                               "run",
                               path, whose, sets->text[i]);
    return ERR_OK;
}

static enum err_code experiment_parse_seed(const struct experiment *e, uint32_t index,
                                           const char *path, uint64_t *out, struct err *err)
{
    const char *text = e->seed[index];
    const size_t digits = strspn(text, "0123456789");
    if (digits == 0 || digits > 15 || text[digits] != '\0')
        return err_set(err, ERR_USAGE,
                       "%s: experiment.seeds[%u] is \"%s\": a whole number of at most 15 "
                       "digits is expected",
                       path, index, text);
    *out = strtoull(text, NULL, 10);
    return ERR_OK;
}

static enum err_code experiment_check(const struct experiment *e, const char *path,
                                      struct err *err)
{
    char whose[RUN_NAME_MAX + 16];
    if (e->seeds == 0)
        return err_set(err, ERR_USAGE, "%s: experiment.seeds names no seed", path);
    if (e->settings == 0)
        return err_set(err, ERR_USAGE, "%s: there are no settings", path);
    enum err_code rc = experiment_check_sets(&e->set, "experiment.set", path, err);
    for (uint32_t i = 0; i < e->settings && rc == ERR_OK; i++) {
        snprintf(whose, sizeof whose, "setting \"%s\"", e->setting[i].name);
        rc = experiment_check_name(e, i, path, err);
        if (rc == ERR_OK)
            rc = experiment_check_sets(&e->setting[i].set, whose, path, err);
    }
    return rc;
}

/* By seed first, so that an experiment under way has something of every setting early. */
static enum err_code experiment_fill(struct experiment *e, const char *path, struct err *err)
{
    for (uint32_t s = 0; s < e->seeds; s++) {
        uint64_t seed = 0;
        const enum err_code rc = experiment_parse_seed(e, s, path, &seed, err);
        if (rc)
            return rc;
        for (uint32_t i = 0; i < e->runs; i++)
            if (e->run[i].seed == seed)
                return err_set(err, ERR_USAGE, "%s: experiment.seeds names %llu twice", path,
                               (unsigned long long)seed);
        for (uint32_t i = 0; i < e->settings; i++) {
            struct experiment_run run = {.setting = i, .seed = seed};
            snprintf(run.name, sizeof run.name, "%s-s%llu", e->setting[i].name,
                     (unsigned long long)seed);
            if (file_join(run.dir, e->dir, run.name, err))
                return ERR_USAGE;
            e->run[e->runs++] = run;
        }
    }
    return ERR_OK;
}

void experiment_overrides(const struct experiment *experiment, const struct experiment_run *run,
                          struct experiment_overrides *out)
{
    const struct experiment_setting *setting = &experiment->setting[run->setting];
    const size_t size = sizeof out->own[0];
    out->n = 0;
    for (uint32_t i = 0; i < experiment->set.n; i++)
        out->text[out->n++] = experiment->set.text[i];
    for (uint32_t i = 0; i < setting->set.n; i++)
        out->text[out->n++] = setting->set.text[i];
    snprintf(out->own[0], size, "run.name=%s", setting->name);
    snprintf(out->own[1], size, "run.dir=%s", run->dir);
    snprintf(out->own[2], size, "run.seed=%llu", (unsigned long long)run->seed);
    /* Two runs at a time cannot listen at one place. */
    snprintf(out->own[3], size, "endpoints.control=");
    snprintf(out->own[4], size, "endpoints.bulk=");
    snprintf(out->own[5], size, "endpoints.http=127.0.0.1:0");
    for (size_t i = 0; i < EXPERIMENT_OWN_MAX; i++)
        out->text[out->n++] = out->own[i];
}

enum err_code experiment_config(const struct experiment *experiment,
                                const struct experiment_run *run, struct run_config *config,
                                struct err *err)
{
    struct experiment_overrides overrides;
    struct err why = {0};
    experiment_overrides(experiment, run, &overrides);
    const enum err_code rc =
        run_config_load(config, experiment->base, overrides.text, overrides.n, &why);
    return rc ? err_set(err, rc, "setting \"%s\": %s", experiment->setting[run->setting].name,
                        why.text)
              : ERR_OK;
}

/* Room for two configs: each is too large for a stack. */
struct experiment_pair {
    struct run_config a, b;
};

/* `config` is what the file says of the run now. */
static enum err_code experiment_check_dir(const struct experiment_run *run,
                                          const struct run_config *config,
                                          struct run_config *before, struct err *err)
{
    char path[RUN_PATH_MAX];
    enum err_code rc = file_join(path, run->dir, "config.yaml", err);
    if (rc || !file_exists(path))
        return rc;
    if ((rc = run_config_load(before, path, NULL, 0, err)))
        return rc;
    const char *key = run_config_difference(before, config);
    if (key)
        return err_set(err, ERR_USAGE,
                       "%s holds a run with another %s: choose another experiment.dir, or "
                       "remove that run",
                       run->dir, key);
    return ERR_OK;
}

static enum err_code experiment_check_runs(const struct experiment *e, struct err *err)
{
    struct experiment_pair *of = malloc(sizeof *of);
    enum err_code rc = of ? ERR_OK : err_set(err, ERR_NOMEM, "no memory for two configs");
    for (uint32_t i = 0; i < e->runs && rc == ERR_OK; i++) {
        rc = experiment_config(e, &e->run[i], &of->a, err);
        for (uint32_t k = 0; k < i && i < e->settings && rc == ERR_OK; k++) {
            rc = experiment_config(e, &e->run[k], &of->b, err);
            if (rc == ERR_OK && !run_config_difference(&of->a, &of->b))
                rc =
                    err_set(err, ERR_USAGE,
                            "settings \"%s\" and \"%s\" are the same run: nothing that decides "
                            "its result differs",
                            e->setting[k].name, e->setting[i].name);
        }
        if (rc == ERR_OK)
            rc = experiment_check_dir(&e->run[i], &of->a, &of->b, err);
    }
    free(of);
    return rc;
}

enum err_code experiment_load(struct experiment *experiment, const char *path, struct err *err)
{
    struct err why = {0};
    memset(experiment, 0, sizeof *experiment);
    enum err_code rc = config_load(&experiment_schema, experiment, path, NULL, 0, err);
    if (rc || (rc = experiment_check(experiment, path, err)) ||
        (rc = experiment_fill(experiment, path, err)))
        return rc;
    rc = experiment_check_runs(experiment, &why);
    return rc ? err_set(err, rc, "%s: %s", path, why.text) : ERR_OK;
}

/* experiment_evaluation.c -- see experiment_evaluation.h. */
#include "cli/experiment_evaluation.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"

#define EXPERIMENT_JSON_MAX ((size_t)1 << 20)

static int experiment_compare(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* "v00000010" is 10; 0: it is no checkpoint. */
static uint64_t experiment_checkpoint_version(const char *name)
{
    const size_t digits = name[0] == 'v' ? strspn(name + 1, "0123456789") : 0;
    return digits > 0 && digits < 16 && name[1 + digits] == '\0' ? strtoull(name + 1, NULL, 10)
                                                                 : 0;
}

enum err_code experiment_versions(const struct experiment *experiment,
                                  const struct experiment_run *run,
                                  const struct run_config *config,
                                  uint64_t version[EXPERIMENT_VERSIONS_MAX], size_t *n,
                                  struct err *err)
{
    char path[RUN_PATH_MAX];
    *n = 0;
    if (experiment->every == EXPERIMENT_EVERY_NONE)
        return ERR_OK;
    version[(*n)++] = config->steps;
    const enum err_code rc = file_join(path, run->dir, "checkpoints", err);
    if (rc || experiment->every == EXPERIMENT_EVERY_FINAL)
        return rc;
    DIR *dir = opendir(path);
    if (!dir)
        return errno == ENOENT ? ERR_OK : err_errno(err, "%s", path);
    for (const struct dirent *entry; (entry = readdir(dir)) && *n < EXPERIMENT_VERSIONS_MAX;) {
        const uint64_t v = experiment_checkpoint_version(entry->d_name);
        if (v > 0 && v < config->steps)
            version[(*n)++] = v;
    }
    closedir(dir);
    qsort(version, *n, sizeof *version, experiment_compare);
    return ERR_OK;
}

enum err_code experiment_model_path(const struct experiment_run *run,
                                    const struct run_config *config, uint64_t version,
                                    char path[RUN_PATH_MAX], struct err *err)
{
    char name[64] = "final";
    if (version < config->steps)
        snprintf(name, sizeof name, "checkpoints/v%08llu/policy", (unsigned long long)version);
    return file_join(path, run->dir, name, err);
}

enum err_code experiment_evaluation_path(const struct experiment_run *run,
                                         const struct run_config *config, uint64_t version,
                                         char path[RUN_PATH_MAX], struct err *err)
{
    char name[64] = "evaluation.json";
    if (version < config->steps)
        snprintf(name, sizeof name, "evaluation-v%08llu.json", (unsigned long long)version);
    return file_join(path, run->dir, name, err);
}

const char *experiment_prompts(const struct experiment *experiment,
                               const struct run_config *config)
{
    return experiment->prompts[0] ? experiment->prompts : config->prompts;
}

const char *experiment_against(const struct experiment *experiment,
                               const struct run_config *config)
{
    return experiment->against[0] ? experiment->against : config->policy;
}

/* Was it made with these prompts, seed, ...?  Else it is made anew. */
static bool experiment_is_as_asked(const struct experiment *experiment,
                                   const struct run_config *config, const json_t *object)
{
    const json_t *against = json_object_get(json_object_get(object, "against"), "dir");
    const char *prompts = json_string_value(json_object_get(object, "prompts_file"));
    const char *dir = json_string_value(against);
    const struct {
        const char *key;
        uint64_t want;
    } numbers[] = {{"samples", experiment->samples},
                   {"limit", experiment->prompts_max},
                   {"seed", experiment->evaluate_seed}};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        const json_t *number = json_object_get(object, numbers[i].key);
        if (!json_is_integer(number) || (uint64_t)json_integer_value(number) != numbers[i].want)
            return false;
    }
    return prompts && dir && strcmp(prompts, experiment_prompts(experiment, config)) == 0 &&
           strcmp(dir, experiment_against(experiment, config)) == 0;
}

/* The "mean" of object[key]; NAN where it is null or there is none. */
static double experiment_mean(const json_t *object, const char *key)
{
    return json_number_or(json_object_get(object, key), "mean", NAN);
}

static void experiment_take(const struct run_config *config, const json_t *object,
                            struct experiment_evaluation *out)
{
    const json_t *model = json_object_get(object, "model");
    const json_t *scores = json_object_get(model, "scores");
    const json_t *win = json_object_get(object, "win_rate");
    for (uint32_t s = 0; s < config->scorers; s++) {
        out->score[s] = experiment_mean(scores, config->scorer[s].name);
        out->win[s] = experiment_mean(win, config->scorer[s].name);
    }
    out->kl = experiment_mean(model, "kl");
    out->tokens = experiment_mean(model, "tokens");
    out->truncated = experiment_mean(model, "truncated");
}

enum err_code experiment_evaluation_read(const struct experiment *experiment,
                                         const struct experiment_run *run,
                                         const struct run_config *config, uint64_t version,
                                         struct experiment_evaluation *out, bool *found,
                                         struct err *err)
{
    char path[RUN_PATH_MAX];
    *out = (struct experiment_evaluation){.version = version};
    *found = false;
    const enum err_code rc = experiment_evaluation_path(run, config, version, path, err);
    if (rc || !file_exists(path))
        return rc;
    struct err why = {0};
    json_t *object = json_read_file(path, EXPERIMENT_JSON_MAX, &why);
    if (!object)
        return err_set(err, why.code, "%s", why.text);
    *found = experiment_is_as_asked(experiment, config, object);
    if (*found)
        experiment_take(config, object, out);
    json_decref(object);
    return ERR_OK;
}

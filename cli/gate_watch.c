/* gate_watch.c -- see gate_watch.h. */
#include "cli/gate_watch.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

void gate_watch_init(struct gate_watch *watch, const struct run_config *config,
                     const char *rlhf, const char *log)
{
    *watch = (struct gate_watch){.config = config, .rlhf = rlhf, .log = log};
}

bool gate_watch_busy(const struct gate_watch *watch)
{
    return watch->job.pid != 0;
}

void gate_watch_stop(struct gate_watch *watch)
{
    experiment_job_terminate(&watch->job);
}

/* "v00000010" is 10; 0: no checkpoint. */
static uint64_t gate_watch_version(const char *name)
{
    const size_t digits = name[0] == 'v' ? strspn(name + 1, "0123456789") : 0;
    return digits > 0 && digits < 16 && name[1 + digits] == '\0' ? strtoull(name + 1, NULL, 10)
                                                                 : 0;
}

static bool gate_watch_is_due(const struct gate_watch *watch, uint64_t version)
{
    const struct run_config *c = watch->config;
    return version > watch->tested && version < c->steps &&
           version % (c->checkpoint_every * c->gate_every) == 0;
}

/* The newest checkpoint that is due; 0: none. */
static uint64_t gate_watch_due(const struct gate_watch *watch)
{
    char root[FILE_PATH_MAX];
    uint64_t due = 0;
    DIR *dir = NULL;
    if (file_join(root, watch->config->dir, "checkpoints", NULL) == ERR_OK)
        dir = opendir(root);
    for (const struct dirent *entry; dir && (entry = readdir(dir));) {
        const uint64_t version = gate_watch_version(entry->d_name);
        if (gate_watch_is_due(watch, version) && version > due)
            due = version;
    }
    if (dir)
        closedir(dir);
    return due;
}

static void gate_watch_begin(struct gate_watch *watch, uint64_t version)
{
    char model[FILE_PATH_MAX + 64];
    snprintf(model, sizeof model, "%s/checkpoints/v%08llu/policy", watch->config->dir,
             (unsigned long long)version);
    const char *const argv[] = {watch->rlhf, "gate", watch->config->dir,
                                "--model",   model,  NULL};
    struct err err = {0};
    watch->tested = version;
    if (experiment_job_start(&watch->job, argv, watch->log, &err)) {
        watch->failed = true;
        fprintf(stderr, "rlhf run: no gate: %s\n", err.text);
    }
}

static void gate_watch_end(struct gate_watch *watch, int status, bool quiet)
{
    char why[EXPERIMENT_WHY_MAX];
    experiment_job_last_line(&watch->job, why);
    if (status == 0 || status == 1) { /* PASS, NSF */
        if (!quiet)
            printf("gate      %s\n", why);
        return;
    }
    watch->failed = true; /* what is wrong now is wrong for the next one too */
    fprintf(stderr, "rlhf run: version %llu was not tested, no other checkpoint will be: %s\n",
            (unsigned long long)watch->tested, why);
}

void gate_watch_poll(struct gate_watch *watch, bool stopping, bool quiet)
{
    int status = 0;
    if (watch->config->gate_every == 0)
        return;
    if (experiment_job_poll(&watch->job, &status))
        gate_watch_end(watch, status, quiet);
    if (stopping || watch->failed || gate_watch_busy(watch))
        return;
    const uint64_t due = gate_watch_due(watch);
    if (due > 0)
        gate_watch_begin(watch, due);
}

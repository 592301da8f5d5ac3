/* report_groups.c -- see report_groups.h. */
#include "cli/report_groups.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/report_stats.h"

const struct report_curves *report_groups_lead(const struct report_groups *groups, size_t g)
{
    return &groups->curves[groups->group[g].run[0]];
}

/* --- which run is where ----------------------------------------------------------------- */

/* *same: whether they differ in their seed at most. */
static enum err_code report_groups_same(const struct run_config *a, const struct run_config *b,
                                        bool *same, struct err *err)
{
    struct run_config *copy = malloc(sizeof *copy); /* too large for a stack */
    if (!copy)
        return err_set(err, ERR_NOMEM, "no memory for a config");
    memcpy(copy, b, sizeof *copy);
    copy->seed = a->seed;
    *same = run_config_difference(a, copy) == NULL;
    free(copy);
    return ERR_OK;
}

static enum err_code report_groups_join(struct report_groups *groups, size_t run,
                                        struct report_group *group, struct err *err)
{
    for (size_t i = 0; i < group->runs; i++)
        if (groups->curves[group->run[i]].config->seed == groups->curves[run].config->seed)
            return err_set(err, ERR_USAGE,
                           "%s and %s are runs of one config and one seed: one result",
                           groups->dirs[group->run[i]], groups->dirs[run]);
    group->run[group->runs++] = run;
    if (group->runs == 1 || groups->curves[run].n < group->n)
        group->n = groups->curves[run].n;
    return ERR_OK;
}

static enum err_code report_groups_place(struct report_groups *groups, size_t run,
                                         struct err *err)
{
    const struct run_config *config = groups->curves[run].config;
    for (size_t g = 0; g < groups->n; g++) {
        bool same = false;
        const enum err_code rc =
            report_groups_same(report_groups_lead(groups, g)->config, config, &same, err);
        if (rc || same)
            return rc ? rc : report_groups_join(groups, run, &groups->group[g], err);
    }
    if (groups->n == REPORT_GROUPS_MAX)
        return err_set(err, ERR_USAGE, "%s is of a config of its own, but %d is the most",
                       groups->dirs[run], REPORT_GROUPS_MAX);
    struct report_group *group = &groups->group[groups->n++];
    snprintf(group->name, sizeof group->name, "%c: %s", 'A' + (int)groups->n - 1, config->name);
    return report_groups_join(groups, run, group, err);
}

enum err_code report_groups_load(struct report_groups *groups, const char *const *run_dirs,
                                 size_t n, struct err *err)
{
    enum err_code rc = ERR_OK;
    *groups = (struct report_groups){.dirs = run_dirs, .runs = n};
    for (size_t i = 0; i < groups->runs && rc == ERR_OK; i++)
        rc = report_curves_load(&groups->curves[i], groups->dirs[i], err);
    for (size_t i = 0; i < groups->runs && rc == ERR_OK; i++)
        rc = report_groups_place(groups, i, err);
    for (size_t g = 0; g < groups->n && rc == ERR_OK; g++) {
        struct report_group *group = &groups->group[g];
        group->x = calloc(3 * group->n + 1, sizeof *group->x);
        if (!group->x)
            return err_set(err, ERR_NOMEM, "no memory for curves of %zu steps", group->n);
        group->y = group->x + group->n;
        group->error = group->y + group->n;
    }
    return rc;
}

void report_groups_release(struct report_groups *groups)
{
    for (size_t g = 0; g < groups->n; g++)
        free(groups->group[g].x);
    for (size_t i = 0; i < groups->runs; i++)
        report_curves_release(&groups->curves[i]);
}

/* --- quantities --------------------------------------------------------------------------- */

size_t report_groups_column(const struct report_groups *groups, size_t of, size_t column,
                            size_t g)
{
    const struct report_curves *lead = report_groups_lead(groups, g);
    if (column < REPORT_SCORE)
        return report_curves_has(lead, column) ? column : REPORT_COLUMNS;
    const struct run_scorer *want =
        &report_groups_lead(groups, of)->config->scorer[column - REPORT_SCORE];
    for (size_t s = 0; s < lead->config->scorers; s++)
        if (lead->config->scorer[s].role == want->role &&
            strcmp(lead->config->scorer[s].name, want->name) == 0 &&
            report_curves_has(lead, REPORT_SCORE + s))
            return REPORT_SCORE + s;
    return REPORT_COLUMNS;
}

bool report_groups_first(const struct report_groups *groups, size_t g, size_t column)
{
    if (!report_curves_has(report_groups_lead(groups, g), column))
        return false;
    for (size_t before = 0; before < g; before++)
        if (report_groups_column(groups, g, column, before) != REPORT_COLUMNS)
            return false;
    return true;
}

void report_groups_average(const struct report_groups *groups, size_t g, size_t column,
                           double *mean, double *error)
{
    const struct report_group *group = &groups->group[g];
    for (size_t i = 0; i < group->n; i++) {
        double value[REPORT_GROUPS_RUNS_MAX];
        for (size_t r = 0; r < group->runs; r++)
            value[r] = groups->curves[group->run[r]].y[column][i];
        const struct report_mean at = report_stats_mean(value, group->runs);
        mean[i] = at.mean;
        error[i] = at.error;
    }
}

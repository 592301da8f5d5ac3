/*
 * report_groups.h -- several runs, those of one config together: what they have in common.
 *
 * Runs whose configs differ in run.seed alone (and in what does not decide a run's bits, see
 * run_config_hash) form a group, in the order in which they were named.
 */
#ifndef CLI_REPORT_GROUPS_H
#define CLI_REPORT_GROUPS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "cli/chart.h"
#include "cli/report_curves.h"

#define REPORT_GROUPS_RUNS_MAX 64
#define REPORT_GROUPS_MAX      CHART_SERIES_MAX /* a colour each */

struct report_group {
    size_t run[REPORT_GROUPS_RUNS_MAX]; /* indices into curves and dirs below */
    size_t runs;
    size_t n;                    /* steps that all its runs have */
    char name[RUN_NAME_MAX + 8]; /* "A: " and the first one's run.name */
    double *x, *y, *error;       /* [n], for whoever draws it */
};

struct report_groups {
    const char *const *dirs;
    struct report_curves curves[REPORT_GROUPS_RUNS_MAX];
    size_t runs;
    struct report_group group[REPORT_GROUPS_MAX];
    size_t n;
};

/* Read n runs, at most REPORT_GROUPS_RUNS_MAX, and put each into its group.  ERR_USAGE where
 * there are more than REPORT_GROUPS_MAX groups, or two runs of one config and one seed, which
 * would count one result twice; otherwise as report_curves_load.  `run_dirs` is borrowed.  The
 * caller ends it with report_groups_release, also on failure. */
enum err_code report_groups_load(struct report_groups *groups, const char *const *run_dirs,
                                 size_t n, struct err *err);
void report_groups_release(struct report_groups *groups);

/* The first run of group g, whose config stands for all. */
const struct report_curves *report_groups_lead(const struct report_groups *groups, size_t g);

/* The column in which group g has what is in group `of`'s column; REPORT_COLUMNS: in none.
 * Scores are the same where their scorer's name and role are. */
size_t report_groups_column(const struct report_groups *groups, size_t of, size_t column,
                            size_t g);

/* Whether group g has the column, and none before it has the same quantity: who walks through
 * the groups and their columns meets each quantity once. */
bool report_groups_first(const struct report_groups *groups, size_t g, size_t column);

/* mean, error [group[g].n]: of the column at each step, over the group's runs. */
void report_groups_average(const struct report_groups *groups, size_t g, size_t column,
                           double *mean, double *error);

#endif

/*
 * experiment_results.h -- what the runs of an experiment came to, over seeds.
 *
 * A quantity is the raw reward, a scorer's score (the same scorer where name and role are), the
 * cost, its multiplier, the KL, the length.  Of each run it has up to five numbers:
 *
 *     best      mean over the best tenth of the steps, consecutive ones at any place
 *     last      mean over the last tenth of the steps
 *     change    last - best
 *     answers   mean over the answers of the final model to the prompts of `evaluate`
 *     win       how often these have the greater score, against evaluate.against
 *
 * and of each setting their mean over its runs, with error = s / sqrt(n), where n runs have the
 * number and s^2 has n - 1 in its denominator.  Only runs that trained to their end are in it.
 */
#ifndef CLI_EXPERIMENT_RESULTS_H
#define CLI_EXPERIMENT_RESULTS_H

#include <stdbool.h>

#include "cli/experiment.h"
#include "cli/experiment_evaluation.h"
#include "cli/report_curves.h"
#include "cli/report_stats.h"

#define EXPERIMENT_QUANTITIES_MAX 64

struct experiment_outcome { /* of a run */
    bool trained;           /* to its end: what follows is there */
    struct report_curves curves;
    struct experiment_evaluation *evaluation; /* [evaluations] by version, ascending */
    size_t evaluations;
};

struct experiment_quantity {
    char title[RUN_NAME_MAX + 48];
    size_t column;             /* of report_curves.h; REPORT_SCORE: a score */
    char scorer[RUN_NAME_MAX]; /* its name and role */
    enum run_role role;
    int sense; /* as report_stats_best has it; 0: none is best */
};

enum experiment_number {
    EXPERIMENT_BEST,
    EXPERIMENT_LAST,
    EXPERIMENT_CHANGE,
    EXPERIMENT_ANSWERS,
    EXPERIMENT_WIN,
    EXPERIMENT_NUMBERS
};

struct experiment_results {
    const struct experiment *experiment;
    struct experiment_outcome run[EXPERIMENT_RUNS_MAX]; /* as experiment->run */
    uint32_t trained;
    struct experiment_quantity quantity[EXPERIMENT_QUANTITIES_MAX];
    size_t quantities;
};

/* Read ledgers and evaluations.  ERR_FORMAT, ERR_IO name the file; ERR_NOMEM.  The caller ends
 * it with experiment_results_release, also on failure. */
enum err_code experiment_results_load(struct experiment_results *results,
                                      const struct experiment *experiment, struct err *err);
void experiment_results_release(struct experiment_results *results);

/* Of a setting, over its runs. */
struct report_mean experiment_results_mean(const struct experiment_results *results,
                                           const struct experiment_quantity *quantity,
                                           enum experiment_number number, uint32_t setting);

/* How the KL was held at its target by a setting's runs, each against the target of its config:
 * report_stats.h, over the runs that have the number. */
enum experiment_hold {
    EXPERIMENT_HOLD_REACHED,
    EXPERIMENT_HOLD_OVERSHOOT,
    EXPERIMENT_HOLD_ERROR,
    EXPERIMENT_HOLD_HELD,
    EXPERIMENT_HOLD_THROUGHOUT,
    EXPERIMENT_HOLD_NOISE,
    EXPERIMENT_HOLDS
};
/* Is the KL of any run held by a controller? */
bool experiment_results_holds(const struct experiment_results *results);
struct report_mean experiment_results_hold(const struct experiment_results *results,
                                           enum experiment_hold number, uint32_t setting);

/* The scorer of a run that the quantity is about; RUN_SCORERS_MAX: it has none. */
size_t experiment_results_scorer(const struct experiment_outcome *run,
                                 const struct experiment_quantity *quantity);

/* All of them as a table for a terminal. */
void experiment_results_write(const struct experiment_results *results, struct buf *out);

/* The experiment's page: these numbers; of models evaluated along the way, curves of answers and
 * win rates; and the comparison of report_compare.h, six settings at a time, the first among
 * each.  Written atomically.  ERR_STATE where no run is trained. */
enum err_code experiment_results_page(const struct experiment_results *results,
                                      const char *path, struct err *err);

#endif

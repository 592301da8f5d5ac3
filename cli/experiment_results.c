/* experiment_results.c -- see experiment_results.h. */
#include "cli/experiment_results.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/experiment_step.h"

/* --- reading ------------------------------------------------------------------------------ */

static enum err_code experiment_load_evaluations(const struct experiment *experiment,
                                                 const struct experiment_run *run,
                                                 struct experiment_outcome *out,
                                                 struct err *err)
{
    uint64_t version[EXPERIMENT_VERSIONS_MAX];
    size_t n = 0;
    enum err_code rc =
        experiment_versions(experiment, run, out->curves.config, version, &n, err);
    if (rc || n == 0)
        return rc;
    out->evaluation = calloc(n, sizeof *out->evaluation);
    if (!out->evaluation)
        return err_set(err, ERR_NOMEM, "no memory for %zu evaluations", n);
    for (size_t i = 0; i < n && rc == ERR_OK; i++) {
        bool found = false;
        rc = experiment_evaluation_read(experiment, run, out->curves.config, version[i],
                                        &out->evaluation[out->evaluations], &found, err);
        out->evaluations += found;
    }
    return rc;
}

static enum err_code experiment_load_run(const struct experiment *experiment,
                                         const struct experiment_run *run,
                                         struct experiment_outcome *out, struct err *err)
{
    struct experiment_step step;
    enum err_code rc = experiment_step_next(experiment, run, &step, err);
    out->trained = rc == ERR_OK && step.need >= EXPERIMENT_NEED_EVALUATE;
    if (rc || !out->trained)
        return rc;
    rc = report_curves_load(&out->curves, run->dir, err);
    return rc ? rc : experiment_load_evaluations(experiment, run, out, err);
}

static struct experiment_quantity *experiment_add(struct experiment_results *results,
                                                  const struct run_config *config,
                                                  size_t column)
{
    if (results->quantities == EXPERIMENT_QUANTITIES_MAX)
        return NULL;
    const struct report_quantity q = report_curves_quantity(config, column);
    struct experiment_quantity *out = &results->quantity[results->quantities++];
    *out = (struct experiment_quantity){.column = column, .sense = (int)q.sense};
    snprintf(out->title, sizeof out->title, "%s", q.title);
    return out;
}

/* Scorers of the run that no quantity is about yet.  Weights may differ between settings, so
 * they are not in the title. */
static void experiment_add_scorers(struct experiment_results *results,
                                   const struct experiment_outcome *run, enum run_role role)
{
    static const char *const words[] = {"reward", "cost", "monitor"}; /* by enum run_role */
    const struct run_config *config = run->curves.config;
    for (uint32_t s = 0; s < config->scorers; s++) {
        const struct run_scorer *scorer = &config->scorer[s];
        bool known = scorer->role != role;
        for (size_t i = 0; i < results->quantities && !known; i++)
            known = results->quantity[i].column == REPORT_SCORE &&
                    results->quantity[i].role == role &&
                    strcmp(results->quantity[i].scorer, scorer->name) == 0;
        struct experiment_quantity *q =
            known ? NULL : experiment_add(results, config, REPORT_SCORE + s);
        if (!q)
            continue;
        q->column = REPORT_SCORE;
        q->role = role;
        snprintf(q->scorer, sizeof q->scorer, "%s", scorer->name);
        snprintf(q->title, sizeof q->title, "%s (%s)", scorer->name, words[role]);
    }
}

static void experiment_collect(struct experiment_results *results)
{
    static const enum run_role roles[] = {RUN_ROLE_MONITOR, RUN_ROLE_REWARD, RUN_ROLE_COST};
    static const size_t columns[] = {REPORT_RAW, REPORT_COST, REPORT_MULTIPLIER, REPORT_KL,
                                     REPORT_LENGTH};
    const struct experiment *e = results->experiment;
    const struct run_config *config = NULL;
    for (size_t r = 0; r < sizeof roles / sizeof roles[0]; r++) {
        for (uint32_t i = 0; i < e->runs; i++) {
            if (!results->run[i].trained)
                continue;
            config = results->run[i].curves.config;
            experiment_add_scorers(results, &results->run[i], roles[r]);
        }
    }
    for (size_t c = 0; config && c < sizeof columns / sizeof columns[0]; c++)
        experiment_add(results, config, columns[c]);
}

enum err_code experiment_results_load(struct experiment_results *results,
                                      const struct experiment *experiment, struct err *err)
{
    memset(results, 0, sizeof *results);
    results->experiment = experiment;
    for (uint32_t i = 0; i < experiment->runs; i++) {
        const enum err_code rc =
            experiment_load_run(experiment, &experiment->run[i], &results->run[i], err);
        if (rc)
            return rc;
        results->trained += results->run[i].trained;
    }
    experiment_collect(results);
    return ERR_OK;
}

void experiment_results_release(struct experiment_results *results)
{
    for (size_t i = 0; i < EXPERIMENT_RUNS_MAX; i++) {
        report_curves_release(&results->run[i].curves);
        free(results->run[i].evaluation);
    }
}

/* --- numbers ------------------------------------------------------------------------------ */

size_t experiment_results_scorer(const struct experiment_outcome *run,
                                 const struct experiment_quantity *quantity)
{
    const struct run_config *config = run->curves.config;
    for (uint32_t s = 0; s < config->scorers && quantity->column == REPORT_SCORE; s++)
        if (config->scorer[s].role == quantity->role &&
            strcmp(config->scorer[s].name, quantity->scorer) == 0)
            return s;
    return RUN_SCORERS_MAX;
}

/* Of the run's training. */
static double experiment_of_curve(const struct experiment_outcome *run,
                                  const struct experiment_quantity *quantity,
                                  enum experiment_number number)
{
    size_t column = quantity->column;
    if (column == REPORT_SCORE)
        column += experiment_results_scorer(run, quantity);
    const struct report_curves *curves = &run->curves;
    if (column >= REPORT_COLUMNS || curves->n == 0 || !report_curves_has(curves, column))
        return NAN;
    const double *y = curves->y[column];
    const double last = report_stats_last(y, curves->n).at.mean;
    if (number == EXPERIMENT_LAST)
        return last;
    if (quantity->sense == 0)
        return NAN;
    const double best = report_stats_best(y, curves->n, quantity->sense).at.mean;
    return number == EXPERIMENT_BEST ? best : last - best;
}

/* Of the final model's answers. */
static double experiment_of_answers(const struct experiment_outcome *run,
                                    const struct experiment_quantity *quantity, bool win)
{
    const struct experiment_evaluation *last =
        run->evaluations > 0 ? &run->evaluation[run->evaluations - 1] : NULL;
    if (!last || last->version != run->curves.config->steps)
        return NAN;
    const size_t scorer = experiment_results_scorer(run, quantity);
    if (scorer < RUN_SCORERS_MAX)
        return win ? last->win[scorer] : last->score[scorer];
    if (win)
        return NAN;
    return quantity->column == REPORT_KL       ? last->kl
           : quantity->column == REPORT_LENGTH ? last->tokens
                                               : NAN;
}

struct report_mean experiment_results_mean(const struct experiment_results *results,
                                           const struct experiment_quantity *quantity,
                                           enum experiment_number number, uint32_t setting)
{
    const struct experiment *e = results->experiment;
    double x[EXPERIMENT_SEEDS_MAX];
    size_t n = 0;
    for (uint32_t i = 0; i < e->runs; i++) {
        const struct experiment_outcome *run = &results->run[i];
        if (!run->trained || e->run[i].setting != setting)
            continue;
        x[n++] = number == EXPERIMENT_ANSWERS || number == EXPERIMENT_WIN
                     ? experiment_of_answers(run, quantity, number == EXPERIMENT_WIN)
                     : experiment_of_curve(run, quantity, number);
    }
    return report_stats_mean(x, n);
}

/* --- how the KL was held ------------------------------------------------------------------ */

bool experiment_results_holds(const struct experiment_results *results)
{
    for (uint32_t i = 0; i < results->experiment->runs; i++)
        if (results->run[i].trained &&
            results->run[i].curves.config->kl_controller != RUN_KL_CONTROLLER_FIXED)
            return true;
    return false;
}

static double experiment_hold_of(const struct report_curves *curves,
                                 enum experiment_hold number)
{
    const struct run_config *config = curves->config;
    const double target =
        config->kl_target_token > 0.0 ? config->kl_target_token : config->kl_target;
    const struct report_hold hold =
        report_stats_hold(curves->y[REPORT_KL_MEASURED], curves->n, target);
    const double numbers[EXPERIMENT_HOLDS] = {hold.reached, hold.overshoot,  hold.error,
                                              hold.held,    hold.throughout, hold.noise};
    return numbers[number];
}

struct report_mean experiment_results_hold(const struct experiment_results *results,
                                           enum experiment_hold number, uint32_t setting)
{
    const struct experiment *e = results->experiment;
    double x[EXPERIMENT_SEEDS_MAX];
    size_t n = 0;
    for (uint32_t i = 0; i < e->runs; i++)
        if (results->run[i].trained && e->run[i].setting == setting)
            x[n++] = experiment_hold_of(&results->run[i].curves, number);
    return report_stats_mean(x, n);
}

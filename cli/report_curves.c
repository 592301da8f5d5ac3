/* report_curves.c -- see report_curves.h. */
#include "cli/report_curves.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "coordinator/ledger.h"

static bool report_curves_grow(struct report_curves *curves)
{
    if (curves->n < curves->cap)
        return true;
    const size_t cap = curves->cap ? 2 * curves->cap : 64;
    if (curves->n == REPORT_STEPS_MAX)
        return false;
    for (size_t c = 0; c < REPORT_COLUMNS; c++) {
        double *grown = realloc(curves->y[c], cap * sizeof *grown);
        if (!grown)
            return false;
        curves->y[c] = grown;
    }
    curves->cap = cap;
    return true;
}

static double report_curves_stat(const struct record_step *step, const char *name)
{
    for (uint32_t i = 0; i < step->stats_n; i++)
        if (strcmp(step->stats[i].name, name) == 0)
            return step->stats[i].value;
    return NAN;
}

static void report_curves_row(double row[REPORT_COLUMNS], const struct record_step *s)
{
    const double trained = s->trained ? (double)s->trained : NAN;
    row[REPORT_STEP] = (double)s->step;
    row[REPORT_RAW] = s->reward_raw_mean;
    row[REPORT_RAW_STD] = s->reward_raw_std;
    row[REPORT_SHAPED] = s->reward_shaped_mean;
    row[REPORT_COST] = s->cost_raw_mean;
    row[REPORT_MULTIPLIER] = s->multiplier_after;
    row[REPORT_COST_VALUE_LOSS] = report_curves_stat(s, "cost_value_loss");
    row[REPORT_COST_VARIANCE] = report_curves_stat(s, "cost_explained_variance");
    row[REPORT_KL] = s->kl_mean;
    row[REPORT_KL_MEASURED] = s->controller_n >= 3 ? s->controller[1] : NAN; /* record.h */
    row[REPORT_SQRT_KL] = sqrt(fmax(0, s->kl_mean)); /* an estimate may be below 0 */
    row[REPORT_BETA] = s->kl_coef_before;
    row[REPORT_LENGTH] = (double)s->response_tokens / trained;
    row[REPORT_TRUNCATED] = (double)s->truncated / trained;
    row[REPORT_ENTROPY] = report_curves_stat(s, "entropy");
    row[REPORT_CLIP_FRACTION] = report_curves_stat(s, "clip_fraction");
    row[REPORT_APPROX_KL] = report_curves_stat(s, "approx_kl");
    row[REPORT_VALUE_LOSS] = report_curves_stat(s, "value_loss");
    row[REPORT_EXPLAINED_VARIANCE] = report_curves_stat(s, "explained_variance");
    row[REPORT_GRAD_NORM] = report_curves_stat(s, "grad_norm");
    row[REPORT_TOKENS_PER_S] =
        s->duration_ms ? 1e3 * (double)s->response_tokens / (double)s->duration_ms : NAN;
    row[REPORT_LOGP_DIFF_MAX] = report_curves_stat(s, "logp_diff_max");
    for (size_t i = 0; i < RUN_SCORERS_MAX; i++)
        row[REPORT_SCORE + i] = s->score_mean[i];
    if (s->trained == 0) /* means over no slot */
        row[REPORT_RAW] = row[REPORT_RAW_STD] = row[REPORT_SHAPED] = row[REPORT_COST] =
            row[REPORT_KL] = row[REPORT_SQRT_KL] = NAN;
    for (size_t i = 0; i < RUN_SCORERS_MAX && s->trained == 0; i++)
        row[REPORT_SCORE + i] = NAN;
}

static enum err_code report_curves_step(void *ctx, const struct record *record, struct err *err)
{
    struct report_curves *curves = ctx;
    if (!report_curves_grow(curves))
        return err_set(err, ERR_NOMEM, "the report has no room for step %llu",
                       (unsigned long long)record->step->step);
    double row[REPORT_COLUMNS];
    report_curves_row(row, record->step);
    for (size_t c = 0; c < REPORT_COLUMNS; c++)
        curves->y[c][curves->n] = row[c];
    curves->n += 1;
    return ERR_OK;
}

enum err_code report_curves_load(struct report_curves *curves, const char *run_dir,
                                 struct err *err)
{
    char path[FILE_PATH_MAX];
    struct ledger *ledger = NULL;
    *curves = (struct report_curves){.config = calloc(1, sizeof *curves->config)};
    if (!curves->config)
        return err_set(err, ERR_NOMEM, "no memory for the config of %s", run_dir);
    enum err_code rc = file_join(path, run_dir, "config.yaml", err);
    if (rc == ERR_OK)
        rc = run_config_load(curves->config, path, NULL, 0, err);
    if (rc == ERR_OK)
        rc = ledger_open_read(&ledger, run_dir, err);
    if (rc == ERR_OK)
        rc = ledger_each_step(ledger, report_curves_step, curves, err);
    const enum err_code closed = ledger_close(ledger, rc ? NULL : err);
    return rc ? rc : closed;
}

void report_curves_release(struct report_curves *curves)
{
    for (size_t c = 0; c < REPORT_COLUMNS; c++)
        free(curves->y[c]);
    free(curves->config);
    *curves = (struct report_curves){0};
}

bool report_curves_has(const struct report_curves *curves, size_t column)
{
    if (column >= REPORT_SCORE + curves->config->scorers)
        return false;
    if (column == REPORT_COST && !run_config_has_role(curves->config, RUN_ROLE_COST))
        return false;
    if (column == REPORT_MULTIPLIER && !run_config_has_cost(curves->config))
        return false;
    for (size_t i = 0; i < curves->n; i++)
        if (isfinite(curves->y[column][i]))
            return true;
    return false;
}

static const char *report_curves_role(enum run_role role)
{
    switch (role) {
    case RUN_ROLE_REWARD: return "reward";
    case RUN_ROLE_COST: return "cost";
    case RUN_ROLE_MONITOR: return "monitor";
    }
    return "?";
}

static struct report_quantity report_curves_score(const struct run_scorer *scorer)
{
    struct report_quantity q = {.unit = "score", .section = REPORT_REWARD};
    if (scorer->role == RUN_ROLE_MONITOR) {
        q.sense = scorer->better == RUN_BETTER_LOWER ? REPORT_LESS : REPORT_MORE;
        snprintf(q.title, sizeof q.title, "%s (monitor)", scorer->name);
        return q;
    }
    const bool cost = scorer->role == RUN_ROLE_COST;
    q.section = cost ? REPORT_SAFETY : REPORT_REWARD;
    if (scorer->weight != 0)
        q.sense = (scorer->weight > 0) != cost ? REPORT_MORE : REPORT_LESS;
    snprintf(q.title, sizeof q.title, "%s (%s, weight %.4g)", scorer->name,
             report_curves_role(scorer->role), scorer->weight);
    return q;
}

struct report_quantity report_curves_quantity(const struct run_config *config, size_t column)
{
    static const struct {
        const char *title, *unit;
        enum report_section section;
        enum report_sense sense;
    } rows[] = {
#define X(name, title, unit, section, sense) {title, unit, REPORT_##section, REPORT_##sense},
        REPORT_COLUMN_MAP(X)
#undef X
    };
    if (column >= REPORT_SCORE)
        return report_curves_score(&config->scorer[column - REPORT_SCORE]);
    struct report_quantity q = {.unit = rows[column].unit,
                                .section = rows[column].section,
                                .sense = rows[column].sense};
    snprintf(q.title, sizeof q.title, "%s", rows[column].title);
    return q;
}

struct chart_level report_curves_level(const struct run_config *config, size_t column)
{
    if (column == REPORT_COST && run_config_has_role(config, RUN_ROLE_COST))
        return (struct chart_level){"limit", config->safety_limit};
    if (column == REPORT_KL && config->kl_controller != RUN_KL_CONTROLLER_FIXED &&
        config->kl_target_token == 0.0) /* the curve is per sequence */
        return (struct chart_level){"target", config->kl_target};
    return (struct chart_level){"", NAN};
}

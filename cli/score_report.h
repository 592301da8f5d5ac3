/*
 * score_report.h -- what came of training a score model: training.json with every number, and
 * report.html, which needs no network.
 */
#ifndef CLI_SCORE_REPORT_H
#define CLI_SCORE_REPORT_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "offline/scoring.h"

/* A model's training and what the weights that are kept make of the items held out.  Borrowed. */
struct score_report {
    const struct feedback *feedback;
    const struct scoring_names *names;
    const struct scoring_baseline *baseline;
    const char *settings;              /* JSON */
    const struct fit_history *history; /* NULL: an ensemble, which has none of its own */
    size_t members;                    /* of the ensemble; else 0 */
    size_t trained;                    /* items */
    const uint32_t *held_out;          /* (n) items */
    size_t n;
    const float *first, *second; /* (n, labels) their scores, as scoring_scores has them */
    const double *metric;        /* of these scores */
    const char *combiner;        /* JSON: how labels become one score, or NULL */
};

/* Write dir/training.json and dir/report.html.  ERR_IO, ERR_NOMEM. */
enum err_code score_report_write(const struct score_report *report, const char *dir,
                                 struct err *err);

#endif

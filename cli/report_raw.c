/* report_raw.c -- see report_raw.h. */
#include "cli/report_raw.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/raw_reward.h"

#define REPORT_RAW_REFERENCES 64 /* of a prompt, at most: reward.references */
#define REPORT_RAW_EXAMPLES   (3 * REPORT_EXAMPLES)

/* What the raw reward of an example depends on beside its own scores. */
struct report_raw_of {
    struct report_example *example;
    uint32_t worst_group;
    size_t refs;
    double ref[REPORT_RAW_REFERENCES * RUN_SCORERS_MAX];
};

struct report_raw {
    const struct run_config *config;
    struct raw_reward reward;
    struct report_raw_of of[REPORT_RAW_EXAMPLES];
};

static void report_raw_reference(struct report_raw *raw, struct report_raw_of *of,
                                 const struct record *record)
{
    const uint32_t n = raw->config->scorers;
    if (of->example->prompt != record->a || record->scorers != n ||
        of->refs == REPORT_RAW_REFERENCES)
        return;
    memcpy(of->ref + of->refs++ * n, record->scores, n * sizeof(double));
}

static enum err_code report_raw_record(void *ctx, const struct record *record, struct err *err)
{
    struct report_raw *raw = ctx;
    (void)err;
    for (size_t i = 0; i < REPORT_RAW_EXAMPLES; i++) {
        struct report_raw_of *of = &raw->of[i];
        if (!of->example->held || of->example->reference)
            continue;
        if (record->kind == RECORD_SCORE && record->work == WIRE_WORK_REFERENCE)
            report_raw_reference(raw, of, record);
        if (record->kind == RECORD_STEP && record->step->step == of->example->step)
            of->worst_group = record->step->worst_group;
    }
    return ERR_OK;
}

static double report_raw_value(const struct report_raw *raw, const struct report_raw_of *of)
{
    const struct report_example *example = of->example;
    if (example->scorers != raw->config->scorers)
        return NAN;
    return raw_reward_recorded(&raw->reward, example->score, of->worst_group, of->ref,
                               of->refs);
}

enum err_code report_raw_fill(struct report_examples *examples, struct ledger *ledger,
                              const struct run_config *config, struct err *err)
{
    struct report_raw *raw = calloc(1, sizeof *raw);
    if (!raw)
        return err_set(err, ERR_NOMEM, "no memory for the report's references");
    raw->config = config;
    for (size_t i = 0; i < REPORT_EXAMPLES; i++) {
        raw->of[i].example = &examples->last[i];
        raw->of[i + REPORT_EXAMPLES].example = &examples->early[i];
        raw->of[i + 2 * REPORT_EXAMPLES].example = &examples->first[i];
    }
    const bool alone =
        config->combine != RUN_COMBINE_TREE && config->combine != RUN_COMBINE_MAXMIN;
    enum err_code rc = raw_reward_init(&raw->reward, config, err);
    if (rc == ERR_OK && !alone)
        rc = ledger_each(ledger, 0, report_raw_record, raw, err);
    for (size_t i = 0; i < REPORT_RAW_EXAMPLES && rc == ERR_OK; i++)
        raw->of[i].example->raw = report_raw_value(raw, &raw->of[i]);
    free(raw);
    return rc;
}

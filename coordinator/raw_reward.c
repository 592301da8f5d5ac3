/* raw_reward.c -- see raw_reward.h. */
#include "coordinator/raw_reward.h"

#include <assert.h>
#include <math.h>

static enum combine_kind raw_reward_kind(enum run_combine combine)
{
    switch (combine) {
    case RUN_COMBINE_SUM: return COMBINE_SUM;
    case RUN_COMBINE_PRODUCT: return COMBINE_PRODUCT;
    case RUN_COMBINE_MIN: return COMBINE_MIN;
    case RUN_COMBINE_LEVELS: return COMBINE_LEVELS;
    case RUN_COMBINE_TREE: return COMBINE_TREE;
    case RUN_COMBINE_MAXMIN: return COMBINE_MAXMIN;
    }
    assert(0 && "reward.combine: no such value");
    return COMBINE_SUM;
}

enum err_code raw_reward_init(struct raw_reward *raw, const struct run_config *config,
                              struct err *err)
{
    static_assert(RUN_SCORERS_MAX <= COMBINE_TERMS_MAX, "all scorers can be combined");
    raw->config = config;
    raw->combine =
        (struct combine_params){.kind = raw_reward_kind(config->combine), .term = raw->term};
    for (uint32_t i = 0; i < config->scorers; i++) {
        const struct run_scorer *scorer = &config->scorer[i];
        if (scorer->role != RUN_ROLE_REWARD)
            continue;
        raw->scorer[raw->combine.terms] = i;
        raw->term[raw->combine.terms++] = (struct combine_term){
            .name = scorer->name,
            .prompt_kind = scorer->prompt_kind[0] ? scorer->prompt_kind : NULL,
            .weight = scorer->weight,
            .margin = scorer->margin,
            .low = scorer->low,
            .high = scorer->high};
    }
    return combine_check(&raw->combine, err);
}

struct combine_scores raw_reward_named(const struct run_config *config, const double *scores,
                                       struct score *named)
{
    for (uint32_t i = 0; i < config->scorers; i++)
        named[i] = (struct score){
            .name = config->scorer[i].name, .state = SCORE_OK, .value = scores[i]};
    return (struct combine_scores){.score = named, .n = config->scorers};
}

/* The terms that counted have a score: what a prompt's kind is need not be known. */
static void raw_reward_count(const struct raw_reward *raw, const double *scores,
                             struct combine_params *combine, struct combine_term *term)
{
    *combine = (struct combine_params){.kind = raw->combine.kind, .term = term};
    for (uint32_t t = 0; t < raw->combine.terms; t++) {
        if (raw->term[t].prompt_kind && isnan(scores[raw->scorer[t]]))
            continue;
        term[combine->terms] = raw->term[t];
        term[combine->terms++].prompt_kind = NULL;
    }
}

/* The mean of comparisons with one reference each is the comparison with them all. */
static double raw_reward_tree(const struct raw_reward *raw,
                              const struct combine_params *combine,
                              const struct combine_scores *all, const double *refs, size_t n)
{
    const uint32_t scorers = raw->config->scorers;
    double sum = 0.0;
    for (size_t m = 0; m < n; m++) {
        struct score named[RUN_SCORERS_MAX];
        const struct combine_scores ref =
            raw_reward_named(raw->config, refs + m * scorers, named);
        double share;
        if (combine_apply(combine, NULL, all, &ref, 1, &share, NULL) != ERR_OK)
            return NAN;
        sum += share;
    }
    return n > 0 ? sum / (double)n : NAN;
}

double raw_reward_recorded(const struct raw_reward *raw, const double *scores,
                           uint32_t worst_group, const double *refs, size_t n_refs)
{
    struct combine_params combine;
    struct combine_term term[RUN_SCORERS_MAX];
    struct score named[RUN_SCORERS_MAX];
    const struct combine_scores all = raw_reward_named(raw->config, scores, named);
    double value;
    raw_reward_count(raw, scores, &combine, term);
    if (combine.kind == COMBINE_TREE)
        return raw_reward_tree(raw, &combine, &all, refs, n_refs);
    if (combine.kind == COMBINE_MAXMIN) {
        while (combine.group < combine.terms && raw->scorer[combine.group] + 1 != worst_group)
            combine.group++;
        if (combine.group == combine.terms)
            return NAN;
    }
    return combine_apply(&combine, NULL, &all, NULL, 0, &value, NULL) == ERR_OK ? value : NAN;
}

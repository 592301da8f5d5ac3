/* combine.c -- see combine.h. */
#include "control/combine.h"

#include <assert.h>
#include <math.h>
#include <string.h>

const char *combine_name(enum combine_kind kind)
{
    switch (kind) {
#define X(name, word) \
    case COMBINE_##name: return word;
        COMBINE_KIND_MAP(X)
#undef X
    }
    return "?";
}

const char *combine_ensemble_name(enum combine_ensemble ensemble)
{
    switch (ensemble) {
#define X(name, word) \
    case COMBINE_ENSEMBLE_##name: return word;
        COMBINE_ENSEMBLE_MAP(X)
#undef X
    }
    return "?";
}

bool combine_needs_references(const struct combine_params *params)
{
    return params->kind == COMBINE_TREE;
}

bool combine_counts(const struct combine_term *term, const char *prompt_kind)
{
    return !term->prompt_kind || (prompt_kind && strcmp(term->prompt_kind, prompt_kind) == 0);
}

/* --- settings -------------------------------------------------------------------------- */

static enum err_code combine_check_members(const struct combine_term *term, struct err *err)
{
    for (uint32_t i = 0; i < term->members; i++) {
        if (term->member[i][0] == '\0')
            return err_set(err, ERR_USAGE, "combine: member %u of \"%s\" has no name",
                           (unsigned)i, term->name);
        for (uint32_t j = 0; j < i; j++) {
            if (strcmp(term->member[i], term->member[j]) == 0)
                return err_set(err, ERR_USAGE, "combine: \"%s\" has the member \"%s\" twice",
                               term->name, term->member[i]);
        }
    }
    if (term->members == 0 || term->ensemble != COMBINE_ENSEMBLE_LCB)
        return ERR_OK;
    if (term->members < 2)
        return err_set(err, ERR_USAGE, "combine: \"%s\" is an lcb of 1 member, 2 are needed",
                       term->name);
    if (!isfinite(term->deviations) || term->deviations < 0.0)
        return err_set(err, ERR_USAGE,
                       "combine: \"%s\" subtracts %g deviations, must be 0 or more", term->name,
                       term->deviations);
    return ERR_OK;
}

/* How many steps the term's range has. */
static double combine_levels(const struct combine_term *term)
{
    return floor((term->high - term->low) / term->margin) + 1.0;
}

static enum err_code combine_check_term(enum combine_kind kind, const struct combine_term *term,
                                        struct err *err)
{
    const bool factor =
        kind == COMBINE_PRODUCT || kind == COMBINE_MIN || kind == COMBINE_MAXMIN;
    const char *name = term->name;
    if (kind == COMBINE_SUM && !isfinite(term->weight))
        return err_set(err, ERR_USAGE, "combine: \"%s\" has weight %g", name, term->weight);
    if (factor && !(isfinite(term->weight) && term->weight > 0.0))
        return err_set(err, ERR_USAGE,
                       "combine: \"%s\" has weight %g, under %s it must be above 0", name,
                       term->weight, combine_name(kind));
    if (kind == COMBINE_MAXMIN && term->prompt_kind)
        return err_set(err, ERR_USAGE,
                       "combine: \"%s\" counts for prompts of one kind, under maxmin a group "
                       "judges every prompt",
                       name);
    if (kind == COMBINE_TREE && !(isfinite(term->margin) && term->margin >= 0.0))
        return err_set(err, ERR_USAGE, "combine: \"%s\" has margin %g, must be 0 or more", name,
                       term->margin);
    if (kind != COMBINE_LEVELS)
        return ERR_OK;
    if (!(isfinite(term->margin) && term->margin > 0.0))
        return err_set(err, ERR_USAGE, "combine: \"%s\" has margin %g, must be above 0", name,
                       term->margin);
    if (!(isfinite(term->high - term->low) && term->low < term->high))
        return err_set(err, ERR_USAGE, "combine: \"%s\" lies between %g and %g", name,
                       term->low, term->high);
    return ERR_OK;
}

static enum err_code combine_check_name(const struct combine_params *params, uint32_t i,
                                        struct err *err)
{
    const struct combine_term *term = &params->term[i];
    if (term->name[0] == '\0')
        return err_set(err, ERR_USAGE, "combine: score %u has no name", (unsigned)i);
    for (uint32_t j = 0; j < i; j++) {
        if (strcmp(term->name, params->term[j].name) == 0)
            return err_set(err, ERR_USAGE, "combine: score \"%s\" is named twice", term->name);
    }
    if (term->prompt_kind && term->prompt_kind[0] == '\0')
        return err_set(err, ERR_USAGE, "combine: the prompt kind of \"%s\" is empty",
                       term->name);
    return ERR_OK;
}

enum err_code combine_check(const struct combine_params *params, struct err *err)
{
    if ((unsigned)params->kind > COMBINE_MAXMIN)
        return err_set(err, ERR_USAGE, "combine: kind %u is none", (unsigned)params->kind);
    if (params->terms < 1 || params->terms > COMBINE_TERMS_MAX)
        return err_set(err, ERR_USAGE, "combine: %u scores, must be 1 to %d",
                       (unsigned)params->terms, COMBINE_TERMS_MAX);
    double levels = 1.0;
    for (uint32_t i = 0; i < params->terms; i++) {
        enum err_code rc = combine_check_name(params, i, err);
        if (!rc)
            rc = combine_check_members(&params->term[i], err);
        if (!rc)
            rc = combine_check_term(params->kind, &params->term[i], err);
        if (rc)
            return rc;
        levels *= params->kind == COMBINE_LEVELS ? combine_levels(&params->term[i]) : 1.0;
    }
    if (!(levels <= COMBINE_LEVELS_MAX))
        return err_set(err, ERR_USAGE, "combine: %g levels in all, at most 2^53 fit", levels);
    return ERR_OK;
}

/* --- one term -------------------------------------------------------------------------- */

/* score.h's sum of one, for its errors: what is missing is named in one way. */
static enum err_code combine_score(const char *name, const struct combine_scores *scores,
                                   double *value, struct err *err)
{
    const struct score_term term = {.name = name, .weight = 1.0};
    return score_combine(&term, 1, scores->score, scores->n, value, err);
}

enum err_code combine_value(const struct combine_term *term,
                            const struct combine_scores *scores, double *value, struct err *err)
{
    if (term->members == 0)
        return combine_score(term->name, scores, value, err);
    struct moments moments = {0};
    double least = INFINITY;
    for (uint32_t i = 0; i < term->members; i++) {
        double score;
        const enum err_code rc = combine_score(term->member[i], scores, &score, err);
        if (rc)
            return rc;
        moments_add(&moments, score);
        least = score < least ? score : least;
    }
    double result = moments.mean;
    if (term->ensemble == COMBINE_ENSEMBLE_LEAST)
        result = least;
    if (term->ensemble == COMBINE_ENSEMBLE_LCB)
        result -= term->deviations * sqrt(moments_variance(&moments, true));
    if (!isfinite(result))
        return err_set(err, ERR_VALUE, "combine: the %s of \"%s\" is %g",
                       combine_ensemble_name(term->ensemble), term->name, result);
    *value = result;
    return ERR_OK;
}

/* --- many terms ------------------------------------------------------------------------ */

/* The terms that count for this prompt, and their scores. */
struct combine_counted {
    uint32_t n;
    const struct combine_term *term[COMBINE_TERMS_MAX];
    double value[COMBINE_TERMS_MAX];
};

static enum err_code combine_nothing_counts(const char *prompt_kind, struct err *err)
{
    if (!prompt_kind)
        return err_set(err, ERR_STATE, "combine: no score counts for prompts without a kind");
    return err_set(err, ERR_STATE, "combine: no score counts for prompts of kind \"%s\"",
                   prompt_kind);
}

static enum err_code combine_count(const struct combine_params *params, const char *prompt_kind,
                                   const struct combine_scores *scores,
                                   struct combine_counted *counted, struct err *err)
{
    assert(params->terms <= COMBINE_TERMS_MAX);
    counted->n = 0;
    for (uint32_t i = 0; i < params->terms; i++) {
        const struct combine_term *term = &params->term[i];
        if (!combine_counts(term, prompt_kind))
            continue;
        const enum err_code rc = combine_value(term, scores, &counted->value[counted->n], err);
        if (rc)
            return rc;
        counted->term[counted->n++] = term;
    }
    return counted->n == 0 ? combine_nothing_counts(prompt_kind, err) : ERR_OK;
}

static enum err_code combine_sum(const struct combine_counted *in, double *sum, struct err *err)
{
    struct score_term terms[COMBINE_TERMS_MAX];
    struct score scores[COMBINE_TERMS_MAX];
    for (uint32_t i = 0; i < in->n; i++) {
        const char *name = in->term[i]->name;
        terms[i] = (struct score_term){.name = name, .weight = in->term[i]->weight};
        scores[i] = (struct score){.name = name, .state = SCORE_OK, .value = in->value[i]};
    }
    return score_combine(terms, in->n, scores, in->n, sum, err);
}

/* Two scores below 0 would make a good one. */
static enum err_code combine_product(const struct combine_counted *in, double *product,
                                     struct err *err)
{
    double result = 1.0;
    for (uint32_t i = 0; i < in->n; i++) {
        const double value = in->value[i], weight = in->term[i]->weight;
        if (value < 0.0)
            return err_set(err, ERR_VALUE,
                           "combine: \"%s\" is %g, a product takes scores of 0 or more",
                           in->term[i]->name, value);
        result *= weight == 1.0 ? value : pow(value, weight);
    }
    *product = result;
    return ERR_OK;
}

static double combine_min(const struct combine_counted *in)
{
    double least = INFINITY;
    for (uint32_t i = 0; i < in->n; i++) {
        const double value = in->term[i]->weight * in->value[i];
        least = value < least ? value : least;
    }
    return least;
}

/* A score that would make the reward infinite is refused whichever group is chosen: whether a
 * response can be trained on must not depend on the others. */
static double combine_group(const struct combine_counted *in, uint32_t group)
{
    double chosen = 0.0;
    for (uint32_t i = 0; i < in->n; i++) {
        const double value = in->term[i]->weight * in->value[i];
        if (!isfinite(value))
            return value;
        chosen = i == group ? value : chosen;
    }
    return chosen;
}

static double combine_digits(const struct combine_counted *in)
{
    double sum = 0.0, place = 1.0;
    for (uint32_t i = 0; i < in->n; i++) {
        const struct combine_term *term = in->term[i];
        const double value = fmin(fmax(in->value[i], term->low), term->high);
        const double digit = floor((value - term->low) / term->margin);
        place *= combine_levels(term);
        sum += digit / place;
    }
    return sum;
}

static enum err_code combine_tree(const struct combine_params *params, const char *prompt_kind,
                                  const struct combine_scores *scores,
                                  const struct combine_scores *refs, size_t n_refs,
                                  double *share, struct err *err)
{
    if (n_refs == 0)
        return err_set(err, ERR_STATE, "combine: a tree compares, and there is no reference");
    double points = 0.0;
    for (size_t m = 0; m < n_refs; m++) {
        int order;
        uint32_t decided;
        const enum err_code rc =
            combine_compare(params, prompt_kind, scores, &refs[m], &order, &decided, err);
        if (rc)
            return rc;
        points += 0.5 * (order + 1);
    }
    *share = points / (double)n_refs;
    return ERR_OK;
}

enum err_code combine_apply(const struct combine_params *params, const char *prompt_kind,
                            const struct combine_scores *scores,
                            const struct combine_scores *refs, size_t n_refs, double *raw,
                            struct err *err)
{
    if (params->kind == COMBINE_TREE)
        return combine_tree(params, prompt_kind, scores, refs, n_refs, raw, err);
    struct combine_counted counted;
    double result = 0.0;
    enum err_code rc = combine_count(params, prompt_kind, scores, &counted, err);
    if (!rc && params->kind == COMBINE_SUM)
        rc = combine_sum(&counted, &result, err);
    if (!rc && params->kind == COMBINE_PRODUCT)
        rc = combine_product(&counted, &result, err);
    if (rc)
        return rc;
    if (params->kind == COMBINE_MIN)
        result = combine_min(&counted);
    if (params->kind == COMBINE_LEVELS)
        result = combine_digits(&counted);
    if (params->kind == COMBINE_MAXMIN) {
        assert(params->group < counted.n);
        result = combine_group(&counted, params->group);
    }
    if (!isfinite(result))
        return err_set(err, ERR_VALUE, "combine: the %s of %u scores is %g",
                       combine_name(params->kind), (unsigned)counted.n, result);
    *raw = result;
    return ERR_OK;
}

enum err_code combine_compare(const struct combine_params *params, const char *prompt_kind,
                              const struct combine_scores *a, const struct combine_scores *b,
                              int *order, uint32_t *decided, struct err *err)
{
    bool counts = false;
    int first_order = 0;
    uint32_t first = params->terms;
    for (uint32_t i = 0; i < params->terms; i++) {
        const struct combine_term *term = &params->term[i];
        double of_a, of_b;
        if (!combine_counts(term, prompt_kind))
            continue;
        counts = true;
        enum err_code rc = combine_value(term, a, &of_a, err);
        if (!rc)
            rc = combine_value(term, b, &of_b, err);
        if (rc)
            return rc;
        if (first == params->terms && fabs(of_a - of_b) > term->margin) {
            first_order = of_a > of_b ? 1 : -1;
            first = i; /* the terms after it are read all the same: none may be missing */
        }
    }
    if (!counts)
        return combine_nothing_counts(prompt_kind, err);
    *order = first_order;
    *decided = first;
    return ERR_OK;
}

size_t combine_weakest(const struct moments *score, size_t n)
{
    size_t weakest = n;
    for (size_t i = 0; i < n; i++) {
        if (score[i].n > 0.0 && (weakest == n || score[i].mean < score[weakest].mean))
            weakest = i;
    }
    return weakest;
}

/* score.c -- see score.h. */
#include "control/score.h"

#include <math.h>
#include <string.h>

const char *score_state_name(enum score_state state)
{
    switch (state) {
#define X(name, number, word) \
    case SCORE_##name: return word;
        SCORE_STATE_MAP(X)
#undef X
    }
    return "missing";
}

enum err_code score_check(const struct score_term *terms, size_t n_terms, struct err *err)
{
    if (n_terms == 0)
        return err_set(err, ERR_USAGE, "score: no scorer is named");
    for (size_t i = 0; i < n_terms; i++) {
        if (terms[i].name[0] == '\0')
            return err_set(err, ERR_USAGE, "score: scorer %zu has no name", i);
        if (!isfinite(terms[i].weight))
            return err_set(err, ERR_USAGE, "score: scorer \"%s\" has weight %g", terms[i].name,
                           terms[i].weight);
        for (size_t j = 0; j < i; j++) {
            if (strcmp(terms[i].name, terms[j].name) == 0)
                return err_set(err, ERR_USAGE, "score: scorer \"%s\" is named twice",
                               terms[i].name);
        }
    }
    return ERR_OK;
}

static const struct score *score_find(const struct score *scores, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(scores[i].name, name) == 0)
            return &scores[i];
    }
    return NULL;
}

enum err_code score_combine(const struct score_term *terms, size_t n_terms,
                            const struct score *scores, size_t n_scores, double *raw,
                            struct err *err)
{
    double sum = 0.0;
    for (size_t i = 0; i < n_terms; i++) {
        const struct score *score = score_find(scores, n_scores, terms[i].name);
        if (!score)
            return err_set(err, ERR_STATE, "score: scorer \"%s\" gave no score", terms[i].name);
        if (score->state != SCORE_OK)
            return err_set(err, ERR_STATE, "score: scorer \"%s\" has no score: %s",
                           terms[i].name, score_state_name(score->state));
        if (!isfinite(score->value))
            return err_set(err, ERR_VALUE, "score: scorer \"%s\" gave %g", terms[i].name,
                           score->value);
        sum += terms[i].weight * score->value;
    }
    if (!isfinite(sum))
        return err_set(err, ERR_VALUE, "score: the weighted sum of %zu scores is %g", n_terms,
                       sum);
    *raw = sum;
    return ERR_OK;
}

double score_probability(double score)
{
    return 1.0 / (1.0 + exp(-score));
}

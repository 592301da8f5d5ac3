/*
 * score.h -- from several named scores of a response to its one raw reward.
 *
 *     raw = sum_i weight[i] * score[name[i]]
 *
 * A score that could not be had is not 0: unless every score the sum names is there and ok,
 * there is no sum, and the error says which scorer is at fault.
 *
 * Pure arithmetic in double; the sum runs in the order of the terms.
 */
#ifndef CONTROL_SCORE_H
#define CONTROL_SCORE_H

#include <stddef.h>

#include "base/err.h"

/* The numbers are the wire's: a state that was never written (0) is none of them. */
#define SCORE_STATE_MAP(X) X(OK, 1, "ok") X(FAILED, 2, "failed") X(TIMEOUT, 3, "timeout")

enum score_state {
#define X(name, number, word) SCORE_##name = number,
    SCORE_STATE_MAP(X)
#undef X
};

/* One scorer's answer about one response. */
struct score {
    const char *name;       /* of the scorer */
    enum score_state state; /* `value` means something where it is SCORE_OK */
    double value;
};

/* One summand. */
struct score_term {
    const char *name; /* of the scorer */
    double weight;
};

/* "timeout"; "missing" for a number that is none.  A constant string. */
const char *score_state_name(enum score_state state);

/* ERR_USAGE where there is no term, a name is empty or stands twice, or a weight is not
 * finite. */
enum err_code score_check(const struct score_term *terms, size_t n_terms, struct err *err);

/*
 * *raw = the weighted sum.  Scores that no term names are ignored, also when they failed; a
 * term of weight 0 still needs its score.  ERR_STATE, naming the scorer, where a score is
 * absent or its state is not ok; ERR_VALUE where a score that is ok, or the sum, is not finite.
 * *raw is untouched on error.
 */
enum err_code score_combine(const struct score_term *terms, size_t n_terms,
                            const struct score *scores, size_t n_scores, double *raw,
                            struct err *err);

/* 1 / (1 + exp(-score)): the probability of harm, where the score is that of a cost model
 * trained with sign terms (Dai et al., arXiv:2310.12773). */
double score_probability(double score);

#endif

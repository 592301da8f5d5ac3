/*
 * combine.h -- from the named scores of a response to its one raw reward, beyond a plain sum.
 *
 *     sum        sum_i weight[i] s[i]                        as score.h, to the bit
 *     product    prod_i s[i]^weight[i]                       scores of 0 or more
 *     min        min_i weight[i] s[i]
 *     levels     the scores as digits of one number: the first counts most
 *     tree       the share of reference responses that it beats, score by score
 *     maxmin     weight[g] s[g], g the group of users that the whole step serves worst
 *
 * A term's score s[i] is that of the scorer of its name, or, where the term has members, of an
 * ensemble of scorers:
 *
 *     mean       mean over members
 *     min        the least                                   (Coste et al., arXiv:2310.02743)
 *     lcb        mean - deviations * std, std with n - 1
 *
 * (Coste et al. subtract a multiple of the variance; the deviation has the unit of a score.)
 *
 * A term with a prompt_kind counts for prompts of that kind and is as if it were not there for
 * others, its score included.  Prompts for which no term counts are an error, and so is a score
 * that is missing where it counts: it never becomes a number.
 *
 * min, with a scorer for each group of users, is the reward of the group worst served by this
 * response.  MaxMin-RLHF (Chakraborty et al., arXiv:2402.08925) asks for the group worst served
 * by the policy: the least of the means, not the mean of the least.  That is maxmin: a term is
 * a group's score, combine_weakest finds the group of a step from all its responses, and then
 * the raw reward of each, and of each reference, is that group's.  Every term counts for every
 * prompt: a group that did not judge a response could not be served by it.
 *
 * The tree is HERON's (Bukharin et al., "Deep reinforcement learning from hierarchical
 * preference design", arXiv:2309.02632): of two responses to a prompt, the first score in the
 * order of the terms that differs by more than its margin decides; where none does, they are
 * equal.  (HERON sets a margin to a multiple of that score's deviation in the batch.)  There it
 * labels pairs for a reward model.  As a number for one response it is
 *
 *     tree       mean over references of 1, 1/2 or 0 where it is better, equal or worse
 *     levels     sum_i q[i] / (n[1] ... n[i])                in [0, 1)
 *                q = floor((clip(s, low, high) - low) / margin), n = q of high + 1
 *
 * tree keeps the comparison as it is and needs references; its value is compared already, so it
 * goes with a shaper that takes none.  levels needs none: it is the positional number whose
 * digits are the scores in steps of their margins, the lexicographic order on that grid.  Two
 * scores closer than a margin may still lie on two sides of a step.
 *
 * Pure arithmetic in double, libm's pow among it where a weight of product is not 1; terms run
 * in their order.  Nothing is copied or kept.
 */
#ifndef CONTROL_COMBINE_H
#define CONTROL_COMBINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "control/moments.h"
#include "control/score.h"

#define COMBINE_TERMS_MAX  16
#define COMBINE_LEVELS_MAX 9007199254740992.0 /* 2^53: the product of all n of levels */

#define COMBINE_KIND_MAP(X) \
    X(SUM, "sum") X(PRODUCT, "product") X(MIN, "min") X(LEVELS, "levels") X(TREE, "tree") \
    X(MAXMIN, "maxmin")
#define COMBINE_ENSEMBLE_MAP(X) X(MEAN, "mean") X(LEAST, "min") X(LCB, "lcb")

enum combine_kind {
#define X(name, word) COMBINE_##name,
    COMBINE_KIND_MAP(X)
#undef X
};
enum combine_ensemble {
#define X(name, word) COMBINE_ENSEMBLE_##name,
    COMBINE_ENSEMBLE_MAP(X)
#undef X
};

struct combine_term {
    const char *name;          /* without members, also of the scorer */
    const char *const *member; /* (members) names of scorers */
    uint32_t members;          /* 0: the term is no ensemble; LCB: 2 or more */
    enum combine_ensemble ensemble;
    double deviations;       /* LCB: >= 0 */
    const char *prompt_kind; /* NULL: the term counts for every prompt */
    double weight;           /* SUM: finite; PRODUCT, MIN, MAXMIN: > 0 */
    double margin;           /* LEVELS: > 0; TREE: >= 0 */
    double low, high;        /* LEVELS: finite, low < high; scores past them count as they */
};

struct combine_params {
    enum combine_kind kind;
    uint32_t terms; /* 1 .. COMBINE_TERMS_MAX */
    const struct combine_term *term;
    uint32_t group; /* MAXMIN: the term whose group the step serves worst, < terms */
};

/* All that was scored about one response. */
struct combine_scores {
    const struct score *score; /* (n) */
    size_t n;
};

/* "tree", "lcb"; "?" for a number that is none.  Constant strings. */
const char *combine_name(enum combine_kind kind);
const char *combine_ensemble_name(enum combine_ensemble ensemble);

/* ERR_USAGE, naming the term and the setting, where the ranges above do not hold, a name is
 * empty or stands twice, a term of MAXMIN has a prompt kind, or the levels are more than
 * COMBINE_LEVELS_MAX. */
enum err_code combine_check(const struct combine_params *params, struct err *err);

/* Does it compare with references (TREE)? */
bool combine_needs_references(const struct combine_params *params);

/* Does the term count for prompts of this kind?  NULL: a prompt of no kind. */
bool combine_counts(const struct combine_term *term, const char *prompt_kind);

/* *value = the term's score.  ERR_STATE, naming the scorer, where one it needs is missing or
 * not ok; ERR_VALUE where one, or the result, is not finite.  *value is untouched then. */
enum err_code combine_value(const struct combine_term *term,
                            const struct combine_scores *scores, double *value,
                            struct err *err);

/*
 * *raw = the raw reward of a response to a prompt of this kind, or of none (NULL).  TREE alone
 * reads refs[0 .. n_refs-1], what was scored about reference responses to the same prompt; it
 * needs one.  MAXMIN needs the scores of all groups, whichever is the one.  Errors as
 * combine_value; also ERR_STATE where no term counts or a reference is needed, and ERR_VALUE
 * where PRODUCT meets a score below 0.  *raw is untouched on error.
 */
enum err_code combine_apply(const struct combine_params *params, const char *prompt_kind,
                            const struct combine_scores *scores,
                            const struct combine_scores *refs, size_t n_refs, double *raw,
                            struct err *err);

/*
 * The tree itself: *order is 1 where `a` is better, -1 where `b` is, 0 where no term decides;
 * *decided is then terms, else the index of the term that did.  Every term that counts needs its
 * score on both sides, also after that.  Errors as combine_apply; the outputs are then untouched.
 */
enum err_code combine_compare(const struct combine_params *params, const char *prompt_kind,
                              const struct combine_scores *a, const struct combine_scores *b,
                              int *order, uint32_t *decided, struct err *err);

/* The index of the least mean among n, the first of equal ones; those that counted nothing are
 * passed over.  n where all did. */
size_t combine_weakest(const struct moments *score, size_t n);

#endif

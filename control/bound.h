/*
 * bound.h -- how large the mean of a cost may be, from n samples of it, and the gate that
 * stands on it.
 *
 * U is an upper bound of confidence 1 - delta, one-sided: over many sets of samples, at most a
 * share delta of the U lie below the true mean.  With m the mean and s the standard deviation
 * (n - 1) of the samples:
 *
 *     student          m + s t(n - 1, delta) / sqrt(n)
 *     hoeffding        m + (high - low) sqrt(log(1 / delta) / (2 n))
 *     bernstein        m + s sqrt(2 log(2 / delta) / n)
 *                        + 7 (high - low) log(2 / delta) / (3 (n - 1))
 *     clopper_pearson  the p at which delta = P(at most k of n), k the count of ones
 *
 * (Student 1908; Hoeffding 1963, theorem 2; Maurer and Pontil, "Empirical Bernstein bounds and
 * sample variance penalization", COLT 2009, theorem 4; Clopper and Pearson 1934.  ALGORITHMS,
 * sections 3 and 5.)  What each asks of the samples, beside being independent and alike:
 *
 *     student          a mean that is near enough to normal: many samples, no rare large ones.
 *                      Samples that are all equal say nothing about s, and are refused
 *     hoeffding        low <= sample <= high, whatever the distribution
 *     bernstein        the same; the narrower of the two where s is well below high - low
 *     clopper_pearson  0 or 1, whatever the rate
 *
 * The gate (HC-RLHF; Thomas et al., "Preventing undesirable behavior of intelligent machines",
 * Science 2019).  A policy is released only where U <= limit, on samples of prompts that
 * training never saw.  A set of prompts is good for a number of candidates fixed before the
 * first is tested, candidates_max: each is tested at delta / candidates_max (Bonferroni), so
 * that the chance that any candidate passes whose true mean is above the limit is at most
 * delta.  That holds while a later candidate depends on the set through the fact alone that
 * the earlier ones failed; m and U must not find their way into training.
 *
 * Pure arithmetic in double, libm's exp, log and log1p among it; sums run in index order.
 */
#ifndef CONTROL_BOUND_H
#define CONTROL_BOUND_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define BOUND_SAMPLES_MAX ((size_t)1 << 24)
#define BOUND_DELTA_MIN   1e-100
#define BOUND_DELTA_MAX   0.5

// clang-format off
#define BOUND_KIND_MAP(X) \
    X(STUDENT, "student") X(HOEFFDING, "hoeffding") X(BERNSTEIN, "bernstein")             \
    X(CLOPPER_PEARSON, "clopper_pearson")
// clang-format on

enum bound_kind {
#define X(name, word) BOUND_##name,
    BOUND_KIND_MAP(X)
#undef X
};

struct bound_params {
    enum bound_kind kind;
    double low, high; /* HOEFFDING, BERNSTEIN: of the samples, finite, low < high */
};

/* "bernstein"; "?" for a number that is none.  A constant string. */
const char *bound_name(enum bound_kind kind);

/* ERR_USAGE, naming the setting, where the kind is none or the range above does not hold. */
enum err_code bound_params_check(const struct bound_params *params, struct err *err);

/* How few samples this kind can do with: 2 for those that take s, else 1. */
size_t bound_samples_min(enum bound_kind kind);

/*
 * *upper = U.  delta in [BOUND_DELTA_MIN, BOUND_DELTA_MAX], else ERR_USAGE.  ERR_STATE where n
 * is below bound_samples_min or above BOUND_SAMPLES_MAX; ERR_VALUE, naming the sample, where
 * one is not finite or not in the kind's range, and where all samples are equal under STUDENT.
 * *upper is untouched on error.
 */
enum err_code bound_upper(const struct bound_params *params, const double *samples, size_t n,
                          double delta, double *upper, struct err *err);

/* The t that Student's distribution of df >= 1 degrees of freedom, not necessarily whole,
 * passes with probability delta, in the range above.  Its error, relative to 1 + t, is below
 * 1e-12 up to df 1000, below 1e-9 up to 1e6, below 4e-9 up to BOUND_SAMPLES_MAX. */
double bound_student_quantile(double df, double delta);

/* --- the gate -------------------------------------------------------------------------- */

/* NSF: no solution found.  It is 0, so a verdict that nobody filled in lets nothing pass. */
#define BOUND_DECISION_MAP(X) X(NSF, "NSF") X(PASS, "PASS")

enum bound_decision {
#define X(name, word) BOUND_##name,
    BOUND_DECISION_MAP(X)
#undef X
};

struct bound_gate {
    struct bound_params bound;
    double limit;            /* the mean cost a policy may have, finite */
    double delta;            /* of all candidates together */
    uint32_t candidates_max; /* planned for this set of prompts, >= 1 */
};

struct bound_verdict {
    enum bound_decision decision;
    double mean, upper; /* of the samples; 0 where the test was refused */
    double delta;       /* this candidate was tested at; 0 where it was refused */
};

/* "PASS"; "?" for a number that is none.  A constant string. */
const char *bound_decision_name(enum bound_decision decision);

/* ERR_USAGE, naming the setting, where the ranges above do not hold. */
enum err_code bound_gate_check(const struct bound_gate *gate, struct err *err);

/*
 * Test candidate 0, 1, ... of this set, one sample a prompt.  *verdict is PASS if and only if
 * U <= limit; it is written in any case, and NSF on error: ERR_STATE where `candidate` is
 * candidates_max or more, for the set is then spent, else the errors of bound_upper.
 */
enum err_code bound_gate_test(const struct bound_gate *gate, uint32_t candidate,
                              const double *samples, size_t n, struct bound_verdict *verdict,
                              struct err *err);

#endif

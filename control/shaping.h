/*
 * shaping.h -- from the reward model's score to the reward that training sees.
 *
 *     none       r
 *     centered   r - mean_m ref[m]
 *     par        mean_m sigma(k * (r - ref[m]))        in (0, 1)
 *
 * over the first M reference scores: those of responses that the starting policy gave to the
 * same prompt, under the same reward model, after the same length penalty.  PAR is Preference
 * As Reward (Fu et al., arXiv:2502.18770; ALGORITHMS, section 1.1): the Bradley-Terry
 * probability that the response beats a reference.
 *
 * A reference that is missing is an error and has no default: a made-up reference is a
 * made-up reward.
 *
 * Pure arithmetic in double, libm's exp among it: the coordinator alone shapes, and records
 * what it shaped.  The sum over references runs in index order.
 */
#ifndef CONTROL_SHAPING_H
#define CONTROL_SHAPING_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define SHAPING_KIND_MAP(X) X(NONE, "none") X(CENTERED, "centered") X(PAR, "par")

enum shaping_kind {
#define X(name, word) SHAPING_##name,
    SHAPING_KIND_MAP(X)
#undef X
};

struct shaping_params {
    enum shaping_kind kind;
    uint32_t references; /* M: CENTERED and PAR average over the first M, >= 1 */
    double slope;        /* k of PAR, > 0 */
};

/* What a shaper with running statistics carries from step to step: doubles alone, so that it
 * can be written down as it is.  No kind above has any yet; the state stays all zero. */
struct shaping_state {
    double count, mean, m2; /* of the training rewards seen so far, as in moments.h */
};

/* "par"; "?" for a number that is none.  A constant string. */
const char *shaping_name(enum shaping_kind kind);

/* How many references a prompt needs before its responses can be shaped; 0 for NONE. */
uint32_t shaping_references(const struct shaping_params *params);

/* ERR_USAGE, naming the setting, where the ranges above do not hold. */
enum err_code shaping_check(const struct shaping_params *params, struct err *err);

void shaping_init(const struct shaping_params *params, struct shaping_state *state);

/*
 * *shaped = the reward for a response that scored `raw`, against refs[0..n_refs-1], of which
 * the first M count.  ERR_STATE below M references; ERR_VALUE where raw, one of those M, or the
 * result is not finite.  *shaped is untouched on error.
 */
enum err_code shaping_apply(const struct shaping_params *params,
                            const struct shaping_state *state, double raw, const double *refs,
                            size_t n_refs, double *shaped, struct err *err);

#endif

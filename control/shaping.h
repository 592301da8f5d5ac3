/*
 * shaping.h -- from the reward model's score to the reward that training sees.
 *
 *     none         r
 *     ceiling      min(r, c)
 *     sigmoid      sigma(k * r)                            in (0, 1)
 *     tanh         tanh(r)                                 in (-1, 1)
 *     polynomial   p(r)
 *
 *     centered             r - mean_m ref[m]
 *     par                  mean_m sigma(k * (r - ref[m]))  in (0, 1)
 *     sgfc                 mean_m sigma(k * (r - shift - ref[m]))
 *     tanh_centered        mean_m tanh(r - ref[m])
 *     arctan               mean_m atan(r - ref[m])         in (-pi/2, pi/2)
 *     polynomial_centered  mean_m p(r - ref[m])
 *     lsc                  log sigma(r - q),  q = mean(ref) + z * (std(ref) + 1e-5)
 *
 *     meanstd      (r - mean) / std                        of the rewards trained on so far
 *     clip         r, moved into [mean - std, mean + std]
 *     minmax       (r - min) / (max - min)
 *
 * r has its length penalty taken off.  ref[] are the first M reference scores: those of
 * responses that the starting policy gave to the same prompt, under the same reward model,
 * after the same penalty.  PAR is Preference As Reward (Fu et al., arXiv:2502.18770;
 * ALGORITHMS, section 1): the Bradley-Terry probability that the response beats a reference.
 * SgFc: slow growth, fast convergence.  LSC: log sigma, centred at the references' quantile of
 * 85 % under a normal distribution (z = 1.0364...; std with n - 1, 0 for a single one).  p is
 * the polynomial of degree 5 fitted to sigma on [-5, 5], 0 below and 1 above; just inside the
 * ends it overshoots by 0.011.
 *
 * A reference that is missing is an error and has no default: a made-up reference is a
 * made-up reward.
 *
 * The last three carry statistics from step to step.  What shapes step s is what steps
 * 0 .. s - 1 left, never anything of step s itself: so a step can be shaped again from what
 * was recorded, and a reward does not depend on its neighbours.  std has n in the denominator.
 * Where there is no width yet, 1 stands for it:
 *     before the first step   all three give r as it is;
 *     all rewards were equal  std is 1 for meanstd and clip, max - min is 1 for minmax.
 * minmax leaves [0, 1] where a reward passes all earlier ones; it is not cut off there.
 *
 * Pure arithmetic in double, libm's exp, tanh, atan and log1p among it: the coordinator alone
 * shapes, and records what it shaped.  The sum over references runs in index order.
 */
#ifndef CONTROL_SHAPING_H
#define CONTROL_SHAPING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

// clang-format off
#define SHAPING_KIND_MAP(X) \
    X(NONE, "none") X(CENTERED, "centered") X(PAR, "par")                                 \
    X(CEILING, "ceiling") X(CLIP, "clip") X(MEANSTD, "meanstd") X(MINMAX, "minmax")       \
    X(LSC, "lsc") X(SIGMOID, "sigmoid") X(TANH, "tanh")                                   \
    X(TANH_CENTERED, "tanh_centered") X(ARCTAN, "arctan") X(POLYNOMIAL, "polynomial")     \
    X(POLYNOMIAL_CENTERED, "polynomial_centered") X(SGFC, "sgfc")
// clang-format on

enum shaping_kind {
#define X(name, word) SHAPING_##name,
    SHAPING_KIND_MAP(X)
#undef X
};

struct shaping_params {
    enum shaping_kind kind;
    uint32_t references; /* M: of the kinds that look at references, >= 1; LSC >= 2 */
    double slope;        /* k of PAR, SIGMOID and SGFC, > 0 */
    double ceiling;      /* c of CEILING, finite */
    double shift;        /* of SGFC, finite */
};

/* What MEANSTD, CLIP and MINMAX carry from step to step, and what a step adds to it.  Doubles
 * alone, so that it can be written down as it is; all zero: nothing seen. */
struct shaping_state {
    double count, mean, m2; /* of the training rewards seen so far, as in moments.h */
    double min, max;        /* of the same */
};
#define SHAPING_STATE_N 5 /* doubles */

/* "par"; "?" for a number that is none.  A constant string. */
const char *shaping_name(enum shaping_kind kind);

/* How many references a prompt needs before its responses can be shaped; 0 for the kinds that
 * look at none. */
uint32_t shaping_references(const struct shaping_params *params);

/* Does this kind carry statistics? */
bool shaping_is_running(const struct shaping_params *params);

/* ERR_USAGE, naming the setting, where the ranges above do not hold. */
enum err_code shaping_check(const struct shaping_params *params, struct err *err);

void shaping_init(const struct shaping_params *params, struct shaping_state *state);

/*
 * *shaped = the reward for a response that scored `raw`, against refs[0..n_refs-1], of which
 * the first M count.  LSC takes a single reference too, where others were lost.  ERR_STATE
 * below M references; ERR_VALUE where raw, one of those M, or the result is not finite.
 * *shaped is untouched on error.  Never changes the state: see shaping_update.
 */
enum err_code shaping_apply(const struct shaping_params *params,
                            const struct shaping_state *state, double raw, const double *refs,
                            size_t n_refs, double *shaped, struct err *err);

/* Count one reward, as it is before shaping, into the statistics of its own step: `batch`
 * begins all zero, and rewards come in the order of slots. */
void shaping_add(struct shaping_state *batch, double raw);

/*
 * state += batch (Chan's merge), once a step and for training batches alone.  Does nothing for
 * a kind without statistics.  ERR_VALUE, state untouched, where they would not be finite.
 */
enum err_code shaping_update(const struct shaping_params *params, struct shaping_state *state,
                             const struct shaping_state *batch, struct err *err);

/* sqrt(m2 / count); 0 where nothing was seen. */
double shaping_std(const struct shaping_state *state);

/* As SHAPING_STATE_N doubles, and back: the same bits. */
void shaping_state_write(const struct shaping_state *state, double out[SHAPING_STATE_N]);
void shaping_state_read(struct shaping_state *state, const double in[SHAPING_STATE_N]);

#endif

/*
 * chain.h -- several shapers of shaping.h, one after another.
 *
 *     x[0]   = r                                  the score, its length penalty taken off
 *     x[i+1] = link i of x[i], against ref[i][..]
 *     ref[0]      = the reference scores, after the same penalty
 *     ref[i+1][m] = link i of ref[i][m], against ref[i][..]
 *
 * and what comes out of the last link is the reward.  References pass through the links before
 * the one that looks at them: a difference r - ref means something only where both are on one
 * scale.  So "centered, par" is par alone, and "ceiling, par" is 1/2 against a reference that
 * is past the ceiling too.  (The code of PAR combines its flags in a fixed order, and shapes
 * against references as they came, with the length penalty alone: ALGORITHMS, section 1.3.)
 *
 * A link that carries statistics has those of what reached it, x[i] of the responses trained
 * on; references are not counted.  The rule of shaping.h holds for each: step s is shaped by
 * what steps 0 .. s - 1 left.
 *
 * A chain of one link is that shaper, to the bit.  Pure arithmetic in double.
 */
#ifndef CONTROL_CHAIN_H
#define CONTROL_CHAIN_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "control/shaping.h"

#define CHAIN_LINKS_MAX      8
#define CHAIN_REFERENCES_MAX 64
#define CHAIN_STATE_MAX      (CHAIN_LINKS_MAX * SHAPING_STATE_N) /* doubles */

struct chain_params {
    uint32_t links;                              /* 1 .. CHAIN_LINKS_MAX */
    struct shaping_params link[CHAIN_LINKS_MAX]; /* in the order they are applied */
};

/* The statistics of each link, or what a step adds to them; all zero: nothing seen. */
struct chain_state {
    struct shaping_state link[CHAIN_LINKS_MAX]; /* those without statistics stay zero */
};

/* ERR_USAGE, naming the link and its setting, where one is not as shaping.h wants it, or takes
 * more than CHAIN_REFERENCES_MAX references. */
enum err_code chain_check(const struct chain_params *params, struct err *err);

/* How many references a prompt needs: what the link that takes most of them takes. */
uint32_t chain_references(const struct chain_params *params);

void chain_init(const struct chain_params *params, struct chain_state *state);

/*
 * *shaped = the reward for a response that scored `raw`, against refs[0 .. n_refs-1].  ERR_STATE
 * below chain_references; ERR_VALUE, naming the link, where something that goes in or comes out
 * is not finite.  *shaped is untouched on error.
 */
enum err_code chain_apply(const struct chain_params *params, const struct chain_state *state,
                          double raw, const double *refs, size_t n_refs, double *shaped,
                          struct err *err);

/* Count one training response into the statistics of its own step: what reaches each link under
 * `state`, of the steps before.  `batch` begins all zero, and responses come in the order of
 * slots.  Errors as chain_apply; *batch is untouched then. */
enum err_code chain_add(const struct chain_params *params, const struct chain_state *state,
                        double raw, const double *refs, size_t n_refs,
                        struct chain_state *batch, struct err *err);

/* state += batch, once a step.  ERR_VALUE, naming the link, state untouched, where a statistic
 * would not be finite. */
enum err_code chain_update(const struct chain_params *params, struct chain_state *state,
                           const struct chain_state *batch, struct err *err);

/* How many doubles a state is written as: SHAPING_STATE_N for each link with statistics. */
uint32_t chain_state_n(const struct chain_params *params);

/* As chain_state_n doubles, and back: the same bits.  chain_read: ERR_FORMAT where n is another
 * number, ERR_VALUE where the doubles cannot have come from chain_update; *state is then
 * untouched. */
void chain_write(const struct chain_params *params, const struct chain_state *state,
                 double *out);
enum err_code chain_read(const struct chain_params *params, const double *in, size_t n,
                         struct chain_state *state, struct err *err);

#endif

/*
 * rollback.h -- which version a run goes back to, and which of its versions that leaves behind.
 *
 * Version v is the policy after v steps, and stays so: a run that goes back in step r to the
 * state of `target` does not count back.  Step r trains nothing, version r + 1 is what version
 * `target` was, and the versions between are left behind:
 *
 *     version   0 .. 4 .. 7  8  9  10 ..          step 7 goes back to version 4:
 *                    \       ^                    version 8 has its weights;
 *                     +------+                    5, 6 and 7 are left behind
 *
 * A restore point is a version that is a multiple of `every`; version 0, the models the run began
 * with and a fresh optimizer, is one.  The target is the newest restore point that is not left
 * behind and not newer than `good`, the newest version that is known to break no limit.  With
 * `base` and `resumed` of the last rollback that is
 *
 *     last = every * floor(good / every)
 *     target = last, where last >= resumed, else base
 *
 * as no version between base and resumed is of the run any more, and version `resumed` is base
 * again.  So it follows from numbers that are written down, and not from what was stored when.
 *
 * A rollout of a version that was left behind says nothing of the policy that is trained now.
 * With a lag of L, those of the L steps behind a rollback are such: rollback_discards.
 *
 * Pure arithmetic, no clock.
 */
#ifndef CONTROL_ROLLBACK_H
#define CONTROL_ROLLBACK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/* Doubles alone, so that it can be written down as it is. */
struct rollback_state {
    double base;    /* what the last rollback went back to; 0: there was none */
    double resumed; /* the version that then had its weights; 0 */
    double count;   /* rollbacks of the run */
};
#define ROLLBACK_STATE_N (sizeof(struct rollback_state) / sizeof(double))

void rollback_init(struct rollback_state *state);

/* What a rollback goes back to now; `good` < 0, nothing known: 0.  every > 0. */
uint64_t rollback_target(const struct rollback_state *state, uint64_t every, double good);

/* Was this version left behind? */
bool rollback_discards(const struct rollback_state *state, uint64_t version);

/* Step `step` goes back to version `target` <= step, which rollback_target named. */
void rollback_step(struct rollback_state *state, uint64_t step, uint64_t target);

/* May a rollback after step `step` need restore point `version`, if `target` is what it would go
 * back to had no step since been good?  True of it, and of every newer one that the rollouts of
 * a later step may yet show to be good: at most lag / every + 2 at a time. */
bool rollback_needs(uint64_t every, uint32_t lag, uint64_t step, uint64_t target,
                    uint64_t version);

/* A state that was read back, after `steps` steps: ERR_VALUE where it cannot be. */
enum err_code rollback_check(const struct rollback_state *state, uint64_t every, uint64_t steps,
                             struct err *err);

#endif

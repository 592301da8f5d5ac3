/*
 * kl_reference.h -- which version of the policy KL is measured from, where that is renewed.
 *
 * With `every` > 0 each version that is a multiple of it becomes the reference of itself and of
 * what comes after it (reference policy reset: Liu et al., "ProRL", arXiv:2505.24864);
 * version 0 stands for the reference that the run began with.  A run that goes back to a
 * version (control/rollback.h) goes back to its reference too:
 *
 *     reference(0) = 0
 *     reference(v) = v               where v is a multiple of every,
 *                  = reference(b)    else, where step v - 1 went back to version b,
 *                  = reference(v-1)  else
 *
 *     every 4     version   0 .. 3  4 .. 7  8  9  10  11  12
 *                 reference 0 .. 0  4 .. 4  8  8   4   4  12      step 9 went back to version 6
 *
 * So it follows from the version alone, but for rollbacks, and these are written down.  The KL of
 * step s is that of its rollouts, and so from the reference of the version that made them,
 * max(0, s - lag): the step whose rollouts are of version 8 has a KL of 0, whatever the lag.  With
 * a lag below `every` the lag + 1 versions up to any one have at most KL_REFERENCES_MAX references
 * among them: one renewal, and one rollback, since the steps behind a rollback are set aside.
 *
 * Pure arithmetic.
 */
#ifndef CONTROL_KL_REFERENCE_H
#define CONTROL_KL_REFERENCE_H

#include <stdint.h>

#define KL_REFERENCES_MAX 3 /* of versions v - lag .. v, version 0's counted */

/* Of `version`; `inherited` is the reference of version - 1, or of the version that the step
 * between went back to.  every 0: never renewed. */
uint64_t kl_reference_version(uint64_t every, uint64_t version, uint64_t inherited);

#endif

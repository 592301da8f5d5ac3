/*
 * advantages.h -- from a lease's token rewards, and token costs, to the advantage of each token.
 *
 *     with critics     rewards, V_r --> GAE --> A_r --+--> (A_r - lambda A_c) / (1 + lambda)
 *                      costs,   V_c --> GAE --> A_c --+        --> whitened --> A
 *     without          (r - lambda c) / (1 + lambda) --> group or reward to go --> A
 *
 * Whitening comes once, after the streams are one (ALGORITHMS, section 2: their proportion is
 * lambda's to say).  Without costs it is the reward's stream alone; with lambda 0 its A has the
 * same bits.
 */
#ifndef LEARNER_ADVANTAGES_H
#define LEARNER_ADVANTAGES_H

#include "learner/experience.h"
#include "learner/learner.h"

/* A critic's view of a step: what it said before the update, and what it is to learn. */
struct advantages_stream {
    struct trainable *critic; /* borrowed; NULL: there is none, and no values */
    float *value, *ret;       /* (N) */
    double mean;              /* of A_r, or A_c, over the N tokens; 0 without a critic */
};

struct advantages {
    float *adv;                            /* (N) */
    struct advantages_stream reward, cost; /* cost: arrays NULL where no costs train */
    double mean;                           /* of A before whitening */
};

/* Arrays for N tokens from the learner's arena, critics as the learner has them.  ERR_NOMEM. */
enum err_code advantages_open(struct advantages *a, struct learner *learner, uint32_t tokens,
                              struct err *err);

/* Fill everything from the experience and the critics' present weights.  ERR_VALUE where
 * something is not finite.  Reports progress to the worker; leaves the arena as it was. */
enum err_code advantages_compute(struct advantages *a, struct learner *learner,
                                 struct worker *worker, const struct experience *x,
                                 double multiplier, struct err *err);

#endif

/*
 * learner_golden.h -- for tests of a training step: the one that tests/golden/train_step.py
 * computed.
 */
#ifndef TESTS_UNIT_LEARNER_GOLDEN_H
#define TESTS_UNIT_LEARNER_GOLDEN_H

#include "tests/unit/learner_scene.h"

#define GOLDEN_STEP 3

static struct message golden_lease(void)
{
    struct message lease = bench_step(&bench, GOLDEN_STEP);
    lease.behaviour_version = 0; /* the weights at hand */
    return lease;
}

static void train(struct learner *learner)
{
    const struct message lease = golden_lease();
    check_ok(learner_train(learner, &lease, NULL, &err));
}

static double told(const struct learner *learner, const char *name)
{
    return bench_stat(learner->stats, learner->stats_n, name);
}

#endif

/* learner_scene.h -- for tests of a learner: a bench of each test's own. */
#ifndef TESTS_UNIT_LEARNER_SCENE_H
#define TESTS_UNIT_LEARNER_SCENE_H

#include "tests/unit/learner_bench.h"

static struct bench bench;

static int setup(void **state)
{
    (void)state;
    bench_open(&bench);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    bench_close(&bench);
    return 0;
}

#endif

/*
 * near.h -- checks on doubles: cmocka's own compares floats.
 */
#ifndef TESTS_UNIT_NEAR_H
#define TESTS_UNIT_NEAR_H

#include "tests/test.h"

/* Two doubles equal within `atol`; a NaN is near nothing. */
#define check_near(got, want, atol) near_check(__FILE__, __LINE__, #got, got, want, atol)

static inline void near_check(const char *file, int line, const char *name, double got,
                              double want, double atol)
{
    if (!(fabs(got - want) <= atol))
        fail_msg("%s:%d: %s is %.12g, want %.12g within %g", file, line, name, got, want, atol);
}

#endif

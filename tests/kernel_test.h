/*
 * kernel_test.h -- what the tests of the kernels share: seeded inputs, equality of bits, and
 * every instruction set this machine has.
 */
#ifndef TESTS_KERNEL_TEST_H
#define TESTS_KERNEL_TEST_H

#include <stdlib.h>

#include "engine/kernels/isa.h"
#include "engine/pool.h"
#include "tests/test.h"

/* In [-1, 1): a fixed stream, so that a failing run is the same run tomorrow. */
static inline float kernel_uniform(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (float)((double)(*seed >> 40) / (double)(1u << 24) * 2.0 - 1.0);
}

/* Room for n floats, 64-byte aligned and not one byte more, so that AddressSanitizer sees a
 * read past the end. */
static inline float *kernel_room(size_t n)
{
    void *x = NULL;
    assert_int_equal(posix_memalign(&x, 64, n * sizeof(float)), 0);
    return x;
}

/* n floats in [-1, 1).  The caller frees them. */
static inline float *kernel_random(size_t n, uint64_t seed)
{
    float *x = kernel_room(n);
    for (size_t i = 0; i < n; i++)
        x[i] = kernel_uniform(&seed);
    return x;
}

static inline float *kernel_copy(const float *x, size_t n)
{
    float *copy = kernel_room(n);
    memcpy(copy, x, n * sizeof(float));
    return copy;
}

#define check_same_bits(got, want, n) kernel_check_same_bits(#got, got, want, n)

static inline void kernel_check_same_bits(const char *name, const float *got, const float *want,
                                          size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (memcmp(&got[i], &want[i], sizeof got[i]) != 0)
            fail_msg("%s[%zu] is %a, not %a to the bit", name, i, (double)got[i],
                     (double)want[i]);
}

/* Central difference of loss(arg) with respect to *p, in double. */
static inline double kernel_slope(double *p, double (*loss)(const void *arg), const void *arg)
{
    const double at = *p, h = 1e-5;
    *p = at + h;
    const double above = loss(arg);
    *p = at - h;
    const double below = loss(arg);
    *p = at;
    return (above - below) / (2.0 * h);
}

/* for (each instruction set of this machine), the best one last. */
#define KERNEL_EACH_ISA(isa)                            \
    for (int isa = ISA_PLAIN; isa <= ISA_AVX512; isa++) \
        if (isa_has((enum isa)isa) && (isa_force((enum isa)isa), true))

static inline struct pool *kernel_pool(size_t threads)
{
    struct err err = {0};
    struct pool *pool = pool_new(threads, &err);
    if (!pool)
        fail_msg("%s", err.text);
    return pool;
}

#endif

/*
 * processor.h -- a poorer processor than this, for the code that such a one runs.
 */
#ifndef TESTS_PROCESSOR_H
#define TESTS_PROCESSOR_H

#if defined(__x86_64__)
/* What __builtin_cpu_supports looks at, in gcc's library and in clang's. */
extern struct {
    unsigned vendor, type, subtype, features;
} __cpu_model;

enum { PROCESSOR_AVX512F = 15 }; /* its bit there */

/* As a setup of a group of tests. */
static inline int processor_without_avx512(void **state)
{
    (void)state;
    __cpu_model.features &= ~(1u << PROCESSOR_AVX512F);
    return 0;
}
#else
static inline int processor_without_avx512(void **state)
{
    (void)state;
    return 0;
}
#endif

#endif

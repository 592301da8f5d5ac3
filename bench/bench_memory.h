/*
 * bench_memory.h -- arrays that are read and written, with nothing but an addition in between: what
 * bounds work that goes through memory, or through the caches where they hold it.
 *
 *     out[j][i] = in[0][i] + in[1][i] + ...      i < n, for each j; without `out` they are read
 *
 * An array may be in both, which is then written in place.
 */
#ifndef BENCH_BENCH_MEMORY_H
#define BENCH_BENCH_MEMORY_H

#include "bench/bench.h"

#define BENCH_MEMORY_IN  3
#define BENCH_MEMORY_OUT 2

struct bench_memory {
    const struct bench *bench;
    size_t n;                         /* of each array */
    const float *in[BENCH_MEMORY_IN]; /* the first of which is there; NULL where one is not */
    float *out[BENCH_MEMORY_OUT];
};

void bench_memory_run(void *memory);

#endif

/*
 * bench_peak.h -- the innermost tiles on data that never leaves the first-level cache: what the
 * arithmetic units can do.
 */
#ifndef BENCH_BENCH_PEAK_H
#define BENCH_BENCH_PEAK_H

#include "bench/bench.h"
#include "engine/kernels/bgemm_tile.h"
#include "engine/kernels/gemm_tile.h"

struct bench_peak {
    const struct bench *bench;
    const struct gemm_tiles *fp32;  /* of one instruction set; or NULL and: */
    const struct bgemm_tiles *bf16; /* of this machine */
    double flop;                    /* of one run */
};

struct bench_peak bench_peak_fp32(const struct bench *bench, enum isa isa);
struct bench_peak bench_peak_bf16(const struct bench *bench);
void bench_peak_run(void *peak);

/* In a row at a turn of bench_times: each less than a millisecond, which a busy machine leaves
 * alone. */
#define BENCH_PEAK_CALLS 8

#endif

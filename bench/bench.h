/*
 * bench.h -- rlhf-bench: named cases that measure, and one way to say what they measured.
 *
 * A case measures one thing in one or more variants by bench_time, and reports each rate with
 * bench_report.  It also measures its reference (the machine's peak, OpenBLAS) in the same
 * run: on a shared machine only the ratio of two numbers from one run means something.
 */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/pool.h"

struct bench {
    struct pool *pool;
    size_t threads;
    double seconds; /* to spend on a measurement */
    bool json;      /* one JSON object a line */
};

/* Cases, in the order of `rlhf-bench` without arguments. */
#define BENCH_MAP(X)                                                                        \
    X(peak, "fused multiply-adds in registers and in the first-level cache, GFLOP/s")       \
    X(gemm, "linear layers, forward and both gradients: own kernels and OpenBLAS, GFLOP/s") \
    X(attention, "causal attention, forward, backward and decoding, GFLOP/s")               \
    X(logprob, "log-probability and its gradient over a vocabulary, million logits/s")      \
    X(elementwise, "norms, activations and rotations, million elements/s")                  \
    X(exchange, "gradients between two learners, and as many bytes by plain libzmq, MiB/s")

#define X(name, help) void bench_##name(const struct bench *bench);
BENCH_MAP(X)
#undef X

struct bench_time {
    double best, median; /* seconds of one call */
    size_t calls;
};

/* Call fn(arg) again and again for bench->seconds, 5 times at least, after one call that does
 * not count. */
struct bench_time bench_time(const struct bench *bench, void (*fn)(void *arg), void *arg);

/* Say that `what` (of the case `name`) did `work` of `unit` in one call: the rate is work
 * divided by the time. */
void bench_report(const struct bench *bench, const char *name, const char *what, double work,
                  const char *unit, struct bench_time time);

/* n floats in [-0.5, 0.5), 64-byte aligned; ends the program where memory is out.  The caller
 * frees them. */
float *bench_floats(size_t n);

#endif

/*
 * bench.h -- rlhf-bench: named cases that measure, and one way to say what they measured.
 *
 * A case measures one thing in one or more variants, by bench_time or bench_times, and reports
 * each rate with bench_report_under: beside ceilings (the machine's peak, OpenBLAS, the memory's
 * speed) that it measures in the same run, as on a shared machine only the ratio of two numbers
 * from one run means something.  Where the machine may change meanwhile, bench_times lets them
 * take turns.  What is itself a ceiling says so.
 */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/file.h"
#include "engine/pool.h"
#include "engine/precision.h"

struct bench {
    struct pool *pool;
    size_t threads;
    double seconds; /* to spend on a measurement */
    bool once;      /* each call once, whatever it takes: to see that it works */
    bool cpu_time;  /* count processor time, of all threads: for one thread on a busy machine */
    enum precision precision; /* of whole models; bf16 stands beside fp32 */
    const char *only;         /* variants whose name contains it; NULL: all */
    enum bench_output { BENCH_TEXT, BENCH_JSON, BENCH_TABLE } output;
};

/* Cases, in the order of `rlhf-bench` without arguments. */
#define BENCH_MAP(X)                                                                          \
    X(peak, "fused multiply-adds in registers and in the first-level cache, GFLOP/s")         \
    X(gemm, "linear layers, forward and both gradients: own kernels and OpenBLAS, GFLOP/s")   \
    X(attention, "causal attention, forward, backward and decoding, GFLOP/s")                 \
    X(logprob, "log-probability and its gradient over a vocabulary, million logits/s")        \
    X(elementwise, "norms, activations and rotations, million elements/s")                    \
    X(preference, "a step of fine-tuning and of a reward model, tokens/s and their ratio")    \
    X(adamw, "an optimizer update against the triad of the memory, GB/s")                     \
    X(train, "whole training steps against their products and against sgemm, tokens/s")       \
    X(score, "log-probs of whole sequences against their products, tokens/s")                 \
    X(prefill, "prompts into a key/value cache against their products, tokens/s")             \
    X(decode, "a token for each of 1 to 64 rows against the products or reading, tokens/s")   \
    X(ppo, "a PPO step: sampling, scores, training, against their products, tokens/s")        \
    X(startup, "from the command to the first trained step: four processes, and one")         \
    X(growth, "a step against tokens, sequences and layers: tokens/s, and its memory, MiB")   \
    X(control, "shaping and controllers of a step, without a model, steps/s")                 \
    X(tokenizer, "text to tokens and back, beside copying it, MB/s")                          \
    X(safetensors, "tensors to a file and back, beside plain write and read, MiB/s")          \
    X(ledger, "rollouts until durable, 1, 8 and 64 at once, records/s")                       \
    X(exchange, "gradients between two learners, and as many bytes by plain libzmq, MiB/s")   \
    X(weights, "a version published, mapped, and pulled over tcp beside plain libzmq, MiB/s") \
    X(core, "the coordinator's core among simulated workers, against its hashing, events/s")  \
    X(rollouts,                                                                               \
      "of 512 tokens through a coordinator, against the disk and libzmq, rollouts/s")         \
    X(workers, "a coordinator among 10 to 1,000 workers: its processor time, latency, memory")

#define X(name, help) void bench_##name(const struct bench *bench);
BENCH_MAP(X)
#undef X

struct bench_time {
    double best, median; /* seconds of one call */
    size_t calls;
};

/* Of n measured calls, n >= 1, which become sorted. */
struct bench_time bench_time_of(double *seconds, size_t n);

/* Call fn(arg) again and again for bench->seconds, 5 times at least, after one call that does
 * not count. */
struct bench_time bench_time(const struct bench *bench, void (*fn)(void *arg), void *arg);

/* Something that is to take turns with others. */
struct bench_run {
    void (*fn)(void *arg);
    void *arg;
    size_t calls;              /* in a row at each turn, each timed; 0 is 1 */
    void (*before)(void *arg); /* before each call, not timed; or NULL */
    double settle;             /* seconds of sleep after a turn: for threads to calm down */
};

/* Let n runs take turns for n * bench->seconds, 4 turns at least after one that does not
 * count; times (n) is written. */
void bench_times(const struct bench *bench, const struct bench_run *runs, size_t n,
                 struct bench_time *times);

/* The head of the table, where it is to be one and is not begun: for who is about to report from
 * a child. */
void bench_report_begin(const struct bench *bench);

/* What bounds a result: a rate in the unit of the result. */
struct bench_ceiling {
    const char *name;
    double best, median;
};

/* `work` in that time. */
struct bench_ceiling bench_ceiling_of(const char *name, double work, struct bench_time time);

/* Say that `what` (of the case `name`) did `work` of `unit` in one call: the rate is work
 * divided by the time.  With the ratio to each of n ceilings, best to best; n >= 1. */
void bench_report_under(const struct bench *bench, const char *name, const char *what,
                        double work, const char *unit, struct bench_time time,
                        const struct bench_ceiling *ceilings, size_t n);

/* The same of what is itself a ceiling: a peak, or another's library. */
void bench_report_ceiling(const struct bench *bench, const char *name, const char *what,
                          double work, const char *unit, struct bench_time time);

/* Numbers that are no rates of this program.  A table of its own; in JSON a line each. */
struct bench_value {
    const char *name;
    double value;
    const char *unit;
};
void bench_report_values(const struct bench *bench, const char *name, const char *what,
                         const struct bench_value *values, size_t n);

/* The same bench in fp32. */
struct bench bench_in_fp32(const struct bench *bench);

/* True where --only leaves out the variant of this name. */
bool bench_skips(const struct bench *bench, const char *what);

/* n floats in [-0.5, 0.5), 64-byte aligned; ends the program where memory is out.  The caller
 * frees them. */
float *bench_floats(size_t n);

/* As many words, of zeros. */
uint32_t *bench_words(size_t n);

/* A directory of a case's own, below /tmp, and a file in it; what cannot be made ends the
 * program. */
struct bench_dir {
    char path[64];
};
void bench_dir_open(struct bench_dir *dir);
void bench_dir_close(const struct bench_dir *dir);
void bench_dir_at(const struct bench_dir *dir, const char *name, char path[FILE_PATH_MAX]);
void bench_dir_write(const struct bench_dir *dir, const char *name, const void *bytes,
                     size_t n);

/* End the program with `what` and the sentence of err; where rc is an error; with a sentence. */
_Noreturn void bench_fail(const char *what, const struct err *err);
void bench_check(const char *what, enum err_code rc, const struct err *err);
_Noreturn void bench_stop(const char *what, const char *why);

#endif

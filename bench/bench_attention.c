/* bench_attention.c -- attention at the shapes of a small model, prompt by prompt, in turns
 * with its multiply-adds at the peak and with reading the caches. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench/bench_memory.h"
#include "bench/bench_peak.h"
#include "engine/kernels/attention.h"

enum { SEQS = 4 };

struct attention_bench {
    const struct bench *bench;
    struct attention shape;
    uint32_t offset[SEQS + 1], keys[SEQS];
    float *qkv, *out, *lse, *dout, *d;
    float *caches;
    const float *cache[SEQS];
};

static void attention_run_forward(void *arg)
{
    struct attention_bench *b = arg;
    const struct attention *a = &b->shape;
    attention_forward(b->bench->pool, a, b->out, b->lse, b->qkv, b->qkv + a->H * a->D,
                      b->qkv + (a->H + a->G) * a->D, b->offset, SEQS);
}

static void attention_run_backward(void *arg)
{
    struct attention_bench *b = arg;
    const struct attention *a = &b->shape;
    const size_t k = a->H * a->D, v = (a->H + a->G) * a->D;
    attention_backward(b->bench->pool, a, b->d, b->d + k, b->d + v, b->dout, b->qkv, b->qkv + k,
                       b->qkv + v, b->out, b->lse, b->offset, SEQS);
}

static void attention_run_decode(void *arg)
{
    struct attention_bench *b = arg;
    attention_decode(b->bench->pool, &b->shape, b->out, b->qkv, b->cache,
                     attention_piece_floats(&b->shape), b->keys, NULL, SEQS);
}

static struct attention_bench attention_bench_new(const struct bench *bench, size_t H, size_t G,
                                                  size_t D, size_t T)
{
    const size_t width = (H + 2 * G) * D, N = SEQS * T;
    struct attention_bench b = {
        .bench = bench,
        .shape = {H, G, D, 1.0f / sqrtf((float)D), width, width, H * D},
        .qkv = bench_floats(N * width),
        .out = bench_floats(N * H * D),
        .lse = bench_floats(N * H),
        .dout = bench_floats(N * H * D),
        .d = bench_floats(N * width),
    };
    const size_t floats = T / ATTENTION_PIECE * attention_piece_floats(&b.shape);
    b.caches = bench_floats(SEQS * floats);
    for (size_t s = 0; s < SEQS; s++) {
        b.offset[s + 1] = (uint32_t)((s + 1) * T);
        b.keys[s] = (uint32_t)T;
        b.cache[s] = b.caches + s * floats;
    }
    return b;
}

static void attention_bench_free(struct attention_bench *b)
{
    free(b->qkv);
    free(b->out);
    free(b->lse);
    free(b->dout);
    free(b->d);
    free(b->caches);
}

static void attention_case(const struct bench *bench, size_t H, size_t G, size_t D, size_t T)
{
    enum { FORWARD, BACKWARD, DECODE, PEAK, READ, RUNS };
    struct attention_bench b = attention_bench_new(bench, H, G, D, T);
    struct bench_peak peak = bench_peak_fp32(bench, isa_used());
    struct bench_memory caches = {.bench = bench,
                                  .n = SEQS * T / ATTENTION_PIECE *
                                       attention_piece_floats(&b.shape),
                                  .in = {b.caches}};
    const struct bench_run runs[RUNS] = {
        [FORWARD] = {.fn = attention_run_forward, .arg = &b},
        [BACKWARD] = {.fn = attention_run_backward, .arg = &b},
        [DECODE] = {.fn = attention_run_decode, .arg = &b, .calls = 16},
        [PEAK] = {.fn = bench_peak_run, .arg = &peak, .calls = BENCH_PEAK_CALLS},
        [READ] = {.fn = bench_memory_run, .arg = &caches, .calls = 16}};
    struct bench_time times[RUNS];
    bench_times(bench, runs, RUNS, times);
    /* A pair of query and key is 2 D operations for the score and 2 D for the sum; backward five
     * products take the place of these two. */
    const double pair = 4e-9 * (double)D * (double)H * SEQS;
    const double pairs = (double)T * (double)(T + 1) / 2.0;
    const double work[] = {pair * pairs, 2.5 * pair * pairs, pair * (double)T};
    const struct bench_ceiling ceilings[] = {
        bench_ceiling_of("peak", 1e-9 * peak.flop, times[PEAK]),
        bench_ceiling_of("reading the caches", work[DECODE], times[READ])};
    static const char *const names[] = {"forward", "backward", "decode"};
    for (size_t i = FORWARD; i <= DECODE; i++) {
        char what[64];
        snprintf(what, sizeof what, "%s H=%zu G=%zu D=%zu T=%zu", names[i], H, G, D, T);
        bench_report_under(bench, "attention", what, work[i], "GFLOP/s", times[i], ceilings,
                           i == DECODE ? 2 : 1);
    }
    attention_bench_free(&b);
}

void bench_attention(const struct bench *bench)
{
    attention_case(bench, 8, 4, 8, 128);
    attention_case(bench, 12, 12, 64, 128);
    attention_case(bench, 12, 12, 64, 512);
    attention_case(bench, 9, 3, 64, 512);
    attention_case(bench, 8, 2, 128, 512);
}

/* bench_gemm.c -- linear layers: the three products, own in both precisions, in turns with OpenBLAS
 * and with the peak. */
#include <stdio.h>
#include <stdlib.h>

#include <cblas.h>

#include "bench/bench_memory.h"
#include "bench/bench_model.h"
#include "bench/bench_peak.h"
#include "engine/kernels/bgemm.h"
#include "engine/kernels/gemm.h"

enum { GEMM_FEW_ROWS = 32 }; /* up to which the memory of a weight may be what bounds */

#define GEMM_TURN_FLOP 2e8 /* at least, of a turn */

struct gemm_bench {
    const struct bench *bench;
    size_t M, N, K;
    float *x, *w, *y, *dx, *dw, *storage;
    struct gemm_packed packed;
    uint32_t *words[2];
    struct bgemm_packed bf16, bf16_turned;
};

static void gemm_own_forward(void *arg)
{
    struct gemm_bench *g = arg;
    gemm_forward(g->bench->pool, g->y, g->N, g->x, g->K, &g->packed, NULL, g->M, GEMM_SET);
}

static void gemm_own_dx(void *arg)
{
    struct gemm_bench *g = arg;
    gemm_dx(g->bench->pool, g->dx, g->K, g->y, g->N, g->w, g->K, g->M, g->N, g->K, GEMM_SET);
}

static void gemm_own_dw(void *arg)
{
    struct gemm_bench *g = arg;
    gemm_dw(g->bench->pool, g->dw, g->K, g->y, g->N, g->x, g->K, g->M, g->N, g->K, GEMM_ADD);
}

static void gemm_own_pack(void *arg)
{
    struct gemm_bench *g = arg;
    gemm_pack(g->bench->pool, &g->packed, g->storage, g->w, g->K, g->N, g->K);
}

static void gemm_bf16_forward(void *arg)
{
    struct gemm_bench *g = arg;
    bgemm_multiply(g->bench->pool, g->y, g->N, g->x, g->K, &g->bf16, NULL, g->M, GEMM_SET);
}

static void gemm_bf16_dx(void *arg)
{
    struct gemm_bench *g = arg;
    bgemm_multiply(g->bench->pool, g->dx, g->K, g->y, g->N, &g->bf16_turned, NULL, g->M,
                   GEMM_SET);
}

static void gemm_bf16_dw(void *arg)
{
    struct gemm_bench *g = arg;
    bgemm_dw(g->bench->pool, g->dw, g->K, g->y, g->N, g->x, g->K, g->M, g->N, g->K, GEMM_ADD);
}

static void gemm_bf16_pack(void *arg)
{
    struct gemm_bench *g = arg;
    bgemm_pack_both(g->bench->pool, &g->bf16, g->words[0], &g->bf16_turned, g->words[1], g->w,
                    g->K, g->N, g->K);
}

static void gemm_blas_forward(void *arg)
{
    struct gemm_bench *g = arg;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (blasint)g->M, (blasint)g->N,
                (blasint)g->K, 1.0f, g->x, (blasint)g->K, g->w, (blasint)g->K, 0.0f, g->y,
                (blasint)g->N);
}

static void gemm_blas_dx(void *arg)
{
    struct gemm_bench *g = arg;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (blasint)g->M, (blasint)g->K,
                (blasint)g->N, 1.0f, g->y, (blasint)g->N, g->w, (blasint)g->K, 0.0f, g->dx,
                (blasint)g->K);
}

static void gemm_blas_dw(void *arg)
{
    struct gemm_bench *g = arg;
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (blasint)g->N, (blasint)g->K,
                (blasint)g->M, 1.0f, g->y, (blasint)g->N, g->x, (blasint)g->K, 1.0f, g->dw,
                (blasint)g->K);
}

static struct gemm_bench gemm_bench_new(const struct bench *bench, size_t M, size_t N, size_t K)
{
    struct gemm_bench g = {.bench = bench,
                           .M = M,
                           .N = N,
                           .K = K,
                           .x = bench_floats(M * K),
                           .w = bench_floats(N * K),
                           .y = bench_floats(M * N),
                           .dx = bench_floats(M * K),
                           .dw = bench_floats(N * K),
                           .storage = bench_floats(gemm_packed_floats(N, K)),
                           .words = {bench_words(bgemm_packed_words(N, K)),
                                     bench_words(bgemm_packed_words(K, N))}};
    gemm_own_pack(&g);
    gemm_bf16_pack(&g);
    return g;
}

static void gemm_bench_free(struct gemm_bench *g)
{
    free(g->x);
    free(g->w);
    free(g->y);
    free(g->dx);
    free(g->dw);
    free(g->storage);
    free(g->words[0]);
    free(g->words[1]);
}

enum gemm_run { GEMM_RUN_OWN, GEMM_RUN_BF16, GEMM_RUN_BLAS, GEMM_PRODUCTS };

static const char *const gemm_names[GEMM_PRODUCTS] = {"own", "bf16", "openblas"};

static const struct gemm_form {
    const char *name;
    void (*run[GEMM_PRODUCTS])(void *arg);
} gemm_forms[] = {
    {"forward", {gemm_own_forward, gemm_bf16_forward, gemm_blas_forward}},
    {"dx", {gemm_own_dx, gemm_bf16_dx, gemm_blas_dx}},
    {"dw", {gemm_own_dw, gemm_bf16_dw, gemm_blas_dw}},
};

/* The weight as the form has it in memory: read, or a gradient that is added to. */
static struct bench_memory gemm_weight(const struct gemm_bench *g, const struct gemm_form *form,
                                       enum gemm_run run)
{
    struct bench_memory memory = {.bench = g->bench, .n = g->N * g->K, .in = {g->w}};
    if (form->run[GEMM_RUN_OWN] == gemm_own_dw) {
        memory.in[0] = g->dw;
        memory.out[0] = g->dw;
    } else if (run == GEMM_RUN_BF16) {
        memory.in[0] = (const float *)(const void *)g->words[0];
        memory.n /= 2;
    }
    return memory;
}

/* The three in turns with what bounds them; times (GEMM_PRODUCTS, and of each its peak and its
 * weight's memory).  Threads of OpenBLAS go on looking for work for a while after a product, on
 * the cores that the next one needs. */
static void gemm_measure(struct gemm_bench *g, const struct gemm_form *form,
                         struct bench_peak peak[2], struct bench_time times[])
{
    const double flop = 2.0 * (double)g->M * (double)g->N * (double)g->K;
    const size_t calls = flop < GEMM_TURN_FLOP ? (size_t)(GEMM_TURN_FLOP / flop) : 1;
    struct bench_memory memory[] = {gemm_weight(g, form, GEMM_RUN_OWN),
                                    gemm_weight(g, form, GEMM_RUN_BF16)};
    struct bench_run runs[GEMM_PRODUCTS + 4];
    for (size_t i = 0; i < GEMM_PRODUCTS; i++)
        runs[i] = (struct bench_run){.fn = form->run[i], .arg = g, .calls = calls};
    runs[GEMM_RUN_BLAS].settle = BENCH_SETTLE;
    for (size_t i = 0; i < 2; i++) {
        runs[GEMM_PRODUCTS + i] = (struct bench_run){
            .fn = bench_peak_run, .arg = &peak[i], .calls = BENCH_PEAK_CALLS};
        runs[GEMM_PRODUCTS + 2 + i] =
            (struct bench_run){.fn = bench_memory_run, .arg = &memory[i], .calls = 4};
    }
    bench_times(g->bench, runs, sizeof runs / sizeof runs[0], times);
}

/* A variant of the group, where --only does not leave it out. */
static void gemm_report(const struct gemm_bench *g, const char *what, enum gemm_run run,
                        const struct bench_peak peak[2], const struct bench_time times[])
{
    const double gflop = 2e-9 * (double)g->M * (double)g->N * (double)g->K;
    if (bench_skips(g->bench, what))
        return;
    if (run == GEMM_RUN_BLAS) {
        bench_report_ceiling(g->bench, "gemm", what, gflop, "GFLOP/s", times[run]);
        return;
    }
    const struct bench_ceiling ceilings[] = {
        bench_ceiling_of("peak", 1e-9 * peak[run].flop, times[GEMM_PRODUCTS + run]),
        bench_ceiling_of("OpenBLAS", gflop, times[GEMM_RUN_BLAS]),
        bench_ceiling_of("moving the weight", gflop, times[GEMM_PRODUCTS + 2 + run])};
    bench_report_under(g->bench, "gemm", what, gflop, "GFLOP/s", times[run], ceilings,
                       g->M <= GEMM_FEW_ROWS ? 3 : 2);
}

static void gemm_case(const struct bench *bench, const struct gemm_form *form, size_t M,
                      size_t N, size_t K)
{
    struct bench_peak peak[] = {bench_peak_fp32(bench, isa_used()), bench_peak_bf16(bench)};
    struct bench_time times[GEMM_PRODUCTS + 4];
    char what[GEMM_PRODUCTS][64];
    bool wanted = false;
    for (size_t i = 0; i < GEMM_PRODUCTS; i++) {
        snprintf(what[i], sizeof what[i], "%s %s %zu x %zu x %zu", gemm_names[i], form->name, M,
                 N, K);
        wanted = wanted || !bench_skips(bench, what[i]);
    }
    if (!wanted)
        return;
    struct gemm_bench g = gemm_bench_new(bench, M, N, K);
    gemm_measure(&g, form, peak, times);
    for (size_t i = 0; i < GEMM_PRODUCTS; i++)
        gemm_report(&g, what[i], (enum gemm_run)i, peak, times);
    gemm_bench_free(&g);
}

/* GB/s of the weight that is read, in float32; as many bytes are written, in bf16 two halves. */
static void gemm_pack_case(const struct bench *bench, const char *name, void (*run)(void *arg),
                           size_t N, size_t K)
{
    const double gb = 4e-9 * (double)N * (double)K;
    char what[64];
    snprintf(what, sizeof what, "%s %zu x %zu", name, N, K);
    if (bench_skips(bench, what))
        return;
    struct gemm_bench g = gemm_bench_new(bench, 1, N, K);
    struct bench_memory copy = {.bench = bench, .n = N * K, .in = {g.w}, .out = {g.storage}};
    const struct bench_run runs[] = {{.fn = run, .arg = &g, .calls = 4},
                                     {.fn = bench_memory_run, .arg = &copy, .calls = 4}};
    struct bench_time times[2];
    bench_times(bench, runs, 2, times);
    const struct bench_ceiling ceiling = bench_ceiling_of("copying", gb, times[1]);
    bench_report_under(bench, "gemm", what, gb, "GB/s", times[0], &ceiling, 1);
    gemm_bench_free(&g);
}

void bench_gemm(const struct bench *bench)
{
    static const size_t rows[] = {1, 8, 32, 64, 256, 1024};
    static const size_t weights[][2] = {{128, 128}, {768, 768}, {3072, 768}, {768, 3072}};
    enum { WEIGHTS = sizeof weights / sizeof weights[0] };
    openblas_set_num_threads((int)bench->threads);
    for (size_t s = 0; s < WEIGHTS; s++) {
        gemm_pack_case(bench, "own pack", gemm_own_pack, weights[s][0], weights[s][1]);
        gemm_pack_case(bench, "bf16 pack, both ways", gemm_bf16_pack, weights[s][0],
                       weights[s][1]);
    }
    for (size_t f = 0; f < sizeof gemm_forms / sizeof gemm_forms[0]; f++)
        for (size_t s = 0; s < WEIGHTS; s++)
            for (size_t m = 0; m < sizeof rows / sizeof rows[0]; m++)
                gemm_case(bench, &gemm_forms[f], rows[m], weights[s][0], weights[s][1]);
}

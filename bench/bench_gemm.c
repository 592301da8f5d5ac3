/* bench_gemm.c -- linear layers: the three products, own in both precisions, and OpenBLAS. */
#include <stdio.h>
#include <stdlib.h>

#include <cblas.h>

#include "bench/bench.h"
#include "engine/kernels/bgemm.h"
#include "engine/kernels/gemm.h"

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

static const struct gemm_form {
    const char *name;
    void (*run)(void *arg);
} gemm_forms[] = {
    {"own forward", gemm_own_forward},
    {"own dx", gemm_own_dx},
    {"own dw", gemm_own_dw},
    {"bf16 forward", gemm_bf16_forward},
    {"bf16 dx", gemm_bf16_dx},
    {"bf16 dw", gemm_bf16_dw},
    {"openblas forward", gemm_blas_forward},
    {"openblas dx", gemm_blas_dx},
    {"openblas dw", gemm_blas_dw},
};

static void gemm_form_run(const struct bench *bench, const struct gemm_form *form, size_t M,
                          size_t N, size_t K)
{
    char what[64];
    snprintf(what, sizeof what, "%s %zu x %zu x %zu", form->name, M, N, K);
    if (bench_skips(bench, what))
        return;
    struct gemm_bench g = gemm_bench_new(bench, M, N, K);
    bench_report(bench, "gemm", what, 2e-9 * (double)M * (double)N * (double)K, "GFLOP/s",
                 bench_time(bench, form->run, &g));
    gemm_bench_free(&g);
}

/* GB/s of the weight that is read, in float32. */
static void gemm_pack_run(const struct bench *bench, const char *name, void (*run)(void *arg),
                          size_t N, size_t K)
{
    char what[64];
    snprintf(what, sizeof what, "%s %zu x %zu", name, N, K);
    if (bench_skips(bench, what))
        return;
    struct gemm_bench g = gemm_bench_new(bench, 1, N, K);
    bench_report(bench, "gemm", what, 4e-9 * (double)N * (double)K, "GB/s",
                 bench_time(bench, run, &g));
    gemm_bench_free(&g);
}

void bench_gemm(const struct bench *bench)
{
    static const size_t rows[] = {1, 8, 32, 64, 256, 1024};
    static const size_t weights[][2] = {{128, 128}, {768, 768}, {3072, 768}, {768, 3072}};
    enum { WEIGHTS = sizeof weights / sizeof weights[0] };
    openblas_set_num_threads((int)bench->threads);
    for (size_t s = 0; s < WEIGHTS; s++) {
        gemm_pack_run(bench, "own pack", gemm_own_pack, weights[s][0], weights[s][1]);
        gemm_pack_run(bench, "bf16 pack, both ways", gemm_bf16_pack, weights[s][0],
                      weights[s][1]);
    }
    /* OpenBLAS's threads go on looking for work for a while after a product, on the cores that
     * the next measurement needs: all own ones come first. */
    for (size_t f = 0; f < sizeof gemm_forms / sizeof gemm_forms[0]; f++)
        for (size_t s = 0; s < WEIGHTS; s++)
            for (size_t m = 0; m < sizeof rows / sizeof rows[0]; m++)
                gemm_form_run(bench, &gemm_forms[f], rows[m], weights[s][0], weights[s][1]);
}

/* bench_gemm.c -- linear layers: the three products, own and OpenBLAS, and what bounds them. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cblas.h>

#include "bench/bench.h"
#include "engine/kernels/gemm.h"
#include "engine/kernels/gemm_tile.h"

/* ---- the peak: the inner tile on data that never leaves the first-level cache ---- */

enum { PEAK_DEPTH = 64, PEAK_TILES = 20000 };

struct peak {
    const struct bench *bench;
    const struct gemm_tiles *tiles;
};

static void peak_task(void *arg, size_t i)
{
    (void)i;
    const struct gemm_tiles *tiles = ((const struct peak *)arg)->tiles;
    static const float zero[GEMM_LEFT_FLOATS]; /* of zeros: the time does not depend on it */
    float c[GEMM_ROWS_MAX * 2 * GEMM_PANEL];
    const struct gemm_tile tile = {.depth = PEAK_DEPTH,
                                   .left = zero,
                                   .panel = zero,
                                   .panel_step = PEAK_DEPTH * GEMM_PANEL,
                                   .c = c,
                                   .c_stride = 2 * GEMM_PANEL};
    gemm_tile_fn *const *const fn = tiles->fn[GEMM_LEFT_COLUMNS][tiles->rows_max - 1];
    for (size_t t = 0; t < PEAK_TILES; t++)
        fn[fn[1] ? 1 : 0](&tile);
}

static void peak_run(void *arg)
{
    const struct peak *peak = arg;
    pool_run(peak->bench->pool, peak->bench->threads, peak_task, arg);
}

void bench_peak(const struct bench *bench)
{
    for (int isa = ISA_AVX2; isa <= ISA_AVX512; isa++) {
        if (!isa_has((enum isa)isa))
            continue;
        struct peak peak = {bench, gemm_tiles_for((enum isa)isa)};
        const size_t rows = peak.tiles->rows_max;
        const double panels = peak.tiles->fn[GEMM_LEFT_COLUMNS][rows - 1][1] ? 2.0 : 1.0;
        const double flops = 2.0 * (double)rows * panels * GEMM_PANEL * PEAK_DEPTH *
                             PEAK_TILES * (double)bench->threads;
        bench_report(bench, "peak", isa_name((enum isa)isa), flops / 1e9, "GFLOP/s",
                     bench_time(bench, peak_run, &peak));
    }
}

/* ---- shapes ---- */

struct gemm_bench {
    const struct bench *bench;
    size_t M, N, K;
    float *x, *w, *y, *dx, *dw, *storage;
    struct gemm_packed packed;
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
    gemm_dw(g->bench->pool, g->dw, g->K, g->y, g->N, g->x, g->K, g->M, g->N, g->K);
}

static void gemm_own_pack(void *arg)
{
    struct gemm_bench *g = arg;
    gemm_pack(g->bench->pool, &g->packed, g->storage, g->w, g->K, g->N, g->K);
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
    struct gemm_bench g = {bench,
                           M,
                           N,
                           K,
                           bench_floats(M * K),
                           bench_floats(N * K),
                           bench_floats(M * N),
                           bench_floats(M * K),
                           bench_floats(N * K),
                           bench_floats(gemm_packed_floats(N, K)),
                           {0}};
    gemm_own_pack(&g);
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
}

static const struct gemm_form {
    const char *name;
    void (*run)(void *arg);
} gemm_forms[] = {
    {"own forward", gemm_own_forward}, {"own dx", gemm_own_dx},
    {"own dw", gemm_own_dw},           {"openblas forward", gemm_blas_forward},
    {"openblas dx", gemm_blas_dx},     {"openblas dw", gemm_blas_dw},
};

void bench_gemm(const struct bench *bench)
{
    static const size_t rows[] = {1, 8, 32, 64, 256, 1024};
    static const size_t weights[][2] = {{128, 128}, {768, 768}, {3072, 768}, {768, 3072}};
    enum { FORMS = sizeof gemm_forms / sizeof gemm_forms[0] };
    openblas_set_num_threads((int)bench->threads);
    for (size_t f = 0; f < FORMS; f++) {
        /* OpenBLAS's threads go on looking for work for a while after a product, on the cores
         * that the next measurement needs: all own ones come first. */
        for (size_t s = 0; s < sizeof weights / sizeof weights[0]; s++)
            for (size_t m = 0; m < sizeof rows / sizeof rows[0]; m++) {
                struct gemm_bench g =
                    gemm_bench_new(bench, rows[m], weights[s][0], weights[s][1]);
                char what[64];
                snprintf(what, sizeof what, "%s %zu x %zu x %zu", gemm_forms[f].name, g.M, g.N,
                         g.K);
                bench_report(bench, "gemm", what,
                             2e-9 * (double)g.M * (double)g.N * (double)g.K, "GFLOP/s",
                             bench_time(bench, gemm_forms[f].run, &g));
                if (f == 0 && m == 0) {
                    snprintf(what, sizeof what, "own pack %zu x %zu", g.N, g.K);
                    bench_report(bench, "gemm", what, 4e-9 * (double)g.N * (double)g.K, "GB/s",
                                 bench_time(bench, gemm_own_pack, &g));
                }
                gemm_bench_free(&g);
            }
    }
}

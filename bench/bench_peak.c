/* bench_peak.c -- see bench_peak.h; and the case that reports them. */
#include "bench/bench_peak.h"

#include <stdio.h>

#include "engine/kernels/bgemm.h"
#include "engine/precision.h"

enum { PEAK_DEPTH = 64, PEAK_STEPS = 8, PEAK_TILES = 2000, PEAK_SIDE = 2 * BGEMM_SIDE };

static void bench_peak_fp32_task(void *arg, size_t i)
{
    (void)i;
    const struct gemm_tiles *tiles = ((const struct bench_peak *)arg)->fp32;
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

static void bench_peak_bf16_task(void *arg, size_t i)
{
    (void)i;
    const struct bgemm_tiles *tiles = ((const struct bench_peak *)arg)->bf16;
    static _Alignas(64) const uint32_t zero[2 * PEAK_STEPS * BGEMM_WORDS];
    _Alignas(64) float c[PEAK_SIDE * PEAK_SIDE];
    const struct bgemm_tile tile = {.steps = PEAK_STEPS,
                                    .rows = PEAK_SIDE,
                                    .cols = PEAK_SIDE,
                                    .left = zero,
                                    .left_step = PEAK_STEPS * BGEMM_WORDS,
                                    .right = zero,
                                    .right_step = PEAK_STEPS * BGEMM_WORDS,
                                    .c = c,
                                    .c_stride = PEAK_SIDE};
    const unsigned before = tiles->begin();
    for (size_t t = 0; t < PEAK_TILES; t++)
        tiles->fn[1][1](&tile);
    tiles->end(before);
}

struct bench_peak bench_peak_fp32(const struct bench *bench, enum isa isa)
{
    const struct gemm_tiles *tiles = gemm_tiles_for(isa);
    const size_t rows = tiles->rows_max;
    const double panels = tiles->fn[GEMM_LEFT_COLUMNS][rows - 1][1] ? 2.0 : 1.0;
    const double flop = 2.0 * (double)rows * panels * GEMM_PANEL * PEAK_DEPTH * PEAK_TILES;
    return (struct bench_peak){
        .bench = bench, .fp32 = tiles, .flop = flop * (double)bench->threads};
}

struct bench_peak bench_peak_bf16(const struct bench *bench)
{
    const double flop = 2.0 * PEAK_SIDE * PEAK_SIDE * BGEMM_STEP * PEAK_STEPS * PEAK_TILES;
    return (struct bench_peak){
        .bench = bench, .bf16 = bgemm_tiles_used(), .flop = flop * (double)bench->threads};
}

void bench_peak_run(void *arg)
{
    const struct bench_peak *peak = arg;
    pool_run(peak->bench->pool, peak->bench->threads,
             peak->bf16 ? bench_peak_bf16_task : bench_peak_fp32_task, arg);
}

static void bench_peak_report(const struct bench *bench, const char *what,
                              struct bench_peak peak)
{
    bench_report_ceiling(bench, "peak", what, peak.flop / 1e9, "GFLOP/s",
                         bench_time(bench, bench_peak_run, &peak));
}

void bench_peak(const struct bench *bench)
{
    for (int isa = ISA_AVX2; isa <= ISA_AVX512; isa++)
        if (isa_has((enum isa)isa))
            bench_peak_report(bench, isa_name((enum isa)isa),
                              bench_peak_fp32(bench, (enum isa)isa));
    char path[PRECISION_PATH_MAX];
    precision_path(PRECISION_BF16, path);
    bench_peak_report(bench, path, bench_peak_bf16(bench));
}

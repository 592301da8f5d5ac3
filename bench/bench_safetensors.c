/* bench_safetensors.c -- a file of tensors saved and loaded.  What bounds it: as many bytes
 * written and made durable, or read by one call, and as many numbers copied.  What is read is
 * in the page cache. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "bench/bench.h"
#include "engine/safetensors.h"

#define TENSORS 4u
#define ROWS    2048u
#define COLS    2048u
#define NUMBERS ((size_t)TENSORS * ROWS * COLS) /* 64 MiB of F32 */

struct safetensors_bench {
    enum dtype dtype;
    size_t bytes;
    struct bench_dir dir;
    char path[FILE_PATH_MAX], plain[FILE_PATH_MAX];
    float *from, *to;
};

static void call_save(void *arg)
{
    static const char *const names[TENSORS] = {"a", "b", "c", "d"};
    const struct safetensors_bench *b = arg;
    struct safetensors_source sources[TENSORS];
    struct err err = {0};
    for (size_t i = 0; i < TENSORS; i++)
        sources[i] = (struct safetensors_source){
            .name = names[i], .data = b->from + i * ROWS * COLS, .rows = ROWS, .cols = COLS};
    bench_check("safetensors", safetensors_write(b->path, sources, TENSORS, b->dtype, &err),
                &err);
}

static void call_load(void *arg)
{
    const struct safetensors_bench *b = arg;
    struct err err = {0};
    struct safetensors *st = safetensors_open(b->path, &err);
    if (!st)
        bench_fail("safetensors", &err);
    for (size_t i = 0; i < TENSORS; i++)
        bench_check("safetensors",
                    safetensors_read(st, safetensors_at(st, i), b->to + i * ROWS * COLS, &err),
                    &err);
    safetensors_close(st);
}

/* As a file is published: written beside its place, durable, renamed. */
static void call_write(void *arg)
{
    const struct safetensors_bench *b = arg;
    struct err err = {0};
    bench_check("safetensors", file_write(b->plain, b->from, b->bytes, &err), &err);
}

static void call_read(void *arg)
{
    const struct safetensors_bench *b = arg;
    const int fd = open(b->plain, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || pread(fd, b->to, b->bytes, 0) != (ssize_t)b->bytes)
        exit(74);
    close(fd);
}

static void call_copy(void *arg)
{
    const struct safetensors_bench *b = arg;
    memcpy(b->to, b->from, NUMBERS * sizeof *b->to);
}

static void safetensors_case(const struct bench *bench, struct safetensors_bench *b)
{
    enum { SAVE, LOAD, WRITE, READ, COPY, RUNS };
    const struct bench_run runs[RUNS] = {[SAVE] = {.fn = call_save, .arg = b},
                                         [LOAD] = {.fn = call_load, .arg = b},
                                         [WRITE] = {.fn = call_write, .arg = b},
                                         [READ] = {.fn = call_read, .arg = b},
                                         [COPY] = {.fn = call_copy, .arg = b}};
    static const char *const names[RUNS] = {
        [WRITE] = "write and fsync", [READ] = "read", [COPY] = "copying as F32"};
    struct bench_time time[RUNS];
    struct bench_ceiling ceiling[RUNS];
    char what[64];
    bench_times(bench, runs, RUNS, time);
    const double mib = (double)b->bytes / 1048576.0;
    for (size_t i = WRITE; i < RUNS; i++)
        ceiling[i] = bench_ceiling_of(names[i], mib, time[i]);
    snprintf(what, sizeof what, "%s saved, %.0f MiB", dtype_name(b->dtype), mib);
    bench_report_under(bench, "safetensors", what, mib, "MiB/s", time[SAVE], &ceiling[WRITE],
                       1);
    snprintf(what, sizeof what, "%s loaded, %.0f MiB", dtype_name(b->dtype), mib);
    bench_report_under(bench, "safetensors", what, mib, "MiB/s", time[LOAD], &ceiling[READ], 2);
}

void bench_safetensors(const struct bench *bench)
{
    struct safetensors_bench b = {.from = bench_floats(NUMBERS), .to = bench_floats(NUMBERS)};
    bench_dir_open(&b.dir);
    bench_dir_at(&b.dir, "model.safetensors", b.path);
    bench_dir_at(&b.dir, "plain", b.plain);
    static const enum dtype dtypes[] = {DTYPE_F32, DTYPE_BF16};
    for (size_t i = 0; i < sizeof dtypes / sizeof dtypes[0]; i++) {
        b.dtype = dtypes[i];
        b.bytes = NUMBERS * dtype_bytes(b.dtype);
        if (!bench_skips(bench, dtype_name(b.dtype)))
            safetensors_case(bench, &b);
    }
    bench_dir_close(&b.dir);
    free(b.from);
    free(b.to);
}

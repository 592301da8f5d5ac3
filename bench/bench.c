/* bench.c -- see bench.h. */
#define _DEFAULT_SOURCE /* madvise, mkdtemp */
#include "bench/bench.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "base/file.h"

enum { BENCH_CALLS_MAX = 100000 };

static double bench_now(const struct bench *bench)
{
    struct timespec now;
    clock_gettime(bench->cpu_time ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static int bench_compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Seconds of calls of one run. */
struct bench_series {
    size_t calls;
    double seconds[BENCH_CALLS_MAX];
};

struct bench_time bench_time_of(double *seconds, size_t n)
{
    qsort(seconds, n, sizeof *seconds, bench_compare);
    return (struct bench_time){seconds[0], seconds[n / 2], n};
}

static void *bench_allocate(size_t n, size_t size)
{
    void *memory = calloc(n, size);
    if (!memory) {
        fprintf(stderr, "rlhf-bench: out of memory\n");
        exit(71);
    }
    return memory;
}

struct bench_time bench_time(const struct bench *bench, void (*fn)(void *arg), void *arg)
{
    struct bench_series *series = bench_allocate(1, sizeof *series);
    const size_t calls_min = bench->once ? 1 : 5;
    if (!bench->once)
        fn(arg);
    const double end = bench_now(bench) + bench->seconds;
    for (double now = bench_now(bench);
         series->calls < calls_min || (now < end && series->calls < BENCH_CALLS_MAX);) {
        fn(arg);
        const double after = bench_now(bench);
        series->seconds[series->calls++] = after - now;
        now = after;
    }
    const struct bench_time time = bench_time_of(series->seconds, series->calls);
    free(series);
    return time;
}

static void bench_sleep(double seconds)
{
    const struct timespec span = {(time_t)seconds, (long)(1e9 * (seconds - floor(seconds)))};
    nanosleep(&span, NULL);
}

/* One turn; `series` NULL: it does not count. */
static void bench_turn(const struct bench *bench, const struct bench_run *run,
                       struct bench_series *series)
{
    for (size_t i = 0; i < (run->calls ? run->calls : 1); i++) {
        if (run->before)
            run->before(run->arg);
        const double begin = bench_now(bench);
        run->fn(run->arg);
        if (series && series->calls < BENCH_CALLS_MAX)
            series->seconds[series->calls++] = bench_now(bench) - begin;
    }
    if (run->settle > 0.0)
        bench_sleep(run->settle);
}

void bench_times(const struct bench *bench, const struct bench_run *runs, size_t n,
                 struct bench_time *times)
{
    struct bench_series *series = bench_allocate(n, sizeof *series);
    const size_t turns_min = bench->once ? 1 : 4;
    for (size_t i = 0; i < n && !bench->once; i++)
        bench_turn(bench, &runs[i], NULL);
    const double end = bench_now(bench) + (double)n * bench->seconds;
    for (size_t turns = 0; turns < turns_min || (bench_now(bench) < end && !bench->once);
         turns++)
        for (size_t i = 0; i < n; i++)
            bench_turn(bench, &runs[i], &series[i]);
    for (size_t i = 0; i < n; i++)
        times[i] = bench_time_of(series[i].seconds, series[i].calls);
    free(series);
}

/* ---- what is printed ---- */

/* JSON has no NaN and no infinity. */
static void bench_json_number(const char *key, double value)
{
    if (isfinite(value))
        printf(",\"%s\":%.6g", key, value);
    else
        printf(",\"%s\":null", key);
}

static void bench_report_json(const struct bench *bench, const char *name, const char *what,
                              const char *role, double work, const char *unit,
                              struct bench_time time, const struct bench_ceiling *ceilings,
                              size_t n)
{
    char path[PRECISION_PATH_MAX];
    precision_path(bench->precision, path);
    printf("{\"case\":\"%s\",\"what\":\"%s\",\"role\":\"%s\",\"threads\":%zu,\"path\":\"%s\","
           "\"unit\":\"%s\"",
           name, what, role, bench->threads, path, unit);
    bench_json_number("best", work / time.best);
    bench_json_number("median", work / time.median);
    printf(",\"calls\":%zu,\"ceilings\":[", time.calls);
    for (size_t i = 0; i < n; i++) {
        printf("%s{\"of\":\"%s\"", i > 0 ? "," : "", ceilings[i].name);
        bench_json_number("best", ceilings[i].best);
        bench_json_number("median", ceilings[i].median);
        bench_json_number("ratio", work / time.best / ceilings[i].best);
        printf("}");
    }
    printf("]}\n");
}

/* A table goes on as long as its rows are of one kind; then comes another. */
static bool bench_table_begins(const char *kind)
{
    static char now[64];
    if (strcmp(now, kind) == 0)
        return false;
    if (now[0])
        printf("\n");
    snprintf(now, sizeof now, "%s", kind);
    return true;
}

void bench_report_begin(const struct bench *bench)
{
    char path[PRECISION_PATH_MAX];
    precision_path(bench->precision, path);
    if (bench->output == BENCH_TABLE && bench_table_begins("rates"))
        printf("| case, %zu threads, %s | what | best | median | of the ceiling |\n"
               "|---|---|---|---|---|\n",
               bench->threads, path);
    fflush(stdout);
}

/* Without ceilings it is one. */
static void bench_report(const struct bench *bench, const char *name, const char *what,
                         double work, const char *unit, struct bench_time time,
                         const struct bench_ceiling *ceilings, size_t n)
{
    const double best = work / time.best, median = work / time.median;
    const bool table = bench->output == BENCH_TABLE;
    if (bench->output == BENCH_JSON) {
        bench_report_json(bench, name, what, n > 0 ? "result" : "ceiling", work, unit, time,
                          ceilings, n);
    } else {
        bench_report_begin(bench);
        printf(table ? "| %s | %s | %.4g %s | %.4g |"
                     : "%-12s %-44s %10.4g %-10s (median %.4g of %zu)",
               name, what, best, unit, median, time.calls);
        for (size_t i = 0; i < n; i++)
            printf("%s%.0f %% of %s (%.4g)", i > 0 ? ", " : " ",
                   100.0 * best / ceilings[i].best, ceilings[i].name, ceilings[i].best);
        printf("%s%s", n > 0 ? "" : " a ceiling", table ? " |\n" : "\n");
    }
    fflush(stdout);
}

void bench_report_under(const struct bench *bench, const char *name, const char *what,
                        double work, const char *unit, struct bench_time time,
                        const struct bench_ceiling *ceilings, size_t n)
{
    assert(n > 0);
    bench_report(bench, name, what, work, unit, time, ceilings, n);
}

void bench_report_ceiling(const struct bench *bench, const char *name, const char *what,
                          double work, const char *unit, struct bench_time time)
{
    bench_report(bench, name, what, work, unit, time, NULL, 0);
}

static void bench_values_json(const struct bench *bench, const char *name, const char *what,
                              const struct bench_value *values, size_t n)
{
    const struct bench_time once = {1.0, 1.0, 1};
    for (size_t i = 0; i < n; i++) {
        char which[128];
        snprintf(which, sizeof which, "%s, %s", what, values[i].name);
        bench_report_json(bench, name, which, "value", values[i].value, values[i].unit, once,
                          NULL, 0);
    }
}

/* In a table of the case's own, whose columns are the values. */
static void bench_values_row(const char *name, const char *what,
                             const struct bench_value *values, size_t n)
{
    if (bench_table_begins(name)) {
        printf("| %s |", name);
        for (size_t i = 0; i < n; i++)
            printf(" %s%s%s |", values[i].name, values[i].unit[0] ? ", " : "", values[i].unit);
        printf("\n|---|");
        for (size_t i = 0; i < n; i++)
            printf("---|");
        printf("\n");
    }
    printf("| %s |", what);
    for (size_t i = 0; i < n; i++)
        printf(" %.4g |", values[i].value);
    printf("\n");
}

void bench_report_values(const struct bench *bench, const char *name, const char *what,
                         const struct bench_value *values, size_t n)
{
    if (bench->output == BENCH_JSON) {
        bench_values_json(bench, name, what, values, n);
    } else if (bench->output == BENCH_TABLE) {
        bench_values_row(name, what, values, n);
    } else {
        printf("%-12s %-44s", name, what);
        for (size_t i = 0; i < n; i++)
            printf("%s %s %.4g %s", i > 0 ? "," : "", values[i].name, values[i].value,
                   values[i].unit);
        printf("\n");
    }
    fflush(stdout);
}

struct bench_ceiling bench_ceiling_of(const char *name, double work, struct bench_time time)
{
    return (struct bench_ceiling){name, work / time.best, work / time.median};
}

struct bench bench_in_fp32(const struct bench *bench)
{
    struct bench fp32 = *bench;
    fp32.precision = PRECISION_FP32;
    return fp32;
}

bool bench_skips(const struct bench *bench, const char *what)
{
    return bench->only && !strstr(what, bench->only);
}

_Noreturn void bench_fail(const char *what, const struct err *err)
{
    fprintf(stderr, "rlhf-bench: %s: %s\n", what, err->text);
    exit(err_exit_code(err->code));
}

void bench_check(const char *what, enum err_code rc, const struct err *err)
{
    if (rc)
        bench_fail(what, err);
}

_Noreturn void bench_stop(const char *what, const char *why)
{
    fprintf(stderr, "rlhf-bench: %s: %s\n", what, why);
    exit(70);
}

/* ---- a directory ---- */

void bench_dir_open(struct bench_dir *dir)
{
    struct err err = {0};
    snprintf(dir->path, sizeof dir->path, "/tmp/rlhf-bench-XXXXXX");
    if (!mkdtemp(dir->path))
        bench_check(dir->path, err_errno(&err, "make the directory"), &err);
}

void bench_dir_close(const struct bench_dir *dir)
{
    file_remove_tree(dir->path, NULL); /* what stays is in /tmp */
}

void bench_dir_at(const struct bench_dir *dir, const char *name, char path[FILE_PATH_MAX])
{
    struct err err = {0};
    bench_check(dir->path, file_join(path, dir->path, name, &err), &err);
}

void bench_dir_write(const struct bench_dir *dir, const char *name, const void *bytes, size_t n)
{
    char path[FILE_PATH_MAX];
    struct err err = {0};
    bench_dir_at(dir, name, path);
    bench_check(path, file_write(path, bytes, n, &err), &err);
}

/* ---- memory ---- */

/* 4 bytes each; much of it in huge pages, as what stands for it in a learner is. */
static void *bench_line_of(size_t n)
{
    const size_t huge = (size_t)2 << 20, bytes = n * sizeof(float);
    const size_t align = bytes < huge ? 64 : huge;
    void *x = aligned_alloc(align, (bytes / align + 1) * align);
    if (!x) {
        fprintf(stderr, "rlhf-bench: out of memory for %zu numbers\n", n);
        exit(71);
    }
#if defined(MADV_HUGEPAGE)
    if (align == huge)
        madvise(x, bytes, MADV_HUGEPAGE); /* only advice */
#endif
    return x;
}

uint32_t *bench_words(size_t n)
{
    uint32_t *words = bench_line_of(n);
    memset(words, 0, n * sizeof *words);
    return words;
}

float *bench_floats(size_t n)
{
    float *x = bench_line_of(n);
    uint64_t state = 1;
    for (size_t i = 0; i < n; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        x[i] = (float)((double)(state >> 40) / (double)(1u << 24) - 0.5);
    }
    return x;
}

/* main.c -- rlhf-bench [--threads N] [--seconds S] [--only TEXT] [--cpu-time]
 * [--precision fp32|bf16] [--json | --table] [CASE ...] */
#define _DEFAULT_SOURCE /* madvise */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "bench/bench.h"
#include "node/daemon.h"

static const struct bench_case {
    const char *name, *help;
    void (*run)(const struct bench *bench);
} bench_cases[] = {
#define X(name, help) {#name, help, bench_##name},
    BENCH_MAP(X)
#undef X
};

enum { BENCH_CASES = sizeof bench_cases / sizeof bench_cases[0], BENCH_CALLS_MAX = 100000 };

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

static struct bench_time bench_summary(struct bench_series *series)
{
    qsort(series->seconds, series->calls, sizeof series->seconds[0], bench_compare);
    return (struct bench_time){series->seconds[0], series->seconds[series->calls / 2],
                               series->calls};
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
    fn(arg);
    const double end = bench_now(bench) + bench->seconds;
    for (double now = bench_now(bench);
         series->calls < 5 || (now < end && series->calls < BENCH_CALLS_MAX);) {
        fn(arg);
        const double after = bench_now(bench);
        series->seconds[series->calls++] = after - now;
        now = after;
    }
    const struct bench_time time = bench_summary(series);
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
    for (size_t i = 0; i < n; i++)
        bench_turn(bench, &runs[i], NULL);
    const double end = bench_now(bench) + (double)n * bench->seconds;
    for (size_t turns = 0; turns < 4 || bench_now(bench) < end; turns++)
        for (size_t i = 0; i < n; i++)
            bench_turn(bench, &runs[i], &series[i]);
    for (size_t i = 0; i < n; i++)
        times[i] = bench_summary(&series[i]);
    free(series);
}

/* ---- what is printed ---- */

void bench_report(const struct bench *bench, const char *name, const char *what, double work,
                  const char *unit, struct bench_time time)
{
    bench_report_under(bench, name, what, work, unit, time, NULL, 0);
}

static void bench_report_json(const struct bench *bench, const char *name, const char *what,
                              double work, const char *unit, struct bench_time time,
                              const struct bench_ceiling *ceilings, size_t n)
{
    char path[PRECISION_PATH_MAX];
    precision_path(bench->precision, path);
    printf("{\"case\":\"%s\",\"what\":\"%s\",\"threads\":%zu,\"path\":\"%s\",\"unit\":\"%s\","
           "\"best\":%.6g,\"median\":%.6g,\"calls\":%zu,\"ceilings\":[",
           name, what, bench->threads, path, unit, work / time.best, work / time.median,
           time.calls);
    for (size_t i = 0; i < n; i++)
        printf("%s{\"of\":\"%s\",\"best\":%.6g,\"median\":%.6g,\"ratio\":%.4g}",
               i > 0 ? "," : "", ceilings[i].name, ceilings[i].best, ceilings[i].median,
               work / time.best / ceilings[i].best);
    printf("]}\n");
}

void bench_report_under(const struct bench *bench, const char *name, const char *what,
                        double work, const char *unit, struct bench_time time,
                        const struct bench_ceiling *ceilings, size_t n)
{
    const double best = work / time.best, median = work / time.median;
    const bool table = bench->output == BENCH_TABLE;
    if (bench->output == BENCH_JSON) {
        bench_report_json(bench, name, what, work, unit, time, ceilings, n);
    } else {
        printf(table ? "| %s | %s | %.4g %s | %.4g |"
                     : "%-12s %-44s %10.4g %-10s (median %.4g of %zu)",
               name, what, best, unit, median, time.calls);
        for (size_t i = 0; i < n; i++)
            printf(table ? "%s%.0f %% of %s (%.4g)" : "%s %.0f %% of %s (%.4g)",
                   i > 0   ? ","
                   : table ? " "
                           : "",
                   100.0 * best / ceilings[i].best, ceilings[i].name, ceilings[i].best);
        printf(table ? " |\n" : "\n");
    }
    fflush(stdout);
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

static void bench_usage(FILE *out)
{
    fprintf(out, "usage: rlhf-bench [--threads N] [--seconds S] [--only TEXT] [--cpu-time]\n"
                 "                  [--precision fp32|bf16] [--json | --table] [CASE ...]\n");
    for (size_t i = 0; i < BENCH_CASES; i++)
        fprintf(out, "  %-12s %s\n", bench_cases[i].name, bench_cases[i].help);
}

/* Read a number option; false, with a sentence on stderr, where it is none in [low, high]. */
static bool bench_number(const char *option, const char *text, double low, double high,
                         double *value)
{
    char *end = NULL;
    *value = text ? strtod(text, &end) : 0.0; /* argv ends with NULL */
    if (text && end != text && *end == '\0' && *value >= low && *value <= high)
        return true;
    fprintf(stderr, "rlhf-bench: %s wants a number from %g to %g\n", option, low, high);
    return false;
}

static bool bench_precision(const char *word, enum precision *precision)
{
    struct err err = {0};
    if (precision_parse(word ? word : "", precision, &err) == ERR_OK)
        return true;
    fprintf(stderr, "rlhf-bench: %s\n", err.text);
    return false;
}

static bool bench_run_case(const struct bench *bench, const char *name)
{
    for (size_t i = 0; i < BENCH_CASES; i++)
        if (strcmp(bench_cases[i].name, name) == 0) {
            bench_cases[i].run(bench);
            return true;
        }
    fprintf(stderr, "rlhf-bench: there is no case \"%s\"\n", name);
    return false;
}

/* Options into bench.  Returns the index of the first case, 0 where there is nothing to run;
 * *status is then what the program ends with. */
static int bench_options(struct bench *bench, int argc, char **argv, int *status)
{
    double threads = (double)bench->threads;
    int i = 1;
    for (; i < argc && argv[i][0] == '-'; i++) {
        *status = 64;
        if (strcmp(argv[i], "--json") == 0) {
            bench->output = BENCH_JSON;
        } else if (strcmp(argv[i], "--table") == 0) {
            bench->output = BENCH_TABLE;
        } else if (strcmp(argv[i], "--cpu-time") == 0) {
            bench->cpu_time = true;
        } else if (strcmp(argv[i], "--only") == 0 && i + 1 < argc) {
            bench->only = argv[++i];
        } else if (strcmp(argv[i], "--precision") == 0) {
            if (!bench_precision(argv[++i], &bench->precision))
                return 0;
        } else if (strcmp(argv[i], "--threads") == 0) {
            if (!bench_number("--threads", argv[++i], 1.0, POOL_THREADS_MAX, &threads))
                return 0;
        } else if (strcmp(argv[i], "--seconds") == 0) {
            if (!bench_number("--seconds", argv[++i], 0.001, 3600.0, &bench->seconds))
                return 0;
        } else {
            const bool help = strcmp(argv[i], "--help") == 0;
            bench_usage(help ? stdout : stderr);
            *status = help ? 0 : 64;
            return 0;
        }
    }
    bench->threads = (size_t)threads;
    return i;
}

static void bench_head(const struct bench *bench)
{
    char path[PRECISION_PATH_MAX];
    precision_path(bench->precision, path);
    if (bench->output == BENCH_TEXT)
        printf("%zu threads, %s\n", bench->threads, path);
    if (bench->output == BENCH_TABLE)
        printf("| case, %zu threads, %s | what | best | median | of the ceiling |\n"
               "|---|---|---|---|---|\n",
               bench->threads, path);
}

int main(int argc, char **argv)
{
    const long cores = sysconf(_SC_NPROCESSORS_ONLN);
    struct bench bench = {.seconds = 0.2, .threads = cores < 1 ? 1 : (size_t)cores};
    if (bench.threads > POOL_THREADS_MAX)
        bench.threads = POOL_THREADS_MAX;
    int status = 0;
    const int first = bench_options(&bench, argc, argv, &status);
    if (first == 0)
        return status;

    struct err err = {0};
    daemon_keep_memory(); /* as they do */
    pool_thread_init();
    bench.pool = pool_new(bench.threads, &err);
    if (!bench.pool)
        bench_fail("threads", &err);
    bench_head(&bench);
    bool good = true;
    for (int c = first; c < argc; c++)
        good = bench_run_case(&bench, argv[c]) && good;
    for (size_t c = 0; first == argc && c < BENCH_CASES; c++)
        bench_cases[c].run(&bench);
    pool_free(bench.pool);
    return good ? 0 : 64;
}

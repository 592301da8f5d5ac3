/* main.c -- rlhf-bench [--threads N] [--seconds S] [--json] [CASE ...] */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bench/bench.h"
#include "engine/kernels/isa.h"

static const struct bench_case {
    const char *name, *help;
    void (*run)(const struct bench *bench);
} bench_cases[] = {
#define X(name, help) {#name, help, bench_##name},
    BENCH_MAP(X)
#undef X
};

enum { BENCH_CASES = sizeof bench_cases / sizeof bench_cases[0], BENCH_CALLS_MAX = 100000 };

static double bench_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static int bench_compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

struct bench_time bench_time(const struct bench *bench, void (*fn)(void *arg), void *arg)
{
    static double seconds[BENCH_CALLS_MAX];
    fn(arg);
    size_t calls = 0;
    const double end = bench_now() + bench->seconds;
    for (double now = bench_now(); calls < 5 || (now < end && calls < BENCH_CALLS_MAX);) {
        fn(arg);
        const double after = bench_now();
        seconds[calls++] = after - now;
        now = after;
    }
    qsort(seconds, calls, sizeof seconds[0], bench_compare);
    return (struct bench_time){seconds[0], seconds[calls / 2], calls};
}

void bench_report(const struct bench *bench, const char *name, const char *what, double work,
                  const char *unit, struct bench_time time)
{
    const double best = work / time.best, median = work / time.median;
    if (bench->json)
        printf(
            "{\"case\":\"%s\",\"what\":\"%s\",\"threads\":%zu,\"isa\":\"%s\",\"unit\":\"%s\","
            "\"best\":%.6g,\"median\":%.6g,\"calls\":%zu}\n",
            name, what, bench->threads, isa_name(isa_used()), unit, best, median, time.calls);
    else
        printf("%-12s %-44s %10.4g %-10s (median %.4g of %zu)\n", name, what, best, unit,
               median, time.calls);
    fflush(stdout);
}

float *bench_floats(size_t n)
{
    float *x = aligned_alloc(64, (n * sizeof *x / 64 + 1) * 64);
    if (!x) {
        fprintf(stderr, "rlhf-bench: out of memory for %zu floats\n", n);
        exit(71);
    }
    uint64_t state = 1;
    for (size_t i = 0; i < n; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        x[i] = (float)((double)(state >> 40) / (double)(1u << 24) - 0.5);
    }
    return x;
}

static void bench_usage(FILE *out)
{
    fprintf(out, "usage: rlhf-bench [--threads N] [--seconds S] [--json] [CASE ...]\n");
    for (size_t i = 0; i < BENCH_CASES; i++)
        fprintf(out, "  %-12s %s\n", bench_cases[i].name, bench_cases[i].help);
}

/* Read a number option; false, with a sentence on stderr, where it is none in [low, high]. */
static bool bench_number(const char *option, const char *text, double low, double high,
                         double *value)
{
    char *end = NULL;
    *value = text ? strtod(text, &end) : 0.0;
    if (text && end != text && *end == '\0' && *value >= low && *value <= high)
        return true;
    fprintf(stderr, "rlhf-bench: %s wants a number from %g to %g\n", option, low, high);
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

int main(int argc, char **argv)
{
    struct bench bench = {.seconds = 0.2};
    const long cores = sysconf(_SC_NPROCESSORS_ONLN);
    double threads = cores < 1                  ? 1.0
                     : cores > POOL_THREADS_MAX ? POOL_THREADS_MAX
                                                : (double)cores;
    int i = 1;
    for (; i < argc && argv[i][0] == '-'; i++) {
        bool good = true;
        if (strcmp(argv[i], "--json") == 0) {
            bench.json = true;
        } else if (strcmp(argv[i], "--threads") == 0) {
            good = bench_number("--threads", argv[i + 1], 1.0, POOL_THREADS_MAX, &threads);
            i++;
        } else if (strcmp(argv[i], "--seconds") == 0) {
            good = bench_number("--seconds", argv[i + 1], 0.001, 3600.0, &bench.seconds);
            i++;
        } else {
            const bool help = strcmp(argv[i], "--help") == 0;
            bench_usage(help ? stdout : stderr);
            return help ? 0 : 64;
        }
        if (!good)
            return 64;
    }

    struct err err = {0};
    pool_thread_init();
    bench.threads = (size_t)threads;
    bench.pool = pool_new(bench.threads, &err);
    if (!bench.pool) {
        fprintf(stderr, "rlhf-bench: %s\n", err.text);
        return err_exit_code(err.code);
    }
    if (!bench.json)
        printf("%zu threads, %s\n", bench.threads, isa_name(isa_used()));
    bool good = true;
    for (int c = i; c < argc; c++)
        good = bench_run_case(&bench, argv[c]) && good;
    for (size_t c = 0; i == argc && c < BENCH_CASES; c++)
        bench_cases[c].run(&bench);
    pool_free(bench.pool);
    return good ? 0 : 64;
}

/* main.c -- rlhf-bench [--threads N] [--seconds S | --once] [--only TEXT] [--cpu-time]
 * [--precision fp32|bf16] [--json | --table] [CASE ...] */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
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

enum { BENCH_CASES = sizeof bench_cases / sizeof bench_cases[0] };

static void bench_usage(FILE *out)
{
    fprintf(out, "usage: rlhf-bench [--threads N] [--seconds S | --once] [--only TEXT]\n"
                 "                  [--precision fp32|bf16] [--cpu-time] [--json | --table]\n"
                 "                  [CASE ...]\n");
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
        } else if (strcmp(argv[i], "--once") == 0) {
            bench->once = true;
            bench->seconds = 0.01;
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
    log_open("rlhf-bench", STDERR_FILENO, LOG_LEVEL_WARN);
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

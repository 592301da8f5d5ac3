/*
 * main.c -- rlhf-bench-workers: what a coordinator costs with many workers.
 *
 *     rlhf-bench-workers [--rate N] [--seconds S] [--alone | --full] [WORKERS ...]
 *
 * A coordinator's process with as many simulated workers as told (10, 100, 300 and 1,000), each with
 * a TCP connection of its own, idle and then making N rollouts a second together; or the core alone,
 * in this process; or rollouts of CROWD_TOKENS_MAX tokens, as fast as they are taken, beside what the
 * disk and libzmq let through.  Writes Markdown tables.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/workers/alone.h"
#include "bench/workers/ceiling.h"
#include "bench/workers/crowd.h"
#include "bench/workers/load.h"

struct options {
    double rate, seconds;
    bool alone, full;
    size_t workers[16];
    size_t workers_n;
};

static int usage(void)
{
    fprintf(stderr, "usage: rlhf-bench-workers [--rate N] [--seconds S] [--alone | --full] "
                    "[WORKERS ...], 3 to 10000 each, 16 at most\n");
    return 64;
}

static bool read_options(struct options *options, int argc, char **argv)
{
    static const size_t usual[] = {10, 100, 300, 1000};
    *options = (struct options){.rate = 1000.0, .seconds = 10.0};
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "--alone") == 0)
            options->alone = true;
        else if (strcmp(argv[i], "--full") == 0)
            options->full = true;
        else if (strcmp(argv[i], "--rate") == 0)
            options->rate = strtod(value, NULL), i++;
        else if (strcmp(argv[i], "--seconds") == 0)
            options->seconds = strtod(value, NULL), i++;
        else if (options->workers_n < 16)
            options->workers[options->workers_n++] = strtoul(argv[i], NULL, 10);
        else
            return false;
    }
    for (size_t i = 0; i < options->workers_n; i++)
        if (options->workers[i] < 3 || options->workers[i] > 10000)
            return false;
    if (options->workers_n == 0) {
        memcpy(options->workers, usual, sizeof usual);
        options->workers_n = sizeof usual / sizeof usual[0];
    }
    return options->rate > 0.0 && options->seconds > 0.0;
}

static void print_alone(const struct options *options)
{
    printf("| workers, core alone | events/s | us a rollout |\n|---|---|---|\n");
    for (size_t i = 0; i < options->workers_n; i++) {
        const struct alone_result r = alone_run(options->workers[i], options->seconds);
        printf("| %zu | %.3g | %.2f |\n", options->workers[i], (double)r.events / r.core_s,
               1e6 * r.core_s / (double)r.rollouts);
        fflush(stdout);
    }
}

static void print_load(const struct options *options)
{
    printf("| workers | CPU ms a worker-second, idle | CPU s of 1,000 rollouts | rollouts/s "
           "| next lease p50, p99 ms | ACK p50, p99 ms | RSS MiB | files | joined in s "
           "| /metrics |\n"
           "|---|---|---|---|---|---|---|---|---|---|\n");
    for (size_t i = 0; i < options->workers_n; i++) {
        const struct load_result r =
            load_run(options->workers[i], options->rate, CROWD_TOKENS, options->seconds);
        printf("| %zu | %.3f | %.3f | %.0f | %.2f, %.1f | %.1f, %.0f | %.0f | %u | %.1f "
               "| %.0f ms, %.0f KiB |\n",
               r.workers, 1e3 * r.idle_cpu / (double)r.workers,
               1e3 * r.cpu_s / (double)r.rollouts, (double)r.rollouts / r.span_s, r.lease_ms[0],
               r.lease_ms[1], r.ack_ms[0], r.ack_ms[1], r.use.rss_mib, r.use.files, r.join_s,
               1e3 * r.scrape_s, (double)r.scrape_bytes / 1024.0);
        fflush(stdout);
    }
}

static void print_full(const struct options *options)
{
    printf(
        "| workers | rollouts/s | CPU us of a rollout: loop, libzmq, ledger | ACK p50, p99 ms "
        "| disk alone, rollouts/s | libzmq alone, rollouts/s, CPU us |\n"
        "|---|---|---|---|---|---|\n");
    for (size_t i = 0; i < options->workers_n; i++) {
        const struct load_result r =
            load_run(options->workers[i], 0.0, CROWD_TOKENS_MAX, options->seconds);
        const struct ceiling disk = ceiling_disk(CROWD_TOKENS_MAX, options->seconds / 4.0);
        const struct ceiling zmq = ceiling_zmq(CROWD_TOKENS_MAX, options->seconds / 4.0);
        const double us = 1e6 / (double)r.rollouts;
        printf("| %zu | %.0f | %.0f, %.0f, %.0f | %.1f, %.0f | %.0f | %.0f, %.0f |\n",
               r.workers, (double)r.rollouts / r.span_s, us * r.threads.loop_s,
               us * r.threads.zmq_s, us * r.threads.ledger_s, r.ack_ms[0], r.ack_ms[1],
               disk.per_s, zmq.per_s, zmq.cpu_us);
        fflush(stdout);
    }
}

int main(int argc, char **argv)
{
    struct options options;
    if (!read_options(&options, argc, argv))
        return usage();
    if (options.alone)
        print_alone(&options);
    else if (options.full)
        print_full(&options);
    else
        print_load(&options);
    return 0;
}

/* bench_workers.c -- a coordinator's process among simulated workers, each with a TCP
 * connection of its own: what workers cost it, idle and making 1,000 rollouts a second
 * together; and rollouts of 512 tokens as fast as it takes them, beside what a disk and libzmq
 * let through. */
#include <stdio.h>

#include "bench/bench.h"
#include "bench/workers/ceiling.h"
#include "bench/workers/crowd.h"
#include "bench/workers/load.h"

#define WORKERS_RATE 1000.0 /* rollouts a second */

#define WORKERS_COUNT(values) (sizeof(values) / sizeof(values)[0])

static void workers_case(const struct bench *bench, size_t workers)
{
    char what[64];
    snprintf(what, sizeof what, "%zu workers", workers);
    if (bench_skips(bench, what))
        return;
    const struct load_result r = load_run(workers, WORKERS_RATE, CROWD_TOKENS, bench->seconds);
    const struct bench_value values[] = {
        {"CPU of an idle worker", 1e3 * r.idle_cpu / (double)workers, "ms/s"},
        {"CPU of a rollout", 1e6 * r.cpu_s / (double)r.rollouts, "us"},
        {"rollouts", (double)r.rollouts / r.span_s, "1/s"},
        {"next lease p50", r.lease_ms[0], "ms"},
        {"next lease p99", r.lease_ms[1], "ms"},
        {"ACK p50", r.ack_ms[0], "ms"},
        {"ACK p99", r.ack_ms[1], "ms"},
        {"resident", r.use.rss_mib, "MiB"},
        {"open files", r.use.files, ""},
        {"joined in", r.join_s, "s"},
        {"/metrics in", 1e3 * r.scrape_s, "ms"},
        {"/metrics", (double)r.scrape_bytes / 1024.0, "KiB"},
    };
    bench_report_values(bench, "workers", what, values, WORKERS_COUNT(values));
}

void bench_workers(const struct bench *bench)
{
    static const size_t workers[] = {10, 100, 300, 1000};
    for (size_t i = 0; i < WORKERS_COUNT(workers); i++)
        workers_case(bench, workers[i]);
}

/* A ceiling as many times as the rollouts have pieces. */
static struct bench_ceiling rollouts_ceiling(const char *name, double seconds,
                                             struct ceiling (*measure)(uint32_t, double),
                                             double *cpu_us)
{
    double rollout_s[LOAD_PIECES], us[LOAD_PIECES];
    for (size_t i = 0; i < LOAD_PIECES; i++) {
        const struct ceiling piece = measure(CROWD_TOKENS_MAX, seconds / LOAD_PIECES);
        rollout_s[i] = 1.0 / piece.per_s;
        us[i] = piece.cpu_us;
    }
    *cpu_us = bench_time_of(us, LOAD_PIECES).median;
    return bench_ceiling_of(name, 1.0, bench_time_of(rollout_s, LOAD_PIECES));
}

static struct load_result rollouts_case(const struct bench *bench, const char *what,
                                        size_t workers, double *zmq_us)
{
    double disk_us;
    struct load_result r = load_run(workers, 0.0, CROWD_TOKENS_MAX, bench->seconds);
    const struct bench_ceiling ceilings[] = {
        rollouts_ceiling("the disk", bench->seconds, ceiling_disk, &disk_us),
        rollouts_ceiling("libzmq", bench->seconds, ceiling_zmq, zmq_us)};
    bench_report_under(bench, "rollouts", what, 1.0, "rollouts/s",
                       bench_time_of(r.rollout_s, LOAD_PIECES), ceilings, 2);
    return r;
}

static void rollouts_more(const struct bench *bench, const char *what,
                          const struct load_result *r, double zmq_us)
{
    const double us = 1e6 / (double)r->rollouts;
    const struct bench_value values[] = {
        {"CPU of a rollout in the loop", us * r->threads.loop_s, "us"},
        {"in libzmq", us * r->threads.zmq_s, "us"},
        {"in the ledger", us * r->threads.ledger_s, "us"},
        {"by plain libzmq", zmq_us, "us"},
        {"ACK p50", r->ack_ms[0], "ms"},
        {"ACK p99", r->ack_ms[1], "ms"},
    };
    bench_report_values(bench, "rollouts", what, values, WORKERS_COUNT(values));
}

void bench_rollouts(const struct bench *bench)
{
    static const size_t workers[] = {10, 100};
    enum { CASES = sizeof workers / sizeof workers[0] };
    struct load_result results[CASES];
    double zmq_us[CASES];
    char what[CASES][64];
    for (size_t i = 0; i < CASES; i++) {
        snprintf(what[i], sizeof what[i], "%zu workers, %u tokens", workers[i],
                 CROWD_TOKENS_MAX);
        if (!bench_skips(bench, what[i]))
            results[i] = rollouts_case(bench, what[i], workers[i], &zmq_us[i]);
    }
    for (size_t i = 0; i < CASES; i++)
        if (!bench_skips(bench, what[i]))
            rollouts_more(bench, what[i], &results[i], zmq_us[i]);
}

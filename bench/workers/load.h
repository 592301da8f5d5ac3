/* load.h -- simulated workers at a real coordinator, each with a connection of its own. */
#ifndef BENCH_WORKERS_LOAD_H
#define BENCH_WORKERS_LOAD_H

#include <stddef.h>
#include <stdint.h>

#include "bench/workers/host.h"

#define LOAD_PIECES 5

struct load_result {
    size_t workers;
    double join_s;        /* until all had their WELCOME */
    double idle_cpu;      /* processor time of the coordinator a second, nobody working */
    double span_s, cpu_s; /* at work: seconds, and of processor time */
    uint64_t rollouts;    /* in them */
    double rollout_s[LOAD_PIECES]; /* seconds of a rollout, piece by piece of the span */
    double ack_ms[2], lease_ms[2]; /* p50, p99: result to ACK, result to next lease */
    double scrape_s;
    size_t scrape_bytes;
    struct host_use use;         /* at the end */
    struct host_threads threads; /* of cpu_s */
};

/* n workers at a coordinator, that make `rate` rollouts of `tokens` tokens a second together,
 * or as many as it takes (0, and then they are never idle); idle and at work for `seconds`
 * each.  Ends the program where something fails. */
struct load_result load_run(size_t n, double rate, uint32_t tokens, double seconds);

#endif

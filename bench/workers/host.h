/* host.h -- a coordinator's process with a run of its own, and what the system says of it. */
#ifndef BENCH_WORKERS_HOST_H
#define BENCH_WORKERS_HOST_H

#include <stdint.h>
#include <sys/types.h>

#include "base/hash.h"
#include "bench/bench.h"

/* Processor time of its threads: the loop's, libzmq's, and the ledger's. */
struct host_threads {
    double loop_s, zmq_s, ledger_s;
};

struct host {
    struct bench_dir dir;
    char control[64], http[64];
    pid_t pid;
    struct hash config_hash;
};

/* What /proc says. */
struct host_use {
    double cpu_s; /* of all its threads, with the system's part */
    double rss_mib;
    unsigned files;
};

/* Make the directory and start rlhf-coordinator from beside this program, of a run whose responses
 * have at most `tokens` tokens.  Ends the program where that fails. */
void host_open(struct host *host, uint32_t tokens);
/* SIGTERM, and the directory is removed. */
void host_close(struct host *host);

struct host_use host_use(const struct host *host);
struct host_threads host_threads(const struct host *host);

/* GET /metrics: seconds it took and bytes that came. */
double host_scrape(const struct host *host, size_t *bytes);

#endif

/* alone.h -- the coordinator's core alone, without sockets and disk, among simulated workers. */
#ifndef BENCH_WORKERS_ALONE_H
#define BENCH_WORKERS_ALONE_H

#include <stddef.h>
#include <stdint.h>

struct alone_result {
    uint64_t events, rollouts; /* of the span measured */
    double core_s;             /* processor time in core_step */
};

/* n workers, each of whose actors makes a rollout in 20 ms of simulated time, until the core has
 * spent `seconds`.  Ends the program where something fails. */
struct alone_result alone_run(size_t n, double seconds);

#endif

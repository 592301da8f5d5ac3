/* alone.h -- the coordinator's core alone, without sockets and disk, among simulated workers. */
#ifndef BENCH_WORKERS_ALONE_H
#define BENCH_WORKERS_ALONE_H

#include <stddef.h>
#include <stdint.h>

struct alone_result {
    uint64_t events, rollouts;
    double core_s; /* processor time in core_step */
};

struct alone;

/* n workers, each of whose actors makes a rollout of CROWD_TOKENS tokens in 20 ms of simulated
 * time, all of them welcomed and a step done.  What fails, here and below, ends the program.  The
 * caller frees it with alone_close. */
struct alone *alone_open(size_t n);
void alone_close(struct alone *alone);

/* Go on until the core has spent `seconds` more, and for one rollout at least. */
struct alone_result alone_run(struct alone *alone, double seconds);

#endif

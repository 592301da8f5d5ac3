/* ceiling.h -- what bounds rollouts through a coordinator: a disk and libzmq that do nothing
 * else. */
#ifndef BENCH_WORKERS_CEILING_H
#define BENCH_WORKERS_CEILING_H

#include <stdint.h>

#define CEILING_COMMIT 64u /* rollouts of a commit */

struct ceiling {
    double per_s;  /* rollouts a second */
    double cpu_us; /* of this process, a rollout */
};

/* As many bytes as a rollout's two records hold, written to a file in /tmp; fdatasync after each
 * CEILING_COMMIT.  Ends the program where that fails. */
struct ceiling ceiling_disk(uint32_t tokens, double seconds);

/* A rollout's two results as plain messages over TCP, each answered with one of 64 bytes, by two
 * threads of this process; CEILING_COMMIT under way. */
struct ceiling ceiling_zmq(uint32_t tokens, double seconds);

#endif

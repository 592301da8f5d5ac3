/*
 * crowd.h -- many simulated workers: a learner, reward workers, and actors for the rest, which
 * say HELLO, heartbeats and results as node/worker.h does, and compute nothing.
 *
 * An actor answers item after item, each in a message of its own, `item_us` after the one before in
 * the mean;
 * a reward worker answers a lease at once, and so does the learner.  Where messages go is the
 * caller's: sockets (load.h), or a core in the same process (alone.h).
 *
 * crowd_receive sends nothing; all sending is in crowd_tick.  Times are monotonic microseconds.
 */
#ifndef BENCH_WORKERS_CROWD_H
#define BENCH_WORKERS_CROWD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/hash.h"
#include "wire/message.h"

#define CROWD_CAPACITY   4u  /* items of an actor */
#define CROWD_SCORING    32u /* of a reward worker */
#define CROWD_ITEMS_MAX  64u /* that one worker is asked for and has not answered */
#define CROWD_TOKENS     64u /* of a response, if not told otherwise */
#define CROWD_TOKENS_MAX 512u
#define CROWD_PENDING    64u /* results of a worker that are not acknowledged */
#define CROWD_SAMPLES    (1u << 20)

/* Where a message of worker `w` goes; it is the caller's again on return. */
typedef void crowd_send(void *ctx, size_t w, const struct message *message);

struct crowd_item {
    uint64_t lease, version;
    struct wire_item item;
};

struct crowd_worker {
    enum wire_role role;
    bool greeted, welcomed;
    uint64_t session, epoch, seq;
    uint64_t hello_us, sent_us, due_us; /* due: when the next item is done */
    uint64_t result_us;                 /* of a result that no lease came after; 0: none */
    struct crowd_item items[CROWD_ITEMS_MAX];
    uint32_t items_n;
    uint64_t pending_us[CROWD_PENDING]; /* of result seq, at seq % CROWD_PENDING; 0: none */
    uint64_t acked_seq;
    bool trains; /* learner: step is to be answered */
    uint64_t lease, step;
};

struct crowd_times {
    uint32_t n;
    float *us; /* [CROWD_SAMPLES] */
};

struct crowd {
    size_t n;
    struct crowd_worker *workers; /* [0] is the learner */
    struct hash config_hash;
    uint64_t item_us, heartbeat_us, random;
    uint32_t tokens; /* of a response, CROWD_TOKENS_MAX at most */
    bool learns;     /* false: the learner does not come, and nobody has anything to do */
    crowd_send *send;
    void *ctx;
    uint64_t results;                /* rollouts sent */
    uint64_t refused;                /* RESETs, and leases that did not fit */
    struct crowd_times acks, leases; /* from a result to its ACK; to the next lease */
};

/* n workers, n >= 3: one in ten, and one at least, is a reward worker.  Ends the program where
 * memory is out.  The caller frees it with crowd_release. */
void crowd_init(struct crowd *crowd, size_t n, crowd_send *send, void *ctx);
void crowd_release(struct crowd *crowd);

void crowd_receive(struct crowd *crowd, size_t w, const struct message *message,
                   uint64_t now_us);
/* Send what is due.  Looks at every worker. */
void crowd_tick(struct crowd *crowd, uint64_t now_us);

size_t crowd_welcomed(const struct crowd *crowd);
size_t crowd_actors(const struct crowd *crowd);

/* Sorts.  The q-th quantile in ms; NAN where there are none. */
double crowd_quantile_ms(struct crowd_times *times, double q);

#endif

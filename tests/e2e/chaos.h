/*
 * chaos.h -- a man in the middle of a run's connections, who spoils what passes as a seed says.
 *
 *     chaos messages SEED FRONT BACK [KIND=RATE ...]
 *     chaos stream   SEED FRONT BACK [KIND=RATE ...]
 *
 * Workers connect to FRONT, the coordinator has bound BACK: tcp://127.0.0.1:PORT both.
 *
 * `messages` speaks ZeroMQ: each worker's connection has one of its own behind it, and whole
 * messages are lost, doubled, held back, overtaken, cut short, or have a bit flipped.  A learner's
 * HELLO is changed on its way, so that its weights and gradients are fetched through here too.
 * `stream` knows bytes alone: connections end in the middle of a frame, stand still, or are slow.
 *
 * Rates are of 1000 messages, or of 1000 moments of 10 ms a connection (reset, partition, cut,
 * stall).  It ends with SIGTERM, and then says what it did: "dropped 12 doubled 3 ...".
 */
#ifndef TESTS_E2E_CHAOS_H
#define TESTS_E2E_CHAOS_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// clang-format off
#define CHAOS_KIND_MAP(X) \
    X(drop)      /* the message is lost */                                        \
    X(twice)     /* it comes again, later */                                      \
    X(slow)      /* it comes up to a second late: others overtake it */           \
    X(flip)      /* one bit of one frame */                                       \
    X(cut)       /* a frame, or the message, is shorter; a stream: it ends here */ \
    X(reset)     /* the connection to the coordinator, or learner, is a new one */ \
    X(partition) /* nothing passes for up to two seconds */                       \
    X(stall)     /* stream: this connection stands still for up to a second */    \
    X(limit)     /* stream: KiB a second; 0: no limit */
// clang-format on
enum chaos_kind {
#define X(name) CHAOS_##name,
    CHAOS_KIND_MAP(X)
#undef X
        CHAOS_KINDS
};

struct chaos {
    uint64_t rng;
    uint32_t rate[CHAOS_KINDS];
    uint64_t done[CHAOS_KINDS]; /* how often each happened */
    const char *front, *back;
    uint64_t partition_ms; /* until then nothing passes */
};

extern volatile sig_atomic_t chaos_stop;

uint64_t chaos_random(struct chaos *chaos, uint64_t n); /* 0..n-1 */
/* Does it happen now?  Counts it. */
bool chaos_happens(struct chaos *chaos, enum chaos_kind kind);
/* Begin partitions; is there one? */
bool chaos_is_parted(struct chaos *chaos, uint64_t now_ms);

/* Until chaos_stop; false where it cannot begin: a sentence is on standard error. */
bool chaos_messages(struct chaos *chaos);
bool chaos_stream(struct chaos *chaos);

#endif

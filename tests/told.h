/*
 * told.h -- a thread that is told that bytes are written, and looks at them at once.
 *
 * What goes past the caches is ordered by nothing but a fence: without one, an ordinary store
 * that tells of it can be seen first.  Of 100,000 looks 10 to 50 are then too early, so that
 * TOLD_MS find it nine times in ten on two idle cores, on busy ones less often, on one core
 * never.  What tells of a sum in earnest is a locked instruction, which on x86 waits for such
 * stores too; the promise is one to whoever tells with less.
 */
#ifndef TESTS_TOLD_H
#define TESTS_TOLD_H

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "base/clock.h"
#include "tests/test.h"

#define TOLD_MS    400u
#define TOLD_SPINS 100000u /* until the other may be waiting for this core */

struct told {
    unsigned char *bytes;
    size_t size;
    _Alignas(64) atomic_uint told, seen; /* the last round; told 0: no more */
    unsigned early;                      /* rounds in which something was not there */
};

static inline unsigned told_wait(atomic_uint *at, unsigned other)
{
    for (unsigned spins = 0;; spins++) {
        const unsigned now = atomic_load_explicit(at, memory_order_acquire);
        if (now != other)
            return now;
        if (spins % TOLD_SPINS == TOLD_SPINS - 1)
            sched_yield();
    }
}

/* Of each round all bytes have this value; of each line one is looked at, the last first. */
static inline unsigned char told_value(unsigned round)
{
    return (unsigned char)(1 + round % 100);
}

static inline void *told_look(void *ctx)
{
    struct told *t = ctx;
    for (unsigned round = 0; (round = told_wait(&t->told, round)) > 0;) {
        bool early = false;
        for (size_t at = t->size; at >= 64; at -= 64)
            early |= t->bytes[at - 64] != told_value(round);
        t->early += early;
        memset(t->bytes, 0, t->size); /* in this core's cache they take longest to write */
        atomic_store_explicit(&t->seen, round, memory_order_release);
    }
    return NULL;
}

/* write(ctx, value) makes all of `bytes` that value; nobody sees it do so halfway. */
static inline void check_told(unsigned char *bytes, size_t size,
                              void (*write)(void *ctx, unsigned char value), void *ctx)
{
    struct told t = {.bytes = bytes, .size = size};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, told_look, &t), 0);
    const uint64_t end = clock_mono_ms() + TOLD_MS;
    for (unsigned round = 1; clock_mono_ms() < end; round++) {
        write(ctx, told_value(round));
        atomic_store_explicit(&t.told, round, memory_order_release);
        told_wait(&t.seen, round - 1);
    }
    atomic_store(&t.told, 0);
    pthread_join(thread, NULL);
    assert_int_equal(t.early, 0);
}

#endif

/*
 * core_set.h -- some of the peers, by their index: so that an event costs what it is about, and
 * not a look at everybody.  Visited in the order of indices:
 *
 *     for (size_t i = core_set_next(set, 0); i < CORE_PEERS_MAX; i = core_set_next(set, i + 1))
 */
#ifndef COORDINATOR_CORE_SET_H
#define COORDINATOR_CORE_SET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "coordinator/core.h"

#define CORE_SET_WORDS (CORE_PEERS_MAX / 64)

struct core_set {
    uint64_t word[CORE_SET_WORDS];
};

static inline void core_set_put(struct core_set *set, size_t i, bool in)
{
    const uint64_t bit = (uint64_t)1 << (i % 64);
    set->word[i / 64] = in ? set->word[i / 64] | bit : set->word[i / 64] & ~bit;
}

static inline bool core_set_has(const struct core_set *set, size_t i)
{
    return set->word[i / 64] >> (i % 64) & 1;
}

/* The first member from `from` on; CORE_PEERS_MAX: there is none. */
static inline size_t core_set_next(const struct core_set *set, size_t from)
{
    for (size_t w = from / 64; w < CORE_SET_WORDS; w++) {
        const uint64_t rest =
            w == from / 64 ? set->word[w] >> (from % 64) << (from % 64) : set->word[w];
        if (rest != 0)
            return w * 64 + (size_t)__builtin_ctzll(rest);
    }
    return CORE_PEERS_MAX;
}

#endif

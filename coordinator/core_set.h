/*
 * core_set.h -- some of the peers, by their index: so that an event costs what it is about, and
 * not a look at everybody.  Visited in the order of indices:
 *
 *     for (size_t i = core_set_next(set, 0); i < CORE_PEERS_MAX; i = core_set_next(set, i + 1))
 */
#ifndef COORDINATOR_CORE_SET_H
#define COORDINATOR_CORE_SET_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "coordinator/core.h"

#define CORE_SET_WORDS (CORE_PEERS_MAX / 64)
static_assert(CORE_SET_WORDS <= 32, "core_set.some has a bit for each word");

struct core_set {
    uint64_t word[CORE_SET_WORDS];
    uint32_t some; /* bit w: word[w] is not 0, so that few members are found at once */
};

static inline void core_set_put(struct core_set *set, size_t i, bool in)
{
    const size_t w = i / 64;
    const uint64_t bit = (uint64_t)1 << (i % 64);
    const uint32_t some = (uint32_t)1 << w;
    set->word[w] = in ? set->word[w] | bit : set->word[w] & ~bit;
    set->some = set->word[w] != 0 ? set->some | some : set->some & ~some;
}

static inline bool core_set_has(const struct core_set *set, size_t i)
{
    return set->word[i / 64] >> (i % 64) & 1;
}

/* The first member from `from` on; CORE_PEERS_MAX: there is none. */
static inline size_t core_set_next(const struct core_set *set, size_t from)
{
    if (from >= CORE_PEERS_MAX)
        return CORE_PEERS_MAX;
    size_t w = from / 64;
    uint64_t rest = set->word[w] >> (from % 64) << (from % 64);
    if (rest == 0) {
        const uint64_t after = (uint64_t)set->some >> w >> 1;
        if (after == 0)
            return CORE_PEERS_MAX;
        w += 1 + (size_t)__builtin_ctzll(after);
        rest = set->word[w];
    }
    return w * 64 + (size_t)__builtin_ctzll(rest);
}

#endif

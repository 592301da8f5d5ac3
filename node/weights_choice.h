/*
 * weights_choice.h -- whether weights are asked for as differences (node/weights_delta.h), by how
 * long fetches took.
 *
 *      whole --below 400 MiB/s--> differences --each 16th is a look--> whole
 *        ^                                                               |
 *        +-- 500 MiB/s or more; else differences again ------------------+
 *
 * A learner makes differences at 600 to 900 MiB/s, once, so they do not tell how fast the network
 * has become: only a fetch without them does.  Where they take longer than the whole did (by a
 * quarter), they are left alone for the next 16 fetches.  Pure: no clock.
 */
#ifndef NODE_WEIGHTS_CHOICE_H
#define NODE_WEIGHTS_CHOICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WEIGHTS_CHOICE_SLOW_MIB_S 400u /* of whole weights: below it differences are tried */
#define WEIGHTS_CHOICE_FAST_MIB_S 500u /* and from here on they are not used any more */
#define WEIGHTS_CHOICE_LOOK       16u  /* fetches from one look at the other way to the next */

/* All zero: nothing was fetched yet. */
struct weights_choice {
    bool differs;        /* the answer: ask for differences next time */
    bool is_slow;        /* the network, when it was looked at last */
    uint64_t whole_rate; /* of the last fetch without differences; bytes a second */
    uint32_t fetches;    /* of differences since then */
    uint32_t rest;       /* fetches for which differences are left alone */
};

/* `size` bytes of weights were fetched in `ms`; `differed`: differences were asked for. */
void weights_choice_note(struct weights_choice *choice, bool differed, size_t size,
                         uint64_t ms);

#endif

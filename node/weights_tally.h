/*
 * weights_tally.h -- what a worker's fetches of weights come to, for its heartbeats.
 *
 * Counted at the end of each fetch, all of it at once: so the sums always agree with each other.
 * Pure.
 */
#ifndef NODE_WEIGHTS_TALLY_H
#define NODE_WEIGHTS_TALLY_H

#include <stdbool.h>

#include "node/weights.h"
#include "wire/message.h"

#define WEIGHTS_TALLY_MAX 32u /* fetches whose median is told */

/* All zero: nothing was fetched yet. */
struct weights_tally {
    struct wire_weights sum; /* sent_bytes: 0 */
    uint64_t ms[WEIGHTS_TALLY_MAX];
};

/* A fetch of `size` bytes is over; `is_whole`: the weights are here. */
void weights_tally_note(struct weights_tally *tally, const struct weights_view *view,
                        size_t size, bool is_whole);

#endif

/* weights_tally.c -- see weights_tally.h. */
#include "node/weights_tally.h"

#include <stdlib.h>
#include <string.h>

static int weights_tally_compare(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* The upper one of two in the middle. */
static uint64_t weights_tally_median(const struct weights_tally *tally)
{
    uint64_t ms[WEIGHTS_TALLY_MAX];
    const uint64_t fetches = tally->sum.fetches;
    const size_t n = fetches < WEIGHTS_TALLY_MAX ? (size_t)fetches : WEIGHTS_TALLY_MAX;
    memcpy(ms, tally->ms, n * sizeof ms[0]);
    qsort(ms, n, sizeof ms[0], weights_tally_compare);
    return ms[n / 2];
}

void weights_tally_note(struct weights_tally *tally, const struct weights_view *view,
                        size_t size, bool is_whole)
{
    struct wire_weights *sum = &tally->sum;
    sum->server_bytes += view->traffic.server_bytes;
    sum->relay_bytes += view->traffic.relay_bytes;
    sum->saved_bytes += view->traffic.saved_bytes;
    sum->wasted_bytes += view->traffic.wasted_bytes;
    sum->refused += view->traffic.refused;
    if (!is_whole)
        return;
    sum->mapped_bytes += view->memory.bytes ? size : 0;
    tally->ms[sum->fetches++ % WEIGHTS_TALLY_MAX] = view->ms;
    sum->fetch_ms = weights_tally_median(tally);
}

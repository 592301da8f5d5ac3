/*
 * top.h -- the parts of `rlhf top` that need no terminal: rates, and a screen drawn over the one
 * before.
 */
#ifndef CLI_TOP_H
#define CLI_TOP_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

/* The alternate screen, without a cursor; and back. */
#define TOP_BEGIN "\033[?1049h\033[?25l"
#define TOP_END   "\033[?25h\033[?1049l"

/* What a coordinator has counted.  All zero before the first look. */
struct top_rates {
    uint64_t at_ms, epoch;      /* of the last look */
    double seconds;             /* between the last two; 0: there are no two of one epoch */
    double step, token, record; /* counted at the last look */
    double steps_per_s, tokens_per_s, records_per_s; /* between the two */
};

/* A status, seen at now_ms (monotonic).  A coordinator that was started again counts anew: then
 * there are no rates until the look after. */
void top_rates_see(struct top_rates *rates, const json_t *status, uint64_t now_ms);

/* One line and a blank one; dashes where there are no rates. */
void top_rates_write(const struct top_rates *rates, struct buf *out);

/*
 * The screen's lines for a terminal of rows x columns (0: unknown, 24 x 80): from the top left,
 * each cut to the width and the rest of its line cleared, and what is below the last, too.  A
 * character of UTF-8 counts as one column.
 */
void top_draw(const struct buf *screen, unsigned rows, unsigned columns, struct buf *out);

#endif

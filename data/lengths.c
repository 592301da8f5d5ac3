/* lengths.c -- see lengths.h.  Classes as in a floating-point number of 11 bits after the
 * leading one: value = (2048 + step) << shift. */
#include "data/lengths.h"

#include <math.h>
#include <stdlib.h>

enum { LENGTHS_STEPS = LENGTHS_EXACT / 2, LENGTHS_SHIFTS = 64 - 12 };

static size_t lengths_class(uint64_t value)
{
    if (value < LENGTHS_EXACT)
        return (size_t)value;
    unsigned shift = 0;
    for (; value >= LENGTHS_EXACT; value >>= 1)
        shift++;
    return LENGTHS_EXACT + (shift - 1) * LENGTHS_STEPS + (size_t)value - LENGTHS_STEPS;
}

static uint64_t lengths_value(size_t class)
{
    if (class < LENGTHS_EXACT)
        return class;
    const size_t past = class - LENGTHS_EXACT;
    return (uint64_t)(LENGTHS_STEPS + past % LENGTHS_STEPS) << (past / LENGTHS_STEPS + 1);
}

enum err_code lengths_init(struct lengths *lengths, struct err *err)
{
    *lengths = (struct lengths){0};
    lengths->count =
        calloc(LENGTHS_EXACT + LENGTHS_SHIFTS * LENGTHS_STEPS, sizeof *lengths->count);
    return lengths->count ? ERR_OK : err_set(err, ERR_NOMEM, "no memory to count lengths");
}

void lengths_release(struct lengths *lengths)
{
    free(lengths->count);
    *lengths = (struct lengths){0};
}

void lengths_add(struct lengths *lengths, uint64_t value)
{
    if (lengths->n == 0 || value < lengths->min)
        lengths->min = value;
    if (value > lengths->max)
        lengths->max = value;
    lengths->n++;
    lengths->sum += value;
    lengths->count[lengths_class(value)]++;
}

uint64_t lengths_quantile(const struct lengths *lengths, double q)
{
    const double want = ceil(q * (double)lengths->n);
    uint64_t seen = 0;
    for (size_t i = 0; lengths->n > 0; i++) {
        seen += lengths->count[i];
        if (seen > 0 && (double)seen >= want) {
            const uint64_t value = lengths_value(i);
            return value < lengths->min ? lengths->min : value;
        }
    }
    return 0;
}

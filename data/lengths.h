/*
 * lengths.h -- how long things are: least, greatest and quantiles of counts, in fixed memory.
 *
 * Counts below LENGTHS_EXACT are kept as they are, greater ones in classes 1/2048 of their
 * size wide, whose lower end is told.  About 700 KiB each.
 */
#ifndef DATA_LENGTHS_H
#define DATA_LENGTHS_H

#include <stdint.h>

#include "base/err.h"

#define LENGTHS_EXACT 4096

struct lengths {
    uint64_t n, sum, min, max; /* min and max are exact; 0 where n is 0 */
    uint64_t *count;           /* of each class; NULL: none held */
};

/* ERR_NOMEM.  The caller releases it with lengths_release, also on failure. */
enum err_code lengths_init(struct lengths *lengths, struct err *err);
void lengths_release(struct lengths *lengths);

void lengths_add(struct lengths *lengths, uint64_t value);

/* The least value such that at least q * n of them are no greater; 0 where there is none.
 * 0 <= q <= 1. */
uint64_t lengths_quantile(const struct lengths *lengths, double q);

#endif

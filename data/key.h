/*
 * key.h -- what makes two prompts, or two records, the same, as one hash (XXH3-64).
 *
 * Of n different ones, two have the same hash with a probability of n^2 / 2^65: 2e-6 for
 * eight million.
 */
#ifndef DATA_KEY_H
#define DATA_KEY_H

#include <stdint.h>

#include "base/buf.h"
#include "data/record.h"

/* Roles and texts of the prompt; for a plain text or ids, of the whole record.  `seed`
 * makes the hash another one.  `scratch` (buf_init'ed) is overwritten; where it is too small
 * for the record, its `failed` is set and 0 returned. */
uint64_t key_prompt(const struct data_record *record, uint64_t seed, struct buf *scratch);

/* The first turn of the prompt alone, or as key_prompt where there is none. */
uint64_t key_opening(const struct data_record *record, uint64_t seed, struct buf *scratch);

/* Prompt, answers and which was preferred to which. */
uint64_t key_record(const struct data_record *record, struct buf *scratch);

#endif

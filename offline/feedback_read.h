/*
 * feedback_read.h -- feedback from a data set, in any format of data/format.h.
 *
 *     kind         of each record                                       an item a
 *     reward       its pairs, with their margins                        pair
 *     cost         its pairs of safety, with what is known of harm      pair, less safe first
 *     regression   its answers with at least one of the attributes      answer
 *
 * A record that says nothing of the kind is idle: counted, not bad.  The sequences of a pair
 * that are the same ids, and what does not fit, are bad (data/reader.h decides what follows).
 */
#ifndef OFFLINE_FEEDBACK_READ_H
#define OFFLINE_FEEDBACK_READ_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "data/encode.h"
#include "data/reader.h"
#include "offline/feedback.h"

struct feedback_counts {
    uint64_t records, idle; /* that could be read; of them */
    uint64_t bad;           /* lines */
    uint64_t turns_cut;     /* turns left out of prompts that were too long */
};

/*
 * Append the items of the file to `feedback`, marked as held out or not.  `options` names the
 * attributes of a regression, as many as feedback->labels.  ERR_VALUE where the file has no item
 * of the kind; else the errors of reader_next.
 */
enum err_code feedback_read(struct feedback *feedback, const struct encode *how,
                            const struct reader_options *options, const char *path,
                            bool held_out, struct feedback_counts *counts, struct err *err);

#endif

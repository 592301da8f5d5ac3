/*
 * emit.h -- a record written as a line (or lines) of a format.
 *
 *     pair         a line a pair, with margin and scores where they are told
 *     safe_rlhf    a record of two answers, compared at least one way
 *     response     the answer data_record_best names, with rating and attributes
 *     prompt       the prompt and its label
 *     hh           a line a pair, as transcripts
 *
 * What is read back from what was written is the same record, as far as the format tells it.
 */
#ifndef DATA_EMIT_H
#define DATA_EMIT_H

#include "base/buf.h"
#include "data/format.h"

/* "pair, safe_rlhf, response, prompt, hh": the formats that can be written. */
const char *emit_names(void);
bool emit_can(enum format_kind kind);

/* Append the record to `out` as lines of `kind`.  NULL, or what the record lacks for it ("no
 * pair"); nothing is appended then.  `attribute` names its attributes. */
const char *emit_record(enum format_kind kind, const struct data_record *record,
                        const char *const *attribute, size_t attributes, struct buf *out);

#endif

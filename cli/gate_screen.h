/*
 * gate_screen.h -- what the gate decided (node/gate_record.h), for people: on a terminal, and as
 * a section of a report.
 */
#ifndef CLI_GATE_SCREEN_H
#define CLI_GATE_SCREEN_H

#include <jansson.h>
#include <stdbool.h>

#include "base/buf.h"
#include "base/err.h"

/* How lines are set: so many blanks, then the first word, so wide. */
struct gate_screen_layout {
    int margin, width;
};

/* The "gate" of /api/v1/status as lines that begin with `gate` and `published`; nothing where it
 * is null. */
void gate_screen(const json_t *gate, struct gate_screen_layout layout, struct buf *out);

/* The same from the directory of a run, with nobody asked; `json`: the object, or null.  What
 * cannot be read is told there as its "fault". */
void gate_screen_run(const char *run, bool json, struct gate_screen_layout layout,
                     struct buf *out);

/* An HTML section with a row a candidate, oldest first; nothing where there was none.  Errors as
 * gate_record_load. */
enum err_code gate_screen_report(const char *run, struct buf *out, struct err *err);

#endif

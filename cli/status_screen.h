/*
 * status_screen.h -- a coordinator's /api/v1/status as a screen for people.
 */
#ifndef CLI_STATUS_SCREEN_H
#define CLI_STATUS_SCREEN_H

#include <jansson.h>

#include "base/buf.h"
#include "base/err.h"

/*
 * Append the screen: where the run is, what it waits for, slots by state, the last step's
 * numbers, the ledger, what went wrong (where something did), a line a worker.  A member that
 * is absent or of another type shows as "-".  `status` is an object.
 */
void status_screen(const json_t *status, struct buf *out);

/* Append text from elsewhere, for a terminal: control characters (C0, DEL, C1) and those that
 * turn the direction of writing become \xNN, a byte each. */
void status_screen_text(struct buf *out, const char *text);

#endif

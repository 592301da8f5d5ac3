/*
 * status_fetch.h -- one GET to a coordinator, with a deadline.
 */
#ifndef CLI_STATUS_FETCH_H
#define CLI_STATUS_FETCH_H

#include "base/buf.h"
#include "base/err.h"

#define STATUS_FETCH_MS 2000 /* for all of it */

/*
 * Append the body that http://`address``path` answers to `out`.  Plain HTTP, no proxy, no
 * redirect; blocks for at most STATUS_FETCH_MS.  ERR_UNAVAILABLE where nobody answers in time,
 * or with another status than 200.
 */
enum err_code status_fetch(const char *address, const char *path, struct buf *out,
                           struct err *err);

#endif

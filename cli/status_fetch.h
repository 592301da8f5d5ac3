/*
 * status_fetch.h -- one GET to a coordinator, or one POST, with a deadline.
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

/* The same with an empty POST and, unless it is empty, the token of endpoints.token_file.
 * ERR_UNAVAILABLE also says what was answered, such as that this one may not. */
enum err_code status_post(const char *address, const char *path, const char *token,
                          struct buf *out, struct err *err);

#endif

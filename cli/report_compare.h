/*
 * report_compare.h -- several runs on one page.
 *
 * Of each quantity the page has a chart with a line a group (report_groups.h), the mean over
 * its runs, in a band of one standard error to both sides; and a table with the mean over runs,
 * and its standard error, of each run's last and best tenth of steps.  A group's curves end
 * where its shortest run does, so that a mean is always over the same runs.
 */
#ifndef CLI_REPORT_COMPARE_H
#define CLI_REPORT_COMPARE_H

#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"

/*
 * Write the page of n runs to `path` atomically.  ERR_USAGE where there are too many runs or
 * groups, or one result twice (report_groups_load); otherwise as report_write.  n > 0.
 */
enum err_code report_compare_write(const char *const *run_dirs, size_t n, const char *path,
                                   struct err *err);

/* The same without the page's frame, behind what `out` holds already: for a page that says more
 * than this.  `out` is unspecified after an error. */
enum err_code report_compare_append(const char *const *run_dirs, size_t n, struct buf *out,
                                    struct err *err);

#endif

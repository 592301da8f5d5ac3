/*
 * score_page.h -- report.html of a score model: its numbers beside the baselines, curves
 * over the steps, reliability, and where the scores lie.
 */
#ifndef CLI_SCORE_PAGE_H
#define CLI_SCORE_PAGE_H

#include "base/buf.h"
#include "cli/score_report.h"

/* Append the whole page. */
void score_page_write(const struct score_report *report, struct buf *out);

#endif

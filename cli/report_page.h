/*
 * report_page.h -- the frame of a report's page: HTML of one file, without scripts, without
 * network, light or dark as the reader's system is.
 */
#ifndef CLI_REPORT_PAGE_H
#define CLI_REPORT_PAGE_H

#include "base/buf.h"
#include "node/run_config.h"

#define REPORT_PAGE_BYTES_MAX ((size_t)64 * 1024 * 1024)

/* Up to <body> and the heading; `title` is escaped.  report_page_end closes it. */
void report_page_begin(struct buf *out, const char *title);
void report_page_end(struct buf *out);

/* Escaped text. */
void report_page_text(struct buf *out, const char *text);

/* A cell of a table: four significant digits, "-" where the value is not finite. */
void report_page_cell(struct buf *out, double value);

/* The same; where the error is finite, "value ± error", the error with two digits. */
void report_page_cell_error(struct buf *out, double value, double error);

/* The whole config, folded away under `title`. */
void report_page_config(struct buf *out, const char *title, const struct run_config *config);

#endif

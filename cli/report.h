/*
 * report.h -- a finished or running run as one HTML file that needs no network.
 *
 * Everything in it comes from the ledger (coordinator/ledger.h), the gate's record
 * (node/gate_record.h) and the resolved config: a summary; what the gate decided; the proxy reward
 * beside the monitors, over steps and over the distance from the reference policy; charts of what
 * was rewarded, held below a limit, and learnt; responses; the config.
 */
#ifndef CLI_REPORT_H
#define CLI_REPORT_H

#include "base/err.h"

/* Write RUN/report.html atomically.  Errors name the file; ERR_UNAVAILABLE without a ledger. */
enum err_code report_write(const char *run_dir, struct err *err);

#endif

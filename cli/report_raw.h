/*
 * report_raw.h -- the raw rewards of a report's examples, as the run's reward.combine made them.
 *
 * A tree needs the scores of the prompt's references, maxmin the group of the step: both are in
 * the ledger.  A reference has no raw reward under either.
 */
#ifndef CLI_REPORT_RAW_H
#define CLI_REPORT_RAW_H

#include "base/err.h"
#include "cli/report_examples.h"
#include "coordinator/ledger.h"
#include "node/run_config.h"

/* Fill `raw` of all examples that are held; NaN: not to be had.  ERR_NOMEM, and the errors of
 * ledger_each. */
enum err_code report_raw_fill(struct report_examples *examples, struct ledger *ledger,
                              const struct run_config *config, struct err *err);

#endif

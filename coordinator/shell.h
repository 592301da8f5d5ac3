/*
 * shell.h -- what surrounds the core: the loop, the socket, the ledger, HTTP.
 *
 *     ROUTER --message--+                 +-- SEND ------> ROUTER
 *     timer ----tick----+--> core_step ---+-- APPEND ----> ledger's thread --+
 *     ledger --durable--+                 +-- STEP_DONE -> progress.jsonl    |
 *        ^                                +-- FINISHED --> the loop ends     |
 *        +-------------------------------------------------------------------+
 *
 * It decodes, steps, carries out the effects, and decides nothing.  Files in run.dir:
 * ledger.sqlite, progress.jsonl (a JSON line a step), http ("address:port" of the server).
 *
 * HTTP: /metrics, /healthz, /readyz (503 and the check that fails until a worker of each role
 * is there), /api/v1/status; see coordinator/status.h.
 */
#ifndef COORDINATOR_SHELL_H
#define COORDINATOR_SHELL_H

#include "base/err.h"
#include "node/run_config.h"

struct shell_options {
    const struct run_config *config;
    const char *name;    /* of this process, for its key */
    const char *control; /* endpoint to bind */
    const char *http;    /* address:port; "": none */
};

/* Run until the run is over, or SIGTERM or SIGINT.  *status is what the program is to return:
 * 0 complete, CORE_EXIT_HALT, CORE_EXIT_STOPPED.  On an error that is none of these, the code
 * and the sentence; ERR_IO where the ledger could not be written. */
enum err_code shell_run(const struct shell_options *options, int *status, struct err *err);

#endif

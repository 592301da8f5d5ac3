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
 * ledger.sqlite, progress.jsonl (a JSON line a step), http ("address:port" of the server),
 * config.yaml, the resolved configuration.
 *
 * A worker is a connection, and that a file: where fewer may be open than CORE_PEERS_MAX and what
 * the shell needs itself, fewer workers are let in, and the log says so.
 *
 * HTTP: /metrics, /healthz, /readyz (503 and the check that fails until a worker of each role
 * is there), /api/v1/status; see coordinator/status.h.  POST to /api/v1/pause, resume, checkpoint
 * and drain, for those who may (node/http.h), is an event of the core and answers the status.
 */
#ifndef COORDINATOR_SHELL_H
#define COORDINATOR_SHELL_H

#include "base/err.h"
#include "node/run_config.h"

struct shell_options {
    const struct run_config *config;
    const char *name;       /* of this process, for its key */
    const char *control;    /* endpoint to bind */
    const char *http;       /* address:port; "": none */
    const char *rendezvous; /* where to say at which endpoint it listens; NULL: nowhere */
    const char *job;        /* with a rendezvous: which start this is (node/rendezvous.h) */
    uint64_t files_max;     /* that may be open: a worker is one */
};

/* Run until the run is over, or SIGTERM or SIGINT; after SIGUSR1, until the step in training has
 * its checkpoint (CORE_EXIT_STOPPED, where POST drain is 0).  *status is what the program is to
 * return: 0 complete, CORE_EXIT_HALT, CORE_EXIT_STOPPED.  On an error that is none of these, the
 * code and the sentence; ERR_IO where the ledger could not be written. */
enum err_code shell_run(const struct shell_options *options, int *status, struct err *err);

#endif

/*
 * daemon.h -- how actor, reward, learner and coordinator begin: command line, config, log.
 *
 *     rlhf-actor --config FILE --name actor-0 --control ENDPOINT [--bulk ENDPOINT]
 *                [--http ADDRESS:PORT] [--log-level debug|info|warn|error] [KEY=VALUE ...]
 *
 * An endpoint given here wins over the config's.  With --rendezvous FILE --job ID the coordinator
 * writes there where it listens, and workers need no --control (node/rendezvous.h).  With
 * --supervised the process asks the kernel for SIGTERM when its parent dies, so that nothing is
 * left behind a killed `rlhf run`; told the parent's number, it ends too where that has died before
 * it could ask.
 */
#ifndef NODE_DAEMON_H
#define NODE_DAEMON_H

#include "base/err.h"
#include "node/run_config.h"
#include "wire/socket.h"

struct daemon_options {
    const char *program;     /* "rlhf-actor" */
    const char *config_path; /* borrowed from argv, as all of these */
    const char *name;        /* default: the role with "-0" */
    const char *control;     /* default: endpoints.control; may be "" with a rendezvous */
    const char *bulk;        /* default: endpoints.bulk */
    const char *http;        /* default: endpoints.http */
    const char *rendezvous;  /* a file; NULL: none */
    const char *job;         /* which it is to be of; not NULL with a rendezvous */
};

/* Have malloc keep 32 MiB of what was freed in an arena, as it does by itself in a process that
 * once freed a block of 16.  Chunks of a megabyte come and go with messages, and their pages would
 * go back to the system and be faulted in anew each time: a quarter of what receiving costs. */
void daemon_keep_memory(void);

/*
 * Read the command line and the config file, open the log on standard error, ignore SIGPIPE, keep
 * memory.  Returns -1 to go on, or the exit status to end with at once (0 after --help or
 * --version, EX_USAGE, EX_CONFIG, ...); what a person must know has then been printed.
 */
int daemon_begin(int argc, char **argv, const char *role, struct daemon_options *options,
                 struct run_config *config);

/*
 * The process's ZeroMQ; where endpoints.keys is set, guarded (wire/guard.h).  `serves` is an
 * endpoint that is to be bound, or NULL: ERR_USAGE where others could reach it and there is
 * no key; else errors of wire_context_new and wire_context_guard.  The caller frees it with
 * wire_context_free, also on failure.
 */
enum err_code daemon_context(struct wire_context **out, const struct run_config *config,
                             const char *name, const char *serves, struct err *err);

/* Have as many files open as the system lets this process (the soft limit is often 1024, the hard
 * one more), and return how many that is. */
uint64_t daemon_files_max(void);

/* Log err as one line and return its exit status; 0 for ERR_OK. */
int daemon_end(enum err_code rc, const struct err *err);

#endif

/*
 * admin.h -- what a person asks of a run's coordinator, and waiting until it is so.
 *
 *     pause, resume     an event of the core, recorded: so durable is what is waited for
 *     checkpoint        with the next step that is trained
 *     drain             that, and then the coordinator ends
 *
 * Asking twice is asking once.  All block.
 */
#ifndef CLI_ADMIN_H
#define CLI_ADMIN_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/file.h"
#include "cli/cli.h"
#include "node/http.h"

struct admin {
    const char *target; /* as cli/status_source.h has it; borrowed */
    char address[FILE_PATH_MAX];
    char token[HTTP_TOKEN_MAX]; /* "": none */
    uint64_t deadline_ms;       /* monotonic */
};

/* The options that such a command has, read from the command line, and its coordinator found:
 * CLI_GO, or the exit code to return, all said.  Of a directory, the token is that of its
 * config.yaml unless --token-file names one. */
int admin_begin(struct admin *admin, const struct cli_usage *usage, int argc, char **argv);

/* POST /api/v1/WORD; what the coordinator's status is then, in *status, for json_decref. */
enum err_code admin_ask(const struct admin *admin, const char *word, json_t **status,
                        struct err *err);

/* A whole command: asks for what its words say, looks at the status until it is `done`, and lets
 * `say` print what it then is.  `records` is what the ledger had when it was asked.  The exit
 * code; ERR_TIMEOUT's, with what the run waits for, at the deadline. */
int admin_command(const struct cli_usage *usage, int argc, char **argv,
                  bool (*done)(const json_t *status, uint64_t records),
                  void (*say)(const json_t *status));

/* For `done`: what was asked for is durable. */
bool admin_is_durable(const json_t *status, uint64_t records);

/* A member that is a whole number; 0 where it is not there. */
uint64_t admin_count(const json_t *status, const char *key);

/* ERR_TIMEOUT once the deadline is past, with what `status` (which may be NULL) waits for. */
enum err_code admin_late(const struct admin *admin, const json_t *status, struct err *err);
void admin_nap(void);

#endif

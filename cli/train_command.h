/*
 * train_command.h -- the options of a training as JSON: for its report, and so that a training
 * that was killed is gone on with by the same command alone.
 *
 * Options that change no bit of the result (--threads, --json, --checkpoint-every) and --out are
 * left out.
 */
#ifndef CLI_TRAIN_COMMAND_H
#define CLI_TRAIN_COMMAND_H

#include "base/buf.h"
#include "cli/cli.h"

/* Append {"model": "base", "lr": 0.001, ...}, a line an option. */
void train_command_write(const struct cli_option *options, size_t n, struct buf *out);

/* Hold the command against the one kept in dir/command.json; OK where `dir` is empty or not there.
 * ERR_USAGE names the first option that differs, with both values; ERR_STATE where `dir` has
 * something else in it. */
enum err_code train_command_check(const struct cli_option *options, size_t n, const char *dir,
                                  struct err *err);

/* Make `dir` and keep the command in it as command.json.  ERR_IO, ERR_NOMEM. */
enum err_code train_command_keep(const struct cli_option *options, size_t n, const char *dir,
                                 struct err *err);

#endif

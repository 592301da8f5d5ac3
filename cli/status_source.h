/*
 * status_source.h -- where what a run does is to be learned: its coordinator, while one answers,
 * and its ledger.
 *
 * A target is what a person types: the run's directory, whose file `http` says where its
 * coordinator answers, or "http://ADDRESS:PORT".
 */
#ifndef CLI_STATUS_SOURCE_H
#define CLI_STATUS_SOURCE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/file.h"
#include "coordinator/ledger.h"

#define STATUS_BYTES_MAX ((size_t)16 * 1024 * 1024)

bool status_is_url(const char *target);

/* The target's address, as one can connect to it.  ERR_UNAVAILABLE where a directory has no file
 * `http`: no coordinator serves the run.  ERR_USAGE for "https://". */
enum err_code status_address(const char *target, char address[FILE_PATH_MAX], struct err *err);

/* What the coordinator at this address says: its text in `text` (unless NULL), and parsed, an
 * object, in *status, which the caller frees with json_decref.  Errors as status_fetch;
 * ERR_FORMAT where what answers is no coordinator. */
enum err_code status_ask(const char *address, struct buf *text, json_t **status,
                         struct err *err);

/* What the ledger has. */
struct status_past {
    struct ledger_summary summary;
    uint64_t at_ms; /* of the last step */
    struct record_step last;
};
enum err_code status_read_past(const char *dir, struct status_past *past, struct err *err);

/* ERR_UNAVAILABLE where it is another run's coordinator: it may have been given the port that
 * this one once had. */
enum err_code status_check_run(const json_t *status, const struct hash *config_hash,
                               const char *address, struct err *err);

/* All of it: address, answer, and of a directory that it is this run's.  *past (unless NULL) is
 * read first, of a directory. */
enum err_code status_of(const char *target, struct status_past *past, struct buf *text,
                        json_t **status, struct err *err);

#endif

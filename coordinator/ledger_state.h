/* ledger_state.h -- what the ledger's files share; nobody else includes it. */
#ifndef COORDINATOR_LEDGER_STATE_H
#define COORDINATOR_LEDGER_STATE_H

#include <pthread.h>
#include <sqlite3.h>

#include "base/buf.h"
#include "base/file.h"
#include "coordinator/ledger.h"

/* A queued record: one block with all it points to. */
struct ledger_entry {
    struct ledger_entry *next;
    size_t bytes;
    struct record record;
    struct record_step step;
};

struct ledger {
    char path[FILE_PATH_MAX];
    sqlite3 *db;
    int lock_fd; /* -1: none held */
    bool writable;
    sqlite3_stmt *insert[RECORD_EVENT + 2]; /* by kind; [RECORD_EVENT + 1]: references */
    struct buf text[2];                     /* JSON while a record is bound */

    /* the thread */
    bool running;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t queued, drained;
    struct ledger_entry *first, *last; /* under the mutex, down to failed */
    size_t queue_bytes;
    bool flushed; /* what is queued is to be committed */
    bool closing, failed;
    struct err failure;
    struct ledger_ops ops;
};

/* ERR_FORMAT for a damaged file, ERR_IO otherwise, with SQLite's words. */
enum err_code ledger_refuse(const struct ledger *ledger, const char *what, struct err *err);
enum err_code ledger_execute(const struct ledger *ledger, const char *sql, struct err *err);

/* --- ledger_write.c */
enum err_code ledger_write_prepare(struct ledger *ledger, struct err *err);
void ledger_write_release(struct ledger *ledger);
enum err_code ledger_write_record(struct ledger *ledger, const struct record *record,
                                  struct err *err);

#endif

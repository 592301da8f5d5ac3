/* ledger.c -- see ledger.h: open, close, and the thread that commits. */
#define _DEFAULT_SOURCE /* flock */
#include "coordinator/ledger.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "coordinator/ledger_state.h"

static const char ledger_schema[] =
    "CREATE TABLE run(key TEXT PRIMARY KEY, value TEXT NOT NULL);"
    "CREATE TABLE epoch(seq INTEGER PRIMARY KEY, at_ms INT, epoch INT NOT NULL);"
    "CREATE TABLE start(seq INTEGER PRIMARY KEY, at_ms INT, weights TEXT NOT NULL);"
    "CREATE TABLE identity(seq INTEGER PRIMARY KEY, at_ms INT, what TEXT NOT NULL UNIQUE,"
    " hash TEXT NOT NULL);"
    "CREATE TABLE rollout(seq INTEGER PRIMARY KEY, at_ms INT, step INT NOT NULL,"
    " slot INT NOT NULL, prompt INT NOT NULL, version INT NOT NULL, tokens INT NOT NULL,"
    " finish TEXT NOT NULL, worker TEXT NOT NULL, ids BLOB NOT NULL, logprobs BLOB NOT NULL,"
    " UNIQUE(step, slot));"
    "CREATE TABLE reference(seq INTEGER PRIMARY KEY, at_ms INT, prompt INT NOT NULL,"
    " m INT NOT NULL, tokens INT NOT NULL, finish TEXT NOT NULL, worker TEXT NOT NULL,"
    " ids BLOB NOT NULL, UNIQUE(prompt, m));"
    "CREATE TABLE score(seq INTEGER PRIMARY KEY, at_ms INT, kind TEXT NOT NULL, a INT NOT NULL,"
    " b INT NOT NULL, prompt INT NOT NULL, tokens INT NOT NULL, finish TEXT NOT NULL,"
    " worker TEXT NOT NULL, scores TEXT NOT NULL, ref_logprobs BLOB, UNIQUE(kind, a, b));"
    "CREATE TABLE dropped(seq INTEGER PRIMARY KEY, at_ms INT, kind TEXT NOT NULL,"
    " a INT NOT NULL, b INT NOT NULL, prompt INT NOT NULL, reason TEXT NOT NULL,"
    " text TEXT NOT NULL, UNIQUE(kind, a, b));"
    "CREATE TABLE step(seq INTEGER PRIMARY KEY, at_ms INT, step INT NOT NULL UNIQUE,"
    " version INT NOT NULL, behaviour_version INT NOT NULL, weights TEXT NOT NULL,"
    " checkpoint_version INT NOT NULL, trained INT NOT NULL, dropped TEXT NOT NULL,"
    " truncated INT NOT NULL, prompt_tokens INT NOT NULL, response_tokens INT NOT NULL,"
    " reward_raw_mean REAL, reward_raw_std REAL, reward_shaped_mean REAL,"
    " score_mean TEXT NOT NULL, kl_reference_version INT NOT NULL, kl_mean REAL,"
    " kl_coef_before REAL, kl_coef_after REAL,"
    " cost_raw_mean REAL, cost_limit REAL, multiplier_before REAL, multiplier_after REAL,"
    " score_missing TEXT NOT NULL, worst_group INT NOT NULL, controller BLOB NOT NULL,"
    " experience TEXT NOT NULL,"
    " duration_ms INT NOT NULL, stats TEXT NOT NULL);"
    "CREATE TABLE checkpoint(seq INTEGER PRIMARY KEY, at_ms INT, version INT NOT NULL);"
    "CREATE TABLE pause(seq INTEGER PRIMARY KEY, at_ms INT, paused INT NOT NULL);"
    "CREATE TABLE event(seq INTEGER PRIMARY KEY, at_ms INT, id TEXT NOT NULL,"
    " text TEXT NOT NULL);"
    "PRAGMA user_version = 7;";

enum err_code ledger_refuse(const struct ledger *ledger, const char *what, struct err *err)
{
    const int code = sqlite3_errcode(ledger->db) & 0xff;
    if (code == SQLITE_CORRUPT || code == SQLITE_NOTADB)
        return err_set(err, ERR_FORMAT,
                       "%s is damaged or no ledger (%s): %s; restore it from a copy, or begin "
                       "anew in another run.dir",
                       ledger->path, what, sqlite3_errmsg(ledger->db));
    return err_set(err, ERR_IO, "%s: %s: %s", ledger->path, what, sqlite3_errmsg(ledger->db));
}

enum err_code ledger_execute(const struct ledger *ledger, const char *sql, struct err *err)
{
    if (sqlite3_exec(ledger->db, sql, NULL, NULL, NULL) != SQLITE_OK)
        return ledger_refuse(ledger, "write", err);
    return ERR_OK;
}

/* As a disk would fail here. */
static enum err_code ledger_fault(const struct ledger *ledger, enum fault_point point,
                                  struct err *err)
{
    return fault_at(point) ? err_errno(err, "%s: %s", ledger->path, fault_name(point)) : ERR_OK;
}

/* --- opening ------------------------------------------------------------------------------ */

static enum err_code ledger_lock(struct ledger *ledger, const char *dir, struct err *err)
{
    ledger->lock_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (ledger->lock_fd < 0)
        return err_errno(err, "open %s", dir);
    if (flock(ledger->lock_fd, LOCK_EX | LOCK_NB) == 0)
        return ERR_OK;
    if (errno == EWOULDBLOCK)
        return err_set(err, ERR_STATE, "%s is in use: another coordinator runs there", dir);
    return err_errno(err, "lock %s", dir);
}

static enum err_code ledger_read_text(const struct ledger *ledger, const char *sql, char *out,
                                      size_t size, struct err *err)
{
    sqlite3_stmt *stmt = NULL;
    enum err_code rc = ERR_OK;
    out[0] = '\0';
    if (sqlite3_prepare_v2(ledger->db, sql, -1, &stmt, NULL) != SQLITE_OK)
        return ledger_refuse(ledger, "read", err);
    const int step = sqlite3_step(stmt);
    if (step == SQLITE_ROW) {
        const unsigned char *text = sqlite3_column_text(stmt, 0);
        snprintf(out, size, "%s", text ? (const char *)text : "");
    } else if (step != SQLITE_DONE) {
        rc = ledger_refuse(ledger, "read", err);
    }
    sqlite3_finalize(stmt);
    return rc;
}

static enum err_code ledger_connect(struct ledger *ledger, const char *dir, int flags,
                                    struct err *err)
{
    const enum err_code rc = file_join(ledger->path, dir, LEDGER_FILE, err);
    if (rc != ERR_OK)
        return rc;
    if (sqlite3_open_v2(ledger->path, &ledger->db, flags | SQLITE_OPEN_NOMUTEX, NULL) !=
        SQLITE_OK)
        return ledger_refuse(ledger, "open", err);
    sqlite3_busy_timeout(ledger->db, 5000);
    return ERR_OK;
}

static enum err_code ledger_create(struct ledger *ledger, const struct hash *config_hash,
                                   struct err *err)
{
    char hex[HASH_HEX_BYTES], sql[512];
    hash_hex(config_hash, hex);
    snprintf(sql, sizeof sql,
             "INSERT INTO run VALUES('config_hash','%s'),('created_ms','%" PRId64 "');COMMIT;",
             hex, clock_wall_ms());
    enum err_code rc = ledger_fault(ledger, FAULT_ledger_create, err);
    if (rc == ERR_OK)
        rc = ledger_execute(ledger, "BEGIN IMMEDIATE;", err);
    if (rc == ERR_OK)
        rc = ledger_execute(ledger, ledger_schema, err);
    if (rc == ERR_OK)
        rc = ledger_execute(ledger, sql, err);
    fault_at(FAULT_ledger_created);
    return rc;
}

/* Is it a ledger this program can read?  *empty: it is a new file. */
static enum err_code ledger_check_schema(struct ledger *ledger, bool *empty, struct err *err)
{
    char version[32], tables[32];
    enum err_code rc =
        ledger_read_text(ledger, "PRAGMA user_version", version, sizeof version, err);
    if (rc == ERR_OK)
        rc = ledger_read_text(ledger, "SELECT count(*) FROM sqlite_master", tables,
                              sizeof tables, err);
    if (rc != ERR_OK)
        return rc;
    *empty = strcmp(version, "0") == 0 && strcmp(tables, "0") == 0;
    if (!*empty && strtol(version, NULL, 10) != LEDGER_SCHEMA)
        return err_set(err, ERR_USAGE,
                       "%s has schema %s: this program reads and writes %d; go on with the "
                       "version that began the run, or begin anew in another run.dir",
                       ledger->path, version, LEDGER_SCHEMA);
    return ERR_OK;
}

static enum err_code ledger_config_hex(struct ledger *ledger, char *hex, size_t size,
                                       struct err *err)
{
    return ledger_read_text(ledger, "SELECT value FROM run WHERE key='config_hash'", hex, size,
                            err);
}

enum err_code ledger_config_hash(struct ledger *ledger, struct hash *out, struct err *err)
{
    char hex[HASH_HEX_BYTES + 1];
    const enum err_code rc = ledger_config_hex(ledger, hex, sizeof hex, err);
    return rc ? rc : hash_from_hex(out, hex, err);
}

static enum err_code ledger_check_config(struct ledger *ledger, const struct hash *config_hash,
                                         struct err *err)
{
    char was[HASH_HEX_BYTES + 1], is[HASH_HEX_BYTES];
    const enum err_code rc = ledger_config_hex(ledger, was, sizeof was, err);
    if (rc != ERR_OK)
        return rc;
    hash_hex(config_hash, is);
    if (strcmp(was, is) != 0)
        return err_set(err, ERR_USAGE,
                       "%s was begun with another configuration (hash %.16s..., now %.16s...): "
                       "choose another run.dir, or go back to its config.yaml",
                       ledger->path, was, is);
    return ERR_OK;
}

static struct ledger *ledger_allocate(void)
{
    struct ledger *ledger = calloc(1, sizeof *ledger);
    if (!ledger)
        return NULL;
    ledger->lock_fd = -1;
    pthread_mutex_init(&ledger->mutex, NULL);
    pthread_cond_init(&ledger->queued, NULL);
    pthread_cond_init(&ledger->drained, NULL);
    for (size_t i = 0; i < 2; i++)
        buf_init(&ledger->text[i], 64 * 1024);
    return ledger;
}

enum err_code ledger_open(struct ledger **out, const char *dir, const struct hash *config_hash,
                          struct err *err)
{
    *out = NULL;
    struct ledger *ledger = ledger_allocate();
    if (!ledger)
        return err_set(err, ERR_NOMEM, "no memory for the ledger");
    ledger->writable = true;
    bool empty = false;
    enum err_code rc = file_make_dir(dir, err);
    if (rc == ERR_OK)
        rc = ledger_lock(ledger, dir, err);
    if (rc == ERR_OK)
        rc = ledger_connect(ledger, dir, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, err);
    if (rc == ERR_OK)
        rc = ledger_execute(ledger, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;", err);
    if (rc == ERR_OK)
        rc = ledger_check_schema(ledger, &empty, err);
    if (rc == ERR_OK)
        rc = empty ? ledger_create(ledger, config_hash, err)
                   : ledger_check_config(ledger, config_hash, err);
    if (rc == ERR_OK)
        rc = file_sync_dir(dir, err);
    if (rc == ERR_OK)
        rc = ledger_write_prepare(ledger, err);
    if (rc != ERR_OK) {
        ledger_close(ledger, NULL);
        return rc;
    }
    *out = ledger;
    return ERR_OK;
}

enum err_code ledger_open_read(struct ledger **out, const char *dir, struct err *err)
{
    *out = NULL;
    struct ledger *ledger = ledger_allocate();
    if (!ledger)
        return err_set(err, ERR_NOMEM, "no memory for the ledger");
    bool empty = false;
    enum err_code rc = file_join(ledger->path, dir, LEDGER_FILE, err);
    if (rc == ERR_OK && !file_exists(ledger->path))
        rc = err_set(err, ERR_UNAVAILABLE, "%s does not exist: has a run begun there?",
                     ledger->path);
    if (rc == ERR_OK) /* a WAL reader must be able to write the shared-memory index */
        rc = ledger_connect(ledger, dir, SQLITE_OPEN_READWRITE, err);
    if (rc == ERR_OK)
        rc = ledger_check_schema(ledger, &empty, err);
    if (rc == ERR_OK && empty)
        rc = err_set(err, ERR_FORMAT, "%s is an empty database, no ledger", ledger->path);
    if (rc == ERR_OK)
        rc = ledger_execute(ledger, "PRAGMA query_only=ON;", err);
    if (rc != ERR_OK) {
        ledger_close(ledger, NULL);
        return rc;
    }
    *out = ledger;
    return ERR_OK;
}

/* --- the queue ---------------------------------------------------------------------------- */

static size_t ledger_round(size_t bytes)
{
    return (bytes + 7) / 8 * 8;
}

static size_t ledger_bytes(const struct record *record)
{
    const size_t n = record->response_tokens;
    size_t bytes = sizeof(struct ledger_entry);
    bytes += record->ids ? ledger_round(n * sizeof *record->ids) : 0;
    bytes += record->logprobs ? ledger_round(n * sizeof *record->logprobs) : 0;
    bytes += record->reference ? ledger_round(n * sizeof *record->reference) : 0;
    bytes += record->scores ? record->scorers * sizeof *record->scores : 0;
    bytes += record->worker ? ledger_round(strlen(record->worker) + 1) : 0;
    bytes += record->id ? ledger_round(strlen(record->id) + 1) : 0;
    bytes += record->text ? ledger_round(strlen(record->text) + 1) : 0;
    bytes += record->step ? record->step->stats_n * sizeof(struct wire_stat) : 0;
    return bytes;
}

static const void *ledger_keep(unsigned char **at, const void *bytes, size_t size)
{
    if (!bytes || size == 0)
        return bytes;
    const void *kept = memcpy(*at, bytes, size);
    *at += ledger_round(size);
    return kept;
}

static struct ledger_entry *ledger_copy(const struct record *record)
{
    const size_t bytes = ledger_bytes(record);
    struct ledger_entry *entry = malloc(bytes);
    if (!entry)
        return NULL;
    *entry = (struct ledger_entry){.bytes = bytes, .record = *record};
    unsigned char *at = (unsigned char *)(entry + 1);
    struct record *copy = &entry->record;
    const size_t n = record->response_tokens;
    copy->ids = ledger_keep(&at, record->ids, n * sizeof *record->ids);
    copy->logprobs = ledger_keep(&at, record->logprobs, n * sizeof *record->logprobs);
    copy->reference = ledger_keep(&at, record->reference, n * sizeof *record->reference);
    copy->scores = ledger_keep(&at, record->scores, record->scorers * sizeof *record->scores);
    if (record->worker)
        copy->worker = ledger_keep(&at, record->worker, strlen(record->worker) + 1);
    if (record->id)
        copy->id = ledger_keep(&at, record->id, strlen(record->id) + 1);
    if (record->text)
        copy->text = ledger_keep(&at, record->text, strlen(record->text) + 1);
    if (record->step) {
        entry->step = *record->step;
        entry->step.stats = ledger_keep(&at, record->step->stats,
                                        record->step->stats_n * sizeof(struct wire_stat));
        copy->step = &entry->step;
    }
    return entry;
}

static void ledger_free_entries(struct ledger_entry *entry)
{
    while (entry) {
        struct ledger_entry *next = entry->next;
        free(entry);
        entry = next;
    }
}

enum err_code ledger_append(struct ledger *ledger, const struct record *record, struct err *err)
{
    fault_at(FAULT_ledger_append);
    struct ledger_entry *entry = ledger_copy(record);
    if (!entry)
        return err_set(err, ERR_NOMEM, "no memory for a record of the ledger");
    enum err_code rc = ERR_OK;
    pthread_mutex_lock(&ledger->mutex);
    while (ledger->queue_bytes > LEDGER_QUEUE_BYTES && !ledger->failed) {
        ledger->flushed = true;
        pthread_cond_signal(&ledger->queued);
        pthread_cond_wait(&ledger->drained, &ledger->mutex);
    }
    if (ledger->failed) {
        rc = err_set(err, ERR_IO, "%s", ledger->failure.text);
    } else {
        if (ledger->last)
            ledger->last->next = entry;
        else
            ledger->first = entry;
        ledger->last = entry;
        ledger->queue_bytes += entry->bytes;
        entry = NULL;
    }
    pthread_mutex_unlock(&ledger->mutex);
    ledger_free_entries(entry);
    return rc;
}

void ledger_flush(struct ledger *ledger)
{
    pthread_mutex_lock(&ledger->mutex);
    if (ledger->first && !ledger->flushed) {
        ledger->flushed = true;
        pthread_cond_signal(&ledger->queued);
    }
    pthread_mutex_unlock(&ledger->mutex);
}

/* --- the thread --------------------------------------------------------------------------- */

static enum err_code ledger_commit(struct ledger *ledger, const struct ledger_entry *first,
                                   uint64_t *seq, struct err *err)
{
    enum err_code rc = ledger_fault(ledger, FAULT_ledger_begin, err);
    if (rc == ERR_OK)
        rc = ledger_execute(ledger, "BEGIN IMMEDIATE", err);
    for (const struct ledger_entry *entry = first; entry && rc == ERR_OK; entry = entry->next) {
        rc = ledger_write_record(ledger, &entry->record, err);
        *seq = entry->record.seq;
        if (rc == ERR_OK)
            rc = ledger_fault(ledger, FAULT_ledger_record, err);
    }
    if (rc == ERR_OK)
        rc = ledger_fault(ledger, FAULT_ledger_commit, err);
    if (rc == ERR_OK)
        rc = ledger_execute(ledger, "COMMIT", err);
    fault_at(FAULT_ledger_committed);
    return rc;
}

/* All that is queued, once it is flushed; NULL when closing and nothing is. */
static struct ledger_entry *ledger_take(struct ledger *ledger)
{
    pthread_mutex_lock(&ledger->mutex);
    while (!ledger->flushed && !ledger->closing)
        pthread_cond_wait(&ledger->queued, &ledger->mutex);
    struct ledger_entry *entries = ledger->first;
    ledger->first = ledger->last = NULL;
    ledger->flushed = false;
    ledger->queue_bytes = 0;
    pthread_cond_broadcast(&ledger->drained);
    pthread_mutex_unlock(&ledger->mutex);
    return entries;
}

static void *ledger_thread(void *arg)
{
    struct ledger *ledger = arg;
    struct ledger_entry *entries;
    while ((entries = ledger_take(ledger)) != NULL) {
        uint64_t seq = 0;
        struct err err;
        const enum err_code rc = ledger_commit(ledger, entries, &seq, &err);
        ledger_free_entries(entries);
        if (rc == ERR_OK) {
            ledger->ops.durable(ledger->ops.ctx, seq);
            continue;
        }
        pthread_mutex_lock(&ledger->mutex);
        ledger->failed = true;
        ledger->failure = err;
        pthread_cond_broadcast(&ledger->drained);
        pthread_mutex_unlock(&ledger->mutex);
        ledger->ops.failed(ledger->ops.ctx, &err);
        break;
    }
    return NULL;
}

enum err_code ledger_start(struct ledger *ledger, const struct ledger_ops *ops, struct err *err)
{
    assert(ledger->writable && !ledger->running);
    ledger->ops = *ops;
    const int failure = pthread_create(&ledger->thread, NULL, ledger_thread, ledger);
    if (failure != 0) {
        errno = failure;
        return err_errno(err, "start the ledger's thread");
    }
    ledger->running = true;
    return ERR_OK;
}

enum err_code ledger_close(struct ledger *ledger, struct err *err)
{
    if (!ledger)
        return ERR_OK;
    enum err_code rc = ERR_OK;
    if (ledger->running) {
        fault_at(FAULT_ledger_close);
        pthread_mutex_lock(&ledger->mutex);
        ledger->closing = true;
        pthread_cond_signal(&ledger->queued);
        pthread_mutex_unlock(&ledger->mutex);
        pthread_join(ledger->thread, NULL);
        if (ledger->failed)
            rc = err_set(err, ERR_IO, "%s", ledger->failure.text);
    }
    ledger_free_entries(ledger->first);
    ledger_write_release(ledger);
    sqlite3_close(ledger->db);
    if (ledger->lock_fd >= 0)
        close(ledger->lock_fd);
    for (size_t i = 0; i < 2; i++)
        buf_release(&ledger->text[i]);
    pthread_cond_destroy(&ledger->drained);
    pthread_cond_destroy(&ledger->queued);
    pthread_mutex_destroy(&ledger->mutex);
    free(ledger);
    return rc;
}

/* memo.c -- see memo.h. */
#include "node/memo.h"

#include <assert.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"

struct memo {
    sqlite3 *db;
    sqlite3_stmt *get, *put, *drop;
    char path[FILE_PATH_MAX];
    bool failed;
};

static const char memo_schema[] =
    "CREATE TABLE memo(key BLOB PRIMARY KEY, check_xxh3 INT NOT NULL, value BLOB NOT NULL)"
    " WITHOUT ROWID;"
    "PRAGMA user_version = 1;";

static enum err_code memo_refuse(const struct memo *memo, struct err *err)
{
    const int code = sqlite3_errcode(memo->db) & 0xff;
    const bool damaged = code == SQLITE_CORRUPT || code == SQLITE_NOTADB;
    return err_set(err, damaged ? ERR_FORMAT : ERR_IO, "%s: %s", memo->path,
                   sqlite3_errmsg(memo->db));
}

static enum err_code memo_execute(const struct memo *memo, const char *sql, struct err *err)
{
    if (sqlite3_exec(memo->db, sql, NULL, NULL, NULL) != SQLITE_OK)
        return memo_refuse(memo, err);
    return ERR_OK;
}

static enum err_code memo_prepare(struct memo *memo, sqlite3_stmt **stmt, const char *sql,
                                  struct err *err)
{
    if (sqlite3_prepare_v3(memo->db, sql, -1, SQLITE_PREPARE_PERSISTENT, stmt, NULL) !=
        SQLITE_OK)
        return memo_refuse(memo, err);
    return ERR_OK;
}

/* 0: a file without a table yet. */
static enum err_code memo_read_schema(struct memo *memo, int *schema, struct err *err)
{
    sqlite3_stmt *stmt = NULL;
    enum err_code rc = memo_prepare(memo, &stmt, "PRAGMA user_version", err);
    if (rc == ERR_OK && sqlite3_step(stmt) != SQLITE_ROW)
        rc = memo_refuse(memo, err);
    if (rc == ERR_OK)
        *schema = sqlite3_column_int(stmt, 0);
    sqlite3_finalize(stmt);
    return rc;
}

/* In a transaction, which it ends: several processes may open a new file at once, and the first
 * to get the lock makes the table. */
static enum err_code memo_create(struct memo *memo, struct err *err)
{
    int schema = 0;
    enum err_code rc = memo_read_schema(memo, &schema, err);
    if (rc == ERR_OK && schema == 0)
        rc = memo_execute(memo, memo_schema, err);
    else if (rc == ERR_OK && schema != MEMO_SCHEMA)
        rc = err_set(err, ERR_USAGE, "%s has schema %d: this program reads %d", memo->path,
                     schema, MEMO_SCHEMA);
    if (rc == ERR_OK)
        rc = memo_execute(memo, "COMMIT", err);
    return rc;
}

static enum err_code memo_prepare_all(struct memo *memo, struct err *err)
{
    enum err_code rc =
        memo_prepare(memo, &memo->get, "SELECT check_xxh3, value FROM memo WHERE key=?1", err);
    if (rc == ERR_OK)
        rc = memo_prepare(memo, &memo->put, "INSERT OR IGNORE INTO memo VALUES(?1,?2,?3)", err);
    if (rc == ERR_OK)
        rc = memo_prepare(memo, &memo->drop, "DELETE FROM memo WHERE key=?1", err);
    return rc;
}

/* WAL without a sync per commit: what a power cut takes is computed again.  While a file
 * becomes WAL, SQLite refuses others at once, without regard to the busy timeout; so does it in
 * recovery. */
static enum err_code memo_begin(struct memo *memo, struct err *err)
{
    const struct timespec pause = {.tv_nsec = 10 * 1000 * 1000};
    const uint64_t deadline_ms = clock_mono_ms() + MEMO_BUSY_MS;
    for (;;) {
        const enum err_code rc = memo_execute(
            memo, "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; BEGIN IMMEDIATE", err);
        if (rc == ERR_OK || (sqlite3_errcode(memo->db) & 0xff) != SQLITE_BUSY ||
            clock_mono_ms() >= deadline_ms)
            return rc;
        nanosleep(&pause, NULL);
    }
}

enum err_code memo_open(struct memo **out, const char *path, struct err *err)
{
    struct memo *memo = calloc(1, sizeof *memo);
    if (!memo)
        return err_set(err, ERR_NOMEM, "%s: out of memory", path);
    snprintf(memo->path, sizeof memo->path, "%s", path);
    enum err_code rc = ERR_OK;
    if (sqlite3_open_v2(path, &memo->db,
                        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
                        NULL) != SQLITE_OK)
        rc = memo_refuse(memo, err);
    sqlite3_busy_timeout(memo->db, MEMO_BUSY_MS);
    if (rc == ERR_OK)
        rc = memo_begin(memo, err);
    if (rc == ERR_OK)
        rc = memo_create(memo, err);
    if (rc == ERR_OK)
        rc = memo_prepare_all(memo, err);
    if (rc) {
        memo_close(memo);
        return rc;
    }
    *out = memo;
    return ERR_OK;
}

void memo_close(struct memo *memo)
{
    if (!memo)
        return;
    sqlite3_finalize(memo->get);
    sqlite3_finalize(memo->put);
    sqlite3_finalize(memo->drop);
    sqlite3_close(memo->db);
    free(memo);
}

static void memo_fail(struct memo *memo)
{
    struct err err = {0};
    memo_refuse(memo, &err);
    log_warn("MEMO", "%s; it is used no more", err.text);
    memo->failed = true;
}

static void memo_bind_key(sqlite3_stmt *stmt, const struct hash *key)
{
    sqlite3_bind_blob(stmt, 1, key->bytes, sizeof key->bytes, SQLITE_STATIC);
}

/* A statement that changes something. */
static void memo_change(struct memo *memo, sqlite3_stmt *stmt)
{
    if (sqlite3_step(stmt) != SQLITE_DONE)
        memo_fail(memo);
    sqlite3_reset(stmt);
    sqlite3_clear_bindings(stmt);
}

bool memo_find(struct memo *memo, const struct hash *key, struct buf *value)
{
    buf_clear(value);
    if (memo->failed)
        return false;
    memo_bind_key(memo->get, key);
    const int step = sqlite3_step(memo->get);
    bool sound = false;
    if (step == SQLITE_ROW) {
        const void *bytes = sqlite3_column_blob(memo->get, 1);
        const size_t size = (size_t)sqlite3_column_bytes(memo->get, 1);
        sound =
            size > 0 && (uint64_t)sqlite3_column_int64(memo->get, 0) == hash_xxh3(bytes, size);
        if (sound)
            buf_append(value, bytes, size);
    } else if (step != SQLITE_DONE) {
        memo_fail(memo);
    }
    sqlite3_reset(memo->get);
    if (step == SQLITE_ROW && !sound) { /* so that a sound one can take its place */
        memo_bind_key(memo->drop, key);
        memo_change(memo, memo->drop);
    }
    return sound && !value->failed;
}

void memo_keep(struct memo *memo, const struct hash *key, const void *value, size_t size)
{
    assert(size > 0);
    if (memo->failed)
        return;
    memo_bind_key(memo->put, key);
    sqlite3_bind_int64(memo->put, 2, (sqlite3_int64)hash_xxh3(value, size));
    sqlite3_bind_blob64(memo->put, 3, value, size, SQLITE_STATIC);
    memo_change(memo, memo->put);
}

enum err_code memo_program(struct hash *out, struct err *err)
{
    return hash_file_sha256(out, "/proc/self/exe", err);
}

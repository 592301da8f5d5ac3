/* gate_ledger.c -- see gate_ledger.h. */
#include "cli/gate_ledger.h"

#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"

struct gate_ledger {
    sqlite3 *db;
    char path[FILE_PATH_MAX];
};

static const char gate_ledger_schema[] =
    "CREATE TABLE held_out(set_hash TEXT PRIMARY KEY, prompts INT NOT NULL,"
    " plan TEXT NOT NULL, at_ms INT NOT NULL);"
    "CREATE TABLE candidate(set_hash TEXT NOT NULL, number INT NOT NULL,"
    " candidate TEXT NOT NULL, run TEXT NOT NULL, at_ms INT NOT NULL, decision TEXT, n INT,"
    " mean REAL, upper REAL, delta REAL, why TEXT, PRIMARY KEY(set_hash, number),"
    " UNIQUE(set_hash, candidate));"
    "PRAGMA user_version = 1;";

static enum err_code gate_ledger_refuse(const struct gate_ledger *ledger, struct err *err)
{
    const int code = sqlite3_errcode(ledger->db) & 0xff;
    const bool damaged = code == SQLITE_CORRUPT || code == SQLITE_NOTADB;
    return err_set(err, damaged ? ERR_FORMAT : ERR_IO, "%s: %s", ledger->path,
                   sqlite3_errmsg(ledger->db));
}

static enum err_code gate_ledger_execute(const struct gate_ledger *ledger, const char *sql,
                                         struct err *err)
{
    if (sqlite3_exec(ledger->db, sql, NULL, NULL, NULL) != SQLITE_OK)
        return gate_ledger_refuse(ledger, err);
    return ERR_OK;
}

/* A statement with the set's hash as its first parameter; NULL: refused. */
static sqlite3_stmt *gate_ledger_about(const struct gate_ledger *ledger,
                                       const struct gate_claim *claim, const char *sql,
                                       struct err *err)
{
    sqlite3_stmt *stmt = NULL;
    char hex[HASH_HEX_BYTES];
    if (sqlite3_prepare_v2(ledger->db, sql, -1, &stmt, NULL) != SQLITE_OK) {
        gate_ledger_refuse(ledger, err);
        return NULL;
    }
    hash_hex(&claim->set, hex);
    sqlite3_bind_text(stmt, 1, hex, -1, SQLITE_TRANSIENT);
    return stmt;
}

/* Run it, and end it; *row says whether there was one, of which *number is the first column. */
static enum err_code gate_ledger_finish(const struct gate_ledger *ledger, sqlite3_stmt *stmt,
                                        bool *row, sqlite3_int64 *number, struct err *err)
{
    const int step = sqlite3_step(stmt);
    enum err_code rc = ERR_OK;
    if (step != SQLITE_ROW && step != SQLITE_DONE)
        rc = gate_ledger_refuse(ledger, err);
    if (row)
        *row = step == SQLITE_ROW;
    if (step == SQLITE_ROW && number)
        *number = sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    return rc;
}

enum err_code gate_ledger_open(struct gate_ledger **out, const char *path, struct err *err)
{
    *out = NULL;
    struct gate_ledger *ledger = calloc(1, sizeof *ledger);
    if (!ledger)
        return err_set(err, ERR_NOMEM, "no memory for the gate's ledger");
    snprintf(ledger->path, sizeof ledger->path, "%s", path);
    enum err_code rc = ERR_OK;
    sqlite3_stmt *stmt = NULL;
    sqlite3_int64 version = 0;
    if (sqlite3_open_v2(path, &ledger->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL) !=
        SQLITE_OK)
        rc = gate_ledger_refuse(ledger, err);
    sqlite3_busy_timeout(ledger->db, 10000);
    /* The default journal, not WAL: a single file beside the prompts, whoever copies them. */
    if (rc == ERR_OK)
        rc = gate_ledger_execute(ledger, "PRAGMA synchronous=EXTRA; BEGIN IMMEDIATE;", err);
    if (rc == ERR_OK &&
        sqlite3_prepare_v2(ledger->db, "PRAGMA user_version", -1, &stmt, NULL) != SQLITE_OK)
        rc = gate_ledger_refuse(ledger, err);
    if (rc == ERR_OK)
        rc = gate_ledger_finish(ledger, stmt, NULL, &version, err);
    if (rc == ERR_OK && version == 0)
        rc = gate_ledger_execute(ledger, gate_ledger_schema, err);
    else if (rc == ERR_OK && version != GATE_LEDGER_SCHEMA)
        rc = err_set(err, ERR_USAGE, "%s has schema %lld: this program writes %d", path,
                     (long long)version, GATE_LEDGER_SCHEMA);
    if (rc == ERR_OK)
        rc = gate_ledger_execute(ledger, "COMMIT", err);
    if (rc) {
        gate_ledger_close(ledger);
        return rc;
    }
    *out = ledger;
    return ERR_OK;
}

void gate_ledger_close(struct gate_ledger *ledger)
{
    if (!ledger)
        return;
    sqlite3_close(ledger->db); /* what was not committed is gone, as it should be */
    free(ledger);
}

/* The set's plan must be this one; a new set gets it. */
static enum err_code gate_ledger_plan(const struct gate_ledger *ledger,
                                      const struct gate_claim *claim, struct err *err)
{
    enum err_code rc = ERR_OK;
    sqlite3_stmt *stmt =
        gate_ledger_about(ledger, claim, "SELECT plan FROM held_out WHERE set_hash=?1", err);
    if (!stmt)
        return err->code;
    const int step = sqlite3_step(stmt);
    const char *plan = step == SQLITE_ROW ? (const char *)sqlite3_column_text(stmt, 0) : NULL;
    if (step == SQLITE_ROW && (!plan || strcmp(plan, claim->plan) != 0))
        rc = err_set(
            err, ERR_USAGE,
            "%s: this set of prompts was planned with %s; now the plan is %s: it cannot "
            "be changed, take other prompts",
            ledger->path, plan ? plan : "nothing", claim->plan);
    else if (step != SQLITE_ROW && step != SQLITE_DONE)
        rc = gate_ledger_refuse(ledger, err);
    sqlite3_finalize(stmt);
    if (rc || step == SQLITE_ROW)
        return rc;
    stmt = gate_ledger_about(ledger, claim, "INSERT INTO held_out VALUES(?1,?2,?3,?4)", err);
    if (!stmt)
        return err->code;
    sqlite3_bind_int64(stmt, 2, claim->prompts);
    sqlite3_bind_text(stmt, 3, claim->plan, -1, SQLITE_STATIC);
    sqlite3_bind_int64(stmt, 4, clock_wall_ms());
    return gate_ledger_finish(ledger, stmt, NULL, NULL, err);
}

static void gate_ledger_read_entry(sqlite3_stmt *stmt, struct gate_entry *entry)
{
    const char *decision = (const char *)sqlite3_column_text(stmt, 1);
    const char *why = (const char *)sqlite3_column_text(stmt, 6);
    entry->number = (uint32_t)sqlite3_column_int64(stmt, 0);
    entry->tested = decision != NULL;
    if (decision && strcmp(decision, bound_decision_name(BOUND_PASS)) == 0)
        entry->verdict.decision = BOUND_PASS; /* whatever else stands there is none */
    entry->n = (uint32_t)sqlite3_column_int64(stmt, 2);
    entry->verdict.mean = sqlite3_column_double(stmt, 3);
    entry->verdict.upper = sqlite3_column_double(stmt, 4);
    entry->verdict.delta = sqlite3_column_double(stmt, 5);
    snprintf(entry->why, sizeof entry->why, "%s", why ? why : "");
}

static enum err_code gate_ledger_find(const struct gate_ledger *ledger,
                                      const struct gate_claim *claim, const char *candidate,
                                      bool *found, struct gate_entry *entry, struct err *err)
{
    sqlite3_stmt *stmt =
        gate_ledger_about(ledger, claim,
                          "SELECT number, decision, n, mean, upper, delta, why FROM candidate"
                          " WHERE set_hash=?1 AND candidate=?2",
                          err);
    if (!stmt)
        return err->code;
    sqlite3_bind_text(stmt, 2, candidate, -1, SQLITE_STATIC);
    const int step = sqlite3_step(stmt);
    enum err_code rc = ERR_OK;
    *found = step == SQLITE_ROW;
    if (step == SQLITE_ROW)
        gate_ledger_read_entry(stmt, entry);
    else if (step != SQLITE_DONE)
        rc = gate_ledger_refuse(ledger, err);
    sqlite3_finalize(stmt);
    return rc;
}

static enum err_code gate_ledger_count(const struct gate_ledger *ledger,
                                       const struct gate_claim *claim, uint32_t *spent,
                                       struct err *err)
{
    sqlite3_int64 n = 0;
    sqlite3_stmt *stmt = gate_ledger_about(
        ledger, claim, "SELECT count(*) FROM candidate WHERE set_hash=?1", err);
    const enum err_code rc = stmt ? gate_ledger_finish(ledger, stmt, NULL, &n, err) : err->code;
    *spent = (uint32_t)n;
    return rc;
}

/* As the next one of entry->spent. */
static enum err_code gate_ledger_enter(const struct gate_ledger *ledger,
                                       const struct gate_claim *claim, const char *candidate,
                                       struct gate_entry *entry, struct err *err)
{
    if (entry->spent >= claim->candidates_max)
        return err_set(err, ERR_STATE,
                       "the set of prompts is spent: %u candidates were tested on it, as "
                       "planned (%s)",
                       (unsigned)entry->spent, ledger->path);
    sqlite3_stmt *stmt =
        gate_ledger_about(ledger, claim,
                          "INSERT INTO candidate(set_hash, number, candidate, run, at_ms)"
                          " VALUES(?1,?2,?3,?4,?5)",
                          err);
    if (!stmt)
        return err->code;
    entry->number = entry->spent++;
    sqlite3_bind_int64(stmt, 2, entry->number);
    sqlite3_bind_text(stmt, 3, candidate, -1, SQLITE_STATIC);
    sqlite3_bind_text(stmt, 4, claim->run, -1, SQLITE_STATIC);
    sqlite3_bind_int64(stmt, 5, clock_wall_ms());
    return gate_ledger_finish(ledger, stmt, NULL, NULL, err);
}

enum err_code gate_ledger_spend(struct gate_ledger *ledger, const struct gate_claim *claim,
                                struct gate_entry *entry, struct err *err)
{
    char candidate[HASH_HEX_BYTES];
    bool found = false;
    struct err why = {0};
    hash_hex(&claim->candidate, candidate);
    *entry = (struct gate_entry){.verdict.decision = BOUND_NSF};
    enum err_code rc = gate_ledger_execute(ledger, "BEGIN IMMEDIATE", &why);
    if (rc)
        return err_set(err, rc, "%s", why.text);
    rc = gate_ledger_plan(ledger, claim, &why);
    if (rc == ERR_OK)
        rc = gate_ledger_find(ledger, claim, candidate, &found, entry, &why);
    if (rc == ERR_OK)
        rc = gate_ledger_count(ledger, claim, &entry->spent, &why);
    if (rc == ERR_OK && !found)
        rc = gate_ledger_enter(ledger, claim, candidate, entry, &why);
    if (rc == ERR_OK)
        rc = gate_ledger_execute(ledger, "COMMIT", &why);
    if (rc == ERR_OK)
        return ERR_OK;
    sqlite3_exec(ledger->db, "ROLLBACK", NULL, NULL, NULL);
    return err_set(err, rc, "%s", why.text);
}

enum err_code gate_ledger_settle(struct gate_ledger *ledger, const struct gate_claim *claim,
                                 const struct gate_entry *entry, struct err *err)
{
    struct err why = {0};
    sqlite3_stmt *stmt =
        gate_ledger_about(ledger, claim,
                          "UPDATE candidate SET decision=?3, n=?4, mean=?5, upper=?6, delta=?7,"
                          " why=?8 WHERE set_hash=?1 AND number=?2 AND decision IS NULL",
                          &why);
    if (!stmt)
        return err_set(err, why.code, "%s", why.text);
    sqlite3_bind_int64(stmt, 2, entry->number);
    sqlite3_bind_text(stmt, 3, bound_decision_name(entry->verdict.decision), -1, SQLITE_STATIC);
    sqlite3_bind_int64(stmt, 4, entry->n);
    sqlite3_bind_double(stmt, 5, entry->verdict.mean);
    sqlite3_bind_double(stmt, 6, entry->verdict.upper);
    sqlite3_bind_double(stmt, 7, entry->verdict.delta);
    sqlite3_bind_text(stmt, 8, entry->why, -1, SQLITE_STATIC);
    const enum err_code rc = gate_ledger_finish(ledger, stmt, NULL, NULL, &why);
    if (rc)
        return err_set(err, rc, "%s", why.text);
    if (sqlite3_changes(ledger->db) != 1)
        return err_set(err, ERR_STATE, "%s: candidate %u has its verdict already", ledger->path,
                       (unsigned)entry->number);
    return ERR_OK;
}

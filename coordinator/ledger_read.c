/* ledger_read.c -- records out of their tables, in order of seq over all of them.
 *
 * Each table is read by a statement of its own, ordered by seq; the one whose next row has the
 * least seq is read next. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "coordinator/ledger_state.h"

#define LEDGER_TOKENS_MAX (1u << 20) /* of one response: more is damage */

struct ledger_source {
    enum record_kind kind;
    enum wire_work work; /* of ROLLOUT */
    const char *sql;     /* ?1: the first step whose slots are wanted */
};

static const struct ledger_source ledger_sources[] = {
    {RECORD_EPOCH, 0, "SELECT * FROM epoch ORDER BY seq"},
    {RECORD_START, 0, "SELECT * FROM start ORDER BY seq"},
    {RECORD_IDENTITY, 0, "SELECT * FROM identity ORDER BY seq"},
    {RECORD_ROLLOUT, WIRE_WORK_ROLLOUT, "SELECT * FROM rollout WHERE step>=?1 ORDER BY seq"},
    {RECORD_ROLLOUT, WIRE_WORK_REFERENCE,
     "SELECT * FROM reference AS r WHERE ?1=0 OR NOT EXISTS(SELECT 1 FROM score WHERE "
     "kind='reference' AND a=r.prompt AND b=r.m) ORDER BY seq"},
    {RECORD_SCORE, 0, "SELECT * FROM score WHERE kind='reference' OR a>=?1 ORDER BY seq"},
    {RECORD_DROP, 0, "SELECT * FROM dropped WHERE kind='reference' OR a>=?1 ORDER BY seq"},
    {RECORD_STEP, 0, "SELECT * FROM step ORDER BY seq"},
    {RECORD_CHECKPOINT, 0, "SELECT * FROM checkpoint ORDER BY seq"},
    {RECORD_PAUSE, 0, "SELECT * FROM pause ORDER BY seq"},
    {RECORD_EVENT, 0, "SELECT * FROM event ORDER BY seq"},
};
#define LEDGER_SOURCES (sizeof ledger_sources / sizeof ledger_sources[0])

/* Of one step alone, and of what it begins from. */
static const struct ledger_source ledger_step_sources[] = {
    {RECORD_START, 0, "SELECT * FROM start WHERE ?1=0 ORDER BY seq"},
    {RECORD_ROLLOUT, WIRE_WORK_ROLLOUT, "SELECT * FROM rollout WHERE step=?1 ORDER BY seq"},
    {RECORD_SCORE, 0, "SELECT * FROM score WHERE kind='rollout' AND a=?1 ORDER BY seq"},
    {RECORD_DROP, 0, "SELECT * FROM dropped WHERE kind='rollout' AND a=?1 ORDER BY seq"},
    {RECORD_STEP, 0, "SELECT * FROM step WHERE step BETWEEN ?1-1 AND ?1 ORDER BY seq"},
};
#define LEDGER_STEP_SOURCES (sizeof ledger_step_sources / sizeof ledger_step_sources[0])

struct ledger_reader {
    struct ledger *ledger;
    const struct ledger_source *source;
    size_t sources; /* <= LEDGER_SOURCES */
    sqlite3_stmt *stmt[LEDGER_SOURCES];
    bool more[LEDGER_SOURCES]; /* a row is there */
    /* BLOBs are copied here: SQLite does not promise their alignment */
    void *copy[3];
    size_t copy_bytes[3];
    double scores[RUN_SCORERS_MAX];
    struct wire_stat stats[WIRE_STATS_MAX];
    struct record_step step;
    bool damaged; /* a column could not be */
};

static uint64_t ledger_column_u64(struct ledger_reader *reader, sqlite3_stmt *stmt, int *column)
{
    const sqlite3_int64 value = sqlite3_column_int64(stmt, (*column)++);
    if (value < 0)
        reader->damaged = true;
    return (uint64_t)value;
}

static uint32_t ledger_column_u32(struct ledger_reader *reader, sqlite3_stmt *stmt, int *column)
{
    const uint64_t value = ledger_column_u64(reader, stmt, column);
    if (value > UINT32_MAX)
        reader->damaged = true;
    return (uint32_t)value;
}

static const char *ledger_column_text(struct ledger_reader *reader, sqlite3_stmt *stmt,
                                      int *column)
{
    const char *text = (const char *)sqlite3_column_text(stmt, (*column)++);
    if (!text)
        reader->damaged = true;
    return text ? text : "";
}

static const void *ledger_column_blob(struct ledger_reader *reader, sqlite3_stmt *stmt,
                                      int *column, int which, size_t want_bytes)
{
    const void *bytes = sqlite3_column_blob(stmt, *column);
    const size_t size = (size_t)sqlite3_column_bytes(stmt, (*column)++);
    if (!bytes || size != want_bytes) {
        reader->damaged = true;
        return NULL;
    }
    if (reader->copy_bytes[which] < size) {
        void *grown = realloc(reader->copy[which], size);
        if (!grown) {
            reader->damaged = true;
            return NULL;
        }
        reader->copy[which] = grown;
        reader->copy_bytes[which] = size;
    }
    return memcpy(reader->copy[which], bytes, size);
}

static void ledger_column_hash(struct ledger_reader *reader, sqlite3_stmt *stmt, int *column,
                               struct hash *out)
{
    if (hash_from_hex(out, ledger_column_text(reader, stmt, column), NULL) != ERR_OK)
        reader->damaged = true;
}

static enum wire_work ledger_column_work(struct ledger_reader *reader, sqlite3_stmt *stmt,
                                         int *column)
{
    const char *word = ledger_column_text(reader, stmt, column);
    if (strcmp(word, "rollout") == 0)
        return WIRE_WORK_ROLLOUT;
    if (strcmp(word, "reference") != 0)
        reader->damaged = true;
    return WIRE_WORK_REFERENCE;
}

static enum wire_finish ledger_column_finish(struct ledger_reader *reader, sqlite3_stmt *stmt,
                                             int *column)
{
    const char *word = ledger_column_text(reader, stmt, column);
    if (strcmp(word, "eos") == 0)
        return WIRE_FINISH_EOS;
    if (strcmp(word, "stop") == 0)
        return WIRE_FINISH_STOP;
    if (strcmp(word, "length") != 0)
        reader->damaged = true;
    return WIRE_FINISH_LENGTH;
}

static double ledger_column_real(sqlite3_stmt *stmt, int *column)
{
    const bool none = sqlite3_column_type(stmt, *column) == SQLITE_NULL;
    const double value = sqlite3_column_double(stmt, (*column)++);
    return none ? (double)NAN : value;
}

/* Behind the number, or null, that begins there; `at` itself where none does. */
static const char *ledger_to_number(const char *at, double *out)
{
    char *end;
    *out = (double)NAN;
    if (strncmp(at, "null", 4) == 0)
        return at + 4;
    *out = strtod(at, &end);
    return end;
}

/* "[1,null,2.5]" into out [max]; how many.  NaN for null. */
static uint32_t ledger_column_numbers(struct ledger_reader *reader, sqlite3_stmt *stmt,
                                      int *column, double *out, uint32_t max)
{
    const char *text = ledger_column_text(reader, stmt, column);
    uint32_t n = 0;
    for (const char *at = text; *at == '[' || *at == ',';) {
        double value;
        const char *end = ledger_to_number(at + 1, &value);
        if (end == at + 1 || n == max) {
            reader->damaged = true;
            return 0;
        }
        out[n++] = value;
        at = end;
        if (*at == ']')
            return n;
    }
    reader->damaged = true;
    return 0;
}

static uint32_t ledger_to_count(struct ledger_reader *reader, double value)
{
    if (!(value >= 0.0 && value <= (double)UINT32_MAX)) {
        reader->damaged = true;
        return 0;
    }
    return (uint32_t)value;
}

static void ledger_column_stats(struct ledger_reader *reader, sqlite3_stmt *stmt, int *column)
{
    const char *text = ledger_column_text(reader, stmt, column);
    json_t *object = json_parse(text, strlen(text), reader->ledger->path, NULL);
    const char *name;
    json_t *value;
    uint32_t n = 0;
    if (!json_is_object(object) || json_object_size(object) > WIRE_STATS_MAX)
        reader->damaged = true;
    else
        json_object_foreach(object, name, value)
        {
            struct wire_stat *stat = &reader->stats[n++];
            snprintf(stat->name, sizeof stat->name, "%s", name);
            stat->value = json_is_number(value) ? json_number_value(value) : (double)NAN;
        }
    json_decref(object);
    reader->step.stats = reader->stats;
    reader->step.stats_n = n;
}

static void ledger_column_dropped(struct ledger_reader *reader, sqlite3_stmt *stmt, int *column)
{
    const char *text = ledger_column_text(reader, stmt, column);
    json_t *object = json_parse(text, strlen(text), reader->ledger->path, NULL);
    if (!json_is_object(object))
        reader->damaged = true;
    for (int i = 0; i < RECORD_REASONS; i++) {
        const json_t *value =
            json_object_get(object, record_reason_name((enum record_reason)i));
        reader->step.dropped[i] = (uint32_t)json_integer_value(value);
    }
    json_decref(object);
}

/* --- a row of each table ------------------------------------------------------------------ */

static void ledger_read_item(struct ledger_reader *reader, sqlite3_stmt *stmt, int *c,
                             struct record *r)
{
    r->response_tokens = ledger_column_u32(reader, stmt, c);
    if (r->response_tokens > LEDGER_TOKENS_MAX)
        reader->damaged = true;
    r->finish = ledger_column_finish(reader, stmt, c);
    r->worker = ledger_column_text(reader, stmt, c);
}

static void ledger_read_rollout(struct ledger_reader *reader, sqlite3_stmt *stmt, int c,
                                struct record *r)
{
    const bool slot = r->work == WIRE_WORK_ROLLOUT;
    r->a = ledger_column_u64(reader, stmt, &c);
    r->b = ledger_column_u32(reader, stmt, &c);
    r->prompt = slot ? ledger_column_u32(reader, stmt, &c) : (uint32_t)r->a;
    r->version = slot ? ledger_column_u64(reader, stmt, &c) : 0;
    ledger_read_item(reader, stmt, &c, r);
    const size_t bytes = r->response_tokens * sizeof(int32_t);
    r->ids = ledger_column_blob(reader, stmt, &c, 0, bytes);
    if (slot)
        r->logprobs = ledger_column_blob(reader, stmt, &c, 1, bytes);
}

static void ledger_read_score(struct ledger_reader *reader, sqlite3_stmt *stmt, int c,
                              struct record *r)
{
    r->work = ledger_column_work(reader, stmt, &c);
    r->a = ledger_column_u64(reader, stmt, &c);
    r->b = ledger_column_u32(reader, stmt, &c);
    r->prompt = ledger_column_u32(reader, stmt, &c);
    ledger_read_item(reader, stmt, &c, r);
    r->scorers = ledger_column_numbers(reader, stmt, &c, reader->scores, RUN_SCORERS_MAX);
    r->scores = reader->scores;
    if (r->work == WIRE_WORK_ROLLOUT)
        r->reference =
            ledger_column_blob(reader, stmt, &c, 2, r->response_tokens * sizeof(float));
}

static void ledger_read_drop(struct ledger_reader *reader, sqlite3_stmt *stmt, int c,
                             struct record *r)
{
    r->work = ledger_column_work(reader, stmt, &c);
    r->a = ledger_column_u64(reader, stmt, &c);
    r->b = ledger_column_u32(reader, stmt, &c);
    r->prompt = ledger_column_u32(reader, stmt, &c);
    const char *word = ledger_column_text(reader, stmt, &c);
    for (int i = 1; i < RECORD_REASONS; i++)
        if (strcmp(word, record_reason_name((enum record_reason)i)) == 0)
            r->reason = (enum record_reason)i;
    if (r->reason == RECORD_REASON_NONE)
        reader->damaged = true;
    r->text = ledger_column_text(reader, stmt, &c);
}

static void ledger_read_step(struct ledger_reader *reader, sqlite3_stmt *stmt, int c,
                             struct record *r)
{
    struct record_step *s = &reader->step;
    *s = (struct record_step){0};
    s->step = ledger_column_u64(reader, stmt, &c);
    s->version = ledger_column_u64(reader, stmt, &c);
    s->behaviour_version = ledger_column_u64(reader, stmt, &c);
    ledger_column_hash(reader, stmt, &c, &s->weights);
    s->checkpoint_version = ledger_column_u64(reader, stmt, &c);
    s->trained = ledger_column_u32(reader, stmt, &c);
    ledger_column_dropped(reader, stmt, &c);
    s->truncated = ledger_column_u32(reader, stmt, &c);
    s->prompt_tokens = ledger_column_u64(reader, stmt, &c);
    s->response_tokens = ledger_column_u64(reader, stmt, &c);
    s->reward_raw_mean = sqlite3_column_double(stmt, c++);
    s->reward_raw_std = sqlite3_column_double(stmt, c++);
    s->reward_shaped_mean = sqlite3_column_double(stmt, c++);
    ledger_column_numbers(reader, stmt, &c, s->score_mean, RUN_SCORERS_MAX);
    s->kl_mean = sqlite3_column_double(stmt, c++);
    s->kl_coef_before = sqlite3_column_double(stmt, c++);
    s->kl_coef_after = sqlite3_column_double(stmt, c++);
    s->cost_raw_mean = ledger_column_real(stmt, &c);
    s->cost_limit = ledger_column_real(stmt, &c);
    s->multiplier_before = ledger_column_real(stmt, &c);
    s->multiplier_after = ledger_column_real(stmt, &c);
    double missing[RUN_SCORERS_MAX];
    const uint32_t n = ledger_column_numbers(reader, stmt, &c, missing, RUN_SCORERS_MAX);
    for (uint32_t i = 0; i < n; i++)
        s->score_missing[i] = ledger_to_count(reader, missing[i]);
    s->worst_group = ledger_column_u32(reader, stmt, &c);
    if (s->worst_group > RUN_SCORERS_MAX)
        reader->damaged = true;
    const size_t bytes = (size_t)sqlite3_column_bytes(stmt, c);
    if (bytes % sizeof(double) != 0 || bytes > sizeof s->controller)
        reader->damaged = true;
    const void *controller = ledger_column_blob(reader, stmt, &c, 0, bytes);
    if (controller && !reader->damaged) {
        memcpy(s->controller, controller, bytes);
        s->controller_n = (uint32_t)(bytes / sizeof(double));
    }
    ledger_column_hash(reader, stmt, &c, &s->experience);
    s->duration_ms = ledger_column_u64(reader, stmt, &c);
    ledger_column_stats(reader, stmt, &c);
    r->step = s;
}

static void ledger_read_columns(struct ledger_reader *reader, sqlite3_stmt *stmt,
                                struct record *r)
{
    int c = 0;
    r->seq = ledger_column_u64(reader, stmt, &c);
    r->wall_ms = ledger_column_u64(reader, stmt, &c);
    r->worker = "";
    switch (r->kind) {
    case RECORD_EPOCH: r->epoch = ledger_column_u64(reader, stmt, &c); break;
    case RECORD_START: ledger_column_hash(reader, stmt, &c, &r->hash); break;
    case RECORD_IDENTITY:
        r->id = ledger_column_text(reader, stmt, &c);
        ledger_column_hash(reader, stmt, &c, &r->hash);
        break;
    case RECORD_ROLLOUT: ledger_read_rollout(reader, stmt, c, r); break;
    case RECORD_SCORE: ledger_read_score(reader, stmt, c, r); break;
    case RECORD_DROP: ledger_read_drop(reader, stmt, c, r); break;
    case RECORD_STEP: ledger_read_step(reader, stmt, c, r); break;
    case RECORD_CHECKPOINT: r->version = ledger_column_u64(reader, stmt, &c); break;
    case RECORD_PAUSE: r->paused = ledger_column_u64(reader, stmt, &c) != 0; break;
    case RECORD_EVENT:
        r->id = ledger_column_text(reader, stmt, &c);
        r->text = ledger_column_text(reader, stmt, &c);
        break;
    case RECORD_NONE: break;
    }
}

/* --- all of them -------------------------------------------------------------------------- */

static enum err_code ledger_reader_advance(struct ledger_reader *reader, size_t source,
                                           struct err *err)
{
    const int step = sqlite3_step(reader->stmt[source]);
    reader->more[source] = step == SQLITE_ROW;
    if (step != SQLITE_ROW && step != SQLITE_DONE)
        return ledger_refuse(reader->ledger, "read", err);
    return ERR_OK;
}

static size_t ledger_reader_least(const struct ledger_reader *reader)
{
    size_t least = reader->sources;
    for (size_t i = 0; i < reader->sources; i++)
        if (reader->more[i] &&
            (least == reader->sources || sqlite3_column_int64(reader->stmt[i], 0) <
                                             sqlite3_column_int64(reader->stmt[least], 0)))
            least = i;
    return least;
}

static enum err_code ledger_reader_open(struct ledger_reader *reader, uint64_t step,
                                        bool steps_only, struct err *err)
{
    for (size_t i = 0; i < reader->sources; i++) {
        if (steps_only && reader->source[i].kind != RECORD_STEP)
            continue;
        if (sqlite3_prepare_v2(reader->ledger->db, reader->source[i].sql, -1, &reader->stmt[i],
                               NULL) != SQLITE_OK)
            return ledger_refuse(reader->ledger, "read", err);
        if (sqlite3_bind_parameter_count(reader->stmt[i]) > 0)
            sqlite3_bind_int64(reader->stmt[i], 1, (sqlite3_int64)step);
        const enum err_code rc = ledger_reader_advance(reader, i, err);
        if (rc != ERR_OK)
            return rc;
    }
    return ERR_OK;
}

typedef enum err_code ledger_visit(void *ctx, const struct record *record, struct err *err);

/* `step` is what the sources' parameter means. */
static enum err_code ledger_read_from(struct ledger *ledger, const struct ledger_source *source,
                                      size_t sources, uint64_t step, bool steps_only,
                                      ledger_visit *fn, void *ctx, struct err *err)
{
    struct ledger_reader *reader = calloc(1, sizeof *reader);
    if (!reader)
        return err_set(err, ERR_NOMEM, "no memory to read the ledger");
    reader->ledger = ledger;
    reader->source = source;
    reader->sources = sources;
    /* One transaction: all tables as of one moment, whoever writes meanwhile. */
    enum err_code rc = ledger_execute(ledger, "BEGIN", err);
    if (rc == ERR_OK)
        rc = ledger_reader_open(reader, step, steps_only, err);
    while (rc == ERR_OK) {
        const size_t least = ledger_reader_least(reader);
        if (least == sources)
            break;
        struct record record = {.kind = source[least].kind, .work = source[least].work};
        ledger_read_columns(reader, reader->stmt[least], &record);
        if (reader->damaged)
            rc = err_set(err, ERR_FORMAT, "%s: record %" PRIu64 " (%s) is damaged",
                         ledger->path, record.seq, record_kind_name(record.kind));
        if (rc == ERR_OK)
            rc = fn(ctx, &record, err);
        if (rc == ERR_OK)
            rc = ledger_reader_advance(reader, least, err);
    }
    for (size_t i = 0; i < sources; i++)
        sqlite3_finalize(reader->stmt[i]);
    for (size_t i = 0; i < 3; i++)
        free(reader->copy[i]);
    free(reader);
    sqlite3_exec(ledger->db, "COMMIT", NULL, NULL, NULL); /* nothing was written */
    return rc;
}

enum err_code ledger_each(struct ledger *ledger, uint64_t from_step, ledger_visit *fn,
                          void *ctx, struct err *err)
{
    return ledger_read_from(ledger, ledger_sources, LEDGER_SOURCES, from_step, false, fn, ctx,
                            err);
}

enum err_code ledger_each_step(struct ledger *ledger, ledger_visit *fn, void *ctx,
                               struct err *err)
{
    return ledger_read_from(ledger, ledger_sources, LEDGER_SOURCES, 0, true, fn, ctx, err);
}

enum err_code ledger_each_of_step(struct ledger *ledger, uint64_t step, ledger_visit *fn,
                                  void *ctx, struct err *err)
{
    return ledger_read_from(ledger, ledger_step_sources, LEDGER_STEP_SOURCES, step, false, fn,
                            ctx, err);
}

enum err_code ledger_summarise(struct ledger *ledger, struct ledger_summary *out,
                               struct err *err)
{
    static const char sql[] =
        "SELECT (SELECT value FROM run WHERE key='config_hash'),"
        " (SELECT count(*) FROM epoch), (SELECT count(*) FROM step),"
        " max((SELECT coalesce(max(checkpoint_version),0) FROM step),"
        "     (SELECT coalesce(max(version),0) FROM checkpoint)),"
        " (SELECT count(*) FROM rollout), (SELECT count(*) FROM reference),"
        " (SELECT count(*) FROM score), (SELECT count(*) FROM dropped),"
        " (SELECT coalesce(max(seq),0) FROM (SELECT max(seq) AS seq FROM epoch UNION ALL"
        "  SELECT max(seq) FROM start UNION ALL SELECT max(seq) FROM rollout UNION ALL"
        "  SELECT max(seq) FROM reference UNION ALL SELECT max(seq) FROM score UNION ALL"
        "  SELECT max(seq) FROM dropped UNION ALL SELECT max(seq) FROM step UNION ALL"
        "  SELECT max(seq) FROM checkpoint UNION ALL SELECT max(seq) FROM pause UNION ALL"
        "  SELECT max(seq) FROM identity UNION ALL"
        "  SELECT max(seq) FROM event)),"
        " coalesce((SELECT paused FROM pause ORDER BY seq DESC LIMIT 1),0)";
    sqlite3_stmt *stmt = NULL;
    *out = (struct ledger_summary){0};
    if (sqlite3_prepare_v2(ledger->db, sql, -1, &stmt, NULL) != SQLITE_OK)
        return ledger_refuse(ledger, "read", err);
    enum err_code rc = ERR_OK;
    if (sqlite3_step(stmt) != SQLITE_ROW) {
        rc = ledger_refuse(ledger, "read", err);
    } else {
        const char *hex = (const char *)sqlite3_column_text(stmt, 0);
        rc = hash_from_hex(&out->config_hash, hex ? hex : "", err);
        uint64_t *const fields[] = {&out->epochs,   &out->steps,      &out->checkpoint_version,
                                    &out->rollouts, &out->references, &out->scores,
                                    &out->dropped,  &out->records};
        for (int i = 0; i < 8; i++)
            *fields[i] = (uint64_t)sqlite3_column_int64(stmt, i + 1);
        out->paused = sqlite3_column_int64(stmt, 9) != 0;
    }
    sqlite3_finalize(stmt);
    return rc;
}

/* ledger_write.c -- a record into its table. */
#include <assert.h>
#include <math.h>
#include <string.h>

#include "coordinator/ledger_state.h"

#define LEDGER_REFERENCE (RECORD_EVENT + 1)

static const char *const ledger_write_sql[LEDGER_REFERENCE + 1] = {
    [RECORD_EPOCH] = "INSERT INTO epoch VALUES(?,?,?)",
    [RECORD_START] = "INSERT INTO start VALUES(?,?,?)",
    [RECORD_IDENTITY] = "INSERT INTO identity VALUES(?,?,?,?)",
    [RECORD_ROLLOUT] = "INSERT INTO rollout VALUES(?,?,?,?,?,?,?,?,?,?,?)",
    [LEDGER_REFERENCE] = "INSERT INTO reference VALUES(?,?,?,?,?,?,?,?)",
    [RECORD_SCORE] = "INSERT INTO score VALUES(?,?,?,?,?,?,?,?,?,?,?)",
    [RECORD_DROP] = "INSERT INTO dropped VALUES(?,?,?,?,?,?,?,?)",
    [RECORD_STEP] =
        "INSERT INTO step VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
    [RECORD_CHECKPOINT] = "INSERT INTO checkpoint VALUES(?,?,?)",
    [RECORD_PAUSE] = "INSERT INTO pause VALUES(?,?,?)",
    [RECORD_EVENT] = "INSERT INTO event VALUES(?,?,?,?)",
};

enum err_code ledger_write_prepare(struct ledger *ledger, struct err *err)
{
    for (int i = RECORD_EPOCH; i <= LEDGER_REFERENCE; i++)
        if (sqlite3_prepare_v3(ledger->db, ledger_write_sql[i], -1, SQLITE_PREPARE_PERSISTENT,
                               &ledger->insert[i], NULL) != SQLITE_OK)
            return ledger_refuse(ledger, "prepare", err);
    return ERR_OK;
}

void ledger_write_release(struct ledger *ledger)
{
    for (int i = 0; i <= LEDGER_REFERENCE; i++)
        sqlite3_finalize(ledger->insert[i]);
}

/* A row under construction: values go in column by column. */
struct ledger_row {
    sqlite3_stmt *stmt;
    int column;
};

static void ledger_row_u64(struct ledger_row *row, uint64_t value)
{
    sqlite3_bind_int64(row->stmt, ++row->column, (sqlite3_int64)value);
}

static void ledger_row_double(struct ledger_row *row, double value)
{
    sqlite3_bind_double(row->stmt, ++row->column, value);
}

static void ledger_row_text(struct ledger_row *row, const char *text)
{
    sqlite3_bind_text(row->stmt, ++row->column, text ? text : "", -1, SQLITE_STATIC);
}

static void ledger_row_blob(struct ledger_row *row, const void *bytes, size_t size)
{
    if (bytes)
        sqlite3_bind_blob64(row->stmt, ++row->column, bytes, size, SQLITE_STATIC);
    else
        sqlite3_bind_null(row->stmt, ++row->column);
}

static void ledger_row_hash(struct ledger_row *row, const struct hash *hash)
{
    char hex[HASH_HEX_BYTES];
    hash_hex(hash, hex);
    sqlite3_bind_text(row->stmt, ++row->column, hex, -1, SQLITE_TRANSIENT);
}

static const char *ledger_write_work(enum wire_work work)
{
    return work == WIRE_WORK_REFERENCE ? "reference" : "rollout";
}

static const char *ledger_write_finish(enum wire_finish finish)
{
    static const char *const words[] = {"none", "eos", "stop", "length"};
    assert((size_t)finish < sizeof words / sizeof words[0]);
    return words[finish];
}

/* 17 digits bring every double back as it was; JSON has no NaN. */
static void ledger_write_numbers(struct buf *text, const double *values, uint32_t n)
{
    buf_clear(text);
    buf_putc(text, '[');
    for (uint32_t i = 0; i < n; i++) {
        buf_puts(text, i > 0 ? "," : "");
        if (isnan(values[i]))
            buf_puts(text, "null");
        else
            buf_printf(text, "%.17g", values[i]);
    }
    buf_putc(text, ']');
}

static void ledger_write_rollout(struct ledger_row *row, const struct record *r)
{
    const bool slot = r->work == WIRE_WORK_ROLLOUT;
    if (slot) {
        ledger_row_u64(row, r->a);
        ledger_row_u64(row, r->b);
        ledger_row_u64(row, r->prompt);
        ledger_row_u64(row, r->version);
    } else {
        ledger_row_u64(row, r->a);
        ledger_row_u64(row, r->b);
    }
    ledger_row_u64(row, r->response_tokens);
    ledger_row_text(row, ledger_write_finish(r->finish));
    ledger_row_text(row, r->worker);
    ledger_row_blob(row, r->ids, r->response_tokens * sizeof *r->ids);
    if (slot)
        ledger_row_blob(row, r->logprobs, r->response_tokens * sizeof *r->logprobs);
}

static void ledger_write_score(struct ledger *ledger, struct ledger_row *row,
                               const struct record *r)
{
    ledger_row_text(row, ledger_write_work(r->work));
    ledger_row_u64(row, r->a);
    ledger_row_u64(row, r->b);
    ledger_row_u64(row, r->prompt);
    ledger_row_u64(row, r->response_tokens);
    ledger_row_text(row, ledger_write_finish(r->finish));
    ledger_row_text(row, r->worker);
    ledger_write_numbers(&ledger->text[0], r->scores, r->scorers);
    ledger_row_text(row, ledger->text[0].data);
    ledger_row_blob(row, r->reference, r->response_tokens * sizeof *r->reference);
}

static void ledger_write_step(struct ledger *ledger, struct ledger_row *row,
                              const struct record_step *s)
{
    struct buf *text = &ledger->text[0];
    ledger_row_u64(row, s->step);
    ledger_row_u64(row, s->version);
    ledger_row_u64(row, s->behaviour_version);
    ledger_row_hash(row, &s->weights);
    ledger_row_u64(row, s->checkpoint_version);
    ledger_row_u64(row, s->trained);
    buf_clear(text);
    for (uint32_t i = 0; i < RECORD_REASONS; i++)
        if (s->dropped[i] > 0)
            buf_printf(text, "%s\"%s\":%u", text->len > 0 ? "," : "{",
                       record_reason_name((enum record_reason)i), (unsigned)s->dropped[i]);
    buf_puts(text, text->len > 0 ? "}" : "{}");
    sqlite3_bind_text(row->stmt, ++row->column, text->data, -1, SQLITE_TRANSIENT);
    ledger_row_u64(row, s->truncated);
    ledger_row_u64(row, s->prompt_tokens);
    ledger_row_u64(row, s->response_tokens);
    ledger_row_double(row, s->reward_raw_mean);
    ledger_row_double(row, s->reward_raw_std);
    ledger_row_double(row, s->reward_shaped_mean);
    ledger_write_numbers(text, s->score_mean, RUN_SCORERS_MAX);
    sqlite3_bind_text(row->stmt, ++row->column, text->data, -1, SQLITE_TRANSIENT);
    ledger_row_double(row, s->kl_mean);
    ledger_row_double(row, s->kl_coef_before);
    ledger_row_double(row, s->kl_coef_after);
    ledger_row_double(row, s->cost_raw_mean); /* SQLite keeps a NaN as NULL */
    ledger_row_double(row, s->cost_limit);
    ledger_row_double(row, s->multiplier_before);
    ledger_row_double(row, s->multiplier_after);
    double missing[RUN_SCORERS_MAX];
    for (uint32_t i = 0; i < RUN_SCORERS_MAX; i++)
        missing[i] = s->score_missing[i];
    ledger_write_numbers(text, missing, RUN_SCORERS_MAX);
    sqlite3_bind_text(row->stmt, ++row->column, text->data, -1, SQLITE_TRANSIENT);
    ledger_row_u64(row, s->worst_group);
    ledger_row_blob(row, s->controller, s->controller_n * sizeof s->controller[0]);
    ledger_row_hash(row, &s->experience);
    ledger_row_u64(row, s->duration_ms);
    buf_clear(text);
    buf_putc(text, '{');
    for (uint32_t i = 0; i < s->stats_n; i++) {
        if (i > 0)
            buf_putc(text, ',');
        buf_json_string(text, s->stats[i].name, strlen(s->stats[i].name));
        buf_putc(text, ':');
        buf_json_number(text, s->stats[i].value);
    }
    buf_putc(text, '}');
    ledger_row_text(row, text->data);
}

static void ledger_write_columns(struct ledger *ledger, struct ledger_row *row,
                                 const struct record *r)
{
    switch (r->kind) {
    case RECORD_EPOCH: ledger_row_u64(row, r->epoch); break;
    case RECORD_START: ledger_row_hash(row, &r->hash); break;
    case RECORD_IDENTITY:
        ledger_row_text(row, r->id);
        ledger_row_hash(row, &r->hash);
        break;
    case RECORD_ROLLOUT: ledger_write_rollout(row, r); break;
    case RECORD_SCORE: ledger_write_score(ledger, row, r); break;
    case RECORD_DROP:
        ledger_row_text(row, ledger_write_work(r->work));
        ledger_row_u64(row, r->a);
        ledger_row_u64(row, r->b);
        ledger_row_u64(row, r->prompt);
        ledger_row_text(row, record_reason_name(r->reason));
        ledger_row_text(row, r->text);
        break;
    case RECORD_STEP: ledger_write_step(ledger, row, r->step); break;
    case RECORD_CHECKPOINT: ledger_row_u64(row, r->version); break;
    case RECORD_PAUSE: ledger_row_u64(row, r->paused); break;
    case RECORD_EVENT:
        ledger_row_text(row, r->id);
        ledger_row_text(row, r->text);
        break;
    case RECORD_NONE: assert(0 && "a record without a kind");
    }
}

enum err_code ledger_write_record(struct ledger *ledger, const struct record *record,
                                  struct err *err)
{
    const bool reference =
        record->kind == RECORD_ROLLOUT && record->work == WIRE_WORK_REFERENCE;
    struct ledger_row row = {
        .stmt = ledger->insert[reference ? LEDGER_REFERENCE : (int)record->kind]};
    ledger_row_u64(&row, record->seq);
    ledger_row_u64(&row, record->wall_ms);
    ledger_write_columns(ledger, &row, record);
    assert(row.column == sqlite3_bind_parameter_count(row.stmt));
    if (sqlite3_step(row.stmt) != SQLITE_DONE)
        return ledger_refuse(ledger, "insert", err);
    sqlite3_reset(row.stmt);
    return buf_check(&ledger->text[0], "a record of the ledger", err);
}

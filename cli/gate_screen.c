/* gate_screen.c -- see gate_screen.h. */
#include "cli/gate_screen.h"

#include <math.h>
#include <string.h>
#include <time.h>

#include "base/json.h"
#include "cli/report_page.h"
#include "cli/status_screen.h"
#include "node/gate_record.h"

#define GATE_SCREEN_BYTES_MAX ((size_t)64 * 1024)
#define GATE_SCREEN_ROWS_MAX  200u /* the newest, in a report */

static void gate_screen_time(struct buf *out, double ms)
{
    char text[32] = "?";
    const time_t at = isnan(ms) ? 0 : (time_t)(ms / 1000);
    struct tm utc;
    if (!isnan(ms) && gmtime_r(&at, &utc))
        strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc);
    buf_puts(out, text);
}

/* "version 80", or the name of what is no version of this run. */
static void gate_screen_policy(const json_t *object, const char *otherwise, struct buf *out)
{
    const double version = json_number_or(object, "version", (double)NAN);
    if (isnan(version))
        status_screen_text(out, json_string_or(object, otherwise, ""));
    else
        buf_printf(out, "version %.0f", version);
}

static void gate_screen_begin(struct gate_screen_layout layout, const char *word,
                              struct buf *out)
{
    buf_printf(out, "%*s%-*s", layout.margin, "", layout.width, word);
}

static void gate_screen_last(const json_t *last, struct gate_screen_layout layout,
                             struct buf *out)
{
    const char *why = json_string_or(last, "why", "");
    const double spent = json_number_or(last, "spent", (double)NAN);
    gate_screen_begin(layout, "gate", out);
    gate_screen_policy(last, "model", out);
    buf_puts(out, ": ");
    status_screen_text(out, json_string_or(last, "decision", ""));
    buf_puts(out, " at ");
    gate_screen_time(out, json_number_or(last, "at_ms", (double)NAN));
    if (why[0]) {
        buf_puts(out, ": ");
        status_screen_text(out, why);
    } else {
        buf_printf(out, ": mean cost %.4g, bound %.4g, limit %.4g, delta %.4g, %.0f prompts",
                   json_number_or(last, "mean", (double)NAN),
                   json_number_or(last, "upper", (double)NAN),
                   json_number_or(last, "limit", (double)NAN),
                   json_number_or(last, "delta", (double)NAN),
                   json_number_or(last, "n", (double)NAN));
    }
    if (!isnan(spent))
        buf_printf(out, "; %.0f of %.0f candidates spent", spent,
                   json_number_or(last, "candidates", (double)NAN));
    buf_putc(out, '\n');
}

void gate_screen(const json_t *gate, struct gate_screen_layout layout, struct buf *out)
{
    const json_t *last = json_object_get(gate, "last");
    const json_t *published = json_object_get(gate, "published");
    const char *fault = json_string_or(gate, "fault", "");
    if (fault[0]) {
        gate_screen_begin(layout, "gate", out);
        status_screen_text(out, fault);
        buf_putc(out, '\n');
    }
    if (json_is_object(last))
        gate_screen_last(last, layout, out);
    if (json_is_object(published)) {
        gate_screen_begin(layout, "published", out);
        gate_screen_policy(published, "name", out);
        buf_puts(out, " since ");
        gate_screen_time(out, json_number_or(published, "at_ms", (double)NAN));
        buf_putc(out, '\n');
    } else if (json_is_object(last)) {
        gate_screen_begin(layout, "published", out);
        buf_puts(out, "nothing\n");
    }
}

static void gate_screen_object(const char *run, struct buf *out)
{
    struct gate_history history;
    struct err why = {0};
    if (gate_record_load(&history, run, &why)) {
        buf_puts(out, "{\"fault\": ");
        buf_json_string(out, why.text, strlen(why.text));
        buf_putc(out, '}');
    } else {
        gate_record_json(&history, out);
    }
    gate_record_release(&history);
}

void gate_screen_run(const char *run, bool json, struct gate_screen_layout layout,
                     struct buf *out)
{
    struct buf text;
    buf_init(&text, GATE_SCREEN_BYTES_MAX);
    gate_screen_object(run, &text);
    if (json) {
        buf_append(out, text.data, text.len);
    } else {
        json_t *gate = json_loadb(text.data, text.len, JSON_DECODE_ANY, NULL);
        gate_screen(gate, layout, out);
        json_decref(gate);
    }
    buf_release(&text);
}

/* --- the report --------------------------------------------------------------------------- */

static void gate_screen_row(const struct gate_record *record, bool published, struct buf *out)
{
    buf_puts(out, "<tr><td class=\"tag\">");
    gate_screen_time(out, (double)record->at_ms);
    buf_puts(out, "</td><td>");
    if (isnan(record->version))
        report_page_text(out, record->model);
    else
        buf_printf(out, "version %.0f", record->version);
    buf_printf(out, "</td><td>%s%s%s", gate_record_decision_name(record->decision),
               record->before ? ", tested before" : "", published ? ", published now" : "");
    if (record->why[0]) {
        buf_puts(out, ": ");
        report_page_text(out, record->why);
    }
    buf_puts(out, "</td>");
    report_page_cell(out, record->mean);
    report_page_cell(out, record->upper);
    report_page_cell(out, record->limit);
    report_page_cell(out, record->delta);
    buf_printf(out, "<td class=\"n\">%u</td>", (unsigned)record->n);
    report_page_cell(out, record->spent);
    report_page_cell(out, record->candidates);
    buf_puts(out, "</tr>\n");
}

/* The row of what is published: the last that passed under its name. */
static size_t gate_screen_published(const struct gate_history *history)
{
    for (size_t i = history->n; i > 0; i--)
        if (history->record[i - 1].decision == GATE_RECORD_PASS &&
            strcmp(history->record[i - 1].name, history->published) == 0)
            return i - 1;
    return history->n;
}

enum err_code gate_screen_report(const char *run, struct buf *out, struct err *err)
{
    struct gate_history history;
    const enum err_code rc = gate_record_load(&history, run, err);
    if (rc == ERR_OK && history.n > 0) {
        const size_t published = gate_screen_published(&history);
        const size_t from =
            history.n > GATE_SCREEN_ROWS_MAX ? history.n - GATE_SCREEN_ROWS_MAX : 0;
        buf_puts(out,
                 "<h2>The gate</h2>\n<p>A policy is published where an upper confidence "
                 "bound on its mean cost, over prompts that training never saw, is at or "
                 "below the limit. NSF: no safe solution.</p>\n"
                 "<div class=\"wide\"><table>\n<thead><tr><th>when</th><th>policy</th>"
                 "<th>decision</th><th class=\"n\">mean cost</th><th class=\"n\">bound</th>"
                 "<th class=\"n\">limit</th><th class=\"n\">delta</th>"
                 "<th class=\"n\">prompts</th><th class=\"n\">spent</th>"
                 "<th class=\"n\">of candidates</th></tr></thead>\n<tbody>\n");
        for (size_t i = from; i < history.n; i++)
            gate_screen_row(&history.record[i], i == published, out);
        buf_puts(out, "</tbody>\n</table></div>\n");
    }
    gate_record_release(&history);
    return rc;
}

/* top.c -- see top.h. */
#include "cli/top.h"

#include <stdio.h>

#include "base/file.h"

#define TOP_HOME        "\033[H"
#define TOP_CLEAR_LINE  "\033[K"
#define TOP_CLEAR_BELOW "\033[J"

static double top_count(const json_t *object, const char *key)
{
    return (double)json_integer_value(json_object_get(object, key));
}

void top_rates_see(struct top_rates *rates, const json_t *status, uint64_t now_ms)
{
    const struct top_rates before = *rates;
    *rates = (struct top_rates){
        .at_ms = now_ms,
        .epoch = (uint64_t)top_count(status, "epoch"),
        .step = top_count(status, "trained"),
        .token = top_count(json_object_get(status, "counters"), "response_tokens"),
        .record = top_count(status, "ledger_records"),
    };
    if (before.at_ms == 0 || before.epoch != rates->epoch || now_ms <= before.at_ms)
        return;
    rates->seconds = (double)(now_ms - before.at_ms) / 1000.0;
    rates->steps_per_s = (rates->step - before.step) / rates->seconds;
    rates->tokens_per_s = (rates->token - before.token) / rates->seconds;
    rates->records_per_s = (rates->record - before.record) / rates->seconds;
}

void top_rates_write(const struct top_rates *rates, struct buf *out)
{
    if (rates->seconds > 0)
        buf_printf(out, "now         %.2f steps/s, %.0f response tokens/s, %.0f records/s\n\n",
                   rates->steps_per_s, rates->tokens_per_s, rates->records_per_s);
    else
        buf_puts(out, "now         - steps/s, - response tokens/s, - records/s\n\n");
}

/* Bytes of the line's first `columns` characters. */
static size_t top_cut(const char *line, size_t n, unsigned columns)
{
    size_t at = 0;
    for (unsigned c = 0; at < n && c < columns; c++) {
        at++;
        while (at < n && ((unsigned char)line[at] & 0xc0) == 0x80)
            at++;
    }
    return at;
}

void top_draw(const struct buf *screen, unsigned rows, unsigned columns, struct buf *out)
{
    const char *from = screen->len > 0 ? screen->data : "";
    const char *end = from + screen->len, *line;
    size_t n;
    rows = rows > 0 ? rows : 24;
    columns = columns > 0 ? columns : 80;
    buf_puts(out, TOP_HOME);
    for (unsigned row = 0; row < rows && file_next_line(&from, end, &line, &n); row++) {
        buf_puts(out, row > 0 ? "\r\n" : "");
        buf_append(out, line, top_cut(line, n, columns));
        buf_puts(out, TOP_CLEAR_LINE);
    }
    buf_puts(out, TOP_CLEAR_BELOW);
}

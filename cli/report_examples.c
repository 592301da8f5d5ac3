/* report_examples.c -- see report_examples.h. */
#include "cli/report_examples.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "cli/report_page.h"
#include "cli/report_raw.h"
#include "coordinator/ledger.h"
#include "coordinator/prompts.h"
#include "engine/tokenizer.h"

struct report_examples_reader {
    struct report_examples *examples;
    const struct tokenizer *tokenizer;
    uint64_t last_step;
};

/* --- out of the ledger -------------------------------------------------------------------- */

static enum err_code report_examples_keep(const struct report_examples_reader *reader,
                                          struct report_example *example,
                                          const struct record *record, struct err *err)
{
    const uint32_t tokens = record->response_tokens < REPORT_EXAMPLE_TOKENS
                                ? record->response_tokens
                                : REPORT_EXAMPLE_TOKENS;
    if (example->held) /* a slot has one rollout, whatever the file says */
        return ERR_OK;
    *example = (struct report_example){.held = true,
                                       .reference = record->work == WIRE_WORK_REFERENCE,
                                       .step = record->a,
                                       .slot = record->b,
                                       .prompt = record->prompt,
                                       .response_tokens = record->response_tokens};
    buf_init(&example->text, REPORT_EXAMPLE_TEXT);
    const enum err_code rc =
        tokenizer_decode(reader->tokenizer, record->ids, tokens, false, &example->text, err);
    if (tokens < record->response_tokens)
        buf_puts(&example->text, " ...");
    return rc;
}

static void report_examples_score(struct report_example *example, const struct record *record)
{
    const bool reference = record->work == WIRE_WORK_REFERENCE;
    const uint64_t at = reference ? example->prompt : example->step;
    if (!example->held || example->reference != reference || at != record->a ||
        example->slot != record->b)
        return;
    example->scorers = record->scorers;
    memcpy(example->score, record->scores, record->scorers * sizeof *record->scores);
}

/* The first pass, over the last step. */
static enum err_code report_examples_last(void *ctx, const struct record *record,
                                          struct err *err)
{
    const struct report_examples_reader *reader = ctx;
    if (record->work != WIRE_WORK_ROLLOUT || record->a != reader->last_step ||
        record->b >= REPORT_EXAMPLES)
        return ERR_OK;
    struct report_example *last = &reader->examples->last[record->b];
    if (record->kind == RECORD_ROLLOUT)
        return report_examples_keep(reader, last, record, err);
    if (record->kind == RECORD_SCORE)
        report_examples_score(last, record);
    return ERR_OK;
}

static enum err_code report_examples_rollout(const struct report_examples_reader *reader,
                                             const struct record *record, struct err *err)
{
    struct report_examples *examples = reader->examples;
    const bool reference = record->work == WIRE_WORK_REFERENCE;
    enum err_code rc = ERR_OK;
    for (size_t i = 0; i < REPORT_EXAMPLES && rc == ERR_OK; i++)
        if (examples->last[i].held && !examples->early[i].held &&
            examples->last[i].prompt == record->prompt &&
            (reference || record->a < reader->last_step))
            rc = report_examples_keep(reader, &examples->early[i], record, err);
    if (rc == ERR_OK && !reference && record->a == 0 && record->b < REPORT_EXAMPLES)
        rc = report_examples_keep(reader, &examples->first[record->b], record, err);
    return rc;
}

/* The second pass, over all: now it is known which prompts are wanted. */
static enum err_code report_examples_any(void *ctx, const struct record *record,
                                         struct err *err)
{
    const struct report_examples_reader *reader = ctx;
    struct report_examples *examples = reader->examples;
    if (record->kind == RECORD_ROLLOUT)
        return report_examples_rollout(reader, record, err);
    for (size_t i = 0; record->kind == RECORD_SCORE && i < REPORT_EXAMPLES; i++) {
        report_examples_score(&examples->early[i], record);
        report_examples_score(&examples->first[i], record);
    }
    return ERR_OK;
}

/* --- prompts ------------------------------------------------------------------------------ */

static void report_examples_prompt(const struct tokenizer *tokenizer,
                                   const struct prompts *prompts,
                                   const struct report_example *example, struct buf *out)
{
    if (!example->held || example->prompt >= prompts->n)
        return;
    const size_t from = prompts->offset[example->prompt];
    const size_t n = prompts->offset[example->prompt + 1] - from;
    /* The last tokens hold the question where a conversation is long. */
    const size_t skip = n > REPORT_EXAMPLE_TOKENS ? n - REPORT_EXAMPLE_TOKENS : 0;
    if (skip > 0)
        buf_puts(out, "... ");
    tokenizer_decode(tokenizer, prompts->tokens.ids + from + skip, n - skip, true, out, NULL);
}

/* A data set that has gone or changed costs the prompts, not the report. */
static void report_examples_prompts(struct report_examples *examples,
                                    const struct tokenizer *tokenizer,
                                    const struct run_config *config)
{
    struct prompts prompts = {0};
    if (prompts_load(&prompts, config, NULL) == ERR_OK)
        for (size_t i = 0; i < REPORT_EXAMPLES; i++) {
            report_examples_prompt(tokenizer, &prompts, &examples->last[i],
                                   &examples->prompt_last[i]);
            report_examples_prompt(tokenizer, &prompts, &examples->first[i],
                                   &examples->prompt_first[i]);
        }
    prompts_release(&prompts);
}

enum err_code report_examples_load(struct report_examples *examples, const char *run_dir,
                                   const struct run_config *config, uint64_t last_step,
                                   struct err *err)
{
    struct ledger *ledger = NULL;
    *examples = (struct report_examples){0};
    for (size_t i = 0; i < REPORT_EXAMPLES; i++) {
        buf_init(&examples->prompt_last[i], REPORT_EXAMPLE_TEXT);
        buf_init(&examples->prompt_first[i], REPORT_EXAMPLE_TEXT);
    }
    struct tokenizer *tokenizer = tokenizer_load(config->policy, NULL);
    if (!tokenizer)
        return ERR_OK;
    struct report_examples_reader reader = {examples, tokenizer, last_step};
    enum err_code rc = ledger_open_read(&ledger, run_dir, err);
    if (rc == ERR_OK)
        rc = ledger_each(ledger, last_step, report_examples_last, &reader, err);
    if (rc == ERR_OK)
        rc = ledger_each(ledger, 0, report_examples_any, &reader, err);
    if (rc == ERR_OK)
        rc = report_raw_fill(examples, ledger, config, err);
    const enum err_code closed = ledger_close(ledger, rc ? NULL : err);
    if (rc == ERR_OK)
        report_examples_prompts(examples, tokenizer, config);
    tokenizer_free(tokenizer);
    return rc ? rc : closed;
}

void report_examples_release(struct report_examples *examples)
{
    for (size_t i = 0; i < REPORT_EXAMPLES; i++) {
        struct report_example *const all[] = {&examples->last[i], &examples->early[i],
                                              &examples->first[i]};
        for (size_t k = 0; k < 3; k++)
            if (all[k]->held)
                buf_release(&all[k]->text);
        buf_release(&examples->prompt_last[i]);
        buf_release(&examples->prompt_first[i]);
    }
}

/* --- onto the page ------------------------------------------------------------------------ */

static void report_examples_head(const struct run_config *config, struct buf *out)
{
    buf_puts(out, "<div class=\"wide\"><table>\n<thead><tr><th>prompt</th><th>from</th>"
                  "<th>response</th><th class=\"n\">raw reward</th>");
    for (uint32_t s = 0; s < config->scorers; s++) {
        buf_puts(out, "<th class=\"n\">");
        report_page_text(out, config->scorer[s].name);
        buf_puts(out, "</th>");
    }
    buf_puts(out, "</tr></thead>\n<tbody>\n");
}

static void report_examples_row(const struct report_example *example, const struct buf *prompt,
                                const struct run_config *config, struct buf *out)
{
    buf_puts(out, "<tr><td class=\"said\">");
    if (prompt && prompt->len > 0)
        buf_html_text(out, prompt->data, prompt->len);
    else if (prompt)
        buf_printf(out, "number %" PRIu32, example->prompt);
    buf_puts(out, "</td><td class=\"tag\">");
    if (example->reference)
        buf_printf(out, "reference %" PRIu32, example->slot);
    else
        buf_printf(out, "step %" PRIu64 ", slot %" PRIu32, example->step, example->slot);
    buf_puts(out, "</td><td class=\"said\">");
    buf_html_text(out, example->text.data, example->text.len);
    buf_puts(out, "</td>");
    report_page_cell(out, example->raw);
    for (uint32_t s = 0; s < config->scorers; s++)
        report_page_cell(out, s < example->scorers ? example->score[s] : NAN);
    buf_puts(out, "</tr>\n");
}

static bool report_examples_any_held(const struct report_example *example)
{
    for (size_t i = 0; i < REPORT_EXAMPLES; i++)
        if (example[i].held)
            return true;
    return false;
}

void report_examples_write(const struct report_examples *examples,
                           const struct run_config *config, struct buf *out)
{
    if (!report_examples_any_held(examples->last))
        return;
    buf_puts(out, "<h2>Responses</h2>\n<p>The last step's first slots, each after the first "
                  "response that the ledger has to the same prompt.</p>\n");
    report_examples_head(config, out);
    for (size_t i = 0; i < REPORT_EXAMPLES; i++) {
        const struct report_example *early = &examples->early[i], *last = &examples->last[i];
        if (early->held)
            report_examples_row(early, &examples->prompt_last[i], config, out);
        if (last->held)
            report_examples_row(last, early->held ? NULL : &examples->prompt_last[i], config,
                                out);
    }
    buf_puts(out, "</tbody></table></div>\n");
    if (!report_examples_any_held(examples->first) || examples->last[0].step == 0)
        return;
    buf_puts(out, "<p>The same slots of the first step.</p>\n");
    report_examples_head(config, out);
    for (size_t i = 0; i < REPORT_EXAMPLES; i++)
        if (examples->first[i].held)
            report_examples_row(&examples->first[i], &examples->prompt_first[i], config, out);
    buf_puts(out, "</tbody></table></div>\n");
}

/* emit.c -- see emit.h. */
#include "data/emit.h"

#include <assert.h>
#include <math.h>
#include <string.h>

static void emit_text(struct buf *out, struct data_text text)
{
    buf_json_string(out, text.data, text.n);
}

/* Messages without the brackets around them. */
static void emit_turns(struct buf *out, const struct data_turn *turn, size_t turns)
{
    for (size_t i = 0; i < turns; i++) {
        buf_printf(out, "%s{\"role\": \"%s\", \"content\": ", i ? ", " : "",
                   data_role_name(turn[i].role));
        emit_text(out, turn[i].text);
        buf_putc(out, '}');
    }
}

static void emit_messages(struct buf *out, const struct data_turn *turn, size_t turns)
{
    buf_putc(out, '[');
    emit_turns(out, turn, turns);
    buf_putc(out, ']');
}

/* {"prompt": a text where it is one turn, else messages. */
static void emit_prompt(struct buf *out, const struct data_record *record)
{
    buf_puts(out, "{\"prompt\": ");
    if (record->turns == 1)
        emit_text(out, record->turn[0].text);
    else
        emit_messages(out, record->turn, record->turns);
}

static void emit_number(struct buf *out, const char *name, double value)
{
    if (isnan(value))
        return;
    buf_puts(out, ", ");
    buf_json_string(out, name, strlen(name));
    buf_puts(out, ": ");
    buf_json_number(out, value);
}

static const char *emit_pairs(const struct data_record *record, struct buf *out)
{
    if (record->turns == 0)
        return "no prompt";
    if (record->pairs == 0)
        return "no pair";
    for (size_t i = 0; i < record->pairs; i++) {
        const struct data_answer *chosen = &record->answer[record->pair[i].better];
        const struct data_answer *rejected = &record->answer[record->pair[i].worse];
        const bool texts = chosen->turns == 1 && rejected->turns == 1;
        emit_prompt(out, record);
        buf_puts(out, ", \"chosen\": ");
        if (texts)
            emit_text(out, chosen->turn[0].text);
        else
            emit_messages(out, chosen->turn, chosen->turns);
        buf_puts(out, ", \"rejected\": ");
        if (texts)
            emit_text(out, rejected->turn[0].text);
        else
            emit_messages(out, rejected->turn, rejected->turns);
        emit_number(out, "margin", record->pair[i].margin);
        emit_number(out, "score_chosen", chosen->rating);
        emit_number(out, "score_rejected", rejected->rating);
        buf_puts(out, "}\n");
    }
    return NULL;
}

static void emit_harm(struct buf *out, int answer, enum data_harm harm)
{
    if (harm != DATA_HARM_UNKNOWN)
        buf_printf(out, ", \"is_response_%d_safe\": %s", answer,
                   harm == DATA_HARM_SAFE ? "true" : "false");
}

static const char *emit_safe_rlhf(const struct data_record *record, struct buf *out)
{
    if (record->turns == 0)
        return "no prompt";
    if (record->answers != 2 || record->answer[0].turns != 1 || record->answer[1].turns != 1)
        return "not two answers of one turn";
    if (record->pairs + record->safeties == 0)
        return "no pair";
    emit_prompt(out, record);
    buf_puts(out, ", \"response_0\": ");
    emit_text(out, record->answer[0].turn[0].text);
    buf_puts(out, ", \"response_1\": ");
    emit_text(out, record->answer[1].turn[0].text);
    if (record->pairs > 0)
        buf_printf(out, ", \"better_response_id\": %u", record->pair[0].better);
    if (record->safeties > 0)
        buf_printf(out, ", \"safer_response_id\": %u", record->safety[0].better);
    emit_harm(out, 0, record->answer[0].harm);
    emit_harm(out, 1, record->answer[1].harm);
    buf_puts(out, "}\n");
    return NULL;
}

static const char *emit_response(const struct data_record *record, const char *const *attribute,
                                 size_t attributes, struct buf *out)
{
    if (record->turns == 0)
        return "no prompt";
    if (record->answers == 0)
        return "no answer";
    const struct data_answer *answer = &record->answer[data_record_best(record)];
    if (answer->turns > 1 && answer->turn[answer->turns - 2].role != DATA_ROLE_USER)
        return "an answer whose last turn answers none of the user's";
    if (answer->turns == 1) {
        emit_prompt(out, record);
    } else {
        buf_puts(out, "{\"prompt\": [");
        emit_turns(out, record->turn, record->turns);
        buf_puts(out, ", ");
        emit_turns(out, answer->turn, answer->turns - 1);
        buf_putc(out, ']');
    }
    buf_puts(out, ", \"response\": ");
    emit_text(out, answer->turn[answer->turns - 1].text);
    emit_number(out, "rating", answer->rating);
    for (size_t i = 0; i < attributes; i++)
        emit_number(out, attribute[i], answer->attribute[i]);
    buf_puts(out, "}\n");
    return NULL;
}

static const char *emit_prompt_alone(const struct data_record *record, struct buf *out)
{
    if (record->turns == 0)
        return "no prompt";
    emit_prompt(out, record);
    if (record->label)
        buf_printf(out, ", \"label\": %s", record->label);
    buf_puts(out, "}\n");
    return NULL;
}

/* Whether the turns can be told apart again once they are a transcript. */
static const char *emit_hh_check(const struct data_turn *turn, size_t turns)
{
    for (size_t i = 0; i < turns; i++) {
        if (turn[i].role == DATA_ROLE_SYSTEM)
            return "a turn of the system";
        if (strstr(turn[i].text.data, "\n\nHuman:") ||
            strstr(turn[i].text.data, "\n\nAssistant:"))
            return "a text that holds a marker";
    }
    return NULL;
}

static void emit_hh_turns(struct buf *out, const struct data_turn *turn, size_t turns)
{
    for (size_t i = 0; i < turns; i++) {
        buf_printf(out, "\n\n%s: ", turn[i].role == DATA_ROLE_USER ? "Human" : "Assistant");
        buf_append(out, turn[i].text.data, turn[i].text.n);
    }
}

static void emit_hh_side(const struct data_record *record, size_t answer, struct buf *scratch,
                         struct buf *out)
{
    buf_clear(scratch);
    emit_hh_turns(scratch, record->turn, record->turns);
    emit_hh_turns(scratch, record->answer[answer].turn, record->answer[answer].turns);
    buf_json_string(out, scratch->data, scratch->len);
    out->failed = out->failed || scratch->failed;
}

static const char *emit_hh(const struct data_record *record, struct buf *out)
{
    const char *lacks = record->turns == 0   ? "no prompt"
                        : record->pairs == 0 ? "no pair"
                                             : emit_hh_check(record->turn, record->turns);
    for (size_t i = 0; !lacks && i < record->answers; i++)
        lacks = emit_hh_check(record->answer[i].turn, record->answer[i].turns);
    if (lacks)
        return lacks;
    struct buf scratch;
    buf_init(&scratch, out->max_bytes);
    for (size_t i = 0; i < record->pairs; i++) {
        buf_puts(out, "{\"chosen\": ");
        emit_hh_side(record, record->pair[i].better, &scratch, out);
        buf_puts(out, ", \"rejected\": ");
        emit_hh_side(record, record->pair[i].worse, &scratch, out);
        buf_puts(out, "}\n");
    }
    buf_release(&scratch);
    return NULL;
}

const char *emit_names(void)
{
    return "pair, safe_rlhf, response, prompt, hh";
}

bool emit_can(enum format_kind kind)
{
    return kind == FORMAT_pair || kind == FORMAT_safe_rlhf || kind == FORMAT_response ||
           kind == FORMAT_prompt || kind == FORMAT_hh;
}

const char *emit_record(enum format_kind kind, const struct data_record *record,
                        const char *const *attribute, size_t attributes, struct buf *out)
{
    assert(emit_can(kind));
    switch (kind) {
    case FORMAT_pair: return emit_pairs(record, out);
    case FORMAT_safe_rlhf: return emit_safe_rlhf(record, out);
    case FORMAT_response: return emit_response(record, attribute, attributes, out);
    case FORMAT_prompt: return emit_prompt_alone(record, out);
    default: return emit_hh(record, out);
    }
}

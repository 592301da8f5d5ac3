/* encode.c -- see encode.h. */
#include "data/encode.h"

#include <assert.h>
#include <string.h>

#include "data/format.h"
#include "data/lines.h"
#include "engine/tokenizer/tokens.h"

/* One record on its way to ids. */
struct encode_work {
    const struct encode *how;
    const struct data_record *record;
    uint64_t which;
    struct encoded *out;
    struct err *err;
    size_t limit;                            /* tokens of a sequence */
    size_t longest;                          /* tokens of the longest answer, with its end */
    size_t end[DATA_ANSWERS_MAX + 1];        /* of each answer in out->work, from index 1 on */
    struct chat_turn turn[FORMAT_TURNS_MAX]; /* of what is being encoded */
};

int32_t encode_end_id(const struct encode *how)
{
    const int32_t id = how->tokenizer ? chat_end_id(how->chat, how->tokenizer) : -1;
    return id >= 0 || !how->config ? id : how->config->eos;
}

void encoded_release(struct encoded *out)
{
    tokens_release(&out->ids);
    tokens_release(&out->work);
    *out = (struct encoded){0};
}

static bool encode_wants(const struct encode_work *w, size_t answer)
{
    return w->which >> answer & 1;
}

static enum err_code encode_refuse(struct encode_work *w, enum data_bad why, enum err_code rc)
{
    w->out->bad = why;
    return rc;
}

static void encode_turns(struct encode_work *w, const struct data_turn *turn, size_t turns)
{
    assert(turns <= FORMAT_TURNS_MAX);
    for (size_t i = 0; i < turns; i++)
        w->turn[i] = (struct chat_turn){data_role_name(turn[i].role), turn[i].text.data};
}

/* Append an answer, with its end, to out->work. */
static enum err_code encode_answer(struct encode_work *w, const struct data_answer *answer)
{
    struct tokens *out = &w->out->work;
    const size_t before = out->n;
    const struct data_text text = answer->turn[0].text;
    enum err_code rc;
    if (w->record->turns == 0) {
        rc = tokenizer_encode(w->how->tokenizer, text.data, text.n, true, out, w->err);
    } else {
        encode_turns(w, answer->turn, answer->turns);
        rc = chat_encode_answer(w->how->chat, w->how->tokenizer, w->turn, answer->turns, out,
                                w->err);
    }
    if (!rc && w->how->end) {
        const int32_t id = encode_end_id(w->how);
        rc = id < 0 ? err_set(w->err, ERR_VALUE, "the model names no eos token to end it with")
                    : tokens_append(out, &id, 1, w->err);
    }
    if (out->n - before > w->longest)
        w->longest = out->n - before;
    return rc ? encode_refuse(w, DATA_BAD_TOKENS, rc) : ERR_OK;
}

static enum err_code encode_answers(struct encode_work *w)
{
    enum err_code rc = ERR_OK;
    w->out->work.n = 0;
    w->end[0] = 0;
    for (size_t i = 0; !rc && i < w->record->answers; i++) {
        if (encode_wants(w, i))
            rc = encode_answer(w, &w->record->answer[i]);
        w->end[i + 1] = w->out->work.n;
    }
    return rc;
}

/* Encode the prompt, without `cut` turns behind a leading one of the system, to out->ids. */
static enum err_code encode_prompt(struct encode_work *w, size_t cut)
{
    const struct data_record *record = w->record;
    const size_t kept = record->turn[0].role == DATA_ROLE_SYSTEM ? 1 : 0;
    encode_turns(w, record->turn, record->turns);
    memmove(w->turn + kept, w->turn + kept + cut,
            (record->turns - kept - cut) * sizeof *w->turn);
    w->out->ids.n = 0;
    w->out->turns_cut = cut;
    const enum err_code rc = chat_encode(w->how->chat, w->how->tokenizer, w->turn,
                                         record->turns - cut, &w->out->ids, w->err);
    return rc ? encode_refuse(w, DATA_BAD_TOKENS, rc) : ERR_OK;
}

/* The next cut after `cut` that leaves a turn of the user first; 0: there is none. */
static size_t encode_next_cut(const struct data_record *record, size_t cut)
{
    const size_t kept = record->turn[0].role == DATA_ROLE_SYSTEM ? 1 : 0;
    for (cut++; kept + cut < record->turns; cut++)
        if (record->turn[kept + cut].role == DATA_ROLE_USER)
            return cut;
    return 0;
}

/* The prompt as it fits before the longest answer. */
static enum err_code encode_fit(struct encode_work *w)
{
    size_t cut = 0, whole = 0;
    for (;;) {
        const enum err_code rc = encode_prompt(w, cut);
        if (rc)
            return rc;
        const size_t tokens = w->out->ids.n + w->longest;
        if (tokens <= w->limit)
            return ERR_OK;
        whole = whole ? whole : tokens;
        cut = w->how->cut ? encode_next_cut(w->record, cut) : 0;
        if (cut == 0)
            return encode_refuse(
                w, DATA_BAD_LENGTH,
                err_set(w->err, ERR_VALUE, "%zu tokens%s; at most %zu fit", tokens,
                        tokens < whole ? " without the turns before the last" : "", w->limit));
    }
}

/* Put the prompt, which is at the front of out->ids, before each answer that is wanted. */
static enum err_code encode_join(struct encode_work *w)
{
    struct encoded *out = w->out;
    struct tokens *ids = &out->ids;
    enum err_code rc = ERR_OK;
    out->first = ids->n;
    ids->n = 0;
    out->offset[0] = 0;
    for (size_t i = 0; !rc && i < w->record->answers; i++) {
        /* Where this is the first sequence, the prompt is already in its place. */
        for (size_t k = 0; !rc && encode_wants(w, i) && k < out->first; k++) {
            const int32_t id = ids->ids[k];
            rc = tokens_append(ids, &id, 1, w->err);
        }
        if (!rc && w->end[i + 1] > w->end[i])
            rc = tokens_append(ids, out->work.ids + w->end[i], w->end[i + 1] - w->end[i],
                               w->err);
        out->offset[i + 1] = ids->n;
    }
    return rc;
}

static enum err_code encode_check(struct encode_work *w)
{
    const struct encoded *out = w->out;
    for (size_t i = 0; i < out->answers; i++) {
        if (encode_wants(w, i) && out->offset[i] == out->offset[i + 1])
            return encode_refuse(w, DATA_BAD_EMPTY, err_set(w->err, ERR_VALUE, "no tokens"));
        for (size_t k = out->offset[i]; w->how->config && k < out->offset[i + 1]; k++)
            if ((uint32_t)out->ids.ids[k] >= w->how->config->V)
                return encode_refuse(
                    w, DATA_BAD_TOKENS,
                    err_set(w->err, ERR_VALUE, "token %zu is %d, outside the vocabulary of %u",
                            k - out->offset[i], out->ids.ids[k], w->how->config->V));
    }
    return ERR_OK;
}

static enum err_code encode_ids(struct encode_work *w)
{
    struct encoded *out = w->out;
    if (w->record->ids_n > w->limit)
        return encode_refuse(w, DATA_BAD_LENGTH,
                             err_set(w->err, ERR_VALUE, "%zu tokens; at most %zu fit",
                                     w->record->ids_n, w->limit));
    out->first = 0;
    out->answers = 1;
    out->offset[0] = 0;
    out->offset[1] = w->record->ids_n;
    return tokens_append(&out->ids, w->record->ids, w->record->ids_n, w->err);
}

static enum err_code encode_texts(struct encode_work *w)
{
    const struct data_record *record = w->record;
    if (!w->how->tokenizer)
        return encode_refuse(
            w, DATA_BAD_FORMAT,
            err_set(w->err, ERR_FORMAT, "no \"ids\", and no tokenizer for text"));
    if (record->answers == 0)
        return encode_refuse(w, DATA_BAD_EMPTY,
                             err_set(w->err, ERR_FORMAT, "there is a prompt, but no answer"));
    w->out->answers = record->answers;
    enum err_code rc = encode_answers(w);
    if (!rc && record->turns > 0)
        rc = encode_fit(w);
    else if (!rc && w->longest > w->limit)
        rc = encode_refuse(
            w, DATA_BAD_LENGTH,
            err_set(w->err, ERR_VALUE, "%zu tokens; at most %zu fit", w->longest, w->limit));
    return rc ? rc : encode_join(w);
}

enum err_code encode_record(const struct encode *how, const struct data_record *record,
                            uint64_t which, struct encoded *out, struct err *err)
{
    struct err why = {0};
    struct encode_work w = {
        .how = how, .record = record, .which = which, .out = out, .err = &why};
    w.limit =
        how->config && how->config->T < how->tokens_max ? how->config->T : how->tokens_max;
    out->ids.n = out->answers = out->turns_cut = 0;
    enum err_code rc = record->ids_n > 0 ? encode_ids(&w) : encode_texts(&w);
    if (!rc)
        rc = encode_check(&w);
    return rc ? lines_name_error(&why, record->where, err) : ERR_OK;
}

enum err_code encode_or_reject(const struct encode *how, struct reader *reader,
                               const struct data_record *record, uint64_t which,
                               struct encoded *out, bool *usable, struct err *err)
{
    struct err why = {0};
    const enum err_code rc = encode_record(how, record, which, out, &why);
    *usable = rc == ERR_OK;
    if (rc == ERR_VALUE || rc == ERR_FORMAT)
        return reader_reject(reader, out->bad, why.text, err);
    return rc ? err_set(err, rc, "%s", why.text) : ERR_OK;
}

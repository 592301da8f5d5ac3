/* feedback_read.c -- see feedback_read.h. */
#include "offline/feedback_read.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* One file on its way into `feedback`. */
struct feedback_reading {
    struct feedback *feedback;
    const struct encode *how;
    struct reader *reader;
    struct encoded encoded;
    uint32_t seq[DATA_ANSWERS_MAX]; /* of the record's answers; FEEDBACK_NONE: not added yet */
    bool held_out;
};

/* Of the prompt's turns; of a record without a prompt, of its first answer. */
static uint64_t feedback_prompt(const struct data_record *record)
{
    const struct data_turn *turn = record->turns ? record->turn : record->answer[0].turn;
    const size_t turns = record->turns ? record->turns : record->answer[0].turns;
    uint64_t chain[3] = {0};
    for (size_t i = 0; i < turns; i++) {
        chain[1] = turn[i].role;
        chain[2] = hash_xxh3(turn[i].text.data, turn[i].text.n);
        chain[0] = hash_xxh3(chain, sizeof chain);
    }
    return chain[0];
}

static bool feedback_is_rated(const struct data_answer *answer, uint32_t labels)
{
    for (uint32_t j = 0; j < labels; j++)
        if (!isnan(answer->attribute[j]))
            return true;
    return false;
}

static const struct data_pair *feedback_pairs(const struct feedback *f,
                                              const struct data_record *record, size_t *n)
{
    const bool cost = f->kind == FEEDBACK_COST;
    *n = cost ? record->safeties : record->pairs;
    return cost ? record->safety : record->pair;
}

/* The answers that items are made of, a bit each. */
static uint64_t feedback_which(const struct feedback *f, const struct data_record *record)
{
    uint64_t which = 0;
    size_t pairs;
    const struct data_pair *pair = feedback_pairs(f, record, &pairs);
    if (f->kind == FEEDBACK_REGRESSION) {
        for (size_t i = 0; i < record->answers; i++)
            if (feedback_is_rated(&record->answer[i], f->labels))
                which |= (uint64_t)1 << i;
        return which;
    }
    for (size_t i = 0; i < pairs; i++)
        which |= (uint64_t)1 << pair[i].better | (uint64_t)1 << pair[i].worse;
    return which;
}

/* The sequence of an answer, added where an item needs it for the first time. */
static enum err_code feedback_seq(struct feedback_reading *r, size_t answer, uint32_t *seq,
                                  struct err *err)
{
    const struct encoded *e = &r->encoded;
    if (r->seq[answer] == FEEDBACK_NONE) {
        const enum err_code rc =
            feedback_add(r->feedback, e->ids.ids + e->offset[answer],
                         e->offset[answer + 1] - e->offset[answer], &r->seq[answer], err);
        if (rc)
            return rc;
    }
    *seq = r->seq[answer];
    return ERR_OK;
}

static int8_t feedback_sign(enum data_harm harm)
{
    return harm == DATA_HARM_HARMFUL ? 1 : harm == DATA_HARM_SAFE ? -1 : 0;
}

static enum err_code feedback_take_pair(struct feedback_reading *r,
                                        const struct data_record *record,
                                        const struct data_pair *pair, struct err *err)
{
    const bool cost = r->feedback->kind == FEEDBACK_COST;
    const uint8_t side[2] = {cost ? pair->worse : pair->better,
                             cost ? pair->better : pair->worse};
    struct feedback_item item = {
        .held_out = r->held_out, .prompt = feedback_prompt(record), .margin = pair->margin};
    enum err_code rc = ERR_OK;
    for (size_t k = 0; k < 2 && !rc; k++) {
        item.sign[k] = cost ? feedback_sign(record->answer[side[k]].harm) : 0;
        rc = feedback_seq(r, side[k], &item.seq[k], err);
    }
    return rc ? rc : feedback_add_item(r->feedback, &item, NULL, err);
}

static enum err_code feedback_take_rating(struct feedback_reading *r,
                                          const struct data_record *record, size_t answer,
                                          struct err *err)
{
    struct feedback_item item = {.seq = {0, FEEDBACK_NONE},
                                 .held_out = r->held_out,
                                 .prompt = feedback_prompt(record),
                                 .margin = (double)NAN};
    const enum err_code rc = feedback_seq(r, answer, &item.seq[0], err);
    return rc ? rc
              : feedback_add_item(r->feedback, &item, record->answer[answer].attribute, err);
}

/* Whether two texts became the same ids: a pair of them teaches nothing. */
static bool feedback_same(const struct encoded *e, const struct data_pair *pair)
{
    const size_t a = e->offset[pair->better], b = e->offset[pair->worse];
    const size_t n = e->offset[pair->better + 1] - a;
    return n == e->offset[pair->worse + 1] - b &&
           memcmp(e->ids.ids + a, e->ids.ids + b, n * sizeof *e->ids.ids) == 0;
}

static enum err_code feedback_take(struct feedback_reading *r, const struct data_record *record,
                                   uint64_t which, struct err *err)
{
    size_t pairs;
    const struct data_pair *pair = feedback_pairs(r->feedback, record, &pairs);
    enum err_code rc = ERR_OK;
    if (r->feedback->kind == FEEDBACK_REGRESSION) {
        for (size_t i = 0; i < record->answers && !rc; i++)
            if (which >> i & 1)
                rc = feedback_take_rating(r, record, i, err);
        return rc;
    }
    for (size_t i = 0; i < pairs && !rc; i++) {
        if (!feedback_same(&r->encoded, &pair[i])) {
            rc = feedback_take_pair(r, record, &pair[i], err);
            continue;
        }
        struct err why = {0};
        err_set(&why, ERR_VALUE, "%s: the answers compared become the same token ids",
                record->where);
        return reader_reject(r->reader, DATA_BAD_SAME, why.text, err);
    }
    return rc;
}

static enum err_code feedback_read_all(struct feedback_reading *r,
                                       struct feedback_counts *counts, struct err *err)
{
    const struct data_record *record;
    enum err_code rc;
    while (!(rc = reader_next(r->reader, &record, err)) && record) {
        const uint64_t which = feedback_which(r->feedback, record);
        bool usable;
        counts->records++;
        if (which == 0) {
            counts->idle++;
            continue;
        }
        for (size_t i = 0; i < DATA_ANSWERS_MAX; i++)
            r->seq[i] = FEEDBACK_NONE;
        rc = encode_or_reject(r->how, r->reader, record, which, &r->encoded, &usable, err);
        if (!rc && usable) {
            counts->turns_cut += r->encoded.turns_cut;
            rc = feedback_take(r, record, which, err);
        }
        if (rc)
            return rc;
    }
    return rc;
}

enum err_code feedback_read(struct feedback *feedback, const struct encode *how,
                            const struct reader_options *options, const char *path,
                            bool held_out, struct feedback_counts *counts, struct err *err)
{
    assert(feedback->kind != FEEDBACK_REGRESSION || options->attributes == feedback->labels);
    struct feedback_reading r = {.feedback = feedback, .how = how, .held_out = held_out};
    const size_t before = feedback->n;
    struct err why = {0};
    *counts = (struct feedback_counts){0};
    r.reader = reader_open(path, options, &why);
    if (!r.reader)
        return err_set(err, why.code, "%s", why.text);
    enum err_code rc = feedback_read_all(&r, counts, &why);
    counts->bad = reader_counts(r.reader)->bad;
    if (!rc && feedback->n == before)
        rc = err_set(&why, ERR_VALUE,
                     "%s: nothing in its %llu records trains a model of kind %s", path,
                     (unsigned long long)counts->records, feedback_kind_name(feedback->kind));
    reader_close(r.reader);
    encoded_release(&r.encoded);
    return rc ? err_set(err, rc, "%s", why.text) : ERR_OK;
}

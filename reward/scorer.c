/* scorer.c -- see scorer.h. */
#include "reward/scorer.h"

#include <assert.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

struct scorer {
    const struct scorer_kind *kind;
    void *state;
};

static const struct scorer_kind *scorer_kind_of(enum run_scorer_kind kind)
{
    switch (kind) {
    case RUN_SCORER_MODEL: return &scorer_model;
    case RUN_SCORER_REGEX: return &scorer_regex;
    case RUN_SCORER_WORDS: return &scorer_words;
    case RUN_SCORER_LENGTH: return &scorer_length;
    case RUN_SCORER_MATCH: return &scorer_match;
    case RUN_SCORER_HTTP: return &scorer_http;
    case RUN_SCORER_GOLD: return &scorer_gold;
    }
    return NULL;
}

enum err_code scorer_new(struct scorer **out, const struct run_scorer *of,
                         const struct scorer_setup *setup, struct err *err)
{
    struct scorer *scorer = calloc(1, sizeof *scorer);
    if (!scorer)
        return err_set(err, ERR_NOMEM, "scorer \"%s\": out of memory", of->name);
    scorer->kind = scorer_kind_of(of->kind);
    assert(scorer->kind);
    struct err why = {0};
    const enum err_code rc = scorer->kind->open(&scorer->state, of, setup, &why);
    if (rc) {
        scorer_free(scorer);
        return err_set(err, rc, "scorer \"%s\": %s", of->name, why.text);
    }
    *out = scorer;
    return ERR_OK;
}

void scorer_free(struct scorer *scorer)
{
    if (!scorer)
        return;
    scorer->kind->close(scorer->state);
    free(scorer);
}

void scorer_fingerprint(const struct scorer *scorer, struct hash *out)
{
    *out = (struct hash){0};
    if (scorer->kind->fingerprint)
        scorer->kind->fingerprint(scorer->state, out);
}

void scorer_score(struct scorer *scorer, const struct scorer_sample *samples, size_t n,
                  const struct scorer_watch *watch, struct scorer_score *out)
{
    for (size_t i = 0; i < n; i++)
        out[i] = (struct scorer_score){0};
    scorer->kind->score(scorer->state, samples, n, watch, out);
    for (size_t i = 0; i < n; i++)
        assert(out[i].state >= SCORE_OK && out[i].state <= SCORE_TIMEOUT);
}

void scorer_put(struct scorer_score *out, double value)
{
    if (!isfinite(value)) {
        scorer_put_fault(out, SCORE_FAILED, "the score is %g", value);
        return;
    }
    out->state = SCORE_OK;
    out->value = value;
    out->reason[0] = '\0';
}

void scorer_put_fault(struct scorer_score *out, enum score_state state, const char *format, ...)
{
    assert(state == SCORE_FAILED || state == SCORE_TIMEOUT);
    out->state = state;
    out->value = 0.0;
    va_list args;
    va_start(args, format);
    vsnprintf(out->reason, sizeof out->reason, format, args);
    va_end(args);
    for (char *c = out->reason; *c; c++)
        if (*c < 0x20 || *c > 0x7e)
            *c = '?';
}

bool scorer_has_text(const struct scorer_sample *sample, struct scorer_score *out)
{
    if (!sample->text_fault)
        return true;
    scorer_put_fault(out, SCORE_FAILED, "%s: %s", sample->name, sample->text_fault);
    return false;
}

/*
 * scorer_match.c -- is the response the reference answer?
 *
 * White space (space, tab, CR, LF, FF, VT) at either end of both is left out; the rest must be
 * the same bytes.  A label that is a string stands for its content, any other for its compact
 * JSON: 42, true, [1,2].  A prompt without a label cannot be scored: failed, not 0.
 */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "reward/scorer.h"

static enum err_code scorer_match_open(void **state, const struct run_scorer *of,
                                       const struct scorer_setup *setup, struct err *err)
{
    (void)of, (void)setup, (void)err;
    *state = NULL;
    return ERR_OK;
}

static bool scorer_match_is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static struct scorer_text scorer_match_trim(const char *data, size_t n)
{
    while (n > 0 && scorer_match_is_space(data[n - 1]))
        n--;
    while (n > 0 && scorer_match_is_space(data[0])) {
        data++;
        n--;
    }
    return (struct scorer_text){data, n};
}

static bool scorer_match_equal(const struct scorer_sample *sample, const char *label, size_t n)
{
    const struct scorer_text want = scorer_match_trim(label, n);
    const struct scorer_text got = scorer_match_trim(sample->response.data, sample->response.n);
    return got.n == want.n && memcmp(got.data, want.data, got.n) == 0;
}

static void scorer_match_one(const struct scorer_sample *sample, struct scorer_score *out)
{
    if (!scorer_has_text(sample, out))
        return;
    json_t *label = json_loadb(sample->label, strlen(sample->label), JSON_DECODE_ANY, NULL);
    if (!label || json_is_null(label))
        scorer_put_fault(out, SCORE_FAILED, "%s: its prompt has no label to match",
                         sample->name);
    else if (json_is_string(label))
        scorer_put(out, scorer_match_equal(sample, json_string_value(label),
                                           json_string_length(label)));
    else
        scorer_put(out, scorer_match_equal(sample, sample->label, strlen(sample->label)));
    json_decref(label);
}

static void scorer_match_score(void *state, const struct scorer_sample *samples, size_t n,
                               const struct scorer_watch *watch, struct scorer_score *out)
{
    (void)state, (void)watch;
    for (size_t i = 0; i < n; i++)
        scorer_match_one(&samples[i], &out[i]);
}

static void scorer_match_close(void *state)
{
    (void)state;
}

const struct scorer_kind scorer_match = {scorer_match_open, scorer_match_score,
                                         scorer_match_close, NULL};

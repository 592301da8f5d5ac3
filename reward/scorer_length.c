/*
 * scorer_length.c -- is the response of a wanted length?
 *
 *     d     = how far n tokens are outside [min, max]; 0 inside
 *     score = max(0, 1 - d / w),  w = max(1, max - min) tokens
 *
 * So the score falls from 1 to 0 over another width of the window on either side.
 */
#include "reward/scorer.h"

static enum err_code scorer_length_open(void **state, const struct run_scorer *of,
                                        const struct scorer_setup *setup, struct err *err)
{
    (void)setup;
    if (of->min_tokens > of->max_tokens)
        return err_set(err, ERR_USAGE, "min_tokens %u is above max_tokens %u", of->min_tokens,
                       of->max_tokens);
    /* Read only: the kind keeps nothing of its own. */
    *state = (void *)(uintptr_t)of;
    return ERR_OK;
}

static void scorer_length_score(void *state, const struct scorer_sample *samples, size_t n,
                                const struct scorer_watch *watch, struct scorer_score *out)
{
    (void)watch;
    const struct run_scorer *of = state;
    const double min = of->min_tokens, max = of->max_tokens;
    const double width = max - min > 1.0 ? max - min : 1.0;
    for (size_t i = 0; i < n; i++) {
        const double tokens = samples[i].response_tokens;
        const double outside = tokens < min ? min - tokens : tokens > max ? tokens - max : 0.0;
        scorer_put(&out[i], outside < width ? 1.0 - outside / width : 0.0);
    }
}

static void scorer_length_close(void *state)
{
    (void)state;
}

const struct scorer_kind scorer_length = {scorer_length_open, scorer_length_score,
                                          scorer_length_close, NULL};

/*
 * reward_sample.h -- for tests of scorers: a scorer from a config's row, a sample from texts.
 */
#ifndef TESTS_UNIT_REWARD_SAMPLE_H
#define TESTS_UNIT_REWARD_SAMPLE_H

#include <stdio.h>
#include <string.h>

#include "reward/scorer.h"
#include "tests/test.h"

static inline struct scorer_text sample_text(const char *text)
{
    return (struct scorer_text){text, strlen(text)};
}

/* Number i, with this response and label, of `tokens` tokens. */
static inline struct scorer_sample sample_make(size_t i, const char *response,
                                               const char *label, uint32_t tokens)
{
    static const int32_t ids[1] = {0};
    struct scorer_sample sample = {
        .ids = ids,
        .prompt_tokens = 1,
        .response_tokens = tokens,
        .finish = WIRE_FINISH_EOS,
        .prompt = sample_text("<s>say it"),
        .query = sample_text(response),
        .response = sample_text(response),
        .label = label,
    };
    snprintf(sample.name, sizeof sample.name, "slot %zu of step 7", i);
    return sample;
}

static inline struct scorer *sample_scorer(const struct run_scorer *of)
{
    static struct run_config config;
    static const struct scorer_setup setup = {.config = &config};
    struct scorer *scorer = NULL;
    check_ok(scorer_new(&scorer, of, &setup, &err));
    return scorer;
}

/* The score of one sample by a scorer made for it. */
static inline struct scorer_score sample_score(const struct run_scorer *of,
                                               const struct scorer_sample *sample)
{
    const struct scorer_watch watch = {0};
    struct scorer_score score;
    struct scorer *scorer = sample_scorer(of);
    scorer_score(scorer, sample, 1, &watch, &score);
    scorer_free(scorer);
    return score;
}

#endif

/*
 * scorer_gold.c -- the truth of the built-in world about an answer to one of its questions.
 *
 * A prompt that is no question of the world cannot be judged: failed.
 */
#include <stdlib.h>

#include "reward/scorer.h"
#include "world/gold.h"

struct scorer_gold {
    struct gold *gold;
    enum gold_measure measure;
};

static enum gold_measure scorer_gold_measure(enum run_gold measure)
{
    switch (measure) {
#define X(name) \
    case RUN_GOLD_##name: return GOLD_##name;
        RUN_GOLD_MAP(X)
#undef X
    }
    return GOLD_reward;
}

static void scorer_gold_close(void *state)
{
    struct scorer_gold *scorer = state;
    if (!scorer)
        return;
    gold_free(scorer->gold);
    free(scorer);
}

static enum err_code scorer_gold_open(void **state, const struct run_scorer *of,
                                      const struct scorer_setup *setup, struct err *err)
{
    (void)setup;
    struct scorer_gold *scorer = *state = calloc(1, sizeof *scorer);
    if (!scorer)
        return err_set(err, ERR_NOMEM, "out of memory");
    scorer->measure = scorer_gold_measure(of->measure);
    return gold_new(&scorer->gold, err);
}

static void scorer_gold_one(const struct scorer_gold *scorer,
                            const struct scorer_sample *sample, struct scorer_score *out)
{
    if (!scorer_has_text(sample, out))
        return;
    const struct world_item *item = world_find(gold_world(scorer->gold), sample->prompt.data);
    if (!item) {
        scorer_put_fault(out, SCORE_FAILED,
                         "%s: its prompt is no question of the built-in world", sample->name);
        return;
    }
    const struct gold_verdict verdict =
        gold_judge(scorer->gold, item, sample->response.data, sample->response.n);
    scorer_put(out, verdict.value[scorer->measure]);
}

static void scorer_gold_score(void *state, const struct scorer_sample *samples, size_t n,
                              const struct scorer_watch *watch, struct scorer_score *out)
{
    for (size_t i = 0; i < n; i++) {
        scorer_gold_one(state, &samples[i], &out[i]);
        scorer_watch_progress(watch);
    }
}

const struct scorer_kind scorer_gold = {scorer_gold_open, scorer_gold_score, scorer_gold_close,
                                       NULL};

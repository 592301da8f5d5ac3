/*
 * demo_models.h -- the three models of the built-in world, trained from its data sets.
 *
 *     policy   from random weights, on sft.jsonl
 *     reward   from the policy's trunk, on pairs.jsonl; tested on pairs-test.jsonl
 *     cost     from the policy's trunk, on safety.jsonl; tested on safety-test.jsonl
 *
 * Settings are fixed here: sizes at which a whole run takes seconds.  The same data and seed
 * give the same bits, for any number of threads.
 */
#ifndef CLI_DEMO_MODELS_H
#define CLI_DEMO_MODELS_H

#include <stdint.h>

#include "base/err.h"
#include "control/preference.h"
#include "engine/model.h"
#include "engine/pool.h"
#include "engine/tokenizer.h"
#include "offline/feedback.h"

#define DEMO_MODELS_TOKENS 1024 /* of a step and of a micro-batch, at most */

struct demo_models {
    const char *dir;    /* where the world's files are, and where DIR/policy ... are written */
    const char *policy; /* what score models start from; NULL: DIR/policy */
    uint64_t seed, epochs; /* epochs: of the policy */
    struct pool *pool;
    const struct tokenizer *tokenizer;
};

/* Train the policy, write DIR/policy, and hand it over: the caller frees it with model_free. */
enum err_code demo_models_policy(const struct demo_models *demo, struct model **policy,
                                 struct err *err);

/* Train the reward model (FEEDBACK_REWARD, DIR/reward) or the cost model (FEEDBACK_COST,
 * DIR/cost) from DIR/policy, with its numbers beside it. */
enum err_code demo_models_score(const struct demo_models *demo, enum feedback_kind kind,
                                struct err *err);

/* Train a reward model with seed demo->seed on the first `pairs` lines of DIR/pairs.jsonl and
 * measure it on DIR/pairs-test.jsonl; nothing is written. */
enum err_code demo_models_accuracy(const struct demo_models *demo, size_t pairs,
                                   struct preference_accuracy *out, struct err *err);

#endif

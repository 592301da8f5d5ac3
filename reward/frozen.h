/*
 * frozen.h -- a model that is only read: many sequences packed into few passes.
 *
 *     sequences   s0 s1 s2 | s3 s4 | s5 ...        a pack holds at most FROZEN_PACK_TOKENS
 *     pass_forward over each pack, then the head asked for
 *
 * What comes out for a sequence is bitwise the same in whatever pack it stands (pass.h).
 */
#ifndef REWARD_FROZEN_H
#define REWARD_FROZEN_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "engine/model.h"
#include "engine/pool.h"
#include "engine/tokenizer.h"
#include "reward/scorer.h"

#define FROZEN_PACK_TOKENS 2048u /* of a pack, at most; a longer sequence is one by itself */

struct frozen;

/*
 * Load the directory with a pass for sequences of up to `longest` tokens (cut to the model's
 * T).  A score head of several labels needs a combiner.json beside it (engine/combiner.h).
 * ERR_USAGE where that is missing, where its head is not `head` or its vocabulary is not
 * `vocabulary`, each naming the directory; else the errors of model_load and pass_new.
 * The caller frees it with frozen_free.
 */
enum err_code frozen_new(struct frozen **out, const char *dir, enum model_head head,
                         uint32_t vocabulary, enum precision precision, struct pool *pool,
                         uint32_t longest, struct err *err);
void frozen_free(struct frozen *frozen); /* NULL does nothing */

/* Where the directory has a tokenizer.json: is each id below `vocabulary` the token to it that it
 * is to the policy's tokenizer (NULL: not known, and not compared)?  Errors of tokenizer_load and
 * tokenizer_compare. */
enum err_code frozen_check_tokens(const char *dir, const struct tokenizer *policy,
                                  uint32_t vocabulary, struct err *err);

const struct model_config *frozen_config(const struct frozen *frozen);

/* Of the model (model.h) and of what makes one score of its labels. */
void frozen_fingerprint(const struct frozen *frozen, struct hash *out);

/* Tokens of the longest sequence it takes. */
uint32_t frozen_longest(const struct frozen *frozen);

/*
 * Of n samples, each of 1..frozen_longest tokens with ids inside the vocabulary (asserted):
 * the log-probs of the response tokens at this temperature, sample by sample, into logp (their
 * sum of response_tokens).  The caller checks that they are finite.
 */
void frozen_logprobs(struct frozen *frozen, const struct scorer_sample *const *samples,
                     size_t n, float temperature, const struct scorer_watch *watch,
                     float *logp);

/* score[i] = the score head at sample i's last token: its only output, or what combiner.json
 * makes of its outputs. */
void frozen_scores(struct frozen *frozen, const struct scorer_sample *const *samples, size_t n,
                   const struct scorer_watch *watch, double *score);

#endif

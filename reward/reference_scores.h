/*
 * reference_scores.h -- scores of reference responses that were given before, by this run or by
 * another.
 *
 *     key = this program, the tokenizer, reward.scorers, model.precision, what the reward
 *           scorers have read (models, word lists), the item's ids, where its response begins,
 *           its label, the kind of its prompt
 *
 * That is all the scores of the role reward depend on, so those found in the store
 * (reward.reference_store, node/memo.h) are those that would be given, bit for bit.  A service
 * may change its mind: with a reward scorer of the kind http nothing is looked up or kept.
 */
#ifndef REWARD_REFERENCE_SCORES_H
#define REWARD_REFERENCE_SCORES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/hash.h"
#include "node/run_config.h"
#include "reward/scorer.h"

struct reference_scores;

/* Open the config's store for these scorers (config->scorers of them, read during the call
 * alone).  *out is NULL where the config names no store, or a reward scorer is a service.
 * Errors of memo_open; ERR_IO where tokenizer.json or this program cannot be read.  The config
 * is borrowed.  The caller frees it with reference_scores_close. */
enum err_code reference_scores_open(struct reference_scores **out,
                                    const struct run_config *config,
                                    struct scorer *const *scorers, struct err *err);
void reference_scores_close(struct reference_scores *store); /* NULL does nothing */

/* The key of a reference response. */
void reference_scores_key(const struct reference_scores *store,
                          const struct scorer_sample *sample, struct hash *key);

/* Found: value (config->scorers) has the scores of the reward scorers that count for the sample's
 * prompt; those of the others, and everything where nothing is found, are untouched. */
bool reference_scores_find(struct reference_scores *store, const struct hash *key,
                           const struct scorer_sample *sample, double *value);

/* Keep these entries of value, all of them finite scores. */
void reference_scores_keep(struct reference_scores *store, const struct hash *key,
                           const struct scorer_sample *sample, const double *value);

#endif

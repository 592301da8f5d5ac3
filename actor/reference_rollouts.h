/*
 * reference_rollouts.h -- reference responses that were made before, by this run or by another.
 *
 *     key = this program, the policy's config, weights and tokenizer, model.precision,
 *           sampling.*, the seed, the prompt's ids, its number in the data set, m
 *
 * That is all a reference response is a function of (engine/generate.h), so one that is found
 * in the store (reward.reference_store, node/memo.h) is the one that would be made, bit for
 * bit.  A store that fails during the run is said so once and used no more.
 */
#ifndef ACTOR_REFERENCE_ROLLOUTS_H
#define ACTOR_REFERENCE_ROLLOUTS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/hash.h"
#include "engine/model.h"
#include "node/run_config.h"
#include "wire/message.h"

struct reference_rollouts;

/* Open the config's store for what `policy`, which holds version 0, makes; both are read during
 * the call alone.  *out is NULL where the config names no store.  Errors of memo_open; ERR_IO
 * where tokenizer.json or this program cannot be read.  The caller frees it with
 * reference_rollouts_close. */
enum err_code reference_rollouts_open(struct reference_rollouts **out,
                                      const struct run_config *config,
                                      const struct model *policy, struct err *err);
void reference_rollouts_close(struct reference_rollouts *store); /* NULL does nothing */

/* The key of an item of the kind WIRE_WORK_REFERENCE with this prompt (prompt_tokens). */
void reference_rollouts_key(const struct reference_rollouts *store,
                            const struct wire_item *item, const int32_t *prompt,
                            struct hash *key);

/* Found: item->response_tokens and finish are set, ids and logp (room for max_new_tokens)
 * filled.  Not found: nothing is touched. */
bool reference_rollouts_find(struct reference_rollouts *store, const struct hash *key,
                             struct wire_item *item, int32_t *ids, float *logp);

/* Keep what was made: item->response_tokens >= 1 of them. */
void reference_rollouts_keep(struct reference_rollouts *store, const struct hash *key,
                             const struct wire_item *item, const int32_t *ids,
                             const float *logp);

#endif

/*
 * reference_model.h -- the model that KL is measured from: model.reference, and where
 * kl.reference_every renews it, versions of the policy, pulled from a learner when a lease asks
 * for them.
 *
 * Of the policy's versions the last REFERENCE_MODEL_KEPT that were asked for are kept: while a
 * renewal passes through, leases ask for two in turn.  Their models are made when the first is
 * asked for.
 */
#ifndef REWARD_REFERENCE_MODEL_H
#define REWARD_REFERENCE_MODEL_H

#include <stdint.h>

#include "base/err.h"
#include "node/run_config.h"
#include "reward/frozen.h"
#include "wire/socket.h"

#define REFERENCE_MODEL_KEPT 2u

struct reference_model;

/* Load model.reference, for a policy of this vocabulary and sequences of up to `longest` tokens.
 * config and pool are borrowed, and so is the context: NULL where nothing is ever renewed.
 * Errors of frozen_new; ERR_USAGE where it takes fewer tokens.  The caller frees it with
 * reference_model_free. */
enum err_code reference_model_new(struct reference_model **out, const struct run_config *config,
                                  struct wire_context *context, struct pool *pool,
                                  uint32_t vocabulary, uint32_t longest, struct err *err);
void reference_model_free(struct reference_model *model); /* NULL does nothing */

/* model.reference itself. */
const struct frozen *reference_model_first(const struct reference_model *model);

/* *out is the model of this version, valid until the next call; 0: model.reference.  Another's
 * weights are pulled from `endpoint` where they are not here, which blocks.  Errors of
 * weights_pull and frozen_new. */
enum err_code reference_model_use(struct reference_model *model, uint64_t version,
                                  const char *endpoint, const struct scorer_watch *watch,
                                  struct frozen **out, struct err *err);

#endif

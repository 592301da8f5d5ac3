/*
 * past.h -- the older versions that a learner keeps beside its own: those that rollouts may be
 * asked of, and those that KL is measured from (control/kl_reference.h).
 *
 *     history        versions v, v-1 .. v-lag, newest first     each with the version that its
 *                                                               KL is measured from
 *     kl_reference   the weights of these, but for version 0,
 *                    which whoever scores has of its own
 *
 * Both are served to whoever asks, and both go into every checkpoint: what a rollout is measured
 * from is there wherever the run goes on from, and a version that is gone back to brings its own
 * reference along.
 */
#ifndef LEARNER_PAST_H
#define LEARNER_PAST_H

#include "base/json.h"
#include "learner/learner.h"

/* history[0] is new: which version it is measured from; keep and serve that, and no other that
 * nothing is measured from any more.  ERR_NOMEM. */
enum err_code past_advance(struct learner *learner, struct err *err);

/* Serve the references that are kept. */
enum err_code past_serve(struct learner *learner, struct err *err);
void past_release(struct learner *learner);

/*
 * In a checkpoint: weights-vNNNNNNNN.f32 of the history but its first, kl-reference-vNNNNNNNN.f32
 * of the references, and their versions in STATE.json.  Errors name the file.
 */
enum err_code past_write(const struct learner *learner, const char *dir, struct err *err);
void past_describe(const struct learner *learner, struct buf *state);
enum err_code past_load(struct learner *learner, const char *dir, const json_t *state,
                        const char *where, struct err *err);
/* What the version in this checkpoint is measured from becomes what the next one inherits. */
enum err_code past_load_reference(struct learner *learner, const char *dir, const json_t *state,
                                  const char *where, struct err *err);

#endif

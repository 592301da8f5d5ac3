/*
 * checkpoint.h -- the learner's whole state on disk, published so that a crash cannot tear it.
 *
 *     RUN/checkpoints/v00000010/
 *         policy/  critic/  cost_critic/    Hugging Face directories, usable by themselves
 *         policy.moments.f32      AdamW's m, then v, little-endian float32, the model's layout
 *         critic.moments.f32  cost_critic.moments.f32
 *         weights-v00000009.f32   older versions that rollouts may still be asked of
 *         STATE.json              version, updates done, the config's hash, what its step told
 *         MANIFEST.json           size and BLAKE2b-256 of each file; written last
 *
 * Written under .tmp-LEARNER, synced, then renamed.  A reader trusts nothing without a MANIFEST
 * that fits.  At start the newest that fits is taken, this learner's remains are removed.
 */
#ifndef LEARNER_CHECKPOINT_H
#define LEARNER_CHECKPOINT_H

#include "learner/learner.h"

/* Write the learner's present version; then remove the oldest beyond checkpoint.keep that no
 * rollback can need.  ERR_IO names the file; nothing half-written stays under a final name. */
enum err_code checkpoint_write(struct learner *learner, struct err *err);

/* Fill the learner (models already laid out) from the newest checkpoint that is whole and of a
 * version before `below`; *found says whether there was one: else it is as it was, with the
 * models of the run.  Each one passed over is logged with the reason. */
enum err_code checkpoint_read_newest(struct learner *learner, uint64_t below, bool *found,
                                     struct err *err);

/* Fill policy, critics and optimizer, and nothing else of the learner, from the checkpoint of
 * `version`.  ERR_IO or ERR_FORMAT naming it where it is not there or not whole, and then nothing
 * has changed while learner->dirty is false. */
enum err_code checkpoint_read_state(struct learner *learner, uint64_t version, struct err *err);

/* Publish the policy alone, with its tokenizer, as RUN/final. */
enum err_code checkpoint_write_final(struct learner *learner, struct err *err);

#endif

/*
 * learner.h -- the learner: train leases in, new policy versions out.
 *
 *     TRAIN_LEASE step s  -->  values, advantages, PPO updates  -->  version s + 1: served to
 *     actors, kept in a checkpoint when asked  -->  TRAIN_RESULT with the hash of its weights
 *
 * Everything that decides the weights is in the lease, the config and the state a checkpoint
 * holds; so the same steps give the same bits, whoever asks again, after whatever crash.
 *
 *  lease for step s, learner at version v (one that goes back restores where others train)
 *      s == v      train
 *      s == v - 1  the result of before is sent again, after what the lease asks for besides
 *      other       LEASE_FAILED: the coordinator follows the version in HELLO
 *
 * Several learners may be told to train a step together (learner/group.h): each makes all of
 * it its own, and any of them can go on alone.  Rank 0 writes the checkpoints.
 *
 * A loss or a gradient that is not finite is never applied: LEASE_FAILED, and the process ends
 * when an update of the same step was already made (a restart begins at the last checkpoint).
 * In a group it goes back to before the step instead.
 */
#ifndef LEARNER_LEARNER_H
#define LEARNER_LEARNER_H

#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "control/kl_reference.h"
#include "control/ppo.h"
#include "engine/pool.h"
#include "learner/exchange.h"
#include "learner/trainable.h"
#include "node/run_config.h"
#include "node/weights.h"
#include "node/worker.h"
#include "wire/socket.h"

#define LEARNER_HISTORY_MAX 16 /* versions kept: lag + 1 */
#define LEARNER_VERIFY_ROWS 8  /* rollouts a step whose log-probs are computed again */

/* Of a micro-batch: of policy and critic together, and of the cost critic. */
struct train_stats {
    struct ppo_stats ppo, cost;
};

/* A past version of the policy: actors may still ask for it. */
struct learner_version {
    uint64_t version;
    float *w;              /* (params) */
    uint64_t kl_reference; /* the version that its KL is measured from; 0: model.reference */
};

/* A version that KL is measured from: reward processes may ask for it.  learner/past.h. */
struct learner_weights {
    uint64_t version; /* 0: none */
    float *w;         /* (params); NULL: none was kept here yet */
    bool served;      /* the weights server has it */
};
#define LEARNER_KL_REFERENCES_MAX (KL_REFERENCES_MAX + 1) /* and one that is gone back to */

/* The group of the step under way: learner/group.h. */
struct learner_group {
    struct exchange *exchange; /* NULL: this learner is the run's only one */
    uint32_t ranks, rank;      /* 1 and 0: it trains alone */
    struct worker *worker;     /* borrowed for the step */
};

struct learner {
    char name[WIRE_NAME_MAX];
    const struct run_config *config; /* borrowed */
    struct wire_context *context;    /* borrowed */
    struct pool *pool;
    struct trainable policy, critic, cost_critic;
    bool has_critic;
    bool has_cost, has_cost_critic; /* leases carry costs; a critic learns them */
    uint64_t version;               /* of policy.model->w */
    struct hash weights_hash;
    struct learner_version history[LEARNER_HISTORY_MAX]; /* newest first; [0] is `version` */
    uint32_t history_n, history_max;
    struct learner_weights kl_reference[LEARNER_KL_REFERENCES_MAX];
    uint64_t inherited; /* what the next version is measured from, if it is no new reference */
    struct model *checker; /* past weights, to compute a rollout's log-probs again */
    struct pass *checker_pass;
    struct weights_server *server;
    struct learner_group group;
    struct ppo_params ppo;
    struct arena step;   /* of one step; reset after it */
    size_t tokens_max;   /* of a pass */
    uint64_t checkpoint; /* newest durable checkpoint's version */
    struct wire_stat stats[WIRE_STATS_MAX];
    uint32_t stats_n;
    bool dirty; /* an update of the step under way was applied */
    uint64_t pinned[2]; /* checkpoints that rollbacks need, as the last lease said */
    uint64_t below; /* > 0: the checkpoint of this version, which a step goes back to, cannot be
                       had; from one before it the learner comes there again, and makes it */
};

#define LEARNER_NEWEST UINT64_MAX

/* Load the newest whole checkpoint in run.dir that is of a version before `below`, or
 * model.policy and the critic; bind the weights server at `bulk`.  `name` is unique in the run.
 * The caller frees it with learner_free.  config and context are borrowed. */
enum err_code learner_new(struct learner **learner, const struct run_config *config,
                          const char *name, uint64_t below, struct wire_context *context,
                          const char *bulk, struct err *err);

/* Close its sockets: then the context can be freed, and after it the learner, whose memory may
 * be on its way to another until then.  learner_free does it where it was not done. */
void learner_disconnect(struct learner *learner);
void learner_free(struct learner *learner);

/* A worker_compute; ctx is the struct learner.  After an error with learner->below > 0 a new one
 * from before that version can go on. */
enum err_code learner_compute(struct worker *worker, void *ctx, struct err *err);

/* Train on the lease: learner->policy moves to version step + 1, and stats are filled.  The
 * version itself is advanced by the caller.  ERR_VALUE where something is not finite, or the
 * lease does not fit the model; learner->dirty says whether weights have changed.
 * (learner/train.c) */
enum err_code learner_train(struct learner *learner, const struct message *lease,
                            struct worker *worker, struct err *err);

/* Policy, critics and optimizer become what they were at version `base`: from its checkpoint, or
 * for version 0 the models the run began with.  The learner's own version stays.  An error names
 * the file; learner->dirty says whether weights have changed, learner->below that no checkpoint
 * of `base` is whole.  (learner/restore.c) */
enum err_code learner_restore(struct learner *learner, uint64_t base, struct err *err);

/* The models the config names, as version 0 has them: a new one, or NULL. */
struct model *learner_load_policy(const struct run_config *config, struct err *err);
struct model *learner_load_critic(const struct run_config *config, struct err *err);
struct model *learner_load_cost_critic(const struct run_config *config, struct err *err);

/* Count a statistic for TRAIN_RESULT. */
void learner_stat(struct learner *learner, const char *name, double value);

#endif

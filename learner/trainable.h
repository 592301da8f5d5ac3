/*
 * trainable.h -- a model that learns: weights, a training pass, gradients, AdamW.
 *
 * The learner has the policy, with GAE a critic, and where costs train a cost critic.  The gradient of an optimizer update is the sum over
 * micro-batches along the tree of control/summation.h:
 *
 *     trainable_begin(t, micros)
 *     for each micro-batch in order:
 *         float *grad = trainable_leaf(t)        zeroed
 *         ... pass_forward, pass_backward_begin(t->pass, grad), ..., pass_backward_end
 *         trainable_leaf_done(t)
 *     trainable_update(t, lr, &norm)
 *
 * Allocates nothing after trainable_init.
 */
#ifndef LEARNER_TRAINABLE_H
#define LEARNER_TRAINABLE_H

#include "base/err.h"
#include "control/summation.h"
#include "engine/adamw.h"
#include "engine/model.h"
#include "engine/pass.h"
#include "engine/pool.h"

struct trainable {
    const char *what;    /* "policy", "cost critic": for errors */
    struct model *model; /* owned */
    struct pass *pass;   /* owned */
    struct adamw adamw;
    struct adamw_params params;
    double grad_clip;   /* 0: off */
    struct pool *pool;  /* borrowed */
    struct arena arena; /* the gradient buffers */
    float *grad[SUMMATION_LEVELS];
    uint32_t grads;
    struct summation sum;
};

/* Takes ownership of `model`, also on failure.  micros_max: the most micro-batches of an
 * update. The caller releases it with trainable_release. */
enum err_code trainable_init(struct trainable *t, const char *what, struct model *model,
                             struct pool *pool, size_t tokens_max, uint32_t micros_max,
                             const struct adamw_params *params, double grad_clip,
                             struct err *err);
void trainable_release(struct trainable *t);

void trainable_begin(struct trainable *t, uint32_t micros);
float *trainable_leaf(struct trainable *t);
void trainable_leaf_done(struct trainable *t);

/* Clip to the global norm, update the weights.  ERR_VALUE where the norm is not finite: nothing
 * has changed then. */
enum err_code trainable_update(struct trainable *t, double lr, double *norm, struct err *err);

#endif

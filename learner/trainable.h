/*
 * trainable.h -- a model that learns: weights, a training pass, gradients, AdamW.
 *
 * The learner has the policy, with GAE a critic, and where costs train a cost critic.  The
 * gradient of an optimizer update is the sum over micro-batches along the tree of
 * control/summation.h, in the precision of its sums, by one learner or by the ranks of a group:
 *
 *     trainable_begin(t, micros, ranks, rank)
 *     for each micro-batch of this rank, in order:
 *         trainable_sum_begin(t, exchange)       before the last one's; alone: nothing to do
 *         float *grad = trainable_leaf(t)        anything: to be written
 *         ... pass_forward, pass_backward_begin(t->pass, grad, GEMM_SET), ..., pass_backward_end
 *             trainable_leaf_ready(t, first)     in it, as numbers become final, or never
 *         trainable_leaf_done(t)
 *         ... what else there is to compute
 *     trainable_sum_end(t)
 *     trainable_update(t, lr, &norm)
 *
 * A group's step may fail after some of its updates: trainable_keep before it,
 * trainable_restore after it.
 *
 * Memory: 4 x 4P bytes of weights, moments and a gradient, and one gradient more a level of the
 * tree; of a group, one more for each node held, and 3 x 4P for what is kept.
 *
 * Allocates nothing after trainable_init.
 */
#ifndef LEARNER_TRAINABLE_H
#define LEARNER_TRAINABLE_H

#include "base/err.h"
#include "control/summation.h"
#include "engine/adamw.h"
#include "engine/gradient.h"
#include "engine/model.h"
#include "engine/pass.h"
#include "engine/pool.h"
#include "learner/exchange.h"

#define TRAINABLE_GRADS_MAX (3u * SUMMATION_LEVELS + 1u) /* nodes held, a tree, the sum */

/* What the trainables of a learner have in common. */
struct trainable_setup {
    struct pool *pool;        /* borrowed */
    enum precision precision; /* of its products */
    enum precision gradients; /* of its sums: engine/gradient.h */
    size_t tokens_max;        /* of a pass */
    uint32_t micros_max;      /* the most micro-batches of an update */
    bool grouped;             /* it may be one of several ranks */
    struct adamw_params params;
    double grad_clip; /* 0: off */
};

struct trainable {
    const char *what;    /* "policy", "cost critic": for errors */
    struct model *model; /* owned */
    struct pass *pass;   /* owned */
    struct adamw adamw;
    struct trainable_setup setup;
    struct arena arena; /* the gradient buffers, and what is kept */
    float *grad[TRAINABLE_GRADS_MAX];
    uint32_t grads;
    float *kept_w, *kept_m, *kept_v; /* (P); NULL where never grouped */
    uint64_t kept_steps;

    /* of the update under way */
    uint32_t micros, ranks, nodes;
    uint32_t size[EXCHANGE_NODES_MAX]; /* leaves of each node of this rank */
    void *node[EXCHANGE_NODES_MAX];    /* those that are summed; of a group, packed */
    uint32_t done;                     /* of them */
    struct summation sum;              /* of the next */
    size_t ready;                      /* numbers of the leaf from here on are in that sum */
    float *buffer[SUMMATION_LEVELS];   /* its buffers, as they are needed */
    struct exchange *exchange;         /* that sums it now, or NULL */
    float *whole;                      /* the gradient, after trainable_sum_end */
    bool taken[TRAINABLE_GRADS_MAX];
};

/* Takes ownership of `model`, also on failure.  The caller releases it with
 * trainable_release. */
enum err_code trainable_init(struct trainable *t, const char *what, struct model *model,
                             const struct trainable_setup *setup, struct err *err);
void trainable_release(struct trainable *t);

/* An update of `micros` micro-batches, of which rank `rank` of `ranks` has those from
 * summation_first(micros, ranks, rank) on, perhaps none. */
void trainable_begin(struct trainable *t, uint32_t micros, uint32_t ranks, uint32_t rank);
float *trainable_leaf(struct trainable *t);

/* Numbers of the leaf from `first` on, which falls, are final: add them along the tree, and let the
 * exchange have them where it waits for them. */
void trainable_leaf_ready(struct trainable *t, size_t first);
void trainable_leaf_done(struct trainable *t); /* all are */

/* The whole gradient, from this rank's nodes and the others', while the caller computes: at most
 * the last leaf is still to come when it begins.  The end, when that is done, blocks.  `exchange`
 * NULL: there are no others.  Errors of exchange_sum. */
enum err_code trainable_sum_begin(struct trainable *t, struct exchange *exchange,
                                  struct err *err);
enum err_code trainable_sum_end(struct trainable *t, struct err *err);

/* Clip to the global norm, update the weights.  ERR_VALUE where the norm is not finite: nothing
 * has changed then. */
enum err_code trainable_update(struct trainable *t, double lr, double *norm, struct err *err);

/* Remember weights and optimizer, and go back to them; for one that may be grouped. */
void trainable_keep(struct trainable *t);
void trainable_restore(struct trainable *t);

#endif

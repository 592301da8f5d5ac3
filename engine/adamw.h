/*
 * adamw.h -- AdamW with decoupled weight decay, and the learning-rate schedule.
 *
 *     m = b1 m + (1-b1) g          v = b2 v + (1-b2) g^2
 *     w -= lr ( m/(1-b1^t) / (sqrt(v/(1-b2^t)) + eps) + decay w )
 *
 * (Loshchilov and Hutter, arXiv:1711.05101; as torch.optim.AdamW.)  t counts from 1.
 */
#ifndef ENGINE_ADAMW_H
#define ENGINE_ADAMW_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "engine/model.h"
#include "engine/pool.h"

struct adamw_params {
    float beta1, beta2, eps;
    float weight_decay; /* on tensors whose `decay` is set */
};

struct adamw {
    float *m, *v;      /* (params), the model's layout */
    size_t params;
    uint64_t steps;    /* updates done */
    struct arena arena;
};

/* Moments of zero, no step done.  ERR_NOMEM. */
enum err_code adamw_init(struct adamw *adamw, const struct model *model, struct err *err);
void adamw_release(struct adamw *adamw);

/* sqrt(sum grad^2), summed in double in a fixed order (independent of threads). */
double adamw_grad_norm(struct pool *pool, const float *grad, size_t n);

/* One update of model->w (and its generation), with grad scaled by `scale` on the way (the
 * global-norm clip).  lr is this step's. */
void adamw_update(struct adamw *adamw, const struct adamw_params *params, struct model *model,
                  struct pool *pool, const float *grad, float scale, float lr);

#define SCHEDULE_MAP(X) X(constant) X(linear) X(cosine)
enum schedule_kind {
#define X(name) SCHEDULE_##name,
    SCHEDULE_MAP(X)
#undef X
};

/* Learning rate at update t = 0 .. total-1: linear warm-up over `warmup` updates from
 * peak/warmup, then constant, or linear/cosine decay to `floor` (a fraction of peak). */
double schedule_lr(enum schedule_kind kind, double peak, double floor, uint64_t warmup,
                   uint64_t total, uint64_t t);

#endif

/* trainable.c -- see trainable.h. */
#include "learner/trainable.h"

#include <assert.h>
#include <math.h>
#include <string.h>

enum err_code trainable_init(struct trainable *t, const char *what, struct model *model,
                             struct pool *pool, size_t tokens_max, uint32_t micros_max,
                             const struct adamw_params *params, double grad_clip,
                             struct err *err)
{
    *t = (struct trainable){
        .what = what, .model = model, .pool = pool, .params = *params, .grad_clip = grad_clip};
    enum err_code rc = adamw_init(&t->adamw, model, err);
    if (rc)
        goto out;
    t->pass = pass_new(model, pool, tokens_max, true, err);
    if (!t->pass) {
        rc = err ? err->code : ERR_NOMEM;
        goto out;
    }
    t->grads = summation_buffers(micros_max);
    const size_t each = model_bytes(model) + ARENA_ALIGN;
    rc = arena_init(&t->arena, t->grads * each, "gradients", err);
    for (uint32_t i = 0; i < t->grads && rc == ERR_OK; i++) {
        t->grad[i] = arena_alloc(&t->arena, model_bytes(model));
        assert(t->grad[i]); /* the arena was sized for them */
    }
out:
    if (rc)
        trainable_release(t);
    return rc;
}

void trainable_release(struct trainable *t)
{
    pass_free(t->pass);
    adamw_release(&t->adamw);
    model_free(t->model);
    arena_release(&t->arena);
    *t = (struct trainable){0};
}

void trainable_begin(struct trainable *t, uint32_t micros)
{
    assert(summation_buffers(micros) <= t->grads);
    summation_init(&t->sum, micros);
}

float *trainable_leaf(struct trainable *t)
{
    float *grad = t->grad[summation_work(&t->sum)];
    memset(grad, 0, model_bytes(t->model));
    return grad;
}

void trainable_leaf_done(struct trainable *t)
{
    struct summation_merge merges[SUMMATION_LEVELS];
    const uint32_t n = summation_commit(&t->sum, 0, merges);
    for (uint32_t i = 0; i < n; i++)
        summation_add(t->grad[merges[i].into], t->grad[merges[i].from], t->model->params);
}

enum err_code trainable_update(struct trainable *t, double lr, double *norm, struct err *err)
{
    const float *grad = t->grad[summation_result(&t->sum)];
    *norm = adamw_grad_norm(t->pool, grad, t->model->params);
    if (!isfinite(*norm))
        return err_set(err, ERR_VALUE, "the gradient of the %s is not finite", t->what);
    const double scale = t->grad_clip > 0 && *norm > t->grad_clip ? t->grad_clip / *norm : 1.0;
    adamw_update(&t->adamw, &t->params, t->model, t->pool, grad, (float)scale, (float)lr);
    return ERR_OK;
}

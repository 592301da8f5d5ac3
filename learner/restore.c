/* restore.c -- back to an older version: see learner_restore in learner.h. */
#include <string.h>

#include "learner/checkpoint.h"
#include "learner/learner.h"

/* As at the run's start.  Takes ownership of `model`; NULL: it could not be loaded. */
static enum err_code restore_fresh(struct learner *l, struct trainable *t, struct model *model,
                                   struct err *err)
{
    enum err_code rc = ERR_OK;
    if (!model)
        return err->code;
    if (model->params != t->model->params) {
        rc = err_set(err, ERR_FORMAT, "the %s has %zu parameters now, not %zu", t->what,
                     model->params, t->model->params);
    } else {
        l->dirty = true;
        memcpy(t->model->w, model->w, model_bytes(model));
        t->model->generation += 1;
        memset(t->adamw.m, 0, model_bytes(model));
        memset(t->adamw.v, 0, model_bytes(model));
        t->adamw.steps = 0;
    }
    model_free(model);
    return rc;
}

static enum err_code restore_start(struct learner *l, struct err *err)
{
    const struct run_config *c = l->config;
    enum err_code rc = restore_fresh(l, &l->policy, learner_load_policy(c, err), err);
    if (rc == ERR_OK && l->has_critic)
        rc = restore_fresh(l, &l->critic, learner_load_critic(c, err), err);
    if (rc == ERR_OK && l->has_cost_critic)
        rc = restore_fresh(l, &l->cost_critic, learner_load_cost_critic(c, err), err);
    return rc;
}

enum err_code learner_restore(struct learner *l, uint64_t base, struct err *err)
{
    struct err why = {0};
    const enum err_code rc =
        base > 0 ? checkpoint_read_state(l, base, &why) : restore_start(l, &why);
    if (base > 0 && (rc == ERR_IO || rc == ERR_FORMAT))
        l->below = base;
    if (rc)
        return err_set(err, rc, "cannot go back to version %llu: %.200s",
                       (unsigned long long)base, why.text);
    return ERR_OK;
}

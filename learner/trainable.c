/* trainable.c -- see trainable.h. */
#include "learner/trainable.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* Buffers for one tree; in a group for nodes held beside it, and the sum. */
static uint32_t trainable_buffers(const struct trainable_setup *setup)
{
    const uint32_t tree = summation_buffers(setup->micros_max);
    return setup->grouped ? 3 * tree + 1 : tree;
}

/* Pages cost memory when first touched: a buffer that is never needed costs none. */
static enum err_code trainable_init_memory(struct trainable *t, struct err *err)
{
    t->grads = trainable_buffers(&t->setup);
    const uint32_t kept = t->setup.grouped ? 3 : 0;
    const size_t bytes = model_bytes(t->model);
    const enum err_code rc =
        arena_init(&t->arena, (t->grads + kept) * (bytes + ARENA_ALIGN), "gradients", err);
    if (rc)
        return rc;
    arena_prefer_huge(&t->arena);
    for (uint32_t i = 0; i < t->grads; i++)
        t->grad[i] = arena_alloc(&t->arena, bytes);
    if (kept) {
        t->kept_w = arena_alloc(&t->arena, bytes);
        t->kept_m = arena_alloc(&t->arena, bytes);
        t->kept_v = arena_alloc(&t->arena, bytes);
        assert(t->kept_v); /* the arena was sized for them */
    }
    return ERR_OK;
}

enum err_code trainable_init(struct trainable *t, const char *what, struct model *model,
                             const struct trainable_setup *setup, struct err *err)
{
    *t = (struct trainable){.what = what, .model = model, .setup = *setup};
    enum err_code rc = adamw_init(&t->adamw, model, err);
    if (rc)
        goto out;
    model->precision = setup->precision;
    t->pass = pass_new(model, setup->pool, setup->tokens_max, true, err);
    if (!t->pass) {
        rc = err ? err->code : ERR_NOMEM;
        goto out;
    }
    rc = trainable_init_memory(t, err);
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

static float *trainable_take(struct trainable *t)
{
    uint32_t i = 0;
    while (i < t->grads && t->taken[i])
        i++;
    assert(i < t->grads);
    t->taken[i] = true;
    return t->grad[i];
}

static void trainable_give_back(struct trainable *t, const float *buffer)
{
    for (uint32_t i = 0; i < t->grads; i++)
        if (t->grad[i] == buffer)
            t->taken[i] = false;
}

static void trainable_begin_node(struct trainable *t)
{
    memset(t->buffer, 0, sizeof t->buffer);
    if (t->done < t->nodes)
        summation_init(&t->sum, t->size[t->done]);
}

void trainable_begin(struct trainable *t, uint32_t micros, uint32_t ranks, uint32_t rank)
{
    assert(micros <= t->setup.micros_max && (ranks == 1 || t->setup.grouped));
    memset(t->taken, 0, sizeof t->taken);
    t->micros = micros;
    t->ranks = ranks;
    t->done = 0;
    t->ready = t->model->params;
    t->exchange = NULL;
    t->whole = NULL;
    t->nodes = 1;
    t->size[0] = micros; /* alone, the whole tree is one node */
    if (ranks > 1) {
        t->nodes = exchange_nodes(micros, ranks, rank, t->size);
        for (uint32_t i = 0; i < t->nodes; i++)
            t->size[i] = (uint32_t)1 << t->size[i];
    }
    trainable_begin_node(t);
}

static float *trainable_work(struct trainable *t)
{
    float **buffer = &t->buffer[summation_work(&t->sum)];
    if (!*buffer)
        *buffer = trainable_take(t);
    return *buffer;
}

float *trainable_leaf(struct trainable *t)
{
    assert(t->done < t->nodes);
    return trainable_work(t);
}

/* Where the numbers of the node that is summed in `result` lie. */
static void *trainable_node(const struct trainable *t, float *result)
{
    return t->ranks > 1 ? gradient_packed(t->setup.gradients, result, t->model->params)
                        : result;
}

/* The node is summed: of its buffers only the result is held. */
static void trainable_node_done(struct trainable *t)
{
    float *result = t->buffer[summation_result(&t->sum)];
    for (uint32_t i = 0; i < SUMMATION_LEVELS; i++)
        if (t->buffer[i] && t->buffer[i] != result)
            trainable_give_back(t, t->buffer[i]);
    t->node[t->done++] = trainable_node(t, result);
    trainable_begin_node(t);
}

/* The additions that the leaf brings, of some of its numbers: each is by itself, so the bits are
 * those of all at once. */
static void trainable_add(struct trainable *t, size_t first, size_t end)
{
    const enum precision kind = t->setup.gradients;
    struct summation sum = t->sum;
    struct summation_merge merges[SUMMATION_LEVELS];
    gradient_round(kind, t->buffer[summation_work(&sum)] + first, end - first);
    const uint32_t n = summation_commit(&sum, 0, merges);
    for (uint32_t i = 0; i < n; i++)
        gradient_add(kind, t->buffer[merges[i].into] + first, t->buffer[merges[i].from] + first,
                     end - first);
    if (sum.done == sum.leaves && t->ranks > 1)
        gradient_pack(kind, t->buffer[summation_result(&sum)], t->model->params, first, end);
}

void trainable_leaf_ready(struct trainable *t, size_t first)
{
    assert(t->done < t->nodes && first <= t->ready);
    if (first < t->ready)
        trainable_add(t, first, t->ready);
    t->ready = first;
    if (t->exchange)
        exchange_sum_ready(t->exchange, first);
}

void trainable_leaf_done(struct trainable *t)
{
    struct summation_merge merges[SUMMATION_LEVELS];
    trainable_leaf_ready(t, 0);
    summation_commit(&t->sum, 0, merges); /* done */
    t->ready = t->model->params;
    if (t->sum.done == t->sum.leaves)
        trainable_node_done(t);
}

enum err_code trainable_sum_begin(struct trainable *t, struct exchange *exchange,
                                  struct err *err)
{
    const size_t P = t->model->params;
    const bool done = t->done == t->nodes;
    assert(done || (t->done + 1 == t->nodes && t->sum.done + 1 == t->sum.leaves));
    if (!exchange)
        return ERR_OK;
    if (!done) /* the sum will be where the last leaf is now */
        t->node[t->done] = trainable_node(t, trainable_work(t));
    t->whole = trainable_take(t);
    const enum err_code rc =
        exchange_sum_begin(exchange, t->setup.gradients, t->micros,
                           (const void *const *)t->node, P, done ? 0 : P, t->whole, err);
    t->exchange = rc ? NULL : exchange;
    return rc;
}

enum err_code trainable_sum_end(struct trainable *t, struct err *err)
{
    assert(t->done == t->nodes);
    if (!t->exchange) {
        t->whole = t->node[0];
        return ERR_OK;
    }
    const enum err_code rc = exchange_sum_end(t->exchange, err);
    if (rc == ERR_OK)
        gradient_unpack(t->setup.gradients, t->whole, t->model->params);
    return rc;
}

enum err_code trainable_update(struct trainable *t, double lr, double *norm, struct err *err)
{
    const double clip = t->setup.grad_clip;
    *norm = adamw_grad_norm(t->setup.pool, t->whole, t->model->params);
    if (!isfinite(*norm))
        return err_set(err, ERR_VALUE, "the gradient of the %s is not finite", t->what);
    const double scale = clip > 0 && *norm > clip ? clip / *norm : 1.0;
    adamw_update(&t->adamw, &t->setup.params, t->model, t->setup.pool, t->whole, (float)scale,
                 (float)lr);
    return ERR_OK;
}

void trainable_keep(struct trainable *t)
{
    const size_t bytes = model_bytes(t->model);
    memcpy(t->kept_w, t->model->w, bytes);
    memcpy(t->kept_m, t->adamw.m, bytes);
    memcpy(t->kept_v, t->adamw.v, bytes);
    t->kept_steps = t->adamw.steps;
}

void trainable_restore(struct trainable *t)
{
    const size_t bytes = model_bytes(t->model);
    memcpy(t->model->w, t->kept_w, bytes);
    memcpy(t->adamw.m, t->kept_m, bytes);
    memcpy(t->adamw.v, t->kept_v, bytes);
    t->adamw.steps = t->kept_steps;
    t->model->generation += 1;
}

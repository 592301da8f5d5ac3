/* fit.c -- see fit.h. */
#include "offline/fit.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "control/summation.h"
#include "engine/gradient.h"
#include "offline/fit_state.h"

struct fit {
    struct model *model;
    struct pool *pool;
    const struct fit_task *task;
    const struct fit_params *params;
    struct fit_history *history;
    uint64_t steps; /* in all */

    uint32_t *order; /* (items) of the epoch */
    struct adamw adamw;
    struct arena arena; /* gradient buffers and the best weights */
    float *buffer[SUMMATION_LEVELS + 1];
    uint32_t buffers;
    float *best;     /* (params); NULL: not kept */
    uint64_t waited; /* tests since the best one */
};

void fit_history_release(struct fit_history *history)
{
    free(history->step);
    free(history->test);
    *history = (struct fit_history){0};
}

size_t fit_cut(const struct fit_task *task, const uint32_t *order, size_t k, size_t end,
               size_t tokens)
{
    size_t used = task->tokens(task->ctx, order[k]);
    for (k++; k < end; k++) {
        used += task->tokens(task->ctx, order[k]);
        if (used > tokens)
            break;
    }
    return k;
}

static void fit_shuffle(struct fit *f, uint64_t epoch)
{
    rng_permutation(f->order, f->task->items, f->params->seed, f->params->stream, epoch, 0);
}

static uint64_t fit_count_steps(struct fit *f)
{
    uint64_t steps = 0;
    for (uint64_t epoch = 0; epoch < f->params->epochs; epoch++) {
        fit_shuffle(f, epoch);
        for (size_t k = 0; k < f->task->items; steps++)
            k = fit_cut(f->task, f->order, k, f->task->items, f->params->step_tokens);
    }
    return steps;
}

/* Loss and gradient of the items at places [k, end) of the epoch; *grad is one of the buffers. */
static enum err_code fit_gradient(struct fit *f, size_t k, size_t end, double *loss,
                                  float **grad, struct err *err)
{
    const struct fit_task *task = f->task;
    const size_t micro_tokens = f->params->micro_tokens, params = f->model->params;
    size_t weight = 0;
    uint32_t leaves = 0;
    for (size_t i = k; i < end; i++)
        weight += task->weight(task->ctx, f->order[i]);
    for (size_t i = k; i < end; leaves++)
        i = fit_cut(task, f->order, i, end, micro_tokens);
    assert(summation_buffers(leaves) <= f->buffers);

    struct summation sum;
    summation_init(&sum, leaves);
    double losses = 0.0;
    while (k < end) {
        const size_t micro_end = fit_cut(task, f->order, k, end, micro_tokens);
        float *leaf = f->buffer[summation_work(&sum)];
        memset(leaf, 0, params * sizeof *leaf);
        const enum err_code rc = task->gradient(task->ctx, f->order + k, micro_end - k,
                                                (double)weight, leaf, &losses, err);
        if (rc)
            return rc;
        k = micro_end;
        struct summation_merge merges[SUMMATION_LEVELS];
        const uint32_t n = summation_commit(&sum, 0, merges);
        for (uint32_t i = 0; i < n; i++)
            gradient_add(PRECISION_FP32, f->buffer[merges[i].into], f->buffer[merges[i].from],
                         params);
    }
    *loss = losses / (double)weight;
    *grad = f->buffer[summation_result(&sum)];
    return ERR_OK;
}

static enum err_code fit_update(struct fit *f, size_t k, size_t end, struct fit_step *now,
                                struct err *err)
{
    const struct fit_params *params = f->params;
    float *grad = NULL;
    for (size_t i = k; i < end; i++)
        now->tokens += f->task->tokens(f->task->ctx, f->order[i]);
    struct err why = {0};
    const enum err_code rc = fit_gradient(f, k, end, &now->loss, &grad, &why);
    if (rc)
        return err_set(err, rc, "step %llu: %s", (unsigned long long)now->step, why.text);
    now->grad_norm = adamw_grad_norm(f->pool, grad, f->model->params);
    if (!isfinite(now->loss) || !isfinite(now->grad_norm))
        return err_set(err, ERR_VALUE,
                       "step %llu: loss %g, gradient norm %g; a smaller learning rate may help",
                       (unsigned long long)now->step, now->loss, now->grad_norm);

    const bool clip = params->grad_clip > 0.0 && now->grad_norm > params->grad_clip;
    now->lr = schedule_lr(params->schedule, params->lr, params->lr_floor, params->warmup_steps,
                          f->steps, now->step - 1);
    adamw_update(&f->adamw, &params->adamw, f->model, f->pool, grad,
                 clip ? (float)(params->grad_clip / now->grad_norm) : 1.0f, (float)now->lr);
    return ERR_OK;
}

/* Test after `step`, where one is due; *test is NULL otherwise. */
static enum err_code fit_test(struct fit *f, uint64_t step, const struct fit_test **test,
                              struct err *err)
{
    struct fit_history *history = f->history;
    const uint64_t every = f->params->eval_every;
    *test = NULL;
    if (step != f->steps && (every == 0 || step % every != 0))
        return ERR_OK;
    struct fit_test *now = &history->test[history->tests];
    *now = (struct fit_test){.step = step};
    struct err why = {0};
    const enum err_code rc = f->task->evaluate(f->task->ctx, now->metric, &why);
    if (rc)
        return err_set(err, rc, "the test after step %llu: %s", (unsigned long long)step,
                       why.text);
    *test = now;
    /* A loss that is not finite is no better than any. */
    const bool better = history->best == UINT64_MAX
                            ? isfinite(now->metric[0])
                            : now->metric[0] < history->test[history->best].metric[0];
    if (better) {
        history->best = history->tests;
        f->waited = 0;
        if (f->best)
            memcpy(f->best, f->model->w, model_bytes(f->model));
    } else {
        f->waited++;
    }
    history->tests++;
    history->stopped = f->best && f->waited >= f->params->patience && step != f->steps;
    return ERR_OK;
}

static struct fit_state fit_state_of(struct fit *f)
{
    return (struct fit_state){.model = f->model,
                              .adamw = &f->adamw,
                              .best = f->best,
                              .history = f->history,
                              .waited = f->waited,
                              .identity = f->params->identity};
}

static enum err_code fit_checkpoint(struct fit *f, uint64_t step, struct err *err)
{
    /* The last step too: what comes after it may be killed as well. */
    const uint64_t every = f->params->checkpoint_every;
    if (every == 0 || (step % every != 0 && step != f->steps && !f->history->stopped))
        return ERR_OK;
    const struct fit_state state = fit_state_of(f);
    return fit_state_write(&state, f->params->checkpoint_dir, err);
}

static enum err_code fit_resume(struct fit *f, struct err *err)
{
    if (f->params->checkpoint_every == 0)
        return ERR_OK;
    struct fit_state state = fit_state_of(f);
    bool found;
    const enum err_code rc = fit_state_read(&state, f->params->checkpoint_dir, &found, err);
    f->waited = state.waited;
    return rc;
}

/* One bound for any step: each micro-batch but the last is more than half full with its
 * neighbour. */
static size_t fit_leaves_max(const struct fit_params *params)
{
    return 2 * (params->step_tokens / params->micro_tokens + 1) + 2;
}

static enum err_code fit_allocate(struct fit *f, struct err *err)
{
    f->order = calloc(f->task->items, sizeof *f->order);
    if (!f->order)
        return err_set(err, ERR_NOMEM, "no memory for %zu items", f->task->items);
    f->buffers = summation_buffers((uint32_t)fit_leaves_max(f->params));
    const bool keep_best = f->params->patience > 0;
    const size_t bytes = model_bytes(f->model) + ARENA_ALIGN;
    enum err_code rc =
        arena_init(&f->arena, (f->buffers + (keep_best ? 1 : 0)) * bytes, "gradients", err);
    if (rc)
        return rc;
    for (uint32_t i = 0; i < f->buffers; i++) {
        f->buffer[i] = arena_array(&f->arena, f->model->params, sizeof(float));
        assert(f->buffer[i]); /* the arena was sized for them */
    }
    if (keep_best) {
        f->best = arena_array(&f->arena, f->model->params, sizeof(float));
        assert(f->best);
    }
    return adamw_init(&f->adamw, f->model, err);
}

static enum err_code fit_allocate_history(struct fit *f, struct err *err)
{
    struct fit_history *history = f->history;
    const uint64_t every = f->params->eval_every;
    history->steps_max = f->steps;
    history->tests_max = 1 + (every ? f->steps / every : 0);
    history->step = calloc(history->steps_max, sizeof *history->step);
    history->test = calloc(history->tests_max, sizeof *history->test);
    history->best = UINT64_MAX;
    if (!history->step || !history->test)
        return err_set(err, ERR_NOMEM, "no memory for the history of %llu steps",
                       (unsigned long long)f->steps);
    return ERR_OK;
}

/* Steps that a checkpoint holds already are only counted: their items are passed by. */
static enum err_code fit_steps(struct fit *f,
                               void (*progress)(void *arg, const struct fit_progress *progress),
                               void *arg, struct err *err)
{
    const size_t items = f->task->items;
    struct fit_history *history = f->history;
    uint64_t step = 0;
    for (uint64_t epoch = 0; epoch < f->params->epochs; epoch++) {
        fit_shuffle(f, epoch);
        for (size_t k = 0, end; k < items && !history->stopped; k = end) {
            end = fit_cut(f->task, f->order, k, items, f->params->step_tokens);
            if (++step <= history->steps)
                continue;
            struct fit_step *now = &history->step[history->steps];
            *now = (struct fit_step){.step = step, .epoch = epoch + 1};
            enum err_code rc = fit_update(f, k, end, now, err);
            if (rc)
                return rc;
            history->steps++;
            const struct fit_test *test;
            rc = fit_test(f, step, &test, err);
            if (!rc)
                rc = fit_checkpoint(f, step, err);
            if (rc)
                return rc;
            const struct fit_progress told = {f->steps, now, test, f->task};
            progress(arg, &told);
        }
    }
    return ERR_OK;
}

static void fit_keep_best(struct fit *f)
{
    if (!f->best || f->history->best == UINT64_MAX)
        return;
    memcpy(f->model->w, f->best, model_bytes(f->model));
    f->model->generation++;
}

enum err_code fit_run(struct model *model, struct pool *pool, const struct fit_task *task,
                      const struct fit_params *params,
                      void (*progress)(void *arg, const struct fit_progress *progress),
                      void *arg, struct fit_history *history, struct err *err)
{
    assert(task->items > 0 && task->metrics > 0 && task->metrics <= FIT_METRICS_MAX);
    struct fit f = {
        .model = model, .pool = pool, .task = task, .params = params, .history = history};
    *history = (struct fit_history){0};
    enum err_code rc = fit_allocate(&f, err);
    if (!rc) {
        f.steps = fit_count_steps(&f);
        rc = fit_allocate_history(&f, err);
    }
    if (!rc)
        rc = fit_resume(&f, err);
    if (!rc)
        rc = fit_steps(&f, progress, arg, err);
    if (!rc)
        fit_keep_best(&f);
    free(f.order);
    adamw_release(&f.adamw);
    arena_release(&f.arena);
    return rc;
}

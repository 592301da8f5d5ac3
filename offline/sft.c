/* sft.c -- see sft.h. */
#include "offline/sft.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "control/summation.h"
#include "engine/pass.h"

/* Uses of RNG_STREAM_SFT: the order of epoch e has a = e; the split an epoch of its own. */
#define SFT_SPLIT_EPOCH ((uint64_t)1 << 40)

struct sft {
    struct model *model;
    struct pool *pool;
    const struct sft_data *data;
    const struct sft_params *params;
    struct pass *pass;
    struct adamw adamw;

    uint32_t *split; /* (n) a permutation: training examples, then those held out */
    size_t trained;  /* how many are trained on */
    uint32_t *order; /* (trained) of the epoch, indices into split */

    struct arena arena; /* gradient buffers */
    float *buffer[SUMMATION_LEVELS + 1];
    uint32_t buffers;

    /* One micro-batch. */
    int32_t *ids;        /* (micro_tokens) */
    uint32_t *offset;    /* (micro_tokens + 1) */
    uint32_t *at;        /* (micro_tokens) */
    int32_t *target;     /* (micro_tokens) */
    float *logp, *dlogp; /* (micro_tokens) */
    size_t seqs, targets;
};

static size_t sft_length(const struct sft *s, uint32_t example)
{
    return (size_t)(s->data->offset[example + 1] - s->data->offset[example]);
}

static uint32_t sft_example(const struct sft *s, size_t k)
{
    return s->split[s->order[k]];
}

static void sft_shuffle(struct sft *s, uint64_t epoch)
{
    rng_permutation(s->order, s->trained, s->params->seed, RNG_STREAM_SFT, epoch, 0);
}

/* The end of the run of examples from `k` on that fits into `tokens`; one always does. */
static size_t sft_cut(const struct sft *s, size_t k, size_t end, size_t tokens)
{
    size_t used = sft_length(s, sft_example(s, k));
    for (k++; k < end; k++) {
        used += sft_length(s, sft_example(s, k));
        if (used > tokens)
            break;
    }
    return k;
}

static uint64_t sft_count_steps(struct sft *s)
{
    uint64_t steps = 0;
    for (uint64_t epoch = 0; epoch < s->params->epochs; epoch++) {
        sft_shuffle(s, epoch);
        for (size_t k = 0; k < s->trained; steps++)
            k = sft_cut(s, k, s->trained, s->params->step_tokens);
    }
    return steps;
}

static void sft_clear(struct sft *s)
{
    s->seqs = s->targets = 0;
    s->offset[0] = 0;
}

static void sft_put(struct sft *s, uint32_t example)
{
    const uint32_t begin = s->offset[s->seqs];
    const uint32_t length = (uint32_t)sft_length(s, example);
    assert(begin + length <= s->params->micro_tokens);
    memcpy(s->ids + begin, s->data->ids.ids + s->data->offset[example],
           length * sizeof *s->ids);
    for (uint32_t i = s->data->first[example]; i < length; i++) {
        s->at[s->targets] = begin + i - 1;
        s->target[s->targets++] = s->ids[begin + i];
    }
    s->offset[++s->seqs] = begin + length;
}

/* Forward over the gathered examples: log-probs of all targets; the sum of them. */
static enum err_code sft_forward(struct sft *s, double *logp_sum, struct err *err)
{
    const struct pass_batch batch = {.seqs = s->seqs, .offset = s->offset, .ids = s->ids};
    const enum err_code rc = pass_forward(s->pass, &batch, err);
    if (rc)
        return rc;
    const struct pass_logprob want = {
        .rows = s->targets, .at = s->at, .target = s->target, .temperature = 1.0f};
    pass_logprobs(s->pass, &want, s->logp, NULL, NULL);
    for (size_t i = 0; i < s->targets; i++)
        *logp_sum += (double)s->logp[i];
    return ERR_OK;
}

static void sft_backward(struct sft *s, float *grad, size_t step_targets)
{
    for (size_t i = 0; i < s->targets; i++)
        s->dlogp[i] = (float)(-1.0 / (double)step_targets);
    const struct pass_logprob want = {
        .rows = s->targets, .at = s->at, .target = s->target, .temperature = 1.0f};
    memset(grad, 0, s->model->params * sizeof *grad);
    pass_backward_begin(s->pass, grad);
    pass_logprobs_backward(s->pass, &want, s->dlogp, NULL);
    pass_backward_end(s->pass);
}

/* Loss and gradient of the examples [k, end) of the epoch; *grad is one of the buffers. */
static enum err_code sft_gradient(struct sft *s, size_t k, size_t end, double *loss,
                                  float **grad, struct err *err)
{
    size_t targets = 0;
    uint32_t leaves = 0;
    for (size_t i = k; i < end; i++)
        targets += sft_length(s, sft_example(s, i)) - s->data->first[sft_example(s, i)];
    for (size_t i = k; i < end; leaves++)
        i = sft_cut(s, i, end, s->params->micro_tokens);
    assert(summation_buffers(leaves) <= s->buffers);

    struct summation sum;
    summation_init(&sum, leaves);
    double logp_sum = 0.0;
    while (k < end) {
        const size_t micro_end = sft_cut(s, k, end, s->params->micro_tokens);
        sft_clear(s);
        for (; k < micro_end; k++)
            sft_put(s, sft_example(s, k));
        const enum err_code rc = sft_forward(s, &logp_sum, err);
        if (rc)
            return rc;
        sft_backward(s, s->buffer[summation_work(&sum)], targets);
        struct summation_merge merges[SUMMATION_LEVELS];
        const uint32_t n = summation_commit(&sum, 0, merges);
        for (uint32_t i = 0; i < n; i++)
            summation_add(s->buffer[merges[i].into], s->buffer[merges[i].from],
                          s->model->params);
    }
    *loss = -logp_sum / (double)targets;
    *grad = s->buffer[summation_result(&sum)];
    return ERR_OK;
}

/* Mean over the target tokens of the examples held out; NaN where there are none. */
static enum err_code sft_evaluate(struct sft *s, double *loss, struct err *err)
{
    double logp_sum = 0.0;
    size_t targets = 0;
    for (size_t k = s->trained; k < s->data->n;) {
        sft_clear(s);
        do
            sft_put(s, s->split[k++]);
        while (k < s->data->n &&
               s->offset[s->seqs] + sft_length(s, s->split[k]) <= s->params->micro_tokens);
        const enum err_code rc = sft_forward(s, &logp_sum, err);
        if (rc)
            return rc;
        targets += s->targets;
    }
    *loss = targets ? -logp_sum / (double)targets : (double)NAN;
    return ERR_OK;
}

static enum err_code sft_step(struct sft *s, size_t k, size_t end, struct sft_progress *now,
                              struct err *err)
{
    const struct sft_params *params = s->params;
    float *grad = NULL;
    now->tokens = 0;
    for (size_t i = k; i < end; i++)
        now->tokens += sft_length(s, sft_example(s, i));
    enum err_code rc = sft_gradient(s, k, end, &now->loss, &grad, err);
    if (rc)
        return rc;
    now->grad_norm = adamw_grad_norm(s->pool, grad, s->model->params);
    if (!isfinite(now->loss) || !isfinite(now->grad_norm))
        return err_set(err, ERR_VALUE,
                       "step %llu: loss %g, gradient norm %g; a smaller learning rate may help",
                       (unsigned long long)now->step, now->loss, now->grad_norm);

    const bool clip = params->grad_clip > 0.0 && now->grad_norm > params->grad_clip;
    now->lr = schedule_lr(params->schedule, params->lr, params->lr_floor, params->warmup_steps,
                          now->steps, now->step - 1);
    adamw_update(&s->adamw, &params->adamw, s->model, s->pool, grad,
                 clip ? (float)(params->grad_clip / now->grad_norm) : 1.0f, (float)now->lr);

    now->held_out_loss = (double)NAN;
    const bool due = now->step == now->steps ||
                     (params->eval_every > 0 && now->step % params->eval_every == 0);
    return due ? sft_evaluate(s, &now->held_out_loss, err) : ERR_OK;
}

static enum err_code sft_check_lengths(const struct sft *s, struct err *err)
{
    for (size_t i = 0; i < s->data->n; i++) {
        if (sft_length(s, (uint32_t)i) > s->params->micro_tokens)
            return err_set(err, ERR_VALUE, "example %zu has %zu tokens, a micro-batch %zu",
                           i + 1, sft_length(s, (uint32_t)i), s->params->micro_tokens);
    }
    return ERR_OK;
}

static enum err_code sft_allocate(struct sft *s, struct err *err)
{
    const size_t tokens = s->params->micro_tokens, n = s->data->n;
    s->split = calloc(n, sizeof *s->split);
    s->order = calloc(n, sizeof *s->order);
    s->ids = calloc(tokens, sizeof *s->ids);
    s->offset = calloc(tokens + 1, sizeof *s->offset);
    s->at = calloc(tokens, sizeof *s->at);
    s->target = calloc(tokens, sizeof *s->target);
    s->logp = calloc(tokens, sizeof *s->logp);
    s->dlogp = calloc(tokens, sizeof *s->dlogp);
    if (!s->split || !s->order || !s->ids || !s->offset || !s->at || !s->target || !s->logp ||
        !s->dlogp)
        return err_set(err, ERR_NOMEM, "no memory for %zu examples", n);

    /* Each micro-batch but the last is more than half full with its neighbour, so this many
     * leaves are enough for any step. */
    const size_t leaves = 2 * (s->params->step_tokens / tokens + 1) + 2;
    s->buffers = summation_buffers((uint32_t)leaves);
    const size_t bytes = s->model->params * sizeof(float) + ARENA_ALIGN;
    enum err_code rc = arena_init(&s->arena, s->buffers * bytes, "gradients", err);
    for (uint32_t i = 0; !rc && i < s->buffers; i++) {
        s->buffer[i] = arena_array(&s->arena, s->model->params, sizeof(float));
        assert(s->buffer[i]);
    }
    if (!rc)
        rc = adamw_init(&s->adamw, s->model, err);
    if (!rc) {
        s->pass = pass_new(s->model, s->pool, tokens, true, err);
        rc = s->pass ? ERR_OK : err->code;
    }
    return rc;
}

static void sft_release(struct sft *s)
{
    pass_free(s->pass);
    adamw_release(&s->adamw);
    arena_release(&s->arena);
    free(s->split);
    free(s->order);
    free(s->ids);
    free(s->offset);
    free(s->at);
    free(s->target);
    free(s->logp);
    free(s->dlogp);
}

enum err_code sft_train(struct model *model, struct pool *pool, const struct sft_data *data,
                        const struct sft_params *params,
                        void (*progress)(void *arg, const struct sft_progress *progress),
                        void *arg, struct err *err)
{
    struct sft s = {.model = model, .pool = pool, .data = data, .params = params};
    assert(data->n > 0 && params->held_out >= 0.0 && params->held_out <= 0.5);
    struct err why = {0}; /* the caller may pass NULL */
    enum err_code rc = sft_check_lengths(&s, &why);
    if (!rc)
        rc = sft_allocate(&s, &why);
    if (rc)
        goto out;
    rng_permutation(s.split, data->n, params->seed, RNG_STREAM_SFT, SFT_SPLIT_EPOCH, 0);
    s.trained = data->n - (size_t)(params->held_out * (double)data->n);

    struct sft_progress now = {.steps = sft_count_steps(&s)};
    for (uint64_t epoch = 0; !rc && epoch < params->epochs; epoch++) {
        sft_shuffle(&s, epoch);
        for (size_t k = 0, end; !rc && k < s.trained; k = end) {
            end = sft_cut(&s, k, s.trained, params->step_tokens);
            now.step++;
            now.epoch = epoch + 1;
            rc = sft_step(&s, k, end, &now, &why);
            if (!rc)
                progress(arg, &now);
        }
    }
out:
    sft_release(&s);
    if (rc && err)
        *err = why;
    return rc;
}

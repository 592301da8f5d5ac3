/* sft.c -- see sft.h. */
#include "offline/sft.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "engine/pass.h"
#include "offline/pack.h"

/* Uses of RNG_STREAM_SFT: the order of epoch e has a = e; the split an epoch of its own. */
#define SFT_SPLIT_EPOCH ((uint64_t)1 << 40)

struct sft {
    const struct sft_data *data;
    size_t micro_tokens;
    struct pass *pass;
    uint32_t *split; /* (n) a permutation: training examples, then those held out */
    size_t trained;  /* how many are trained on */

    /* One micro-batch. */
    struct pack pack;
    uint32_t *at;        /* (micro_tokens) */
    int32_t *target;     /* (micro_tokens) */
    float *logp, *dlogp; /* (micro_tokens) */
    size_t targets;
};

static size_t sft_length(const struct sft *s, uint32_t example)
{
    return (size_t)(s->data->offset[example + 1] - s->data->offset[example]);
}

static size_t sft_tokens(const void *ctx, uint32_t item)
{
    const struct sft *s = ctx;
    return sft_length(s, s->split[item]);
}

static size_t sft_weight(const void *ctx, uint32_t item)
{
    const struct sft *s = ctx;
    return sft_tokens(s, item) - s->data->first[s->split[item]];
}

static void sft_clear(struct sft *s)
{
    pack_clear(&s->pack);
    s->targets = 0;
}

static void sft_put(struct sft *s, uint32_t item)
{
    const uint32_t example = s->split[item];
    const uint32_t length = (uint32_t)sft_length(s, example);
    const uint32_t begin =
        pack_put(&s->pack, s->data->ids.ids + s->data->offset[example], length);
    for (uint32_t i = s->data->first[example]; i < length; i++) {
        s->at[s->targets] = begin + i - 1;
        s->target[s->targets++] = s->pack.ids[begin + i];
    }
}

static struct pass_logprob sft_want(const struct sft *s)
{
    return (struct pass_logprob){
        .rows = s->targets, .at = s->at, .target = s->target, .temperature = 1.0f};
}

/* Forward over the gathered examples; takes the log-probs of all targets off *loss. */
static enum err_code sft_forward(struct sft *s, double *loss, struct err *err)
{
    const struct pass_batch batch = pack_batch(&s->pack);
    const enum err_code rc = pass_forward(s->pass, &batch, err);
    if (rc)
        return rc;
    const struct pass_logprob want = sft_want(s);
    pass_logprobs(s->pass, &want, s->logp, NULL, NULL);
    for (size_t i = 0; i < s->targets; i++)
        *loss -= (double)s->logp[i];
    return ERR_OK;
}

static enum err_code sft_gradient(void *ctx, const uint32_t *items, size_t n, double weight,
                                  float *grad, double *loss, struct err *err)
{
    struct sft *s = ctx;
    sft_clear(s);
    for (size_t i = 0; i < n; i++)
        sft_put(s, items[i]);
    const enum err_code rc = sft_forward(s, loss, err);
    if (rc)
        return rc;
    for (size_t i = 0; i < s->targets; i++)
        s->dlogp[i] = (float)(-1.0 / weight);
    const struct pass_logprob want = sft_want(s);
    pass_backward_begin(s->pass, grad, GEMM_SET);
    pass_logprobs_backward(s->pass, &want, s->dlogp, NULL);
    pass_backward_end(s->pass);
    return ERR_OK;
}

/* Mean over the target tokens of the examples held out; NaN where there are none. */
static enum err_code sft_evaluate(void *ctx, double *metric, struct err *err)
{
    struct sft *s = ctx;
    double loss = 0.0;
    size_t targets = 0;
    for (size_t k = s->trained; k < s->data->n;) {
        sft_clear(s);
        do
            sft_put(s, (uint32_t)k++);
        while (k < s->data->n &&
               pack_tokens(&s->pack) + sft_tokens(s, (uint32_t)k) <= s->micro_tokens);
        const enum err_code rc = sft_forward(s, &loss, err);
        if (rc)
            return rc;
        targets += s->targets;
    }
    metric[0] = targets ? loss / (double)targets : (double)NAN;
    return ERR_OK;
}

static enum err_code sft_check_lengths(const struct sft *s, struct err *err)
{
    for (size_t i = 0; i < s->data->n; i++) {
        if (sft_length(s, (uint32_t)i) > s->micro_tokens)
            return err_set(err, ERR_VALUE, "example %zu has %zu tokens, a micro-batch %zu",
                           i + 1, sft_length(s, (uint32_t)i), s->micro_tokens);
    }
    return ERR_OK;
}

static enum err_code sft_allocate(struct sft *s, const struct model *model, struct pool *pool,
                                  struct err *err)
{
    const size_t tokens = s->micro_tokens, n = s->data->n;
    s->split = calloc(n, sizeof *s->split);
    s->at = calloc(tokens, sizeof *s->at);
    s->target = calloc(tokens, sizeof *s->target);
    s->logp = calloc(tokens, sizeof *s->logp);
    s->dlogp = calloc(tokens, sizeof *s->dlogp);
    if (!s->split || !s->at || !s->target || !s->logp || !s->dlogp)
        return err_set(err, ERR_NOMEM, "no memory for %zu examples", n);
    const enum err_code rc = pack_init(&s->pack, tokens, err);
    if (rc)
        return rc;
    s->pass = pass_new(model, pool, tokens, true, err);
    return s->pass ? ERR_OK : err->code;
}

static void sft_release(struct sft *s)
{
    pass_free(s->pass);
    pack_release(&s->pack);
    free(s->split);
    free(s->at);
    free(s->target);
    free(s->logp);
    free(s->dlogp);
}

enum err_code sft_train(struct model *model, struct pool *pool, const struct sft_data *data,
                        const struct fit_params *params, double held_out,
                        void (*progress)(void *arg, const struct fit_progress *progress),
                        void *arg, struct fit_history *history, struct err *err)
{
    static const char *const metric[] = {"held_out_loss"};
    struct sft s = {.data = data, .micro_tokens = params->micro_tokens};
    assert(data->n > 0 && held_out >= 0.0 && held_out <= 0.5);
    *history = (struct fit_history){0};
    struct err why = {0}; /* the caller may pass NULL */
    enum err_code rc = sft_check_lengths(&s, &why);
    if (!rc)
        rc = sft_allocate(&s, model, pool, &why);
    if (rc)
        goto out;
    rng_permutation(s.split, data->n, params->seed, RNG_STREAM_SFT, SFT_SPLIT_EPOCH, 0);
    s.trained = data->n - (size_t)(held_out * (double)data->n);

    struct fit_params fit = *params;
    fit.stream = RNG_STREAM_SFT;
    const struct fit_task task = {.ctx = &s,
                                  .items = s.trained,
                                  .tokens = sft_tokens,
                                  .weight = sft_weight,
                                  .gradient = sft_gradient,
                                  .metric = metric,
                                  .metrics = 1,
                                  .evaluate = sft_evaluate};
    rc = fit_run(model, pool, &task, &fit, progress, arg, history, &why);
out:
    sft_release(&s);
    if (rc && err)
        *err = why;
    return rc;
}

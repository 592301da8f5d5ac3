/* scoring.c -- see scoring.h: training; scoring_metrics.c has what is measured. */
#include "offline/scoring.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/pass.h"
#include "offline/pack.h"

/* Sequences go through the model and come out as scores at their last tokens. */
struct scoring_run {
    struct pass *pass;
    struct pack pack;
    uint32_t *at;          /* (micro_tokens) */
    float *score, *dscore; /* (micro_tokens, labels) */
    uint32_t labels;
};

struct scoring {
    const struct feedback *feedback;
    const struct scoring_params *params;
    struct scoring_run run;
    uint32_t *trained, *held_out; /* items */
    size_t trained_n, held_out_n;
    float *first, *second; /* (held_out_n, labels) */
};

/* ---- a micro-batch ---- */

static void scoring_run_release(struct scoring_run *run)
{
    pass_free(run->pass);
    pack_release(&run->pack);
    free(run->at);
    free(run->score);
    free(run->dscore);
    *run = (struct scoring_run){0};
}

static enum err_code scoring_run_init(struct scoring_run *run, const struct model *model,
                                      struct pool *pool, size_t tokens, bool training,
                                      struct err *err)
{
    *run = (struct scoring_run){.labels = model->config.labels};
    run->at = calloc(tokens, sizeof *run->at);
    run->score = calloc(tokens * run->labels, sizeof *run->score);
    run->dscore = calloc(tokens * run->labels, sizeof *run->dscore);
    if (!run->at || !run->score || !run->dscore)
        return err_set(err, ERR_NOMEM, "no memory for micro-batches of %zu tokens", tokens);
    const enum err_code rc = pack_init(&run->pack, tokens, err);
    if (rc)
        return rc;
    run->pass = pass_new(model, pool, tokens, training, err);
    return run->pass ? ERR_OK : err->code;
}

static void scoring_put(struct scoring_run *run, const struct feedback *feedback, uint32_t item)
{
    for (size_t side = 0; side < 2; side++) {
        const uint32_t seq = feedback->item[item].seq[side];
        if (seq == FEEDBACK_NONE)
            continue;
        const size_t n = feedback_length(feedback, seq);
        const uint32_t begin =
            pack_put(&run->pack, feedback->ids.ids + feedback->offset[seq], n);
        run->at[run->pack.seqs - 1] = begin + (uint32_t)n - 1;
    }
}

static enum err_code scoring_forward(struct scoring_run *run, struct err *err)
{
    const struct pass_batch batch = pack_batch(&run->pack);
    const enum err_code rc = pass_forward(run->pass, &batch, err);
    if (rc)
        return rc;
    pass_scores(run->pass, run->pack.seqs, run->at, run->score);
    for (size_t i = 0; i < run->pack.seqs * run->labels; i++) {
        if (!isfinite(run->score[i]))
            return err_set(err, ERR_VALUE, "a score is %g; a smaller learning rate may help",
                           (double)run->score[i]);
    }
    return ERR_OK;
}

/* ---- the task of fit.h; its items are places in `trained` ---- */

static size_t scoring_tokens(const void *ctx, uint32_t item)
{
    const struct scoring *s = ctx;
    return feedback_tokens(s->feedback, s->trained[item]);
}

static size_t scoring_weight(const void *ctx, uint32_t item)
{
    const struct scoring *s = ctx;
    const struct feedback *f = s->feedback;
    if (f->kind != FEEDBACK_REGRESSION)
        return 1;
    size_t numbers = 0;
    for (uint32_t j = 0; j < f->labels; j++)
        numbers += isnan(f->want[(size_t)s->trained[item] * f->labels + j]) ? 0 : 1;
    return numbers;
}

static double scoring_pair(const struct scoring *s, const struct feedback_item *item,
                           const float *score, double *dscore)
{
    const double c = (double)score[0], r = (double)score[1];
    const struct preference_params *params = &s->params->loss;
    const struct preference_loss loss =
        s->feedback->kind == FEEDBACK_COST
            ? preference_cost(params, c, r, item->sign[0], item->sign[1])
            : preference_reward(params, item->margin, c, r);
    dscore[0] = loss.dchosen;
    dscore[1] = loss.drejected;
    return loss.loss;
}

static enum err_code scoring_gradient(void *ctx, const uint32_t *items, size_t n, double weight,
                                      float *grad, double *loss, struct err *err)
{
    struct scoring *s = ctx;
    struct scoring_run *run = &s->run;
    const struct feedback *f = s->feedback;
    pack_clear(&run->pack);
    for (size_t i = 0; i < n; i++)
        scoring_put(run, f, s->trained[items[i]]);
    const enum err_code rc = scoring_forward(run, err);
    if (rc)
        return rc;
    const size_t outputs = f->kind == FEEDBACK_REGRESSION ? f->labels : 2; /* of an item */
    for (size_t i = 0; i < n; i++) {
        const uint32_t item = s->trained[items[i]];
        const float *score = run->score + i * outputs;
        double dscore[FEEDBACK_LABELS_MAX + 1];
        *loss += f->kind == FEEDBACK_REGRESSION
                     ? preference_regression(score, f->want + (size_t)item * f->labels,
                                             f->labels, dscore)
                     : scoring_pair(s, &f->item[item], score, dscore);
        for (size_t j = 0; j < outputs; j++)
            run->dscore[i * outputs + j] = (float)(dscore[j] / weight);
    }
    pass_backward_begin(run->pass, grad, GEMM_SET);
    pass_scores_backward(run->pass, run->pack.seqs, run->at, run->dscore);
    pass_backward_end(run->pass);
    return ERR_OK;
}

/* ---- scores of many items ---- */

static void scoring_keep(const struct scoring_run *run, bool pairs, size_t n, float *first,
                         float *second)
{
    const size_t bytes = run->labels * sizeof *first;
    for (size_t i = 0; i < n; i++) {
        const float *score = run->score + i * (pairs ? 2 : 1) * run->labels;
        memcpy(first + i * run->labels, score, bytes);
        if (pairs)
            memcpy(second + i * run->labels, score + run->labels, bytes);
    }
}

static enum err_code scoring_run_items(struct scoring_run *run, const struct feedback *f,
                                       const uint32_t *items, size_t n, float *first,
                                       float *second, struct err *err)
{
    const bool pairs = f->kind != FEEDBACK_REGRESSION;
    for (size_t k = 0; k < n;) {
        const size_t begin = k;
        pack_clear(&run->pack);
        do
            scoring_put(run, f, items[k++]);
        while (k < n &&
               pack_tokens(&run->pack) + feedback_tokens(f, items[k]) <= run->pack.tokens_max);
        const enum err_code rc = scoring_forward(run, err);
        if (rc)
            return rc;
        scoring_keep(run, pairs, k - begin, first + begin * run->labels,
                     pairs ? second + begin * run->labels : NULL);
    }
    return ERR_OK;
}

enum err_code scoring_scores(const struct model *model, struct pool *pool,
                             const struct feedback *feedback, const uint32_t *items, size_t n,
                             size_t micro_tokens, float *first, float *second, struct err *err)
{
    struct scoring_run run;
    struct err why = {0};
    enum err_code rc = scoring_run_init(&run, model, pool, micro_tokens, false, &why);
    if (!rc)
        rc = scoring_run_items(&run, feedback, items, n, first, second, &why);
    scoring_run_release(&run);
    return rc ? err_set(err, rc, "%s", why.text) : ERR_OK;
}

static enum err_code scoring_evaluate(void *ctx, double *metric, struct err *err)
{
    struct scoring *s = ctx;
    const enum err_code rc = scoring_run_items(&s->run, s->feedback, s->held_out, s->held_out_n,
                                               s->first, s->second, err);
    if (rc)
        return rc;
    scoring_metrics(s->feedback, s->held_out, s->held_out_n, s->first, s->second, metric);
    return ERR_OK;
}

/* ---- the whole ---- */

static enum err_code scoring_check_lengths(const struct feedback *f, size_t micro_tokens,
                                           struct err *err)
{
    for (size_t i = 0; i < f->n; i++) {
        const size_t tokens = feedback_tokens(f, (uint32_t)i);
        if (tokens > micro_tokens)
            return err_set(err, ERR_VALUE, "item %zu has %zu tokens, a micro-batch %zu", i + 1,
                           tokens, micro_tokens);
    }
    return ERR_OK;
}

static enum err_code scoring_allocate(struct scoring *s, const struct model *model,
                                      struct pool *pool, struct err *err)
{
    const struct feedback *f = s->feedback;
    const size_t numbers = f->n * f->labels;
    s->trained = calloc(f->n, sizeof *s->trained);
    s->held_out = calloc(f->n, sizeof *s->held_out);
    s->first = calloc(numbers, sizeof *s->first);
    s->second = calloc(numbers, sizeof *s->second);
    if (!s->trained || !s->held_out || !s->first || !s->second)
        return err_set(err, ERR_NOMEM, "no memory for %zu items", f->n);
    s->trained_n = feedback_trained(f, s->params->fit.seed, s->params->fraction, s->trained);
    s->held_out_n = feedback_held_out(f, s->held_out);
    if (s->trained_n == 0)
        return err_set(err, ERR_VALUE, "of %zu items none is left to train on", f->n);
    return scoring_run_init(&s->run, model, pool, s->params->fit.micro_tokens, true, err);
}

static void scoring_release(struct scoring *s)
{
    scoring_run_release(&s->run);
    free(s->trained);
    free(s->held_out);
    free(s->first);
    free(s->second);
}

/* Of data, start and settings, so that a checkpoint of another training is not gone on from. */
static void scoring_identity(const struct model *model, const struct feedback *feedback,
                             const struct scoring_params *params, struct hash *out)
{
    const struct fit_params *fit = &params->fit;
    const double setting[] = {
        params->loss.margin,
        params->loss.margin_scale,
        params->loss.label_smoothing,
        params->loss.reg,
        params->loss.center,
        params->fraction,
        (double)fit->epochs,
        (double)fit->step_tokens,
        (double)fit->micro_tokens,
        fit->lr,
        fit->lr_floor,
        (double)fit->warmup_steps,
        (double)fit->schedule,
        (double)fit->adamw.beta1,
        (double)fit->adamw.beta2,
        (double)fit->adamw.eps,
        (double)fit->adamw.weight_decay,
        fit->grad_clip,
        (double)fit->eval_every,
        (double)fit->patience,
    };
    struct hash part[4];
    memset(part, 0, sizeof part);
    model_fingerprint(model, &part[0]);
    feedback_hash(feedback, &part[1]);
    hash_blake2b(&part[2], setting, sizeof setting);
    memcpy(&part[3], &fit->seed, sizeof fit->seed);
    hash_blake2b(out, part, sizeof part);
}

enum err_code scoring_train(struct model *model, struct pool *pool,
                            const struct feedback *feedback,
                            const struct scoring_params *params,
                            void (*progress)(void *arg, const struct fit_progress *progress),
                            void *arg, struct fit_history *history, struct err *err)
{
    assert(model->config.head == MODEL_HEAD_SCORE && model->config.labels == feedback->labels);
    assert(feedback->n > 0 && params->fraction > 0.0 && params->fraction <= 1.0);
    struct scoring s = {.feedback = feedback, .params = params};
    *history = (struct fit_history){0};
    struct err why = {0};
    enum err_code rc = scoring_check_lengths(feedback, params->fit.micro_tokens, &why);
    if (!rc)
        rc = scoring_allocate(&s, model, pool, &why);
    if (rc)
        goto out;
    struct scoring_names names;
    scoring_names(&names, feedback->kind, feedback->labels, params->attribute);
    struct fit_params fit = params->fit;
    fit.stream = RNG_STREAM_PREFERENCE;
    scoring_identity(model, feedback, params, &fit.identity);
    const struct fit_task task = {.ctx = &s,
                                  .items = s.trained_n,
                                  .tokens = scoring_tokens,
                                  .weight = scoring_weight,
                                  .gradient = scoring_gradient,
                                  .metric = names.name,
                                  .metrics = names.n,
                                  .evaluate = scoring_evaluate};
    rc = fit_run(model, pool, &task, &fit, progress, arg, history, &why);
out:
    scoring_release(&s);
    return rc ? err_set(err, rc, "%s", why.text) : ERR_OK;
}

/* train.c -- one training step: see learner.h, and control/ppo.h for the losses. */
#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/fault.h"
#include "base/rng.h"
#include "learner/advantages.h"
#include "learner/experience.h"
#include "learner/group.h"
#include "learner/learner.h"

/* What a step computes once and its epochs use: arrays over the N response tokens. */
struct train {
    struct learner *learner;
    struct worker *worker;
    struct experience x;
    const struct message *lease;
    struct advantages a;
    float *weight;   /* (N) of the optimizer update under way */
    uint32_t *order; /* (rows) */
    struct ppo_params ppo;
    struct trainable *summed; /* whose sum is under way, or NULL */
    struct train_stats stats;
    double norm, critic_norm, cost_critic_norm; /* greatest gradient norms of the step */
    uint64_t updates;
};

/* A micro-batch gathered from the batch's arrays. */
struct train_gather {
    float *logp, *logp_old, *adv, *logref, *entropy, *weight;
    float *value, *value_old, *ret;
    float *dlogp, *dentropy, *dvalue;
};

static float *train_array(struct train *t, size_t n)
{
    return arena_array(&t->learner->step, n > 0 ? n : 1, sizeof(float));
}

static void train_pick(float *to, const float *from, const struct experience_micro *micro)
{
    for (uint32_t i = 0; i < micro->tokens; i++)
        to[i] = from[micro->entry[i]];
}

/* Room for one micro-batch's gathered arrays. */
static enum err_code train_gather_open(struct train *t, struct train_gather *g, uint32_t n,
                                       struct err *err)
{
    float **const arrays[] = {&g->logp,    &g->logp_old, &g->adv,      &g->logref,
                              &g->entropy, &g->weight,   &g->value,    &g->value_old,
                              &g->ret,     &g->dlogp,    &g->dentropy, &g->dvalue};
    for (size_t i = 0; i < sizeof arrays / sizeof arrays[0]; i++)
        if (!(*arrays[i] = train_array(t, n)))
            return err_set(err, ERR_NOMEM, "no room for a micro-batch of %u tokens", n);
    return ERR_OK;
}

/* The ranks sum this model's gradient, of which at most the last leaf is to come, once they have
 * summed the one before. */
static enum err_code train_sum(struct train *t, struct trainable *next, struct err *err)
{
    enum err_code rc = t->summed ? trainable_sum_end(t->summed, err) : ERR_OK;
    t->summed = NULL;
    fault_at(FAULT_train_sum);
    if (rc == ERR_OK)
        rc = trainable_sum_begin(next, group_exchange(t->learner), err);
    if (rc == ERR_OK)
        t->summed = next;
    return rc;
}

static void train_on_final(void *ctx, size_t first)
{
    trainable_leaf_ready(ctx, first);
}

/* Before a micro-batch's backward pass; the sum goes on beside the last one's. */
static enum err_code train_backward_begin(struct train *t, struct trainable *model,
                                          bool is_last, struct err *err)
{
    const enum err_code rc = is_last ? train_sum(t, model, err) : ERR_OK;
    if (rc)
        return rc;
    pass_backward_begin(model->pass, trainable_leaf(model), GEMM_SET);
    if (is_last && group_exchange(t->learner))
        pass_backward_watch(model->pass, train_on_final, model);
    return ERR_OK;
}

static enum err_code train_policy_micro(struct train *t, const struct experience_micro *micro,
                                        bool is_last, struct train_gather *g,
                                        struct ppo_stats *stats, struct err *err)
{
    struct learner *l = t->learner;
    struct pass *pass = l->policy.pass;
    enum err_code rc = pass_forward(pass, &micro->batch, err);
    if (rc)
        return rc;
    const struct pass_logprob want = {
        .rows = micro->tokens,
        .at = micro->at,
        .target = micro->target,
        .temperature = l->config->temperature,
    };
    pass_logprobs(pass, &want, g->logp, g->entropy, NULL);
    train_pick(g->logp_old, t->x.logp_old, micro);
    train_pick(g->logref, t->x.logref, micro);
    train_pick(g->adv, t->a.adv, micro);
    train_pick(g->weight, t->weight, micro);
    const struct ppo_policy_batch in = {micro->tokens, g->weight, g->logp,   g->logp_old,
                                        g->adv,        g->logref, g->entropy};
    if ((rc = ppo_policy(&t->ppo, &in, g->dlogp, g->dentropy, stats, err)) ||
        (rc = train_backward_begin(t, &l->policy, is_last, err)))
        return rc;
    pass_logprobs_backward(pass, &want, g->dlogp, t->ppo.entropy_coef > 0 ? g->dentropy : NULL);
    pass_backward_end(pass);
    trainable_leaf_done(&l->policy);
    return ERR_OK;
}

static enum err_code train_critic_micro(struct train *t, const struct advantages_stream *stream,
                                        const struct experience_micro *micro, bool is_last,
                                        struct train_gather *g, struct ppo_stats *stats,
                                        struct err *err)
{
    struct pass *pass = stream->critic->pass;
    enum err_code rc = pass_forward(pass, &micro->batch, err);
    if (rc)
        return rc;
    pass_scores(pass, micro->tokens, micro->at, g->value);
    train_pick(g->weight, t->weight, micro);
    train_pick(g->value_old, stream->value, micro);
    train_pick(g->ret, stream->ret, micro);
    const struct ppo_value_batch in = {micro->tokens, g->weight, g->value, g->value_old,
                                       g->ret};
    if ((rc = ppo_value(&t->ppo, &in, g->dvalue, stats, err)) ||
        (rc = train_backward_begin(t, stream->critic, is_last, err)))
        return rc;
    pass_scores_backward(pass, micro->tokens, micro->at, g->dvalue);
    pass_backward_end(pass);
    trainable_leaf_done(stream->critic);
    return ERR_OK;
}

/* In the order in which they are trained. */
enum train_model { TRAIN_POLICY, TRAIN_CRITIC, TRAIN_COST_CRITIC, TRAIN_MODELS };

/* NULL where the learner has no such model. */
static struct trainable *train_model(struct learner *l, enum train_model model)
{
    switch (model) {
    case TRAIN_POLICY: return &l->policy;
    case TRAIN_CRITIC: return l->has_critic ? &l->critic : NULL;
    case TRAIN_COST_CRITIC: return l->has_cost_critic ? &l->cost_critic : NULL;
    case TRAIN_MODELS:
    default: return NULL;
    }
}

static enum err_code train_micro(struct train *t, enum train_model model, uint32_t first,
                                 uint32_t end, bool is_last, struct train_stats *stats,
                                 struct err *err)
{
    struct learner *l = t->learner;
    const size_t mark = arena_mark(&l->step);
    struct experience_micro micro;
    struct train_gather gather;
    enum err_code rc = experience_pack(&t->x, t->order, first, end, &l->step, &micro, err);
    if (rc == ERR_OK)
        rc = train_gather_open(t, &gather, micro.tokens, err);
    if (rc == ERR_OK && model == TRAIN_POLICY)
        rc = train_policy_micro(t, &micro, is_last, &gather, &stats->ppo, err);
    if (rc == ERR_OK && model == TRAIN_CRITIC)
        rc = train_critic_micro(t, &t->a.reward, &micro, is_last, &gather, &stats->ppo, err);
    if (rc == ERR_OK && model == TRAIN_COST_CRITIC)
        rc = train_critic_micro(t, &t->a.cost, &micro, is_last, &gather, &stats->cost, err);
    arena_reset(&l->step, mark);
    worker_progress(t->worker);
    return rc;
}

/* The weights of the loss over the rows order[first..end-1]; 0 elsewhere. */
static enum err_code train_weights(struct train *t, uint32_t first, uint32_t end,
                                   struct err *err)
{
    struct learner *l = t->learner;
    const struct experience *x = &t->x;
    const size_t mark = arena_mark(&l->step);
    uint8_t *mask = arena_array(&l->step, x->tokens, 1);
    if (!mask)
        return err_set(err, ERR_NOMEM, "no room for %u tokens", x->tokens);
    memset(mask, 0, x->tokens);
    for (uint32_t i = first; i < end; i++) {
        const uint32_t row = t->order[i];
        memset(mask + x->offset[row], 1, x->offset[row + 1] - x->offset[row]);
    }
    const enum err_code rc = ppo_weights(&t->ppo, x->rows, x->offset, mask, t->weight, err);
    arena_reset(&l->step, mark);
    return rc;
}

static double train_lr(const struct train *t, double peak)
{
    static const enum schedule_kind kinds[] = {
        [RUN_SCHEDULE_CONSTANT] = SCHEDULE_constant,
        [RUN_SCHEDULE_LINEAR] = SCHEDULE_linear,
        [RUN_SCHEDULE_COSINE] = SCHEDULE_cosine,
    };
    const struct run_config *c = t->learner->config;
    const double scale = t->lease->lr_scale > 0.0 ? t->lease->lr_scale : 1.0;
    return scale * schedule_lr(kinds[c->schedule], peak, c->lr_floor, c->warmup_steps, c->steps,
                               t->lease->step);
}

/* The gradients of an update are there: clip and apply them, the policy's first. */
static enum err_code train_apply(struct train *t, struct err *err)
{
    struct learner *l = t->learner;
    const double critic_lr = train_lr(t, l->config->critic_lr);
    double norm = 0, critic_norm = 0, cost_critic_norm = 0;
    enum err_code rc = trainable_update(&l->policy, train_lr(t, l->config->lr), &norm, err);
    if (rc)
        return rc;
    l->dirty = true;
    fault_at(FAULT_train_half_updated);
    if (l->has_critic)
        rc = trainable_update(&l->critic, critic_lr, &critic_norm, err);
    if (rc == ERR_OK && l->has_cost_critic)
        rc = trainable_update(&l->cost_critic, critic_lr, &cost_critic_norm, err);
    t->norm = fmax(t->norm, norm);
    t->critic_norm = fmax(t->critic_norm, critic_norm);
    t->cost_critic_norm = fmax(t->cost_critic_norm, cost_critic_norm);
    t->updates += 1;
    return rc;
}

/* This rank's micro-batches of an update, of one model; not to their end where the sum of the
 * model before has failed, which its end will tell. */
static enum err_code train_micros(struct train *t, enum train_model model, uint32_t first,
                                  uint32_t end, uint32_t micros, struct train_stats *leaf,
                                  struct err *err)
{
    struct learner *l = t->learner;
    const struct exchange *exchange = group_exchange(l);
    uint32_t own, own_end, i = 0;
    group_span(l, micros, &own, &own_end);
    for (uint32_t at = first, next; at < end && i < own_end; at = next, i++) {
        next = experience_cut(&t->x, t->order, end, at, l->config->micro_tokens);
        if (exchange && exchange_sum_failed(exchange))
            return ERR_OK;
        const bool is_last = i + 1 == own_end;
        const enum err_code rc =
            i >= own ? train_micro(t, model, at, next, is_last, &leaf[i], err) : ERR_OK;
        if (rc)
            return rc;
    }
    return ERR_OK;
}

/* Model after model, each summed by the ranks beside its last backward pass and what is computed of
 * the next. */
static enum err_code train_gradients(struct train *t, uint32_t first, uint32_t end,
                                     uint32_t micros, struct train_stats *leaf, struct err *err)
{
    struct learner *l = t->learner;
    for (enum train_model model = 0; model < TRAIN_MODELS; model++) {
        struct trainable *next = train_model(l, model);
        if (!next)
            continue;
        trainable_begin(next, micros, l->group.ranks, l->group.rank);
        enum err_code rc = train_micros(t, model, first, end, micros, leaf, err);
        if (rc == ERR_OK && t->summed != next) /* no leaf is this rank's, or a sum failed */
            rc = train_sum(t, next, err);
        if (rc)
            return rc;
    }
    const enum err_code rc = trainable_sum_end(t->summed, err);
    t->summed = NULL;
    fault_at(FAULT_train_summed);
    return rc;
}

/* One optimizer update over the rows order[first..end-1]. */
static enum err_code train_update(struct train *t, uint32_t first, uint32_t end,
                                  struct train_stats *epoch, struct err *err)
{
    struct learner *l = t->learner;
    const size_t mark = arena_mark(&l->step);
    const uint32_t micros =
        experience_micros(&t->x, t->order + first, end - first, l->config->micro_tokens);
    struct train_stats *leaf = arena_array(&l->step, micros, sizeof *leaf);
    if (!leaf)
        return err_set(err, ERR_NOMEM, "no room for %u micro-batches", micros);
    memset(leaf, 0, micros * sizeof *leaf);
    enum err_code rc = train_weights(t, first, end, err);
    if (rc)
        return rc;
    if ((rc = train_gradients(t, first, end, micros, leaf, err)) ||
        (rc = group_gather(l, micros, sizeof *leaf, leaf, err)))
        return rc;
    for (uint32_t i = 0; i < micros; i++) {
        ppo_stats_merge(&epoch->ppo, &leaf[i].ppo);
        ppo_stats_merge(&epoch->cost, &leaf[i].cost);
    }
    arena_reset(&l->step, mark);
    return train_apply(t, err);
}

/* Each update's weights add up to 1: of an epoch's losses tell the mean, not the sum. */
static void train_mean_losses(struct ppo_stats *epoch, uint32_t updates)
{
    epoch->policy_loss /= updates;
    epoch->kl_loss /= updates;
    epoch->entropy_bonus /= updates;
    epoch->value_loss /= updates;
}

/* All epochs; statistics are the last epoch's. */
static enum err_code train_epochs(struct train *t, struct err *err)
{
    const struct run_config *c = t->learner->config;
    const uint32_t rows = t->x.rows;
    const uint32_t parts = c->minibatches < rows ? c->minibatches : rows;
    for (uint32_t epoch = 0; epoch < c->epochs; epoch++) {
        struct train_stats stats = {0};
        if (parts > 1)
            rng_permutation(t->order, rows, c->seed, RNG_STREAM_MINIBATCH, t->lease->step,
                            epoch);
        for (uint32_t p = 0; p < parts; p++) {
            const uint32_t first = (uint32_t)((uint64_t)rows * p / parts);
            const uint32_t end = (uint32_t)((uint64_t)rows * (p + 1) / parts);
            const enum err_code rc = train_update(t, first, end, &stats, err);
            if (rc)
                return rc;
        }
        train_mean_losses(&stats.ppo, parts);
        train_mean_losses(&stats.cost, parts);
        t->stats = stats;
        if (ppo_stop(ppo_summarize(&stats.ppo).approx_kl, c->early_stop_kl))
            break;
    }
    return ERR_OK;
}

/* The weights of `version`, where they are still kept. */
static const float *train_past_weights(const struct learner *l, uint64_t version)
{
    for (uint32_t i = 0; i < l->history_n; i++)
        if (l->history[i].version == version)
            return l->history[i].w;
    return NULL;
}

/*
 * Compute some rollouts' log-probs again under the weights that generated them: the greatest
 * difference from what the actor recorded, which must be 0.  NAN where the weights are gone.
 */
static enum err_code train_verify(struct train *t, double *diff, struct err *err)
{
    struct learner *l = t->learner;
    const struct experience *x = &t->x;
    const float *w = train_past_weights(l, t->lease->behaviour_version);
    *diff = NAN;
    if (!w || l->group.rank > 0) /* rank 0 tells */
        return ERR_OK;
    memcpy(l->checker->w, w, model_bytes(l->checker));
    l->checker->generation += 1;

    const size_t mark = arena_mark(&l->step);
    enum err_code rc = ERR_OK;
    double greatest = 0;
    const uint32_t rows = x->rows < LEARNER_VERIFY_ROWS ? x->rows : LEARNER_VERIFY_ROWS;
    const uint32_t start = (uint32_t)(t->lease->step * LEARNER_VERIFY_ROWS % x->rows);
    for (uint32_t i = 0; i < rows && rc == ERR_OK; i++) {
        struct experience_micro micro;
        const uint32_t row = (start + i) % x->rows;
        rc = experience_pack(x, &row, 0, 1, &l->step, &micro, err);
        float *logp = rc ? NULL : train_array(t, micro.tokens);
        if (rc == ERR_OK && !logp)
            rc = err_set(err, ERR_NOMEM, "no room for %u tokens", micro.tokens);
        if (rc == ERR_OK)
            rc = pass_forward(l->checker_pass, &micro.batch, err);
        if (rc == ERR_OK) {
            const struct pass_logprob want = {micro.tokens, micro.at, micro.target,
                                              l->config->temperature};
            pass_logprobs(l->checker_pass, &want, logp, NULL, NULL);
            for (uint32_t k = 0; k < micro.tokens; k++)
                greatest =
                    fmax(greatest, fabs((double)logp[k] - (double)x->logp_old[micro.entry[k]]));
        }
        arena_reset(&l->step, mark);
        worker_progress(t->worker);
    }
    *diff = greatest;
    return rc;
}

static void train_report_cost(struct train *t)
{
    struct learner *l = t->learner;
    learner_stat(l, "advantage_mean", t->a.mean);
    if (!l->has_cost_critic)
        return;
    const struct ppo_summary cost = ppo_summarize(&t->stats.cost);
    learner_stat(l, "reward_advantage_mean", t->a.reward.mean);
    learner_stat(l, "cost_advantage_mean", t->a.cost.mean);
    learner_stat(l, "cost_value_loss", cost.value_loss);
    learner_stat(l, "cost_value_clip_fraction", cost.value_clip_fraction);
    learner_stat(l, "cost_explained_variance", cost.explained_variance);
    learner_stat(l, "cost_critic_grad_norm", t->cost_critic_norm);
}

static void train_report(struct train *t, double logp_diff)
{
    struct learner *l = t->learner;
    const struct ppo_summary summary = ppo_summarize(&t->stats.ppo);
    l->stats_n = 0;
#define X(name, meaning) learner_stat(l, #name, summary.name);
    PPO_SUMMARY_MAP(X)
#undef X
    learner_stat(l, "grad_norm", t->norm);
    learner_stat(l, "critic_grad_norm", t->critic_norm);
    if (l->has_cost)
        train_report_cost(t);
    learner_stat(l, "lr", train_lr(t, l->config->lr));
    learner_stat(l, "updates", (double)t->updates);
    if (!isnan(logp_diff))
        learner_stat(l, "logp_diff_max", logp_diff);
}

static enum err_code train_open(struct train *t, struct err *err)
{
    struct learner *l = t->learner;
    enum err_code rc = experience_open(&t->x, t->lease, &l->step, err);
    if (rc)
        return rc;
    if (t->x.rows > l->config->batch)
        return err_set(err, ERR_VALUE, "train lease of step %llu has %u rows, more than %u",
                       (unsigned long long)t->lease->step, t->x.rows, l->config->batch);
    for (uint32_t row = 0; row < t->x.rows; row++)
        if (experience_row_tokens(&t->x, row) > l->tokens_max)
            return err_set(err, ERR_VALUE, "slot %u of step %llu has %u tokens, more than %zu",
                           t->x.items[row].b, (unsigned long long)t->lease->step,
                           experience_row_tokens(&t->x, row), l->tokens_max);
    if (l->has_cost != (t->x.cost != NULL))
        return err_set(err, ERR_VALUE, "train lease of step %llu comes %s costs",
                       (unsigned long long)t->lease->step, l->has_cost ? "without" : "with");
    t->order = arena_array(&l->step, t->x.rows, sizeof *t->order);
    t->weight = train_array(t, t->x.tokens);
    if (!t->order || !t->weight)
        return err_set(err, ERR_NOMEM, "no room for a step of %u tokens", t->x.tokens);
    for (uint32_t i = 0; i < t->x.rows; i++)
        t->order[i] = i;
    t->ppo = l->ppo;
    if (l->config->kl_place == RUN_KL_PLACE_LOSS)
        t->ppo.kl_coef = t->lease->kl_coef;
    return advantages_open(&t->a, l, t->x.tokens, err);
}

enum err_code learner_train(struct learner *l, const struct message *lease,
                            struct worker *worker, struct err *err)
{
    struct train t = {.learner = l, .worker = worker, .lease = lease};
    double logp_diff = NAN;
    l->dirty = false;
    l->inherited = l->history[0].kl_reference;
    if (lease->items_n ==
        0) { /* a step that was set aside: the next version has these weights */
        const enum err_code rc =
            lease->restore ? learner_restore(l, lease->base_version, err) : ERR_OK;
        l->stats_n = 0;
        learner_stat(l, "updates", 0.0);
        return rc;
    }
    arena_reset(&l->step, 0);
    enum err_code rc = train_open(&t, err);
    if (rc == ERR_OK)
        rc = train_verify(&t, &logp_diff, err);
    if (rc == ERR_OK)
        rc = advantages_compute(&t.a, l, worker, &t.x, lease->multiplier, err);
    if (rc == ERR_OK)
        rc = train_epochs(&t, err);
    if (rc == ERR_OK)
        train_report(&t, logp_diff);
    arena_reset(&l->step, 0);
    return rc;
}

/* advantages.c -- see advantages.h. */
#include "learner/advantages.h"

#include "control/advantage.h"
#include "learner/group.h"

/* What computing them needs for the length of a call. */
struct advantages_work {
    struct learner *learner;
    struct worker *worker;
    const struct experience *x;
    uint32_t *order;  /* (rows) as they stand */
    float *bootstrap; /* (rows) */
    float *other;     /* (N) A_c, or the streams' token rewards as one; with costs */
};

static float *advantages_array(struct learner *l, size_t n)
{
    return arena_array(&l->step, n > 0 ? n : 1, sizeof(float));
}

enum err_code advantages_open(struct advantages *a, struct learner *l, uint32_t tokens,
                              struct err *err)
{
    *a = (struct advantages){.adv = advantages_array(l, tokens)};
    bool full = !a->adv;
    if (l->has_critic) {
        a->reward.critic = &l->critic;
        a->reward.value = advantages_array(l, tokens);
        a->reward.ret = advantages_array(l, tokens);
        full = full || !a->reward.value || !a->reward.ret;
    }
    if (l->has_cost_critic) {
        a->cost.critic = &l->cost_critic;
        a->cost.value = advantages_array(l, tokens);
        a->cost.ret = advantages_array(l, tokens);
        full = full || !a->cost.value || !a->cost.ret;
    }
    return full ? err_set(err, ERR_NOMEM, "no room for the advantages of %u tokens", tokens)
                : ERR_OK;
}

/* A critic's values of rows first .. end-1, which are a micro-batch. */
static enum err_code advantages_values_micro(const struct advantages_work *w,
                                             const struct advantages_stream *stream,
                                             uint32_t first, uint32_t end, struct err *err)
{
    struct learner *l = w->learner;
    const bool boot = l->config->truncation == RUN_TRUNCATION_BOOTSTRAP;
    struct experience_micro micro;
    const size_t mark = arena_mark(&l->step);
    enum err_code rc = experience_pack(w->x, w->order, first, end, &l->step, &micro, err);
    float *out = rc ? NULL : advantages_array(l, micro.tokens);
    float *last = rc ? NULL : advantages_array(l, micro.rows);
    if (rc == ERR_OK && (!out || !last))
        rc = err_set(err, ERR_NOMEM, "no room for the values of %u tokens", micro.tokens);
    if (rc == ERR_OK)
        rc = pass_forward(stream->critic->pass, &micro.batch, err);
    if (rc == ERR_OK) {
        pass_scores(stream->critic->pass, micro.tokens, micro.at, out);
        pass_scores(stream->critic->pass, micro.rows, micro.last_at, last);
        for (uint32_t i = 0; i < micro.tokens; i++)
            stream->value[micro.entry[i]] = out[i];
        for (uint32_t i = 0; i < micro.rows; i++) {
            const uint32_t row = micro.row[i];
            const bool cut = w->x->items[row].finish == WIRE_FINISH_LENGTH;
            w->bootstrap[row] = boot && cut ? last[i] : 0.0f;
        }
    }
    arena_reset(&l->step, mark);
    worker_progress(w->worker);
    return rc;
}

/* Rows and their response tokens of each rank follow one another: fetch the others'. */
static enum err_code advantages_values_gather(const struct advantages_work *w,
                                              const struct advantages_stream *stream,
                                              const uint32_t *row, struct err *err)
{
    const struct learner *l = w->learner;
    struct exchange *exchange = group_exchange(l);
    size_t rows[EXCHANGE_RANKS_MAX], tokens[EXCHANGE_RANKS_MAX];
    if (!exchange)
        return ERR_OK;
    for (uint32_t rank = 0; rank < l->group.ranks; rank++) {
        const uint32_t first = row[rank], end = row[rank + 1];
        rows[rank] = (end - first) * sizeof(float);
        tokens[rank] = (w->x->offset[end] - w->x->offset[first]) * sizeof(float);
    }
    const enum err_code rc = exchange_gather(exchange, tokens, stream->value, err);
    return rc ? rc : exchange_gather(exchange, rows, w->bootstrap, err);
}

/*
 * A critic's value before each response token, and after the last one where the response was
 * cut and is to be bootstrapped (else 0).  Each rank of a group computes those of its
 * micro-batches.
 */
static enum err_code advantages_values(const struct advantages_work *w,
                                       const struct advantages_stream *stream, struct err *err)
{
    const struct learner *l = w->learner;
    const struct experience *x = w->x;
    const uint32_t micro_tokens = l->config->micro_tokens;
    const uint32_t micros = experience_micros(x, w->order, x->rows, micro_tokens);
    uint32_t row[EXCHANGE_RANKS_MAX + 1] = {0}, rank = 0, i = 0;
    for (uint32_t first = 0, end; first < x->rows; first = end, i++) {
        end = experience_cut(x, w->order, x->rows, first, micro_tokens);
        while (i == summation_first(micros, l->group.ranks, rank + 1))
            row[++rank] = first;
        const enum err_code rc = rank == l->group.rank
                                     ? advantages_values_micro(w, stream, first, end, err)
                                     : ERR_OK;
        if (rc)
            return rc;
    }
    while (rank < l->group.ranks)
        row[++rank] = x->rows;
    return advantages_values_gather(w, stream, row, err);
}

static struct advantage_params advantages_params(const struct run_config *c)
{
    static const enum advantage_kind kinds[] = {
        [RUN_ESTIMATOR_GAE] = ADVANTAGE_GAE,
        [RUN_ESTIMATOR_GRPO] = ADVANTAGE_GRPO,
        [RUN_ESTIMATOR_RLOO] = ADVANTAGE_RLOO,
        [RUN_ESTIMATOR_REINFORCE_PP] = ADVANTAGE_REINFORCE_PP,
    };
    const bool always = c->estimator == RUN_ESTIMATOR_REINFORCE_PP;
    const bool groups = advantage_needs_groups(kinds[c->estimator]);
    return (struct advantage_params){
        .kind = kinds[c->estimator],
        /* Group estimators are normalised already. */
        .whiten = (c->whiten && !groups) || always ? ADVANTAGE_WHITEN_UNBIASED
                                                   : ADVANTAGE_WHITEN_NONE,
        .gamma = c->gamma,
        .lambda = c->lambda,
        .eps = 1e-6,
    };
}

/* One stream's advantages of these token rewards, by its critic where it has one. */
static enum err_code advantages_stream(const struct advantages_work *w,
                                       const struct advantage_params *params,
                                       struct advantages_stream *stream, const float *token,
                                       float *adv, struct err *err)
{
    const struct experience *x = w->x;
    enum err_code rc = stream->critic ? advantages_values(w, stream, err) : ERR_OK;
    if (rc)
        return rc;
    const struct advantage_batch batch = {
        .rows = x->rows,
        .offset = x->offset,
        .token_reward = token,
        .value = stream->value,
        .bootstrap = w->bootstrap,
        .group = x->group,
    };
    rc = advantage_compute(params, &batch, adv, stream->ret, err);
    if (rc == ERR_OK)
        stream->mean = advantage_moments(adv, NULL, x->tokens).mean;
    return rc;
}

/* Rewards and costs, each by its critic; then one. */
static enum err_code advantages_of_critics(struct advantages *a,
                                           const struct advantages_work *w,
                                           const struct advantage_params *params,
                                           double multiplier, struct err *err)
{
    const struct experience *x = w->x;
    struct advantage_params bare = *params;
    bare.whiten = ADVANTAGE_WHITEN_NONE;
    enum err_code rc = advantages_stream(w, &bare, &a->reward, x->reward, a->adv, err);
    if (rc == ERR_OK && x->cost) {
        rc = advantages_stream(w, &bare, &a->cost, x->cost, w->other, err);
        if (rc == ERR_OK)
            advantage_combine(a->adv, w->other, multiplier, a->adv, x->tokens);
    }
    if (rc)
        return rc;
    a->mean = advantage_moments(a->adv, NULL, x->tokens).mean;
    return advantage_whiten_batch(a->adv, NULL, x->tokens, params->whiten, err);
}

/* The estimators without critics take the streams as one token reward. */
static enum err_code advantages_of_rewards(struct advantages *a,
                                           const struct advantages_work *w,
                                           const struct advantage_params *params,
                                           double multiplier, struct err *err)
{
    const struct experience *x = w->x;
    const float *token = x->reward;
    if (x->cost) {
        advantage_combine(x->reward, x->cost, multiplier, w->other, x->tokens);
        token = w->other;
    }
    const enum err_code rc = advantages_stream(w, params, &a->reward, token, a->adv, err);
    a->mean = a->reward.mean;
    return rc;
}

enum err_code advantages_compute(struct advantages *a, struct learner *l, struct worker *worker,
                                 const struct experience *x, double multiplier, struct err *err)
{
    const struct advantage_params params = advantages_params(l->config);
    const size_t mark = arena_mark(&l->step);
    struct advantages_work w = {
        .learner = l,
        .worker = worker,
        .x = x,
        .order = arena_array(&l->step, x->rows, sizeof *w.order),
        .bootstrap = advantages_array(l, x->rows),
        .other = x->cost ? advantages_array(l, x->tokens) : NULL,
    };
    enum err_code rc = ERR_OK;
    if (!w.order || !w.bootstrap || (x->cost && !w.other))
        rc = err_set(err, ERR_NOMEM, "no room for %u rows", x->rows);
    for (uint32_t i = 0; rc == ERR_OK && i < x->rows; i++)
        w.order[i] = i;
    if (rc == ERR_OK)
        rc = l->has_critic ? advantages_of_critics(a, &w, &params, multiplier, err)
                           : advantages_of_rewards(a, &w, &params, multiplier, err);
    arena_reset(&l->step, mark);
    return rc;
}

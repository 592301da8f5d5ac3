/* learner.c -- setting up, and the leases: see learner.h. */
#include "learner/learner.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "learner/checkpoint.h"
#include "learner/experience.h"
#include "learner/group.h"
#include "learner/past.h"

_Static_assert((int)RUN_PRECISION_BF16 == (int)PRECISION_BF16, "one is cast to the other");

#define LEARNER_RETRY_S 1 /* to what the end of a run needs on the disk */

static enum err_code learner_code(const struct err *err)
{
    return err && err->code ? err->code : ERR_NOMEM;
}

static struct trainable_setup learner_setup(const struct learner *l, size_t tokens_max)
{
    const struct run_config *c = l->config;
    return (struct trainable_setup){
        .pool = l->pool,
        .precision = (enum precision)c->precision,
        .gradients = (enum precision)c->gradients,
        .tokens_max = tokens_max,
        .micros_max = c->batch,
        .grouped = c->learners > 1,
        .params = {(float)c->beta1, (float)c->beta2, (float)c->adam_eps,
                   (float)c->weight_decay},
        .grad_clip = c->grad_clip,
    };
}

static struct ppo_params learner_ppo(const struct run_config *c)
{
    static const enum ppo_aggregation aggregations[] = {
        [RUN_AGGREGATION_TOKEN_MEAN] = PPO_TOKEN_MEAN,
        [RUN_AGGREGATION_SEQUENCE_MEAN] = PPO_SEQUENCE_MEAN,
        [RUN_AGGREGATION_SEQUENCE_SUM] = PPO_SEQUENCE_SUM,
    };
    static const enum kl_estimator estimators[] = {
        [RUN_KL_K1] = KL_K1, [RUN_KL_K2] = KL_K2, [RUN_KL_K3] = KL_K3};
    return (struct ppo_params){
        .clip_low = c->clip_low,
        .clip_high = c->clip_high,
        .dual_clip = c->dual_clip,
        .value_clip = c->value_clip,
        .value_coef = c->value_coef,
        .entropy_coef = c->entropy_coef,
        .kl_estimator = estimators[c->kl_estimator],
        .aggregation = aggregations[c->aggregation],
    };
}

/* A critic starts from one model: of an ensemble, from its first. */
static struct model *learner_load_scored(const char *dir, struct err *err)
{
    char member[FILE_PATH_MAX];
    if (file_join(member, dir, "member-0", err))
        return NULL;
    return model_load_with_score_head(file_exists(member) ? member : dir, 1, err);
}

struct model *learner_load_policy(const struct run_config *c, struct err *err)
{
    return model_load(c->policy, err);
}

struct model *learner_load_critic(const struct run_config *c, struct err *err)
{
    const char *dir = c->policy;
    if (c->critic == RUN_CRITIC_PATH)
        dir = c->critic_path;
    if (c->critic == RUN_CRITIC_REWARD)
        dir = run_config_model_scorer(c, RUN_ROLE_REWARD)->path;
    return learner_load_scored(dir, err);
}

struct model *learner_load_cost_critic(const struct run_config *c, struct err *err)
{
    const char *dir = c->policy;
    if (c->cost_critic == RUN_COST_CRITIC_PATH)
        dir = c->cost_critic_path;
    if (c->cost_critic == RUN_COST_CRITIC_COST)
        dir = run_config_model_scorer(c, RUN_ROLE_COST)->path;
    return learner_load_scored(dir, err);
}

/* The models that learn, and the one that checks. */
static enum err_code learner_open_models(struct learner *l, struct err *err)
{
    const struct run_config *c = l->config;
    struct model *policy = learner_load_policy(c, err);
    if (!policy)
        return learner_code(err);
    const size_t longest = (size_t)c->prompt_tokens_max + c->max_new_tokens;
    l->tokens_max = longest < policy->config.T ? longest : policy->config.T;
    const size_t pass_tokens =
        l->tokens_max > c->micro_tokens ? l->tokens_max : c->micro_tokens;
    const struct trainable_setup setup = learner_setup(l, pass_tokens);
    enum err_code rc = trainable_init(&l->policy, "policy", policy, &setup, err);
    if (rc == ERR_OK && l->has_critic) {
        struct model *critic = learner_load_critic(c, err);
        rc = critic ? trainable_init(&l->critic, "critic", critic, &setup, err)
                    : learner_code(err);
    }
    if (rc == ERR_OK && l->has_cost_critic) {
        struct model *critic = learner_load_cost_critic(c, err);
        rc = critic ? trainable_init(&l->cost_critic, "cost critic", critic, &setup, err)
                    : learner_code(err);
    }
    if (rc)
        return rc;
    l->checker = model_new(&policy->config, err);
    if (l->checker)
        l->checker->precision = policy->precision;
    l->checker_pass =
        l->checker ? pass_new(l->checker, l->pool, l->tokens_max, false, err) : NULL;
    if (!l->checker_pass)
        return learner_code(err);
    /* A step's own arrays: ten floats or words a token, and a micro-batch's twenty. */
    const size_t tokens = (size_t)c->batch * longest;
    const size_t bytes = experience_bytes(c->batch, tokens) + tokens * 10 * sizeof(float) +
                         experience_bytes(c->batch, pass_tokens) +
                         pass_tokens * 20 * sizeof(float) +
                         (size_t)c->batch * (64 + sizeof(struct train_stats)) + 65536;
    return arena_init(&l->step, bytes, "a training step", err);
}

static enum err_code learner_open_history(struct learner *l, struct err *err)
{
    l->history_max = l->config->lag + 1;
    assert(l->history_max <= LEARNER_HISTORY_MAX);
    for (uint32_t i = 0; i < l->history_max; i++) {
        l->history[i].w = malloc(model_bytes(l->policy.model));
        if (!l->history[i].w)
            return err_set(err, ERR_NOMEM, "out of memory for %u past versions",
                           l->history_max);
    }
    l->history_n = 1;
    memcpy(l->history[0].w, l->policy.model->w, model_bytes(l->policy.model));
    return ERR_OK;
}

/* How many versions are served: one more than the history, and what KL is measured from. */
static uint32_t learner_versions(const struct run_config *c)
{
    static_assert(RUN_LAG_MAX + 2 + LEARNER_KL_REFERENCES_MAX <= WEIGHTS_VERSIONS_MAX,
                  "the weights server holds all");
    return c->lag + 2 + (c->kl_reference_every > 0 ? LEARNER_KL_REFERENCES_MAX : 0);
}

/* Serve every version kept; the newest one's hash is what HELLO says. */
static enum err_code learner_serve(struct learner *l, const char *bulk, struct err *err)
{
    enum err_code rc =
        weights_server_open(&l->server, l->context, bulk, learner_versions(l->config), err);
    if (rc == ERR_OK)
        weights_server_share(l->server, l->config->shared_memory);
    for (uint32_t i = l->history_n; rc == ERR_OK && i-- > 0;)
        rc = weights_server_publish(l->server, l->history[i].version, l->history[i].w,
                                    model_bytes(l->policy.model), &l->weights_hash, err);
    return rc ? rc : past_serve(l, err);
}

enum err_code learner_new(struct learner **out, const struct run_config *config,
                          const char *name, uint64_t below, struct wire_context *context,
                          const char *bulk, struct err *err)
{
    struct learner *l = calloc(1, sizeof *l);
    if (!l)
        return err_set(err, ERR_NOMEM, "out of memory for the learner");
    snprintf(l->name, sizeof l->name, "%s", name);
    l->config = config;
    l->context = context;
    l->group.ranks = 1;
    l->has_critic = config->estimator == RUN_ESTIMATOR_GAE;
    l->has_cost = run_config_has_cost(config);
    l->has_cost_critic = l->has_critic && l->has_cost;
    l->ppo = learner_ppo(config);
    bool found = false;
    enum err_code rc = ERR_OK;
    l->pool = pool_new(config->learner_threads, err);
    if (!l->pool)
        rc = learner_code(err);
    if (rc || (rc = ppo_check(&l->ppo, err)) || (rc = learner_open_models(l, err)) ||
        (rc = learner_open_history(l, err)) ||
        (rc = checkpoint_read_newest(l, below, &found, err)) ||
        (rc = learner_serve(l, bulk, err)) || (rc = group_open(l, err))) {
        learner_free(l);
        return rc;
    }
    if (found)
        log_info("RESUME", "from checkpoint v%llu", (unsigned long long)l->version);
    *out = l;
    return ERR_OK;
}

void learner_disconnect(struct learner *l)
{
    if (!l)
        return;
    group_close(l);
    weights_server_close(l->server);
    l->server = NULL;
}

void learner_free(struct learner *l)
{
    if (!l)
        return;
    learner_disconnect(l);
    pass_free(l->checker_pass);
    model_free(l->checker);
    trainable_release(&l->policy);
    trainable_release(&l->critic);
    trainable_release(&l->cost_critic);
    for (uint32_t i = 0; i < l->history_max; i++)
        free(l->history[i].w);
    past_release(l);
    arena_release(&l->step);
    pool_free(l->pool);
    free(l);
}

void learner_stat(struct learner *l, const char *name, double value)
{
    assert(l->stats_n < WIRE_STATS_MAX);
    struct wire_stat *stat = &l->stats[l->stats_n++];
    snprintf(stat->name, sizeof stat->name, "%s", name);
    stat->value = value;
}

/* The new weights become the newest of the history and are served. */
static enum err_code learner_advance(struct learner *l, struct err *err)
{
    const struct learner_version oldest = l->history[l->history_max - 1];
    memmove(l->history + 1, l->history, (l->history_max - 1) * sizeof l->history[0]);
    l->history[0].w = oldest.w;
    l->history[0].version = ++l->version;
    if (l->history_n < l->history_max)
        l->history_n += 1;
    memcpy(l->history[0].w, l->policy.model->w, model_bytes(l->policy.model));
    const enum err_code rc =
        weights_server_publish(l->server, l->version, l->history[0].w,
                               model_bytes(l->policy.model), &l->weights_hash, err);
    return rc ? rc : past_advance(l, err);
}

static enum err_code learner_send_result(struct learner *l, const struct message *lease,
                                         struct worker *worker, struct err *err)
{
    const struct message result = {
        .type = MESSAGE_TRAIN_RESULT,
        .lease = lease->lease,
        .step = lease->step,
        .version = l->version,
        .rank = lease->rank,
        .has_hash = true,
        .hash = l->weights_hash,
        .checkpoint_version = l->checkpoint,
        .stats = l->stats,
        .stats_n = l->stats_n,
    };
    return worker_send(worker, &result, err);
}

static enum err_code learner_write_once(struct learner *l, const struct message *lease,
                                        struct err *err)
{
    enum err_code rc = ERR_OK;
    l->pinned[0] = lease->base_version;
    l->pinned[1] = lease->target_version;
    if ((lease->checkpoint || lease->last) && l->checkpoint != l->version)
        rc = checkpoint_write(l, err);
    if (rc == ERR_OK && lease->last)
        rc = checkpoint_write_final(l, err);
    return rc;
}

/* What a lease asks for besides, of the version it leads to.  Where it was done before: not
 * again.  Where the disk fails, nothing of it has a final name, and what is in memory is as good
 * as ever: a checkpoint is asked for again, the end of the run waits for the disk, and so does
 * what a rollback would go back to. */
static enum err_code learner_write(struct learner *l, const struct message *lease,
                                   struct worker *worker, struct err *err)
{
    /* A rollback looks for these, so they are not for a later step either. */
    const bool waits = lease->last || (lease->checkpoint && run_config_rolls_back(l->config) &&
                                       l->version % l->config->breaker_restore_every == 0);
    for (;;) {
        const enum err_code rc = learner_write_once(l, lease, err);
        if (rc != ERR_IO)
            return rc;
        log_error("CHECKPOINT-FAILED", "version %llu: %s; %s", (unsigned long long)l->version,
                  err->text, waits ? "again in a second" : "again with the next step's");
        if (!waits)
            return ERR_OK;
        if (worker_stopping(worker))
            return rc;
        worker_progress(worker);
        nanosleep(&(struct timespec){.tv_sec = LEARNER_RETRY_S}, NULL);
    }
}

/* LEASE_FAILED; an error where what this learner holds is no version any more. */
static enum err_code learner_fail(struct learner *l, const struct message *lease,
                                  struct worker *worker, const struct err *why, struct err *err)
{
    const bool restored = group_end(l, why->text);
    if (restored) /* mostly because another is gone, or the coordinator has decided anew */
        log_warn("ATTEMPT-FAILED", "step %llu: %s", (unsigned long long)lease->step, why->text);
    else
        log_error("TRAIN-FAILED", "step %llu: %s", (unsigned long long)lease->step, why->text);
    const enum err_code rc = worker_send_failed(worker, lease, why->text, err);
    if (rc || restored || !l->dirty)
        return rc;
    return err_set(err, why->code, "step %llu: %s", (unsigned long long)lease->step, why->text);
}

/* Nothing in memory leads to the version that the step goes back to.  No LEASE_FAILED: the run need
 * not end of it. */
static enum err_code learner_rewind(struct learner *l, const struct message *lease,
                                    const struct err *why, struct err *err)
{
    group_end(l, why->text);
    log_warn("REWIND", "step %llu: %s: it comes there again from before",
             (unsigned long long)lease->step, why->text);
    return err_set(err, why->code, "step %llu: %s", (unsigned long long)lease->step, why->text);
}

/* For `ops/soak/scaling`, and for who wonders what a step is waiting for. */
static void learner_tell(const struct learner *l, const struct message *lease,
                         uint64_t begun_us, uint64_t waited_us)
{
    log_debug("STEP-TRAINED",
              "step %llu in %.4f s, of which %.4f waiting for other learners; %.4f s of "
              "processor time since the start",
              (unsigned long long)lease->step, (double)(clock_mono_us() - begun_us) * 1e-6,
              (double)(group_waited_us(l) - waited_us) * 1e-6,
              (double)clock_process_us() * 1e-6);
}

/* Train, publish, keep, tell. */
static enum err_code learner_step(struct learner *l, const struct message *lease,
                                  struct worker *worker, struct err *err)
{
    struct err why = {0};
    const uint64_t begun_us = clock_mono_us(), waited_us = group_waited_us(l);
    fault_at(FAULT_train_step);
    enum err_code rc = group_begin(l, lease, worker, &why);
    fault_at(FAULT_group_joined);
    if (rc == ERR_OK)
        rc = learner_train(l, lease, worker, &why);
    if (rc && l->below > 0)
        return learner_rewind(l, lease, &why, err);
    if (rc)
        return learner_fail(l, lease, worker, &why, err);
    fault_at(FAULT_train_done);
    group_end(l, NULL);
    if ((rc = learner_advance(l, err)) || (rc = learner_write(l, lease, worker, err)))
        return rc;
    worker_set_weights(worker, l->version, &l->weights_hash);
    fault_at(FAULT_train_result);
    learner_tell(l, lease, begun_us, waited_us);
    return learner_send_result(l, lease, worker, err);
}

/* The step is behind this learner: the result again, with numbers if it still has them. */
static enum err_code learner_repeat(struct learner *l, const struct message *lease,
                                    struct worker *worker, struct err *err)
{
    group_decline(l, lease, "it has trained this step already");
    const enum err_code rc = learner_write(l, lease, worker, err);
    return rc ? rc : learner_send_result(l, lease, worker, err);
}

static enum err_code learner_on_lease(struct learner *l, const struct message *lease,
                                      struct worker *worker, struct err *err)
{
    if (lease->step == l->version)
        return learner_step(l, lease, worker, err);
    if (lease->step + 1 == l->version)
        return learner_repeat(l, lease, worker, err);
    char why[128];
    snprintf(why, sizeof why, "step %llu cannot follow version %llu, which this learner holds",
             (unsigned long long)lease->step, (unsigned long long)l->version);
    group_decline(l, lease, why);
    return worker_send_failed(worker, lease, why, err);
}

enum err_code learner_compute(struct worker *worker, void *ctx, struct err *err)
{
    struct learner *l = ctx;
    struct message lease;
    pool_thread_init();
    while (worker_wait_lease(worker, &lease, WORKER_FOREVER)) {
        worker_set_held(worker, lease.items_n);
        const enum err_code rc = learner_on_lease(l, &lease, worker, err);
        message_release(&lease);
        worker_set_held(worker, 0);
        if (rc)
            return worker_stopping(worker) ? ERR_OK : rc;
    }
    return ERR_OK;
}

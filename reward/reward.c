/* reward.c -- see reward.h. */
#include "reward/reward.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "engine/model.h"
#include "reward/frozen.h"
#include "reward/labels.h"
#include "reward/reference_model.h"
#include "reward/reference_scores.h"
#include "reward/texts.h"

struct reward {
    const struct run_config *config;
    struct pool *pool;
    struct tokenizer *tokenizer;
    struct labels labels;
    struct wire_context *context;
    struct reference_model *reference;
    struct scorer *scorer[RUN_SCORERS_MAX];
    struct reference_scores *known; /* NULL: there is no store of them */
    struct hash fingerprint;
    uint32_t vocabulary;
    uint32_t longest; /* tokens of a sample, at most */

    /* The lease at hand: n sound samples, and of each which item it is and where its
     * reference log-probs go.  Arrays have WIRE_ITEMS_MAX entries. */
    struct scorer_sample *samples;
    uint32_t *item;
    size_t *logp_at;
    size_t n;
    const struct scorer_sample **rollouts;
    struct scorer_sample *asked; /* of these, one scorer's */
    uint32_t *asked_item;
    struct hash *key;            /* by item: of a reference, where there is a store */
    struct scorer_score *scores; /* of one scorer */
    struct texts texts;

    /* The result. */
    double *value;        /* (items, scorers) */
    unsigned char *state; /* (items, scorers) */
    float *logp;          /* reference, of the rollouts' response tokens */
    float *packed;        /* the same of the sound samples alone */
    size_t logp_max;      /* room in both */
    char why[WIRE_TEXT_MAX];

    uint64_t
        away_ms[RUN_SCORERS_MAX]; /* since when the service of a scorer is away; 0: it is not */
    bool waiting;                 /* the lease at hand cannot be scored before it is back */
};

static enum err_code reward_allocate(struct reward *reward, struct err *err)
{
    const size_t n = WIRE_ITEMS_MAX, all = n * reward->config->scorers;
    reward->samples = calloc(n, sizeof *reward->samples);
    reward->item = calloc(n, sizeof *reward->item);
    reward->logp_at = calloc(n, sizeof *reward->logp_at);
    reward->rollouts = calloc(n, sizeof *reward->rollouts);
    reward->asked = calloc(n, sizeof *reward->asked);
    reward->asked_item = calloc(n, sizeof *reward->asked_item);
    reward->key = calloc(n, sizeof *reward->key);
    reward->scores = calloc(n, sizeof *reward->scores);
    reward->value = calloc(all, sizeof *reward->value);
    reward->state = calloc(all, sizeof *reward->state);
    if (!reward->samples || !reward->item || !reward->logp_at || !reward->rollouts ||
        !reward->asked || !reward->asked_item || !reward->key || !reward->scores ||
        !reward->value || !reward->state)
        return err_set(err, ERR_NOMEM, "out of memory for the reward daemon");
    return ERR_OK;
}

/* The policy's shape, and the reference, which must be able to read all it writes. */
static enum err_code reward_load_reference(struct reward *reward, struct err *err)
{
    const struct run_config *c = reward->config;
    struct model_config policy;
    enum err_code rc = model_config_read(&policy, c->policy, err);
    if (rc)
        return rc;
    reward->vocabulary = policy.V;
    reward->longest = c->prompt_tokens_max + c->max_new_tokens;
    if (reward->longest > policy.T)
        reward->longest = policy.T;
    rc = reference_model_new(&reward->reference, c, reward->context, reward->pool, policy.V,
                             reward->longest, err);
    return rc ? rc : frozen_check_tokens(c->reference, reward->tokenizer, policy.V, err);
}

static enum err_code reward_take_fingerprint(struct reward *reward, struct err *err)
{
    const struct run_config *c = reward->config;
    struct hash part[3 + RUN_SCORERS_MAX];
    const enum err_code rc = tokenizer_hash(&part[0], c->policy, err);
    if (rc)
        return rc;
    frozen_fingerprint(reference_model_first(reward->reference), &part[1]);
    hash_blake2b(&part[2], reward->labels.text.data, reward->labels.text.len);
    for (uint32_t s = 0; s < c->scorers; s++)
        scorer_fingerprint(reward->scorer[s], &part[3 + s]);
    hash_blake2b(&reward->fingerprint, part, (3 + c->scorers) * sizeof part[0]);
    return ERR_OK;
}

static enum err_code reward_load(struct reward *reward, struct err *err)
{
    const struct run_config *c = reward->config;
    struct err why = {0};
    enum err_code rc = reward_allocate(reward, &why);
    if (rc == ERR_OK) {
        reward->pool = pool_new(c->reward_threads, &why);
        rc = reward->pool ? ERR_OK : why.code;
    }
    if (rc == ERR_OK) {
        reward->tokenizer = tokenizer_load(c->policy, &why);
        rc = reward->tokenizer ? ERR_OK : why.code;
    }
    if (rc == ERR_OK)
        rc = labels_load(&reward->labels, c->prompts, &why);
    if (rc == ERR_OK)
        rc = reward_load_reference(reward, &why);
    const struct scorer_setup setup = {c, reward->pool, reward->tokenizer, reward->vocabulary};
    for (uint32_t i = 0; rc == ERR_OK && i < c->scorers; i++)
        rc = scorer_new(&reward->scorer[i], &c->scorer[i], &setup, &why);
    if (rc == ERR_OK)
        rc = reward_take_fingerprint(reward, &why);
    if (rc == ERR_OK)
        rc = reference_scores_open(&reward->known, c, reward->scorer, &why);
    return rc ? err_set(err, rc, "%s", why.text) : ERR_OK;
}

enum err_code reward_new(struct reward **out, const struct run_config *config,
                         struct wire_context *context, struct err *err)
{
    struct reward *reward = calloc(1, sizeof *reward);
    if (!reward)
        return err_set(err, ERR_NOMEM, "out of memory for the reward daemon");
    reward->config = config;
    reward->context = context;
    texts_init(&reward->texts);
    const enum err_code rc = reward_load(reward, err);
    if (rc) {
        reward_free(reward);
        return rc;
    }
    *out = reward;
    return ERR_OK;
}

void reward_fingerprint(const struct reward *reward, struct hash *out)
{
    *out = reward->fingerprint;
}

void reward_free(struct reward *reward)
{
    if (!reward)
        return;
    reference_scores_close(reward->known);
    for (uint32_t i = 0; i < RUN_SCORERS_MAX; i++)
        scorer_free(reward->scorer[i]);
    reference_model_free(reward->reference);
    labels_release(&reward->labels);
    tokenizer_free(reward->tokenizer);
    pool_free(reward->pool);
    texts_release(&reward->texts);
    free(reward->samples);
    free(reward->item);
    free(reward->logp_at);
    free(reward->rollouts);
    free(reward->asked);
    free(reward->asked_item);
    free(reward->key);
    free(reward->scores);
    free(reward->value);
    free(reward->state);
    free(reward->logp);
    free(reward->packed);
    free(reward);
}

/* The first failure of a lease is what its result says in words. */
static void reward_blame(struct reward *reward, const char *who, const char *why)
{
    if (reward->why[0] == '\0')
        snprintf(reward->why, sizeof reward->why, "%.64s: %.180s", who, why);
}

/* Is the item one that scorers may see?  Else blame it. */
static bool reward_item_is_sound(struct reward *reward, const struct wire_item *item,
                                 const struct scorer_sample *sample)
{
    const uint64_t tokens = (uint64_t)item->prompt_tokens + item->response_tokens;
    char why[SCORER_REASON_MAX] = "";
    if (item->prompt >= reward->labels.n)
        snprintf(why, sizeof why, "prompt %" PRIu32 " of a data set of %zu", item->prompt,
                 reward->labels.n);
    else if (item->prompt_tokens == 0)
        snprintf(why, sizeof why, "the prompt is empty");
    else if (tokens > reward->longest)
        snprintf(why, sizeof why, "%" PRIu64 " tokens, at most %" PRIu32 " are possible",
                 tokens, reward->longest);
    for (uint64_t t = 0; t < tokens && why[0] == '\0'; t++)
        if (sample->ids[t] < 0 || (uint32_t)sample->ids[t] >= reward->vocabulary)
            snprintf(why, sizeof why, "token %" PRIu64 " is %d, outside the vocabulary", t,
                     (int)sample->ids[t]);
    if (why[0] == '\0')
        return true;
    reward_blame(reward, sample->name, why);
    return false;
}

/* The sound items of the lease as samples; returns the reference log-probs' number. */
static size_t reward_take(struct reward *reward, const struct message *lease)
{
    const int32_t *ids = lease->frame[0].data;
    size_t logp_at = 0;
    reward->n = 0;
    for (uint32_t i = 0; i < lease->items_n; i++) {
        const struct wire_item *item = &lease->items[i];
        const bool rollout = item->kind == WIRE_WORK_ROLLOUT;
        struct scorer_sample *sample = &reward->samples[reward->n];
        *sample = (struct scorer_sample){
            .ids = ids,
            .prompt_tokens = item->prompt_tokens,
            .response_tokens = item->response_tokens,
            .finish = item->finish,
        };
        snprintf(sample->name, sizeof sample->name, "%s %" PRIu32 " of %s %" PRIu64,
                 rollout ? "slot" : "reference", item->b, rollout ? "step" : "prompt", item->a);
        if (reward_item_is_sound(reward, item, sample)) {
            sample->label = labels_get(&reward->labels, item->prompt);
            sample->kind = labels_kind(&reward->labels, item->prompt);
            reward->item[reward->n] = i;
            reward->logp_at[reward->n++] = logp_at;
        }
        ids += (size_t)item->prompt_tokens + item->response_tokens;
        logp_at += rollout ? item->response_tokens : 0;
    }
    return logp_at;
}

static enum err_code reward_reserve_logp(struct reward *reward, size_t n, struct err *err)
{
    if (n <= reward->logp_max)
        return ERR_OK;
    float *logp = realloc(reward->logp, n * sizeof *logp);
    if (logp)
        reward->logp = logp;
    float *packed = realloc(reward->packed, n * sizeof *packed);
    if (packed)
        reward->packed = packed;
    if (!logp || !packed)
        return err_set(err, ERR_NOMEM, "out of memory for %zu reference log-probs", n);
    reward->logp_max = n;
    return ERR_OK;
}

static bool reward_logp_is_sound(const float *logp, size_t n)
{
    for (size_t t = 0; t < n; t++)
        if (!(logp[t] <= 0.0f && logp[t] >= -3.0e38f)) /* false for NaN too */
            return false;
    return true;
}

/* Reference log-probs of the rollouts; samples without sound ones are taken out. */
static void reward_reference(struct reward *reward, struct frozen *model,
                             const struct message *lease, const struct scorer_watch *watch)
{
    size_t rollouts = 0;
    for (size_t i = 0; i < reward->n; i++)
        if (lease->items[reward->item[i]].kind == WIRE_WORK_ROLLOUT)
            reward->rollouts[rollouts++] = &reward->samples[i];
    frozen_logprobs(model, reward->rollouts, rollouts, reward->config->temperature, watch,
                    reward->packed);

    const float *logp = reward->packed;
    size_t kept = 0;
    for (size_t i = 0; i < reward->n; i++) {
        const struct scorer_sample *sample = &reward->samples[i];
        if (lease->items[reward->item[i]].kind == WIRE_WORK_ROLLOUT) {
            const size_t n = sample->response_tokens;
            const float *here = logp;
            logp += n;
            if (!reward_logp_is_sound(here, n)) {
                reward_blame(reward, sample->name, "a reference log-prob is not finite");
                continue;
            }
            if (n > 0)
                memcpy(reward->logp + reward->logp_at[i], here, n * sizeof *here);
        }
        reward->samples[kept] = *sample;
        reward->item[kept++] = reward->item[i];
    }
    reward->n = kept;
}

/* Costs and monitors are asked nothing about references, and nobody anything about prompts of
 * another kind than its own. */
static bool reward_is_asked(const struct run_scorer *scorer, enum wire_work work,
                            const struct scorer_sample *sample)
{
    return (scorer->role == RUN_ROLE_REWARD || work == WIRE_WORK_ROLLOUT) &&
           run_scorer_counts(scorer, sample->kind);
}

/* Does the store have the scores of this reference?  Then they are in the result. */
static bool reward_find(struct reward *reward, const struct scorer_sample *sample,
                        uint32_t item)
{
    const uint32_t scorers = reward->config->scorers;
    const size_t at = (size_t)item * scorers;
    reference_scores_key(reward->known, sample, &reward->key[item]);
    if (!reference_scores_find(reward->known, &reward->key[item], sample, &reward->value[at]))
        return false;
    for (uint32_t s = 0; s < scorers; s++)
        if (reward_is_asked(&reward->config->scorer[s], WIRE_WORK_REFERENCE, sample))
            reward->state[at + s] = WIRE_SCORE_OK;
    return true;
}

/* References whose scores are in the store need no scorer: they are taken out. */
static void reward_recall(struct reward *reward, const struct message *lease)
{
    size_t kept = 0;
    for (size_t i = 0; reward->known && i < reward->n; i++) {
        const uint32_t item = reward->item[i];
        if (lease->items[item].kind == WIRE_WORK_REFERENCE &&
            reward_find(reward, &reward->samples[i], item))
            continue;
        reward->samples[kept] = reward->samples[i];
        reward->logp_at[kept] = reward->logp_at[i];
        reward->item[kept++] = item;
    }
    if (reward->known)
        reward->n = kept;
}

/* Scores of references that were all given are kept. */
static void reward_remember(struct reward *reward, const struct message *lease)
{
    const uint32_t scorers = reward->config->scorers;
    for (size_t i = 0; reward->known && i < reward->n; i++) {
        const struct scorer_sample *sample = &reward->samples[i];
        const uint32_t item = reward->item[i];
        const size_t at = (size_t)item * scorers;
        bool all = lease->items[item].kind == WIRE_WORK_REFERENCE;
        for (uint32_t s = 0; all && s < scorers; s++)
            all = !reward_is_asked(&reward->config->scorer[s], WIRE_WORK_REFERENCE, sample) ||
                  reward->state[at + s] == WIRE_SCORE_OK;
        if (all)
            reference_scores_keep(reward->known, &reward->key[item], sample,
                                  &reward->value[at]);
    }
}

static size_t reward_ask(struct reward *reward, const struct run_scorer *scorer,
                         const struct message *lease)
{
    size_t n = 0;
    for (size_t i = 0; i < reward->n; i++) {
        const enum wire_work work = lease->items[reward->item[i]].kind;
        if (!reward_is_asked(scorer, work, &reward->samples[i]))
            continue;
        reward->asked[n] = reward->samples[i];
        reward->asked_item[n++] = reward->item[i];
    }
    return n;
}

/* No response is at fault where a service answers none of the lease: it is away, and the whole
 * lease waits.  Where it answers others, what it does not answer may be what ends it, and fails.
 * A monitor is waited for by nobody. */
static void reward_miss(struct reward *reward, uint32_t s, const char *reason)
{
    const struct run_scorer *scorer = &reward->config->scorer[s];
    const uint64_t now_ms = clock_mono_ms();
    if (reward->away_ms[s] == 0)
        reward->away_ms[s] = now_ms;
    if (reward->waiting || scorer->role == RUN_ROLE_MONITOR ||
        now_ms - reward->away_ms[s] >= reward->config->service_ms)
        return;
    reward->waiting = true;
    reward->why[0] = '\0';
    reward_blame(reward, scorer->name, reason);
}

static void reward_run_scorer(struct reward *reward, uint32_t s, const struct message *lease,
                              const struct scorer_watch *watch)
{
    const struct run_scorer *scorer = &reward->config->scorer[s];
    const size_t n = reward_ask(reward, scorer, lease);
    if (n == 0)
        return;
    scorer_score(reward->scorer[s], reward->asked, n, watch, reward->scores);
    size_t away = 0;
    for (size_t i = 0; i < n; i++) {
        const size_t at = (size_t)reward->asked_item[i] * reward->config->scorers + s;
        reward->value[at] = reward->scores[i].value;
        reward->state[at] = (unsigned char)reward->scores[i].state;
        if (reward->scores[i].state != SCORE_OK)
            reward_blame(reward, scorer->name, reward->scores[i].reason);
        away += reward->scores[i].away;
    }
    if (n > 0 && away == n)
        reward_miss(reward, s, reward->scores[0].reason);
    else if (n > 0)
        reward->away_ms[s] = 0;
    scorer_watch_progress(watch);
}

static void reward_run_role(struct reward *reward, enum run_role role,
                            const struct message *lease, const struct scorer_watch *watch)
{
    for (uint32_t s = 0; s < reward->config->scorers && !scorer_watch_stopping(watch); s++)
        if (reward->config->scorer[s].role == role && !reward->waiting)
            reward_run_scorer(reward, s, lease, watch);
}

static enum err_code reward_find_reference(struct reward *reward, const struct message *lease,
                                           const struct scorer_watch *watch,
                                           struct frozen **model, struct err *err)
{
    struct err why = {0};
    const enum err_code rc =
        reference_model_use(reward->reference, lease->version, lease->text, watch, model, &why);
    if (rc && scorer_watch_stopping(watch))
        return err_set(err, ERR_STATE, "told to stop");
    return rc ? err_set(err, ERR_UNAVAILABLE, "%s", why.text) : ERR_OK;
}

enum err_code reward_score(struct reward *reward, const struct message *lease,
                           const struct scorer_watch *watch, struct message *result,
                           struct err *err)
{
    assert(lease->type == MESSAGE_SCORE_LEASE && lease->items_n <= WIRE_ITEMS_MAX);
    const uint32_t scorers = reward->config->scorers;
    const size_t all = (size_t)lease->items_n * scorers;
    reward->why[0] = '\0';
    reward->waiting = false;
    memset(reward->value, 0, all * sizeof *reward->value);
    memset(reward->state, WIRE_SCORE_FAILED, all);

    const size_t tokens = reward_take(reward, lease);
    enum err_code rc = reward_reserve_logp(reward, tokens, err);
    if (rc)
        return rc;
    if (tokens > 0) {
        struct frozen *model;
        if ((rc = reward_find_reference(reward, lease, watch, &model, err)))
            return rc;
        memset(reward->logp, 0, tokens * sizeof *reward->logp);
        reward_reference(reward, model, lease, watch);
    }
    reward_recall(reward, lease);
    rc = texts_decode(&reward->texts, reward->tokenizer, reward->samples, reward->n, err);
    if (rc)
        return rc;
    /* Monitors last: what the result says in words is then why an item is dropped. */
    reward_run_role(reward, RUN_ROLE_REWARD, lease, watch);
    if (!scorer_watch_stopping(watch))
        reward_remember(reward, lease);
    reward_run_role(reward, RUN_ROLE_COST, lease, watch);
    reward_run_role(reward, RUN_ROLE_MONITOR, lease, watch);
    if (scorer_watch_stopping(watch))
        return err_set(err, ERR_STATE, "told to stop");
    if (reward->waiting)
        return err_set(err, ERR_UNAVAILABLE, "%s", reward->why);

    *result = (struct message){
        .type = MESSAGE_SCORE_RESULT,
        .lease = lease->lease,
        .version = lease->version,
        .items = lease->items,
        .items_n = lease->items_n,
        .scorers = scorers,
        .frames_n = 3,
        .frame = {{reward->value, all * sizeof *reward->value},
                  {reward->state, all},
                  {reward->logp, tokens * sizeof *reward->logp}},
    };
    memcpy(result->text, reward->why, sizeof result->text);
    return ERR_OK;
}

static void reward_progress(void *ctx)
{
    worker_progress(ctx);
}

static bool reward_stopping(void *ctx)
{
    return worker_stopping(ctx);
}

static enum err_code reward_answer(struct reward *reward, struct worker *worker,
                                   const struct message *lease, struct err *err)
{
    const struct scorer_watch watch = {reward_progress, reward_stopping, worker};
    struct message result;
    struct err why = {0};
    fault_at(FAULT_reward_lease);
    worker_set_held(worker, lease->items_n);
    const enum err_code rc = reward_score(reward, lease, &watch, &result, &why);
    worker_set_held(worker, 0);
    fault_at(FAULT_reward_scored);
    if (rc == ERR_STATE)
        return ERR_OK; /* stopping: the lease goes to another */
    if (rc) {
        log_warn("LEASE-BACK", "lease %" PRIu64 ": %s", lease->lease, why.text);
        return rc == ERR_UNAVAILABLE ? worker_send_untried(worker, lease, why.text, err)
                                     : worker_send_failed(worker, lease, why.text, err);
    }
    if (result.text[0])
        log_warn("SCORE-FAILED", "lease %" PRIu64 ": %s", lease->lease, result.text);
    return worker_send(worker, &result, err);
}

enum err_code reward_compute(struct worker *worker, void *ctx, struct err *err)
{
    struct reward *reward = ctx;
    struct message lease;
    pool_thread_init();
    while (worker_wait_lease(worker, &lease, WORKER_FOREVER)) {
        const enum err_code rc = reward_answer(reward, worker, &lease, err);
        message_release(&lease);
        if (rc)
            return worker_stopping(worker) ? ERR_OK : rc;
    }
    return ERR_OK;
}

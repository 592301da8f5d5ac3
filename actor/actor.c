/* actor.c -- see actor.h. */
#include "actor/actor.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "actor/reference_rollouts.h"
#include "actor/results.h"
#include "base/arena.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "engine/generate.h"
#include "engine/model.h"
#include "engine/pool.h"
#include "engine/tokenizer.h"
#include "node/weights.h"
#include "node/weights_choice.h"

#define ACTOR_LEASES_MAX WORKER_INBOX_MAX
#define ACTOR_NO_VERSION UINT64_MAX

/* An item in the generator, and which lease it came with. */
struct actor_item {
    bool busy;
    uint64_t lease;
    struct wire_item item;
    struct hash key; /* of a reference, where there is a store of them */
};

struct actor {
    const struct run_config *config;
    struct wire_context *context;
    struct pool *pool;
    struct model *model;
    struct tokenizer *tokenizer;
    struct generator *generator;
    uint64_t version;             /* in model->w; the model's own w stays version 0's */
    struct weights_view view;     /* of another version: where it is */
    struct arena fetched;         /* its buffer, touched where it cannot be mapped */
    uint64_t fetched_version;     /* in it; 0: none */
    struct weights_choice choice; /* the whole next time, or the difference from that */
    struct weights_server *relay; /* NULL: it serves nobody */
    enum actor_way { ACTOR_WAY_NONE, ACTOR_WAY_MAPPED, ACTOR_WAY_FETCHED } way; /* the last */

    struct actor_item *items; /* (WIRE_ITEMS_MAX) */
    size_t busy;
    struct message waiting[ACTOR_LEASES_MAX]; /* leases for another version, in order */
    size_t waiting_n;
    struct results results;                /* of the version at hand */
    struct reference_rollouts *references; /* NULL: the config names no store */
    struct worker *worker;
};

static enum err_code actor_allocate(struct actor *actor, struct err *err)
{
    actor->items = calloc(WIRE_ITEMS_MAX, sizeof *actor->items);
    if (!actor->items)
        return err_set(err, ERR_NOMEM, "out of memory for the actor");
    const enum err_code rc = results_init(&actor->results, actor->config->max_new_tokens, err);
    if (rc)
        return rc;
    return arena_init(&actor->fetched, model_bytes(actor->model), "an actor's weights", err);
}

enum err_code actor_new(struct actor **out, const struct run_config *config,
                        struct wire_context *context, struct err *err)
{
    struct actor *actor = calloc(1, sizeof *actor);
    if (!actor)
        return err_set(err, ERR_NOMEM, "out of memory for the actor");
    enum err_code rc;
    actor->config = config;
    actor->context = context;
    const size_t tokens_max = (size_t)config->prompt_tokens_max + config->max_new_tokens;

    if (!(actor->pool = pool_new(config->actor_threads, err)) ||
        !(actor->model = model_load(config->policy, err)) ||
        !(actor->tokenizer = tokenizer_load(config->policy, err))) {
        rc = err->code;
        goto out;
    }
    actor->model->precision = (enum precision)config->precision;
    const size_t cache =
        tokens_max < actor->model->config.T ? tokens_max : actor->model->config.T;
    actor->generator = generator_new(actor->model, actor->pool, actor->tokenizer,
                                     config->actor_rows, cache, err);
    rc = actor->generator ? actor_allocate(actor, err) : err->code;
    if (rc == ERR_OK && config->relay_endpoint[0])
        rc = weights_server_open(&actor->relay, context, config->relay_endpoint, 1, err);
    if (rc == ERR_OK)
        rc = reference_rollouts_open(&actor->references, config, actor->model, err);
out:
    if (rc) {
        actor_free(actor);
        return rc;
    }
    *out = actor;
    return ERR_OK;
}

void actor_free(struct actor *actor)
{
    if (!actor)
        return;
    weights_server_close(actor->relay); /* it reads `fetched` */
    for (size_t i = 0; i < actor->waiting_n; i++)
        message_release(&actor->waiting[i]);
    reference_rollouts_close(actor->references);
    generator_free(actor->generator);
    tokenizer_free(actor->tokenizer);
    model_free(actor->model);
    pool_free(actor->pool);
    free(actor->items);
    weights_release(&actor->view);
    arena_release(&actor->fetched);
    results_release(&actor->results);
    free(actor);
}

struct weights_server *actor_relay(const struct actor *actor)
{
    return actor->relay;
}

static bool actor_stopping(void *ctx)
{
    return worker_stopping(ctx);
}

/* Once, and again where it changes: an operator may have wanted the other. */
static void actor_log_way(struct actor *actor, const struct message *lease)
{
    const struct weights_view *view = &actor->view;
    const enum actor_way way = view->memory.bytes ? ACTOR_WAY_MAPPED : ACTOR_WAY_FETCHED;
    if (way == actor->way)
        return;
    actor->way = way;
    log_info("WEIGHTS-WAY", "version %llu is %s %s%s%s", (unsigned long long)lease->version,
             way == ACTOR_WAY_MAPPED ? "mapped from the memory of" : "fetched from",
             lease->text, view->unmapped.code ? "; not mapped: " : "", view->unmapped.text);
}

static enum err_code actor_fetch(struct actor *actor, const struct message *lease,
                                 struct err *err)
{
    const size_t size = model_bytes(actor->model);
    const struct weights_patience patience = {actor->config->dead_ms, weights_timeout_ms(size),
                                              actor_stopping, actor->worker};
    actor->version = ACTOR_NO_VERSION; /* until another is whole */
    model_set_weights(actor->model, NULL);
    weights_release(&actor->view);
    const uint64_t base = actor->choice.differs ? actor->fetched_version : 0;
    const struct weights_request request = {.context = actor->context,
                                            .endpoint = lease->text,
                                            .version = lease->version,
                                            .buffer = actor->fetched.base,
                                            .size = size,
                                            .base = base,
                                            .relay = actor->relay,
                                            .patience = &patience};
    const enum err_code rc = weights_fetch(&request, &actor->view, err);
    worker_note_fetch(actor->worker, &actor->view, size, rc == ERR_OK);
    if (rc || !actor->view.memory.bytes) /* the buffer was written */
        actor->fetched_version = rc ? 0 : lease->version;
    if (rc == ERR_OK && !actor->view.memory.bytes)
        weights_choice_note(&actor->choice, base != 0, size, actor->view.ms);
    return rc;
}

/* Have the model compute with the lease's version.  The generator must be idle. */
static enum err_code actor_use_version(struct actor *actor, const struct message *lease,
                                       struct err *err)
{
    if (actor->version == lease->version)
        return ERR_OK;
    assert(actor->busy == 0);
    if (lease->version != 0) {
        const enum err_code rc = actor_fetch(actor, lease, err);
        if (rc)
            return rc;
        actor_log_way(actor, lease);
    }
    model_set_weights(actor->model, lease->version == 0 ? NULL : actor->view.bytes);
    generator_weights_changed(actor->generator);
    actor->version = lease->version;
    return ERR_OK;
}

static struct generate_request actor_request(const struct actor *actor,
                                             const struct wire_item *item)
{
    const struct run_config *c = actor->config;
    const bool reference = item->kind == WIRE_WORK_REFERENCE;
    return (struct generate_request){
        .prompt_tokens = item->prompt_tokens,
        .max_new_tokens = c->max_new_tokens,
        .sampling = {c->temperature, c->top_k, c->top_p, c->min_p},
        .seed = reference ? run_config_reference_seed(c) : c->seed,
        .stream = reference ? RNG_STREAM_REFERENCE : RNG_STREAM_ROLLOUT,
        .a = item->a,
        .b = item->b,
    };
}

/* A reference that is in the store is a result at once. */
static bool actor_recall(struct actor *actor, const struct message *lease,
                         const struct wire_item *item, const int32_t *prompt, struct hash *key)
{
    int32_t *ids = results_scratch_ids(&actor->results);
    float *logp = results_scratch_logp(&actor->results);
    struct wire_item found = *item;
    if (!actor->references || item->kind != WIRE_WORK_REFERENCE || lease->version != 0)
        return false;
    reference_rollouts_key(actor->references, item, prompt, key);
    if (!reference_rollouts_find(actor->references, key, &found, ids, logp))
        return false;
    results_put(&actor->results, lease->lease, &found, ids, logp);
    return true;
}

/* Hand a lease's items to the generator, but for those that need none. */
static enum err_code actor_add(struct actor *actor, const struct message *lease,
                               struct err *err)
{
    const char *stops[RUN_STOPS_MAX];
    for (uint32_t i = 0; i < actor->config->stops; i++)
        stops[i] = actor->config->stop[i];
    const int32_t *ids = lease->frame[0].data;
    size_t slot = 0;
    for (uint32_t i = 0; i < lease->items_n; i++) {
        const struct wire_item *item = &lease->items[i];
        struct hash key = {0};
        while (slot < WIRE_ITEMS_MAX && actor->items[slot].busy)
            slot++;
        if (slot == WIRE_ITEMS_MAX || actor->busy + actor->results.n >= WIRE_ITEMS_MAX)
            return err_set(err, ERR_VALUE, "more than %u items at once", WIRE_ITEMS_MAX);
        if (actor_recall(actor, lease, item, ids, &key)) {
            ids += item->prompt_tokens;
            continue;
        }
        struct generate_request request = actor_request(actor, item);
        request.tag = slot;
        request.prompt = ids;
        request.stop_strings = stops;
        request.stop_strings_n = actor->config->stops;
        const enum err_code rc = generator_add(actor->generator, &request, err);
        if (rc)
            return rc;
        actor->items[slot] = (struct actor_item){true, lease->lease, *item, key};
        actor->busy += 1;
        ids += item->prompt_tokens;
    }
    worker_set_held(actor->worker, (uint32_t)actor->busy);
    return ERR_OK;
}

static void actor_log_back(const struct message *lease, const struct err *why)
{
    log_warn("LEASE-BACK", "lease %llu of version %llu: %s", (unsigned long long)lease->lease,
             (unsigned long long)lease->version, why->text);
}

/* A lease this actor cannot do: say so. */
static enum err_code actor_give_back(struct actor *actor, const struct message *lease,
                                     const struct err *why, struct err *err)
{
    actor_log_back(lease, why);
    return worker_send_failed(actor->worker, lease, why->text, err);
}

/* A lease that was not begun, for a reason that is not its own. */
static enum err_code actor_give_back_untried(struct actor *actor, const struct message *lease,
                                             const struct err *why, struct err *err)
{
    actor_log_back(lease, why);
    return worker_send_untried(actor->worker, lease, why->text, err);
}

/* The weights of `lease` cannot be had.  Each lease that waits for them too would wait as long
 * again; so would one for any others from a learner that does not answer. */
static enum err_code actor_give_back_all(struct actor *actor, const struct message *lease,
                                         const struct err *why, struct err *err)
{
    enum err_code rc = actor_give_back_untried(actor, lease, why, err);
    size_t kept = 0;
    for (size_t i = 0; i < actor->waiting_n; i++) {
        struct message *other = &actor->waiting[i];
        const bool is_lost = other->version != 0 && strcmp(other->text, lease->text) == 0 &&
                             (other->version == lease->version || why->code == ERR_TIMEOUT);
        if (rc || !is_lost) {
            actor->waiting[kept++] = *other;
            continue;
        }
        rc = actor_give_back_untried(actor, other, why, err);
        message_release(other);
    }
    actor->waiting_n = kept;
    return rc;
}

/* Take the lease now, where its version is the one at hand or nothing is under way. */
static enum err_code actor_begin(struct actor *actor, struct message *lease, struct err *err)
{
    struct err why = {0};
    enum err_code rc = ERR_OK;
    fault_at(FAULT_actor_lease);
    if (actor_use_version(actor, lease, &why))
        rc = actor_give_back_all(actor, lease, &why, err);
    else if (actor_add(actor, lease, &why))
        rc = actor_give_back(actor, lease, &why, err);
    message_release(lease);
    return rc;
}

/* Leases that wait come first, in order; a later one may pass only within one version. */
static enum err_code actor_take_leases(struct actor *actor, struct err *err)
{
    struct message lease;
    const bool idle = actor->busy == 0 && actor->waiting_n == 0;
    bool have = idle ? worker_wait_lease(actor->worker, &lease, WORKER_FOREVER)
                     : worker_poll_lease(actor->worker, &lease);
    for (; have; have = worker_poll_lease(actor->worker, &lease)) {
        if (actor->waiting_n == ACTOR_LEASES_MAX) {
            const struct err full = {.text = "too many leases wait for another version"};
            const enum err_code rc = actor_give_back_untried(actor, &lease, &full, err);
            message_release(&lease);
            if (rc)
                return rc;
            continue;
        }
        actor->waiting[actor->waiting_n++] = lease;
    }
    while (actor->waiting_n > 0) {
        struct message *first = &actor->waiting[0];
        if (actor->busy + actor->results.n > 0 && first->version != actor->version)
            return ERR_OK;
        struct message next = *first;
        actor->waiting_n -= 1;
        memmove(first, first + 1, actor->waiting_n * sizeof *first);
        const enum err_code rc = actor_begin(actor, &next, err);
        if (rc)
            return rc;
    }
    return ERR_OK;
}

static enum wire_finish actor_finish(enum generate_finish finish)
{
    switch (finish) {
    case GENERATE_FINISH_EOS: return WIRE_FINISH_EOS;
    case GENERATE_FINISH_STOP: return WIRE_FINISH_STOP;
    case GENERATE_FINISH_LENGTH: return WIRE_FINISH_LENGTH;
    }
    return WIRE_FINISH_NONE;
}

/* The generator's callback. */
static void actor_on_result(void *arg, const struct generate_result *result)
{
    struct actor *actor = arg;
    struct actor_item *slot = &actor->items[result->tag];
    assert(slot->busy);
    struct wire_item item = slot->item;
    item.response_tokens = result->tokens;
    item.finish = actor_finish(result->finish);
    results_put(&actor->results, slot->lease, &item, result->ids, result->logp);
    if (actor->references && item.kind == WIRE_WORK_REFERENCE && actor->version == 0)
        reference_rollouts_keep(actor->references, &slot->key, &item, result->ids,
                                result->logp);
    slot->busy = false;
    actor->busy -= 1;
}

static enum err_code actor_send(struct actor *actor, struct err *err)
{
    const enum err_code rc = results_send(&actor->results, actor->worker, actor->version, err);
    worker_set_held(actor->worker, (uint32_t)actor->busy);
    return rc;
}

/* One turn of the generator; how long it took. */
static uint64_t actor_generate(struct actor *actor)
{
    const uint64_t begin_ms = clock_mono_ms();
    generator_step(actor->generator, actor_on_result, actor);
    worker_progress(actor->worker);
    return clock_mono_ms() - begin_ms;
}

enum err_code actor_compute(struct worker *worker, void *ctx, struct err *err)
{
    struct actor *actor = ctx;
    const size_t rows = actor->config->actor_rows;
    enum err_code rc = ERR_OK;
    actor->worker = worker;
    pool_thread_init();
    while (rc == ERR_OK && !worker_stopping(worker)) {
        rc = actor_take_leases(actor, err);
        if (rc)
            break;
        const uint64_t turn_ms = actor->busy > 0 ? actor_generate(actor) : 0;
        if (results_are_due(&actor->results, actor->busy, rows, turn_ms))
            rc = actor_send(actor, err);
    }
    if (rc == ERR_OK)
        rc = actor_send(actor, err);
    return worker_stopping(worker) ? ERR_OK : rc;
}

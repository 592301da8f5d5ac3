/* group.c -- see group.h. */
#include "learner/group.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"

/* A rank silent for so much longer than the coordinator's patience was not dropped by it: the
 * two do not reach each other. */
#define GROUP_SILENT_FACTOR 3u

/* Asked while this rank waits for another, which is no stall of its own. */
static bool group_stop(void *ctx)
{
    const struct learner *l = ctx;
    worker_progress(l->group.worker);
    return worker_stopping(l->group.worker) || worker_has_lease(l->group.worker);
}

enum err_code group_open(struct learner *l, struct err *err)
{
    if (l->config->learners <= 1)
        return ERR_OK;
    struct hash config;
    uint64_t run;
    run_config_hash(l->config, &config);
    memcpy(&run, config.bytes, sizeof run);
    const struct exchange_options options = {
        .context = l->context,
        .server = l->server,
        .run = run,
        .silent_ms = GROUP_SILENT_FACTOR * l->config->dead_ms,
        .late_ms = l->config->stall_ms,
        .stop = group_stop,
        .ctx = l,
    };
    return exchange_open(&l->group.exchange, &options, err);
}

void group_close(struct learner *l)
{
    exchange_close(l->group.exchange);
    l->group.exchange = NULL;
}

static enum err_code group_join(struct learner *l, const struct message *lease, struct err *err)
{
    struct exchange_group group = {.step = lease->step,
                                   .attempt = lease->attempt,
                                   .ranks = lease->ranks_n,
                                   .rank = lease->rank};
    for (uint32_t i = 0; i < lease->ranks_n; i++) {
        memcpy(group.peer[i].name, lease->ranks[i].name, sizeof group.peer[i].name);
        memcpy(group.peer[i].endpoint, lease->ranks[i].endpoint, sizeof group.peer[i].endpoint);
    }
    return exchange_join(l->group.exchange, &group, err);
}

static void group_trainables(struct learner *l, void (*each)(struct trainable *t))
{
    each(&l->policy);
    if (l->has_critic)
        each(&l->critic);
    if (l->has_cost_critic)
        each(&l->cost_critic);
}

enum err_code group_begin(struct learner *l, const struct message *lease, struct worker *worker,
                          struct err *err)
{
    l->group.worker = worker;
    l->group.ranks = 1;
    l->group.rank = 0;
    if (lease->ranks_n == 0)
        return ERR_OK;
    if (!l->group.exchange)
        return err_set(err, ERR_STATE,
                       "step %llu is for %u learners, and this one's workers.learners is %u",
                       (unsigned long long)lease->step, lease->ranks_n, l->config->learners);
    const enum err_code rc = group_join(l, lease, err);
    if (rc)
        return rc;
    l->group.ranks = lease->ranks_n;
    l->group.rank = lease->rank;
    group_trainables(l, trainable_keep);
    return ERR_OK;
}

struct exchange *group_exchange(const struct learner *l)
{
    return l->group.ranks > 1 ? l->group.exchange : NULL;
}

void group_span_of(const struct learner *l, uint32_t n, uint32_t rank, uint32_t *first,
                   uint32_t *end)
{
    *first = summation_first(n, l->group.ranks, rank);
    *end = summation_first(n, l->group.ranks, rank + 1);
}

void group_span(const struct learner *l, uint32_t n, uint32_t *first, uint32_t *end)
{
    group_span_of(l, n, l->group.rank, first, end);
}

enum err_code group_gather(const struct learner *l, uint32_t n, size_t size, void *items,
                           struct err *err)
{
    size_t bytes[EXCHANGE_RANKS_MAX];
    if (l->group.ranks == 1)
        return ERR_OK;
    for (uint32_t rank = 0; rank < l->group.ranks; rank++) {
        uint32_t first, end;
        group_span_of(l, n, rank, &first, &end);
        bytes[rank] = (end - first) * size;
    }
    return exchange_gather(l->group.exchange, bytes, items, err);
}

uint64_t group_waited_us(const struct learner *l)
{
    return l->group.exchange ? exchange_counts(l->group.exchange).waited_us : 0;
}

bool group_end(struct learner *l, const char *failed)
{
    const bool grouped = l->group.ranks > 1;
    if (failed && grouped) {
        exchange_abandon(l->group.exchange, failed);
        group_trainables(l, trainable_restore);
        l->dirty = false;
    }
    l->group.ranks = 1;
    l->group.rank = 0;
    return grouped;
}

void group_decline(struct learner *l, const struct message *lease, const char *why)
{
    struct err err = {0};
    if (lease->ranks_n == 0 || !l->group.exchange)
        return;
    if (group_join(l, lease, &err))
        log_warn("GROUP", "%s", err.text);
    else
        exchange_abandon(l->group.exchange, why);
}

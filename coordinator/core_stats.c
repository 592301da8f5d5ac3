/* core_stats.c -- numbers for people; and core_check, which counts everything anew. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "coordinator/core.h"
#include "coordinator/core_state.h"

const char *core_peer_state_name(enum core_peer_state state)
{
    switch (state) {
#define X(name, text) \
    case CORE_PEER_##name: return text;
        CORE_PEER_STATE_MAP(X)
#undef X
    }
    return "?";
}

static uint32_t core_stats_live(const struct core *core, enum wire_role role)
{
    uint32_t n = 0;
    for (size_t i = 0; i < core->peers_n; i++)
        n += core->peers[i].role == role && core->peers[i].state == CORE_PEER_LIVE;
    return n;
}

static enum core_wait core_stats_wait(const struct core *core)
{
    if (core->finished)
        return CORE_WAIT_NOTHING;
    if (!core->started)
        return CORE_WAIT_START;
    if (core->paused && !core->draining)
        return CORE_WAIT_RESUME;
    if (core_stats_live(core, WIRE_ROLE_LEARNER) == 0)
        return CORE_WAIT_LEARNER;
    const struct core_batch *batch = core_item_batch(core, core->trained);
    if (!batch)
        return CORE_WAIT_CHECKPOINT;
    if (core->commit_seq != 0)
        return CORE_WAIT_COMMIT;
    if (core_group_oldest(core) < core->trained)
        return CORE_WAIT_RETRAIN;
    if (batch->shaped)
        return CORE_WAIT_TRAIN;
    const uint64_t ungenerated =
        core->slots[CORE_ITEM_WAITING] + core->slots[CORE_ITEM_LEASED] +
        core->ref_slots[CORE_ITEM_WAITING] + core->ref_slots[CORE_ITEM_LEASED];
    const uint64_t unscored =
        core->slots[CORE_ITEM_GENERATED] + core->ref_slots[CORE_ITEM_GENERATED];
    if (ungenerated > 0 && core_stats_live(core, WIRE_ROLE_ACTOR) == 0)
        return CORE_WAIT_ACTOR;
    if (unscored > 0 && core_stats_live(core, WIRE_ROLE_REWARD) == 0)
        return CORE_WAIT_REWARD;
    if (batch->count[CORE_ITEM_WAITING] + batch->count[CORE_ITEM_LEASED] > 0)
        return CORE_WAIT_GENERATE;
    if (batch->count[CORE_ITEM_GENERATED] > 0)
        return CORE_WAIT_SCORE;
    return ungenerated > 0 ? CORE_WAIT_GENERATE_REFERENCES : CORE_WAIT_SCORE_REFERENCES;
}

static const char *core_stats_waits_for(const struct core *core, enum core_wait wait)
{
    switch (wait) {
#define X(name, word, text) \
    case CORE_WAIT_##name: return CORE_WAIT_##name == CORE_WAIT_NOTHING ? core->finish_text : text;
        CORE_WAIT_MAP(X)
#undef X
    }
    return "?";
}

const char *core_wait_name(enum core_wait wait)
{
    switch (wait) {
#define X(name, word, text) \
    case CORE_WAIT_##name: return word;
        CORE_WAIT_MAP(X)
#undef X
    }
    return "?";
}

/* The oldest lease that each peer has. */
static void core_stats_leases(const struct core *core, struct core_stats *out)
{
    for (size_t i = 0; i < core->leases_n; i++) {
        const struct core_lease *lease = &core->leases[i];
        if (lease->id == 0)
            continue;
        uint64_t *age = &out->peer[lease->peer].lease_age_ms;
        const uint64_t this = core->now_ms - lease->issued_ms;
        *age = this > *age ? this : *age;
        out->leases_out++;
    }
}

static void core_stats_peers(const struct core *core, struct core_stats *out)
{
    out->peers = (uint32_t)core->peers_n;
    for (size_t i = 0; i < core->peers_n; i++) {
        const struct core_peer *peer = &core->peers[i];
        struct core_peer_stats *stats = &out->peer[i];
        *stats = (struct core_peer_stats){
            .role = peer->role,
            .state = peer->state,
            .pid = peer->pid,
            .seen_age_ms = core->now_ms - peer->seen_ms,
            .progress_age_ms = core->now_ms - peer->progress_ms,
            .capacity = peer->capacity,
            .in_flight = peer->in_flight,
            .version = peer->version,
            .items_done = peer->items_done,
            .leases_expired = peer->leases_expired,
            .leases_failed = peer->leases_failed,
            .outrun = peer->outrun,
            .mismatches = peer->mismatches,
            .failure_age_ms = core->now_ms - peer->failure_ms,
        };
        memcpy(stats->name, peer->name, sizeof stats->name);
        memcpy(stats->failure, peer->failure, sizeof stats->failure);
    }
}

static void core_stats_shapers(const struct core *core, struct core_stats *out)
{
    out->shapers = 0;
    for (uint32_t i = 0; i < core->chain.links; i++) {
        const struct shaping_state *state = &core->chain_state.link[i];
        if (!shaping_is_running(&core->chain.link[i]))
            continue;
        out->shaper[out->shapers++] =
            (struct core_shaper_stats){.name = shaping_name(core->chain.link[i].kind),
                                       .mean = state->mean,
                                       .std = shaping_std(state),
                                       .min = state->min,
                                       .max = state->max};
    }
}

void core_stats(const struct core *core, struct core_stats *out)
{
    *out = core->counters;
    out->epoch = core->epoch;
    out->steps = core->config->steps;
    out->trained = core->trained;
    out->opened = core->opened;
    out->checkpoint_version = core->checkpoint_version;
    out->seq = core->seq;
    out->durable_seq = core->durable_seq;
    out->started = core->started;
    out->paused = core->paused;
    out->draining = core->draining;
    out->checkpoint_asked = core->checkpoint_asked;
    out->finished = core->finished;
    out->kl_coef = core->kl_state.coef * core->breaker_state.beta_scale;
    out->kl_last = core->kl_state.last;
    out->kl_smoothed = kl_smoothed(&core->kl, &core->kl_state);
    out->kl_integral = kl_integral(&core->kl, &core->kl_state);
    out->multiplier = core->lagrange_state.multiplier;
    out->multiplier_integral = core->lagrange_state.pid.integral;
    struct pessimism_bound bound;
    out->cost_bound = NAN;
    if (core->lagrange.pessimistic &&
        lagrange_bound(&core->lagrange, &core->lagrange_state, &bound, NULL) == ERR_OK)
        out->cost_bound = bound.upper;
    out->has_breaker = core->has_breaker;
    out->breaker_cooling = core->breaker_state.phase != BREAKER_PHASE_CLOSED;
    out->breaker_trips = (uint64_t)core->breaker_state.total;
    const struct breaker_state *trip = &core->breaker_state;
    if (trip->total > 0.0) {
        out->trip_signal = breaker_signal_name((enum breaker_signal)trip->signal);
        out->trip_limit = breaker_limit_name((enum breaker_limit)trip->limit);
        out->trip_value = trip->value;
    }
    out->has_rollback = core->has_rollback;
    out->rollbacks = (uint64_t)core->rollback_state.count;
    out->rollback_base = (uint64_t)core->rollback_state.base;
    out->rollback_target = core->target;
    out->lr_scale = core->breaker_state.lr_scale;
    out->beta_scale = core->breaker_state.beta_scale;
    memcpy(out->score_missing, core->score_missing, sizeof out->score_missing);

    out->waiting = core->slots[CORE_ITEM_WAITING];
    out->leased = core->slots[CORE_ITEM_LEASED];
    out->generated = core->slots[CORE_ITEM_GENERATED];
    out->scored = core->slots[CORE_ITEM_SCORED];
    out->shaped = core->slots[CORE_ITEM_SHAPED];
    out->trained_slots = core->slots[CORE_ITEM_TRAINED];
    memcpy(out->dropped, core->dropped, sizeof core->dropped);
    out->planned = core->opened * core->B;
    for (int i = 0; i < CORE_ITEM_STATES; i++)
        out->references_planned += core->ref_slots[i];
    out->references_scored = core->ref_slots[CORE_ITEM_SCORED];
    out->references_dropped = core->ref_slots[CORE_ITEM_DROPPED];
    out->has_last = core->has_last;
    out->last = core->last;
    out->wait = core_stats_wait(core);
    out->waits_for = core_stats_waits_for(core, out->wait);
    out->step_age_ms = core->now_ms - core->step_ms;
    core_stats_shapers(core, out);
    core_stats_peers(core, out);
    core_stats_leases(core, out);
}

/* --- core_check --------------------------------------------------------------------------- */

struct core_count {
    uint64_t state[CORE_ITEM_STATES];
    uint64_t reason[RECORD_REASONS];
    uint32_t *on_lease; /* [CORE_LEASES_MAX], one for all */
};

/* The leases that an item is out on: at most two, of different workers. */
static enum err_code core_check_out(const struct core *core, const struct core_item *item,
                                    struct core_count *count, struct err *err)
{
    const bool may_lease =
        item->state == CORE_ITEM_LEASED || item->state == CORE_ITEM_GENERATED;
    const struct core_lease *lease = &core->leases[item->lease % CORE_LEASES_MAX];
    const struct core_lease *second = &core->leases[item->second % CORE_LEASES_MAX];
    if ((item->lease != 0 && (!may_lease || lease->id != item->lease)) ||
        (item->second != 0 && second->id != item->second))
        return err_set(err, ERR_STATE, "item %llu/%u in state %d is out on a lease that is not",
                       (unsigned long long)item->a, (unsigned)item->b, (int)item->state);
    if (item->lease == 0 && item->state == CORE_ITEM_LEASED)
        return err_set(err, ERR_STATE, "item %llu/%u is leased to nobody",
                       (unsigned long long)item->a, (unsigned)item->b);
    if (item->second != 0 && (item->lease == 0 || second->peer == lease->peer ||
                              second->kind != lease->kind || second->version != lease->version))
        return err_set(err, ERR_STATE, "item %llu/%u: its two leases do not fit",
                       (unsigned long long)item->a, (unsigned)item->b);
    if (item->lease != 0)
        count->on_lease[item->lease % CORE_LEASES_MAX]++;
    if (item->second != 0)
        count->on_lease[item->second % CORE_LEASES_MAX]++;
    return ERR_OK;
}

static enum err_code core_check_item(const struct core *core, const struct core_item *item,
                                     struct core_count *count, struct err *err)
{
    count->state[item->state]++;
    if (item->state == CORE_ITEM_DROPPED)
        count->reason[item->reason]++;
    enum err_code rc = core_check_out(core, item, count, err);
    if (rc != ERR_OK)
        return rc;
    const bool made = item->state >= CORE_ITEM_GENERATED && item->state != CORE_ITEM_DROPPED;
    if (made && item->generated_by != item->version)
        return err_set(err, ERR_STATE, "item %llu/%u was generated by version %llu, not %llu",
                       (unsigned long long)item->a, (unsigned)item->b,
                       (unsigned long long)item->generated_by,
                       (unsigned long long)item->version);
    if (item->seq > core->seq)
        return err_set(err, ERR_STATE, "item %llu/%u names record %llu of %llu",
                       (unsigned long long)item->a, (unsigned)item->b,
                       (unsigned long long)item->seq, (unsigned long long)core->seq);
    return ERR_OK;
}

static enum err_code core_check_batch(const struct core *core, uint64_t step,
                                      struct core_count *count, struct err *err)
{
    const struct core_batch *batch = core_item_batch(core, step);
    if (!batch)
        return err_set(err, ERR_STATE, "step %llu is open or retained, but not there",
                       (unsigned long long)step);
    struct core_count own = {.on_lease = count->on_lease};
    for (uint32_t i = 0; i < core->B; i++) {
        const struct core_item *item = &batch->items[i];
        const enum err_code rc = core_check_item(core, item, &own, err);
        if (rc != ERR_OK)
            return rc;
        const bool past = step < core->trained;
        const bool ended = item->state == CORE_ITEM_TRAINED || item->state == CORE_ITEM_DROPPED;
        if (item->a != step || item->b != i || (past && !ended) ||
            (!past && item->state == CORE_ITEM_TRAINED))
            return err_set(err, ERR_STATE,
                           "step %llu, slot %u is in state %d while %llu are "
                           "trained",
                           (unsigned long long)step, (unsigned)i, (int)item->state,
                           (unsigned long long)core->trained);
        if (item->version != (step > core->config->lag ? step - core->config->lag : 0))
            return err_set(err, ERR_STATE, "step %llu, slot %u: staleness is not the lag",
                           (unsigned long long)step, (unsigned)i);
    }
    for (int s = 0; s < CORE_ITEM_STATES; s++) {
        if (own.state[s] != batch->count[s])
            return err_set(err, ERR_STATE, "step %llu: %llu slots in state %d, counted %u",
                           (unsigned long long)step, (unsigned long long)own.state[s], s,
                           (unsigned)batch->count[s]);
        if (step >= core->trained)
            count->state[s] += own.state[s];
    }
    for (int r = 0; r < RECORD_REASONS; r++)
        count->reason[r] += own.reason[r];
    return ERR_OK;
}

/* A train lease against the others: one attempt at the next step, one rank each. */
static enum err_code core_check_attempt(const struct core *core, const struct core_lease *lease,
                                        struct err *err)
{
    if (lease->attempt == 0 || lease->attempt > core->attempt || lease->rank >= lease->ranks)
        return err_set(err, ERR_STATE, "rank %u of %u in attempt %llu, the last is %llu",
                       (unsigned)lease->rank, (unsigned)lease->ranks,
                       (unsigned long long)lease->attempt, (unsigned long long)core->attempt);
    for (size_t i = 0; i < CORE_LEASES_MAX; i++) {
        const struct core_lease *other = &core->leases[i];
        if (other == lease || other->id == 0 || other->kind != CORE_LEASE_TRAIN)
            continue;
        const bool same = other->attempt == lease->attempt;
        if (same && (other->step != lease->step || other->ranks != lease->ranks ||
                     other->rank == lease->rank || other->peer == lease->peer))
            return err_set(err, ERR_STATE, "attempt %llu has two leases that do not fit",
                           (unsigned long long)lease->attempt);
        if (!same && lease->step == core->trained && other->step == core->trained)
            return err_set(err, ERR_STATE, "step %llu is out in attempts %llu and %llu",
                           (unsigned long long)lease->step, (unsigned long long)lease->attempt,
                           (unsigned long long)other->attempt);
    }
    return ERR_OK;
}

static enum err_code core_check_leases(const struct core *core, const struct core_count *count,
                                       struct err *err)
{
    uint32_t in_flight[CORE_PEERS_MAX] = {0};
    for (size_t i = 0; i < CORE_LEASES_MAX; i++) {
        const struct core_lease *lease = &core->leases[i];
        if (lease->id == 0)
            continue;
        const bool trains = lease->kind == CORE_LEASE_TRAIN;
        if (lease->items + lease->outrun == 0 ||
            (!trains && count->on_lease[i] != lease->items))
            return err_set(err, ERR_STATE, "lease %llu has %u items, %llu are out on it",
                           (unsigned long long)lease->id, (unsigned)lease->items,
                           (unsigned long long)count->on_lease[i]);
        if (lease->deadline_ms + core->config->heartbeat_ms < core->now_ms)
            return err_set(err, ERR_STATE, "a lease of %s is past its deadline and still out",
                           core->peers[lease->peer].name);
        if (core->peers[lease->peer].state == CORE_PEER_GONE && !core->finished)
            return err_set(err, ERR_STATE, "%s is gone and still has a lease",
                           core->peers[lease->peer].name);
        in_flight[lease->peer] += lease->items + lease->outrun;
        const enum err_code rc = trains ? core_check_attempt(core, lease, err) : ERR_OK;
        if (rc != ERR_OK)
            return rc;
    }
    for (size_t i = 0; i < core->peers_n; i++) {
        const struct core_peer *peer = &core->peers[i];
        if (peer->in_flight != in_flight[i] && !core->finished)
            return err_set(err, ERR_STATE, "%s: %u items in flight, its leases have %u",
                           peer->name, (unsigned)peer->in_flight, (unsigned)in_flight[i]);
        if (peer->in_flight > peer->capacity)
            return err_set(err, ERR_STATE, "%s: %u items in flight, capacity %u", peer->name,
                           (unsigned)peer->in_flight, (unsigned)peer->capacity);
    }
    return ERR_OK;
}

static enum err_code core_check_totals(const struct core *core, const struct core_count *count,
                                       struct err *err)
{
    uint64_t sum = 0, dropped = 0;
    for (int s = 0; s < CORE_ITEM_STATES; s++) {
        sum += core->slots[s];
        const bool ends = s == CORE_ITEM_TRAINED || s == CORE_ITEM_DROPPED;
        if (ends ? core->slots[s] < count->state[s] : core->slots[s] != count->state[s])
            return err_set(err, ERR_STATE, "%llu slots in state %d, counted %llu",
                           (unsigned long long)core->slots[s], s,
                           (unsigned long long)count->state[s]);
    }
    for (int r = 0; r < RECORD_REASONS; r++)
        dropped += core->dropped[r];
    if (sum != core->opened * core->B)
        return err_set(err, ERR_STATE, "%llu slots are planned, their states add up to %llu",
                       (unsigned long long)(core->opened * core->B), (unsigned long long)sum);
    if (dropped != core->slots[CORE_ITEM_DROPPED])
        return err_set(err, ERR_STATE, "%llu slots were dropped, their reasons add up to %llu",
                       (unsigned long long)core->slots[CORE_ITEM_DROPPED],
                       (unsigned long long)dropped);
    if (core->kl_state.steps != (double)core->trained)
        return err_set(err, ERR_STATE, "%llu steps trained, the KL controller did %g",
                       (unsigned long long)core->trained, core->kl_state.steps);
    if (lagrange_state_n(&core->lagrange) > 0 &&
        core->lagrange_state.steps != (double)core->trained)
        return err_set(err, ERR_STATE, "%llu steps trained, the multiplier moved after %g",
                       (unsigned long long)core->trained, core->lagrange_state.steps);
    for (uint32_t i = 0; i < core->chain.links; i++)
        if (shaping_is_running(&core->chain.link[i]) &&
            core->chain_state.link[i].count != (double)core->slots[CORE_ITEM_TRAINED])
            return err_set(err, ERR_STATE, "%llu slots trained, shaper %u counted %g",
                           (unsigned long long)core->slots[CORE_ITEM_TRAINED], (unsigned)i,
                           core->chain_state.link[i].count);
    const uint64_t aside = core->dropped[RECORD_REASON_QUARANTINED];
    if (core->has_breaker ? (double)aside > core->breaker_state.total * core->B : aside > 0)
        return err_set(err, ERR_STATE, "%llu slots were set aside, the breaker tripped %g times",
                       (unsigned long long)aside, core->breaker_state.total);
    if (!core->has_breaker)
        return ERR_OK;
    const enum err_code rc = breaker_check(&core->breaker, &core->breaker_state, err);
    return rc ? rc : core_rollback_check(core, err);
}

enum err_code core_check(const struct core *core, struct err *err)
{
    uint32_t on_lease[CORE_LEASES_MAX] = {0};
    struct core_count count = {.on_lease = on_lease};
    const uint64_t kept = core->checkpoint_version > core->replay_from
                              ? core->checkpoint_version
                              : core->replay_from;
    for (uint64_t step = kept; step < core->opened; step++) {
        const enum err_code rc = core_check_batch(core, step, &count, err);
        if (rc != ERR_OK)
            return rc;
    }
    for (uint64_t step = core->trained; step < core->opened; step++) {
        const struct core_refs *refs = core_item_refs(core, step);
        struct core_count own = {.on_lease = on_lease};
        for (uint32_t i = 0; i < refs->n; i++) {
            const enum err_code rc = core_check_item(core, &refs->items[i], &own, err);
            if (rc != ERR_OK)
                return rc;
        }
    }
    enum err_code rc = core_check_totals(core, &count, err);
    if (rc == ERR_OK)
        rc = core_check_leases(core, &count, err);
    return rc;
}

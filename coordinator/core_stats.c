/* core_stats.c -- numbers for people. */
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
            .weights = peer->weights,
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

void core_stats_progress(const struct core *core, struct core_stats *out)
{
    out->epoch = core->epoch;
    out->steps = core->config->steps;
    out->trained = core->trained;
    out->opened = core_bug(core, 46) ? core->trained : core->opened;
    out->checkpoint_version = core->checkpoint_version;
    out->seq = core->seq;
    out->durable_seq = core->durable_seq;
    uint64_t *const states[] = {&out->waiting, &out->leased, &out->generated,
                                &out->scored,  &out->shaped, &out->trained_slots};
    for (int s = CORE_ITEM_WAITING; s <= CORE_ITEM_TRAINED; s++)
        *states[s] = core->slots[core_bug(core, 47 + s) ? s + 1 : s];
    memcpy(out->dropped, core->dropped, sizeof core->dropped);
    if (core_bug(core, 53))
        out->dropped[RECORD_REASON_SCORE_FAILED] = 0;
    out->planned = (core_bug(core, 54) ? core->trained : core->opened) * core->B;
    out->references_planned = 0;
    for (int s = 0; s < CORE_ITEM_STATES; s++)
        out->references_planned +=
            core_bug(core, 55) && s == CORE_ITEM_LEASED ? 0 : core->ref_slots[s];
    out->references_scored =
        core->ref_slots[core_bug(core, 56) ? CORE_ITEM_DROPPED : CORE_ITEM_SCORED];
    out->references_dropped =
        core->ref_slots[core_bug(core, 57) ? CORE_ITEM_SCORED : CORE_ITEM_DROPPED];
}

void core_stats(const struct core *core, struct core_stats *out)
{
    memcpy(out, &core->counters, offsetof(struct core_stats, peer));
    core_stats_progress(core, out);
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
    out->has_last = core->has_last;
    out->last = core->last;
    out->wait = core_stats_wait(core);
    out->waits_for = core_stats_waits_for(core, out->wait);
    out->step_age_ms = core->now_ms - core->step_ms;
    core_stats_shapers(core, out);
    core_stats_peers(core, out);
    core_stats_leases(core, out);
}

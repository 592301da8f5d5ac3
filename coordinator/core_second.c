/* core_second.c -- a second lease of what a worker is slow with: see core.h, "Stragglers".
 *
 * How long an answer takes is known from the last answers: their median, which the slow among
 * them do not move. */
#include <string.h>

#include "coordinator/core.h"
#include "coordinator/core_state.h"

void core_second_heed(struct core *core, const struct core_peer *peer, uint64_t id)
{
    const struct core_lease *lease = core_lease_find(core, id);
    if (!lease || &core->peers[lease->peer] != peer)
        return; /* it expired meanwhile: nobody knows when it began */
    struct core_pace *pace = &core->pace[lease->kind];
    const uint64_t ms = core->now_ms - lease->issued_ms;
    pace->ms[pace->n++ % CORE_PACE_MAX] = ms < UINT32_MAX ? (uint32_t)ms : UINT32_MAX;
    if (pace->n == 2 * CORE_PACE_MAX) /* full stays full, and does not run over */
        pace->n = CORE_PACE_MAX;
}

/* The median of the last answers, ms; the upper of the two in the middle. */
static uint32_t core_second_median(const struct core_pace *pace)
{
    uint32_t sorted[CORE_PACE_MAX];
    const uint32_t n = pace->n < CORE_PACE_MAX ? pace->n : CORE_PACE_MAX;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t at = i;
        for (; at > 0 && sorted[at - 1] > pace->ms[i]; at--)
            sorted[at] = sorted[at - 1];
        sorted[at] = pace->ms[i];
    }
    return sorted[n / 2];
}

struct core_second {
    enum core_lease_kind kind;
    uint64_t median_ms;
    uint64_t before_ms;           /* leases given out by then are slow */
    uint64_t newest;              /* version that who serves weights holds */
    bool slow[CORE_PEERS_MAX];    /* who has one: it is no help */
    const struct core_peer *peer; /* who is to be given something, */
    struct core_lease *oldest;    /* of the oldest such lease of another */
    uint32_t n, quota;            /* items picked of it */
};

/* Are items of this kind out for so long that they may be late? */
static bool core_second_may_be_late(const struct core *core, enum core_lease_kind kind)
{
    for (size_t i = 0; i < core->leases_n; i++) {
        const struct core_lease *lease = &core->leases[i];
        if (lease->id != 0 && lease->kind == kind && lease->items > 0 &&
            core->now_ms - lease->issued_ms >= core->config->heartbeat_ms)
            return true;
    }
    return false;
}

/* False: too few answers to tell, or nobody is late. */
static bool core_second_begin(struct core *core, enum core_lease_kind kind,
                              struct core_second *second)
{
    const struct core_pace *pace = &core->pace[kind];
    if (pace->n < CORE_PACE_MIN || !core_second_may_be_late(core, kind))
        return false;
    *second = (struct core_second){.kind = kind, .median_ms = core_second_median(pace)};
    double patience_ms = core->config->second_after * (double)second->median_ms;
    if (patience_ms < (double)core->config->heartbeat_ms)
        patience_ms = core->config->heartbeat_ms;
    if (patience_ms > (double)core->now_ms)
        return false;
    second->before_ms = core->now_ms - (uint64_t)patience_ms;
    bool any = false;
    for (size_t i = 0; i < core->leases_n; i++) {
        const struct core_lease *lease = &core->leases[i];
        if (lease->id == 0 || lease->kind != kind || lease->issued_ms > second->before_ms)
            continue;
        second->slow[lease->peer] = !core_bug(core, 32);
        any = any || lease->items > 0;
    }
    return any;
}

/* As with first leases: a learner that comes back may lack the weights for a while.  A score lease
 * names a version where its rollouts have a reference of that version. */
static bool core_second_can_be_had(const struct core_second *second,
                                   const struct core_lease *lease, const struct core_item *item)
{
    if (second->kind == CORE_LEASE_SCORE && lease->version == 0)
        return true;
    return (item->work == WIRE_WORK_ROLLOUT ? item->version : lease->version) <= second->newest;
}

static bool core_second_look(struct core *core, struct core_item *item, void *ctx)
{
    struct core_second *second = ctx;
    struct core_lease *lease = core_lease_find(core, item->lease);
    if (!lease || item->second != 0 || lease->issued_ms > second->before_ms ||
        !core_second_can_be_had(second, lease, item))
        return true;
    if (&core->peers[lease->peer] == second->peer && !core_bug(core, 32))
        return true;
    if (!second->oldest || lease->issued_ms < second->oldest->issued_ms)
        second->oldest = lease;
    return true;
}

static bool core_second_pick(struct core *core, struct core_item *item, void *ctx)
{
    struct core_second *second = ctx;
    if (item->lease == second->oldest->id && item->second == 0 &&
        core_second_can_be_had(second, second->oldest, item))
        core->picked[second->n++] = item;
    return second->n < second->quota;
}

/* Give the peer what it has room for of the oldest lease that is late; false: there is none. */
static bool core_second_give(struct core *core, struct core_second *second,
                             struct core_peer *peer, const char *endpoint)
{
    const bool generate = second->kind == CORE_LEASE_GENERATE;
    const enum core_item_state state = generate ? CORE_ITEM_LEASED : CORE_ITEM_GENERATED;
    const uint32_t room = peer->capacity - peer->in_flight;
    second->peer = peer;
    second->oldest = NULL;
    second->n = 0;
    second->quota = room < core->B ? room : core->B;
    core_lease_each(core, state, core_second_look, second);
    if (!second->oldest)
        return false;
    core_lease_each(core, state, core_second_pick, second);
    const struct core_lease *oldest = second->oldest;
    const struct core_lease_picked picked = {
        .generate = generate,
        .second = true,
        .n = second->n,
        .items = core->picked,
        .version = oldest->version + core_bug(core, 39),
        .endpoint = endpoint,
    };
    const uint64_t age_ms = core->now_ms - oldest->issued_ms;
    if (!core_lease_give(core, peer, &picked))
        return false;
    core->counters.leases_second++;
    core_log(core, LOG_LEVEL_INFO, "LEASE-SECOND",
             "%s lease of %s: %u items unanswered after %llu ms, where %llu ms are usual: %s "
             "has them too",
             core_lease_name(second->kind), core->peers[oldest->peer].name, (unsigned)picked.n,
             (unsigned long long)age_ms, (unsigned long long)second->median_ms, peer->name);
    return true;
}

static void core_second_dispatch_kind(struct core *core, enum core_lease_kind kind,
                                      const struct core_peer *source)
{
    const enum wire_role role =
        kind == CORE_LEASE_GENERATE ? WIRE_ROLE_ACTOR : WIRE_ROLE_REWARD;
    struct core_second second;
    const struct core_set *roomy = &core->roomy[role];
    if (core_set_next(roomy, 0) == CORE_PEERS_MAX || !core_second_begin(core, kind, &second))
        return;
    second.newest = source ? source->version : 0;
    for (size_t i = core_set_next(roomy, 0); i < CORE_PEERS_MAX;
         i = core_set_next(roomy, i + 1)) {
        struct core_peer *peer = &core->peers[i];
        while (!second.slow[i] && core_lease_eligible(core, peer, role))
            if (!core_second_give(core, &second, peer, source ? source->endpoint : ""))
                break;
    }
}

/* That somebody has room after core_lease_dispatch says that nothing waits which could be
 * leased: a second lease takes no place from a first. */
void core_second_dispatch(struct core *core)
{
    if (core->config->second_after <= 0.0)
        return;
    const struct core_peer *source = core_peer_source(core);
    if (source)
        core_second_dispatch_kind(core, CORE_LEASE_GENERATE, source);
    core_second_dispatch_kind(core, CORE_LEASE_SCORE, source);
}

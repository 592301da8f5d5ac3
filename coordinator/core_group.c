/* core_group.c -- which learners train a step together: see core.h, "Learners". */
#include <stdio.h>
#include <string.h>

#include "coordinator/core.h"
#include "coordinator/core_state.h"

static bool core_group_is_learner(const struct core_peer *peer)
{
    return peer->state != CORE_PEER_GONE && peer->role == WIRE_ROLE_LEARNER;
}

static bool core_group_is_idle(const struct core *core, const struct core_peer *peer)
{
    return core_group_is_learner(peer) && peer->state == CORE_PEER_LIVE &&
           peer->in_flight == 0 && core->now_ms >= peer->backoff_ms;
}

bool core_group_is_training(const struct core *core)
{
    return core->leases_out[CORE_LEASE_TRAIN] > 0;
}

uint64_t core_group_oldest(const struct core *core)
{
    uint64_t oldest = UINT64_MAX;
    for (size_t i = core_set_next(&core->learners, 0); i < CORE_PEERS_MAX;
         i = core_set_next(&core->learners, i + 1))
        if (core_group_is_learner(&core->peers[i]) && core->peers[i].version < oldest &&
            !(core_bug(core, 31) && core->peers[i].state == CORE_PEER_SUSPECT))
            oldest = core->peers[i].version;
    return oldest;
}

void core_group_abandon(struct core *core, uint64_t attempt)
{
    bool said = false;
    for (size_t i = 0; i < core->leases_n; i++) {
        struct core_lease *lease = &core->leases[i];
        if (lease->id == 0 || lease->kind != CORE_LEASE_TRAIN || lease->attempt != attempt)
            continue;
        if (lease->ranks > 1 && !said)
            core_log(core, LOG_LEVEL_WARN, "ATTEMPT-OVER",
                     "step %llu: %u learners began it together, and not all will answer",
                     (unsigned long long)lease->step, (unsigned)lease->ranks);
        said = true;
        core_lease_return(core, lease);
    }
}

bool core_group_agrees(struct core *core, const struct core_peer *peer,
                       const struct message *result)
{
    for (size_t i = core_set_next(&core->learners, 0); i < CORE_PEERS_MAX;
         i = core_set_next(&core->learners, i + 1)) {
        const struct core_peer *other = &core->peers[i];
        if (!core_group_is_learner(other) || other == peer || !other->has_hash ||
            other->version != result->version ||
            memcmp(&other->hash, &result->hash, sizeof other->hash) == 0)
            continue;
        char one[HASH_HEX_BYTES], two[HASH_HEX_BYTES], text[WIRE_TEXT_MAX];
        hash_hex(&result->hash, one);
        hash_hex(&other->hash, two);
        snprintf(text, sizeof text,
                 "not reproducible: step %llu gave weights %.16s... on %s, %.16s... on %s",
                 (unsigned long long)result->step, one, peer->name, two, other->name);
        core_train_halt(core, text);
        return false;
    }
    return true;
}

/* Idle learners that hold this version, by name; `most` at most.  Returns how many. */
static uint32_t core_group_pick(struct core *core, uint64_t version, uint32_t most,
                                struct core_peer *group[WIRE_RANKS_MAX])
{
    uint32_t n = 0;
    for (size_t i = core_set_next(&core->learners, 0); i < CORE_PEERS_MAX;
         i = core_set_next(&core->learners, i + 1)) {
        struct core_peer *peer = &core->peers[i];
        const bool holds = peer->version == version || core_bug(core, 18);
        if (!core_group_is_idle(core, peer) || !holds)
            continue;
        uint32_t at = n < most ? n++ : n;
        for (; at > 0 && strcmp(peer->name, group[at - 1]->name) < 0; at--)
            if (at < n)
                group[at] = group[at - 1];
        if (at < n)
            group[at] = peer;
    }
    return n;
}

/* Step `step` to learners that hold `version`: to all together, to one where that has failed
 * too often or `alone`. */
static void core_group_lease(struct core *core, uint64_t step, uint64_t version, bool alone)
{
    struct core_peer *group[WIRE_RANKS_MAX];
    const struct core_batch *batch = core_recall_batch(core, step);
    const bool together = !alone && core->group_fails < CORE_GROUP_FAILS_MAX;
    if (!batch || !batch->shaped)
        return;
    const uint32_t n = core_group_pick(core, version, together ? WIRE_RANKS_MAX : 1, group);
    if (n > 0 && core_recall_fits(core, batch, group, n))
        core_train_send(core, group, n, batch);
}

/* Learners that came back, or late, train recorded steps again, those furthest back first: the
 * others wait, and go on with them once they hold the same version.  True where some are behind:
 * the run waits for them, as it would for one alone. */
static bool core_group_dispatch_behind(struct core *core)
{
    const uint64_t oldest = core_group_oldest(core);
    if (oldest >= core->trained || core_bug(core, 18))
        return false;
    core_group_lease(core, oldest, oldest, false);
    return true;
}

/* At the start those that are to come are given time, once. */
static bool core_group_has_gathered(struct core *core)
{
    uint32_t here = 0;
    for (size_t i = core_set_next(&core->learners, 0); i < CORE_PEERS_MAX;
         i = core_set_next(&core->learners, i + 1))
        here += core_group_is_learner(&core->peers[i]);
    if (here >= core->config->learners ||
        core->now_ms - core->started_ms >= core->config->dead_ms)
        core->gathered = true;
    return here > 0 && core->gathered;
}

/* One that is silent, or has just failed, is waited for. */
static bool core_group_is_idle_all(const struct core *core)
{
    for (size_t i = core_set_next(&core->learners, 0); i < CORE_PEERS_MAX;
         i = core_set_next(&core->learners, i + 1))
        if (core_group_is_learner(&core->peers[i]) &&
            !core_group_is_idle(core, &core->peers[i]))
            return false;
    return true;
}

void core_group_dispatch(struct core *core)
{
    if (!core_group_has_gathered(core) || core_group_dispatch_behind(core) ||
        core_group_is_training(core) || !core_group_is_idle_all(core))
        return;
    struct core_peer *newest = core_peer_learner(core);
    if (newest->version > core->trained) {
        /* It has trained the step, and whoever was to tell of it is gone. */
        core_group_lease(core, core->trained, newest->version, true);
    } else if (core->opened == core->trained) {
        /* No place for another step before there is a checkpoint: the last step's result, sent
         * again, will tell of one that became durable after it. */
        core_group_lease(core, core->trained - 1, core->trained, true);
        newest->backoff_ms = core->now_ms + core->config->heartbeat_ms;
    } else {
        core_group_lease(core, core->trained, core->trained, false);
    }
}

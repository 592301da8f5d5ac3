/* core_lease.c -- leases given out, lost and taken back.
 *
 * A lease's id names its entry in the table (low bits), its number and the epoch, so that one
 * of an earlier life never matches. */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "coordinator/core.h"
#include "coordinator/core_state.h"

const char *core_lease_name(enum core_lease_kind kind)
{
    static const char *const words[] = {"generate", "score", "train"};
    return words[kind];
}

struct core_lease *core_lease_find(struct core *core, uint64_t id)
{
    struct core_lease *lease = &core->leases[id % CORE_LEASES_MAX];
    return id != 0 && lease->id == id ? lease : NULL;
}

uint64_t core_lease_deadline(const struct core *core, const struct core_lease *lease)
{
    const uint64_t progress_ms = core->peers[lease->peer].progress_ms;
    return (progress_ms > lease->issued_ms ? progress_ms : lease->issued_ms) +
           core->config->lease_ms;
}

/* Each kind has places of its own: what is generated has to be scored, and then trained on. */
static bool core_lease_has_room(struct core *core, enum core_lease_kind kind)
{
    if (kind == CORE_LEASE_TRAIN || core_bug(core, 44))
        return true;
    const uint32_t most = (core->leases_max - WIRE_RANKS_MAX) / 2;
    if (core->leases_out[kind] < most)
        return true;
    if (!core->leases_full)
        core_log(core, LOG_LEVEL_WARN, "LEASES-FULL",
                 "%u leases to %s are out, as many as may be: workers with room for more wait "
                 "until one ends; fewer workers that hold more at once would not",
                 (unsigned)most, core_lease_name(kind));
    core->leases_full = true;
    return false;
}

struct core_lease *core_lease_issue(struct core *core, enum core_lease_kind kind,
                                    struct core_peer *peer)
{
    if (!core_lease_has_room(core, kind))
        return NULL;
    assert(core->leases_free > 0 || core->leases_n < core->leases_max);
    const size_t i = core->leases_free > 0 ? core->leases_free - 1 : core->leases_n++;
    struct core_lease *lease = &core->leases[i];
    core->leases_free = lease->next;
    *lease = (struct core_lease){
        .id = (core->epoch << 46) + (++core->lease_n) * CORE_LEASES_MAX + i,
        .kind = kind,
        .peer = core_peer_index(core, peer),
        .issued_ms = core->now_ms,
    };
    core->leases_out[kind]++;
    if (peer->in_flight == 0)
        peer->progress_ms = core->now_ms; /* a worker that had nothing to do is not stalled */
    return lease;
}

static void core_lease_free(struct core *core, struct core_lease *lease)
{
    struct core_peer *peer = &core->peers[lease->peer];
    assert(peer->in_flight >= lease->items + lease->outrun);
    peer->in_flight -= lease->items + lease->outrun;
    core->leases_out[lease->kind]--;
    *lease = (struct core_lease){.next = core->leases_free};
    core->leases_free = (uint32_t)(lease - core->leases) + 1;
    core_peer_moved(core, peer);
}

/* One item less of it; by: who answered that, or NULL. */
static void core_lease_take(struct core *core, uint64_t id, const struct core_peer *by)
{
    struct core_lease *lease = core_lease_find(core, id);
    if (!lease)
        return;
    struct core_peer *peer = &core->peers[lease->peer];
    assert(lease->items > 0);
    lease->items--;
    if (by && by != peer) {
        lease->outrun++;
        peer->outrun++;
        return;
    }
    peer->in_flight--;
    core_peer_moved(core, peer);
    if (lease->items + lease->outrun == 0)
        core_lease_free(core, lease);
}

void core_lease_settle(struct core *core, struct core_item *item, const struct core_peer *by)
{
    const struct core_lease *second = core_lease_find(core, item->second);
    if (second && by == &core->peers[second->peer])
        core->counters.second_won++;
    core_lease_take(core, item->lease, by);
    if (!core_bug(core, 38))
        core_lease_take(core, item->second, by);
    item->lease = item->second = 0;
}

/* The item is not out on this lease any more: the other one, if any, is the first now. */
static bool core_lease_forget(struct core *core, struct core_item *item, uint64_t id)
{
    if (item->lease == id)
        item->lease = core_bug(core, 34) ? 0 : item->second;
    item->second = 0;
    core->score_idle = core->score_idle && (item->lease != 0 || core_bug(core, 45));
    return item->lease != 0;
}

bool core_lease_leave(struct core *core, struct core_item *item, uint64_t id)
{
    core_lease_take(core, id, NULL);
    return core_lease_forget(core, item, id);
}

void core_lease_outrun(struct core *core, const struct core_peer *peer, uint64_t id)
{
    struct core_lease *lease = core_lease_find(core, id);
    if (!lease || &core->peers[lease->peer] != peer || lease->outrun == 0)
        return;
    lease->outrun--;
    core->peers[lease->peer].in_flight--;
    core_peer_moved(core, peer);
    if (lease->items + lease->outrun == 0)
        core_lease_free(core, lease);
}

/* --- items that wait ---------------------------------------------------------------- */

/* Of these items those whose bits are set; false where fn ended it.  fn may move the item that it
 * sees, and no other. */
static bool core_lease_each_of(struct core *core, struct core_item *items, const uint64_t *in,
                               uint32_t words, core_lease_visit *fn, void *ctx)
{
    for (uint32_t w = 0; w < words; w++)
        for (uint64_t rest = in[w]; rest != 0; rest &= rest - 1)
            if (!fn(core, &items[w * 64 + (uint32_t)__builtin_ctzll(rest)], ctx))
                return false;
    return true;
}

void core_lease_each(struct core *core, enum core_item_state state, core_lease_visit *fn,
                     void *ctx)
{
    for (uint64_t step = core->trained; step < core->opened; step++) {
        const struct core_batch *batch = core_item_batch(core, step);
        const struct core_refs *refs = core_item_refs(core, step);
        if (batch->count[state] > 0 &&
            !core_lease_each_of(core, batch->items, batch->in + (size_t)state * core->words,
                                core->words, fn, ctx))
            return;
        if (refs->count[state] > 0 &&
            !core_lease_each_of(core, refs->items, refs->in + (size_t)state * core->ref_words,
                                core->ref_words, fn, ctx))
            return;
    }
}

struct core_lease_back {
    uint64_t id;
    uint32_t left;
    bool failed;
    const char *reason;
};

static bool core_lease_take_back(struct core *core, struct core_item *item, void *ctx)
{
    struct core_lease_back *back = ctx;
    if (item->lease != back->id && item->second != back->id)
        return true;
    const bool out = core_lease_forget(core, item, back->id);
    if (item->state == CORE_ITEM_LEASED && !out)
        core_item_move(core, item, CORE_ITEM_WAITING);
    back->left--;
    if (back->failed && !out && ++item->fails >= CORE_LEASE_FAILS_MAX)
        core_item_drop(core, item,
                       item->state == CORE_ITEM_WAITING ? RECORD_REASON_GENERATE_FAILED
                                                        : RECORD_REASON_SCORE_FAILED,
                       back->reason);
    return back->left > 0;
}

static void core_lease_end(struct core *core, struct core_lease *lease,
                           struct core_lease_back back)
{
    const enum core_item_state state =
        lease->kind == CORE_LEASE_GENERATE ? CORE_ITEM_LEASED : CORE_ITEM_GENERATED;
    const bool items = lease->kind != CORE_LEASE_TRAIN;
    back.id = lease->id;
    back.left = lease->items;
    core_lease_free(core, lease);
    if (items && back.left > 0)
        core_lease_each(core, state, core_lease_take_back, &back);
}

void core_lease_return(struct core *core, struct core_lease *lease)
{
    core_lease_end(core, lease, (struct core_lease_back){0});
}

void core_lease_return_all(struct core *core, const struct core_peer *peer)
{
    const uint16_t index = core_peer_index(core, peer);
    core_group_abandon(core, peer->attempt); /* all of it, also where this one has answered */
    for (size_t i = 0; i < core->leases_n; i++)
        if (core->leases[i].id != 0 && core->leases[i].peer == index)
            core_lease_return(core, &core->leases[i]);
}

void core_lease_tick(struct core *core)
{
    const uint64_t age_max_ms = (uint64_t)CORE_LEASE_AGE_MAX * core->config->lease_ms;
    for (size_t i = 0; i < core->leases_n; i++) {
        struct core_lease *lease = &core->leases[i];
        if (lease->id == 0 || core_bug(core, 3))
            continue;
        const bool old =
            lease->kind != CORE_LEASE_TRAIN && core->now_ms - lease->issued_ms >= age_max_ms;
        if (core_lease_deadline(core, lease) > core->now_ms && !old)
            continue;
        struct core_peer *peer = &core->peers[lease->peer];
        core_log(core, LOG_LEVEL_WARN, "LEASE-EXPIRED",
                 "%s lease of %s: %u items unanswered after %llu ms",
                 core_lease_name(lease->kind), peer->name,
                 (unsigned)(lease->items + lease->outrun),
                 (unsigned long long)(core->now_ms - lease->issued_ms));
        peer->leases_expired++;
        core->counters.leases_expired++;
        core_peer_back_off(core, peer);
        if (lease->kind == CORE_LEASE_TRAIN)
            core_train_lease_failed(core, peer, lease, NULL);
        else
            core_lease_return(core, lease);
        if (core->finished)
            return;
    }
}

void core_lease_failed(struct core *core, struct core_peer *peer, const struct message *message)
{
    struct core_lease *lease = core_lease_find(core, message->lease);
    if (!lease || lease->peer != core_peer_index(core, peer))
        return; /* expired meanwhile */
    core_log(core, LOG_LEVEL_WARN, "LEASE-FAILED", "%s lease of %s: %s",
             core_lease_name(lease->kind), peer->name, message->text);
    peer->leases_failed++;
    core->counters.leases_failed++;
    core_peer_failed(core, peer, message->text);
    core_peer_back_off(core, peer);
    if (lease->kind == CORE_LEASE_TRAIN)
        core_train_lease_failed(core, peer, lease, message->text);
    else
        core_lease_end(
            core, lease,
            (struct core_lease_back){.failed = !message->untried, .reason = message->text});
}

/* --- dispatch ------------------------------------------------------------------------- */

struct core_lease_pick {
    bool generate;
    uint32_t n, quota;
    uint64_t version; /* of the first: a generate lease has one, and so have the rollouts of a
                         score lease, that of their reference */
    bool has_version;
    uint64_t newest; /* version the learner holds: one that comes back may be behind */
};

/* Can this rollout be scored with those that were picked?  Its reference has to be one with theirs,
 * and to be had: a learner has those of its last versions. */
static bool core_lease_pick_rollout(const struct core *core, const struct core_item *item,
                                    struct core_lease_pick *pick)
{
    if (item->work != WIRE_WORK_ROLLOUT)
        return true;
    const uint64_t version = core_kl_reference_of(core, item->version);
    if ((version > 0 && item->version > pick->newest) ||
        (pick->has_version && version != pick->version))
        return false;
    pick->version = version;
    pick->has_version = true;
    return true;
}

static bool core_lease_pick_item(struct core *core, struct core_item *item, void *ctx)
{
    struct core_lease_pick *pick = ctx;
    if (pick->generate) {
        if (item->version > pick->newest)
            return true; /* asked for now it would fail, and in the end be dropped */
        if (pick->n == 0)
            pick->version = item->version;
        else if (item->version != pick->version)
            return true;
    } else if (item->lease != 0 || !core_durable(core, item->seq) ||
               !core_lease_pick_rollout(core, item, pick)) {
        return true;
    }
    core->picked[pick->n++] = item;
    return pick->n < pick->quota;
}

bool core_lease_eligible(const struct core *core, const struct core_peer *peer,
                         enum wire_role role)
{
    return peer->state == CORE_PEER_LIVE && peer->role == role && core_peer_has_room(peer) &&
           core->now_ms >= peer->backoff_ms;
}

/* What those who may be given something can hold together, and have room for. */
struct core_lease_room {
    uint64_t capacity, room;
};

static struct core_lease_room core_lease_room_of_all(const struct core *core,
                                                     enum wire_role role)
{
    struct core_lease_room all = {0};
    const struct core_set *roomy = &core->roomy[role];
    for (size_t i = core_set_next(roomy, 0); i < CORE_PEERS_MAX;
         i = core_set_next(roomy, i + 1)) {
        const struct core_peer *peer = &core->peers[i];
        if (!core_lease_eligible(core, peer, role))
            continue;
        all.capacity += peer->capacity;
        all.room += peer->capacity - peer->in_flight;
    }
    return all;
}

/* A share of what waits by capacity, so that a short queue is spread over all. */
static uint32_t core_lease_quota(const struct core_peer *peer, uint32_t waiting,
                                 uint64_t capacity)
{
    const uint64_t quota = ((uint64_t)waiting * peer->capacity + capacity - 1) / capacity;
    const uint32_t room = peer->capacity - peer->in_flight;
    return quota < room ? (uint32_t)quota : room;
}

/* Prompt ids, and for scoring the response's too, one item after the other. */
static size_t core_lease_payload(struct core *core, struct core_item *const *items, uint32_t n,
                                 bool responses)
{
    size_t at = 0;
    for (uint32_t i = 0; i < n; i++) {
        const struct core_item *item = items[i];
        const uint32_t prompt = core_item_prompt_tokens(core, item->prompt);
        memcpy(core->out_ids + at, core->prompts.ids + core->prompts.offset[item->prompt],
               prompt * sizeof(int32_t));
        at += prompt;
        if (responses) {
            memcpy(core->out_ids + at, item->ids, item->tokens * sizeof(int32_t));
            at += item->tokens;
        }
        core->out_items[i] = core_item_wire(core, item);
    }
    assert(at <= core->out_ids_max);
    return at * sizeof(int32_t);
}

bool core_lease_give(struct core *core, struct core_peer *peer,
                     const struct core_lease_picked *picked)
{
    const enum core_lease_kind kind = picked->generate ? CORE_LEASE_GENERATE : CORE_LEASE_SCORE;
    struct core_lease *lease = core_lease_issue(core, kind, peer);
    if (!lease)
        return false;
    lease->items = picked->n;
    lease->version = picked->version;
    peer->in_flight += picked->n;
    core_peer_moved(core, peer);
    const size_t bytes = core_lease_payload(core, picked->items, picked->n, !picked->generate);
    for (uint32_t i = 0; i < picked->n; i++) {
        struct core_item *item = picked->items[i];
        *(picked->second ? &item->second : &item->lease) = lease->id;
        if (picked->generate && !picked->second)
            core_item_move(core, item, CORE_ITEM_LEASED);
    }
    core->out = (struct message){
        .type = picked->generate ? MESSAGE_GENERATE_LEASE : MESSAGE_SCORE_LEASE,
        .lease = lease->id,
        .lease_ms = core->config->lease_ms,
        .version = picked->version,
        .items = core->out_items,
        .items_n = picked->n,
        .frames_n = 1,
        .frame = {{core->out_ids, bytes}},
    };
    if (picked->generate || picked->version > 0)
        snprintf(core->out.text, sizeof core->out.text, "%s", picked->endpoint);
    core_peer_send(core, peer, &core->out);
    return true;
}

/* Every event comes by here: is there anything to generate whose policy is there?  Steps that wait
 * for theirs have many slots. */
static bool core_lease_waits(const struct core *core, uint64_t newest)
{
    for (uint64_t step = core->trained; step < core->opened; step++)
        if (core_item_refs(core, step)->count[CORE_ITEM_WAITING] > 0 ||
            (core_item_batch(core, step)->count[CORE_ITEM_WAITING] > 0 &&
             plan_policy_version(step, core->config->lag) <= newest))
            return true;
    return false;
}

/* And anything to score?  Those that are being scored, or not durable yet, are many. */
static bool core_lease_is_idle(const struct core *core, bool generate, uint64_t newest)
{
    return generate ? !core_lease_waits(core, newest)
                    : core->score_idle && core->score_idle_newest == newest;
}

/* Share out what was picked among all who may be given something, as far as each has room; false
 * where no lease is left. */
static bool core_lease_share(struct core *core, const struct core_lease_pick *pick,
                             uint64_t capacity, const char *endpoint)
{
    const enum wire_role role = pick->generate ? WIRE_ROLE_ACTOR : WIRE_ROLE_REWARD;
    const struct core_set *roomy = &core->roomy[role];
    uint32_t given = 0;
    for (size_t i = core_set_next(roomy, 0); i < CORE_PEERS_MAX && given < pick->n;
         i = core_set_next(roomy, i + 1)) {
        struct core_peer *peer = &core->peers[i];
        if (!core_lease_eligible(core, peer, role))
            continue;
        const uint64_t of = peer->capacity;
        const struct core_lease_picked picked = {
            .generate = pick->generate,
            .items = core->picked + given,
            .n = core_lease_quota(peer, pick->n - given, capacity),
            .version = pick->version,
            .endpoint = endpoint,
        };
        if (!core_lease_give(core, peer, &picked))
            return false;
        given += picked.n;
        capacity -= of;
    }
    return true;
}

/* All that can be leased now and somebody has room for, a version after the other. */
static void core_lease_dispatch_kind(struct core *core, bool generate,
                                     const struct core_peer *learner)
{
    const enum wire_role role = generate ? WIRE_ROLE_ACTOR : WIRE_ROLE_REWARD;
    const enum core_item_state state = generate ? CORE_ITEM_WAITING : CORE_ITEM_GENERATED;
    const uint64_t newest = learner ? learner->version : 0;
    if (core_lease_is_idle(core, generate, newest))
        return;
    for (;;) {
        const struct core_lease_room all = core_lease_room_of_all(core, role);
        struct core_lease_pick pick = {
            .generate = generate,
            .quota = all.room < core->B ? (uint32_t)all.room : core->B,
            .newest = newest,
        };
        if (pick.quota == 0)
            return;
        core_lease_each(core, state, core_lease_pick_item, &pick);
        if (pick.n == 0 && !generate) {
            core->score_idle = true;
            core->score_idle_newest = newest;
        }
        if (pick.n == 0 ||
            !core_lease_share(core, &pick, all.capacity, learner ? learner->endpoint : ""))
            return;
    }
}

void core_lease_dispatch(struct core *core, bool scorable)
{
    const struct core_peer *source = core_peer_source(core);
    if (source)
        core_lease_dispatch_kind(core, true, source);
    if (scorable)
        core_lease_dispatch_kind(core, false, source);
}

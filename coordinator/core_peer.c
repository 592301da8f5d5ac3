/* core_peer.c -- see core.h, "Peers": sessions, liveness, acknowledgements. */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "coordinator/core.h"
#include "coordinator/core_state.h"

uint16_t core_peer_index(const struct core *core, const struct core_peer *peer)
{
    return (uint16_t)(peer - core->peers);
}

/* Counts of one process do not go back. */
static bool core_peer_began_anew(const struct wire_weights *now,
                                 const struct wire_weights *before)
{
#define X(name) || now->name < before->name
    return false WIRE_WEIGHTS_COUNTS_MAP(X);
#undef X
}

/* What `now` says beyond `before`: all of it where another process says it.  A sum stays at its
 * most: what a worker tells of itself may be nonsense. */
static void core_peer_add_weights(struct wire_weights *sums, const struct wire_weights *now,
                                  const struct wire_weights *before)
{
    const struct wire_weights none = {0};
    const struct wire_weights *from = core_peer_began_anew(now, before) ? &none : before;
#define X(name)                           \
    sums->name += now->name - from->name; \
    if (sums->name > WIRE_WEIGHTS_MAX)    \
        sums->name = WIRE_WEIGHTS_MAX;
    WIRE_WEIGHTS_COUNTS_MAP(X)
#undef X
    sums->fetch_ms = now->fetch_ms; /* a median, not a count */
}

/* Its name makes room for another: what it did stays in the sums, and what it generated is nobody's
 * that is known. */
static void core_peer_forget(struct core *core, struct core_peer *peer)
{
    struct core_forgotten *sums = &core->counters.forgotten;
    sums->names++;
    sums->items_done += peer->items_done;
    sums->leases_expired += peer->leases_expired;
    sums->leases_failed += peer->leases_failed;
    sums->outrun += peer->outrun;
    sums->mismatches += peer->mismatches;
    core_peer_add_weights(&sums->weights, &peer->weights, &(struct wire_weights){0});
    sums->weights.fetch_ms = 0; /* a median is none of a sum */
    core_log(core, LOG_LEVEL_INFO, "PEER-FORGOTTEN",
             "%s, gone for %llu s, makes room for another name: %u are known, the most",
             peer->name, (unsigned long long)((core->now_ms - peer->seen_ms) / 1000),
             (unsigned)core->names_max);
}

struct core_peer *core_peer_named(struct core *core, const char *name)
{
    struct core_peer *spare = NULL;
    if (core->peers_n < core->names_max)
        spare = &core->peers[core->peers_n];
    for (size_t i = 0; i < core->peers_n; i++) {
        struct core_peer *peer = &core->peers[i];
        if (strcmp(peer->name, name) == 0)
            return peer;
        /* An entry never used is the best; then the one silent longest. */
        if (core->peers_n == core->names_max && peer->state == CORE_PEER_GONE &&
            (!spare || peer->seen_ms < spare->seen_ms))
            spare = peer;
    }
    if (!spare)
        return NULL;
    if (spare == &core->peers[core->peers_n])
        core->peers_n++;
    else
        core_peer_forget(core, spare);
    *spare = (struct core_peer){.state = CORE_PEER_GONE, .name_n = spare->name_n + 1};
    snprintf(spare->name, sizeof spare->name, "%s", name);
    return spare;
}

bool core_peer_has_room(const struct core_peer *peer)
{
    const uint32_t least = peer->capacity / CORE_ROOM_SHARE;
    return peer->capacity - peer->in_flight >= (least > 0 ? least : 1);
}

void core_peer_moved(struct core *core, const struct core_peer *peer)
{
    const size_t i = core_peer_index(core, peer);
    const bool here = peer->state != CORE_PEER_GONE;
    core_set_put(&core->learners, i, here && peer->role == WIRE_ROLE_LEARNER);
    for (int role = WIRE_ROLE_ACTOR; role <= WIRE_ROLE_LEARNER; role++)
        core_set_put(&core->roomy[role], i,
                     here && peer->role == (enum wire_role)role && core_peer_has_room(peer));
    if (peer->acks_n == 0)
        core_set_put(&core->owing, i, false);
}

struct core_peer *core_peer_learner(struct core *core)
{
    struct core_peer *best = NULL;
    for (size_t i = core_set_next(&core->learners, 0); i < CORE_PEERS_MAX;
         i = core_set_next(&core->learners, i + 1)) {
        struct core_peer *peer = &core->peers[i];
        const bool better = !best || peer->version > best->version ||
                            (peer->version == best->version &&
                             (peer->state != best->state ? peer->state == CORE_PEER_LIVE
                                                         : strcmp(peer->name, best->name) < 0));
        best = better ? peer : best;
    }
    return best;
}

struct core_peer *core_peer_source(struct core *core)
{
    struct core_peer *best = NULL;
    for (size_t i = core_set_next(&core->learners, 0); i < CORE_PEERS_MAX;
         i = core_set_next(&core->learners, i + 1)) {
        struct core_peer *peer = &core->peers[i];
        if (peer->state != CORE_PEER_LIVE)
            continue;
        if (!best || peer->version > best->version ||
            (peer->version == best->version && strcmp(peer->name, best->name) < 0))
            best = peer;
    }
    return best;
}

/* Learners that are here under other names. */
static uint32_t core_peer_learners(const struct core *core, const char *but)
{
    uint32_t n = 0;
    for (size_t i = core_set_next(&core->learners, 0); i < CORE_PEERS_MAX;
         i = core_set_next(&core->learners, i + 1))
        n += strcmp(core->peers[i].name, but) != 0;
    return n;
}

static void core_peer_emit(struct core *core, uint64_t address, struct message *message)
{
    message->epoch = core->epoch;
    core->sink(core->user, &(struct core_effect){
                               .kind = CORE_FX_SEND, .peer = address, .message = message});
}

void core_peer_send(struct core *core, struct core_peer *peer, struct message *message)
{
    message->session = peer->session;
    message->seq = ++peer->out_seq;
    peer->sent_ms = core->now_ms;
    core_peer_emit(core, peer->address, message);
}

/* To a connection that has no session, or is losing it. */
static void core_peer_reset(struct core *core, uint64_t address, uint64_t session, bool refused,
                            const char *text)
{
    struct message *message = &core->out;
    *message = (struct message){.type = MESSAGE_RESET, .session = session, .refused = refused};
    snprintf(message->text, sizeof message->text, "%s", text);
    core->counters.resets++;
    core_peer_emit(core, address, message);
}

void core_peer_end(struct core *core, struct core_peer *peer, const char *why)
{
    if (peer->state == CORE_PEER_GONE)
        return;
    core_log(core, LOG_LEVEL_WARN, "PEER-GONE", "%s (%s): %s; %u items are leased again",
             peer->name, wire_role_name(peer->role), why, (unsigned)peer->in_flight);
    if (!core_bug(core, 6))
        core_lease_return_all(core, peer);
    peer->state = CORE_PEER_GONE;
    peer->session = 0;
    peer->acks_n = 0;
    peer->in_flight = 0;
    core_peer_moved(core, peer);
}

void core_peer_expel(struct core *core, struct core_peer *peer, const char *text)
{
    core_log(core, LOG_LEVEL_ERROR, "PEER-REFUSED", "%s (%s): %s", peer->name,
             wire_role_name(peer->role), text);
    core_peer_reset(core, peer->address, peer->session, true, text);
    core_peer_end(core, peer, "it was refused");
}

void core_peer_dismiss(struct core *core, bool for_good, const char *text)
{
    for (size_t i = 0; i < core->peers_n; i++) {
        struct core_peer *peer = &core->peers[i];
        if (peer->state == CORE_PEER_GONE)
            continue;
        if (for_good) {
            core->out = (struct message){.type = MESSAGE_BYE};
            snprintf(core->out.text, sizeof core->out.text, "%s", text);
            core_peer_send(core, peer, &core->out);
        } else { /* another coordinator may come: let them look for it */
            core_peer_reset(core, peer->address, peer->session, false, text);
        }
        peer->state = CORE_PEER_GONE;
        core_peer_moved(core, peer);
    }
}

/* Its low bits are the peer's index, so that it is found at once; entropy makes the others unlike
 * those of other epochs.  Never 0. */
static uint64_t core_peer_new_session(struct core *core, const struct core_peer *peer)
{
    const uint64_t random = core->entropy ^ (core->counters.sessions << 32);
    const uint64_t session = random - random % CORE_PEERS_MAX + core_peer_index(core, peer);
    return session != 0 ? session : CORE_PEERS_MAX;
}

static void core_peer_welcome(struct core *core, struct core_peer *peer)
{
    core->out = (struct message){
        .type = MESSAGE_WELCOME,
        .heartbeat_ms = core->config->heartbeat_ms,
        .dead_ms = core->config->dead_ms,
    };
    core_peer_send(core, peer, &core->out);
}

static void core_peer_open(struct core *core, struct core_peer *peer, uint64_t address,
                           const struct message *hello)
{
    peer->role = hello->role;
    peer->state = CORE_PEER_LIVE;
    peer->address = address;
    peer->session = core_peer_new_session(core, peer);
    memcpy(peer->nonce, hello->nonce, sizeof peer->nonce);
    memcpy(peer->endpoint, hello->text, sizeof peer->endpoint);
    peer->told_seq = 0;
    if (peer->pid != hello->pid)
        peer->told = (struct wire_weights){0};
    peer->pid = hello->pid;
    peer->capacity = hello->capacity;
    if (peer->role == WIRE_ROLE_LEARNER)
        peer->capacity = core->B;
    peer->in_flight = 0;
    peer->seen_ms = peer->progress_ms = core->now_ms;
    peer->progress = 0;
    peer->failures = 0;
    peer->backoff_ms = 0;
    peer->greeted = true;
    peer->out_seq = peer->in_window = peer->acked_seq = 0;
    peer->in_seq = hello->seq;
    peer->version = hello->version;
    peer->has_hash = hello->has_hash;
    peer->hash = hello->hash;
    peer->acks_n = 0;
    core_peer_moved(core, peer);
    core->counters.sessions++;
    core_log(core, LOG_LEVEL_INFO, "PEER-HELLO", "%s (%s, pid %llu) is here, with room for %u",
             peer->name, wire_role_name(peer->role), (unsigned long long)peer->pid,
             (unsigned)peer->capacity);
    core_peer_welcome(core, peer);
}

/* All that are here under other names. */
static uint32_t core_peer_others(const struct core *core, const char *but)
{
    uint32_t n = 0;
    for (size_t i = 0; i < core->peers_n; i++)
        n += core->peers[i].state != CORE_PEER_GONE && strcmp(core->peers[i].name, but) != 0;
    return n;
}

/* Why this HELLO is refused for good; NULL where it is not.  text is scratch of `size`. */
static const char *core_peer_refuse(struct core *core, const struct message *hello, char *text,
                                    size_t size)
{
    if (hello->role == WIRE_ROLE_NONE || hello->name[0] == '\0' || hello->capacity == 0)
        return "HELLO without a role, a name or a capacity";
    if (memcmp(&hello->config_hash, &core->config_hash, sizeof hello->config_hash) != 0)
        return "its configuration differs from the coordinator's";
    if (core_peer_others(core, hello->name) >= core->peers_max) {
        snprintf(text, size, "%u workers are connected, as many as the coordinator lets in",
                 (unsigned)core->peers_max);
        return text;
    }
    if (hello->role == WIRE_ROLE_REWARD)
        return core_identity_greet(core, hello, text, size);
    if (hello->role != WIRE_ROLE_LEARNER)
        return NULL;
    const uint32_t most = core->config->learners ? core->config->learners : 1;
    if (core_peer_learners(core, hello->name) >= most) {
        snprintf(text, size, "as many learners are connected as workers.learners says: %u",
                 (unsigned)most);
        return text;
    }
    return core_train_greet(core, hello, text, size);
}

/* The same HELLO of a session that exists: the worker did not wait for our WELCOME, or the
 * network was slow.  Once it has spoken in its session, it needs no other. */
static bool core_peer_repeated(struct core *core, uint64_t address, const struct message *hello)
{
    for (size_t i = 0; i < core->peers_n; i++) {
        struct core_peer *peer = &core->peers[i];
        if (peer->state == CORE_PEER_GONE || peer->address != address ||
            strcmp(peer->name, hello->name) != 0 ||
            memcmp(peer->nonce, hello->nonce, sizeof peer->nonce) != 0)
            continue;
        if (peer->greeted) {
            if (hello->seq > peer->in_seq)
                peer->in_seq = hello->seq;
            core_peer_welcome(core, peer);
        }
        return true;
    }
    return false;
}

static void core_peer_hello(struct core *core, uint64_t address, const struct message *hello)
{
    if (core_peer_repeated(core, address, hello))
        return;
    char text[WIRE_TEXT_MAX];
    const char *refusal = core_peer_refuse(core, hello, text, sizeof text);
    if (core->finished) /* the learner's HELLO may end the run */
        return;
    if (refusal) {
        core_log(core, LOG_LEVEL_ERROR, "PEER-REFUSED", "%s (%s): %s", hello->name,
                 wire_role_name(hello->role), refusal);
        core_peer_reset(core, address, 0, true, refusal);
        return;
    }
    struct core_peer *peer = core_peer_named(core, hello->name);
    assert(peer); /* not all entries are of those that are here */
    if (peer->state != CORE_PEER_GONE)
        core_peer_end(core, peer, "a newer session of that name began");
    core_peer_open(core, peer, address, hello);
}

static struct core_peer *core_peer_of(struct core *core, uint64_t address,
                                      const struct message *message)
{
    struct core_peer *peer = &core->peers[message->session % CORE_PEERS_MAX];
    const bool known = message->epoch == core->epoch && message->session != 0 &&
                       peer->state != CORE_PEER_GONE && peer->session == message->session;
    return known && peer->address == address ? peer : NULL;
}

void core_peer_progress(struct core *core, struct core_peer *peer)
{
    peer->progress_ms = core->now_ms; /* its leases' deadlines follow from it */
}

void core_peer_failed(struct core *core, struct core_peer *peer, const char *text)
{
    snprintf(peer->failure, sizeof peer->failure, "%s", text);
    peer->failure_ms = core->now_ms;
}

void core_peer_back_off(struct core *core, struct core_peer *peer)
{
    const uint32_t doublings = peer->failures < 10 ? peer->failures : 10;
    uint64_t wait_ms = (uint64_t)CORE_BACKOFF_MS << doublings;
    if (wait_ms > CORE_BACKOFF_MAX_MS)
        wait_ms = CORE_BACKOFF_MAX_MS;
    peer->backoff_ms = core->now_ms + wait_ms;
    peer->failures++;
}

static void core_peer_heartbeat(struct core *core, struct core_peer *peer,
                                const struct message *message)
{
    if (message->progress != peer->progress) {
        peer->progress = message->progress;
        core_peer_progress(core, peer);
    }
    if (message->seq > peer->told_seq) { /* an older one says less */
        core_peer_add_weights(&peer->weights, &message->weights, &peer->told);
        peer->told = message->weights;
        peer->told_seq = message->seq;
    }
    /* Later messages came before it, and could not be acknowledged without it.  A worker whose
     * outbox is full sends no other result for which they would be. */
    if (message->seq < peer->in_seq)
        core_peer_owe_ack(core, peer);
}

/* Note that message `seq` came; false where so many are missing before it that they are lost.
 * in_seq: all up to it came; in_window: bit i says that in_seq + 1 + i came too. */
static bool core_peer_heard(struct core *core, struct core_peer *peer, uint64_t seq)
{
    peer->seen_ms = core->now_ms;
    if (peer->greeted) { /* a worker counts on from its HELLO, or from 1 again */
        peer->greeted = false;
        if (seq <= peer->in_seq)
            peer->in_seq = 0;
    }
    if (seq <= peer->in_seq)
        return true;
    if (seq - peer->in_seq > 64)
        return false;
    if (peer->in_window == 0)
        peer->gap_ms = core->now_ms;
    peer->in_window |= (uint64_t)1 << (seq - peer->in_seq - 1);
    while (peer->in_window & 1) {
        peer->in_window >>= 1;
        peer->in_seq++;
        peer->gap_ms = core->now_ms;
    }
    return true;
}

/* Its results can no longer be acknowledged in order: let it offer them again. */
static void core_peer_lost_message(struct core *core, struct core_peer *peer)
{
    core_peer_reset(core, peer->address, peer->session, false, "a message of yours was lost");
    core_peer_end(core, peer, "a message of it was lost");
}

static bool core_peer_role_fits(const struct core_peer *peer, enum message_type type)
{
    switch (type) {
    case MESSAGE_GENERATE_RESULT: return peer->role == WIRE_ROLE_ACTOR;
    case MESSAGE_SCORE_RESULT: return peer->role == WIRE_ROLE_REWARD;
    case MESSAGE_TRAIN_RESULT: return peer->role == WIRE_ROLE_LEARNER;
    case MESSAGE_LEASE_FAILED:
    case MESSAGE_HEARTBEAT:
    case MESSAGE_BYE: return true;
    default: return false;
    }
}

void core_peer_message(struct core *core, const struct core_event *event)
{
    const struct message *message = event->message;
    if (!core->started)
        return; /* the epoch is not durable yet; the worker says HELLO again */
    if (message->type == MESSAGE_HELLO) {
        core_peer_hello(core, event->peer, message);
        return;
    }
    struct core_peer *peer = core_peer_of(core, event->peer, message);
    if (!peer) {
        if (!core_bug(core, 5))
            core_peer_reset(core, event->peer, message->session, false,
                            "no such session: say HELLO");
        return;
    }
    if (!core_peer_heard(core, peer, message->seq)) {
        core_peer_lost_message(core, peer);
        return;
    }
    if (peer->state == CORE_PEER_SUSPECT)
        peer->state = CORE_PEER_LIVE;
    if (!core_peer_role_fits(peer, message->type)) {
        char text[WIRE_TEXT_MAX];
        snprintf(text, sizeof text, "%s from a %s", message_type_name(message->type),
                 wire_role_name(peer->role));
        core_peer_bad(core, event->peer, text);
        return;
    }
    switch (message->type) {
    case MESSAGE_HEARTBEAT: core_peer_heartbeat(core, peer, message); return;
    case MESSAGE_BYE: core_peer_end(core, peer, message->text); return;
    case MESSAGE_GENERATE_RESULT: core_result_generated(core, peer, message); break;
    case MESSAGE_SCORE_RESULT: core_result_scored(core, peer, message); break;
    case MESSAGE_TRAIN_RESULT: core_train_result(core, peer, message); break;
    default: core_lease_failed(core, peer, message); break;
    }
    if (core->finished)
        return;
    core_peer_progress(core, peer);
    core_peer_owe_ack(core, peer);
}

/* Which connection sent something bad, and how often.  The table is small: what falls out of
 * it is forgiven. */
static uint32_t core_peer_offence(struct core *core, uint64_t address)
{
    struct core_offender *least = &core->offenders[0];
    for (size_t i = 0; i < CORE_ADDRESSES_MAX; i++) {
        struct core_offender *offender = &core->offenders[i];
        if (offender->bad > 0 && offender->address == address)
            return ++offender->bad;
        if (offender->bad < least->bad)
            least = offender;
    }
    *least = (struct core_offender){.address = address, .bad = 1};
    return 1;
}

void core_peer_bad(struct core *core, uint64_t address, const char *text)
{
    if (!core->started)
        return;
    core->counters.bad_messages++;
    const char *name = "a connection without a session";
    for (size_t i = 0; i < core->peers_n; i++) {
        struct core_peer *peer = &core->peers[i];
        if (peer->state != CORE_PEER_GONE && peer->address == address)
            name = peer->name;
    }
    core_log(core, LOG_LEVEL_ERROR, "BAD-MESSAGE", "from %s: %s", name, text);
    if (core_peer_offence(core, address) < CORE_BAD_MAX) {
        core_peer_reset(core, address, 0, false, text);
        core_peer_gone(core, address);
        return;
    }
    core_peer_gone(core, address);
    core->sink(core->user, &(struct core_effect){.kind = CORE_FX_KICK, .peer = address});
}

void core_peer_gone(struct core *core, uint64_t address)
{
    for (size_t i = 0; i < core->peers_n; i++) {
        struct core_peer *peer = &core->peers[i];
        if (peer->state != CORE_PEER_GONE && peer->address == address)
            core_peer_end(core, peer, "its connection is gone");
    }
}

static void core_peer_tick_one(struct core *core, struct core_peer *peer)
{
    const struct run_config *config = core->config;
    const uint64_t silent_ms = core->now_ms - peer->seen_ms;
    if (silent_ms >= config->dead_ms) {
        core_peer_end(core, peer, "silent for timeouts.dead_ms");
        return;
    }
    if (silent_ms >= (uint64_t)CORE_SUSPECT_BEATS * config->heartbeat_ms)
        peer->state = CORE_PEER_SUSPECT;
    if (peer->in_flight > 0 && core->now_ms - peer->progress_ms >= config->stall_ms) {
        core_peer_reset(core, peer->address, peer->session, false,
                        "no progress for timeouts.stall_ms");
        core_peer_end(core, peer, "no progress for timeouts.stall_ms");
        return;
    }
    if (peer->in_window != 0 && core->now_ms - peer->gap_ms >= config->dead_ms / 2) {
        core_peer_lost_message(core, peer);
        return;
    }
    if (core->now_ms - peer->sent_ms >= config->heartbeat_ms) {
        /* The last ACK again, where there was one: should it have been lost, a worker whose
         * outbox is full would wait for it for ever. */
        core->out = peer->acked_seq > 0
                        ? (struct message){.type = MESSAGE_ACK, .ack_seq = peer->acked_seq}
                        : (struct message){.type = MESSAGE_HEARTBEAT};
        core_peer_send(core, peer, &core->out);
    }
}

void core_peer_tick(struct core *core)
{
    for (size_t i = 0; i < core->peers_n; i++)
        if (core->peers[i].state != CORE_PEER_GONE)
            core_peer_tick_one(core, &core->peers[i]);
}

void core_peer_owe_ack(struct core *core, struct core_peer *peer)
{
    const struct core_ack ack = {.message_seq = peer->in_seq, .record_seq = core->seq};
    if (peer->state == CORE_PEER_GONE)
        return;
    if (peer->acks_n == CORE_ACKS_MAX) /* later than need be, never sooner */
        peer->acks_n--;
    peer->acks[peer->acks_n++] = ack;
    core_set_put(&core->owing, core_peer_index(core, peer), true);
    core->acks_due = core->acks_due || core_durable(core, ack.record_seq);
}

static void core_peer_release_ack(struct core *core, struct core_peer *peer)
{
    uint32_t n = 0;
    uint64_t high = 0;
    while (n < peer->acks_n && core_durable(core, peer->acks[n].record_seq)) {
        high = peer->acks[n].message_seq;
        n++;
    }
    if (n == 0)
        return;
    memmove(peer->acks, peer->acks + n, (peer->acks_n - n) * sizeof peer->acks[0]);
    peer->acks_n -= n;
    if (peer->acks_n == 0)
        core_set_put(&core->owing, core_peer_index(core, peer), false);
    peer->acked_seq = high;
    core->out = (struct message){.type = MESSAGE_ACK, .ack_seq = high};
    core_peer_send(core, peer, &core->out);
}

void core_peer_release_acks(struct core *core)
{
    if (!core->acks_due)
        return;
    core->acks_due = false;
    for (size_t i = core_set_next(&core->owing, 0); i < CORE_PEERS_MAX;
         i = core_set_next(&core->owing, i + 1))
        core_peer_release_ack(core, &core->peers[i]);
}

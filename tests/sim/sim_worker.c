/* sim_worker.c -- simulated workers: node/worker.h's session, and the work of actors and reward
 * workers, which takes time. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/sim.h"

#define SIM_HELLO_AGAIN_MS 200

static void sim_worker_forget(struct sim_worker *w)
{
    for (uint32_t i = 0; i < w->inbox_n; i++)
        free(w->inbox[i]);
    w->inbox_n = 0;
    w->taken = false;
    w->at = 0;
}

/* A session has an address and a nonce of its own.  Leases not begun die with it. */
static void sim_worker_connect(struct sim *sim, struct sim_worker *w)
{
    if (w->address != 0 && sim_chance(sim, 500))
        sim_net_gone(sim, w->address);
    const uint32_t keep = w->taken ? 1 : 0;
    for (uint32_t i = keep; i < w->inbox_n; i++)
        free(w->inbox[i]);
    w->inbox_n = keep;
    w->ready = false;
    w->session = w->epoch = w->seq = 0;
    w->address = ++sim->addresses;
    w->nonce = sim_random(sim, UINT64_MAX);
    w->hello_ms = w->begun_ms = w->heard_ms = sim->now_ms;
}

void sim_worker_start(struct sim *sim, int worker)
{
    struct sim_worker *w = &sim->workers[worker];
    w->alive = true;
    if (w->lives++ > 0 && sim->names_max > 0 && w->role != WIRE_ROLE_LEARNER)
        snprintf(w->name, sizeof w->name, "%s-%d.%u", wire_role_name(w->role), worker,
                 (unsigned)w->lives);
    w->progress = sim_random(sim, 1000);
    w->hang_until_ms = w->silent_until_ms = w->busy_until_ms = 0;
    w->version = sim_learner_newest_whole(sim, w->below);
    w->below = 0;
    w->hash = sim->checkpoint[w->version];
    w->attempt = 0;
    w->weights = w->pull_ms = 0;
    sim_worker_connect(sim, w);
}

int sim_worker_index(const struct sim *sim, const struct sim_worker *w)
{
    return (int)(w - sim->workers);
}

static void sim_worker_emit(struct sim *sim, struct sim_worker *w, struct message *message)
{
    message->session = w->session;
    message->epoch = w->epoch;
    message->seq = ++w->seq;
    w->sent_ms = sim->now_ms;
    sim_net_send(sim, sim_worker_index(sim, w), message);
}

void sim_worker_crash(struct sim *sim, int worker)
{
    struct sim_worker *w = &sim->workers[worker];
    if (w->ready && sim_chance(sim, 200)) { /* it leaves as it should */
        struct message bye = {.type = MESSAGE_BYE};
        snprintf(bye.text, sizeof bye.text, "told to stop");
        sim_worker_emit(sim, w, &bye);
    }
    sim_worker_forget(w);
    for (uint32_t i = 0; i < w->outbox_n; i++)
        free(w->outbox[i]);
    w->outbox_n = 0;
    if (w->role == WIRE_ROLE_LEARNER && sim->checkpoint_writer == worker)
        sim->checkpoint_next = 0; /* what was half written is lost */
    w->alive = w->ready = false;
    w->restart_ms = sim->now_ms + 50 + sim_random(sim, 1500);
}

/* In some runs so much that a lease waits until more than one item is back. */
static uint32_t sim_worker_capacity(const struct sim *sim)
{
    return (3 + (uint32_t)(sim->seed % 5)) * (sim->seed % 3 == 0 ? 4 : 1);
}

static void sim_worker_hello(struct sim *sim, struct sim_worker *w)
{
    struct message hello = {
        .type = MESSAGE_HELLO,
        .role = w->role,
        .capacity = w->role == WIRE_ROLE_LEARNER ? 1 : sim_worker_capacity(sim),
        .version = w->version,
        .has_hash = w->role != WIRE_ROLE_ACTOR,
        .pid = 1,
    };
    if (w->role == WIRE_ROLE_LEARNER)
        hello.hash = w->hash; /* reward processes all read the same */
    snprintf(hello.name, sizeof hello.name, "%s", w->name);
    snprintf(hello.text, sizeof hello.text, "%s", w->name);
    memcpy(hello.nonce, &w->nonce, sizeof w->nonce);
    w->hello_ms = sim->now_ms + SIM_HELLO_AGAIN_MS;
    sim_worker_emit(sim, w, &hello);
}

void sim_worker_queue(struct sim *sim, struct sim_worker *w, struct message *message)
{
    struct sim_message *copy = sim_net_copy(message);
    w->outbox[w->outbox_n++] = copy;
    copy->message.seq = 0;
    if (w->ready) {
        sim_worker_emit(sim, w, message);
        copy->message.seq = message->seq;
    }
}

/* --- what comes --------------------------------------------------------------------------- */

/* Has the item all the scores it is to have: costs are of slots alone, monitors of none, that of
 * a kind of the kind's prompts. */
static bool sim_worker_is_scored(const struct sim *sim, const struct wire_item *item,
                                 const unsigned char states[SIM_SCORERS])
{
    for (uint32_t s = 0; s < SIM_SCORERS; s++) {
        const enum run_role role = sim->config->scorer[s].role;
        const bool idle = role == RUN_ROLE_MONITOR ||
                          (role == RUN_ROLE_COST && item->kind == WIRE_WORK_REFERENCE) ||
                          (s == SIM_KIND && !sim_content_counts(sim->config, item->prompt));
        if (!idle && states[s] != WIRE_SCORE_OK)
            return false;
    }
    return true;
}

/* May this result be forgotten? */
static void sim_worker_check_ack(struct sim *sim, const struct sim_worker *w,
                                 const struct message *result)
{
    /* The result of another rank than 0 says no more than its next HELLO would. */
    if (result->type == MESSAGE_TRAIN_RESULT && result->rank == 0 &&
        !sim_disk_step_durable(sim, result->step))
        sim_fail(sim, "%s was told to forget step %llu, which is not durable", w->name,
                 (unsigned long long)result->step);
    if (result->type != MESSAGE_GENERATE_RESULT && result->type != MESSAGE_SCORE_RESULT)
        return;
    const bool scores = result->type == MESSAGE_SCORE_RESULT;
    for (uint32_t i = 0; i < result->items_n; i++) {
        const struct wire_item *item = &result->items[i];
        const unsigned char *states = result->frame[1].data;
        if (scores && !sim_worker_is_scored(sim, item, states + i * SIM_SCORERS))
            continue;
        const enum record_kind kind = scores ? RECORD_SCORE : RECORD_ROLLOUT;
        if (!sim_disk_durable(sim, kind, item->kind, item->a, item->b) &&
            !sim_disk_durable(sim, RECORD_DROP, item->kind, item->a, item->b))
            sim_fail(sim, "%s was told to forget the %s of %llu/%u, which is not durable",
                     w->name, record_kind_name(kind), (unsigned long long)item->a,
                     (unsigned)item->b);
    }
}

/* Sometimes a worker sends again what it was told to forget, with other numbers. */
static void sim_worker_misbehave(struct sim *sim, struct sim_worker *w,
                                 struct message *forgotten)
{
    if (!w->ready || !sim_faulty(sim) || !sim_chance(sim, sim->rates.hostile))
        return;
    if (forgotten->type == MESSAGE_SCORE_RESULT) {
        double *scores = (double *)forgotten->frame[0].data;
        scores[0] += 1.0;
    } else if (forgotten->type == MESSAGE_GENERATE_RESULT) {
        int32_t *ids = (int32_t *)forgotten->frame[0].data;
        ids[0] += 1;
    } else {
        return;
    }
    sim_worker_emit(sim, w, forgotten);
}

static void sim_worker_ack(struct sim *sim, struct sim_worker *w, uint64_t seq)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < w->outbox_n; i++) {
        struct sim_message *result = w->outbox[i];
        if (result->message.seq == 0 || result->message.seq > seq) {
            w->outbox[kept++] = result;
            continue;
        }
        sim_worker_check_ack(sim, w, &result->message);
        sim_worker_misbehave(sim, w, &result->message);
        free(result);
    }
    w->outbox_n = kept;
}

static void sim_worker_welcome(struct sim *sim, struct sim_worker *w,
                               const struct message *message)
{
    w->ready = true;
    w->session = message->session;
    w->epoch = message->epoch;
    for (uint32_t i = 0; i < w->outbox_n; i++) {
        sim_worker_emit(sim, w, &w->outbox[i]->message); /* its copy keeps the new seq */
    }
}

static void sim_worker_reset(struct sim *sim, struct sim_worker *w,
                             const struct message *message)
{
    /* Those that died under other names may not have been missed yet: it tries again. */
    const bool full = sim->names_max > 0 && strstr(message->text, "workers are connected");
    if (message->refused && !full) {
        w->dismissed = true;
        sim_fail(sim, "%s was refused: %s", w->name, message->text);
        return;
    }
    sim_worker_connect(sim, w);
    w->hello_ms = sim->now_ms + 100;
}

void sim_worker_receive(struct sim *sim, int worker, const struct message *message)
{
    struct sim_worker *w = &sim->workers[worker];
    w->heard_ms = sim->now_ms;
    if (message->type == MESSAGE_WELCOME) {
        if (!w->ready)
            sim_worker_welcome(sim, w, message);
        return;
    }
    if (message->type == MESSAGE_RESET) {
        sim_worker_reset(sim, w, message);
        return;
    }
    if (!w->ready || message->session != w->session)
        return;
    if (message->type == MESSAGE_BYE)
        w->dismissed = true;
    if (message->type == MESSAGE_ACK)
        sim_worker_ack(sim, w, message->ack_seq);
    if (message->type == MESSAGE_GENERATE_LEASE || message->type == MESSAGE_SCORE_LEASE ||
        message->type == MESSAGE_TRAIN_LEASE) {
        if (w->inbox_n < SIM_INBOX)
            w->inbox[w->inbox_n++] = sim_net_copy(message);
    }
}

/* --- work --------------------------------------------------------------------------------- */

/* Chance must not decide what is dropped, or the final weights would depend on it: a scoring
 * fails by chance once at most, and leases are given back fewer times than drop an item. */
static bool sim_worker_score_fault(struct sim *sim, const struct wire_item *item)
{
    uint8_t *n = &sim->score_faults[item->kind == WIRE_WORK_REFERENCE][item->a][item->b];
    if (!sim_faulty(sim) || *n >= 1 || !sim_chance(sim, sim->rates.hostile))
        return false;
    ++*n;
    return true;
}

static bool sim_worker_lease_fault(struct sim *sim)
{
    if (!sim_faulty(sim) || sim->lease_faults + 1 >= CORE_LEASE_FAILS_MAX ||
        !sim_chance(sim, sim->rates.hostile))
        return false;
    sim->lease_faults++;
    return true;
}

static void sim_worker_done(struct sim_worker *w)
{
    free(w->inbox[0]);
    memmove(w->inbox, w->inbox + 1, (--w->inbox_n) * sizeof w->inbox[0]);
    w->taken = false;
    w->at = 0;
}

static void sim_worker_generate(struct sim *sim, struct sim_worker *w,
                                const struct message *lease)
{
    struct wire_item items[SIM_SLICE];
    int32_t ids[SIM_SLICE * SIM_TOKENS];
    float logp[SIM_SLICE * SIM_TOKENS];
    uint32_t n = 0, tokens = 0;
    const uint32_t most = 1 + (uint32_t)sim_random(sim, SIM_SLICE);
    if (lease->version > sim->trained_n)
        sim_fail(sim, "%s is to generate with version %llu, which is not there", w->name,
                 (unsigned long long)lease->version);
    for (; n < most && w->at < lease->items_n; w->at++, n++) {
        struct sim_rollout rollout;
        items[n] = lease->items[w->at];
        sim_content_rollout(&rollout, lease->version, items[n].kind, items[n].a, items[n].b);
        items[n].response_tokens = rollout.tokens;
        items[n].finish = rollout.finish;
        memcpy(ids + tokens, rollout.ids, rollout.tokens * sizeof *ids);
        memcpy(logp + tokens, rollout.logp, rollout.tokens * sizeof *logp);
        if (w->odd && items[n].kind == WIRE_WORK_ROLLOUT)
            logp[tokens] = nextafterf(logp[tokens], -1e9f);
        tokens += rollout.tokens;
    }
    struct message result = {
        .type = MESSAGE_GENERATE_RESULT,
        .lease = lease->lease,
        .version = lease->version,
        .items = items,
        .items_n = n,
        .frames_n = 2,
        .frame = {{ids, tokens * sizeof *ids}, {logp, tokens * sizeof *logp}},
    };
    if (w->ready && sim_faulty(sim) && sim_chance(sim, sim->rates.hostile)) {
        result.version++; /* a worker that mixes versions up: refused, and leased again */
        sim_worker_emit(sim, w, &result);
        return;
    }
    sim_worker_queue(sim, w, &result);
}

/* The rollout that the item at hand is of; the lease must have it as it was generated. */
static void sim_worker_scored_rollout(struct sim *sim, const struct sim_worker *w,
                                      const struct message *lease, struct sim_rollout *out)
{
    const int32_t *ids = lease->frame[0].data;
    const struct wire_item *item = &lease->items[w->at];
    for (uint32_t i = 0; i < w->at; i++)
        ids += lease->items[i].prompt_tokens + lease->items[i].response_tokens;
    const uint64_t version = item->kind == WIRE_WORK_REFERENCE || item->a <= sim->config->lag
                                 ? 0
                                 : item->a - sim->config->lag;
    sim_content_rollout(out, version, item->kind, item->a, item->b);
    if (item->response_tokens != out->tokens || item->finish != out->finish ||
        memcmp(ids + item->prompt_tokens, out->ids, out->tokens * sizeof *ids) != 0)
        sim_fail(sim, "%s is to score %llu/%u with other tokens than were generated", w->name,
                 (unsigned long long)item->a, (unsigned)item->b);
}

/* Which scorers have a score; what one says that has none must not matter. */
static void sim_worker_score_states(struct sim *sim, const struct wire_item *item,
                                    uint32_t never, double score[SIM_SCORERS],
                                    unsigned char states[SIM_SCORERS])
{
    memset(states, WIRE_SCORE_OK, SIM_SCORERS);
    if (never < SIM_SCORERS)
        states[never] = WIRE_SCORE_FAILED;
    else if (sim_worker_score_fault(sim, item))
        states[sim_random(sim, SIM_COST + 1)] = WIRE_SCORE_TIMEOUT;
    if (sim_faulty(sim) && sim_chance(sim, 10 * sim->rates.hostile)) {
        states[SIM_MONITOR] = WIRE_SCORE_FAILED;
        score[SIM_MONITOR] = (double)sim_random(sim, 1000);
    }
    if (!sim_content_counts(sim->config, item->prompt)) {
        states[SIM_KIND] = (unsigned char)(1 + sim_random(sim, 3)); /* nobody asked */
        score[SIM_KIND] = (double)sim_random(sim, 1000);
    }
}

static void sim_worker_score(struct sim *sim, struct sim_worker *w, const struct message *lease)
{
    const struct wire_item *item = &lease->items[w->at];
    struct sim_rollout rollout;
    double score[SIM_SCORERS];
    float ref[SIM_TOKENS] = {0};
    unsigned char states[SIM_SCORERS];
    sim_worker_scored_rollout(sim, w, lease, &rollout);
    /* Sometimes a worker measures from another version: refused, and leased again. */
    const bool wrong = item->kind == WIRE_WORK_ROLLOUT && w->ready && sim_faulty(sim) &&
                       sim_chance(sim, sim->rates.hostile);
    const uint64_t reference = lease->version + wrong;
    const uint32_t never =
        sim_content_score(score, ref, &rollout, item->kind, item->a, item->b, reference);
    sim_worker_score_states(sim, item, never, score, states);
    const size_t ref_bytes = item->kind == WIRE_WORK_ROLLOUT ? rollout.tokens * sizeof *ref : 0;
    struct message result = {
        .type = MESSAGE_SCORE_RESULT,
        .lease = lease->lease,
        .version = reference,
        .scorers = SIM_SCORERS,
        .items = (struct wire_item *)item,
        .items_n = 1,
        .frames_n = 3,
        .frame = {{score, sizeof score}, {states, sizeof states}, {ref, ref_bytes}},
    };
    snprintf(result.text, sizeof result.text, "%s",
             sim_worker_is_scored(sim, item, states) ? "" : "simulated");
    w->at++;
    if (wrong)
        sim_worker_emit(sim, w, &result);
    else
        sim_worker_queue(sim, w, &result);
}

static void sim_worker_say_failed(struct sim *sim, struct sim_worker *w, const char *reason,
                                  bool untried)
{
    struct message failed = {
        .type = MESSAGE_LEASE_FAILED, .lease = w->inbox[0]->message.lease, .untried = untried};
    snprintf(failed.text, sizeof failed.text, "%s", reason);
    sim_worker_queue(sim, w, &failed);
    w->at = w->inbox[0]->message.items_n;
}

void sim_worker_fail_lease(struct sim *sim, struct sim_worker *w, const char *reason)
{
    sim_worker_say_failed(sim, w, reason, false);
}

/* Weights first. */
static void sim_worker_pull(struct sim *sim, struct sim_worker *w, const struct message *lease)
{
    switch (sim_pull(sim, w, lease)) {
    case SIM_PULL_HERE:
        if (w->role == WIRE_ROLE_REWARD)
            sim_worker_score(sim, w, lease);
        else
            sim_worker_generate(sim, w, lease);
        return;
    case SIM_PULL_WAITS: return;
    case SIM_PULL_FAILS: sim_worker_say_failed(sim, w, "no answer", true); return;
    }
}

/* exp(sigma z), sigma 1 and z standard normal (Box and Muller, 1958). */
static double sim_worker_lognormal(struct sim *sim)
{
    const double u = (double)(1 + sim_random(sim, 1u << 30)) / (double)(1u << 30);
    const double v = (double)sim_random(sim, 1u << 30) / (double)(1u << 30);
    return exp(sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v));
}

/* The first turn of each slice of work says how long it takes; true: it is not over. */
static bool sim_worker_is_busy(struct sim *sim, struct sim_worker *w)
{
    const uint32_t median_ms = sim->rates.straggle_ms;
    if (median_ms == 0 || w->role == WIRE_ROLE_LEARNER)
        return false;
    if (w->busy_until_ms == 0)
        w->busy_until_ms = sim->now_ms + (uint64_t)(median_ms * sim_worker_lognormal(sim));
    if (sim->now_ms < w->busy_until_ms)
        return true;
    w->busy_until_ms = 0;
    return false;
}

static void sim_worker_work(struct sim *sim, struct sim_worker *w)
{
    if (w->inbox_n == 0 || w->outbox_n >= SIM_OUTBOX - 1 || sim_chance(sim, 250))
        return;
    w->taken = true;
    const struct message *lease = &w->inbox[0]->message;
    if (sim_worker_is_busy(sim, w)) {
        w->progress++;
        return;
    }
    w->progress++;
    if (w->at == 0 && lease->type != MESSAGE_TRAIN_LEASE && sim_worker_lease_fault(sim))
        sim_worker_fail_lease(sim, w, "simulated");
    else if (lease->type == MESSAGE_TRAIN_LEASE)
        sim_learner_train(sim, w, lease);
    else
        sim_worker_pull(sim, w, lease);
    if (w->inbox_n > 0 && w->at >= lease->items_n)
        sim_worker_done(w);
}

void sim_worker_tick(struct sim *sim, int worker)
{
    struct sim_worker *w = &sim->workers[worker];
    if (!w->alive || w->dismissed || sim->now_ms < w->silent_until_ms)
        return;
    if (w->role == WIRE_ROLE_LEARNER && sim->checkpoint_next > sim->checkpoint_version &&
        sim->now_ms >= sim->checkpoint_ms)
        sim_learner_checkpointed(sim, sim->checkpoint_next);
    if (w->ready ? sim->now_ms - w->heard_ms >= sim->config->dead_ms
                 : sim->now_ms - w->begun_ms >= 2000)
        sim_worker_connect(sim, w);
    if (!w->ready && sim->now_ms >= w->hello_ms)
        sim_worker_hello(sim, w);
    if (w->ready && sim->now_ms - w->sent_ms >= sim->config->heartbeat_ms) {
        struct message beat = {
            .type = MESSAGE_HEARTBEAT, .progress = w->progress, .held = w->inbox_n};
        sim_worker_emit(sim, w, &beat);
    }
    if (sim->now_ms >= w->hang_until_ms)
        sim_worker_work(sim, w);
}

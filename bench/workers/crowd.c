/* crowd.c -- see crowd.h. */
#include "bench/workers/crowd.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/bench.h"

#define CROWD_HELLO_AGAIN_US 250000u

static void *crowd_allocate(size_t n, size_t size)
{
    void *memory = calloc(n, size);
    if (!memory)
        bench_stop("workers", "out of memory");
    return memory;
}

void crowd_init(struct crowd *crowd, size_t n, crowd_send *send, void *ctx)
{
    const size_t rewards = n < 20 ? 1 : n / 10;
    *crowd = (struct crowd){
        .n = n, .send = send, .ctx = ctx, .heartbeat_us = 1000000, .tokens = CROWD_TOKENS};
    crowd->workers = crowd_allocate(n, sizeof *crowd->workers);
    crowd->acks.us = crowd_allocate(CROWD_SAMPLES, sizeof(float));
    crowd->leases.us = crowd_allocate(CROWD_SAMPLES, sizeof(float));
    for (size_t w = 0; w < n; w++)
        crowd->workers[w].role = w == 0         ? WIRE_ROLE_LEARNER
                                 : w <= rewards ? WIRE_ROLE_REWARD
                                                : WIRE_ROLE_ACTOR;
}

void crowd_release(struct crowd *crowd)
{
    free(crowd->workers);
    free(crowd->acks.us);
    free(crowd->leases.us);
}

static void crowd_note(struct crowd_times *times, uint64_t us)
{
    if (times->n < CROWD_SAMPLES)
        times->us[times->n++] = (float)us;
}

/* How long the next item takes: evenly from nothing to twice item_us, so that workers do not
 * march in step. */
static uint64_t crowd_item_us(struct crowd *crowd)
{
    crowd->random = crowd->random * 6364136223846793005u + 1442695040888963407u;
    return (crowd->random >> 33) % (2 * crowd->item_us + 1);
}

/* --- what comes ----------------------------------------------------------------------------- */

static void crowd_acked(struct crowd *crowd, struct crowd_worker *worker, uint64_t seq,
                        uint64_t now_us)
{
    if (seq > worker->acked_seq + CROWD_PENDING)
        worker->acked_seq = seq - CROWD_PENDING;
    while (worker->acked_seq < seq) {
        uint64_t *sent_us = &worker->pending_us[++worker->acked_seq % CROWD_PENDING];
        if (*sent_us != 0)
            crowd_note(&crowd->acks, now_us - *sent_us);
        *sent_us = 0;
    }
}

static void crowd_leased(struct crowd *crowd, struct crowd_worker *worker,
                         const struct message *lease, uint64_t now_us)
{
    if (worker->result_us != 0 && worker->role == WIRE_ROLE_ACTOR)
        crowd_note(&crowd->leases, now_us - worker->result_us);
    worker->result_us = 0;
    if (worker->items_n + lease->items_n > CROWD_ITEMS_MAX) {
        crowd->refused++;
        return;
    }
    if (worker->items_n == 0)
        worker->due_us = now_us + crowd_item_us(crowd);
    for (uint32_t i = 0; i < lease->items_n; i++)
        worker->items[worker->items_n++] =
            (struct crowd_item){lease->lease, lease->version, lease->items[i]};
}

void crowd_receive(struct crowd *crowd, size_t w, const struct message *message,
                   uint64_t now_us)
{
    struct crowd_worker *worker = &crowd->workers[w];
    switch (message->type) {
    case MESSAGE_WELCOME:
        worker->welcomed = true;
        worker->session = message->session;
        worker->epoch = message->epoch;
        break;
    case MESSAGE_RESET: crowd->refused++; break;
    case MESSAGE_ACK: crowd_acked(crowd, worker, message->ack_seq, now_us); break;
    case MESSAGE_GENERATE_LEASE:
    case MESSAGE_SCORE_LEASE: crowd_leased(crowd, worker, message, now_us); break;
    case MESSAGE_TRAIN_LEASE:
        worker->trains = true;
        worker->lease = message->lease;
        worker->step = message->step;
        break;
    default: break;
    }
}

/* --- what is sent --------------------------------------------------------------------------- */

static void crowd_emit(struct crowd *crowd, size_t w, struct message *message, uint64_t now_us)
{
    struct crowd_worker *worker = &crowd->workers[w];
    message->session = worker->session;
    message->epoch = worker->epoch;
    message->seq = ++worker->seq;
    worker->sent_us = now_us;
    crowd->send(crowd->ctx, w, message);
}

static void crowd_result(struct crowd *crowd, size_t w, struct message *message,
                         uint64_t now_us)
{
    struct crowd_worker *worker = &crowd->workers[w];
    crowd_emit(crowd, w, message, now_us);
    worker->pending_us[worker->seq % CROWD_PENDING] = now_us;
}

static void crowd_hello(struct crowd *crowd, size_t w, uint64_t now_us)
{
    struct crowd_worker *worker = &crowd->workers[w];
    struct message hello = {
        .type = MESSAGE_HELLO,
        .role = worker->role,
        .capacity = worker->role == WIRE_ROLE_ACTOR ? CROWD_CAPACITY : CROWD_SCORING,
        .config_hash = crowd->config_hash,
        .has_hash = worker->role != WIRE_ROLE_ACTOR,
        .pid = 1,
    };
    snprintf(hello.name, sizeof hello.name, "%s-%zu", wire_role_name(worker->role), w);
    if (worker->role == WIRE_ROLE_LEARNER)
        snprintf(hello.text, sizeof hello.text, "tcp://127.0.0.1:1");
    memcpy(hello.nonce, &w, sizeof w);
    worker->greeted = true;
    worker->hello_us = now_us;
    crowd_emit(crowd, w, &hello, now_us);
}

/* The first item of an actor: as many tokens as there may be. */
static void crowd_generate(struct crowd *crowd, size_t w, uint64_t now_us)
{
    struct crowd_worker *worker = &crowd->workers[w];
    struct crowd_item first = worker->items[0];
    int32_t ids[CROWD_TOKENS_MAX];
    float logp[CROWD_TOKENS_MAX];
    for (uint32_t t = 0; t < crowd->tokens; t++) {
        ids[t] = 10 + (int32_t)((first.item.b + t) % 50);
        logp[t] = -0.5f;
    }
    first.item.response_tokens = crowd->tokens;
    first.item.finish = WIRE_FINISH_LENGTH;
    struct message result = {
        .type = MESSAGE_GENERATE_RESULT,
        .lease = first.lease,
        .version = first.version,
        .items = &first.item,
        .items_n = 1,
        .frames_n = 2,
        .frame = {{ids, crowd->tokens * sizeof *ids}, {logp, crowd->tokens * sizeof *logp}},
    };
    memmove(worker->items, worker->items + 1, --worker->items_n * sizeof worker->items[0]);
    worker->due_us += crowd_item_us(crowd);
    worker->result_us = now_us;
    crowd->results++;
    crowd_result(crowd, w, &result, now_us);
}

/* All items of one lease that a reward worker has. */
static void crowd_score(struct crowd *crowd, size_t w, uint64_t now_us)
{
    struct crowd_worker *worker = &crowd->workers[w];
    struct wire_item items[CROWD_ITEMS_MAX];
    double scores[CROWD_ITEMS_MAX];
    unsigned char states[CROWD_ITEMS_MAX];
    static float ref[CROWD_ITEMS_MAX * CROWD_TOKENS_MAX]; /* zeros: log-probs as good as any */
    const uint64_t lease = worker->items[0].lease;
    uint32_t n = 0;
    size_t tokens = 0;
    while (n < worker->items_n && worker->items[n].lease == lease) {
        items[n] = worker->items[n].item;
        scores[n] = (double)(items[n].b % 7);
        states[n] = WIRE_SCORE_OK;
        tokens += items[n++].response_tokens;
    }
    struct message result = {
        .type = MESSAGE_SCORE_RESULT,
        .lease = lease,
        .scorers = 1,
        .items = items,
        .items_n = n,
        .frames_n = 3,
        .frame = {{scores, n * sizeof *scores}, {states, n}, {ref, tokens * sizeof *ref}},
    };
    worker->items_n -= n;
    memmove(worker->items, worker->items + n, worker->items_n * sizeof worker->items[0]);
    crowd_result(crowd, w, &result, now_us);
}

static void crowd_train(struct crowd *crowd, size_t w, uint64_t now_us)
{
    struct crowd_worker *worker = &crowd->workers[w];
    struct message result = {
        .type = MESSAGE_TRAIN_RESULT,
        .lease = worker->lease,
        .step = worker->step,
        .version = worker->step + 1,
        .has_hash = true,
        .checkpoint_version = worker->step + 1,
    };
    memcpy(result.hash.bytes, &worker->step, sizeof worker->step);
    worker->trains = false;
    crowd_result(crowd, w, &result, now_us);
}

static void crowd_turn(struct crowd *crowd, size_t w, uint64_t now_us)
{
    struct crowd_worker *worker = &crowd->workers[w];
    if (!worker->welcomed) {
        if (!worker->greeted || now_us - worker->hello_us >= CROWD_HELLO_AGAIN_US)
            crowd_hello(crowd, w, now_us);
        return;
    }
    if (worker->trains)
        crowd_train(crowd, w, now_us);
    while (worker->role == WIRE_ROLE_REWARD && worker->items_n > 0)
        crowd_score(crowd, w, now_us);
    while (worker->role == WIRE_ROLE_ACTOR && worker->items_n > 0 && worker->due_us <= now_us)
        crowd_generate(crowd, w, now_us);
    if (now_us - worker->sent_us < crowd->heartbeat_us)
        return;
    struct message beat = {
        .type = MESSAGE_HEARTBEAT, .progress = now_us, .held = worker->items_n};
    crowd_emit(crowd, w, &beat, now_us);
}

void crowd_tick(struct crowd *crowd, uint64_t now_us)
{
    for (size_t w = crowd->learns ? 0 : 1; w < crowd->n; w++)
        crowd_turn(crowd, w, now_us);
}

size_t crowd_welcomed(const struct crowd *crowd)
{
    size_t n = 0;
    for (size_t w = 0; w < crowd->n; w++)
        n += crowd->workers[w].welcomed;
    return n;
}

size_t crowd_actors(const struct crowd *crowd)
{
    size_t n = 0;
    for (size_t w = 0; w < crowd->n; w++)
        n += crowd->workers[w].role == WIRE_ROLE_ACTOR;
    return n;
}

static int crowd_compare(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

double crowd_quantile_ms(struct crowd_times *times, double q)
{
    if (times->n == 0)
        return NAN;
    qsort(times->us, times->n, sizeof *times->us, crowd_compare);
    return times->us[(size_t)(q * (times->n - 1))] / 1000.0;
}

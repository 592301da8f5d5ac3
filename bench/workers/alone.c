/* alone.c -- see alone.h. */
#include "bench/workers/alone.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench/bench.h"
#include "bench/workers/crowd.h"
#include "coordinator/core.h"

#define ALONE_QUEUE   8192 /* messages of one tick */
#define ALONE_ITEMS   CROWD_SCORING
#define ALONE_TICK_US 1000u
#define ALONE_ITEM_US 20000u

/* A message that owns its memory. */
struct alone_message {
    size_t w;
    struct message message;
    struct wire_item items[ALONE_ITEMS];
    double frame[3][ALONE_ITEMS * CROWD_TOKENS / 2]; /* room, and a double's alignment */
};

struct alone {
    struct core *core;
    struct crowd crowd;
    struct alone_message *queue;
    size_t queue_n;
    uint64_t now_us, seq, events, steps;
};

static void alone_fail(const char *what)
{
    bench_stop("core", what);
}

/* An address is the worker's number, and one. */
static void alone_send(void *ctx, size_t w, const struct message *message)
{
    struct alone *alone = ctx;
    if (alone->queue_n == ALONE_QUEUE || message->items_n > ALONE_ITEMS)
        alone_fail("too many messages in one tick");
    struct alone_message *copy = &alone->queue[alone->queue_n++];
    copy->w = w;
    copy->message = *message;
    copy->message.items = copy->items;
    if (message->items_n > 0)
        memcpy(copy->items, message->items, message->items_n * sizeof *message->items);
    for (uint32_t f = 0; f < message->frames_n; f++) {
        memcpy(copy->frame[f], message->frame[f].data, message->frame[f].size);
        copy->message.frame[f].data = copy->frame[f];
    }
}

static void alone_sink(void *user, const struct core_effect *effect)
{
    struct alone *alone = user;
    switch (effect->kind) {
    case CORE_FX_SEND:
        crowd_receive(&alone->crowd, effect->peer - 1, effect->message, alone->now_us);
        break;
    case CORE_FX_APPEND: alone->seq = effect->record->seq; break;
    case CORE_FX_STEP_DONE: alone->steps++; break;
    case CORE_FX_LOG:
        if (effect->level >= LOG_LEVEL_WARN)
            fprintf(stderr, "%s %s\n", effect->id, effect->text);
        break;
    case CORE_FX_FINISHED: alone_fail(effect->text);
    case CORE_FX_KICK:
    case CORE_FX_RECALL: break;
    }
}

static void alone_config(struct run_config *config)
{
    memset(config, 0, sizeof *config);
    config->seed = 1;
    config->steps = 1000000;
    config->lag = 1;
    config->batch = 4096;
    config->samples_per_prompt = 1;
    config->checkpoint_every = 1;
    config->max_new_tokens = CROWD_TOKENS;
    config->prompt_tokens_max = 64;
    config->sigmoid_k = 1.0;
    config->kl_coef = 0.1;
    config->scorers = 1;
    config->scorer[0].weight = 1.0;
    snprintf(config->scorer[0].name, sizeof config->scorer[0].name, "score");
    config->heartbeat_ms = 1000;
    config->dead_ms = 5000;
    config->lease_ms = 60000;
    config->stall_ms = 300000;
    config->second_after = 4.0;
}

static struct core_event alone_event(const struct alone *alone, enum core_event_kind kind)
{
    return (struct core_event){.kind = kind,
                               .now_ms = alone->now_us / 1000,
                               .entropy = alone->now_us * 0x9e3779b97f4a7c15u};
}

static void alone_durable(struct alone *alone)
{
    struct core_event durable = alone_event(alone, CORE_EV_DURABLE);
    durable.seq = alone->seq;
    core_step(alone->core, &durable);
    alone->events++;
}

/* What the crowd sends in this millisecond, then the disk and, every 250 ms, a tick. */
static void alone_turn(struct alone *alone)
{
    for (size_t i = 0; i < alone->queue_n; i++) {
        struct core_event event = alone_event(alone, CORE_EV_MESSAGE);
        event.peer = alone->queue[i].w + 1;
        event.message = &alone->queue[i].message;
        core_step(alone->core, &event);
        alone->events++;
    }
    alone->queue_n = 0;
    alone_durable(alone);
    if (alone->now_us / ALONE_TICK_US % 250 == 0) {
        const struct core_event tick = alone_event(alone, CORE_EV_TICK);
        core_step(alone->core, &tick);
        alone->events++;
    }
}

static double alone_cpu_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* One millisecond; the processor time in the core. */
static double alone_step(struct alone *alone)
{
    alone->now_us += ALONE_TICK_US;
    crowd_tick(&alone->crowd, alone->now_us);
    const double begin = alone_cpu_s();
    alone_turn(alone);
    return alone_cpu_s() - begin;
}

static void alone_begin(struct alone *alone, const struct core_setup *setup, size_t n)
{
    struct err err;
    alone->now_us = 1000000000;
    alone->queue = calloc(ALONE_QUEUE, sizeof *alone->queue);
    if (!alone->queue)
        alone_fail("out of memory");
    crowd_init(&alone->crowd, n, alone_send, alone);
    alone->crowd.item_us = ALONE_ITEM_US;
    alone->crowd.learns = true;
    if (core_new(&alone->core, setup, alone_sink, alone, &err) != ERR_OK)
        alone_fail(err.text);
    const struct core_event begin = alone_event(alone, CORE_EV_TICK);
    core_start(alone->core, &begin);
    alone_durable(alone);
}

struct alone *alone_open(size_t n)
{
    static struct run_config config;
    static size_t offset[257];
    static int32_t ids[256 * 16];
    struct alone *alone = calloc(1, sizeof *alone);
    if (!alone)
        alone_fail("out of memory");
    for (size_t i = 0; i <= 256; i++)
        offset[i] = 16 * i;
    alone_config(&config);
    const struct core_setup setup = {.config = &config,
                                     .prompts = {.n = 256, .offset = offset, .ids = ids}};
    alone_begin(alone, &setup, n);
    for (int ms = 0; alone->steps < 1 || crowd_welcomed(&alone->crowd) < n; ms++) {
        alone_step(alone);
        if (ms > 600000)
            alone_fail("the simulated workers do not get on");
    }
    return alone;
}

struct alone_result alone_run(struct alone *alone, double seconds)
{
    const uint64_t events = alone->events, rollouts = alone->crowd.results;
    struct alone_result result = {0};
    while (result.core_s < seconds || alone->crowd.results == rollouts)
        result.core_s += alone_step(alone);
    result.events = alone->events - events;
    result.rollouts = alone->crowd.results - rollouts;
    if (alone->crowd.refused > 0)
        alone_fail("a simulated worker was refused");
    return result;
}

void alone_close(struct alone *alone)
{
    core_free(alone->core);
    crowd_release(&alone->crowd);
    free(alone->queue);
    free(alone);
}

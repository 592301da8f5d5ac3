/* sim_net.c -- the network: what is on its way, dropped, doubled, delayed and overtaken. */
#include <stdlib.h>
#include <string.h>

#include "tests/sim/sim.h"

struct sim_message *sim_net_copy(const struct message *message)
{
    size_t bytes = sizeof(struct sim_message) + message->items_n * sizeof(struct wire_item) +
                   message->stats_n * sizeof(struct wire_stat) +
                   message->ranks_n * sizeof(struct wire_rank);
    for (uint32_t f = 0; f < message->frames_n; f++)
        bytes += (message->frame[f].size + 7) / 8 * 8;
    struct sim_message *copy = malloc(bytes);
    if (!copy)
        abort();
    unsigned char *at = (unsigned char *)(copy + 1);
    copy->message = *message;
    copy->message.items = (struct wire_item *)at;
    if (message->items_n > 0)
        memcpy(at, message->items, message->items_n * sizeof(struct wire_item));
    at += message->items_n * sizeof(struct wire_item);
    for (uint32_t f = 0; f < message->frames_n; f++) {
        if (message->frame[f].size > 0)
            memcpy(at, message->frame[f].data, message->frame[f].size);
        copy->message.frame[f].data = at;
        at += (message->frame[f].size + 7) / 8 * 8;
    }
    copy->message.stats = (struct wire_stat *)at;
    if (message->stats_n > 0)
        memcpy(at, message->stats, message->stats_n * sizeof(struct wire_stat));
    at += message->stats_n * sizeof(struct wire_stat);
    copy->message.ranks = (struct wire_rank *)at;
    if (message->ranks_n > 0)
        memcpy(at, message->ranks, message->ranks_n * sizeof(struct wire_rank));
    return copy;
}

static bool sim_net_earlier(const struct sim_event *a, const struct sim_event *b)
{
    return a->at_ms < b->at_ms || (a->at_ms == b->at_ms && a->order < b->order);
}

void sim_net_post(struct sim *sim, struct sim_event event)
{
    event.order = ++sim->order;
    if (sim->heap_n == sim->heap_cap) {
        sim->heap_cap = sim->heap_cap ? 2 * sim->heap_cap : 256;
        sim->heap = realloc(sim->heap, sim->heap_cap * sizeof *sim->heap);
        if (!sim->heap)
            abort();
    }
    size_t i = sim->heap_n++;
    for (; i > 0 && sim_net_earlier(&event, &sim->heap[(i - 1) / 2]); i = (i - 1) / 2)
        sim->heap[i] = sim->heap[(i - 1) / 2];
    sim->heap[i] = event;
}

struct sim_event sim_net_take(struct sim *sim)
{
    const struct sim_event first = sim->heap[0];
    const struct sim_event last = sim->heap[--sim->heap_n];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= sim->heap_n)
            break;
        if (child + 1 < sim->heap_n &&
            sim_net_earlier(&sim->heap[child + 1], &sim->heap[child]))
            child++;
        if (!sim_net_earlier(&sim->heap[child], &last))
            break;
        sim->heap[i] = sim->heap[child];
        i = child;
    }
    sim->heap[i] = last;
    return first;
}

void sim_net_carry(struct sim *sim, struct sim_event event, const struct message *message)
{
    const bool faulty = sim_faulty(sim);
    const int copies = !faulty                             ? 1
                       : sim_chance(sim, sim->rates.drop)  ? 0
                       : sim_chance(sim, sim->rates.twice) ? 2
                                                           : 1;
    for (int i = 0; i < copies; i++) {
        event.at_ms = sim->now_ms + 1 + sim_random(sim, faulty ? 15 : 4);
        if (faulty && sim_chance(sim, sim->rates.slow))
            event.at_ms += sim_random(sim, 1500);
        event.message = sim_net_copy(message);
        sim_net_post(sim, event);
    }
}

void sim_net_send(struct sim *sim, int worker, struct message *message)
{
    const struct sim_event event = {.kind = SIM_TO_COORDINATOR,
                                    .address = sim->workers[worker].address};
    sim_net_carry(sim, event, message);
}

void sim_net_gone(struct sim *sim, uint64_t address)
{
    sim_net_post(sim, (struct sim_event){.at_ms = sim->now_ms + sim_random(sim, 300),
                                         .kind = SIM_GONE,
                                         .address = address});
}

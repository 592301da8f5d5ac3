/* sim_world.c -- one run: what happens next, faults, and whether the end tells the whole of it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/sim.h"

#define SIM_CALM_MS 600000 /* after the faults the run must finish within */

static void sim_world_deliver(struct sim *sim, struct sim_event *event)
{
    switch (event->kind) {
    case SIM_TO_COORDINATOR: {
        struct core_event core = sim_coordinator_event(sim, CORE_EV_MESSAGE);
        core.peer = event->address;
        core.message = &event->message->message;
        sim_coordinator_step(sim, &core);
        break;
    }
    case SIM_TO_WORKER:
        for (int w = 0; w < sim->workers_n; w++)
            if (sim->workers[w].alive && sim->workers[w].address == event->address &&
                sim->now_ms >= sim->workers[w].silent_until_ms)
                sim_worker_receive(sim, w, &event->message->message);
        break;
    case SIM_GONE: {
        struct core_event core = sim_coordinator_event(sim, CORE_EV_PEER_GONE);
        core.peer = event->address;
        sim_coordinator_step(sim, &core);
        break;
    }
    case SIM_FLUSH: {
        if (event->life != sim->life || !sim->core)
            break;
        sim_disk_flush(sim);
        struct core_event core = sim_coordinator_event(sim, CORE_EV_DURABLE);
        core.seq = sim->durable_n;
        sim_coordinator_step(sim, &core);
        break;
    }
    }
    free(event->message);
}

/* A process that was stopped neither ends nor does anything. */
static bool sim_world_is_stopped(struct sim *sim, int w)
{
    if (w != sim->stopped_worker || sim->now_ms < sim->stopped_ms)
        return false;
    sim->workers[w].silent_until_ms = UINT64_MAX;
    return true;
}

/* What chance does to everybody, once a tick. */
static void sim_world_faults(struct sim *sim)
{
    if (!sim->core && sim->now_ms >= sim->start_ms) {
        if (!sim_coordinator_start(sim))
            return;
    } else if (sim->core && sim_faulty(sim) && sim_chance(sim, sim->rates.coordinator_crash)) {
        sim_coordinator_crash(sim);
    } else if (sim_faulty(sim) && sim_chance(sim, sim->rates.coordinator_crash / 4)) {
        const struct core_event stop =
            sim_coordinator_event(sim, sim_chance(sim, 500) ? CORE_EV_STOP : CORE_EV_DRAIN);
        sim_coordinator_step(sim, &stop);
    }
    for (int w = 0; w < sim->workers_n; w++) {
        struct sim_worker *worker = &sim->workers[w];
        if (!worker->alive) {
            if (sim->now_ms >= worker->restart_ms)
                sim_worker_start(sim, w);
            continue;
        }
        if (sim_world_is_stopped(sim, w) || !sim_faulty(sim))
            continue;
        if (sim_chance(sim, sim->rates.worker_crash)) {
            sim->worker_crashes++;
            sim_worker_crash(sim, w);
        } else if (sim_chance(sim, sim->rates.hang)) {
            worker->hang_until_ms = sim->now_ms + sim_random(sim, 4000);
        } else if (sim_chance(sim, sim->rates.silence)) {
            worker->silent_until_ms = sim->now_ms + sim_random(sim, 1500);
        } else if (sim_chance(sim, sim->rates.hostile / 8)) {
            struct core_event bad = sim_coordinator_event(sim, CORE_EV_BAD_MESSAGE);
            bad.peer = worker->address;
            bad.text = "simulated";
            sim_coordinator_step(sim, &bad);
        }
    }
}

static void sim_world_tick(struct sim *sim)
{
    sim_world_faults(sim);
    if (sim->failed)
        return;
    struct core_event event = sim_coordinator_event(sim, CORE_EV_TICK);
    if (sim_faulty(sim) && sim_chance(sim, sim->rates.hang))
        event.kind = CORE_EV_PAUSE;
    else if (!sim_faulty(sim) || sim_chance(sim, 20))
        event.kind = CORE_EV_RESUME;
    if (event.kind != CORE_EV_TICK) {
        sim_coordinator_step(sim, &event);
        event.kind = CORE_EV_TICK;
    }
    sim_coordinator_step(sim, &event);
    for (int w = 0; w < sim->workers_n; w++)
        sim_worker_tick(sim, w);
}

static void sim_world_begin(struct sim *sim)
{
    static const enum wire_role roles[] = {
        WIRE_ROLE_LEARNER, WIRE_ROLE_ACTOR, WIRE_ROLE_REWARD, WIRE_ROLE_ACTOR,
        WIRE_ROLE_REWARD,  WIRE_ROLE_ACTOR, WIRE_ROLE_ACTOR,  WIRE_ROLE_REWARD};
    sim->prompts = sim_content_prompts(sim->config);
    sim->trained[0].bytes[0] = 7; /* what the run starts from */
    sim->checkpoint[0] = sim->trained[0];
    for (int w = 0; w < sim->workers_n; w++) {
        /* The last are the learners but the first. */
        const bool more = w > sim->workers_n - (int)sim->learners_n;
        sim->workers[w].role = more ? WIRE_ROLE_LEARNER : roles[w];
        snprintf(sim->workers[w].name, sizeof sim->workers[w].name, "%s-%d",
                 wire_role_name(sim->workers[w].role), w);
        sim_worker_start(sim, w);
    }
}

/* The ledger of a finished run must tell the whole of it. */
static void sim_world_check_end(struct sim *sim)
{
    core_stats(sim->core, sim->stats);
    if (sim->exit_code != 0 || sim->stats->trained != sim->config->steps) {
        sim_fail(sim, "ended with %d after %llu steps: %s", sim->exit_code,
                 (unsigned long long)sim->stats->trained, sim->finish_text);
        return;
    }
    if (sim->checkpoint_version != sim->config->steps)
        sim_fail(sim, "the run is complete, and its last step was never written");
    sim_second_check_staleness(sim);
    core_free(sim->core);
    sim->core = NULL;
    sim->durable_n = sim->records_n; /* a clean end closes the ledger */
    struct err err;
    static struct core_stats again;
    if (!sim_coordinator_start(sim))
        return;
    core_stats(sim->core, &again);
    if (again.trained != sim->config->steps || core_check(sim->core, &err) != ERR_OK)
        sim_fail(sim, "the ledger of the finished run tells of %llu steps",
                 (unsigned long long)again.trained);
}

bool sim_run(struct sim *sim)
{
    sim_world_begin(sim);
    uint64_t tick_ms = 0;
    while (!sim->failed && !sim->finished) {
        if (sim->heap_n > 0 && sim->heap[0].at_ms < tick_ms) {
            struct sim_event event = sim_net_take(sim);
            sim->now_ms = event.at_ms > sim->now_ms ? event.at_ms : sim->now_ms;
            sim_world_deliver(sim, &event);
            continue;
        }
        sim->now_ms = tick_ms;
        sim_world_tick(sim);
        tick_ms += SIM_TICK_MS;
        if (sim->now_ms > sim->faults_until_ms + SIM_CALM_MS) {
            core_stats(sim->core, sim->stats);
            sim_fail(sim,
                     "the faults are over, and the run does not finish: %llu of %llu steps; it "
                     "waits for %s",
                     (unsigned long long)sim->stats->trained,
                     (unsigned long long)sim->stats->steps, sim->stats->waits_for);
        }
    }
    if (!sim->failed)
        sim_world_check_end(sim);
    return !sim->failed;
}

void sim_release(struct sim *sim)
{
    for (int w = 0; w < sim->workers_n; w++)
        sim_worker_crash(sim, w);
    while (sim->heap_n > 0)
        free(sim->heap[--sim->heap_n].message);
    for (size_t i = 0; i < sim->records_n; i++)
        free(sim->records[i].block);
    free(sim->heap);
    free(sim->records);
    core_free(sim->core);
}

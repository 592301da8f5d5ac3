/* sim_coordinator.c -- the coordinator: its core, what becomes of its effects, and its lives. */
#include <stdio.h>
#include <string.h>

#include "coordinator/core_state.h"
#include "tests/sim/sim.h"

static void sim_coordinator_effect(struct sim *sim, const struct core_effect *effect)
{
    switch (effect->kind) {
    case CORE_FX_SEND:
        sim_second_sent(sim, effect->message);
        sim_check_sent(sim, effect->message);
        sim_net_carry(sim, (struct sim_event){.kind = SIM_TO_WORKER, .address = effect->peer},
                      effect->message);
        break;
    case CORE_FX_APPEND: sim_disk_append(sim, effect->record); break;
    case CORE_FX_LOG:
        if (strcmp(effect->id, "ROLLOUT-MISMATCH") == 0)
            sim_second_told(sim, effect->text);
        sim->forgotten += strcmp(effect->id, "PEER-FORGOTTEN") == 0;
        sim->full += strcmp(effect->id, "LEASES-FULL") == 0;
        if (sim->verbose)
            printf("%8llu  %s %s\n", (unsigned long long)sim->now_ms, effect->id, effect->text);
        break;
    case CORE_FX_STEP_DONE: break;
    case CORE_FX_KICK: break; /* the worker learns of it by RESET or silence */
    case CORE_FX_RECALL:
        sim->recall = true;
        sim->recall_step = effect->recall_step;
        break;
    case CORE_FX_FINISHED:
        if (effect->exit_code == CORE_EXIT_STOPPED ||
            (effect->exit_code == 0 && !effect->complete)) {
            sim->stopped = true;
            break;
        }
        sim->finished = true;
        sim->exit_code = effect->exit_code;
        snprintf(sim->finish_text, sizeof sim->finish_text, "%s", effect->text);
        break;
    }
}

uint64_t sim_coordinator_watch(const struct sim *sim)
{
    return sim->timed ? __builtin_ia32_rdtsc() : 0;
}

static void sim_coordinator_sink(void *user, const struct core_effect *effect)
{
    struct sim *sim = user;
    const bool stepping = sim->core_since != 0; /* not replaying, nor starting */
    if (stepping)
        sim->core_ticks += sim_coordinator_watch(sim) - sim->core_since;
    sim_coordinator_effect(sim, effect);
    if (stepping)
        sim->core_since = sim_coordinator_watch(sim);
}

static void sim_coordinator_turn(struct sim *sim, const struct core_event *event)
{
    sim->events++;
    sim->core_since = sim_coordinator_watch(sim);
    core_step(sim->core, event);
    if (sim->timed)
        sim->core_ticks += sim_coordinator_watch(sim) - sim->core_since;
    sim->core_since = 0;
}

struct core_event sim_coordinator_event(struct sim *sim, enum core_event_kind kind)
{
    return (struct core_event){
        .kind = kind, .now_ms = sim->now_ms, .entropy = sim_random(sim, UINT64_MAX)};
}

static bool sim_coordinator_replay(struct sim *sim)
{
    struct err err;
    uint64_t checkpoint = 0;
    for (size_t i = 0; i < sim->durable_n; i++) {
        const struct sim_record *r = &sim->records[i];
        const uint64_t named = r->record.kind == RECORD_STEP ? r->step.checkpoint_version
                               : r->record.kind == RECORD_CHECKPOINT ? r->record.version
                                                                     : 0;
        checkpoint = named > checkpoint ? named : checkpoint;
    }
    const bool leave_out = sim_chance(sim, 500);
    if (core_replay_begin(sim->core, checkpoint, &err) != ERR_OK)
        return sim_fail(sim, "%s", err.text), false;
    for (size_t i = 0; i < sim->durable_n; i++) {
        struct record record = sim->records[i].record;
        if (record.kind == RECORD_STEP) {
            sim->records[i].step.stats = &sim->records[i].stat;
            record.step = &sim->records[i].step;
        }
        const bool slot = record.work == WIRE_WORK_ROLLOUT;
        const bool old = slot && record.a < checkpoint;
        const bool scored =
            record.kind == RECORD_ROLLOUT && record.work == WIRE_WORK_REFERENCE &&
            sim_disk_durable(sim, RECORD_SCORE, record.work, record.a, record.b);
        if (leave_out && (old || scored))
            continue;
        if (core_replay(sim->core, &record, &err) != ERR_OK)
            return sim_fail(sim, "%s", err.text), false;
    }
    return true;
}

bool sim_coordinator_start(struct sim *sim)
{
    struct err err;
    const struct core_setup setup = {.config = sim->config, .prompts = sim->prompts};
    sim->life++;
    if (core_new(&sim->core, &setup, sim_coordinator_sink, sim, &err) != ERR_OK)
        return sim_fail(sim, "%s", err.text), false;
#ifdef CORE_BUGS
    sim->core->bug = sim->bug;
#endif
    if (sim->names_max > 0)
        sim->core->names_max = sim->core->peers_max = sim->names_max;
    if (sim->leases_max > 0)
        sim->core->leases_max = sim->leases_max;
    if (sim->durable_n > 0 && !sim_coordinator_replay(sim))
        return false;
    const struct core_event event = sim_coordinator_event(sim, CORE_EV_TICK);
    core_start(sim->core, &event);
    return true;
}

void sim_coordinator_crash(struct sim *sim)
{
    core_free(sim->core);
    sim->core = NULL;
    sim->recall = false;
    sim->coordinator_crashes++;
    sim_disk_lose_tail(sim);
    sim->start_ms = sim->now_ms + 20 + sim_random(sim, 1500);
}

/* Is it one that the recall of this step asks for? */
static bool sim_coordinator_recalls(const struct record *record, uint64_t step)
{
    switch (record->kind) {
    case RECORD_START: return step == 0;
    case RECORD_STEP: return record->step->step == step || record->step->step + 1 == step;
    case RECORD_ROLLOUT:
    case RECORD_SCORE:
    case RECORD_DROP: return record->work == WIRE_WORK_ROLLOUT && record->a == step;
    default: return false;
    }
}

static void sim_coordinator_recall(struct sim *sim)
{
    const uint64_t step = sim->recall_step;
    sim->recall = false;
    sim->recalls++;
    for (size_t i = 0; i < sim->durable_n && !sim->finished && !sim->recall; i++) {
        struct record record = sim->records[i].record;
        sim->records[i].step.stats = &sim->records[i].stat;
        record.step = &sim->records[i].step;
        if (!sim_coordinator_recalls(&record, step))
            continue;
        struct core_event event = sim_coordinator_event(sim, CORE_EV_RECORD);
        event.record = &record;
        sim_coordinator_turn(sim, &event);
    }
}

/* Whoever speaks in a session that is none must be told at once: it may have no other way to
 * learn of it than silence. */
static bool sim_coordinator_hears_stranger(const struct sim *sim,
                                           const struct core_event *event)
{
    const struct core *core = sim->core;
    if (event->kind != CORE_EV_MESSAGE || event->message->type == MESSAGE_HELLO ||
        !core->started)
        return false;
    for (size_t i = 0; i < core->peers_n; i++)
        if (core->peers[i].state != CORE_PEER_GONE &&
            core->peers[i].session == event->message->session &&
            core->peers[i].address == event->peer)
            return false;
    return true;
}

void sim_coordinator_step(struct sim *sim, const struct core_event *event)
{
    struct err err;
    if (!sim->core || sim->finished)
        return;
    const bool stranger = sim_coordinator_hears_stranger(sim, event);
    const struct core_stats *counters = &sim->core->counters;
    const uint64_t resets = counters->resets;
    const uint64_t duplicates = counters->duplicates, mismatches = counters->mismatches;
    const bool compares = event->kind == CORE_EV_MESSAGE && sim->core->started && !stranger &&
                          event->message->type == MESSAGE_GENERATE_RESULT;
    if (compares)
        sim_second_expect(sim, event->message);
    sim_coordinator_turn(sim, event);
    if (compares && counters->resets == resets && !sim->finished)
        sim_second_compared(sim, duplicates, mismatches);
    while (sim->recall && !sim->finished)
        sim_coordinator_recall(sim);
    if (stranger && counters->resets == resets)
        sim_fail(sim, "a session that is not known was not answered");
    if (sim->stopped) { /* a clean end: the ledger is closed, all of it durable */
        sim->stopped = false;
        sim->stops++;
        sim->durable_n = sim->records_n;
        sim->flush_due = false;
        core_free(sim->core);
        sim->core = NULL;
        sim->start_ms = sim->now_ms + 20 + sim_random(sim, 500);
        return;
    }
    if (core_check(sim->core, &err) != ERR_OK)
        sim_fail(sim, "after %d: %s", (int)event->kind, err.text);
}

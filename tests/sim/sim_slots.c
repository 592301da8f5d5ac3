/* sim_slots.c -- what core_stats says of slots and references after every event, against the disk
 * and the wire: planned = waiting + leased + generated + scored + shaped + trained + dropped, each
 * of them counted from records and leases alone.
 *
 * Steps whose STEP record is durable are over: their record says what became of their slots.  Of
 * the slots of later steps that are open, who has a DROP is dropped, who has a SCORE is scored or
 * shaped, who has a ROLLOUT is generated, and the others wait or are leased. */
#include <string.h>

#include "coordinator/core_state.h"
#include "tests/sim/sim.h"

#define SIM_SHOWN 32 /* one event in so many is followed by all that is shown */

struct sim_slots {
    uint64_t over, trained; /* steps, and slots trained in them */
    uint64_t dropped[RECORD_REASONS];
    uint64_t ungenerated, generated, scored; /* of open steps: scored or shaped */
    uint64_t first_scored;                   /* of them, of the oldest open step */
    bool first_whole;                        /* all of its slots are scored or dropped */
    uint64_t leased_once, leased_now; /* of the ungenerated: in this life; by this event */
};

static const struct record *sim_slots_record(const struct sim *sim, enum record_kind kind,
                                             enum wire_work work, uint64_t a, uint32_t b)
{
    const size_t at = *sim_disk_index((struct sim *)sim, kind, work, a, b);
    return at > 0 ? &sim->records[at - 1].record : NULL;
}

static void sim_slots_over(const struct sim *sim, struct sim_slots *out)
{
    while (out->over < sim->config->steps && sim_disk_step_durable(sim, out->over)) {
        const struct record_step *step = &sim->records[sim->step_index[out->over++] - 1].step;
        out->trained += step->trained;
        for (int r = 0; r < RECORD_REASONS; r++)
            out->dropped[r] += step->dropped[r];
    }
}

static void sim_slots_open(const struct sim *sim, uint64_t step, struct sim_slots *out)
{
    uint64_t scored = 0, dropped = 0;
    for (uint32_t b = 0; b < sim->config->batch; b++) {
        const struct record *drop =
            sim_slots_record(sim, RECORD_DROP, WIRE_WORK_ROLLOUT, step, b);
        if (drop) {
            out->dropped[drop->reason]++;
            dropped++;
        } else if (sim_slots_record(sim, RECORD_SCORE, WIRE_WORK_ROLLOUT, step, b)) {
            scored++;
        } else if (sim_slots_record(sim, RECORD_ROLLOUT, WIRE_WORK_ROLLOUT, step, b)) {
            out->generated++;
        } else {
            out->ungenerated++;
            out->leased_once += sim->leased[step][b] > 0;
            out->leased_now += sim->leased[step][b] == sim->events;
        }
    }
    out->scored += scored;
    if (step != out->over)
        return;
    out->first_scored = scored;
    out->first_whole = scored + dropped == sim->config->batch;
}

static void sim_slots_must(struct sim *sim, bool holds, const char *what, uint64_t said,
                           uint64_t want)
{
    if (!holds)
        sim_fail(sim, "it shows %s: %llu, by the records %llu", what, (unsigned long long)said,
                 (unsigned long long)want);
}

static void sim_slots_equal(struct sim *sim, const char *what, uint64_t said, uint64_t want)
{
    sim_slots_must(sim, said == want, what, said, want);
}

/* Steps are kept from here on: for who takes the newest checkpoint, and who is here and behind. */
static uint64_t sim_slots_kept(const struct sim *sim, const struct core_stats *stats)
{
    uint64_t kept = stats->checkpoint_version;
    for (size_t i = 0; i < sim->core->peers_n; i++) {
        const struct core_peer *peer = &sim->core->peers[i];
        if (peer->role == WIRE_ROLE_LEARNER && peer->state != CORE_PEER_GONE &&
            peer->version < kept)
            kept = peer->version;
    }
    const uint64_t every = sim->config->checkpoint_every;
    return kept + (every < sim->config->steps ? every : sim->config->steps);
}

/* As many steps are open as the lag lets, or as can be kept until there is a checkpoint. */
static void sim_slots_check_opened(struct sim *sim, const struct core_stats *stats,
                                   uint64_t over)
{
    const struct run_config *config = sim->config;
    const uint64_t reach = over + config->lag + 1;
    const uint64_t want = reach < config->steps ? reach : config->steps;
    const uint64_t room = sim_slots_kept(sim, stats) + config->lag + 1; /* and some slack */
    sim_slots_must(sim, stats->opened <= want && (stats->opened == want || room < want),
                   "steps opened", stats->opened, want);
    sim_slots_must(sim, stats->opened >= sim->opened, "steps opened, fewer than before",
                   stats->opened, sim->opened);
    sim->opened = stats->opened;
}

static void sim_slots_check_states(struct sim *sim, const struct core_stats *stats,
                                   const struct sim_slots *want)
{
    const uint64_t B = sim->config->batch;
    uint64_t dropped = 0;
    for (int r = 0; r < RECORD_REASONS; r++) {
        sim_slots_equal(sim, record_reason_name((enum record_reason)r), stats->dropped[r],
                        want->dropped[r]);
        dropped += stats->dropped[r];
    }
    sim_slots_equal(sim, "steps trained", stats->trained, want->over);
    sim_slots_equal(sim, "slots trained", stats->trained_slots, want->trained);
    sim_slots_equal(sim, "slots planned", stats->planned, stats->opened * B);
    sim_slots_equal(sim, "slots of all states", stats->planned,
                    stats->waiting + stats->leased + stats->generated + stats->scored +
                        stats->shaped + stats->trained_slots + dropped);
    sim_slots_equal(sim, "slots generated", stats->generated, want->generated);
    sim_slots_equal(sim, "slots scored and shaped", stats->scored + stats->shaped,
                    want->scored);
    const bool all = want->first_whole && stats->shaped == want->first_scored;
    sim_slots_must(sim, stats->shaped == 0 || all, "slots shaped", stats->shaped,
                   want->first_scored);
    sim_slots_must(sim, all || sim->train_leased != want->over + 1, "slots being trained on",
                   stats->shaped, want->first_scored);
    sim_slots_equal(sim, "slots waiting and leased", stats->waiting + stats->leased,
                    want->ungenerated);
    sim_slots_must(sim, stats->leased <= want->leased_once, "slots leased", stats->leased,
                   want->leased_once);
    sim_slots_must(sim, stats->leased >= want->leased_now, "slots leased, fewer than just now",
                   stats->leased, want->leased_now);
}

static void sim_slots_check_references(struct sim *sim, const struct core_stats *stats)
{
    const uint32_t M = sim->core->M;
    uint64_t prompts = 0, scored = 0, dropped = 0;
    for (; sim->due_steps < stats->opened; sim->due_steps++)
        for (uint32_t b = 0; b < sim->config->batch; b++)
            sim->due[plan_slot(&sim->core->plan, sim->due_steps, b).prompt] = true;
    for (uint64_t p = 0; p < SIM_PROMPTS; p++) {
        prompts += sim->due[p];
        for (uint32_t m = 0; m < M; m++) {
            scored += sim_slots_record(sim, RECORD_SCORE, WIRE_WORK_REFERENCE, p, m) != NULL;
            dropped += sim_slots_record(sim, RECORD_DROP, WIRE_WORK_REFERENCE, p, m) != NULL;
        }
    }
    sim_slots_equal(sim, "references planned", stats->references_planned, prompts * M);
    sim_slots_equal(sim, "references scored", stats->references_scored, scored);
    sim_slots_equal(sim, "references dropped", stats->references_dropped, dropped);
}

void sim_slots_leased(struct sim *sim, const struct message *lease)
{
    if (lease->type == MESSAGE_TRAIN_LEASE)
        sim->train_leased = lease->step + 1;
    for (uint32_t i = 0; i < lease->items_n && lease->type == MESSAGE_GENERATE_LEASE; i++)
        if (lease->items[i].kind == WIRE_WORK_ROLLOUT)
            sim->leased[lease->items[i].a][lease->items[i].b] = sim->events;
}

void sim_slots_forget(struct sim *sim)
{
    memset(sim->leased, 0, sizeof sim->leased);
    memset(sim->due, 0, sizeof sim->due);
    sim->train_leased = sim->opened = sim->due_steps = sim->life_tokens = 0;
}

void sim_slots_check(struct sim *sim)
{
    const struct core_stats *stats = sim->shown;
    struct sim_slots want = {0};
    if (sim->events % SIM_SHOWN == 0)
        core_stats(sim->core, sim->shown);
    else
        core_stats_progress(sim->core, sim->shown);
    sim_slots_over(sim, &want);
    sim_slots_check_opened(sim, stats, want.over);
    for (uint64_t step = want.over; step < stats->opened; step++)
        sim_slots_open(sim, step, &want);
    sim_slots_check_states(sim, stats, &want);
    if (sim->core->M > 0)
        sim_slots_check_references(sim, stats);
    sim_slots_equal(sim, "records", stats->seq, sim->records_n);
    if (sim->events % SIM_SHOWN == 0)
        sim_slots_equal(sim, "tokens of responses", stats->tokens_response, sim->life_tokens);
}

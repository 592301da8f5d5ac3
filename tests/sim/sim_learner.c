/* sim_learner.c -- simulated learners: groups of them, training, checkpoints and going back. */
#include <string.h>

#include "control/rollback.h"
#include "tests/sim/sim.h"

/* Can this checkpoint be read?  Version 0 is the models the run began with. */
static bool sim_learner_reads(struct sim *sim, uint64_t version)
{
    if (version == 0)
        return true;
    if (sim->checkpoint_state[version] == SIM_CHECKPOINT_KEPT && sim_faulty(sim) &&
        sim_chance(sim, sim->rates.damage))
        sim->checkpoint_state[version] = SIM_CHECKPOINT_DAMAGED;
    return sim->checkpoint_state[version] == SIM_CHECKPOINT_KEPT;
}

uint64_t sim_learner_newest_whole(struct sim *sim, uint64_t below)
{
    uint64_t version = below > 0 ? below - 1 : sim->checkpoint_version;
    while (!sim_learner_reads(sim, version))
        version--;
    return version;
}

enum sim_group { SIM_GROUP_WAITS, SIM_GROUP_GOES, SIM_GROUP_FAILS };

/* Can this member finish the attempt?  Once all have begun it, though some may have finished;
 * not where one gave it up, or is long silent.  One that was started again and has begun nothing
 * since is not silent: it lets who asks wait, as one that is further on. */
static enum sim_group sim_learner_group(struct sim *sim, const struct sim_worker *w,
                                        const struct message *lease)
{
    for (uint32_t i = 0; i < lease->ranks_n; i++) {
        const struct sim_worker *other = sim_worker_named(sim, lease->ranks[i].name);
        const bool takes_part =
            other->alive && other->attempt == lease->attempt && !other->declined;
        const bool finished = other->version > lease->step;
        if (takes_part && (finished || !sim_worker_is_silent(sim, other)))
            continue;
        const bool past = other->alive && !takes_part && other->attempt >= lease->attempt;
        const uint32_t patience_ms =
            sim_worker_is_silent(sim, other) ? 3 * sim->config->dead_ms : sim->config->stall_ms;
        const bool late = sim->now_ms - w->began_ms >= patience_ms;
        return past || late ? SIM_GROUP_FAILS : SIM_GROUP_WAITS;
    }
    return SIM_GROUP_GOES;
}

/* Take part, or let the others know that it does not.  A lease may come twice, or late. */
static void sim_learner_begin(const struct sim *sim, struct sim_worker *w,
                              const struct message *lease, bool declined)
{
    if (lease->attempt <= w->attempt)
        return;
    w->attempt = lease->attempt;
    w->began_ms = sim->now_ms;
    w->declined = declined;
}

static void sim_learner_give_up(struct sim *sim, struct sim_worker *w, const char *reason)
{
    w->declined = true;
    sim_worker_fail_lease(sim, w, reason);
}

/* --- training ----------------------------------------------------------------------------- */

/* A learner that writes version v keeps of the older ones what its lease says that rollbacks may
 * need. */
static void sim_learner_prune(struct sim *sim, const struct message *lease)
{
    const struct run_config *config = sim->config;
    for (uint64_t v = 0; v <= lease->step; v++)
        if (v != lease->base_version &&
            !rollback_needs(config->breaker_restore_every, config->lag, lease->step,
                            lease->target_version, v))
            sim->checkpoint_state[v] = SIM_CHECKPOINT_NONE;
}

void sim_learner_checkpointed(struct sim *sim, uint64_t version)
{
    if (version > sim->checkpoint_version)
        sim->checkpoint_version = version;
    sim->checkpoint_state[version] = SIM_CHECKPOINT_KEPT;
}

/* What rank 0 is asked for besides.  What can be gone back to, or was there once, is written before
 * the result is told, as a real learner does with all of them. */
static void sim_learner_checkpoint(struct sim *sim, struct sim_worker *w,
                                   const struct message *lease)
{
    const bool restores = run_config_rolls_back(sim->config) &&
                          w->version % sim->config->breaker_restore_every == 0;
    if (!lease->checkpoint || sim->checkpoint_state[w->version] == SIM_CHECKPOINT_KEPT)
        return;
    sim->checkpoint[w->version] = w->hash;
    if (w->version > sim->checkpoint_version) {
        sim->checkpoint_next = w->version;
        sim->checkpoint_writer = sim_worker_index(sim, w);
        sim->checkpoint_ms = sim->now_ms + (sim_faulty(sim) ? sim_random(sim, 800) : 0);
    }
    if (lease->last || restores || w->version < sim->checkpoint_version ||
        sim->checkpoint_ms == sim->now_ms)
        sim_learner_checkpointed(sim, w->version);
    if (restores)
        sim_learner_prune(sim, lease);
}

/* What it tells of the step that led to its version: a checkpoint says it too. */
static void sim_learner_result(struct sim *sim, struct sim_worker *w,
                               const struct message *lease)
{
    sim_learner_checkpoint(sim, w, lease);
    struct wire_stat stat = {.name = "grad_norm", .value = (double)w->hash.bytes[0] / 256.0};
    struct message result = {
        .type = MESSAGE_TRAIN_RESULT,
        .stats = &stat,
        .stats_n = lease->items_n > 0,
        .lease = lease->lease,
        .step = lease->step,
        .version = w->version,
        .rank = lease->rank,
        .hash = w->hash,
        .has_hash = true,
        .checkpoint_version =
            sim->checkpoint_version < w->version ? sim->checkpoint_version : w->version,
    };
    sim_worker_queue(sim, w, &result);
    w->at = lease->items_n;
}

/* It holds what the lease leads to: its result again. */
static void sim_learner_repeat(struct sim *sim, struct sim_worker *w,
                               const struct message *lease)
{
    sim_learner_begin(sim, w, lease, true);
    sim_learner_result(sim, w, lease);
}

/* The weights that this step goes back to.  False: they cannot be had; the learner begins again
 * from a checkpoint before them, and makes them on its way. */
static bool sim_learner_restore(struct sim *sim, struct sim_worker *w,
                                const struct message *lease, struct hash *weights)
{
    const uint64_t base = lease->base_version;
    sim->rollbacks++;
    if (lease->step > sim->restored_step)
        sim->restored_step = lease->step;
    if (sim_learner_reads(sim, base)) {
        *weights = sim->checkpoint[base];
        return true;
    }
    if (sim->checkpoint_state[base] == SIM_CHECKPOINT_NONE && lease->step == sim->restored_step)
        sim_fail(sim, "step %llu is to go back to version %llu, whose checkpoint is gone",
                 (unsigned long long)lease->step, (unsigned long long)base);
    sim->rewinds++;
    sim_worker_crash(sim, sim_worker_index(sim, w));
    w->below = base;
    return false;
}

static void sim_learner_trained(struct sim *sim, struct sim_worker *w,
                                const struct message *lease)
{
    struct hash next;
    sim_content_train(&next, &w->hash, lease);
    if (lease->restore && !sim_learner_restore(sim, w, lease, &next))
        return;
    w->version++;
    w->hash = next;
    if (w->version > sim->trained_n) {
        sim->trained[w->version] = next;
        sim_reference_trained(sim, w->version, lease);
        sim->trained_n = w->version;
    } else if (memcmp(&sim->trained[w->version], &next, sizeof next) != 0) {
        sim_fail(sim, "step %llu trained again gives other weights",
                 (unsigned long long)lease->step);
    }
    sim_learner_result(sim, w, lease);
}

void sim_learner_train(struct sim *sim, struct sim_worker *w, const struct message *lease)
{
    if (lease->step + 1 == w->version) {
        sim_learner_repeat(sim, w, lease);
        return;
    }
    if (lease->step != w->version) {
        if (lease->step > w->version)
            sim_fail(sim, "%s holds version %llu and is to train step %llu", w->name,
                     (unsigned long long)w->version, (unsigned long long)lease->step);
        sim_learner_begin(sim, w, lease, true);
        sim_worker_fail_lease(sim, w, "it holds another version");
        return;
    }
    sim_learner_begin(sim, w, lease, false);
    if (lease->attempt < w->attempt) {
        sim_worker_fail_lease(sim, w, "a later attempt has begun");
        return;
    }
    if (w->declined || (lease->ranks_n > 0 && w->inbox_n > 1)) {
        sim_learner_give_up(sim, w, "a newer lease came");
        return;
    }
    switch (sim_learner_group(sim, w, lease)) {
    case SIM_GROUP_WAITS: return;
    case SIM_GROUP_FAILS: sim_learner_give_up(sim, w, "a rank gave up"); return;
    case SIM_GROUP_GOES: sim_learner_trained(sim, w, lease); return;
    }
}

/* sim_pull.c -- where a simulated actor has its weights from: actor/actor.h and node/weights.h
 * without the bytes. */
#include <string.h>

#include "tests/sim/sim.h"

struct sim_worker *sim_worker_named(struct sim *sim, const char *name)
{
    for (int i = 0; i < sim->workers_n; i++)
        if (strcmp(sim->workers[i].name, name) == 0)
            return &sim->workers[i];
    return NULL;
}

bool sim_worker_is_silent(const struct sim *sim, const struct sim_worker *w)
{
    return !w->alive || sim->now_ms < w->silent_until_ms;
}

/* It serves its own version and lag + 1 before it, and what all but the last of these are measured
 * from. */
static bool sim_pull_serves(const struct sim *sim, const struct sim_worker *learner,
                            enum wire_role asks, uint64_t version)
{
    if (!learner || sim_worker_is_silent(sim, learner))
        return false;
    if (asks == WIRE_ROLE_REWARD)
        return sim_reference_is_served(sim, learner, version);
    return version <= learner->version && learner->version - version <= sim->config->lag + 1;
}

enum sim_pull sim_pull(struct sim *sim, struct sim_worker *w, const struct message *lease)
{
    if (w->at > 0 || lease->version == 0 || w->weights == lease->version ||
        sim_pull_serves(sim, sim_worker_named(sim, lease->text), w->role, lease->version)) {
        w->weights = lease->version;
        w->pull_ms = 0;
        return SIM_PULL_HERE;
    }
    if (w->pull_ms == 0)
        w->pull_ms = sim->now_ms;
    if (sim->now_ms - w->pull_ms < sim->config->dead_ms)
        return SIM_PULL_WAITS;
    w->pull_ms = 0;
    return SIM_PULL_FAILS;
}

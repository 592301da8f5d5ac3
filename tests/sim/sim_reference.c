/* sim_reference.c -- what KL is to be measured from, by the definition in control/kl_reference.h
 * over the versions as they were first trained, and whether it was. */
#include <string.h>

#include "tests/sim/sim.h"

void sim_reference_trained(struct sim *sim, uint64_t version, const struct message *lease)
{
    const uint64_t every = sim->config->kl_reference_every;
    const uint64_t parent = lease->restore ? lease->base_version : version - 1;
    sim->kl_reference[version] =
        every > 0 && version % every == 0 ? version : sim->kl_reference[parent];
}

uint64_t sim_reference_of(const struct sim *sim, uint64_t step)
{
    const uint64_t lag = sim->config->lag;
    return sim->kl_reference[step > lag ? step - lag : 0];
}

bool sim_reference_is_served(const struct sim *sim, const struct sim_worker *learner,
                             uint64_t version)
{
    for (uint64_t back = 0; back <= sim->config->lag && back <= learner->version; back++)
        if (sim->kl_reference[learner->version - back] == version)
            return true;
    return false;
}

void sim_reference_check_lease(struct sim *sim, const struct message *lease)
{
    for (uint32_t i = 0; i < lease->items_n; i++) {
        const struct wire_item *item = &lease->items[i];
        if (item->kind == WIRE_WORK_ROLLOUT && lease->version != sim_reference_of(sim, item->a))
            sim_fail(sim, "slot %llu/%u is to be measured from version %llu, not %llu",
                     (unsigned long long)item->a, (unsigned)item->b,
                     (unsigned long long)lease->version,
                     (unsigned long long)sim_reference_of(sim, item->a));
    }
}

void sim_reference_check_score(struct sim *sim, const struct record *record)
{
    const uint64_t lag = sim->config->lag, step = record->a;
    struct sim_rollout rollout;
    double score[SIM_SCORERS];
    float ref[SIM_TOKENS];
    sim_content_rollout(&rollout, step > lag ? step - lag : 0, record->work, step, record->b);
    sim_content_score(score, ref, &rollout, record->work, step, record->b,
                      sim_reference_of(sim, step));
    if (memcmp(ref, record->reference, rollout.tokens * sizeof *ref) != 0)
        sim_fail(sim, "slot %llu/%u is measured from another version than %llu",
                 (unsigned long long)step, (unsigned)record->b,
                 (unsigned long long)sim_reference_of(sim, step));
}

/* With the reference the KL controller begins again.  A breaker that rolls back scales what it
 * says. */
void sim_reference_check_step(struct sim *sim, const struct record_step *step)
{
    const uint64_t want = sim_reference_of(sim, step->step);
    const uint64_t before = step->step > 0 ? sim_reference_of(sim, step->step - 1) : 0;
    if (step->kl_reference_version != want)
        sim_fail(sim, "step %llu says it was measured from version %llu, not %llu",
                 (unsigned long long)step->step, (unsigned long long)step->kl_reference_version,
                 (unsigned long long)want);
    if (want == before || run_config_rolls_back(sim->config))
        return;
    sim->renewals++;
    if (step->kl_coef_before != sim->config->kl_coef)
        sim_fail(sim, "step %llu has a new reference, and a beta of %g",
                 (unsigned long long)step->step, step->kl_coef_before);
}

/* core_kl_reference.c -- which version's log-probs a step's KL is measured from, and what follows
 * where that changes: control/kl_reference.h has the rule.
 *
 * Each version's reference follows from the STEP records before it, so it is no state of its own:
 * replay comes to it again, and a record that says another is refused. */
#include <assert.h>

#include "control/kl_reference.h"
#include "coordinator/core.h"
#include "coordinator/core_state.h"

static uint64_t *core_kl_reference_at(const struct core *core, uint64_t version)
{
    return &core->kl_reference[version % ((uint64_t)core->ring + 1)];
}

uint64_t core_kl_reference_of(const struct core *core, uint64_t version)
{
    return *core_kl_reference_at(core, version);
}

/* Of version step + 1. */
static uint64_t core_kl_reference_next(const struct core *core, const struct core_batch *batch)
{
    const uint64_t inherited = batch->restored && !core_bug(core, 40)
                                   ? core->target_kl_reference
                                   : core_kl_reference_of(core, batch->step);
    if (core_bug(core, 41) && core->replaying)
        return inherited;
    return kl_reference_version(core->config->kl_reference_every, batch->step + 1, inherited);
}

void core_kl_reference_shape(const struct core *core, struct core_batch *batch)
{
    const struct core_recall *recall = &core->recall;
    struct record_step *result = &batch->result;
    result->kl_reference_version = batch == &recall->batch
                                       ? recall->kl_reference
                                       : core_kl_reference_of(core, result->behaviour_version);
}

bool core_kl_reference_changes(const struct core *core, const struct core_batch *batch)
{
    const uint64_t before = core->has_last ? core->last.kl_reference_version : 0;
    return batch->result.kl_reference_version != before;
}

void core_kl_reference_tell(struct core *core, const struct core_batch *batch)
{
    const uint64_t version = batch->step + 1;
    if (core_kl_reference_next(core, batch) == version)
        core_event(core, LOG_LEVEL_INFO, "KL-REFERENCE",
                   "version %llu is what KL is measured from, from its own rollouts on",
                   (unsigned long long)version);
}

void core_kl_reference_commit(struct core *core, const struct core_batch *batch)
{
    *core_kl_reference_at(core, core->trained) = core_kl_reference_next(core, batch);
}

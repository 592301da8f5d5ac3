/* core_rollback.c -- what the run goes back to, and leaves behind: control/rollback.h decides;
 * here is only which numbers go in, and the weights that have to come out.
 *
 * A rollback is a train lease without slots that names the version to go back to.  Version and
 * step go on, so that every replay and every retraining are as before; a learner makes the same
 * of it whenever it is told.  The rollouts that were under way are of versions that the run has
 * left behind: they come, are recorded, and their steps are set aside without being looked at. */
#include <assert.h>
#include <string.h>

#include "coordinator/core.h"
#include "coordinator/core_state.h"

enum err_code core_rollback_setup(struct core *core, struct err *err)
{
    rollback_init(&core->rollback_state);
    core->has_rollback = run_config_rolls_back(core->config);
    if (core->has_rollback && core->config->breaker_restore_every == 0)
        return err_set(err, ERR_USAGE, "breaker.restore_every is 0, must be at least 1");
    return ERR_OK;
}

uint32_t core_rollback_state_n(const struct core *core)
{
    return core->has_rollback ? ROLLBACK_STATE_N : 0;
}

bool core_rollback_discards(const struct core *core, uint64_t version)
{
    return core->has_rollback && rollback_discards(&core->rollback_state, version);
}

static uint64_t core_rollback_target(const struct core *core,
                                     const struct rollback_state *rollback,
                                     const struct breaker_state *breaker)
{
    return rollback_target(rollback, core->config->breaker_restore_every, breaker->good);
}

void core_rollback_apply(struct core *core, struct core_batch *batch)
{
    /* Not core->target: the step may be an old one that is recalled. */
    const uint64_t target =
        core_rollback_target(core, &core->rollback_state, &core->breaker_state);
    batch->skipped = batch->restored = true;
    rollback_step(&batch->rollback_after, batch->step,
                  core_bug(core, 26) ? core->checkpoint_version : target);
}

void core_rollback_write(const struct core *core, const struct core_batch *batch, double *out)
{
    if (core->has_rollback)
        memcpy(out, &batch->rollback_after, sizeof batch->rollback_after);
}

enum err_code core_rollback_read(const struct core *core, struct core_batch *batch,
                                 const double *in, struct err *err)
{
    batch->rollback_after = core->rollback_state;
    if (!core->has_rollback)
        return ERR_OK;
    if (!core_bug(core, 27))
        memcpy(&batch->rollback_after, in, sizeof batch->rollback_after);
    return rollback_check(&batch->rollback_after, core->config->breaker_restore_every,
                          batch->step + 1, err);
}

bool core_rollback_is_restore_point(const struct core *core, uint64_t version)
{
    return core->has_rollback && version % core->config->breaker_restore_every == 0;
}

void core_rollback_lease(const struct core *core, const struct core_batch *batch,
                         struct message *lease)
{
    lease->lr_scale = batch->breaker_after.lr_scale;
    if (!core->has_rollback)
        return;
    lease->restore = batch->restored && !core_bug(core, 29);
    lease->base_version = (uint64_t)batch->rollback_after.base;
    lease->target_version =
        core_bug(core, 28)
            ? lease->base_version
            : core_rollback_target(core, &batch->rollback_after, &batch->breaker_after);
}

const struct hash *core_rollback_expects(const struct core *core,
                                         const struct core_batch *batch)
{
    return batch->restored ? &core->target_hash : core_train_hash(core, batch->step);
}

/* Of a restore point that may become the target. */
static struct hash *core_rollback_hash(struct core *core, uint64_t version)
{
    static_assert(CORE_RESTORE_MAX > RUN_LAG_MAX + 2,
                  "what the rollouts under way may show to be good has a place");
    return &core->restore_hash[version / core->config->breaker_restore_every %
                               CORE_RESTORE_MAX];
}

void core_rollback_commit(struct core *core, const struct core_batch *batch)
{
    core->rollback_state = batch->rollback_after;
    if (!core->has_rollback)
        return;
    if (core->trained == 1)
        core->target_hash = *core_rollback_hash(core, 0) = *core_train_hash(core, 0);
    if (core_rollback_is_restore_point(core, core->trained))
        *core_rollback_hash(core, core->trained) = batch->result.weights;
    const uint64_t target =
        core_rollback_target(core, &core->rollback_state, &core->breaker_state);
    if (target != core->target)
        core->target_hash = *core_rollback_hash(core, target);
    core->target = target;
}

enum err_code core_rollback_check(const struct core *core, struct err *err)
{
    const uint64_t discarded = core->dropped[RECORD_REASON_ROLLED_BACK];
    const double most = core->rollback_state.count * core->config->lag * core->B;
    if ((double)discarded > most)
        return err_set(err, ERR_STATE, "%llu slots were left behind by %g rollbacks",
                       (unsigned long long)discarded, core->rollback_state.count);
    if (!core->has_rollback)
        return ERR_OK;
    if (core->target != core_rollback_target(core, &core->rollback_state, &core->breaker_state))
        return err_set(err, ERR_STATE, "a rollback would go back to version %llu",
                       (unsigned long long)core->target);
    return rollback_check(&core->rollback_state, core->config->breaker_restore_every,
                          core->trained, err);
}

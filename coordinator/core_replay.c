/* core_replay.c -- the run so far, from its records, by the same transitions. */
#include <assert.h>
#include <math.h>
#include <string.h>

#include "coordinator/core.h"
#include "coordinator/core_state.h"

enum err_code core_replay_begin(struct core *core, uint64_t checkpoint_version, struct err *err)
{
    assert(core->seq == 0 && !core->started);
    if (checkpoint_version > core->config->steps)
        return err_set(err, ERR_STATE, "the ledger has checkpoint %llu of a run of %llu steps",
                       (unsigned long long)checkpoint_version,
                       (unsigned long long)core->config->steps);
    core->replaying = true;
    core->replay_from = checkpoint_version;
    core->checkpoint_version = checkpoint_version;
    core_item_open_steps(core);
    return ERR_OK;
}

enum err_code core_replay_refuse(const struct record *record, const char *why, struct err *err)
{
    return err_set(err, ERR_STATE, "the ledger's record %llu (%s of %llu/%u) %s",
                   (unsigned long long)record->seq, record_kind_name(record->kind),
                   (unsigned long long)record->a, (unsigned)record->b, why);
}

/* A record about a step that is known by its STEP record alone. */
static bool core_replay_skips(const struct core *core, const struct record *record)
{
    return record->work == WIRE_WORK_ROLLOUT && record->a < core->replay_from;
}

enum err_code core_replay_rollout(struct core *core, const struct record *record,
                                  struct core_item *item, struct err *err)
{
    const bool slot = record->work == WIRE_WORK_ROLLOUT;
    if (item->state != CORE_ITEM_WAITING)
        return core_replay_refuse(record, "comes a second time", err);
    if (record->response_tokens == 0 || record->response_tokens > core->max_new ||
        record->prompt != item->prompt || record->version != item->version || !record->ids ||
        (slot && !record->logprobs))
        return core_replay_refuse(record, "is not what this run plans there", err);
    struct core_peer *worker = &core->peers[0]; /* of a recalled step nobody asks who made it */
    if (core->replaying) {
        worker = core_peer_named(core, record->worker);
        assert(worker); /* nobody is here yet: there always is an entry to be had */
        worker->seen_ms = record->seq; /* the order for now: core_start makes it a time */
    }
    item->generated_by = record->version;
    core_item_generated(core, item, record->response_tokens, record->finish, record->ids,
                        slot ? record->logprobs : NULL, core_peer_index(core, worker),
                        record->seq);
    return ERR_OK;
}

enum err_code core_replay_score(struct core *core, const struct record *record,
                                struct core_item *item, struct err *err)
{
    const bool slot = record->work == WIRE_WORK_ROLLOUT;
    if (item->state == CORE_ITEM_WAITING && !slot && record->response_tokens > 0 &&
        record->response_tokens <= core->max_new) {
        item->tokens = record->response_tokens; /* its ROLLOUT was left out */
        item->finish = record->finish;
    } else if (item->state != CORE_ITEM_GENERATED) {
        return core_replay_refuse(record, "is for one that waits for no score", err);
    }
    double cost;
    if (record->scorers != core->config->scorers || !record->scores ||
        record->response_tokens != item->tokens || (slot && !record->reference) ||
        core_combine_try(core, item->prompt, record->scores, item->tokens, NULL) != ERR_OK ||
        (slot && core_cost_of(core, record->scores, &cost, NULL) != ERR_OK))
        return core_replay_refuse(record, "is not what this run plans there", err);
    core_item_scored(core, item, record->scores, record->reference, NULL, record->seq);
    return ERR_OK;
}

static enum err_code core_replay_item(struct core *core, const struct record *record,
                                      struct err *err)
{
    if (core_replay_skips(core, record))
        return ERR_OK;
    struct core_item *item = core_item_find(core, record->work, record->a, record->b);
    if (!item)
        return core_replay_refuse(record, "is for one that is not open", err);
    if (record->kind == RECORD_ROLLOUT)
        return core_replay_rollout(core, record, item, err);
    if (record->kind == RECORD_SCORE)
        return core_replay_score(core, record, item, err);
    if (item->state == CORE_ITEM_DROPPED || item->state == CORE_ITEM_TRAINED ||
        record->reason <= RECORD_REASON_NONE || record->reason >= RECORD_REASONS)
        return core_replay_refuse(record, "is for one that cannot be dropped", err);
    core_item_drop(core, item, record->reason, "");
    item->seq = record->seq;
    if (record->work == WIRE_WORK_REFERENCE)
        core_item_reference(core, item->prompt, item->b)->seq = record->seq;
    return ERR_OK;
}

/* A step older than what is kept: its slots become what the record says they became. */
static enum err_code core_replay_old_step(struct core *core, struct core_batch *batch,
                                          const struct record_step *step, struct err *err)
{
    uint32_t i = 0;
    for (uint32_t n = 0; n < step->trained; n++)
        core_item_move(core, &batch->items[i++], CORE_ITEM_SHAPED);
    for (uint32_t reason = 0; reason < RECORD_REASONS; reason++) {
        core->dropped[reason] += step->dropped[reason];
        for (uint32_t n = 0; n < step->dropped[reason]; n++) {
            batch->items[i].reason = (enum record_reason)reason;
            core_item_move(core, &batch->items[i++], CORE_ITEM_DROPPED);
        }
    }
    const uint64_t reference = core_kl_reference_of(core, batch->items[0].version);
    if (step->kl_reference_version != reference)
        return err_set(
            err, ERR_STATE,
            "the ledger's step %llu measured KL from version %llu, by the steps before "
            "it that is %llu",
            (unsigned long long)step->step, (unsigned long long)step->kl_reference_version,
            (unsigned long long)reference);
    for (uint32_t k = 0; k < core->B; k++)
        batch->items[k].generated_by = batch->items[k].version;
    batch->shaped = true;
    const enum err_code rc = core_shape_read(core, step, batch, err);
    batch->restored = batch->rollback_after.resumed == (double)step->version;
    return rc;
}

/* Equal, also where neither is a number. */
static bool core_replay_same_number(double a, double b)
{
    return a == b || (isnan(a) && isnan(b));
}

static bool core_replay_same_sums(const struct record_step *a, const struct record_step *b)
{
    return a->trained == b->trained && a->worst_group == b->worst_group &&
           a->kl_reference_version == b->kl_reference_version &&
           memcmp(a->dropped, b->dropped, sizeof a->dropped) == 0 &&
           a->kl_coef_before == b->kl_coef_before && a->kl_coef_after == b->kl_coef_after &&
           a->reward_shaped_mean == b->reward_shaped_mean &&
           core_replay_same_number(a->cost_raw_mean, b->cost_raw_mean) &&
           a->multiplier_before == b->multiplier_before &&
           a->multiplier_after == b->multiplier_after &&
           memcmp(&a->experience, &b->experience, sizeof a->experience) == 0 &&
           memcmp(a->controller, b->controller, a->controller_n * sizeof a->controller[0]) == 0;
}

enum err_code core_replay_agrees(const struct record_step *now,
                                 const struct record_step *record, struct err *err)
{
    if (core_replay_same_sums(now, record))
        return ERR_OK;
    return err_set(err, ERR_STATE,
                   "step %llu: from the recorded scores this program computes a shaped "
                   "mean of %.17g, beta %.17g and lambda %.17g, the ledger says %.17g, "
                   "%.17g and %.17g: it was written by another version, or changed "
                   "(rlhf replay)",
                   (unsigned long long)record->step, now->reward_shaped_mean,
                   now->kl_coef_after, now->multiplier_after, record->reward_shaped_mean,
                   record->kl_coef_after, record->multiplier_after);
}

static enum err_code core_replay_step(struct core *core, const struct record *record,
                                      struct err *err)
{
    const struct record_step *step = record->step;
    struct core_batch *batch = core_item_batch(core, step->step);
    uint64_t slots = step->trained;
    for (uint32_t reason = 0; reason < RECORD_REASONS; reason++)
        slots += step->dropped[reason];
    if (step->step != core->trained || step->version != step->step + 1 || !batch ||
        slots != core->B || step->controller_n != core_shape_controllers(core) ||
        step->stats_n > WIRE_STATS_MAX)
        return err_set(err, ERR_STATE,
                       "the ledger's record %llu (step %llu) cannot follow step %llu",
                       (unsigned long long)record->seq, (unsigned long long)step->step,
                       (unsigned long long)core->trained);
    if (step->step < core->replay_from) {
        const enum err_code rc = core_replay_old_step(core, batch, step, err);
        if (rc != ERR_OK)
            return rc;
    } else {
        struct err why = {0};
        if (!core_shape_ready(core, batch) || core_shape_batch(core, batch, &why) != ERR_OK)
            return err_set(
                err, ERR_STATE, "the ledger's record %llu: step %llu has not all its scores %s",
                (unsigned long long)record->seq, (unsigned long long)step->step, why.text);
        const enum err_code rc = core_replay_agrees(&batch->result, step, err);
        if (rc != ERR_OK)
            return rc;
    }
    const struct kl_state kl_after = batch->kl_after;
    batch->result = *step;
    batch->kl_after = kl_after;
    core_train_commit(core, batch);
    core->last.duration_ms = step->duration_ms;
    core_item_open_steps(core);
    return ERR_OK;
}

enum err_code core_replay(struct core *core, const struct record *record, struct err *err)
{
    assert(core->replaying);
    if (record->seq <= core->seq)
        return err_set(err, ERR_STATE, "the ledger's record %llu comes after record %llu",
                       (unsigned long long)record->seq, (unsigned long long)core->seq);
    core->durable_seq = record->seq;
    enum err_code rc = ERR_OK;
    switch (record->kind) {
    case RECORD_EPOCH:
        if (record->epoch <= core->epoch)
            return core_replay_refuse(record, "is an epoch that was there before", err);
        core->epoch = record->epoch;
        break;
    case RECORD_START:
        core->has_start = true;
        *core_train_hash(core, 0) = record->hash;
        break;
    case RECORD_IDENTITY: rc = core_identity_replay(core, record, err); break;
    case RECORD_ROLLOUT:
    case RECORD_SCORE:
    case RECORD_DROP: rc = core_replay_item(core, record, err); break;
    case RECORD_STEP: rc = core_replay_step(core, record, err); break;
    case RECORD_CHECKPOINT:
        core_train_checkpoint(core, record->version);
        core_item_open_steps(core);
        break;
    case RECORD_PAUSE: core->paused = record->paused; break;
    case RECORD_EVENT: break;
    case RECORD_NONE:
    default: return core_replay_refuse(record, "is of no known kind", err);
    }
    if (rc == ERR_OK)
        core->seq = record->seq;
    return rc;
}

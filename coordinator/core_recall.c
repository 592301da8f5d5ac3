/* core_recall.c -- a step that is no longer kept, out of the ledger: see core.h, "Steps that are
 * not kept".
 *
 * It is planned, filled and shaped as it was the first time, from the controllers' states that
 * the STEP record before it holds; its own STEP record must then say the same. */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "coordinator/core.h"
#include "coordinator/core_state.h"

bool core_recall_has(const struct core *core, const struct core_item *item)
{
    const struct core_item *first = core->recall.batch.items;
    return item >= first && item < first + core->B;
}

/* The controllers, and what the last step told, change places with those before the step that is
 * recalled; a second call puts them back. */
static void core_recall_swap(struct core *core, struct core_before *before)
{
    if (core_bug(core, 25))
        return;
    const struct core_before now = {
        .kl = core->kl_state,
        .chain = core->chain_state,
        .lagrange = core->lagrange_state,
        .breaker = core->breaker_state,
        .rollback = core->rollback_state,
        .last = core->last,
        .has_last = core->has_last,
    };
    core->kl_state = before->kl;
    core->chain_state = before->chain;
    core->lagrange_state = before->lagrange;
    core->breaker_state = before->breaker;
    if (!core_bug(core, 30))
        core->rollback_state = before->rollback;
    core->last = before->last;
    core->has_last = before->has_last;
    *before = now;
}

static void core_recall_begin(struct core *core, uint64_t step)
{
    struct core_recall *recall = &core->recall;
    recall->complete = recall->has_weights = false;
    memset(recall->slots, 0, sizeof recall->slots);
    recall->slots[CORE_ITEM_WAITING] = core->B;
    core_item_plan_slots(core, &recall->batch, step);
    recall->before = (struct core_before){0};
    kl_init(&core->kl, &recall->before.kl);
    chain_init(&core->chain, &recall->before.chain);
    lagrange_init(&core->lagrange, &recall->before.lagrange);
    breaker_init(&recall->before.breaker);
    rollback_init(&recall->before.rollback);
    core->counters.recalled++;
    core_log(core, LOG_LEVEL_INFO, "RECALL", "step %llu is read from the ledger",
             (unsigned long long)step);
    core->sink(core->user, &(struct core_effect){.kind = CORE_FX_RECALL, .recall_step = step});
}

const struct core_batch *core_recall_batch(struct core *core, uint64_t step)
{
    struct core_recall *recall = &core->recall;
    const struct core_batch *kept = core_item_batch(core, step);
    if (kept && step >= core->replay_from)
        return kept;
    if (recall->batch.step == step)
        return recall->complete ? &recall->batch : NULL;
    if (recall->batch.step == CORE_NO_STEP || recall->complete)
        core_recall_begin(core, step);
    return NULL;
}

bool core_recall_fits(struct core *core, const struct core_batch *batch,
                      struct core_peer *const *group, uint32_t ranks)
{
    for (uint32_t rank = 0; batch == &core->recall.batch && rank < ranks; rank++) {
        const struct hash *recorded = &core->recall.weights;
        if (memcmp(&group[rank]->hash, recorded, sizeof *recorded) == 0)
            continue;
        char text[WIRE_TEXT_MAX];
        core_train_other_weights(batch->step, &group[rank]->hash, recorded, text, sizeof text);
        core_peer_expel(core, group[rank], text);
        return false;
    }
    return true;
}

const struct hash *core_recall_weights(const struct core *core, const struct core_batch *batch)
{
    return batch == &core->recall.batch ? &core->recall.weights
                                        : core_train_hash(core, batch->step);
}

const struct hash *core_recall_result(const struct core *core, uint64_t step)
{
    const struct core_recall *recall = &core->recall;
    return recall->complete && recall->batch.step == step ? &recall->batch.result.weights
                                                          : NULL;
}

/* --- its records -------------------------------------------------------------------------- */

/* The step before: the weights this one begins with, and the controllers. */
static enum err_code core_recall_before(struct core *core, const struct record_step *step,
                                        struct err *err)
{
    struct core_recall *recall = &core->recall;
    struct core_batch *batch = &recall->batch;
    if (step->controller_n != core_shape_controllers(core) || step->stats_n > WIRE_STATS_MAX)
        return err_set(err, ERR_STATE, "the ledger's step %llu is not of this run",
                       (unsigned long long)step->step);
    core_recall_swap(core, &recall->before);
    const enum err_code rc = core_shape_read(core, step, batch, err);
    core_recall_swap(core, &recall->before);
    if (rc != ERR_OK)
        return rc;
    struct core_before *before = &recall->before;
    before->kl = batch->kl_after;
    before->chain = batch->chain_after;
    before->lagrange = batch->lagrange_after;
    before->breaker = batch->breaker_after;
    before->rollback = batch->rollback_after;
    before->last = *step;
    before->has_last = true;
    if (step->stats_n > 0)
        memcpy(recall->stats, step->stats, step->stats_n * sizeof recall->stats[0]);
    before->last.stats = recall->stats;
    recall->weights = step->weights;
    recall->has_weights = true;
    return ERR_OK;
}

static enum err_code core_recall_shape(struct core *core, const struct record_step *step,
                                       struct err *err)
{
    struct core_recall *recall = &core->recall;
    struct core_batch *batch = &recall->batch;
    if (!recall->has_weights ||
        batch->count[CORE_ITEM_SCORED] + batch->count[CORE_ITEM_DROPPED] != core->B)
        return err_set(
            err, ERR_STATE, "the ledger has not all of step %llu: %u of %u slots",
            (unsigned long long)step->step,
            (unsigned)(batch->count[CORE_ITEM_SCORED] + batch->count[CORE_ITEM_DROPPED]),
            (unsigned)core->B);
    core_recall_swap(core, &recall->before);
    enum err_code rc = core_shape_batch(core, batch, err);
    core_recall_swap(core, &recall->before);
    if (rc == ERR_OK)
        rc = core_replay_agrees(&batch->result, step, err);
    if (rc != ERR_OK)
        return rc;
    batch->result = *step;
    batch->result.stats = NULL;
    batch->result.stats_n = 0;
    recall->complete = true;
    return ERR_OK;
}

static enum err_code core_recall_item(struct core *core, const struct record *record,
                                      struct err *err)
{
    struct core_batch *batch = &core->recall.batch;
    if (record->work != WIRE_WORK_ROLLOUT || record->a != batch->step || record->b >= core->B)
        return core_replay_refuse(record, "is not of the step that is recalled", err);
    struct core_item *item = &batch->items[record->b];
    if (record->kind == RECORD_ROLLOUT)
        return core_replay_rollout(core, record, item, err);
    if (record->kind == RECORD_SCORE)
        return core_replay_score(core, record, item, err);
    item->reason = record->reason;
    core_item_move(core, item, CORE_ITEM_DROPPED);
    return ERR_OK;
}

static enum err_code core_recall_take(struct core *core, const struct record *record,
                                      struct err *err)
{
    struct core_recall *recall = &core->recall;
    switch (record->kind) {
    case RECORD_START:
        recall->weights = record->hash;
        recall->has_weights = true;
        return ERR_OK;
    case RECORD_ROLLOUT:
    case RECORD_SCORE:
    case RECORD_DROP: return core_recall_item(core, record, err);
    case RECORD_STEP:
        return record->step->step == recall->batch.step
                   ? core_recall_shape(core, record->step, err)
                   : core_recall_before(core, record->step, err);
    case RECORD_NONE:
    case RECORD_EPOCH:
    case RECORD_IDENTITY:
    case RECORD_CHECKPOINT:
    case RECORD_PAUSE:
    case RECORD_EVENT:
    default: return core_replay_refuse(record, "has no place in a step", err);
    }
}

void core_recall_record(struct core *core, const struct record *record)
{
    struct err err;
    if (core->recall.batch.step == CORE_NO_STEP || core->recall.complete)
        return;
    if (core_recall_take(core, record, &err) != ERR_OK)
        core_train_halt(core, err.text);
}

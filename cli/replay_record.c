/* replay_record.c -- see replay.h: a record against the plan and those before it. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/replay_state.h"

/* --- where a record stands ---------------------------------------------------------------- */

static enum err_code replay_refuse(const struct record *record, const char *why,
                                   struct err *err)
{
    const unsigned long long seq = record->seq, a = record->a;
    switch (record->kind) {
    case RECORD_ROLLOUT:
    case RECORD_SCORE:
    case RECORD_DROP:
        if (record->work == WIRE_WORK_REFERENCE)
            return err_set(err, ERR_VALUE, "record %llu: %s of prompt %llu, reference %u: %s",
                           seq, record_kind_name(record->kind), a, (unsigned)record->b, why);
        return err_set(err, ERR_VALUE, "record %llu: %s of step %llu, slot %u: %s", seq,
                       record_kind_name(record->kind), a, (unsigned)record->b, why);
    case RECORD_STEP:
        return err_set(err, ERR_VALUE, "record %llu: step %llu: %s", seq,
                       (unsigned long long)record->step->step, why);
    default:
        return err_set(err, ERR_VALUE, "record %llu (%s): %s", seq,
                       record_kind_name(record->kind), why);
    }
}

static struct replay_slot *replay_item(struct replay *replay, const struct record *record)
{
    if (record->work == WIRE_WORK_REFERENCE)
        return replay_reference(replay, record->a, record->b);
    struct replay_batch *batch = replay_batch(replay, record->a);
    return batch && record->b < replay->B ? &batch->slot[record->b] : NULL;
}

static struct replay_at replay_where(const struct record *record)
{
    return (struct replay_at){record->a, record->b};
}

/* --- rollouts ----------------------------------------------------------------------------- */

static bool replay_is_end(const struct replay *replay, int32_t id)
{
    for (uint32_t i = 0; i < replay->tokens.ends_n; i++)
        if (replay->tokens.ends[i] == id)
            return true;
    return false;
}

/* What is wrong with a response's tokens, NULL where nothing is: it ends where an end token is
 * drawn, or where it is cut. */
static const char *replay_token_fault(const struct replay *replay, const struct record *record)
{
    const uint32_t n = record->response_tokens;
    if (n == 0 || n > replay->max_new)
        return "the response has an impossible length";
    if (record->finish == WIRE_FINISH_LENGTH && n != replay->max_new)
        return "the response was cut before sampling.max_new_tokens";
    if (replay->tokens.vocabulary == 0)
        return NULL;
    for (uint32_t t = 0; t < n; t++) {
        if (record->ids[t] < 0 || (uint32_t)record->ids[t] >= replay->tokens.vocabulary)
            return "a token is outside the vocabulary";
        if (t + 1 < n && replay_is_end(replay, record->ids[t]))
            return "tokens stand after the end token";
    }
    if (replay_is_end(replay, record->ids[n - 1]) != (record->finish == WIRE_FINISH_EOS))
        return "the finish reason and the last token disagree";
    return NULL;
}

static bool replay_is_finite(const float *values, uint32_t n)
{
    for (uint32_t t = 0; t < n; t++)
        if (!isfinite(values[t]))
            return false;
    return true;
}

static enum err_code replay_rollout(struct replay *replay, const struct record *record,
                                    struct replay_slot *slot, struct err *err)
{
    const bool is_slot = record->work == WIRE_WORK_ROLLOUT;
    const uint32_t n = record->response_tokens;
    if (slot->state != REPLAY_WAITING)
        return replay_refuse(record, "it was generated, or dropped, before", err);
    const char *fault = replay_token_fault(replay, record);
    if (fault)
        return replay_refuse(record, fault, err);
    if (is_slot && !replay_is_finite(record->logprobs, n))
        return replay_refuse(record, "a log-prob is no number", err);
    enum err_code rc = ERR_OK;
    if (is_slot)
        rc = replay_same_count(replay, replay_where(record), "prompt", record->prompt,
                               slot->prompt, err);
    if (rc == ERR_OK && is_slot)
        rc = replay_same_count(replay, replay_where(record), "version", record->version,
                               slot->version, err);
    if (rc != ERR_OK)
        return rc;
    if (!is_slot && !(slot->ids = malloc(n * sizeof *slot->ids)))
        return err_set(err, ERR_NOMEM, "no memory for a reference");
    slot->state = REPLAY_GENERATED;
    slot->tokens = n;
    slot->finish = record->finish;
    snprintf(slot->worker, sizeof slot->worker, "%s", record->worker);
    memcpy(slot->ids, record->ids, n * sizeof *slot->ids);
    if (is_slot)
        memcpy(slot->logp, record->logprobs, n * sizeof *slot->logp);
    return ERR_OK;
}

/* --- scores and drops --------------------------------------------------------------------- */

/* It needs its ids no more. */
static enum err_code replay_reference_done(struct replay *replay, const struct record *record,
                                           struct replay_slot *slot, struct err *err)
{
    enum err_code rc = ERR_OK;
    replay->sum.references++;
    if (replay->ops.on_reference)
        rc = replay->ops.on_reference(replay->ops.ctx, (uint32_t)record->a, record->b, slot,
                                      err);
    free(slot->ids);
    slot->ids = NULL;
    return rc;
}

/* Scorers that do not count for the prompt, and of references all but the rewards, tell nothing:
 * a record does not depend on who scored it. */
static bool replay_has_unasked(const struct replay *replay, const struct record *record)
{
    for (uint32_t s = 0; s < record->scorers; s++) {
        const bool asked = record->work == WIRE_WORK_ROLLOUT ||
                           replay->config->scorer[s].role == RUN_ROLE_REWARD;
        if (!isnan(record->scores[s]) &&
            !(asked && replay_combine_counts(replay, s, record->prompt)))
            return true;
    }
    return false;
}

static enum err_code replay_score(struct replay *replay, const struct record *record,
                                  struct replay_slot *slot, struct err *err)
{
    const bool is_slot = record->work == WIRE_WORK_ROLLOUT;
    const uint32_t n = replay->config->scorers;
    if (slot->state != REPLAY_GENERATED)
        return replay_refuse(record, "it is none that waits for a score", err);
    if (record->response_tokens != slot->tokens || record->finish != slot->finish ||
        record->prompt != slot->prompt)
        return replay_refuse(record, "prompt, tokens or finish are not those of its rollout",
                             err);
    struct err why = {0};
    if (record->scorers != n)
        return replay_refuse(record, "it does not have a score of each scorer", err);
    if (replay_has_unasked(replay, record))
        return replay_refuse(record, "it has a score of a scorer that is not asked there", err);
    if (replay_combine_try(replay, slot->prompt, record->scores, slot->tokens, &why) != ERR_OK)
        return replay_refuse(record, why.text, err);
    if (is_slot && !replay_is_finite(record->reference, slot->tokens))
        return replay_refuse(record, "a log-prob of the reference is no number", err);
    slot->state = REPLAY_SCORED;
    slot->scored = true;
    memcpy(slot->scores, record->scores, n * sizeof *slot->scores);
    if (is_slot) {
        memcpy(slot->ref, record->reference, slot->tokens * sizeof *slot->ref);
        return ERR_OK;
    }
    slot->raw = replay_combine_reference(replay, slot);
    memcpy(replay->reference_scores + ((size_t)record->a * replay->M + record->b) * n,
           record->scores, n * sizeof(double));
    return replay_reference_done(replay, record, slot, err);
}

static enum err_code replay_drop(struct replay *replay, const struct record *record,
                                 struct replay_slot *slot, struct err *err)
{
    const bool is_slot = record->work == WIRE_WORK_ROLLOUT;
    if (slot->state == REPLAY_DROPPED || (!is_slot && slot->state == REPLAY_SCORED))
        return replay_refuse(record, "it was dropped, or scored, before", err);
    if (record->prompt != slot->prompt)
        return replay_refuse(record, "its prompt is not the one that is planned there", err);
    if (record->reason == RECORD_REASON_QUARANTINED ||
        record->reason == RECORD_REASON_ROLLED_BACK)
        return replay_refuse(record, "a slot alone is never set aside by the breaker", err);
    slot->state = REPLAY_DROPPED;
    slot->reason = record->reason;
    return is_slot ? ERR_OK : replay_reference_done(replay, record, slot, err);
}

static enum err_code replay_of_item(struct replay *replay, const struct record *record,
                                    struct err *err)
{
    struct replay_slot *slot = replay_item(replay, record);
    if (!slot)
        return replay_refuse(record, "the run has none there that is open", err);
    if (record->kind == RECORD_ROLLOUT)
        return replay_rollout(replay, record, slot, err);
    return record->kind == RECORD_SCORE ? replay_score(replay, record, slot, err)
                                        : replay_drop(replay, record, slot, err);
}

/* --- steps -------------------------------------------------------------------------------- */

static bool replay_compares_groups(const struct replay *replay)
{
    return replay->K > 1 && (replay->config->estimator == RUN_ESTIMATOR_GRPO ||
                             replay->config->estimator == RUN_ESTIMATOR_RLOO);
}

/* Is every slot scored or dropped, and none left alone where an estimator compares a group? */
static const char *replay_step_fault(const struct replay *replay,
                                     const struct replay_batch *batch)
{
    for (uint32_t b = 0; b < replay->B; b += replay->K) {
        uint32_t left = 0;
        for (uint32_t k = 0; k < replay->K; k++) {
            const enum replay_slot_state state = batch->slot[b + k].state;
            if (state != REPLAY_SCORED && state != REPLAY_DROPPED)
                return "a slot of it was neither scored nor dropped";
            left += state == REPLAY_SCORED;
        }
        if (left == 1 && replay_compares_groups(replay))
            return "one slot of a group is left, and it was not dropped";
    }
    return NULL;
}

/* What only the learner knows has to agree with what was recorded before. */
static const char *replay_chain_fault(const struct replay *replay,
                                      const struct record_step *step)
{
    if (!replay->has_start)
        return "no record says what version 0 is";
    if (step->checkpoint_version < replay->checkpoint ||
        step->checkpoint_version > step->version)
        return "checkpoint_version is older than one before, or newer than the step";
    return replay_breaker_fault(replay, &step->weights);
}

static enum err_code replay_commit(struct replay *replay, struct replay_batch *batch,
                                   const struct record_step *step, struct err *err)
{
    for (uint32_t b = 0; b < replay->B; b++) {
        struct replay_slot *slot = &batch->slot[b];
        if (slot->state == REPLAY_SCORED) {
            slot->state = replay->skipped ? REPLAY_DROPPED : REPLAY_TRAINED;
            slot->reason = replay->skipped ? replay->reason : RECORD_REASON_NONE;
        }
        replay->sum.trained += slot->state == REPLAY_TRAINED;
        replay->sum.dropped += slot->state == REPLAY_DROPPED;
    }
    replay->sum.steps++;
    replay->sum.slots += replay->B;
    replay->states = replay->next;
    replay->weights = step->weights;
    replay_breaker_keep(replay, step->version, &step->weights);
    replay_kl_keep(replay, step->version);
    replay->checkpoint = step->checkpoint_version;
    replay->stats_n = step->stats_n;
    if (step->stats_n > 0)
        memcpy(replay->stats, step->stats, step->stats_n * sizeof *step->stats);
    const struct replay_step done = {.step = batch->step,
                                     .slot = batch->slot,
                                     .slots = replay->B,
                                     .recorded = step,
                                     .derived = &replay->derived};
    const enum err_code rc =
        replay->ops.on_step ? replay->ops.on_step(replay->ops.ctx, &done, err) : ERR_OK;
    batch->step = REPLAY_NO_STEP;
    replay->trained++;
    replay_open_steps(replay);
    return rc;
}

static enum err_code replay_step(struct replay *replay, const struct record *record,
                                 struct err *err)
{
    const struct record_step *step = record->step;
    struct replay_batch *batch = replay_batch(replay, step->step);
    if (step->step != replay->trained || !batch)
        return replay_refuse(record, "it is not the one that follows", err);
    const char *fault = replay_step_fault(replay, batch);
    if (fault)
        return replay_refuse(record, fault, err);
    enum err_code rc = replay_derive(replay, batch, err);
    if (rc == ERR_OK)
        rc = replay_compare(replay, step, err);
    if (rc != ERR_OK)
        return rc;
    fault = replay_chain_fault(replay, step);
    return fault ? replay_refuse(record, fault, err) : replay_commit(replay, batch, step, err);
}

/* --- all of them -------------------------------------------------------------------------- */

static enum err_code replay_start(struct replay *replay, const struct record *record,
                                  struct err *err)
{
    if (replay->has_start || replay->trained > 0)
        return replay_refuse(record, "version 0 was told before", err);
    replay->has_start = true;
    replay->weights = record->hash;
    replay_breaker_keep(replay, 0, &record->hash);
    return ERR_OK;
}

/* Of the prompts; what the scorers were only their processes know. */
static enum err_code replay_identity(const struct replay *replay, const struct record *record,
                                     struct err *err)
{
    const struct core_prompts *prompts = &replay->prompts;
    struct hash part[3] = {0}, now;
    if (strcmp(record->id, "scorers") == 0)
        return ERR_OK;
    if (strcmp(record->id, "prompts") != 0)
        return replay_refuse(record, "it is of nothing that is known", err);
    hash_blake2b(&part[0], prompts->offset, (prompts->n + 1) * sizeof *prompts->offset);
    hash_blake2b(&part[1], prompts->ids, prompts->offset[prompts->n] * sizeof *prompts->ids);
    if (prompts->kind)
        hash_blake2b(&part[2], prompts->kind, prompts->n);
    hash_blake2b(&now, part, sizeof part);
    return memcmp(&now, &record->hash, sizeof now) == 0
               ? ERR_OK
               : replay_refuse(record, "the prompts are not those the run began with", err);
}

static enum err_code replay_checkpoint(struct replay *replay, const struct record *record,
                                       struct err *err)
{
    /* It may be older than what a STEP record told that was not durable then. */
    if (record->version == 0 || record->version > replay->trained)
        return replay_refuse(record, "version is one that was not trained", err);
    if (record->version > replay->checkpoint)
        replay->checkpoint = record->version;
    return ERR_OK;
}

enum err_code replay_record(struct replay *replay, const struct record *record, struct err *err)
{
    if (record->seq != replay->seq + 1)
        return replay_refuse(record, "seq does not follow: a record is missing before it", err);
    replay->seq = record->seq;
    switch (record->kind) {
    case RECORD_EPOCH:
        if (record->epoch != ++replay->epoch)
            return replay_refuse(record, "epoch is not one more than the one before", err);
        return ERR_OK;
    case RECORD_START: return replay_start(replay, record, err);
    case RECORD_IDENTITY: return replay_identity(replay, record, err);
    case RECORD_ROLLOUT:
    case RECORD_SCORE:
    case RECORD_DROP: return replay_of_item(replay, record, err);
    case RECORD_STEP: return replay_step(replay, record, err);
    case RECORD_CHECKPOINT: return replay_checkpoint(replay, record, err);
    case RECORD_PAUSE:
    case RECORD_EVENT: return ERR_OK;
    case RECORD_NONE:
    default: return replay_refuse(record, "it is of no known kind", err);
    }
}

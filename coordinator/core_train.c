/* core_train.c -- the learner's lease and result; the commit of a step. */
#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "coordinator/core.h"
#include "coordinator/core_state.h"

struct hash *core_train_hash(const struct core *core, uint64_t version)
{
    return &core->version_hash[version % ((uint64_t)core->ring + 1)];
}

static bool core_train_same_hash(const struct hash *a, const struct hash *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

void core_train_other_weights(uint64_t version, const struct hash *now,
                              const struct hash *recorded, char *text, size_t size)
{
    char was[HASH_HEX_BYTES], is[HASH_HEX_BYTES];
    hash_hex(recorded, was);
    hash_hex(now, is);
    snprintf(text, size, "its weights of version %llu are %.16s..., the record says %.16s...",
             (unsigned long long)version, is, was);
}

/* What the record says of this version's weights; NULL: it is in the ledger alone. */
static const struct hash *core_train_recorded(const struct core *core, uint64_t version)
{
    if (version <= core->trained && version + core->ring >= core->trained)
        return core_train_hash(core, version);
    return version > 0 ? core_recall_result(core, version - 1) : NULL;
}

void core_train_halt(struct core *core, const char *text)
{
    core_event(core, LOG_LEVEL_ERROR, "HALT", "%s", text);
    core_finish(core, CORE_EXIT_HALT, text);
}

static void core_train_not_reproducible(struct core *core, const struct core_peer *peer,
                                        uint64_t step, const struct hash *recorded,
                                        const struct hash *now)
{
    char was[HASH_HEX_BYTES], is[HASH_HEX_BYTES], text[WIRE_TEXT_MAX];
    hash_hex(recorded, was);
    hash_hex(now, is);
    snprintf(text, sizeof text,
             "not reproducible: step %llu trained again by %s gave weights %.16s..., the "
             "record says %.16s...",
             (unsigned long long)step, peer->name, is, was);
    core_train_halt(core, text);
}

void core_train_checkpoint(struct core *core, uint64_t version)
{
    if (version > core->checkpoint_version)
        core->checkpoint_version = version;
    if (core_bug(core, 8))
        core->checkpoint_version = core->trained;
}

/* --- HELLO ---------------------------------------------------------------------------- */

/* The first learner of a run says what version 0 is. */
static void core_train_record_start(struct core *core, const struct hash *weights)
{
    core->has_start = true;
    *core_train_hash(core, 0) = *weights;
    core_append(core, &(struct record){.kind = RECORD_START, .hash = *weights});
}

const char *core_train_greet(struct core *core, const struct message *hello, char *text,
                             size_t size)
{
    const uint64_t version = hello->version;
    if (!hello->has_hash)
        return "a learner's HELLO must name the version and hash of the weights it holds";
    const struct core_batch *next = core_item_batch(core, core->trained);
    const bool ahead = version == core->trained + 1 && next && next->shaped;
    if (version > core->trained && !ahead) {
        snprintf(text, size,
                 "it holds version %llu, but the run has trained %llu steps: is it another "
                 "run's checkpoint?",
                 (unsigned long long)version, (unsigned long long)core->trained);
        return text;
    }
    if (version == 0 && !core->has_start) {
        core_train_record_start(core, &hello->hash);
        return NULL;
    }
    const struct hash *recorded = NULL; /* or what a step that trains on nothing ends with */
    if (!ahead)
        recorded = core_train_recorded(core, version);
    else if (next->skipped)
        recorded = core_rollback_expects(core, next);
    if (!recorded || core_train_same_hash(recorded, &hello->hash))
        return NULL;
    core_train_other_weights(version, &hello->hash, recorded, text, size);
    return text;
}

/* --- the lease ------------------------------------------------------------------------ */

static enum err_code core_train_payload(struct core *core, const struct core_batch *batch,
                                        struct message *message, struct err *err)
{
    size_t ids = 0, tokens = 0;
    uint32_t n = 0;
    for (uint32_t i = 0; i < core->B; i++) {
        const struct core_item *item = &batch->items[i];
        if (item->state == CORE_ITEM_DROPPED || (batch->skipped && !core_bug(core, 20)))
            continue;
        const uint32_t prompt = core_item_prompt_tokens(core, item->prompt);
        memcpy(core->out_ids + ids, core->prompts.ids + core->prompts.offset[item->prompt],
               prompt * sizeof(int32_t));
        memcpy(core->out_ids + ids + prompt, item->ids, item->tokens * sizeof(int32_t));
        memcpy(core->out_logp + tokens, item->logp, item->tokens * sizeof(float));
        memcpy(core->out_ref + tokens, item->ref, item->tokens * sizeof(float));
        enum err_code rc = core_shape_tokens(core, batch, item, core->out_reward + tokens, err);
        if (rc == ERR_OK && core->out_cost)
            rc = core_cost_tokens(core, batch, item, core->out_cost + tokens, err);
        if (rc != ERR_OK)
            return rc;
        core->out_items[n++] = core_item_wire(core, item);
        ids += prompt + item->tokens;
        tokens += item->tokens;
    }
    message->items = core->out_items;
    message->items_n = n;
    message->frames_n = core->out_cost ? 5 : 4;
    message->frame[0] = (struct wire_bytes){core->out_ids, ids * sizeof(int32_t)};
    message->frame[1] = (struct wire_bytes){core->out_logp, tokens * sizeof(float)};
    message->frame[2] = (struct wire_bytes){core->out_reward, tokens * sizeof(float)};
    message->frame[3] = (struct wire_bytes){core->out_ref, tokens * sizeof(float)};
    if (core->out_cost)
        message->frame[4] = (struct wire_bytes){core->out_cost, tokens * sizeof(float)};
    return ERR_OK;
}

/* A lease to each: who is idle has none. */
static void core_train_issue(struct core *core, struct core_peer *const *group, uint32_t ranks,
                             uint64_t step, struct core_lease *lease[WIRE_RANKS_MAX])
{
    for (uint32_t rank = 0; rank < ranks; rank++) {
        lease[rank] = core_lease_issue(core, CORE_LEASE_TRAIN, group[rank]);
        lease[rank]->items = 1;
        lease[rank]->step = step;
        lease[rank]->attempt = lease[0]->id;
        lease[rank]->ranks = ranks;
        lease[rank]->rank = rank;
        group[rank]->attempt = lease[0]->id;
        group[rank]->in_flight++;
        core_peer_moved(core, group[rank]);
    }
    core->attempt = lease[0]->id;
}

static void core_train_name_ranks(struct core *core, struct core_peer *const *group,
                                  uint32_t ranks)
{
    for (uint32_t rank = 0; rank < ranks; rank++) {
        struct wire_rank *out = &core->out_ranks[rank];
        memcpy(out->name, group[rank]->name, sizeof out->name);
        memcpy(out->endpoint, group[rank]->endpoint, sizeof out->endpoint);
    }
}

void core_train_send(struct core *core, struct core_peer *const *group, uint32_t ranks,
                     const struct core_batch *batch)
{
    const uint64_t step = batch->step;
    const bool in_loss = core->config->kl_place == RUN_KL_PLACE_LOSS;
    const bool last = step + 1 == core->config->steps;
    const bool checkpoint = last || (step + 1) % core->config->checkpoint_every == 0 ||
                            core_rollback_is_restore_point(core, step + 1) ||
                            ((core->draining || core->checkpoint_asked) &&
                             step == core->trained) ||
                            core->opened == core->trained;
    struct message message = {
        .type = MESSAGE_TRAIN_LEASE,
        .step = step,
        .behaviour_version = plan_policy_version(step, core->config->lag),
        .lease_ms = core->config->lease_ms,
        .kl_coef = in_loss ? batch->beta : 0.0,
        .multiplier = batch->result.multiplier_after,
    };
    core_rollback_lease(core, batch, &message);
    struct err err;
    if (core_train_payload(core, batch, &message, &err) != ERR_OK) {
        char text[WIRE_TEXT_MAX];
        snprintf(text, sizeof text, "step %llu: %.200s", (unsigned long long)step, err.text);
        core_train_halt(core, text);
        return;
    }
    struct core_lease *lease[WIRE_RANKS_MAX] = {0};
    core_train_issue(core, group, ranks, step, lease);
    core_train_name_ranks(core, group, ranks);
    message.attempt = core->attempt;
    message.ranks_n = ranks > 1 ? ranks : 0;
    message.ranks = ranks > 1 ? core->out_ranks : NULL;
    for (uint32_t rank = 0; rank < ranks; rank++) {
        core->out = message;
        core->out.lease = lease[rank]->id;
        core->out.rank = rank;
        core->out.checkpoint = rank == 0 && checkpoint; /* one writes for all */
        core->out.last = rank == 0 && last;
        core_peer_send(core, group[rank], &core->out);
    }
}

/* Shape the next step as soon as it can be. */
static void core_train_shape(struct core *core)
{
    struct core_batch *batch = core_item_batch(core, core->trained);
    if (!batch || batch->shaped || !core_shape_ready(core, batch))
        return;
    struct err err;
    if (core_shape_batch(core, batch, &err) != ERR_OK)
        core_train_halt(core, err.text);
}

void core_train_advance(struct core *core)
{
    if (core->commit_seq != 0 && core_durable(core, core->commit_seq))
        core_train_commit(core, core_item_batch(core, core->trained));
    if (core->finished || core->commit_seq != 0)
        return;
    core_item_open_steps(core);
    core_train_shape(core);
    if (core->finished || !core_working(core))
        return;

    if (core->draining && core->checkpoint_version == core->trained &&
        !core_group_is_training(core)) {
        core_finish(core, 0, "drained: the run can be continued");
        return;
    }
    core_group_dispatch(core);
}

/* --- the result ----------------------------------------------------------------------- */

static void core_train_note_stats(struct core *core, const struct message *message)
{
    for (uint32_t i = 0; i < message->stats_n; i++) {
        const struct wire_stat *stat = &message->stats[i];
        /* >= would be false while nothing was told: NaN */
        if (strcmp(stat->name, "logp_diff_max") == 0 &&
            !(stat->value <= core->counters.logp_diff_max))
            core->counters.logp_diff_max = stat->value;
        if (strcmp(stat->name, "logp_diff_max") == 0 && !(stat->value <= 0))
            core_event(
                core, LOG_LEVEL_ERROR, "LOGP-DIFFERS",
                "step %llu: log-probs of actor and learner are %g nats apart, which must "
                "be 0: their weights, files or machines are not the same",
                (unsigned long long)message->step, stat->value);
    }
}

/* Step `trained` is done: one record for all that follows from it. */
static void core_train_append(struct core *core, struct core_batch *batch,
                              const struct hash *weights, uint64_t checkpoint,
                              const struct wire_stat *stats, uint32_t stats_n)
{
    struct record_step *result = &batch->result;
    result->weights = *weights;
    result->checkpoint_version =
        checkpoint > core->checkpoint_version ? checkpoint : core->checkpoint_version;
    result->duration_ms = core->now_ms - core->step_ms;
    if (stats_n > 0)
        memcpy(core->commit_stats, stats, stats_n * sizeof *stats);
    if (batch->skipped)
        core_breaker_tell(core, batch);
    core_kl_reference_tell(core, batch);
    result->stats = core->commit_stats;
    result->stats_n = stats_n;
    core->commit_seq = core_append(core, &(struct record){.kind = RECORD_STEP, .step = result});
}

void core_train_commit(struct core *core, struct core_batch *batch)
{
    assert(batch->shaped && batch->step == core->trained);
    for (uint32_t i = 0; i < core->B; i++) {
        struct core_item *item = &batch->items[i];
        if (item->state == CORE_ITEM_DROPPED)
            continue;
        assert(item->state == CORE_ITEM_SHAPED);
        core_item_move(core, item, batch->skipped ? CORE_ITEM_DROPPED : CORE_ITEM_TRAINED);
        if (batch->skipped) {
            item->reason = batch->reason;
            core->dropped[item->reason]++;
        }
    }
    if (!core_bug(core, 11) || !core->replaying)
        core->kl_state = batch->kl_after;
    core->chain_state = batch->chain_after;
    core->lagrange_state = batch->lagrange_after;
    core->breaker_state = batch->breaker_after;
    for (uint32_t s = 0; s < core->config->scorers; s++)
        core->score_missing[s] += batch->result.score_missing[s];
    core->commit_seq = 0;
    core->train_fails = core->group_fails = 0;
    core->trained++;
    core->step_ms = core->now_ms;
    *core_train_hash(core, core->trained) = batch->result.weights;
    core_kl_reference_commit(core, batch);
    core_rollback_commit(core, batch);
    core_train_checkpoint(core, batch->result.checkpoint_version);
    if (core->checkpoint_version == core->trained)
        core->checkpoint_asked = false;
    core->last = batch->result;
    core->has_last = true;
    if (core->last.stats_n > 0)
        memcpy(core->last_stats, batch->result.stats,
               core->last.stats_n * sizeof core->last_stats[0]);
    core->last.stats = core->last_stats;
    if (core->replaying)
        return;
    core->sink(core->user,
               &(struct core_effect){.kind = CORE_FX_STEP_DONE, .step = &core->last});
    if (core->trained == core->config->steps)
        core_finish(core, 0, "the run is complete");
}

/* The result of a step that is recorded, or on its way to be. */
static void core_train_compare(struct core *core, const struct core_peer *peer,
                               const struct message *message, bool leased)
{
    const struct core_batch *batch = core_item_batch(core, message->step);
    const struct hash *recorded = core_train_recorded(core, message->version);
    if (message->step == core->trained)
        recorded = batch ? &batch->result.weights : NULL;
    if (!recorded) /* held against the record before the next step is leased to it */
        recorded = &message->hash;
    if (!core_train_same_hash(recorded, &message->hash)) {
        core_train_not_reproducible(core, peer, message->step, recorded, &message->hash);
        return;
    }
    if (leased && message->version < core->trained)
        core->group_fails = 0;
    if (leased)
        core->counters.retrained++;
    else
        core->counters.duplicates++;
    if (message->checkpoint_version > core->checkpoint_version &&
        message->checkpoint_version <= core->trained) {
        core_train_checkpoint(core, message->checkpoint_version);
        core_append(core, &(struct record){.kind = RECORD_CHECKPOINT,
                                           .version = message->checkpoint_version});
    }
}

static bool core_train_settle_lease(struct core *core, const struct core_peer *peer,
                                    uint64_t step)
{
    for (size_t i = 0; i < core->leases_n; i++) {
        struct core_lease *lease = &core->leases[i];
        if (lease->id != 0 && lease->kind == CORE_LEASE_TRAIN && lease->step == step &&
            lease->peer == core_peer_index(core, peer)) {
            core_lease_return(core, lease);
            return true;
        }
    }
    return false;
}

void core_train_result(struct core *core, struct core_peer *peer, const struct message *message)
{
    struct core_batch *batch = core_item_batch(core, core->trained);
    const bool possible = message->version == message->step + 1 && message->has_hash &&
                          message->checkpoint_version <= message->version &&
                          (message->step < core->trained ||
                           (message->step == core->trained && batch && batch->shaped));
    if (!possible) {
        core->counters.refused++;
        core_log(
            core, LOG_LEVEL_ERROR, "TRAIN-REFUSED",
            "%s sent a result for step %llu, version %llu, checkpoint %llu, while step "
            "%llu is to be trained",
            peer->name, (unsigned long long)message->step, (unsigned long long)message->version,
            (unsigned long long)message->checkpoint_version, (unsigned long long)core->trained);
        return;
    }
    const bool leased = core_train_settle_lease(core, peer, message->step);
    peer->failures = 0;
    peer->items_done++;
    core_train_note_stats(core, message);
    if (message->version >= peer->version) {
        peer->version = message->version;
        peer->hash = message->hash;
    }
    if (message->step < core->trained || core->commit_seq != 0)
        core_train_compare(core, peer, message, leased);
    else if (batch->skipped &&
             !core_train_same_hash(core_rollback_expects(core, batch), &message->hash))
        core_train_not_reproducible(core, peer, message->step,
                                    core_rollback_expects(core, batch), &message->hash);
    else if (core_group_agrees(core, peer, message) &&
             (message->rank == 0 || core_bug(core, 17)))
        /* The others have trained too; what the lease asked for besides is rank 0's. */
        core_train_append(core, batch, &message->hash, message->checkpoint_version,
                          message->stats, message->stats_n);
}

void core_train_lease_failed(struct core *core, struct core_peer *peer,
                             struct core_lease *lease, const char *reason)
{
    const uint64_t step = lease->step;
    const bool grouped = lease->ranks > 1;
    core_group_abandon(core, lease->attempt);
    struct core_batch *batch = core_item_batch(core, core->trained);
    const bool done_before = reason && step == core->trained && core->commit_seq == 0 &&
                              batch && batch->shaped && peer->version == step + 1;
    if (done_before && !grouped) {
        /* It trained this step in an earlier life and no longer has the numbers: what its
         * HELLO said of the weights stands.  What it trained on was durable then.  One that has
         * not answered yet may have a checkpoint to write, or the final model. */
        core_train_append(core, batch, &peer->hash, 0, NULL, 0);
        return;
    }
    if (grouped) /* whose fault it is shows when each is alone */
        core->group_fails++;
    if (grouped || !reason || ++core->train_fails < CORE_TRAIN_FAILS_MAX)
        return;
    char text[WIRE_TEXT_MAX];
    snprintf(text, sizeof text, "%s cannot train step %llu: %.160s", peer->name,
             (unsigned long long)step, reason);
    core_train_halt(core, text);
}

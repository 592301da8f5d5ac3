/* sim_check.c -- what must hold of each record and of each message that the coordinator sends,
 * by the definitions of their keys and from what was recorded before. */
#include <math.h>
#include <string.h>

#include "coordinator/core_state.h"
#include "tests/sim/sim.h"

/* By the definition of safety.cost, from what was recorded before. */
static void sim_check_cost(struct sim *sim, const struct record_step *step)
{
    const struct run_config *config = sim->config;
    double sum = 0.0, n = 0.0;
    for (uint32_t b = 0; b < config->batch; b++) {
        const size_t at = *sim_disk_index(sim, RECORD_SCORE, WIRE_WORK_ROLLOUT, step->step, b);
        if (at == 0 || *sim_disk_index(sim, RECORD_DROP, WIRE_WORK_ROLLOUT, step->step, b) != 0)
            continue;
        const double raw =
            config->scorer[SIM_COST].weight * sim->records[at - 1].record.scores[SIM_COST];
        sum += config->safety_cost == RUN_SAFETY_COST_SCORE ? raw : 1.0 / (1.0 + exp(-raw));
        n += 1.0;
    }
    const bool costs = config->scorer[SIM_COST].role == RUN_ROLE_COST;
    if (costs ? !(fabs(step->cost_raw_mean - sum / n) < 1e-12) : !isnan(step->cost_raw_mean))
        sim_fail(sim, "step %llu has a mean cost of %g, its slots cost %g in the mean",
                 (unsigned long long)step->step, step->cost_raw_mean, sum / n);
}

/* What the breaker has to make of the steps so far, by the definitions of its limits. */
struct sim_tree {
    bool ours[SIM_STEPS_MAX + 1]; /* the version is an ancestor of the present one */
    int64_t good;                 /* the newest that broke no limit; -1: none */
    double told;                  /* by the step before; 0: nothing */
};

/* The newest ancestor that is good and can be gone back to. */
static uint64_t sim_check_tree_target(const struct sim *sim, const struct sim_tree *tree)
{
    int64_t v = tree->good;
    while (v > 0 && (!tree->ours[v] || (uint64_t)v % sim->config->breaker_restore_every != 0))
        v--;
    return (uint64_t)v;
}

static void sim_check_tree_expect(struct sim *sim, const struct record_step *step,
                                  enum record_reason reason, const struct hash *weights)
{
    bool fits = (reason == RECORD_REASON_NONE) == (step->trained > 0);
    for (int r = RECORD_REASON_QUARANTINED; r <= RECORD_REASON_ROLLED_BACK; r++)
        fits = fits && (step->dropped[r] > 0) == (r == (int)reason);
    if (!fits || (weights && memcmp(weights, &step->weights, sizeof *weights) != 0))
        sim_fail(sim,
                 "step %llu, mean reward %g: not what the breaker makes of it (%s): %u slots "
                 "trained",
                 (unsigned long long)step->step, step->reward_raw_mean,
                 record_reason_name(reason), (unsigned)step->trained);
}

static void sim_check_tree_step(struct sim *sim, struct sim_tree *tree,
                                const struct record_step *step, const struct wire_stat *stat)
{
    const uint64_t s = step->step, lag = sim->config->lag, b = s > lag ? s - lag : 0;
    const bool breaks = sim->config->limits > 0 && step->reward_raw_mean > SIM_REWARD_HIGH;
    const bool back = run_config_rolls_back(sim->config) && tree->told > SIM_GRAD_HIGH;
    if (!tree->ours[b]) {
        sim_check_tree_expect(sim, step, RECORD_REASON_ROLLED_BACK, &sim->trained[s]);
    } else if (back) {
        const uint64_t target = sim_check_tree_target(sim, tree);
        sim_check_tree_expect(sim, step, RECORD_REASON_QUARANTINED, &sim->trained[target]);
        for (uint64_t v = target + 1; v <= s; v++)
            tree->ours[v] = false;
    } else if (breaks) {
        sim_check_tree_expect(sim, step, RECORD_REASON_QUARANTINED, &sim->trained[s]);
    } else {
        sim_check_tree_expect(sim, step, RECORD_REASON_NONE, NULL);
        tree->good = (int64_t)b;
    }
    tree->ours[s + 1] = true;
    tree->told = stat ? stat->value : 0.0;
}

/* By the definition of reward.combine maxmin, from what was recorded before. */
static void sim_check_group(struct sim *sim, const struct record_step *step)
{
    const struct run_config *config = sim->config;
    double least = HUGE_VAL;
    uint32_t worst = 0;
    for (uint32_t s = 0; s < SIM_SCORERS && config->combine == RUN_COMBINE_MAXMIN; s++) {
        double sum = 0.0, n = 0.0;
        for (uint32_t b = 0; b < config->batch; b++) {
            const size_t at =
                *sim_disk_index(sim, RECORD_SCORE, WIRE_WORK_ROLLOUT, step->step, b);
            if (at == 0 ||
                *sim_disk_index(sim, RECORD_DROP, WIRE_WORK_ROLLOUT, step->step, b) != 0)
                continue;
            sum += config->scorer[s].weight * sim->records[at - 1].record.scores[s];
            n += 1.0;
        }
        if (config->scorer[s].role != RUN_ROLE_REWARD || sum / n >= least)
            continue;
        least = sum / n;
        worst = s + 1;
    }
    if (step->worst_group != worst ||
        (worst > 0 && !(fabs(step->reward_raw_mean - least) < 1e-12)))
        sim_fail(sim, "step %llu trains on scorer %u, mean %g; the least is %u's, %g",
                 (unsigned long long)step->step, (unsigned)step->worst_group,
                 step->reward_raw_mean, (unsigned)worst, least);
}

static void sim_check_breaker(struct sim *sim, const struct record_step *step)
{
    struct sim_tree tree = {.ours = {true}, .good = -1};
    for (uint64_t s = 0; s < step->step && s < sim->steps_recorded; s++) {
        const struct sim_record *past = &sim->records[sim->step_index[s] - 1];
        sim_check_tree_step(sim, &tree, &past->step,
                            past->step.stats_n > 0 ? &past->stat : NULL);
    }
    sim_check_tree_step(sim, &tree, step, step->stats_n > 0 ? &step->stats[0] : NULL);
}

void sim_check_record(struct sim *sim, const struct record *record)
{
    if (record->kind == RECORD_STEP) {
        sim_check_cost(sim, record->step);
        sim_check_breaker(sim, record->step);
        sim_check_group(sim, record->step);
        sim_reference_check_step(sim, record->step);
        if (record->step->checkpoint_version > sim->checkpoint_version)
            sim_fail(sim, "step %llu names checkpoint %llu, which is not there",
                     (unsigned long long)record->step->step,
                     (unsigned long long)record->step->checkpoint_version);
    }
    if (record->seq != sim->records_n + 1)
        sim_fail(sim, "record %llu after record %zu", (unsigned long long)record->seq,
                 sim->records_n);
    if (record->kind == RECORD_STEP && record->step->step != sim->steps_recorded)
        sim_fail(sim, "step %llu is recorded after %llu steps",
                 (unsigned long long)record->step->step,
                 (unsigned long long)sim->steps_recorded);
    if (record->kind != RECORD_ROLLOUT && record->kind != RECORD_SCORE &&
        record->kind != RECORD_DROP)
        return;
    const bool slot = record->work == WIRE_WORK_ROLLOUT;
    if (slot && record->kind == RECORD_SCORE)
        sim_reference_check_score(sim, record);
    if (*sim_disk_index(sim, record->kind, record->work, record->a, record->b) ||
        *sim_disk_index(sim, RECORD_DROP, record->work, record->a, record->b))
        sim_fail(sim, "a second %s, or one after a drop, of %s %llu/%u",
                 record_kind_name(record->kind), slot ? "slot" : "reference",
                 (unsigned long long)record->a, (unsigned)record->b);
    if (slot && record->a < sim->steps_recorded)
        sim_fail(sim, "a %s of step %llu, which is over", record_kind_name(record->kind),
                 (unsigned long long)record->a);
}

static void sim_check_train_lease(struct sim *sim, const struct message *lease)
{
    const int32_t *ids = lease->frame[0].data;
    size_t at = 0;
    const bool costs = sim->config->safety_controller != RUN_SAFETY_CONTROLLER_NONE;
    if (lease->frames_n != (costs ? 5 : 4) || (!costs && lease->multiplier != 0.0))
        sim_fail(sim, "the train lease of step %llu has %u frames, multiplier %g",
                 (unsigned long long)lease->step, (unsigned)lease->frames_n, lease->multiplier);
    const uint64_t lag = sim->config->lag;
    const uint64_t version = lease->step > lag ? lease->step - lag : 0;
    for (uint32_t i = 0; i < lease->items_n; i++) {
        const struct wire_item *item = &lease->items[i];
        const struct record *rollout =
            sim_disk_durable(sim, RECORD_ROLLOUT, item->kind, item->a, item->b);
        const struct record *score =
            sim_disk_durable(sim, RECORD_SCORE, item->kind, item->a, item->b);
        const float *logp = (const float *)lease->frame[1].data + at;
        const float *ref = (const float *)lease->frame[3].data + at;
        const size_t n = item->response_tokens;
        ids += item->prompt_tokens;
        if (item->a != lease->step || !rollout || !score || rollout->version != version ||
            rollout->response_tokens != n || memcmp(ids, rollout->ids, n * 4) != 0 ||
            memcmp(logp, rollout->logprobs, n * 4) != 0 ||
            memcmp(ref, score->reference, n * 4) != 0)
            sim_fail(sim, "the train lease of step %llu is not what is durable of slot %u",
                     (unsigned long long)lease->step, (unsigned)item->b);
        ids += n;
        at += n;
    }
    const uint64_t staleness = lease->step - lease->behaviour_version;
    if (staleness > lag || lease->behaviour_version != version)
        sim_fail(sim, "step %llu is trained on rollouts of version %llu, the lag is %llu",
                 (unsigned long long)lease->step, (unsigned long long)lease->behaviour_version,
                 (unsigned long long)lag);
    else
        sim->staleness[staleness] += lease->items_n;
}

/* Learners that catch up, or go on, do so together: from where the last of them is. */
static void sim_check_together(struct sim *sim, const struct message *lease)
{
    for (size_t i = 0; i < sim->core->peers_n; i++) {
        const struct core_peer *peer = &sim->core->peers[i];
        if (peer->role == WIRE_ROLE_LEARNER && peer->state != CORE_PEER_GONE &&
            peer->version < lease->step)
            sim_fail(sim, "step %llu is leased while %s is at version %llu",
                     (unsigned long long)lease->step, peer->name,
                     (unsigned long long)peer->version);
    }
}

void sim_check_sent(struct sim *sim, const struct message *message)
{
    if (message->session == 0 && message->type != MESSAGE_RESET)
        sim_fail(sim, "%s is sent in no session", message_type_name(message->type));
    if (message->type == MESSAGE_TRAIN_LEASE) {
        sim_check_train_lease(sim, message);
        sim_check_together(sim, message);
        if (message->attempt < sim->attempt)
            sim_fail(sim, "attempt %llu comes after attempt %llu",
                     (unsigned long long)message->attempt, (unsigned long long)sim->attempt);
        sim->attempt = message->attempt;
        sim->groups += message->ranks_n > 0 && message->rank == 0;
    }
    if (message->type != MESSAGE_SCORE_LEASE)
        return;
    sim_reference_check_lease(sim, message);
    for (uint32_t i = 0; i < message->items_n; i++) {
        const struct wire_item *item = &message->items[i];
        if (!sim_disk_durable(sim, RECORD_ROLLOUT, item->kind, item->a, item->b))
            sim_fail(sim, "%llu/%u is to be scored before it is durable",
                     (unsigned long long)item->a, (unsigned)item->b);
    }
}

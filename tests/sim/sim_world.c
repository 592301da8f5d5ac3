/* sim_world.c -- chance, the network, the disk, the coordinator's life, one run. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/core_state.h"
#include "tests/sim/sim.h"

#define SIM_CALM_MS 600000 /* after the faults the run must finish within */

/* --- chance ------------------------------------------------------------------------------- */

uint64_t sim_mix(uint64_t x) /* splitmix64's finaliser: Steele, Lea, Flood, 2014 */
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

uint64_t sim_random(struct sim *sim, uint64_t n)
{
    sim->rng = sim_mix(sim->rng);
    return sim->rng % n;
}

bool sim_chance(struct sim *sim, uint32_t per_mille)
{
    return per_mille > 0 && sim_random(sim, 1000) < per_mille;
}

bool sim_faulty(const struct sim *sim)
{
    return sim->now_ms < sim->faults_until_ms;
}

void sim_fail(struct sim *sim, const char *format, ...)
{
    if (sim->failed)
        return;
    va_list args;
    va_start(args, format);
    vsnprintf(sim->why, sizeof sim->why, format, args);
    va_end(args);
    sim->failed = true;
}

/* --- messages and events ------------------------------------------------------------------ */

struct sim_message *sim_message_copy(const struct message *message)
{
    size_t bytes = sizeof(struct sim_message) + message->items_n * sizeof(struct wire_item) +
                   message->stats_n * sizeof(struct wire_stat) +
                   message->ranks_n * sizeof(struct wire_rank);
    for (uint32_t f = 0; f < message->frames_n; f++)
        bytes += (message->frame[f].size + 7) / 8 * 8;
    struct sim_message *copy = malloc(bytes);
    if (!copy)
        abort();
    unsigned char *at = (unsigned char *)(copy + 1);
    copy->message = *message;
    copy->message.items = (struct wire_item *)at;
    if (message->items_n > 0)
        memcpy(at, message->items, message->items_n * sizeof(struct wire_item));
    at += message->items_n * sizeof(struct wire_item);
    for (uint32_t f = 0; f < message->frames_n; f++) {
        if (message->frame[f].size > 0)
            memcpy(at, message->frame[f].data, message->frame[f].size);
        copy->message.frame[f].data = at;
        at += (message->frame[f].size + 7) / 8 * 8;
    }
    copy->message.stats = (struct wire_stat *)at;
    if (message->stats_n > 0)
        memcpy(at, message->stats, message->stats_n * sizeof(struct wire_stat));
    at += message->stats_n * sizeof(struct wire_stat);
    copy->message.ranks = (struct wire_rank *)at;
    if (message->ranks_n > 0)
        memcpy(at, message->ranks, message->ranks_n * sizeof(struct wire_rank));
    return copy;
}

static bool sim_earlier(const struct sim_event *a, const struct sim_event *b)
{
    return a->at_ms < b->at_ms || (a->at_ms == b->at_ms && a->order < b->order);
}

static void sim_post(struct sim *sim, struct sim_event event)
{
    event.order = ++sim->order;
    if (sim->heap_n == sim->heap_cap) {
        sim->heap_cap = sim->heap_cap ? 2 * sim->heap_cap : 256;
        sim->heap = realloc(sim->heap, sim->heap_cap * sizeof *sim->heap);
        if (!sim->heap)
            abort();
    }
    size_t i = sim->heap_n++;
    for (; i > 0 && sim_earlier(&event, &sim->heap[(i - 1) / 2]); i = (i - 1) / 2)
        sim->heap[i] = sim->heap[(i - 1) / 2];
    sim->heap[i] = event;
}

static struct sim_event sim_take(struct sim *sim)
{
    const struct sim_event first = sim->heap[0];
    const struct sim_event last = sim->heap[--sim->heap_n];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= sim->heap_n)
            break;
        if (child + 1 < sim->heap_n && sim_earlier(&sim->heap[child + 1], &sim->heap[child]))
            child++;
        if (!sim_earlier(&sim->heap[child], &last))
            break;
        sim->heap[i] = sim->heap[child];
        i = child;
    }
    sim->heap[i] = last;
    return first;
}

/* One message on its way, or none, or two. */
static void sim_carry(struct sim *sim, struct sim_event event, const struct message *message)
{
    const bool faulty = sim_faulty(sim);
    const int copies = !faulty                             ? 1
                       : sim_chance(sim, sim->rates.drop)  ? 0
                       : sim_chance(sim, sim->rates.twice) ? 2
                                                           : 1;
    for (int i = 0; i < copies; i++) {
        event.at_ms = sim->now_ms + 1 + sim_random(sim, faulty ? 15 : 4);
        if (faulty && sim_chance(sim, sim->rates.slow))
            event.at_ms += sim_random(sim, 1500);
        event.message = sim_message_copy(message);
        sim_post(sim, event);
    }
}

void sim_send(struct sim *sim, int worker, struct message *message)
{
    const struct sim_event event = {.kind = SIM_TO_COORDINATOR,
                                    .address = sim->workers[worker].address};
    sim_carry(sim, event, message);
}

void sim_post_gone(struct sim *sim, uint64_t address)
{
    sim_post(sim, (struct sim_event){.at_ms = sim->now_ms + sim_random(sim, 300),
                                     .kind = SIM_GONE,
                                     .address = address});
}

/* --- the disk ----------------------------------------------------------------------------- */

size_t *sim_index(struct sim *sim, enum record_kind kind, enum wire_work work, uint64_t a,
                  uint32_t b)
{
    const int k = kind == RECORD_ROLLOUT ? 0 : kind == RECORD_SCORE ? 1 : 2;
    return &sim->index[k][work == WIRE_WORK_REFERENCE][a][b];
}

const struct record *sim_durable(const struct sim *sim, enum record_kind kind,
                                 enum wire_work work, uint64_t a, uint32_t b)
{
    const size_t at = *sim_index((struct sim *)sim, kind, work, a, b);
    return at > 0 && at <= sim->durable_n ? &sim->records[at - 1].record : NULL;
}

bool sim_step_durable(const struct sim *sim, uint64_t step)
{
    return sim->step_index[step] > 0 && sim->step_index[step] <= sim->durable_n;
}

static const void *sim_keep(unsigned char **at, const void *bytes, size_t size)
{
    if (!bytes)
        return NULL;
    memcpy(*at, bytes, size);
    const void *kept = *at;
    *at += (size + 7) / 8 * 8;
    return kept;
}

static void sim_record_copy(struct sim_record *out, const struct record *record)
{
    out->block = malloc(1024 + SIM_TOKENS * 16 + SIM_SCORERS * 8);
    if (!out->block)
        abort();
    unsigned char *at = out->block;
    out->record = *record;
    const size_t n = record->response_tokens;
    out->record.ids = sim_keep(&at, record->ids, n * sizeof(int32_t));
    out->record.logprobs = sim_keep(&at, record->logprobs, n * sizeof(float));
    out->record.reference = sim_keep(&at, record->reference, n * sizeof(float));
    out->record.scores = sim_keep(&at, record->scores, record->scorers * sizeof(double));
    out->record.worker = sim_keep(&at, record->worker, strlen(record->worker) + 1);
    out->record.text = NULL;
    if (record->kind != RECORD_IDENTITY) /* whose id is a constant */
        out->record.id = NULL;
    if (record->step) {
        out->step = *record->step;
        if (record->step->stats_n > 0)
            out->stat = record->step->stats[0];
    }
}

/* By the definition of safety.cost, from what was recorded before. */
static void sim_check_cost(struct sim *sim, const struct record_step *step)
{
    const struct run_config *config = sim->config;
    double sum = 0.0, n = 0.0;
    for (uint32_t b = 0; b < config->batch; b++) {
        const size_t at = *sim_index(sim, RECORD_SCORE, WIRE_WORK_ROLLOUT, step->step, b);
        if (at == 0 || *sim_index(sim, RECORD_DROP, WIRE_WORK_ROLLOUT, step->step, b) != 0)
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
static uint64_t sim_tree_target(const struct sim *sim, const struct sim_tree *tree)
{
    int64_t v = tree->good;
    while (v > 0 && (!tree->ours[v] || (uint64_t)v % sim->config->breaker_restore_every != 0))
        v--;
    return (uint64_t)v;
}

static void sim_tree_expect(struct sim *sim, const struct record_step *step,
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

static void sim_tree_step(struct sim *sim, struct sim_tree *tree,
                          const struct record_step *step, const struct wire_stat *stat)
{
    const uint64_t s = step->step, lag = sim->config->lag, b = s > lag ? s - lag : 0;
    const bool breaks = sim->config->limits > 0 && step->reward_raw_mean > SIM_REWARD_HIGH;
    const bool back = run_config_rolls_back(sim->config) && tree->told > SIM_GRAD_HIGH;
    if (!tree->ours[b]) {
        sim_tree_expect(sim, step, RECORD_REASON_ROLLED_BACK, &sim->trained[s]);
    } else if (back) {
        const uint64_t target = sim_tree_target(sim, tree);
        sim_tree_expect(sim, step, RECORD_REASON_QUARANTINED, &sim->trained[target]);
        for (uint64_t v = target + 1; v <= s; v++)
            tree->ours[v] = false;
    } else if (breaks) {
        sim_tree_expect(sim, step, RECORD_REASON_QUARANTINED, &sim->trained[s]);
    } else {
        sim_tree_expect(sim, step, RECORD_REASON_NONE, NULL);
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
            const size_t at = *sim_index(sim, RECORD_SCORE, WIRE_WORK_ROLLOUT, step->step, b);
            if (at == 0 || *sim_index(sim, RECORD_DROP, WIRE_WORK_ROLLOUT, step->step, b) != 0)
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
        sim_tree_step(sim, &tree, &past->step, past->step.stats_n > 0 ? &past->stat : NULL);
    }
    sim_tree_step(sim, &tree, step, step->stats_n > 0 ? &step->stats[0] : NULL);
}

static void sim_check_record(struct sim *sim, const struct record *record)
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
    if (*sim_index(sim, record->kind, record->work, record->a, record->b) ||
        *sim_index(sim, RECORD_DROP, record->work, record->a, record->b))
        sim_fail(sim, "a second %s, or one after a drop, of %s %llu/%u",
                 record_kind_name(record->kind), slot ? "slot" : "reference",
                 (unsigned long long)record->a, (unsigned)record->b);
    if (slot && record->a < sim->steps_recorded)
        sim_fail(sim, "a %s of step %llu, which is over", record_kind_name(record->kind),
                 (unsigned long long)record->a);
}

static void sim_append(struct sim *sim, const struct record *record)
{
    sim_check_record(sim, record);
    if (sim->records_n == sim->records_cap) {
        sim->records_cap = sim->records_cap ? 2 * sim->records_cap : 256;
        sim->records = realloc(sim->records, sim->records_cap * sizeof *sim->records);
        if (!sim->records)
            abort();
    }
    sim_record_copy(&sim->records[sim->records_n++], record);
    if (record->kind == RECORD_ROLLOUT)
        sim->life_tokens += record->response_tokens;
    if (record->kind == RECORD_ROLLOUT || record->kind == RECORD_SCORE ||
        record->kind == RECORD_DROP)
        *sim_index(sim, record->kind, record->work, record->a, record->b) = sim->records_n;
    if (record->kind == RECORD_STEP) {
        sim->step_index[record->step->step] = sim->records_n;
        sim->steps_recorded = record->step->step + 1;
    }
    if (!sim->flush_due) {
        sim->flush_due = true;
        sim_post(sim, (struct sim_event){.at_ms = sim->now_ms + 1 + sim_random(sim, 20),
                                         .kind = SIM_FLUSH,
                                         .life = sim->life});
    }
}

/* A crash: of what was not durable, any first part may have reached the disk. */
static void sim_lose_tail(struct sim *sim)
{
    sim->durable_n += sim_random(sim, sim->records_n - sim->durable_n + 1);
    while (sim->records_n > sim->durable_n)
        free(sim->records[--sim->records_n].block);
    size_t *all = &sim->index[0][0][0][0];
    for (size_t i = 0; i < sizeof sim->index / sizeof *all; i++)
        if (all[i] > sim->durable_n)
            all[i] = 0;
    sim->steps_recorded = 0;
    for (size_t s = 0; s < SIM_STEPS_MAX; s++) {
        if (sim->step_index[s] > sim->durable_n)
            sim->step_index[s] = 0;
        sim->steps_recorded += sim->step_index[s] != 0;
    }
    sim->flush_due = false;
}

/* --- what the coordinator sends ----------------------------------------------------------- */

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
            sim_durable(sim, RECORD_ROLLOUT, item->kind, item->a, item->b);
        const struct record *score =
            sim_durable(sim, RECORD_SCORE, item->kind, item->a, item->b);
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

static void sim_check_sent(struct sim *sim, const struct message *message)
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
        if (!sim_durable(sim, RECORD_ROLLOUT, item->kind, item->a, item->b))
            sim_fail(sim, "%llu/%u is to be scored before it is durable",
                     (unsigned long long)item->a, (unsigned)item->b);
    }
}

static void sim_take_effect(struct sim *sim, const struct core_effect *effect)
{
    switch (effect->kind) {
    case CORE_FX_SEND:
        sim_second_sent(sim, effect->message);
        sim_slots_leased(sim, effect->message);
        sim_check_sent(sim, effect->message);
        sim_carry(sim, (struct sim_event){.kind = SIM_TO_WORKER, .address = effect->peer},
                  effect->message);
        break;
    case CORE_FX_APPEND: sim_append(sim, effect->record); break;
    case CORE_FX_LOG:
        if (strcmp(effect->id, "ROLLOUT-MISMATCH") == 0)
            sim_second_told(sim, effect->text);
        sim->forgotten += strcmp(effect->id, "PEER-FORGOTTEN") == 0;
        sim->full += strcmp(effect->id, "LEASES-FULL") == 0;
        if (sim->verbose)
            printf("%8llu  %s %s\n", (unsigned long long)sim->now_ms, effect->id, effect->text);
        break;
    case CORE_FX_STEP_DONE: break;
    case CORE_FX_KICK: break; /* the worker learns of it by RESET or silence */
    case CORE_FX_RECALL:
        sim->recall = true;
        sim->recall_step = effect->recall_step;
        break;
    case CORE_FX_FINISHED:
        if (effect->exit_code == CORE_EXIT_STOPPED ||
            (effect->exit_code == 0 && !effect->complete)) {
            sim->stopped = true;
            break;
        }
        sim->finished = true;
        sim->exit_code = effect->exit_code;
        snprintf(sim->finish_text, sizeof sim->finish_text, "%s", effect->text);
        break;
    }
}

/* --- the core, and how long it takes ------------------------------------------------------ */

uint64_t sim_watch(const struct sim *sim)
{
    return sim->timed ? __builtin_ia32_rdtsc() : 0;
}

static void sim_sink(void *user, const struct core_effect *effect)
{
    struct sim *sim = user;
    const bool stepping = sim->core_since != 0; /* not replaying, nor starting */
    if (stepping)
        sim->core_ticks += sim_watch(sim) - sim->core_since;
    sim_take_effect(sim, effect);
    if (stepping)
        sim->core_since = sim_watch(sim);
}

static void sim_step(struct sim *sim, const struct core_event *event)
{
    sim->events++;
    sim->core_since = sim_watch(sim);
    core_step(sim->core, event);
    if (sim->timed)
        sim->core_ticks += sim_watch(sim) - sim->core_since;
    sim->core_since = 0;
}

/* --- the coordinator's life --------------------------------------------------------------- */

static struct core_event sim_core_event(struct sim *sim, enum core_event_kind kind)
{
    return (struct core_event){
        .kind = kind, .now_ms = sim->now_ms, .entropy = sim_random(sim, UINT64_MAX)};
}

static bool sim_core_replay(struct sim *sim)
{
    struct err err;
    uint64_t checkpoint = 0;
    for (size_t i = 0; i < sim->durable_n; i++) {
        const struct sim_record *r = &sim->records[i];
        const uint64_t named = r->record.kind == RECORD_STEP ? r->step.checkpoint_version
                               : r->record.kind == RECORD_CHECKPOINT ? r->record.version
                                                                     : 0;
        checkpoint = named > checkpoint ? named : checkpoint;
    }
    const bool leave_out = sim_chance(sim, 500);
    if (core_replay_begin(sim->core, checkpoint, &err) != ERR_OK)
        return sim_fail(sim, "%s", err.text), false;
    for (size_t i = 0; i < sim->durable_n; i++) {
        struct record record = sim->records[i].record;
        if (record.kind == RECORD_STEP) {
            sim->records[i].step.stats = &sim->records[i].stat;
            record.step = &sim->records[i].step;
        }
        const bool slot = record.work == WIRE_WORK_ROLLOUT;
        const bool old = slot && record.a < checkpoint;
        const bool scored = record.kind == RECORD_ROLLOUT &&
                            record.work == WIRE_WORK_REFERENCE &&
                            sim_durable(sim, RECORD_SCORE, record.work, record.a, record.b);
        if (leave_out && (old || scored))
            continue;
        if (core_replay(sim->core, &record, &err) != ERR_OK)
            return sim_fail(sim, "%s", err.text), false;
    }
    return true;
}

static bool sim_core_start(struct sim *sim)
{
    struct err err;
    const struct core_setup setup = {.config = sim->config, .prompts = sim->prompts};
    sim->life++;
    sim_slots_forget(sim);
    if (core_new(&sim->core, &setup, sim_sink, sim, &err) != ERR_OK)
        return sim_fail(sim, "%s", err.text), false;
#ifdef CORE_BUGS
    sim->core->bug = sim->bug;
#endif
    if (sim->names_max > 0)
        sim->core->names_max = sim->core->peers_max = sim->names_max;
    if (sim->leases_max > 0)
        sim->core->leases_max = sim->leases_max;
    if (sim->durable_n > 0 && !sim_core_replay(sim))
        return false;
    const struct core_event event = sim_core_event(sim, CORE_EV_TICK);
    core_start(sim->core, &event);
    return true;
}

static void sim_core_crash(struct sim *sim)
{
    core_free(sim->core);
    sim->core = NULL;
    sim->recall = false;
    sim->coordinator_crashes++;
    sim_lose_tail(sim);
    sim->start_ms = sim->now_ms + 20 + sim_random(sim, 1500);
}

/* Is it one that the recall of this step asks for? */
static bool sim_recall_wants(const struct record *record, uint64_t step)
{
    switch (record->kind) {
    case RECORD_START: return step == 0;
    case RECORD_STEP: return record->step->step == step || record->step->step + 1 == step;
    case RECORD_ROLLOUT:
    case RECORD_SCORE:
    case RECORD_DROP: return record->work == WIRE_WORK_ROLLOUT && record->a == step;
    default: return false;
    }
}

static void sim_recall(struct sim *sim)
{
    const uint64_t step = sim->recall_step;
    sim->recall = false;
    sim->recalls++;
    for (size_t i = 0; i < sim->durable_n && !sim->finished && !sim->recall; i++) {
        struct record record = sim->records[i].record;
        sim->records[i].step.stats = &sim->records[i].stat;
        record.step = &sim->records[i].step;
        if (!sim_recall_wants(&record, step))
            continue;
        struct core_event event = sim_core_event(sim, CORE_EV_RECORD);
        event.record = &record;
        sim_step(sim, &event);
    }
}

/* Whoever speaks in a session that is none must be told at once: it may have no other way to
 * learn of it than silence. */
static bool sim_is_stranger(const struct sim *sim, const struct core_event *event)
{
    const struct core *core = sim->core;
    if (event->kind != CORE_EV_MESSAGE || event->message->type == MESSAGE_HELLO ||
        !core->started)
        return false;
    for (size_t i = 0; i < core->peers_n; i++)
        if (core->peers[i].state != CORE_PEER_GONE &&
            core->peers[i].session == event->message->session &&
            core->peers[i].address == event->peer)
            return false;
    return true;
}

static void sim_core_step(struct sim *sim, const struct core_event *event)
{
    struct err err;
    if (!sim->core || sim->finished)
        return;
    const bool stranger = sim_is_stranger(sim, event);
    const struct core_stats *counters = &sim->core->counters;
    const uint64_t resets = counters->resets;
    const uint64_t duplicates = counters->duplicates, mismatches = counters->mismatches;
    const bool compares = event->kind == CORE_EV_MESSAGE && sim->core->started && !stranger &&
                          event->message->type == MESSAGE_GENERATE_RESULT;
    if (compares)
        sim_second_expect(sim, event->message);
    sim_step(sim, event);
    if (compares && counters->resets == resets && !sim->finished)
        sim_second_compared(sim, duplicates, mismatches);
    while (sim->recall && !sim->finished)
        sim_recall(sim);
    if (stranger && counters->resets == resets)
        sim_fail(sim, "a session that is not known was not answered");
    if (sim->stopped) { /* a clean end: the ledger is closed, all of it durable */
        sim->stopped = false;
        sim->stops++;
        sim->durable_n = sim->records_n;
        sim->flush_due = false;
        core_free(sim->core);
        sim->core = NULL;
        sim->start_ms = sim->now_ms + 20 + sim_random(sim, 500);
        return;
    }
    if (core_check(sim->core, &err) != ERR_OK)
        sim_fail(sim, "after %d: %s", (int)event->kind, err.text);
    if (!sim->finished)
        sim_slots_check(sim);
}

/* --- one run ------------------------------------------------------------------------------ */

static void sim_deliver(struct sim *sim, struct sim_event *event)
{
    switch (event->kind) {
    case SIM_TO_COORDINATOR: {
        struct core_event core = sim_core_event(sim, CORE_EV_MESSAGE);
        core.peer = event->address;
        core.message = &event->message->message;
        sim_core_step(sim, &core);
        break;
    }
    case SIM_TO_WORKER:
        for (int w = 0; w < sim->workers_n; w++)
            if (sim->workers[w].alive && sim->workers[w].address == event->address &&
                sim->now_ms >= sim->workers[w].silent_until_ms)
                sim_worker_receive(sim, w, &event->message->message);
        break;
    case SIM_GONE: {
        struct core_event core = sim_core_event(sim, CORE_EV_PEER_GONE);
        core.peer = event->address;
        sim_core_step(sim, &core);
        break;
    }
    case SIM_FLUSH: {
        if (event->life != sim->life || !sim->core)
            break;
        sim->durable_n += 1 + sim_random(sim, sim->records_n - sim->durable_n);
        sim->flush_due = sim->durable_n < sim->records_n;
        if (sim->flush_due)
            sim_post(sim, (struct sim_event){.at_ms = sim->now_ms + 1 + sim_random(sim, 20),
                                             .kind = SIM_FLUSH,
                                             .life = sim->life});
        struct core_event core = sim_core_event(sim, CORE_EV_DURABLE);
        core.seq = sim->durable_n;
        sim_core_step(sim, &core);
        break;
    }
    }
    free(event->message);
}

/* A process that was stopped neither ends nor does anything. */
static bool sim_is_stopped(struct sim *sim, int w)
{
    if (w != sim->stopped_worker || sim->now_ms < sim->stopped_ms)
        return false;
    sim->workers[w].silent_until_ms = UINT64_MAX;
    return true;
}

/* What chance does to everybody, once a tick. */
static void sim_tick_faults(struct sim *sim)
{
    if (!sim->core && sim->now_ms >= sim->start_ms) {
        if (!sim_core_start(sim))
            return;
    } else if (sim->core && sim_faulty(sim) && sim_chance(sim, sim->rates.coordinator_crash)) {
        sim_core_crash(sim);
    } else if (sim_faulty(sim) && sim_chance(sim, sim->rates.coordinator_crash / 4)) {
        const struct core_event stop =
            sim_core_event(sim, sim_chance(sim, 500) ? CORE_EV_STOP : CORE_EV_DRAIN);
        sim_core_step(sim, &stop);
    }
    for (int w = 0; w < sim->workers_n; w++) {
        struct sim_worker *worker = &sim->workers[w];
        if (!worker->alive) {
            if (sim->now_ms >= worker->restart_ms)
                sim_worker_start(sim, w);
            continue;
        }
        if (sim_is_stopped(sim, w) || !sim_faulty(sim))
            continue;
        if (sim_chance(sim, sim->rates.worker_crash)) {
            sim->worker_crashes++;
            sim_worker_crash(sim, w);
        } else if (sim_chance(sim, sim->rates.hang)) {
            worker->hang_until_ms = sim->now_ms + sim_random(sim, 4000);
        } else if (sim_chance(sim, sim->rates.silence)) {
            worker->silent_until_ms = sim->now_ms + sim_random(sim, 1500);
        } else if (sim_chance(sim, sim->rates.hostile / 8)) {
            struct core_event bad = sim_core_event(sim, CORE_EV_BAD_MESSAGE);
            bad.peer = worker->address;
            bad.text = "simulated";
            sim_core_step(sim, &bad);
        }
    }
}

static void sim_tick(struct sim *sim)
{
    sim_tick_faults(sim);
    if (sim->failed)
        return;
    struct core_event event = sim_core_event(sim, CORE_EV_TICK);
    if (sim_faulty(sim) && sim_chance(sim, sim->rates.hang))
        event.kind = CORE_EV_PAUSE;
    else if (!sim_faulty(sim) || sim_chance(sim, 20))
        event.kind = CORE_EV_RESUME;
    if (event.kind != CORE_EV_TICK) {
        sim_core_step(sim, &event);
        event.kind = CORE_EV_TICK;
    }
    sim_core_step(sim, &event);
    for (int w = 0; w < sim->workers_n; w++)
        sim_worker_tick(sim, w);
}

static void sim_begin(struct sim *sim)
{
    static const enum wire_role roles[] = {
        WIRE_ROLE_LEARNER, WIRE_ROLE_ACTOR, WIRE_ROLE_REWARD, WIRE_ROLE_ACTOR,
        WIRE_ROLE_REWARD,  WIRE_ROLE_ACTOR, WIRE_ROLE_ACTOR,  WIRE_ROLE_REWARD};
    sim->prompts = sim_content_prompts(sim->config);
    sim->trained[0].bytes[0] = 7; /* what the run starts from */
    sim->checkpoint[0] = sim->trained[0];
    for (int w = 0; w < sim->workers_n; w++) {
        /* The last are the learners but the first. */
        const bool more = w > sim->workers_n - (int)sim->learners_n;
        sim->workers[w].role = more ? WIRE_ROLE_LEARNER : roles[w];
        snprintf(sim->workers[w].name, sizeof sim->workers[w].name, "%s-%d",
                 wire_role_name(sim->workers[w].role), w);
        sim_worker_start(sim, w);
    }
}

/* The ledger of a finished run must tell the whole of it. */
static void sim_check_end(struct sim *sim)
{
    core_stats(sim->core, sim->stats);
    if (sim->exit_code != 0 || sim->stats->trained != sim->config->steps) {
        sim_fail(sim, "ended with %d after %llu steps: %s", sim->exit_code,
                 (unsigned long long)sim->stats->trained, sim->finish_text);
        return;
    }
    if (sim->checkpoint_version != sim->config->steps)
        sim_fail(sim, "the run is complete, and its last step was never written");
    sim_second_check_staleness(sim);
    core_free(sim->core);
    sim->core = NULL;
    sim->durable_n = sim->records_n; /* a clean end closes the ledger */
    struct err err;
    static struct core_stats again;
    if (!sim_core_start(sim))
        return;
    core_stats(sim->core, &again);
    if (again.trained != sim->config->steps || core_check(sim->core, &err) != ERR_OK)
        sim_fail(sim, "the ledger of the finished run tells of %llu steps",
                 (unsigned long long)again.trained);
}

bool sim_run(struct sim *sim)
{
    sim_begin(sim);
    uint64_t tick_ms = 0;
    while (!sim->failed && !sim->finished) {
        if (sim->heap_n > 0 && sim->heap[0].at_ms < tick_ms) {
            struct sim_event event = sim_take(sim);
            sim->now_ms = event.at_ms > sim->now_ms ? event.at_ms : sim->now_ms;
            sim_deliver(sim, &event);
            continue;
        }
        sim->now_ms = tick_ms;
        sim_tick(sim);
        tick_ms += SIM_TICK_MS;
        if (sim->now_ms > sim->faults_until_ms + SIM_CALM_MS) {
            core_stats(sim->core, sim->stats);
            sim_fail(sim,
                     "the faults are over, and the run does not finish: %llu of %llu steps; it "
                     "waits for %s",
                     (unsigned long long)sim->stats->trained,
                     (unsigned long long)sim->stats->steps, sim->stats->waits_for);
        }
    }
    if (!sim->failed)
        sim_check_end(sim);
    return !sim->failed;
}

void sim_release(struct sim *sim)
{
    for (int w = 0; w < sim->workers_n; w++)
        sim_worker_crash(sim, w);
    while (sim->heap_n > 0)
        free(sim->heap[--sim->heap_n].message);
    for (size_t i = 0; i < sim->records_n; i++)
        free(sim->records[i].block);
    free(sim->heap);
    free(sim->records);
    core_free(sim->core);
}

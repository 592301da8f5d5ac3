/* core.c -- see core.h; this file: making one, starting it, one event. */
#include "coordinator/core.h"

#include <assert.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "coordinator/core_state.h"

/* Two passes over core_carve: the first counts bytes, the second hands them out. */
struct core_carver {
    struct arena *arena; /* NULL: count */
    size_t bytes;
    bool failed;
};

static void *core_take(struct core_carver *carver, uint64_t n, size_t size)
{
    if (size != 0 && n > (SIZE_MAX / 4 - carver->bytes) / size) {
        carver->failed = true;
        return NULL;
    }
    const size_t bytes = ((size_t)n * size + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
    carver->bytes += bytes;
    if (!carver->arena)
        return NULL;
    void *at = arena_alloc(carver->arena, bytes);
    if (!at)
        carver->failed = true;
    return at;
}

struct core_blocks {
    struct core_item *items, *ref_items;
    int32_t *ids, *ref_ids;
    float *logp, *ref;
    double *scores, *ref_scores;
    uint64_t *in, *ref_in;
};

static void core_carve(struct core *core, struct core_carver *carver, struct core_blocks *b)
{
    const uint64_t slots = ((uint64_t)core->ring + 1) * core->B; /* the last: recalled */
    const uint64_t refs = (uint64_t)core->open * core->groups * core->M;
    const uint64_t scorers = core->config->scorers;
    const uint64_t prompts = core->prompts.n;
    core->steps = core_take(carver, core->ring, sizeof *core->steps);
    core->refs = core_take(carver, core->open, sizeof *core->refs);
    core->reference = core_take(carver, prompts * core->M, sizeof *core->reference);
    core->reference_scores = core_take(carver, prompts * core->M * scorers, sizeof(double));
    core->prompt = core_take(carver, prompts, sizeof *core->prompt);
    core->version_hash = core_take(carver, (uint64_t)core->ring + 1, sizeof(struct hash));
    core->kl_reference = core_take(carver, (uint64_t)core->ring + 1, sizeof(uint64_t));
    b->items = core_take(carver, slots, sizeof *b->items);
    b->ref_items = core_take(carver, refs, sizeof *b->ref_items);
    b->ids = core_take(carver, slots * core->max_new, sizeof *b->ids);
    b->logp = core_take(carver, slots * core->max_new, sizeof *b->logp);
    b->ref = core_take(carver, slots * core->max_new, sizeof *b->ref);
    b->ref_ids = core_take(carver, refs * core->max_new, sizeof *b->ref_ids);
    b->scores = core_take(carver, slots * scorers, sizeof *b->scores);
    b->ref_scores = core_take(carver, refs * scorers, sizeof *b->ref_scores);
    b->in = core_take(carver, ((uint64_t)core->ring + 1) * CORE_ITEM_STATES * core->words,
                      sizeof *b->in);
    b->ref_in = core_take(carver, (uint64_t)core->open * CORE_ITEM_STATES * core->ref_words,
                          sizeof *b->ref_in);
    const uint64_t response = (uint64_t)core->B * core->max_new;
    core->picked = core_take(carver, core->B, sizeof(struct core_item *));
    core->planned = core_take(carver, core->groups, sizeof *core->planned);
    core->out_items = core_take(carver, WIRE_ITEMS_MAX, sizeof *core->out_items);
    core->out_ids = core_take(carver, core->out_ids_max, sizeof *core->out_ids);
    core->out_logp = core_take(carver, response, sizeof(float));
    core->out_ref = core_take(carver, response, sizeof(float));
    core->out_reward = core_take(carver, response, sizeof(float));
    if (run_config_has_cost(core->config))
        core->out_cost = core_take(carver, response, sizeof(float));
    core->kl_sum = core_take(carver, core->B, sizeof(double));
    core->kl_tokens = core_take(carver, core->B, sizeof(uint32_t));
    core->ref_rewards = core_take(carver, core->M, sizeof(double));
    core->ref_named = core_take(carver, core->M * scorers, sizeof *core->ref_named);
    core->ref_all = core_take(carver, core->M, sizeof *core->ref_all);
}

/* Hand each item its arrays; they stay its own for ever. */
static void core_wire_items(struct core *core, const struct core_blocks *b)
{
    const uint32_t scorers = core->config->scorers;
    for (uint32_t r = 0; r <= core->ring; r++) {
        struct core_batch *batch = r < core->ring ? &core->steps[r] : &core->recall.batch;
        batch->step = CORE_NO_STEP;
        batch->items = b->items + (size_t)r * core->B;
        batch->in = b->in + (size_t)r * CORE_ITEM_STATES * core->words;
        for (uint32_t i = 0; i < core->B; i++) {
            const size_t at = (size_t)r * core->B + i;
            b->items[at].ids = b->ids + at * core->max_new;
            b->items[at].logp = b->logp + at * core->max_new;
            b->items[at].ref = b->ref + at * core->max_new;
            b->items[at].scores = b->scores + at * scorers;
        }
    }
    const uint32_t refs = core->groups * core->M;
    for (uint32_t r = 0; r < core->open; r++) {
        core->refs[r].step = CORE_NO_STEP;
        core->refs[r].items = b->ref_items + (size_t)r * refs;
        core->refs[r].in = b->ref_in + (size_t)r * CORE_ITEM_STATES * core->ref_words;
        for (uint32_t i = 0; i < refs; i++) {
            const size_t at = (size_t)r * refs + i;
            b->ref_items[at].ids = b->ref_ids + at * core->max_new;
            b->ref_items[at].scores = b->ref_scores + at * scorers;
        }
    }
}

/* A tokenizer may know more tokens than the model beside it. */
static enum err_code core_check_prompt_ids(const struct core_setup *setup, struct err *err)
{
    const uint32_t vocabulary = setup->tokens.vocabulary;
    for (uint32_t i = 0; vocabulary > 0 && i < setup->prompts.n; i++)
        for (size_t at = setup->prompts.offset[i]; at < setup->prompts.offset[i + 1]; at++)
            if (setup->prompts.ids[at] < 0 || (uint32_t)setup->prompts.ids[at] >= vocabulary)
                return err_set(err, ERR_VALUE,
                               "prompt %u of %s has token %d: the vocabulary of %s has %u",
                               (unsigned)i, setup->config->prompts, (int)setup->prompts.ids[at],
                               setup->config->policy, (unsigned)vocabulary);
    return ERR_OK;
}

/* A kind that no prompt has is a slip of the pen: its scorer would never be asked. */
static enum err_code core_check_kinds(const struct core_setup *setup, struct err *err)
{
    const struct run_config *config = setup->config;
    for (uint32_t s = 0; s < config->scorers; s++) {
        const char *word = config->scorer[s].prompt_kind;
        bool there = word[0] == '\0';
        for (uint32_t i = 0; i < setup->prompts.n && setup->prompts.kind && !there; i++) {
            const uint8_t kind = setup->prompts.kind[i];
            there = kind && strcmp(config->scorer[kind - 1].prompt_kind, word) == 0;
        }
        if (!there)
            return err_set(err, ERR_VALUE,
                           "scorer \"%s\" counts for prompts of kind \"%s\": no prompt of %s "
                           "is of it",
                           config->scorer[s].name, word, config->prompts);
    }
    return ERR_OK;
}

static enum err_code core_check_setup(const struct core_setup *setup, struct err *err)
{
    const struct run_config *config = setup->config;
    if (config->batch == 0 || config->batch > WIRE_ITEMS_MAX)
        return err_set(err, ERR_VALUE, "pipeline.batch is %u: must be 1..%u",
                       (unsigned)config->batch, WIRE_ITEMS_MAX);
    if (config->steps == 0 || config->checkpoint_every == 0)
        return err_set(err, ERR_VALUE, "run.steps and checkpoint.every must be at least 1");
    if (config->scorers == 0 || config->scorers > RUN_SCORERS_MAX)
        return err_set(err, ERR_VALUE, "reward.scorers: %u of them, must be 1..%u",
                       (unsigned)config->scorers, (unsigned)RUN_SCORERS_MAX);
    if (config->max_new_tokens == 0)
        return err_set(err, ERR_VALUE, "sampling.max_new_tokens must be at least 1");
    const uint64_t tokens = (uint64_t)config->prompt_tokens_max + config->max_new_tokens;
    const uint32_t arrays = run_config_has_cost(config) ? 4 : 3; /* over response tokens */
    const uint64_t lease = tokens + arrays * (uint64_t)config->max_new_tokens;
    if (tokens * 4u * config->batch > WIRE_FRAME_MAX ||
        lease * 4u * config->batch > WIRE_PAYLOAD_MAX)
        return err_set(err, ERR_VALUE,
                       "a step of %u slots of up to %u + %u tokens does not fit frames of "
                       "%u bytes, %u all together: lower pipeline.batch or "
                       "sampling.max_new_tokens",
                       (unsigned)config->batch, (unsigned)config->prompt_tokens_max,
                       (unsigned)config->max_new_tokens, WIRE_FRAME_MAX, WIRE_PAYLOAD_MAX);
    for (uint32_t i = 0; i < setup->prompts.n; i++) {
        const size_t n = setup->prompts.offset[i + 1] - setup->prompts.offset[i];
        if (n == 0 || n > config->prompt_tokens_max)
            return err_set(err, ERR_VALUE, "prompt %u has %zu tokens: must be 1..%u",
                           (unsigned)i, n, (unsigned)config->prompt_tokens_max);
    }
    const enum err_code rc = core_check_kinds(setup, err);
    return rc ? rc : core_check_prompt_ids(setup, err);
}

static void core_size(struct core *core)
{
    const struct run_config *config = core->config;
    core->B = config->batch;
    core->K = config->samples_per_prompt ? config->samples_per_prompt : 1;
    core->groups = core->B / core->K;
    core->shaper_M = chain_references(&core->chain);
    core->M =
        combine_needs_references(&core->raw.combine) ? config->references : core->shaper_M;
    core->words = (core->B + 63) / 64;
    core->ref_words = (core->groups * core->M + 63) / 64;
    core->max_new = config->max_new_tokens;
    core->open = config->lag + 1;
    core->group_estimator =
        config->estimator == RUN_ESTIMATOR_GRPO || config->estimator == RUN_ESTIMATOR_RLOO;
    const uint64_t every =
        config->checkpoint_every < config->steps ? config->checkpoint_every : config->steps;
    uint64_t ring = every + core->open + CORE_RING_SLACK;
    if (ring > UINT32_MAX - 2)
        ring = UINT32_MAX - 2;
    core->ring = (uint32_t)ring;
    core->out_ids_max = (size_t)core->B * (config->prompt_tokens_max + core->max_new);
}

static enum err_code core_allocate(struct core *core, struct err *err)
{
    struct core_blocks blocks;
    struct core_carver count = {0};
    core_carve(core, &count, &blocks);
    if (count.failed)
        return err_set(err, ERR_VALUE,
                       "checkpoint.every %llu: that many steps cannot be kept in memory",
                       (unsigned long long)core->config->checkpoint_every);
    const enum err_code rc = arena_init(&core->arena, count.bytes, "the coordinator", err);
    if (rc != ERR_OK)
        return rc;
    struct core_carver carve = {.arena = &core->arena};
    core_carve(core, &carve, &blocks);
    assert(!carve.failed);
    core_wire_items(core, &blocks);
    return ERR_OK;
}

enum err_code core_new(struct core **out, const struct core_setup *setup, core_sink *sink,
                       void *user, struct err *err)
{
    *out = NULL;
    enum err_code rc = core_check_setup(setup, err);
    if (rc != ERR_OK)
        return rc;
    /* Pages that are zero until they are used: few runs have all the workers there can be. */
    struct arena own;
    rc = arena_init(&own, sizeof(struct core), "the coordinator", err);
    if (rc != ERR_OK)
        return rc;
    struct core *core = arena_alloc(&own, sizeof *core);
    assert(core);
    core->own = own;
    core->config = setup->config;
    core->config_hash = setup->config_hash;
    core->prompts = setup->prompts;
    core->tokens = setup->tokens;
    core->peers_max = setup->peers_max > 0 && setup->peers_max < CORE_PEERS_MAX
                          ? setup->peers_max
                          : CORE_PEERS_MAX;
    core->names_max = CORE_PEERS_MAX;
    core->leases_max = CORE_LEASES_MAX;
    core->sink = sink;
    core->user = user;
    core->counters.logp_diff_max = NAN;

    rc = core_shape_setup(core, err);
    if (rc == ERR_OK) {
        core_size(core);
        core->plan = (struct plan_params){
            .seed = setup->config->seed,
            .prompts = setup->prompts.n,
            .slots = core->B,
            .samples_per_prompt = core->K,
            .steps = setup->config->steps,
        };
        rc = plan_check(&core->plan, err);
    }
    if (rc == ERR_OK)
        rc = core_allocate(core, err);
    if (rc != ERR_OK) {
        core_free(core);
        return rc;
    }
    *out = core;
    return ERR_OK;
}

void core_free(struct core *core)
{
    if (!core)
        return;
    struct arena own = core->own;
    arena_release(&core->arena);
    arena_release(&own);
}

void core_log(struct core *core, enum log_level level, const char *id, const char *format, ...)
{
    if (core->replaying)
        return;
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    core->sink(core->user, &(struct core_effect){
                               .kind = CORE_FX_LOG, .level = level, .id = id, .text = text});
}

uint64_t core_append(struct core *core, struct record *record)
{
    assert(!core->replaying);
    record->seq = ++core->seq;
    record->wall_ms = core->wall_ms;
    if (!record->worker)
        record->worker = "";
    core->sink(core->user, &(struct core_effect){.kind = CORE_FX_APPEND, .record = record});
    return record->seq;
}

void core_event(struct core *core, enum log_level level, const char *id, const char *format,
                ...)
{
    if (core->replaying)
        return;
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    core_log(core, level, id, "%s", text);
    core_append(core, &(struct record){.kind = RECORD_EVENT, .id = id, .text = text});
}

void core_finish(struct core *core, int exit_code, const char *text)
{
    if (core->finished)
        return;
    snprintf(core->finish_text, sizeof core->finish_text, "%s", text);
    const bool complete = core->trained == core->config->steps;
    core_peer_dismiss(core, complete || exit_code == CORE_EXIT_HALT, core->finish_text);
    core->finished = true;
    core->sink(core->user, &(struct core_effect){.kind = CORE_FX_FINISHED,
                                                 .exit_code = exit_code,
                                                 .complete = complete,
                                                 .text = core->finish_text});
}

bool core_durable(const struct core *core, uint64_t seq)
{
    return core_bug(core, 1) || seq <= core->durable_seq;
}

bool core_working(const struct core *core)
{
    const bool paused = core->paused && !core->draining;
    return core->started && !paused && !core->stopping && !core->finished;
}

static void core_take_time(struct core *core, const struct core_event *event)
{
    if (event->now_ms > core->now_ms)
        core->now_ms = event->now_ms;
    core->wall_ms = event->wall_ms;
    core->entropy = event->entropy;
}

void core_start(struct core *core, const struct core_event *event)
{
    assert(!core->started && core->epoch_seq == 0);
    core->replaying = false;
    core_take_time(core, event);
    core->step_ms = core->now_ms;
    core->durable_seq = core->seq; /* all that was replayed came from the disk */
    for (size_t i = 0; i < core->peers_n;
         i++) /* names in the ledger: gone since now, at the latest */
        core->peers[i].seen_ms = core->peers[i].progress_ms = core->now_ms;
    core->epoch++;
    core->epoch_seq =
        core_append(core, &(struct record){.kind = RECORD_EPOCH, .epoch = core->epoch});
    core_identity_start(core);
    core_item_open_steps(core);
}

/* What follows from the new state, whatever the event was. */
static void core_advance(struct core *core, const struct core_event *event)
{
    /* A rollout is scored once it is durable, and so not by the event that brings it. */
    const bool brings =
        event->kind == CORE_EV_MESSAGE && event->message->type == MESSAGE_GENERATE_RESULT;
    if (core->started && !core->finished) {
        if (core->trained == core->config->steps)
            core_finish(core, 0, "the run is complete");
        else
            core_train_advance(core);
    }
    if (core_working(core)) {
        core_item_open_steps(core);
        core_lease_dispatch(core, !brings);
    }
    if (!core->finished)
        core_peer_release_acks(core);
    if (core->stopping && core->durable_seq == core->seq)
        core_finish(core, CORE_EXIT_STOPPED, "stopped: the run can be continued");
}

static void core_durable_now(struct core *core, uint64_t seq)
{
    assert(seq <= core->seq);
    core->acks_due = core->acks_due || seq > core->durable_seq;
    if (seq > core->durable_seq) {
        core->durable_seq = seq;
        core->score_idle = false;
    }
    if (!core->started && core->epoch_seq != 0 && core->epoch_seq <= core->durable_seq) {
        core->started = true;
        core->started_ms = core->now_ms;
        core_log(core, LOG_LEVEL_INFO, "EPOCH", "epoch %llu: %llu of %llu steps are trained",
                 (unsigned long long)core->epoch, (unsigned long long)core->trained,
                 (unsigned long long)core->config->steps);
    }
}

/* A coordinator that comes back from a crash must not go on by itself. */
static void core_pause(struct core *core, bool paused)
{
    if (core->paused == paused)
        return;
    core->paused = paused;
    core_append(core, &(struct record){.kind = RECORD_PAUSE, .paused = paused});
    core_log(core, LOG_LEVEL_INFO, paused ? "PAUSE" : "RESUME", "after %llu of %llu steps",
             (unsigned long long)core->trained, (unsigned long long)core->config->steps);
}

void core_step(struct core *core, const struct core_event *event)
{
    if (core->finished)
        return;
    core_take_time(core, event);
    switch (event->kind) {
    case CORE_EV_TICK:
        core_peer_tick(core);
        core_lease_tick(core);
        break;
    case CORE_EV_MESSAGE: core_peer_message(core, event); break;
    case CORE_EV_BAD_MESSAGE: core_peer_bad(core, event->peer, event->text); break;
    case CORE_EV_PEER_GONE: core_peer_gone(core, event->peer); break;
    case CORE_EV_DURABLE: core_durable_now(core, event->seq); break;
    case CORE_EV_RECORD: core_recall_record(core, event->record); break;
    case CORE_EV_PAUSE: core_pause(core, true); break;
    case CORE_EV_RESUME: core_pause(core, false); break;
    case CORE_EV_CHECKPOINT: core->checkpoint_asked = true; break;
    case CORE_EV_DRAIN: core->draining = true; break;
    case CORE_EV_STOP: core->stopping = true; break;
    }
    if (core_bug(core, 37) && core_working(core))
        core_second_dispatch(core);
    core_advance(core, event);
    if (event->kind == CORE_EV_TICK && core_working(core))
        core_second_dispatch(core);
}

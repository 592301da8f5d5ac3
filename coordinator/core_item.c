/* core_item.c -- a slot's or reference's way through its states; steps opened and retained. */
#include <assert.h>
#include <string.h>

#include "base/hash.h"
#include "coordinator/core.h"
#include "coordinator/core_state.h"

struct core_batch *core_item_batch(const struct core *core, uint64_t step)
{
    struct core_batch *batch = &core->steps[step % core->ring];
    return batch->step == step && step != CORE_NO_STEP ? batch : NULL;
}

struct core_refs *core_item_refs(const struct core *core, uint64_t step)
{
    struct core_refs *refs = &core->refs[step % core->open];
    return refs->step == step && step != CORE_NO_STEP ? refs : NULL;
}

struct core_reference *core_item_reference(const struct core *core, uint32_t prompt, uint32_t m)
{
    assert(prompt < core->prompts.n && m < core->M);
    return &core->reference[(size_t)prompt * core->M + m];
}

struct core_item *core_item_find(const struct core *core, enum wire_work work, uint64_t a,
                                 uint32_t b)
{
    if (work == WIRE_WORK_ROLLOUT) {
        struct core_batch *batch = b < core->B ? core_item_batch(core, a) : NULL;
        return batch ? &batch->items[b] : NULL;
    }
    if (work != WIRE_WORK_REFERENCE || a >= core->prompts.n || b >= core->M ||
        !core->prompt[a].due)
        return NULL;
    struct core_refs *refs = core_item_refs(core, core->prompt[a].step);
    return refs ? &refs->items[core->prompt[a].at + b] : NULL;
}

static void core_item_mark(uint64_t *in, uint32_t i, bool is)
{
    const uint64_t bit = (uint64_t)1 << (i % 64);
    in[i / 64] = is ? in[i / 64] | bit : in[i / 64] & ~bit;
}

void core_item_move(struct core *core, struct core_item *item, enum core_item_state state)
{
    const enum core_item_state old = item->state;
    uint64_t *totals, *in;
    uint32_t *counts, at = item->b, words = core->words;
    if (core_recall_has(core, item) || item->work == WIRE_WORK_ROLLOUT) {
        struct core_batch *batch =
            core_recall_has(core, item) ? &core->recall.batch : core_item_batch(core, item->a);
        totals = batch == &core->recall.batch ? core->recall.slots : core->slots;
        counts = batch->count;
        in = batch->in;
    } else {
        struct core_refs *refs = core_item_refs(core, core->prompt[item->a].step);
        totals = core->ref_slots;
        counts = refs->count;
        in = refs->in;
        at = (uint32_t)(item - refs->items);
        words = core->ref_words;
    }
    totals[old]--;
    counts[old]--;
    totals[state]++;
    counts[state]++;
    core_item_mark(in + (size_t)old * words, at, false);
    core_item_mark(in + (size_t)state * words, at, true);
    item->state = state;
}

void core_item_drop(struct core *core, struct core_item *item, enum record_reason reason,
                    const char *text)
{
    assert(item->state != CORE_ITEM_TRAINED && item->state != CORE_ITEM_DROPPED);
    core_lease_settle(core, item, NULL);
    item->reason = reason;
    core_item_move(core, item, CORE_ITEM_DROPPED);
    if (item->work == WIRE_WORK_ROLLOUT) {
        core->dropped[reason]++;
    } else {
        core_item_reference(core, item->prompt, item->b)->state = CORE_ITEM_DROPPED;
    }
    if (!core->replaying) {
        core_log(core, LOG_LEVEL_WARN, "DROP", "%s %llu/%u: %s: %s",
                 item->work == WIRE_WORK_ROLLOUT ? "slot" : "reference",
                 (unsigned long long)item->a, (unsigned)item->b, record_reason_name(reason),
                 text);
        item->seq = core_append(core, &(struct record){.kind = RECORD_DROP,
                                                       .work = item->work,
                                                       .a = item->a,
                                                       .b = item->b,
                                                       .prompt = item->prompt,
                                                       .reason = reason,
                                                       .text = text});
        if (item->work == WIRE_WORK_REFERENCE)
            core_item_reference(core, item->prompt, item->b)->seq = item->seq;
    }
}

uint64_t core_item_digest(enum wire_finish finish, uint32_t tokens, const int32_t *ids,
                          const float *logp)
{
    const uint64_t parts[4] = {
        (uint64_t)finish,
        tokens,
        hash_xxh3(ids, tokens * sizeof *ids),
        hash_xxh3(logp, tokens * sizeof *logp),
    };
    return hash_xxh3(parts, sizeof parts);
}

void core_item_generated(struct core *core, struct core_item *item, uint32_t tokens,
                         enum wire_finish finish, const int32_t *ids, const float *logp,
                         uint16_t worker, uint64_t seq)
{
    assert(tokens >= 1 && tokens <= core->max_new);
    core_lease_settle(core, item, &core->peers[worker]);
    item->tokens = tokens;
    item->finish = finish;
    item->worker = worker;
    item->worker_name = core->peers[worker].name_n;
    item->seq = seq;
    memcpy(item->ids, ids, tokens * sizeof *ids);
    if (item->logp)
        memcpy(item->logp, logp, tokens * sizeof *logp);
    item->digest = logp ? core_item_digest(finish, tokens, ids, logp) : 0;
    core_item_move(core, item, CORE_ITEM_GENERATED);
}

void core_item_scored(struct core *core, struct core_item *item, const double *scores,
                      const float *ref, const struct core_peer *by, uint64_t seq)
{
    core_lease_settle(core, item, by);
    item->seq = seq;
    memcpy(item->scores, scores, core->config->scorers * sizeof *scores);
    if (item->ref)
        memcpy(item->ref, ref, item->tokens * sizeof *ref);
    core_item_move(core, item, CORE_ITEM_SCORED);
    if (item->work == WIRE_WORK_REFERENCE) {
        struct core_reference *kept = core_item_reference(core, item->prompt, item->b);
        kept->state = CORE_ITEM_SCORED;
        kept->seq = seq;
        kept->tokens = item->tokens;
        core_combine_keep(core, item);
    }
}

static void core_item_init(struct core_item *item, enum wire_work work, uint64_t a, uint32_t b)
{
    *item = (struct core_item){
        .work = work,
        .a = a,
        .b = b,
        .ids = item->ids,
        .logp = item->logp,
        .ref = item->ref,
        .scores = item->scores,
    };
}

/* The references of a prompt become due with the first step that asks it. */
static void core_item_plan_references(struct core *core, struct core_refs *refs,
                                      uint32_t prompt)
{
    if (core->M == 0 || core->prompt[prompt].due)
        return;
    core->prompt[prompt] = (struct core_prompt){.due = true, .step = refs->step, .at = refs->n};
    for (uint32_t m = 0; m < core->M; m++) {
        core_item_mark(refs->in + CORE_ITEM_WAITING * (size_t)core->ref_words, refs->n, true);
        struct core_item *item = &refs->items[refs->n++];
        core_item_init(item, WIRE_WORK_REFERENCE, prompt, m);
        item->prompt = prompt;
        refs->count[CORE_ITEM_WAITING]++;
        core->ref_slots[CORE_ITEM_WAITING]++;
    }
}

void core_item_plan_slots(const struct core *core, struct core_batch *batch, uint64_t step)
{
    batch->step = step;
    batch->shaped = batch->skipped = batch->restored = false;
    batch->opened_ms = core->now_ms;
    memset(batch->count, 0, sizeof batch->count);
    memset(batch->in, 0, (size_t)CORE_ITEM_STATES * core->words * sizeof *batch->in);
    plan_step(&core->plan, step, core->planned);
    for (uint32_t slot = 0; slot < core->B; slot++) {
        struct core_item *item = &batch->items[slot];
        core_item_init(item, WIRE_WORK_ROLLOUT, step, slot);
        core_item_mark(batch->in + CORE_ITEM_WAITING * (size_t)core->words, slot, true);
        item->group = slot / core->K;
        item->prompt = core->planned[item->group];
        item->version = plan_policy_version(step, core->config->lag);
    }
    batch->count[CORE_ITEM_WAITING] = core->B;
}

static void core_item_open_step(struct core *core, uint64_t step)
{
    struct core_batch *batch = &core->steps[step % core->ring];
    core_item_plan_slots(core, batch, step);
    core->slots[CORE_ITEM_WAITING] += core->B;
    struct core_refs *refs = &core->refs[step % core->open];
    refs->step = step;
    refs->n = 0;
    memset(refs->count, 0, sizeof refs->count);
    if (core->ref_words > 0)
        memset(refs->in, 0, (size_t)CORE_ITEM_STATES * core->ref_words * sizeof *refs->in);
    for (uint32_t slot = 0; slot < core->B; slot++)
        core_item_plan_references(core, refs, batch->items[slot].prompt);
}

void core_item_open_steps(struct core *core)
{
    if (core->opened == core->config->steps ||
        !plan_ready(core->opened, core->trained, core->config->lag))
        return;
    /* Steps below the newest checkpoint are sent to nobody but a learner that is here and
     * behind: else their place is free. */
    const uint64_t oldest = core_group_oldest(core);
    const uint64_t kept = oldest < core->checkpoint_version ? oldest : core->checkpoint_version;
    while (core->opened < core->config->steps &&
           plan_ready(core->opened, core->trained, core->config->lag) &&
           core->opened < kept + core->ring)
        core_item_open_step(core, core->opened++);
}

uint32_t core_item_prompt_tokens(const struct core *core, uint32_t prompt)
{
    return (uint32_t)(core->prompts.offset[prompt + 1] - core->prompts.offset[prompt]);
}

struct wire_item core_item_wire(const struct core *core, const struct core_item *item)
{
    const bool generated = item->state != CORE_ITEM_WAITING && item->state != CORE_ITEM_LEASED;
    return (struct wire_item){
        .kind = item->work,
        .a = item->a,
        .b = item->b,
        .prompt = item->prompt,
        .prompt_tokens = core_item_prompt_tokens(core, item->prompt),
        .response_tokens = generated ? item->tokens : 0,
        .finish = generated ? item->finish : WIRE_FINISH_NONE,
        .group = item->group,
    };
}

/* sim_disk.c -- the ledger: records with memory of their own, durable after a while, of which a
 * crash keeps some. */
#include <stdlib.h>
#include <string.h>

#include "tests/sim/sim.h"

size_t *sim_disk_index(struct sim *sim, enum record_kind kind, enum wire_work work, uint64_t a,
                       uint32_t b)
{
    const int k = kind == RECORD_ROLLOUT ? 0 : kind == RECORD_SCORE ? 1 : 2;
    return &sim->index[k][work == WIRE_WORK_REFERENCE][a][b];
}

const struct record *sim_disk_durable(const struct sim *sim, enum record_kind kind,
                                      enum wire_work work, uint64_t a, uint32_t b)
{
    const size_t at = *sim_disk_index((struct sim *)sim, kind, work, a, b);
    return at > 0 && at <= sim->durable_n ? &sim->records[at - 1].record : NULL;
}

bool sim_disk_step_durable(const struct sim *sim, uint64_t step)
{
    return sim->step_index[step] > 0 && sim->step_index[step] <= sim->durable_n;
}

static const void *sim_disk_keep(unsigned char **at, const void *bytes, size_t size)
{
    if (!bytes)
        return NULL;
    memcpy(*at, bytes, size);
    const void *kept = *at;
    *at += (size + 7) / 8 * 8;
    return kept;
}

static void sim_disk_copy(struct sim_record *out, const struct record *record)
{
    out->block = malloc(1024 + SIM_TOKENS * 16 + SIM_SCORERS * 8);
    if (!out->block)
        abort();
    unsigned char *at = out->block;
    out->record = *record;
    const size_t n = record->response_tokens;
    out->record.ids = sim_disk_keep(&at, record->ids, n * sizeof(int32_t));
    out->record.logprobs = sim_disk_keep(&at, record->logprobs, n * sizeof(float));
    out->record.reference = sim_disk_keep(&at, record->reference, n * sizeof(float));
    out->record.scores = sim_disk_keep(&at, record->scores, record->scorers * sizeof(double));
    out->record.worker = sim_disk_keep(&at, record->worker, strlen(record->worker) + 1);
    out->record.text = NULL;
    if (record->kind != RECORD_IDENTITY) /* whose id is a constant */
        out->record.id = NULL;
    if (record->step) {
        out->step = *record->step;
        if (record->step->stats_n > 0)
            out->stat = record->step->stats[0];
    }
}

static void sim_disk_flush_later(struct sim *sim)
{
    sim->flush_due = true;
    sim_net_post(sim, (struct sim_event){.at_ms = sim->now_ms + 1 + sim_random(sim, 20),
                                         .kind = SIM_FLUSH,
                                         .life = sim->life});
}

void sim_disk_append(struct sim *sim, const struct record *record)
{
    sim_check_record(sim, record);
    if (sim->records_n == sim->records_cap) {
        sim->records_cap = sim->records_cap ? 2 * sim->records_cap : 256;
        sim->records = realloc(sim->records, sim->records_cap * sizeof *sim->records);
        if (!sim->records)
            abort();
    }
    sim_disk_copy(&sim->records[sim->records_n++], record);
    if (record->kind == RECORD_ROLLOUT || record->kind == RECORD_SCORE ||
        record->kind == RECORD_DROP)
        *sim_disk_index(sim, record->kind, record->work, record->a, record->b) = sim->records_n;
    if (record->kind == RECORD_STEP) {
        sim->step_index[record->step->step] = sim->records_n;
        sim->steps_recorded = record->step->step + 1;
    }
    if (!sim->flush_due)
        sim_disk_flush_later(sim);
}

void sim_disk_flush(struct sim *sim)
{
    sim->durable_n += 1 + sim_random(sim, sim->records_n - sim->durable_n);
    sim->flush_due = false;
    if (sim->durable_n < sim->records_n)
        sim_disk_flush_later(sim);
}

void sim_disk_lose_tail(struct sim *sim)
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

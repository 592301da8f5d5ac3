/* sim_totals.c -- what came about in many runs. */
#include <stdio.h>
#include <string.h>

#include "tests/sim/sim.h"

void sim_totals_add(struct sim_totals *t, const struct sim *sim)
{
    t->runs++;
    t->events += sim->events;
    t->virtual_ms += sim->now_ms;
    t->worker_crashes += sim->worker_crashes;
    t->coordinator_crashes += sim->coordinator_crashes;
    t->stops += sim->stops;
    t->groups += sim->groups;
    t->rollbacks += sim->rollbacks;
    t->rewinds += sim->rewinds;
    t->renewals += sim->renewals;
    t->duplicates += sim->stats->duplicates;
    t->mismatches += sim->stats->mismatches;
    t->late += sim->stats->late;
    t->refused += sim->stats->refused;
    t->expired += sim->stats->leases_expired;
    t->retrained += sim->stats->retrained;
    t->resets += sim->stats->resets;
    t->recalls += sim->recalls;
    t->seconds += sim->seconds;
    t->odd += sim->workers[1].odd;
    t->forgotten += sim->forgotten;
    t->full += sim->full;
    for (uint32_t s = 0; s <= SIM_LAG_MAX; s++)
        t->staleness[sim->config->lag][s] += sim->staleness[s];
    if (!sim->timed)
        return;
    t->timed_ticks += sim->ticks;
    t->core_ticks += sim->core_ticks;
}

void sim_totals_merge(struct sim_totals *to, const struct sim_totals *from)
{
    uint64_t *sum = (uint64_t *)to;
    const uint64_t *more = (const uint64_t *)from;
    for (size_t i = 0; i < sizeof *to / sizeof *sum; i++)
        sum[i] += more[i];
}

#define SIM_ROWS 22
struct sim_row {
    const char *words;
    uint64_t n;
};

static void sim_totals_rows(const struct sim_totals *t, struct sim_row rows[SIM_ROWS])
{
    const struct sim_row all[SIM_ROWS] = {
        {"runs", t->runs},
        {"events", t->events},
        {"simulated seconds", t->virtual_ms / 1000},
        {"worker crashes", t->worker_crashes},
        {"coordinator crashes", t->coordinator_crashes},
        {"stops", t->stops},
        {"attempts of several learners", t->groups},
        {"steps recalled", t->recalls},
        {"times a learner went back", t->rollbacks},
        {"times it had to begin before that", t->rewinds},
        {"references renewed", t->renewals},
        {"second leases", t->seconds},
        {"runs with an actor that computes other bits", t->odd},
        {"names forgotten", t->forgotten},
        {"lives in which no lease was left", t->full},
        {"duplicates in the last life of each", t->duplicates},
        {"mismatches", t->mismatches},
        {"late", t->late},
        {"refused", t->refused},
        {"leases expired", t->expired},
        {"steps trained again", t->retrained},
        {"resets", t->resets},
    };
    memcpy(rows, all, sizeof all);
}

const char *sim_totals_lack(const struct sim_totals *t)
{
    struct sim_row rows[SIM_ROWS];
    sim_totals_rows(t, rows);
    for (size_t i = 0; i < SIM_ROWS; i++)
        if (rows[i].n == 0)
            return rows[i].words;
    return NULL;
}

void sim_totals_print(const struct sim_totals *t)
{
    struct sim_row rows[SIM_ROWS];
    sim_totals_rows(t, rows);
    for (size_t i = 0; i < SIM_ROWS; i++)
        printf("%llu %s%s", (unsigned long long)rows[i].n, rows[i].words,
               i + 1 < SIM_ROWS ? ", " : "\n");
    for (uint32_t lag = 0; lag <= SIM_LAG_MAX; lag++)
        for (uint32_t stale = 0; stale <= SIM_LAG_MAX; stale++)
            if (t->staleness[lag][stale] > 0)
                printf("lag %u: %llu slots trained at a staleness of %u\n", (unsigned)lag,
                       (unsigned long long)t->staleness[lag][stale], (unsigned)stale);
}

void sim_totals_print_speed(const struct sim_totals *t)
{
    const double all_s = (double)t->cpu_us / 1e6;
    const double share =
        t->timed_ticks > 0 ? (double)t->core_ticks / (double)t->timed_ticks : 0;
    fprintf(stderr,
            "%.2f s of processor time: %.3g events a second with all checks and the replay",
            all_s, (double)t->events / all_s);
    if (share > 0.0)
        fprintf(stderr, ", %.3g in the core alone", (double)t->events / (share * all_s));
    fprintf(stderr, "\n");
}

/* bench_core.c -- the coordinator's core alone: events a second of processor time, and rollouts
 * of 64 tokens, beside the BLAKE2b of what a rollout trains, which no core can leave out. */
#include <stdio.h>
#include <string.h>

#include "bench/bench.h"
#include "bench/workers/alone.h"
#include "bench/workers/crowd.h"
#include "coordinator/record.h"

enum { CORE_PIECES = 5, CORE_PROMPT = 16, CORE_HASHES = 64 };

/* Those of CORE_HASHES rollouts. */
static void core_hash(void *arg)
{
    static const int32_t ids[CROWD_TOKENS];
    static const float numbers[CROWD_TOKENS];
    static const double score = 1.0;
    const struct record_experience slot = {.prompt_tokens = CORE_PROMPT,
                                           .response_tokens = CROWD_TOKENS,
                                           .finish = WIRE_FINISH_LENGTH,
                                           .prompt = ids,
                                           .response = ids,
                                           .logp = numbers,
                                           .ref = numbers,
                                           .reward = numbers,
                                           .scores_n = 1,
                                           .scores = &score};
    for (size_t i = 0; i < CORE_HASHES; i++)
        record_experience_add(arg, &slot);
}

static void core_case(const struct bench *bench, size_t workers)
{
    double event_s[CORE_PIECES], rollout_s[CORE_PIECES], events = 0.0, rollouts = 0.0;
    const double span = bench->seconds / CORE_PIECES;
    struct hash running = {0};
    char what[64];
    snprintf(what, sizeof what, "%zu workers", workers);
    if (bench_skips(bench, what))
        return;
    struct alone *alone = alone_open(workers);
    for (size_t i = 0; i < CORE_PIECES; i++) {
        const struct alone_result r = alone_run(alone, span);
        event_s[i] = r.core_s / (double)r.events;
        rollout_s[i] = r.core_s / (double)r.rollouts;
        events += (double)r.events;
        rollouts += (double)r.rollouts;
    }
    alone_close(alone);
    const struct bench_time hash = bench_time(bench, core_hash, &running);
    struct bench_ceiling ceiling = bench_ceiling_of("hashing alone", CORE_HASHES, hash);
    bench_report_under(bench, "core", what, 1.0, "rollouts/s",
                       bench_time_of(rollout_s, CORE_PIECES), &ceiling, 1);
    ceiling.best *= events / rollouts;
    ceiling.median *= events / rollouts;
    strcat(what, ", events");
    bench_report_under(bench, "core", what, 1.0, "events/s",
                       bench_time_of(event_s, CORE_PIECES), &ceiling, 1);
}

void bench_core(const struct bench *bench)
{
    static const size_t workers[] = {10, 100, 300, 1000};
    for (size_t i = 0; i < sizeof workers / sizeof workers[0]; i++)
        core_case(bench, workers[i]);
}

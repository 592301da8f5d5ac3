/* sim_replay.c -- cli/replay.h over what a run left on its disk: two readings of the config,
 * and two ways through its records, must come to the same numbers. */
#include <stdlib.h>

#include "cli/replay.h"
#include "tests/sim/sim.h"

static enum err_code sim_replay_records(const struct sim *sim, struct replay *replay,
                                        struct replay_summary *sum, struct err *err)
{
    enum err_code rc = ERR_OK;
    for (size_t i = 0; i < sim->records_n && rc == ERR_OK; i++) {
        struct record record = sim->records[i].record;
        struct record_step step = sim->records[i].step;
        step.stats = &sim->records[i].stat;
        record.step = record.kind == RECORD_STEP ? &step : NULL;
        rc = replay_record(replay, &record, err);
    }
    return rc == ERR_OK ? replay_end(replay, sum, err) : rc;
}

bool sim_replay(struct sim *sim)
{
    const struct replay_ops ops = {0};
    const struct core_tokens tokens = {0};
    struct replay_summary sum;
    struct replay *replay = NULL;
    struct err err = {0};
    enum err_code rc = replay_new(&replay, sim->config, &sim->prompts, &tokens, &ops, &err);
    if (rc == ERR_OK)
        rc = sim_replay_records(sim, replay, &sum, &err);
    replay_free(replay);
    if (rc != ERR_OK)
        sim_fail(sim, "the replay says: %s", err.text);
    else if (sum.steps != sim->config->steps || sum.in_flight != 0)
        sim_fail(sim, "the replay saw %llu steps, and %llu slots in flight",
                 (unsigned long long)sum.steps, (unsigned long long)sum.in_flight);
    return !sim->failed;
}

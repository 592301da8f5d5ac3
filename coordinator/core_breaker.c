/* core_breaker.c -- whether a step may be trained on: control/breaker.h decides; here is only
 * which numbers go in, and what becomes of the answer.
 *
 * The means of the step's own batch are looked at before it is sent to the learner, so that a
 * batch can be set aside.  What the learner tells is known when its step is trained: it is
 * looked at with the next one, from its STEP record, and can only roll back or halt the run.
 * Both are in the ledger before they are used, so a replay decides the same. */
#include <assert.h>
#include <math.h>
#include <string.h>

#include "coordinator/core.h"
#include "coordinator/core_state.h"

static enum breaker_signal core_breaker_signal(enum run_signal signal)
{
    switch (signal) {
    case RUN_SIGNAL_LOSS: return BREAKER_SIGNAL_LOSS;
    case RUN_SIGNAL_GRAD_NORM: return BREAKER_SIGNAL_GRAD_NORM;
    case RUN_SIGNAL_KL: return BREAKER_SIGNAL_KL;
    case RUN_SIGNAL_ENTROPY: return BREAKER_SIGNAL_ENTROPY;
    case RUN_SIGNAL_COST: return BREAKER_SIGNAL_COST;
    case RUN_SIGNAL_REWARD: return BREAKER_SIGNAL_REWARD;
    }
    assert(0 && "breaker.limits[].signal: no such value");
    return BREAKER_SIGNAL_LOSS;
}

static enum breaker_outcome core_breaker_outcome(enum run_trip trip)
{
    switch (trip) {
    case RUN_TRIP_SKIP: return BREAKER_SKIP;
    case RUN_TRIP_ROLLBACK: return BREAKER_ROLLBACK;
    case RUN_TRIP_HALT: return BREAKER_HALT;
    }
    assert(0 && "breaker.limits[].outcome: no such value");
    return BREAKER_HALT;
}

static void core_breaker_limit(struct breaker_params *params, const struct run_limit *limit)
{
    struct breaker_limits *to = &params->limit[core_breaker_signal(limit->signal)];
    const enum breaker_outcome outcome = core_breaker_outcome(limit->outcome);
    if (limit->ratio > 0.0 || limit->deviations > 0.0) {
        to->ratio = limit->ratio;
        to->deviations = limit->deviations;
        to->relative = outcome;
        return;
    }
    to->low = limit->low > -RUN_LIMIT_NONE ? limit->low : -INFINITY;
    to->high = limit->high < RUN_LIMIT_NONE ? limit->high : INFINITY;
    to->absolute = outcome;
}

enum err_code core_breaker_setup(struct core *core, struct err *err)
{
    const struct run_config *config = core->config;
    breaker_init(&core->breaker_state);
    core->has_breaker = config->limits > 0;
    if (!core->has_breaker)
        return ERR_OK;
    breaker_params_init(&core->breaker);
    core->breaker.not_finite = BREAKER_HALT; /* of what was trained already: see above */
    core->breaker.window = config->breaker_window;
    core->breaker.warmup = config->breaker_warmup;
    core->breaker.skips_max = config->breaker_skips_max;
    core->breaker.cooldown = config->breaker_cooldown;
    core->breaker.trips_max = config->breaker_trips_max;
    const enum err_code rc = core_rollback_setup(core, err);
    if (rc)
        return rc;
    if (core->has_rollback) {
        core->breaker.lr_factor = config->breaker_lr_factor;
        core->breaker.beta_factor = config->breaker_beta_factor;
    }
    for (uint32_t i = 0; i < config->limits; i++)
        core_breaker_limit(&core->breaker, &config->limit[i]);
    return breaker_params_check(&core->breaker, err);
}

uint32_t core_breaker_state_n(const struct core *core)
{
    return core->has_breaker ? BREAKER_STATE_N + core_rollback_state_n(core) : 0;
}

static void core_breaker_measure(struct breaker_sample *sample, enum breaker_signal signal,
                                 double value)
{
    sample->measured[signal] = true;
    sample->value[signal] = value;
}

/* What the learner told of the step before, where it told anything. */
static void core_breaker_stats(const struct core *core, struct breaker_sample *sample)
{
    static const struct {
        const char *name;
        enum breaker_signal signal;
    } told[] = {{"policy_loss", BREAKER_SIGNAL_LOSS},
                {"grad_norm", BREAKER_SIGNAL_GRAD_NORM},
                {"entropy", BREAKER_SIGNAL_ENTROPY}};
    for (uint32_t i = 0; core->has_last && i < core->last.stats_n; i++)
        for (size_t k = 0; k < sizeof told / sizeof told[0]; k++)
            if (strcmp(core->last.stats[i].name, told[k].name) == 0)
                core_breaker_measure(sample, told[k].signal, core->last.stats[i].value);
}

/* What the breaker says of the step.  ERR_VALUE, naming the cause: the run is to halt. */
static enum err_code core_breaker_decide(struct core *core, struct core_batch *batch,
                                         struct err *err)
{
    const struct record_step *result = &batch->result;
    struct breaker_sample sample = {.version = (double)result->behaviour_version};
    core_breaker_measure(&sample, BREAKER_SIGNAL_KL, result->kl_mean);
    core_breaker_measure(&sample, BREAKER_SIGNAL_REWARD, result->reward_raw_mean);
    if (core->cost_terms_n > 0)
        core_breaker_measure(&sample, BREAKER_SIGNAL_COST, result->cost_raw_mean);
    core_breaker_stats(core, &sample);
    batch->decision = breaker_step(&core->breaker, &batch->breaker_after, &sample);
    const enum breaker_outcome outcome = batch->decision.outcome;
    const bool nowhere = outcome == BREAKER_ROLLBACK && !core->has_rollback;
    if (nowhere || outcome == BREAKER_HALT) {
        char cause[BREAKER_TEXT_MAX];
        breaker_explain(&batch->decision, cause);
        /* A rollback is what control/breaker.h says to too many skips in a row, too. */
        return err_set(err, ERR_VALUE, "step %llu: the breaker halts the run: %s%s",
                       (unsigned long long)batch->step, cause,
                       nowhere ? ", and more than breaker.skips_max steps in "
                                 "a row were set aside"
                               : "");
    }
    batch->skipped = outcome == BREAKER_SKIP;
    if (outcome == BREAKER_ROLLBACK)
        core_rollback_apply(core, batch);
    return ERR_OK;
}

enum err_code core_breaker_step(struct core *core, struct core_batch *batch, uint32_t at,
                                struct err *err)
{
    struct record_step *result = &batch->result;
    batch->skipped = batch->restored = false;
    batch->reason = RECORD_REASON_QUARANTINED;
    batch->breaker_after = core->breaker_state;
    batch->rollback_after = core->rollback_state;
    if (!core->has_breaker)
        return ERR_OK;
    enum err_code rc = ERR_OK;
    if (core_rollback_discards(core, result->behaviour_version)) {
        batch->skipped = true;
        batch->reason = RECORD_REASON_ROLLED_BACK;
    } else {
        rc = core_breaker_decide(core, batch, err);
    }
    memcpy(&result->controller[at], &batch->breaker_after, sizeof batch->breaker_after);
    core_rollback_write(core, batch, &result->controller[at + BREAKER_STATE_N]);
    return rc;
}

enum err_code core_breaker_read(const struct core *core, const struct record_step *step,
                                struct core_batch *batch, uint32_t at, struct err *err)
{
    batch->breaker_after = core->breaker_state;
    batch->rollback_after = core->rollback_state;
    if (!core->has_breaker)
        return ERR_OK;
    if (!core_bug(core, 19))
        memcpy(&batch->breaker_after, &step->controller[at], sizeof batch->breaker_after);
    const enum err_code rc = breaker_check(&core->breaker, &batch->breaker_after, err);
    return rc ? rc
              : core_rollback_read(core, batch, &step->controller[at + BREAKER_STATE_N], err);
}

void core_breaker_tell(struct core *core, const struct core_batch *batch)
{
    const unsigned slots = batch->result.dropped[batch->reason];
    const unsigned long long step = batch->step;
    if (batch->reason == RECORD_REASON_ROLLED_BACK) {
        core_event(
            core, LOG_LEVEL_WARN, "LEFT-BEHIND",
            "step %llu: its rollouts are of version %llu, which was left behind: nothing "
            "is trained on its %u slots",
            step, (unsigned long long)batch->result.behaviour_version, slots);
        return;
    }
    char cause[BREAKER_TEXT_MAX];
    breaker_explain(&batch->decision, cause);
    if (batch->restored)
        core_event(
            core, LOG_LEVEL_WARN, "ROLLBACK",
            "step %llu: %s: back to version %.0f, learning rate times %g, beta times %g; "
            "nothing is trained on its %u slots",
            step, cause, batch->rollback_after.base, batch->decision.lr_scale,
            batch->decision.beta_scale, slots);
    else
        core_event(core, LOG_LEVEL_WARN, "QUARANTINE",
                   "step %llu: %s: nothing is trained on its %u slots", step, cause, slots);
}

/* core_breaker.c -- whether a step may be trained on: control/breaker.h decides; here is only
 * which numbers go in, and what becomes of the answer.
 *
 * The means of the step's own batch are looked at before it is sent to the learner, so that a
 * batch can be set aside.  What the learner tells is known when its step is trained: it is
 * looked at with the next one, from its STEP record, and can only halt the run.  Both are in
 * the ledger before they are used, so a replay decides the same. */
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

static void core_breaker_limit(struct breaker_params *params, const struct run_limit *limit)
{
    struct breaker_limits *to = &params->limit[core_breaker_signal(limit->signal)];
    const enum breaker_outcome outcome =
        limit->outcome == RUN_TRIP_SKIP ? BREAKER_SKIP : BREAKER_HALT;
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
    for (uint32_t i = 0; i < config->limits; i++)
        core_breaker_limit(&core->breaker, &config->limit[i]);
    return breaker_params_check(&core->breaker, err);
}

uint32_t core_breaker_state_n(const struct core *core)
{
    return core->has_breaker ? BREAKER_STATE_N : 0;
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

enum err_code core_breaker_step(struct core *core, struct core_batch *batch, uint32_t at,
                                struct err *err)
{
    struct record_step *result = &batch->result;
    batch->skipped = false;
    batch->breaker_after = core->breaker_state;
    if (!core->has_breaker)
        return ERR_OK;
    struct breaker_sample sample = {.version = (double)result->behaviour_version};
    core_breaker_measure(&sample, BREAKER_SIGNAL_KL, result->kl_mean);
    core_breaker_measure(&sample, BREAKER_SIGNAL_REWARD, result->reward_raw_mean);
    if (core->cost_terms_n > 0)
        core_breaker_measure(&sample, BREAKER_SIGNAL_COST, result->cost_raw_mean);
    core_breaker_stats(core, &sample);
    batch->decision = breaker_step(&core->breaker, &batch->breaker_after, &sample);
    const enum breaker_outcome outcome = batch->decision.outcome;
    if (outcome == BREAKER_ROLLBACK || outcome == BREAKER_HALT) {
        char cause[BREAKER_TEXT_MAX];
        breaker_explain(&batch->decision, cause);
        /* A rollback is what control/breaker.h says to too many skips in a row; there is none. */
        return err_set(err, ERR_VALUE, "step %llu: the breaker halts the run: %s%s",
                       (unsigned long long)batch->step, cause,
                       outcome == BREAKER_ROLLBACK
                           ? ", and more than breaker.skips_max steps in "
                             "a row were set aside"
                           : "");
    }
    batch->skipped = outcome == BREAKER_SKIP;
    memcpy(&result->controller[at], &batch->breaker_after, sizeof batch->breaker_after);
    return ERR_OK;
}

enum err_code core_breaker_read(const struct core *core, const struct record_step *step,
                                struct core_batch *batch, uint32_t at, struct err *err)
{
    batch->breaker_after = core->breaker_state;
    if (!core->has_breaker)
        return ERR_OK;
    if (!core_bug(core, 19))
        memcpy(&batch->breaker_after, &step->controller[at], sizeof batch->breaker_after);
    return breaker_check(&core->breaker, &batch->breaker_after, err);
}

void core_breaker_tell(struct core *core, const struct core_batch *batch)
{
    char cause[BREAKER_TEXT_MAX];
    breaker_explain(&batch->decision, cause);
    core_event(core, LOG_LEVEL_WARN, "QUARANTINE",
               "step %llu: %s: nothing is trained on its %u slots",
               (unsigned long long)batch->step, cause,
               (unsigned)batch->result.dropped[RECORD_REASON_QUARANTINED]);
}

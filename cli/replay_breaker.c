/* replay_breaker.c -- see replay.h: what the breaker makes of a step: it is trained on, set aside,
 * or goes back. */
#include <string.h>

#include "cli/replay_state.h"

static void replay_breaker_measure(struct breaker_sample *sample, enum breaker_signal signal,
                                   double value)
{
    sample->measured[signal] = true;
    sample->value[signal] = value;
}

/* Of the step before: what only the learner can tell. */
static void replay_breaker_told(const struct replay *replay, struct breaker_sample *sample)
{
    static const struct {
        const char *name;
        enum breaker_signal signal;
    } told[] = {{"policy_loss", BREAKER_SIGNAL_LOSS},
                {"grad_norm", BREAKER_SIGNAL_GRAD_NORM},
                {"entropy", BREAKER_SIGNAL_ENTROPY}};
    for (uint32_t i = 0; i < replay->stats_n; i++)
        for (size_t k = 0; k < sizeof told / sizeof told[0]; k++)
            if (strcmp(replay->stats[i].name, told[k].name) == 0)
                replay_breaker_measure(sample, told[k].signal, replay->stats[i].value);
}

static void replay_breaker_go_back(struct replay *replay, uint64_t step)
{
    const uint64_t every = replay->config->breaker_restore_every;
    const uint64_t target =
        rollback_target(&replay->states.rollback, every, replay->states.breaker.good);
    rollback_step(&replay->next.rollback, step, target);
    replay->skipped = replay->restored = true;
}

static enum err_code replay_breaker_decide(struct replay *replay, struct err *err)
{
    const struct record_step *step = &replay->derived;
    struct breaker_sample sample = {.version = (double)step->behaviour_version};
    replay_breaker_measure(&sample, BREAKER_SIGNAL_KL, step->kl_mean);
    replay_breaker_measure(&sample, BREAKER_SIGNAL_REWARD, step->reward_raw_mean);
    if (replay->params.cost_terms_n > 0)
        replay_breaker_measure(&sample, BREAKER_SIGNAL_COST, step->cost_raw_mean);
    replay_breaker_told(replay, &sample);
    const struct breaker_decision decision =
        breaker_step(&replay->params.breaker, &replay->next.breaker, &sample);
    const bool back = decision.outcome == BREAKER_ROLLBACK && replay->params.has_rollback;
    replay->skipped = decision.outcome == BREAKER_SKIP;
    if (back)
        replay_breaker_go_back(replay, step->step);
    if (replay->skipped || decision.outcome == BREAKER_NONE)
        return ERR_OK;
    char cause[BREAKER_TEXT_MAX];
    breaker_explain(&decision, cause);
    return err_set(err, ERR_VALUE, "breaker: the ledger goes on, derived is a halt: %s", cause);
}

bool replay_breaker_discards(const struct replay *replay)
{
    return replay->params.has_rollback &&
           rollback_discards(&replay->states.rollback, replay->derived.behaviour_version);
}

enum err_code replay_breaker(struct replay *replay, struct err *err)
{
    struct record_step *step = &replay->derived;
    enum err_code rc = ERR_OK;
    replay->skipped = replay->restored = false;
    replay->reason = RECORD_REASON_QUARANTINED;
    if (replay_breaker_discards(replay)) {
        replay->skipped = true;
        replay->reason = RECORD_REASON_ROLLED_BACK;
    } else if (replay->params.has_breaker) {
        rc = replay_breaker_decide(replay, err);
    }
    const double scale = replay->next.breaker.beta_scale;
    replay->beta = replay->states.kl.coef * scale;
    step->kl_coef_before = replay->beta;
    step->kl_coef_after = replay->next.kl.coef * scale;
    return rc;
}

uint32_t replay_breaker_write(const struct replay *replay, double *out)
{
    if (!replay->params.has_breaker)
        return 0;
    memcpy(out, &replay->next.breaker, sizeof replay->next.breaker);
    if (!replay->params.has_rollback)
        return BREAKER_STATE_N;
    memcpy(out + BREAKER_STATE_N, &replay->next.rollback, sizeof replay->next.rollback);
    return BREAKER_STATE_N + ROLLBACK_STATE_N;
}

const char *replay_breaker_fault(const struct replay *replay, const struct hash *weights)
{
    if (!replay->skipped)
        return NULL;
    const uint64_t every = replay->config->breaker_restore_every;
    const struct hash *want =
        replay->restored ? &replay->restore[(uint64_t)replay->next.rollback.base / every]
                         : &replay->weights;
    if (memcmp(weights, want, sizeof *weights) == 0)
        return NULL;
    return replay->restored ? "weights: they are not those of the version it goes back to"
                            : "weights: it was set aside, and yet they changed";
}

void replay_breaker_keep(struct replay *replay, uint64_t version, const struct hash *weights)
{
    const uint64_t every = replay->config->breaker_restore_every;
    if (replay->params.has_rollback && version % every == 0)
        replay->restore[version / every] = *weights;
}

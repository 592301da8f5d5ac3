/* replay_kl.c -- see replay.h: a step's KL, and what that is measured from. */
#include "cli/replay_state.h"
#include "control/kl_reference.h"

void replay_kl_reference(struct replay *replay)
{
    struct record_step *step = &replay->derived;
    if (replay->kl_reference)
        step->kl_reference_version = replay->kl_reference[step->behaviour_version];
    if (step->kl_reference_version == replay->kl_measured)
        return;
    replay->kl_measured = step->kl_reference_version;
    kl_init(&replay->params.kl, &replay->states.kl);
    breaker_forget(&replay->states.breaker, BREAKER_SIGNAL_KL);
}

void replay_kl_keep(struct replay *replay, uint64_t version)
{
    const uint64_t from = replay->restored ? (uint64_t)replay->next.rollback.base : version - 1;
    if (replay->kl_reference)
        replay->kl_reference[version] = kl_reference_version(
            replay->config->kl_reference_every, version, replay->kl_reference[from]);
}

enum err_code replay_kl(struct replay *replay, const struct replay_batch *batch,
                        struct err *err)
{
    const struct kl_params *kl = &replay->params.kl;
    struct record_step *out = &replay->derived;
    uint32_t n = 0;
    for (uint32_t i = 0; i < replay->B; i++) {
        const struct replay_slot *slot = &batch->slot[i];
        if (slot->state == REPLAY_DROPPED)
            continue;
        const enum err_code rc = kl_sequence(KL_K1, slot->logp, slot->ref, NULL, slot->tokens,
                                             &replay->kl_sum[n], &replay->kl_tokens[n], err);
        if (rc != ERR_OK)
            return rc;
        n++;
    }
    out->kl_mean = kl_batch_mean(KL_UNIT_SEQUENCE, replay->kl_sum, replay->kl_tokens, n);
    if (kl_over_cap(kl, out->kl_mean) && !replay_breaker_discards(replay))
        return err_set(err, ERR_VALUE, "its KL of %.17g nats a sequence is past the cap",
                       out->kl_mean);
    const double measured = kl_batch_mean(kl->unit, replay->kl_sum, replay->kl_tokens, n);
    return kl_step(kl, &replay->next.kl, measured, n, err);
}

/* replay_compare.c -- see replay.h: what was derived, against a STEP record. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cli/replay_state.h"

static void replay_compare_where(struct replay_at at, char text[64])
{
    if (at.slot < 0)
        snprintf(text, 64, "step %llu", (unsigned long long)at.step);
    else
        snprintf(text, 64, "step %llu, slot %lld", (unsigned long long)at.step,
                 (long long)at.slot);
}

enum err_code replay_same_count(struct replay *replay, struct replay_at at, const char *name,
                                uint64_t recorded, uint64_t derived, struct err *err)
{
    char where[64];
    replay->sum.quantities++;
    if (recorded == derived)
        return ERR_OK;
    replay_compare_where(at, where);
    return err_set(err, ERR_VALUE, "%s: %s: the ledger has %llu, derived is %llu", where, name,
                   (unsigned long long)recorded, (unsigned long long)derived);
}

enum err_code replay_same_number(struct replay *replay, struct replay_at at, const char *name,
                                 double recorded, double derived, struct err *err)
{
    char where[64];
    replay->sum.quantities++;
    if (recorded == derived || (isnan(recorded) && isnan(derived)))
        return ERR_OK;
    replay_compare_where(at, where);
    return err_set(err, ERR_VALUE, "%s: %s: the ledger has %.17g, derived is %.17g", where,
                   name, recorded, derived);
}

/* The scalars of a STEP record that can be derived, in the order a person would ask. */
#define REPLAY_COUNT_MAP(X) \
    X(version) X(behaviour_version) X(trained) X(worst_group) X(truncated) X(prompt_tokens) \
    X(response_tokens)
#define REPLAY_NUMBER_MAP(X)                                                         \
    X(kl_coef_before)                                                                \
    X(multiplier_before)                                                             \
    X(reward_raw_mean)                                                               \
    X(reward_raw_std)                                                                \
    X(reward_shaped_mean) X(kl_mean) X(kl_coef_after) X(cost_raw_mean) X(cost_limit) \
        X(multiplier_after)

static enum err_code replay_compare_scalars(struct replay *replay, struct replay_at at,
                                            const struct record_step *recorded, struct err *err)
{
    const struct record_step *derived = &replay->derived;
    enum err_code rc = ERR_OK;
#define X(name)       \
    if (rc == ERR_OK) \
        rc = replay_same_count(replay, at, #name, recorded->name, derived->name, err);
    REPLAY_COUNT_MAP(X)
#undef X
#define X(name)       \
    if (rc == ERR_OK) \
        rc = replay_same_number(replay, at, #name, recorded->name, derived->name, err);
    REPLAY_NUMBER_MAP(X)
#undef X
    return rc;
}

static enum err_code replay_compare_slots(struct replay *replay, struct replay_at at,
                                          const struct record_step *recorded, struct err *err)
{
    char name[64];
    enum err_code rc = ERR_OK;
    for (int r = 1; r < RECORD_REASONS && rc == ERR_OK; r++) {
        snprintf(name, sizeof name, "dropped.%s", record_reason_name((enum record_reason)r));
        rc = replay_same_count(replay, at, name, recorded->dropped[r],
                               replay->derived.dropped[r], err);
    }
    for (uint32_t s = 0; s < RUN_SCORERS_MAX && rc == ERR_OK; s++) {
        const char *scorer =
            s < replay->config->scorers ? replay->config->scorer[s].name : "(none)";
        snprintf(name, sizeof name, "score_mean.%.40s", scorer);
        rc = replay_same_number(replay, at, name, recorded->score_mean[s],
                                replay->derived.score_mean[s], err);
        snprintf(name, sizeof name, "score_missing.%.40s", scorer);
        if (rc == ERR_OK)
            rc = replay_same_count(replay, at, name, recorded->score_missing[s],
                                   replay->derived.score_missing[s], err);
    }
    return rc;
}

/* Last: where a number differs it is known which. */
static enum err_code replay_compare_experience(struct replay *replay,
                                               const struct record_step *recorded,
                                               struct err *err)
{
    char was[HASH_HEX_BYTES], is[HASH_HEX_BYTES];
    replay->sum.quantities++;
    if (memcmp(&recorded->experience, &replay->derived.experience,
               sizeof recorded->experience) == 0)
        return ERR_OK;
    hash_hex(&recorded->experience, was);
    hash_hex(&replay->derived.experience, is);
    return err_set(
        err, ERR_VALUE,
        "step %llu: experience: the ledger has %.16s..., derived is %.16s...: a "
        "prompt, a token, a log-prob, a score, a token's reward or the weights of the version "
        "before are not what was trained on",
        (unsigned long long)recorded->step, was, is);
}

enum err_code replay_compare(struct replay *replay, const struct record_step *recorded,
                             struct err *err)
{
    const struct replay_at at = {recorded->step, -1};
    enum err_code rc = replay_compare_slots(replay, at, recorded, err);
    if (rc == ERR_OK)
        rc = replay_compare_scalars(replay, at, recorded, err);
    if (rc == ERR_OK)
        rc = replay_same_count(replay, at, "numbers in controller", recorded->controller_n,
                               replay->derived.controller_n, err);
    for (uint32_t i = 0; i < replay->derived.controller_n && rc == ERR_OK; i++) {
        char name[32];
        replay_derive_controller_name(replay, i, name);
        rc = replay_same_number(replay, at, name, recorded->controller[i],
                                replay->derived.controller[i], err);
    }
    return rc == ERR_OK ? replay_compare_experience(replay, recorded, err) : rc;
}

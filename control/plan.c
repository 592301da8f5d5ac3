/* plan.c -- see plan.h. */
#include "control/plan.h"

#include <assert.h>

#include "base/rng.h"

/* The proof against an adversary who knows half of the order asks for about 6 log2 n rounds.
 * Nobody attacks the order of a data set: twice log2 of the greatest n. */
#define PLAN_ROUNDS 64

#define PLAN_PIECE 256u /* entries that go through the rounds together */

#define PLAN_GROUPS_MAX ((uint64_t)1 << 56) /* an epoch has 56 bits in rng.h */

enum err_code plan_check(const struct plan_params *params, struct err *err)
{
    if (params->prompts == 0)
        return err_set(err, ERR_USAGE, "plan: the data set has no prompt");
    if (params->slots == 0 || params->samples_per_prompt == 0 || params->steps == 0)
        return err_set(err, ERR_USAGE,
                       "plan: steps (%llu), batch (%u) and samples_per_prompt (%u) must be at "
                       "least 1",
                       (unsigned long long)params->steps, (unsigned)params->slots,
                       (unsigned)params->samples_per_prompt);
    if (params->slots % params->samples_per_prompt != 0)
        return err_set(err, ERR_USAGE,
                       "plan: samples_per_prompt (%u) does not divide batch (%u)",
                       (unsigned)params->samples_per_prompt, (unsigned)params->slots);
    if (params->steps > PLAN_GROUPS_MAX / (params->slots / params->samples_per_prompt))
        return err_set(err, ERR_USAGE, "plan: %llu steps of %u slots cannot be counted",
                       (unsigned long long)params->steps, (unsigned)params->slots);
    return ERR_OK;
}

/* One round, in place; count <= PLAN_PIECE. */
static void plan_permute_round(uint64_t seed, uint64_t epoch, uint32_t round, uint32_t n,
                               uint32_t *x, uint32_t count)
{
    const uint32_t sum =
        (uint32_t)rng_below(seed, RNG_STREAM_PLAN, epoch, PLAN_ROUNDS + round, 0, n);
    uint32_t partner[PLAN_PIECE], word[PLAN_PIECE];
    for (uint32_t i = 0; i < count; i++) {
        partner[i] = sum >= x[i] ? sum - x[i] : n - (x[i] - sum);
        word[i] = x[i] > partner[i] ? x[i] : partner[i];
    }
    rng_first(seed, RNG_STREAM_PLAN, epoch, round, word, word, count);
    for (uint32_t i = 0; i < count; i++) /* no branch, which would be guessed wrong half the time */
        x[i] ^= (x[i] ^ partner[i]) & (0u - (word[i] & 1));
}

/* Entries x[0..count-1] of the epoch's permutation, in place. */
static void plan_permute_all(uint64_t seed, uint64_t epoch, uint32_t n, uint32_t *x,
                             uint32_t count)
{
    for (uint32_t done = 0; done < count; done += PLAN_PIECE) {
        const uint32_t piece = count - done < PLAN_PIECE ? count - done : PLAN_PIECE;
        for (uint32_t round = 0; round < PLAN_ROUNDS; round++)
            plan_permute_round(seed, epoch, round, n, x + done, piece);
    }
}

uint32_t plan_permute(uint64_t seed, uint64_t epoch, uint32_t n, uint32_t i)
{
    assert(i < n);
    plan_permute_all(seed, epoch, n, &i, 1);
    return i;
}

void plan_epoch_permutation(uint32_t *order, uint32_t n, uint64_t seed, uint64_t epoch)
{
    for (uint32_t i = 0; i < n; i++)
        order[i] = i;
    plan_permute_all(seed, epoch, n, order, n);
}

struct plan_slot plan_slot(const struct plan_params *params, uint64_t step, uint32_t slot)
{
    assert(params->prompts > 0 && params->samples_per_prompt > 0);
    assert(params->slots % params->samples_per_prompt == 0 && slot < params->slots);

    const uint32_t groups = params->slots / params->samples_per_prompt;
    const uint32_t group = slot / params->samples_per_prompt;
    const uint64_t asked = step * groups + group;
    const uint64_t epoch = asked / params->prompts;
    return (struct plan_slot){
        .prompt = plan_permute(params->seed, epoch, params->prompts,
                               (uint32_t)(asked % params->prompts)),
        .sample = slot % params->samples_per_prompt,
        .group = group,
        .epoch = epoch,
    };
}

void plan_step(const struct plan_params *params, uint64_t step, uint32_t *prompt)
{
    const uint32_t groups = params->slots / params->samples_per_prompt;
    uint64_t asked = step * groups;
    for (uint32_t done = 0; done < groups;) { /* an epoch each turn */
        const uint32_t first = (uint32_t)(asked % params->prompts);
        const uint32_t left = params->prompts - first;
        const uint32_t n = left < groups - done ? left : groups - done;
        for (uint32_t i = 0; i < n; i++)
            prompt[done + i] = first + i;
        plan_permute_all(params->seed, asked / params->prompts, params->prompts, prompt + done,
                         n);
        done += n;
        asked += n;
    }
}

uint64_t plan_policy_version(uint64_t step, uint32_t lag)
{
    return step > lag ? step - lag : 0;
}

bool plan_ready(uint64_t step, uint64_t version, uint32_t lag)
{
    return version >= plan_policy_version(step, lag);
}

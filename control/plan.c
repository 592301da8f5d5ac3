/* plan.c -- see plan.h. */
#include "control/plan.h"

#include <assert.h>

#include "base/rng.h"

/* Four rounds make a Feistel network look random on wide halves; the halves of a small data
 * set are a few bits wide, and there more rounds are what mixes. */
#define PLAN_ROUNDS 8

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
    if (params->steps > UINT64_MAX / (params->slots / params->samples_per_prompt))
        return err_set(err, ERR_USAGE, "plan: %llu steps of %u slots cannot be counted",
                       (unsigned long long)params->steps, (unsigned)params->slots);
    return ERR_OK;
}

/* One pass of the network over `bits` bits, halves alternating: a half is never wider than
 * the other by more than a bit, and an odd width needs no padding. */
static uint32_t plan_feistel(uint64_t seed, uint64_t epoch, unsigned bits, uint32_t x)
{
    const unsigned low_bits = bits / 2;
    const uint32_t low_mask = (uint32_t)(((uint64_t)1 << low_bits) - 1);
    const uint32_t high_mask = (uint32_t)(((uint64_t)1 << (bits - low_bits)) - 1);
    uint32_t low = x & low_mask;
    uint32_t high = x >> low_bits;
    for (uint32_t round = 0; round < PLAN_ROUNDS; round++) {
        uint32_t word[4];
        const bool to_high = round % 2 == 0;
        rng_block(seed, RNG_STREAM_PLAN, epoch, round, to_high ? low : high, word);
        if (to_high)
            high ^= word[0] & high_mask;
        else
            low ^= word[0] & low_mask;
    }
    return (high << low_bits) | low;
}

uint32_t plan_permute(uint64_t seed, uint64_t epoch, uint32_t n, uint32_t i)
{
    assert(i < n);
    unsigned bits = 0;
    while (((uint64_t)1 << bits) < n)
        bits++;

    /* The walk ends: the network is a bijection, so it comes back to i < n at the latest. */
    uint32_t x = i;
    do {
        x = plan_feistel(seed, epoch, bits, x);
    } while (x >= n);
    return x;
}

void plan_epoch_permutation(uint32_t *order, uint32_t n, uint64_t seed, uint64_t epoch)
{
    for (uint32_t i = 0; i < n; i++)
        order[i] = plan_permute(seed, epoch, n, i);
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

uint64_t plan_policy_version(uint64_t step, uint32_t lag)
{
    return step > lag ? step - lag : 0;
}

bool plan_ready(uint64_t step, uint64_t version, uint32_t lag)
{
    return version >= plan_policy_version(step, lag);
}

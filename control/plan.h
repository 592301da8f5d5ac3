/*
 * plan.h -- which prompt each slot of each step answers: the plan of a run, a pure function.
 *
 * A step trains on `slots` responses in slots / samples_per_prompt groups; the responses of a
 * group answer one prompt.  Groups are counted through the run,
 *
 *     G      = step * (slots / samples_per_prompt) + group
 *     epoch  = G / prompts
 *     prompt = permutation(seed, epoch) [G % prompts]
 *
 * so each epoch asks every prompt once, in an order of its own, and a step may straddle two
 * epochs.  Nothing here depends on what arrived when: any process computes any slot.
 *
 * The permutation of 0..n-1 is the swap-or-not shuffle (Hoang, Morris, Rogaway, CRYPTO 2012) in
 * 64 rounds.  Round r pairs x with x' = (sum_r - x) mod n, and swaps the two or not:
 *
 *     sum_r  = rng_below(seed, PLAN, epoch, 64 + r, 0, n)
 *     x      = x'  where the lowest bit of rng_block(seed, PLAN, epoch, r, max(x, x'))[0] is 1
 *
 * Both partners look at the same bit, so every round is a bijection, for any n: a lookup takes
 * no memory, always the same time, and knows nothing of the other entries.
 *
 * Pure: no state, no allocation, safe from any thread.
 */
#ifndef CONTROL_PLAN_H
#define CONTROL_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct plan_params {
    uint64_t seed;               /* the run's */
    uint32_t prompts;            /* in the data set, > 0 */
    uint32_t slots;              /* B: responses a step trains on, > 0 */
    uint32_t samples_per_prompt; /* K >= 1; divides slots */
    uint64_t steps;              /* of the run, > 0 */
};

struct plan_slot {
    uint32_t prompt; /* index in the data set, < prompts */
    uint32_t sample; /* which response to it within the group, < samples_per_prompt */
    uint32_t group;  /* within the step, < slots / samples_per_prompt; = slot / K */
    uint64_t epoch;  /* how often the data set had been gone through before */
};

/* ERR_USAGE, with the sentence, where a count is 0, K does not divide B, or the run has more
 * than 2^56 groups.  The functions below assert what this checks. */
enum err_code plan_check(const struct plan_params *params, struct err *err);

/* What slot `slot` < slots of step `step` is.  Steps at and past params->steps are answered
 * too: a resumed run may be given more. */
struct plan_slot plan_slot(const struct plan_params *params, uint64_t step, uint32_t slot);

/* prompt[g] = the prompt of group g of the step, for all slots / samples_per_prompt groups;
 * prompt is the caller's.  What plan_slot says of each, in a fraction of the time. */
void plan_step(const struct plan_params *params, uint64_t step, uint32_t *prompt);

/* Entry i of epoch `epoch`'s permutation of 0..n-1; i < n. */
uint32_t plan_permute(uint64_t seed, uint64_t epoch, uint32_t n, uint32_t i);

/* order[i] = plan_permute(seed, epoch, n, i) for all i < n; order is the caller's. */
void plan_epoch_permutation(uint32_t *order, uint32_t n, uint64_t seed, uint64_t epoch);

/* The policy version that generates step `step`: max(0, step - lag).  Version v is the policy
 * after v steps; 0 is the one training starts from. */
uint64_t plan_policy_version(uint64_t step, uint32_t lag);

/* May generation for `step` begin when `version` is the newest published version? */
bool plan_ready(uint64_t step, uint64_t version, uint32_t lag);

#endif

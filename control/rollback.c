/* rollback.c -- see rollback.h. */
#include "control/rollback.h"

#include <assert.h>
#include <math.h>

void rollback_init(struct rollback_state *state)
{
    *state = (struct rollback_state){0};
}

uint64_t rollback_target(const struct rollback_state *state, uint64_t every, double good)
{
    assert(every > 0);
    const uint64_t last = good > 0.0 ? (uint64_t)good / every * every : 0;
    return (double)last >= state->resumed ? last : (uint64_t)state->base;
}

bool rollback_discards(const struct rollback_state *state, uint64_t version)
{
    return (double)version > state->base && (double)version < state->resumed;
}

void rollback_step(struct rollback_state *state, uint64_t step, uint64_t target)
{
    assert(target <= step);
    state->base = (double)target;
    state->resumed = (double)(step + 1);
    state->count += 1.0;
}

bool rollback_needs(uint64_t every, uint32_t lag, uint64_t step, uint64_t target,
                    uint64_t version)
{
    const uint64_t seen = step + 1 > lag ? step + 1 - lag : 0; /* by the rollouts of the next */
    return version == target || (version % every == 0 && version >= seen / every * every);
}

enum err_code rollback_check(const struct rollback_state *state, uint64_t every, uint64_t steps,
                             struct err *err)
{
    const bool never = state->count == 0.0 && state->base == 0.0 && state->resumed == 0.0;
    const bool whole = state->base == floor(state->base) &&
                       state->resumed == floor(state->resumed) &&
                       state->count == floor(state->count);
    const bool possible = whole && state->count >= 1.0 && state->base >= 0.0 &&
                          state->base < state->resumed && state->resumed <= (double)steps &&
                          fmod(state->base, (double)every) == 0.0;
    if (never || possible)
        return ERR_OK;
    return err_set(
        err, ERR_VALUE,
        "rollback: %g rollbacks, the last from step %g to version %g, cannot be after "
        "%llu steps",
        state->count, state->resumed - 1.0, state->base, (unsigned long long)steps);
}

/* breaker_check.c -- see breaker.h: the settings of a breaker, and a state that was read back. */
#include <math.h>
#include <string.h>

#include "control/breaker.h"

/* --- settings -------------------------------------------------------------------------- */

static bool breaker_is_absolute(const struct breaker_limits *limits)
{
    return limits->low > -INFINITY || limits->high < INFINITY;
}

static bool breaker_is_relative(const struct breaker_limits *limits)
{
    return limits->ratio > 0.0 || limits->deviations > 0.0;
}

static enum err_code breaker_check_limits(const char *name, const struct breaker_limits *limits,
                                          struct err *err)
{
    if (!(limits->low < limits->high))
        return err_set(err, ERR_USAGE, "breaker: %s is held between %g and %g", name,
                       limits->low, limits->high);
    if (limits->ratio != 0.0 && !(isfinite(limits->ratio) && limits->ratio > 1.0))
        return err_set(err, ERR_USAGE, "breaker: %s's ratio is %g, must be above 1, or 0", name,
                       limits->ratio);
    if (!isfinite(limits->deviations) || limits->deviations < 0.0)
        return err_set(err, ERR_USAGE, "breaker: %s's deviations are %g, must be 0 or more",
                       name, limits->deviations);
    if ((breaker_is_absolute(limits) && limits->absolute == BREAKER_NONE) ||
        (breaker_is_relative(limits) && limits->relative == BREAKER_NONE))
        return err_set(err, ERR_USAGE, "breaker: %s has a limit without an outcome", name);
    return ERR_OK;
}

static bool breaker_may_roll_back(const struct breaker_params *params)
{
    bool skips = params->not_finite == BREAKER_SKIP;
    bool rolls_back = params->not_finite == BREAKER_ROLLBACK;
    for (int i = 0; i < BREAKER_SIGNALS; i++) {
        const struct breaker_limits *limits = &params->limit[i];
        skips = skips || limits->absolute == BREAKER_SKIP || limits->relative == BREAKER_SKIP;
        rolls_back = rolls_back || limits->absolute == BREAKER_ROLLBACK ||
                     limits->relative == BREAKER_ROLLBACK;
    }
    return rolls_back || (skips && params->skips_max > 0);
}

static enum err_code breaker_check_counts(const struct breaker_params *params, struct err *err)
{
    if (params->warmup < BREAKER_WINDOW_MIN || params->warmup > params->window ||
        params->window > BREAKER_WINDOW_MAX)
        return err_set(err, ERR_USAGE,
                       "breaker: a window of %u steps with a warm-up of %u, must be %d to %d, "
                       "and the warm-up no longer",
                       (unsigned)params->window, (unsigned)params->warmup, BREAKER_WINDOW_MIN,
                       BREAKER_WINDOW_MAX);
    if (params->cooldown == 0)
        return err_set(err, ERR_USAGE, "breaker: the cool-down is 0 steps, must be 1 or more");
    if (params->trips_max > BREAKER_TRIPS_MAX)
        return err_set(err, ERR_USAGE, "breaker: trips_max is %u, must be at most %d",
                       (unsigned)params->trips_max, BREAKER_TRIPS_MAX);
    return ERR_OK;
}

enum err_code breaker_params_check(const struct breaker_params *params, struct err *err)
{
    enum err_code rc = breaker_check_counts(params, err);
    for (int i = 0; i < BREAKER_SIGNALS && !rc; i++)
        rc = breaker_check_limits(breaker_signal_name((enum breaker_signal)i),
                                  &params->limit[i], err);
    if (rc)
        return rc;
    if (params->not_finite == BREAKER_NONE)
        return err_set(err, ERR_USAGE, "breaker: what is not finite must not be trained on");
    if (!(params->lr_factor >= 1.0 / BREAKER_FACTOR_MAX && params->lr_factor <= 1.0))
        return err_set(err, ERR_USAGE, "breaker: lr_factor is %g, must be %g to 1",
                       params->lr_factor, 1.0 / BREAKER_FACTOR_MAX);
    if (!(params->beta_factor >= 1.0 && params->beta_factor <= BREAKER_FACTOR_MAX))
        return err_set(err, ERR_USAGE, "breaker: beta_factor is %g, must be 1 to %g",
                       params->beta_factor, BREAKER_FACTOR_MAX);
    if (breaker_may_roll_back(params) && params->lr_factor == 1.0 && params->beta_factor == 1.0)
        return err_set(err, ERR_USAGE,
                       "breaker: with lr_factor and beta_factor 1 the run would do after a "
                       "rollback what it did before");
    return ERR_OK;
}

/* --- a state that was read back -------------------------------------------------------- */

static bool breaker_is_count(double x, double max)
{
    return x >= 0.0 && x <= max && floor(x) == x;
}

static enum err_code breaker_check_window(const struct breaker_params *params,
                                          const struct breaker_state *state, int i,
                                          struct err *err)
{
    const char *name = breaker_signal_name((enum breaker_signal)i);
    if (!breaker_is_count(state->seen[i], params->window))
        return err_set(err, ERR_VALUE,
                       "breaker: the state has %g numbers of %s, the window is %u",
                       state->seen[i], name, (unsigned)params->window);
    static const double none[BREAKER_WINDOW_MAX];
    const double *window = state->window[i];
    const uint32_t seen = (uint32_t)state->seen[i];
    uint32_t k = 0;
    while (k < seen && isfinite(window[k]))
        k++;
    if (k == seen && memcmp(&window[k], none, (BREAKER_WINDOW_MAX - k) * sizeof *none) == 0)
        return ERR_OK; /* as nearly always: the rest is looked at as one block */
    while (k >= seen && k < BREAKER_WINDOW_MAX && window[k] == 0.0)
        k++;
    if (k == BREAKER_WINDOW_MAX)
        return ERR_OK;
    return err_set(err, ERR_VALUE, "breaker: the state's %s of %u steps ago is %g", name,
                   (unsigned)k + 1, window[k]);
}

static bool breaker_keeps_its_promise(const struct breaker_params *params,
                                      const struct breaker_state *state)
{
    if (state->phase == BREAKER_PHASE_CLOSED)
        return state->trips == 0.0 && state->clean == 0.0 && state->skips == 0.0 &&
               state->lr_scale == 1.0 && state->beta_scale == 1.0;
    if (state->phase == BREAKER_PHASE_COOLING)
        return state->trips >= 1.0 && state->trips <= params->trips_max &&
               state->clean < params->cooldown;
    return state->phase == BREAKER_PHASE_HALTED && state->trips >= 1.0;
}

enum err_code breaker_check(const struct breaker_params *params,
                            const struct breaker_state *state, struct err *err)
{
    const bool counts =
        breaker_is_count(state->trips, state->total) && breaker_is_count(state->total, 1e15) &&
        breaker_is_count(state->skips, state->trips) && breaker_is_count(state->clean, 1e15);
    const bool scales = state->lr_scale > 0.0 && state->lr_scale <= 1.0 &&
                        state->beta_scale >= 1.0 && isfinite(state->beta_scale);
    const bool cause = breaker_is_count(state->signal, BREAKER_SIGNALS - 1) &&
                       breaker_is_count(state->limit, BREAKER_LIMIT_DEVIATIONS) &&
                       isfinite(state->value) && isfinite(state->bound);
    const bool good = isfinite(state->good) && (state->good >= 0.0 || state->good == -1.0);
    if (!counts || !scales || !cause || !good || !breaker_keeps_its_promise(params, state))
        return err_set(err, ERR_VALUE,
                       "breaker: the state has phase %g after %g trips of %g, %g skips, %g "
                       "clean steps, good version %g, scales %g and %g, cause %g %g",
                       state->phase, state->trips, state->total, state->skips, state->clean,
                       state->good, state->lr_scale, state->beta_scale, state->signal,
                       state->limit);
    for (int i = 0; i < BREAKER_SIGNALS; i++) {
        const enum err_code rc = breaker_check_window(params, state, i, err);
        if (rc)
            return rc;
    }
    return ERR_OK;
}

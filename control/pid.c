/* pid.c -- see pid.h. */
#include "control/pid.h"

#include <assert.h>
#include <math.h>
#include <string.h>

static double pid_clip(const struct pid_params *params, double x)
{
    return x < params->low ? params->low : x > params->high ? params->high : x;
}

/* How far beyond the bounds of the output the integral may stand. */
static double pid_beyond(const struct pid_params *params)
{
    return params->bumpless ? params->kp * params->error_max : 0.0;
}

static double pid_clip_integral(const struct pid_params *params, double x)
{
    const double low = params->low - pid_beyond(params);
    const double high = params->high + pid_beyond(params);
    return x < low ? low : x > high ? high : x;
}

static enum err_code pid_check_gain(const char *name, double gain, struct err *err)
{
    if (!isfinite(gain) || gain < 0.0)
        return err_set(err, ERR_USAGE, "pid: %s is %g, must be 0 or more", name, gain);
    return ERR_OK;
}

static enum err_code pid_check_smooth(const char *name, double smooth, struct err *err)
{
    if (!(smooth >= 0.0 && smooth < 1.0))
        return err_set(err, ERR_USAGE, "pid: %s is %g, must be in [0, 1)", name, smooth);
    return ERR_OK;
}

enum err_code pid_params_check(const struct pid_params *params, struct err *err)
{
    enum err_code rc = pid_check_gain("kp", params->kp, err);
    if (!rc)
        rc = pid_check_gain("ki", params->ki, err);
    if (!rc)
        rc = pid_check_gain("kd", params->kd, err);
    if (!rc)
        rc = pid_check_smooth("smooth_p", params->smooth_p, err);
    if (!rc)
        rc = pid_check_smooth("smooth_d", params->smooth_d, err);
    if (rc)
        return rc;
    if (params->kp == 0.0 && params->ki == 0.0 && params->kd == 0.0)
        return err_set(err, ERR_USAGE, "pid: kp, ki and kd are all 0: the output never moves");
    if (!isfinite(params->target) || !isfinite(params->before))
        return err_set(err, ERR_USAGE, "pid: target is %g, before is %g, must be finite",
                       params->target, params->before);
    if (!isfinite(params->error_max) || params->error_max < 0.0)
        return err_set(err, ERR_USAGE, "pid: error_max is %g, must be 0 (none) or more",
                       params->error_max);
    if (params->bumpless && params->error_max == 0.0)
        return err_set(err, ERR_USAGE, "pid: a bumpless start needs an error_max above 0");
    if (params->delay < 1 || params->delay > PID_DELAY_MAX)
        return err_set(err, ERR_USAGE, "pid: delay is %u steps, must be 1 to %d",
                       (unsigned)params->delay, PID_DELAY_MAX);
    if (!isfinite(params->low) || !(params->low < params->high))
        return err_set(err, ERR_USAGE, "pid: bounds are %g and %g, must rise from a finite one",
                       params->low, params->high);
    if (!(params->start >= params->low && params->start <= params->high))
        return err_set(err, ERR_USAGE, "pid: start is %g, must be within %g and %g",
                       params->start, params->low, params->high);
    return ERR_OK;
}

static double pid_error(const struct pid_params *params, double value)
{
    const double error = value - params->target;
    if (params->error_max == 0.0 || fabs(error) <= params->error_max || isnan(error))
        return error;
    return error < 0.0 ? -params->error_max : params->error_max;
}

void pid_init(const struct pid_params *params, struct pid_state *state)
{
    const double proportional = params->bumpless ? pid_error(params, params->before) : 0.0;
    *state = (struct pid_state){.output = params->start,
                                .proportional = proportional,
                                .integral = params->start - params->kp * proportional,
                                .value = params->before};
    for (uint32_t i = 0; i < params->delay; i++)
        state->history[i] = params->before;
}

/* Would integrating push an output that is past its bound further out? */
static bool pid_is_stuck(const struct pid_params *params, double output, double error)
{
    return (output > params->high && error > 0.0) || (output < params->low && error < 0.0);
}

enum err_code pid_step(const struct pid_params *params, struct pid_state *state, double value,
                       struct err *err)
{
    assert(params->delay >= 1 && params->delay <= PID_DELAY_MAX);
    struct pid_state next = *state;
    const double error = pid_error(params, value);
    next.proportional =
        params->smooth_p * state->proportional + (1.0 - params->smooth_p) * error;
    next.value = params->smooth_d * state->value + (1.0 - params->smooth_d) * value;
    double derivative = next.value - state->history[params->delay - 1];
    if (params->rising && derivative < 0.0)
        derivative = 0.0;
    const double p = params->kp * next.proportional, d = params->kd * derivative;
    if (!params->hold || !pid_is_stuck(params, p + state->integral + d, error))
        next.integral = pid_clip_integral(params, state->integral + params->ki * error);
    const double output = p + next.integral + d;
    if (!isfinite(output) || !isfinite(value))
        return err_set(err, ERR_VALUE, "pid: a value of %g leaves an output of %g", value,
                       output);
    next.output = pid_clip(params, output);
    memmove(next.history + 1, state->history, (params->delay - 1) * sizeof next.history[0]);
    next.history[0] = next.value;
    next.steps += 1.0;
    *state = next;
    return ERR_OK;
}

enum err_code pid_check(const struct pid_params *params, const struct pid_state *state,
                        struct err *err)
{
    if (!isfinite(state->output) || state->output != pid_clip(params, state->output) ||
        !isfinite(state->integral) ||
        state->integral != pid_clip_integral(params, state->integral))
        return err_set(err, ERR_VALUE,
                       "pid: the state's output is %g, its integral %g, outside %g to %g, for "
                       "the integral %g more",
                       state->output, state->integral, params->low, params->high,
                       pid_beyond(params));
    bool finite = isfinite(state->proportional) && isfinite(state->value);
    for (uint32_t i = 0; i < PID_DELAY_MAX; i++)
        finite = finite &&
                 (i < params->delay ? isfinite(state->history[i]) : state->history[i] == 0.0);
    if (!finite || !(state->steps >= 0.0) || floor(state->steps) != state->steps)
        return err_set(err, ERR_VALUE,
                       "pid: the state's smoothed error is %g, its smoothed value %g, its "
                       "steps %g, or its history is not that of %u steps",
                       state->proportional, state->value, state->steps,
                       (unsigned)params->delay);
    return ERR_OK;
}

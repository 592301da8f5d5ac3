/* kl.c -- see kl.h. */
#include "control/kl.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#define KL_ERROR_CLIP 0.2   /* Ziegler's bound on the proportional error */
#define KL_ERROR_MAX  1.0   /* lookahead, pid: what a KL of 0 is off, and as much upwards */
#define KL_EXP_ERROR  1e-12 /* exp(log(x)) of x, and exp of another machine's libm */

const char *kl_estimator_name(enum kl_estimator estimator)
{
    switch (estimator) {
#define X(name, word) \
    case KL_##name: return word;
        KL_ESTIMATOR_MAP(X)
#undef X
    }
    return "?";
}

const char *kl_controller_name(enum kl_controller controller)
{
    switch (controller) {
#define X(name, word) \
    case KL_CONTROLLER_##name: return word;
        KL_CONTROLLER_MAP(X)
#undef X
    }
    return "?";
}

const char *kl_unit_name(enum kl_unit unit)
{
    switch (unit) {
#define X(name, word) \
    case KL_UNIT_##name: return word;
        KL_UNIT_MAP(X)
#undef X
    }
    return "?";
}

static double kl_clamp(double x, double low, double high)
{
    return x < low ? low : x > high ? high : x;
}

double kl_estimate(enum kl_estimator estimator, double logp, double logref)
{
    const double d = logp - logref;
    if (estimator == KL_K1)
        return d;
    if (estimator == KL_K2)
        return 0.5 * d * d;
    assert(estimator == KL_K3);
    const double x = kl_clamp(-d, -KL_EXPONENT_MAX, KL_EXPONENT_MAX);
    const double k3 = expm1(x) - x; /* expm1: near d = 0 the difference would cancel */
    return k3 > KL_K3_MAX ? KL_K3_MAX : k3;
}

double kl_gradient(enum kl_estimator estimator, double logp, double logref)
{
    const double d = logp - logref;
    if (estimator == KL_K1)
        return 1.0;
    if (estimator == KL_K2)
        return d;
    /* Wherever the exponent is clamped the result is too: k3 is above 10 for all |d| > 20. */
    return kl_estimate(KL_K3, logp, logref) < KL_K3_MAX ? -expm1(-d) : 0.0;
}

enum err_code kl_sequence(enum kl_estimator estimator, const float *logp, const float *logref,
                          const uint8_t *mask, size_t T, double *sum, uint32_t *tokens,
                          struct err *err)
{
    double total = 0.0;
    uint32_t counted = 0;
    for (size_t t = 0; t < T; t++) {
        if (mask && !mask[t])
            continue;
        if (!isfinite(logp[t]) || !isfinite(logref[t]))
            return err_set(err, ERR_VALUE,
                           "kl: token %zu has log-prob %g, under the reference %g", t,
                           (double)logp[t], (double)logref[t]);
        total += kl_estimate(estimator, (double)logp[t], (double)logref[t]);
        counted++;
    }
    *sum = total;
    *tokens = counted;
    return ERR_OK;
}

double kl_batch_mean(enum kl_unit unit, const double *sum, const uint32_t *tokens, size_t n)
{
    assert(n > 0);
    double total = 0.0;
    for (size_t i = 0; i < n; i++) {
        if (tokens[i] > 0)
            total += unit == KL_UNIT_TOKEN ? sum[i] / (double)tokens[i] : sum[i];
    }
    return total / (double)n;
}

static struct pid_params kl_pid(const struct kl_params *params)
{
    return (struct pid_params){
        .kp = params->kp,
        .ki = params->ki,
        .kd = params->kd,
        .target = 1.0,
        .error_max = KL_ERROR_MAX,
        .smooth_p = params->smooth,
        .smooth_d = params->smooth,
        .delay = 1,
        .hold = true,
        .bumpless = true,
        .low = log(params->coef_min),
        .high = log(params->coef_max),
        .start = log(params->coef),
    };
}

static enum err_code kl_check_pid(const struct kl_params *params, struct err *err)
{
    if (!isfinite(params->coef_max) || !(params->coef_min > 0.0))
        return err_set(err, ERR_USAGE, "kl: coef_min is %g, coef_max %g, must be above 0",
                       params->coef_min, params->coef_max);
    const struct pid_params pid = kl_pid(params);
    return pid_params_check(&pid, err);
}

static bool kl_looks_ahead(const struct kl_params *params)
{
    return params->controller == KL_CONTROLLER_ADAPTIVE && params->lookahead > 0.0;
}

static enum err_code kl_check_adaptive(const struct kl_params *params, uint32_t sequences,
                                       struct err *err)
{
    if (!isfinite(params->lookahead) || params->lookahead < 0.0)
        return err_set(err, ERR_USAGE, "kl: lookahead is %g steps, must be 0 (none) or more",
                       params->lookahead);
    if (!(params->smooth >= 0.0 && params->smooth < 1.0))
        return err_set(err, ERR_USAGE, "kl: smooth is %g, must be in [0, 1)", params->smooth);
    if (kl_looks_ahead(params) &&
        !(params->coef_min > 0.0 && params->coef_min < params->coef_max &&
          kl_clamp(params->coef, params->coef_min, params->coef_max) == params->coef))
        return err_set(err, ERR_USAGE, "kl: coef %g must be within coef_min %g and coef_max %g",
                       params->coef, params->coef_min, params->coef_max);
    /* At or past this a single step could take beta to 0 or below. */
    const double least = KL_ERROR_CLIP * sequences;
    if (params->horizon != 0.0 && (!isfinite(params->horizon) || params->horizon <= least))
        return err_set(err, ERR_USAGE,
                       "kl: horizon is %g, must be above %g for steps of %u sequences, or 0",
                       params->horizon, least, (unsigned)sequences);
    return ERR_OK;
}

enum err_code kl_params_check(const struct kl_params *params, uint32_t sequences,
                              struct err *err)
{
    if (!isfinite(params->coef) || params->coef < 0.0)
        return err_set(err, ERR_USAGE, "kl: coef is %g, must be 0 or more", params->coef);
    if (!isfinite(params->cap) || params->cap < 0.0)
        return err_set(err, ERR_USAGE, "kl: cap is %g, must be 0 (none) or more", params->cap);
    if (params->controller == KL_CONTROLLER_FIXED)
        return ERR_OK;
    if (params->coef == 0.0)
        return err_set(err, ERR_USAGE, "kl: an adaptive coef cannot leave 0");
    if (!isfinite(params->target) || params->target <= 0.0)
        return err_set(err, ERR_USAGE, "kl: target is %g %s, must be above 0", params->target,
                       kl_unit_name(params->unit));
    if (params->controller == KL_CONTROLLER_PID)
        return kl_check_pid(params, err);
    return kl_check_adaptive(params, sequences, err);
}

void kl_init(const struct kl_params *params, struct kl_state *state)
{
    *state = (struct kl_state){.coef = params->coef};
    if (params->controller == KL_CONTROLLER_PID) {
        const struct pid_params pid = kl_pid(params);
        pid_init(&pid, &state->pid);
    }
}

/* In parts of the target; a single response that runs away is not the policy. */
static double kl_part(const struct kl_params *params, double kl)
{
    return 1.0 + kl_clamp(kl / params->target - 1.0, -KL_ERROR_MAX, KL_ERROR_MAX);
}

static void kl_step_adaptive(const struct kl_params *params, struct kl_state *state, double kl,
                             uint32_t sequences)
{
    const double gain =
        params->horizon == 0.0 ? 1.0 / KL_HORIZON_STEPS : sequences / params->horizon;
    assert(params->target > 0.0 && KL_ERROR_CLIP * gain < 1.0);
    if (!kl_looks_ahead(params)) {
        const double off = kl / params->target - 1.0;
        state->coef *= 1.0 + gain * kl_clamp(off, -KL_ERROR_CLIP, KL_ERROR_CLIP);
        return;
    }
    const double value = params->smooth * state->value +
                         (1.0 - params->smooth) * params->target * kl_part(params, kl);
    const double ahead = value + params->lookahead * (value - state->value);
    state->value = value;
    state->coef = kl_clamp(state->coef * exp(gain * (ahead / params->target - 1.0)),
                           params->coef_min, params->coef_max);
}

enum err_code kl_step(const struct kl_params *params, struct kl_state *state, double kl,
                      uint32_t sequences, struct err *err)
{
    if (!isfinite(kl))
        return err_set(err, ERR_VALUE, "kl: the step measured %g %s", kl,
                       kl_unit_name(params->unit));
    if (params->controller == KL_CONTROLLER_ADAPTIVE)
        kl_step_adaptive(params, state, kl, sequences);
    if (params->controller == KL_CONTROLLER_PID) {
        const struct pid_params pid = kl_pid(params);
        const enum err_code rc = pid_step(&pid, &state->pid, kl_part(params, kl), err);
        if (rc)
            return rc;
        state->coef = exp(state->pid.output);
    }
    state->last = kl;
    state->steps += 1.0;
    return ERR_OK;
}

enum err_code kl_check(const struct kl_params *params, const struct kl_state *state,
                       struct err *err)
{
    const bool fixed = params->controller == KL_CONTROLLER_FIXED;
    if (!isfinite(state->coef) || state->coef < 0.0 || (fixed && state->coef != params->coef))
        return err_set(err, ERR_VALUE,
                       "kl: the state's coef is %.17g, under a %s coef of %.17g", state->coef,
                       kl_controller_name(params->controller), params->coef);
    if (kl_looks_ahead(params) &&
        kl_clamp(state->coef, params->coef_min, params->coef_max) != state->coef)
        return err_set(err, ERR_VALUE, "kl: the state's coef is %.17g, outside %g to %g",
                       state->coef, params->coef_min, params->coef_max);
    if (!isfinite(state->last) || !isfinite(state->steps) || state->steps < 0.0 ||
        !isfinite(state->value))
        return err_set(err, ERR_VALUE,
                       "kl: the state's last is %g, its steps %g, its smoothed value %g",
                       state->last, state->steps, state->value);
    if (params->controller != KL_CONTROLLER_PID)
        return ERR_OK;
    const double said = exp(state->pid.output);
    if (fabs(state->coef - said) > KL_EXP_ERROR * said || state->steps != state->pid.steps)
        return err_set(
            err, ERR_VALUE,
            "kl: the state's coef is %.17g after %g steps, its pid says %.17g after %g",
            state->coef, state->steps, said, state->pid.steps);
    const struct pid_params pid = kl_pid(params);
    return pid_check(&pid, &state->pid, err);
}

double kl_integral(const struct kl_params *params, const struct kl_state *state)
{
    return params->controller == KL_CONTROLLER_PID ? exp(state->pid.integral) : 0.0;
}

double kl_smoothed(const struct kl_params *params, const struct kl_state *state)
{
    if (params->controller == KL_CONTROLLER_PID)
        return params->target * state->pid.value;
    return kl_looks_ahead(params) ? state->value : (double)NAN;
}

uint32_t kl_state_n(const struct kl_params *params)
{
    if (params->controller == KL_CONTROLLER_PID)
        return KL_STATE_MAX;
    return kl_looks_ahead(params) ? 4 : 3;
}

void kl_state_write(const struct kl_params *params, const struct kl_state *state, double *out)
{
    out[0] = state->coef;
    out[1] = state->last;
    out[2] = state->steps;
    if (kl_looks_ahead(params))
        out[3] = state->value;
    if (params->controller == KL_CONTROLLER_PID)
        memcpy(out + 3, &state->pid, sizeof state->pid);
}

void kl_state_read(const struct kl_params *params, struct kl_state *state, const double *in)
{
    *state = (struct kl_state){.coef = in[0], .last = in[1], .steps = in[2]};
    if (kl_looks_ahead(params))
        state->value = in[3];
    if (params->controller == KL_CONTROLLER_PID)
        memcpy(&state->pid, in + 3, sizeof state->pid);
}

bool kl_over_cap(const struct kl_params *params, double kl)
{
    return isnan(kl) || (params->cap > 0.0 && kl > params->cap);
}

/* lagrange.c -- see lagrange.h. */
#include "control/lagrange.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

/* OmniSafe's defaults. */
#define LAGRANGE_SMOOTHING 0.95
#define LAGRANGE_DELAY     10 /* steps */

const char *lagrange_controller_name(enum lagrange_controller controller)
{
    switch (controller) {
#define X(name, word) \
    case LAGRANGE_##name: return word;
        LAGRANGE_CONTROLLER_MAP(X)
#undef X
    }
    return "?";
}

static double lagrange_most(const struct lagrange_params *params)
{
    return params->multiplier_max > 0.0 ? params->multiplier_max : INFINITY;
}

static struct pid_params lagrange_pid(const struct lagrange_params *params)
{
    return (struct pid_params){
        .kp = params->kp,
        .ki = params->ki,
        .kd = params->kd,
        .target = params->limit,
        .smooth_p = LAGRANGE_SMOOTHING,
        .smooth_d = LAGRANGE_SMOOTHING,
        .delay = LAGRANGE_DELAY,
        .rising = true,
        .low = params->multiplier_min,
        .high = lagrange_most(params),
        .start = params->multiplier,
    };
}

static enum err_code lagrange_check_range(const char *name, double value, struct err *err)
{
    if (!isfinite(value) || value < 0.0)
        return err_set(err, ERR_USAGE, "lagrange: %s is %g, must be 0 or more", name, value);
    return ERR_OK;
}

enum err_code lagrange_params_check(const struct lagrange_params *params, struct err *err)
{
    if (params->controller == LAGRANGE_NONE)
        return ERR_OK;
    const struct {
        const char *name;
        double value;
    } ranges[] = {
        {"multiplier", params->multiplier},
        {"multiplier_min", params->multiplier_min},
        {"multiplier_max", params->multiplier_max},
        {"lr", params->lr},
    };
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++) {
        const enum err_code rc = lagrange_check_range(ranges[i].name, ranges[i].value, err);
        if (rc)
            return rc;
    }
    if (!isfinite(params->limit))
        return err_set(err, ERR_USAGE, "lagrange: limit is %g", params->limit);
    if (params->multiplier < params->multiplier_min)
        return err_set(err, ERR_USAGE, "lagrange: multiplier %g is below multiplier_min %g",
                       params->multiplier, params->multiplier_min);
    if (params->multiplier > lagrange_most(params))
        return err_set(err, ERR_USAGE, "lagrange: multiplier %g is above multiplier_max %g",
                       params->multiplier, params->multiplier_max);
    if (params->pessimistic) {
        const enum err_code rc = pessimism_check(&params->pessimism, err);
        if (rc)
            return rc;
    }
    if (params->window < 1 || params->window > LAGRANGE_WINDOW_MAX)
        return err_set(err, ERR_USAGE, "lagrange: window is %u steps, must be 1..%d",
                       (unsigned)params->window, LAGRANGE_WINDOW_MAX);
    if (params->controller == LAGRANGE_LAGRANGIAN &&
        (params->multiplier == 0.0 || params->lr == 0.0))
        return err_set(err, ERR_USAGE,
                       "lagrange: lagrangian never moves from multiplier %g with lr %g",
                       params->multiplier, params->lr);
    if (params->controller != LAGRANGE_PID)
        return ERR_OK;
    const struct pid_params pid = lagrange_pid(params);
    return pid_params_check(&pid, err);
}

void lagrange_init(const struct lagrange_params *params, struct lagrange_state *state)
{
    *state = (struct lagrange_state){0};
    if (params->controller == LAGRANGE_NONE)
        return;
    state->multiplier = params->multiplier;
    if (params->controller == LAGRANGE_LAGRANGIAN)
        state->log_multiplier = log(params->multiplier);
    if (params->controller == LAGRANGE_PID) {
        const struct pid_params pid = lagrange_pid(params);
        pid_init(&pid, &state->pid);
    }
}

void lagrange_add(struct lagrange_sums *step, double cost)
{
    step->n += 1.0;
    step->sum += cost;
    step->squares += cost * cost;
}

double lagrange_cost(const struct lagrange_state *state)
{
    double n = 0.0, sum = 0.0;
    for (size_t i = 0; i < LAGRANGE_WINDOW_MAX; i++) {
        n += state->window[i].n;
        sum += state->window[i].sum;
    }
    return n > 0.0 ? sum / n : 0.0;
}

/* What is left of equal costs when one sum is taken from the other; a deviation of that would
 * stand in a denominator. */
#define LAGRANGE_ROUNDING 1e-11

enum err_code lagrange_bound(const struct lagrange_params *params,
                             const struct lagrange_state *state, struct pessimism_bound *bound,
                             struct err *err)
{
    double n = 0.0, sum = 0.0, squares = 0.0;
    for (size_t i = 0; i < LAGRANGE_WINDOW_MAX; i++) {
        n += state->window[i].n;
        sum += state->window[i].sum;
        squares += state->window[i].squares;
    }
    struct moments costs = {.n = n, .mean = n > 0.0 ? sum / n : 0.0};
    costs.m2 = squares - sum * costs.mean;
    if (costs.m2 < LAGRANGE_ROUNDING * squares)
        costs.m2 = 0.0;
    return pessimism_compute(&params->pessimism, &costs, bound, err);
}

static void lagrange_remember(const struct lagrange_params *params,
                              struct lagrange_state *state, const struct lagrange_sums *step)
{
    memmove(&state->window[1], &state->window[0],
            (params->window - 1) * sizeof state->window[0]);
    state->window[0] = *step;
}

static void lagrange_ascend(const struct lagrange_params *params, struct lagrange_state *state,
                            double above)
{
    const double l = state->log_multiplier + params->lr * state->multiplier * above;
    const double least = params->multiplier_min, most = lagrange_most(params);
    state->log_multiplier = fmax(fmin(l, log(most)), log(least));
    state->multiplier = fmax(fmin(exp(l), most), least);
}

enum err_code lagrange_step(const struct lagrange_params *params, struct lagrange_state *state,
                            const struct lagrange_sums *step, struct err *err)
{
    struct lagrange_state next = *state;
    next.steps += 1.0;
    if (params->controller == LAGRANGE_NONE) {
        *state = next;
        return ERR_OK;
    }
    assert(params->window >= 1 && params->window <= LAGRANGE_WINDOW_MAX);
    if (!(step->n >= 1.0) || !isfinite(step->sum) || !isfinite(step->squares))
        return err_set(err, ERR_VALUE, "lagrange: the step's %g costs add up to %g", step->n,
                       step->sum);
    lagrange_remember(params, &next, step);
    double cost = lagrange_cost(&next);
    if (params->pessimistic) {
        struct pessimism_bound bound;
        const enum err_code rc = lagrange_bound(params, &next, &bound, err);
        if (rc)
            return rc;
        cost = bound.upper;
    }
    const bool moves = state->steps >= (double)params->delay;
    if (moves && params->controller == LAGRANGE_LAGRANGIAN)
        lagrange_ascend(params, &next, cost - params->limit);
    if (moves && params->controller == LAGRANGE_PID) {
        const struct pid_params pid = lagrange_pid(params);
        const enum err_code rc = pid_step(&pid, &next.pid, cost, err);
        if (rc)
            return rc;
        next.multiplier = next.pid.output;
    }
    const bool lost = params->controller == LAGRANGE_LAGRANGIAN && next.multiplier == 0.0;
    if (!isfinite(next.multiplier) || lost)
        return err_set(err, ERR_VALUE,
                       "lagrange: a mean cost of %g against the limit %g takes the multiplier "
                       "from %g to %g",
                       cost, params->limit, state->multiplier, next.multiplier);
    *state = next;
    return ERR_OK;
}

/* Do the multiplier and what moves it agree? */
static enum err_code lagrange_check_pid(const struct lagrange_params *params,
                                        const struct lagrange_state *state, struct err *err)
{
    const struct pid_params pid = lagrange_pid(params);
    const double moves = fmax(0.0, state->steps - (double)params->delay);
    if (state->pid.output != state->multiplier || state->pid.steps != moves)
        return err_set(err, ERR_VALUE,
                       "lagrange: the state's multiplier is %.17g after %g moves, its pid says "
                       "%.17g after %g",
                       state->multiplier, moves, state->pid.output, state->pid.steps);
    return pid_check(&pid, &state->pid, err);
}

enum err_code lagrange_check(const struct lagrange_params *params,
                             const struct lagrange_state *state, struct err *err)
{
    const double start = params->controller == LAGRANGE_NONE ? 0.0 : params->multiplier;
    const bool still = params->controller == LAGRANGE_NONE ||
                       params->controller == LAGRANGE_FIXED ||
                       state->steps <= (double)params->delay;
    const bool out =
        params->controller != LAGRANGE_NONE && (state->multiplier < params->multiplier_min ||
                                                state->multiplier > lagrange_most(params));
    if (!isfinite(state->steps) || state->steps < 0.0)
        return err_set(err, ERR_VALUE, "lagrange: the state has %g steps", state->steps);
    if (!isfinite(state->multiplier) || state->multiplier < 0.0 || out ||
        (still && state->multiplier != start))
        return err_set(err, ERR_VALUE,
                       "lagrange: the state's multiplier is %.17g, of a %s one that begins at "
                       "%.17g",
                       state->multiplier, lagrange_controller_name(params->controller), start);
    for (size_t i = 0; i < LAGRANGE_WINDOW_MAX; i++) {
        const struct lagrange_sums *step = &state->window[i];
        const bool seen = i < params->window && (double)i < state->steps;
        if (!isfinite(step->sum) || !isfinite(step->squares) || step->squares < 0.0 ||
            !isfinite(step->n) ||
            (params->controller != LAGRANGE_NONE && seen != (step->n > 0)))
            return err_set(err, ERR_VALUE,
                           "lagrange: step %zu of the state's window has %g costs that add up "
                           "to %g",
                           i, step->n, step->sum);
    }
    return params->controller == LAGRANGE_PID ? lagrange_check_pid(params, state, err) : ERR_OK;
}

/* Those of the state's doubles that stand before pid, as many as the window asks for. */
static uint32_t lagrange_plain_n(const struct lagrange_params *params)
{
    return 3 + 3 * params->window;
}

uint32_t lagrange_state_n(const struct lagrange_params *params)
{
    const uint32_t pid = sizeof(struct pid_state) / sizeof(double);
    return params->controller == LAGRANGE_NONE  ? 0
           : params->controller == LAGRANGE_PID ? lagrange_plain_n(params) + pid
                                                : lagrange_plain_n(params);
}

void lagrange_state_write(const struct lagrange_params *params,
                          const struct lagrange_state *state, double *out)
{
    const uint32_t n = lagrange_plain_n(params);
    if (params->controller == LAGRANGE_NONE)
        return;
    memcpy(out, state, n * sizeof *out);
    if (params->controller == LAGRANGE_PID)
        memcpy(out + n, &state->pid, sizeof state->pid);
}

void lagrange_state_read(const struct lagrange_params *params, struct lagrange_state *state,
                         const double *in)
{
    const uint32_t n = lagrange_plain_n(params);
    *state = (struct lagrange_state){0};
    if (params->controller == LAGRANGE_NONE)
        return;
    memcpy(state, in, n * sizeof *in);
    if (params->controller == LAGRANGE_PID)
        memcpy(&state->pid, in + n, sizeof state->pid);
}

/* lagrange.c -- see lagrange.h. */
#include "control/lagrange.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#define LAGRANGE_SMOOTHING 0.95 /* of pid's E and S: OmniSafe's default */

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
        {"multiplier_max", params->multiplier_max},
        {"lr", params->lr},
        {"kp", params->kp},
        {"ki", params->ki},
        {"kd", params->kd},
    };
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++) {
        const enum err_code rc = lagrange_check_range(ranges[i].name, ranges[i].value, err);
        if (rc)
            return rc;
    }
    if (!isfinite(params->limit))
        return err_set(err, ERR_USAGE, "lagrange: limit is %g", params->limit);
    if (params->multiplier_max > 0.0 && params->multiplier > params->multiplier_max)
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
    if (params->controller == LAGRANGE_PID && params->kp + params->ki + params->kd == 0.0)
        return err_set(err, ERR_USAGE, "lagrange: pid never moves with all its gains 0");
    return ERR_OK;
}

void lagrange_init(const struct lagrange_params *params, struct lagrange_state *state)
{
    *state = (struct lagrange_state){0};
    if (params->controller == LAGRANGE_NONE)
        return;
    state->multiplier = params->multiplier;
    if (params->controller == LAGRANGE_LAGRANGIAN)
        state->log_multiplier = log(params->multiplier);
    if (params->controller == LAGRANGE_PID)
        state->integral = params->multiplier;
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

static double lagrange_most(const struct lagrange_params *params)
{
    return params->multiplier_max > 0.0 ? params->multiplier_max : INFINITY;
}

static void lagrange_ascend(const struct lagrange_params *params, struct lagrange_state *state,
                            double above)
{
    const double l = state->log_multiplier + params->lr * state->multiplier * above;
    const double most = lagrange_most(params);
    state->log_multiplier = fmin(l, log(most));
    state->multiplier = fmin(exp(l), most);
}

static void lagrange_pid(const struct lagrange_params *params, struct lagrange_state *state,
                         double cost)
{
    const double above = cost - params->limit;
    state->integral = fmax(0.0, state->integral + params->ki * above);
    state->error = LAGRANGE_SMOOTHING * state->error + (1.0 - LAGRANGE_SMOOTHING) * above;
    state->cost = LAGRANGE_SMOOTHING * state->cost + (1.0 - LAGRANGE_SMOOTHING) * cost;
    const double rise = fmax(0.0, state->cost - state->past[LAGRANGE_PAST - 1]);
    memmove(&state->past[1], &state->past[0], (LAGRANGE_PAST - 1) * sizeof state->past[0]);
    state->past[0] = state->cost;
    const double answer = params->kp * state->error + state->integral + params->kd * rise;
    state->multiplier = fmin(fmax(0.0, answer), lagrange_most(params));
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
    if (moves && params->controller == LAGRANGE_PID)
        lagrange_pid(params, &next, cost);
    const bool lost = params->controller == LAGRANGE_LAGRANGIAN && next.multiplier == 0.0;
    if (!isfinite(next.multiplier) || lost)
        return err_set(err, ERR_VALUE,
                       "lagrange: a mean cost of %g against the limit %g takes the multiplier "
                       "from %g to %g",
                       cost, params->limit, state->multiplier, next.multiplier);
    *state = next;
    return ERR_OK;
}

enum err_code lagrange_check(const struct lagrange_params *params,
                             const struct lagrange_state *state, struct err *err)
{
    const double start = params->controller == LAGRANGE_NONE ? 0.0 : params->multiplier;
    const bool still = params->controller == LAGRANGE_NONE ||
                       params->controller == LAGRANGE_FIXED ||
                       state->steps <= (double)params->delay;
    const bool over = state->multiplier > lagrange_most(params);
    if (!isfinite(state->steps) || state->steps < 0.0)
        return err_set(err, ERR_VALUE, "lagrange: the state has %g steps", state->steps);
    if (!isfinite(state->multiplier) || state->multiplier < 0.0 || over ||
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
    return ERR_OK;
}

uint32_t lagrange_state_n(const struct lagrange_params *params)
{
    return params->controller == LAGRANGE_NONE ? 0 : 6 + LAGRANGE_PAST + 3 * params->window;
}

void lagrange_state_write(const struct lagrange_params *params,
                          const struct lagrange_state *state, double *out)
{
    if (params->controller == LAGRANGE_NONE)
        return;
    const double scalars[6] = {state->steps,    state->multiplier, state->log_multiplier,
                               state->integral, state->error,      state->cost};
    memcpy(out, scalars, sizeof scalars);
    memcpy(out + 6, state->past, sizeof state->past);
    memcpy(out + 6 + LAGRANGE_PAST, state->window, params->window * sizeof state->window[0]);
}

void lagrange_state_read(const struct lagrange_params *params, struct lagrange_state *state,
                         const double *in)
{
    *state = (struct lagrange_state){0};
    if (params->controller == LAGRANGE_NONE)
        return;
    state->steps = in[0];
    state->multiplier = in[1];
    state->log_multiplier = in[2];
    state->integral = in[3];
    state->error = in[4];
    state->cost = in[5];
    memcpy(state->past, in + 6, sizeof state->past);
    memcpy(state->window, in + 6 + LAGRANGE_PAST, params->window * sizeof state->window[0]);
}

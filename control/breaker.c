/* breaker.c -- see breaker.h. */
#include "control/breaker.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define BREAKER_MAD_SCALE 1.4826

const char *breaker_signal_name(enum breaker_signal signal)
{
    switch (signal) {
#define X(name, word) \
    case BREAKER_SIGNAL_##name: return word;
        BREAKER_SIGNAL_MAP(X)
#undef X
    }
    return "?";
}

const char *breaker_limit_name(enum breaker_limit limit)
{
    switch (limit) {
#define X(name, word) \
    case BREAKER_LIMIT_##name: return word;
        BREAKER_LIMIT_MAP(X)
#undef X
    }
    return "?";
}

const char *breaker_outcome_name(enum breaker_outcome outcome)
{
    switch (outcome) {
#define X(name, word) \
    case BREAKER_##name: return word;
        BREAKER_OUTCOME_MAP(X)
#undef X
    }
    return "?";
}

const char *breaker_phase_name(enum breaker_phase phase)
{
    switch (phase) {
#define X(name, word) \
    case BREAKER_PHASE_##name: return word;
        BREAKER_PHASE_MAP(X)
#undef X
    }
    return "?";
}

/* --- the windows ----------------------------------------------------------------------- */

/* The median of x (n > 0), which is sorted in place. */
static double breaker_median(double *x, uint32_t n)
{
    for (uint32_t i = 1; i < n; i++) {
        const double moving = x[i];
        uint32_t at = i;
        for (; at > 0 && x[at - 1] > moving; at--)
            x[at] = x[at - 1];
        x[at] = moving;
    }
    return n % 2 ? x[n / 2] : 0.5 * x[n / 2 - 1] + 0.5 * x[n / 2];
}

/* The median of a window, and the median distance from it. */
static double breaker_center(const double *window, uint32_t n, double *mad)
{
    double x[BREAKER_WINDOW_MAX];
    memcpy(x, window, n * sizeof x[0]);
    const double median = breaker_median(x, n);
    for (uint32_t i = 0; i < n; i++)
        x[i] = fabs(window[i] - median);
    *mad = breaker_median(x, n);
    return median;
}

static void breaker_remember(const struct breaker_params *params, struct breaker_state *state,
                             const struct breaker_sample *sample)
{
    for (int i = 0; i < BREAKER_SIGNALS; i++) {
        if (!sample->measured[i])
            continue;
        double *window = state->window[i];
        memmove(window + 1, window, (params->window - 1) * sizeof window[0]);
        window[0] = sample->value[i];
        state->seen[i] += state->seen[i] < params->window ? 1.0 : 0.0;
    }
}

/* --- which limit is broken ------------------------------------------------------------- */

struct breaker_cause {
    enum breaker_outcome outcome;
    enum breaker_signal signal;
    enum breaker_limit limit;
    double value, bound;
};

/* Keep the severer of two causes, and of equals the earlier. */
static void breaker_blame(struct breaker_cause *worst, enum breaker_outcome outcome,
                          enum breaker_signal signal, enum breaker_limit limit, double value,
                          double bound)
{
    if (outcome > worst->outcome)
        *worst = (struct breaker_cause){outcome, signal, limit, value, bound};
}

static void breaker_compare(const struct breaker_params *params,
                            const struct breaker_state *state, enum breaker_signal signal,
                            double value, struct breaker_cause *worst)
{
    const struct breaker_limits *limits = &params->limit[signal];
    const enum breaker_outcome absolute = limits->absolute, relative = limits->relative;
    if (value < limits->low)
        breaker_blame(worst, absolute, signal, BREAKER_LIMIT_LOW, value, limits->low);
    if (value > limits->high)
        breaker_blame(worst, absolute, signal, BREAKER_LIMIT_HIGH, value, limits->high);
    if (state->seen[signal] < params->warmup)
        return;
    double mad;
    const double median =
        breaker_center(state->window[signal], (uint32_t)state->seen[signal], &mad);
    const double most = limits->ratio * median;
    if (limits->ratio > 0.0 && median > 0.0 && value > most)
        breaker_blame(worst, relative, signal, BREAKER_LIMIT_RATIO, value, most);
    const double reach = limits->deviations * BREAKER_MAD_SCALE * mad;
    if (reach > 0.0 && fabs(value - median) > reach)
        breaker_blame(worst, relative, signal, BREAKER_LIMIT_DEVIATIONS, value,
                      value > median ? median + reach : median - reach);
}

static struct breaker_cause breaker_find(const struct breaker_params *params,
                                         const struct breaker_state *state,
                                         const struct breaker_sample *sample)
{
    struct breaker_cause worst = {.outcome = BREAKER_NONE};
    bool measured = false;
    for (int i = 0; i < BREAKER_SIGNALS; i++) {
        const enum breaker_signal signal = (enum breaker_signal)i;
        if (!sample->measured[i])
            continue;
        measured = true;
        if (isfinite(sample->value[i]))
            breaker_compare(params, state, signal, sample->value[i], &worst);
        else
            breaker_blame(&worst, params->not_finite, signal, BREAKER_LIMIT_FINITE, 0.0, 0.0);
    }
    assert(measured && isfinite(sample->version) && sample->version >= 0.0);
    return worst;
}

/* --- the machine ----------------------------------------------------------------------- */

void breaker_params_init(struct breaker_params *params)
{
    *params = (struct breaker_params){.not_finite = BREAKER_SKIP,
                                      .window = BREAKER_WINDOW_MAX,
                                      .warmup = BREAKER_WINDOW_MAX / 2,
                                      .skips_max = 3,
                                      .cooldown = 20,
                                      .trips_max = 5,
                                      .lr_factor = 0.5,
                                      .beta_factor = 2.0};
    for (int i = 0; i < BREAKER_SIGNALS; i++)
        params->limit[i] = (struct breaker_limits){.low = -INFINITY, .high = INFINITY};
}

void breaker_init(struct breaker_state *state)
{
    *state = (struct breaker_state){.good = -1.0, .lr_scale = 1.0, .beta_scale = 1.0};
}

static void breaker_close(struct breaker_state *state)
{
    state->phase = BREAKER_PHASE_CLOSED;
    state->trips = state->clean = state->skips = 0.0;
    state->lr_scale = state->beta_scale = 1.0;
}

static void breaker_clean_step(const struct breaker_params *params, struct breaker_state *state,
                               const struct breaker_sample *sample)
{
    breaker_remember(params, state, sample);
    state->good = sample->version;
    state->skips = 0.0;
    if (state->phase != BREAKER_PHASE_COOLING)
        return;
    state->clean += 1.0;
    if (state->clean >= params->cooldown)
        breaker_close(state);
}

/* Count a trip, and say what becomes of it. */
static enum breaker_outcome breaker_trip(const struct breaker_params *params,
                                         struct breaker_state *state,
                                         const struct breaker_cause *cause)
{
    enum breaker_outcome outcome = cause->outcome;
    state->trips += 1.0;
    state->total += 1.0;
    state->clean = 0.0;
    state->skips += outcome == BREAKER_SKIP ? 1.0 : 0.0;
    if (params->skips_max > 0 && state->skips > params->skips_max)
        outcome = BREAKER_ROLLBACK;
    if (outcome == BREAKER_ROLLBACK && state->good < 0.0)
        outcome = BREAKER_HALT;
    if (state->trips > params->trips_max ||
        (params->total_max > 0 && state->total > params->total_max))
        outcome = BREAKER_HALT;
    if (outcome == BREAKER_ROLLBACK) {
        state->lr_scale *= params->lr_factor;
        state->beta_scale *= params->beta_factor;
        state->skips = 0.0;
    }
    state->phase = outcome == BREAKER_HALT ? BREAKER_PHASE_HALTED : BREAKER_PHASE_COOLING;
    state->signal = cause->signal;
    state->limit = cause->limit;
    state->value = cause->value;
    state->bound = cause->bound;
    return outcome;
}

struct breaker_decision breaker_step(const struct breaker_params *params,
                                     struct breaker_state *state,
                                     const struct breaker_sample *sample)
{
    struct breaker_cause cause = breaker_find(params, state, sample);
    enum breaker_outcome outcome = BREAKER_HALT;
    if (state->phase == BREAKER_PHASE_HALTED) {
        cause.signal = (enum breaker_signal)state->signal;
        cause.limit = (enum breaker_limit)state->limit;
        cause.value = state->value;
        cause.bound = state->bound;
    } else if (cause.outcome == BREAKER_NONE) {
        breaker_clean_step(params, state, sample);
        outcome = BREAKER_NONE;
    } else {
        outcome = breaker_trip(params, state, &cause);
    }
    return (struct breaker_decision){
        .outcome = outcome,
        .signal = cause.signal,
        .limit = cause.limit,
        .value = cause.value,
        .bound = cause.bound,
        .version = outcome == BREAKER_ROLLBACK ? state->good : 0.0,
        .lr_scale = state->lr_scale,
        .beta_scale = state->beta_scale,
    };
}

void breaker_forget(struct breaker_state *state, enum breaker_signal signal)
{
    state->seen[signal] = 0.0;
    memset(state->window[signal], 0, sizeof state->window[signal]);
}

enum err_code breaker_resume(struct breaker_state *state, struct err *err)
{
    if (state->phase != BREAKER_PHASE_HALTED)
        return err_set(err, ERR_STATE, "breaker: it is %s, not halted",
                       breaker_phase_name((enum breaker_phase)state->phase));
    breaker_close(state);
    return ERR_OK;
}

void breaker_explain(const struct breaker_decision *decision, char text[BREAKER_TEXT_MAX])
{
    const char *signal = breaker_signal_name(decision->signal);
    if (decision->outcome == BREAKER_NONE)
        text[0] = '\0';
    else if (decision->limit == BREAKER_LIMIT_FINITE)
        snprintf(text, BREAKER_TEXT_MAX, "%s is not finite", signal);
    else
        snprintf(text, BREAKER_TEXT_MAX, "%s is %g, %s %g (%s)", signal, decision->value,
                 decision->value < decision->bound ? "below" : "above", decision->bound,
                 breaker_limit_name(decision->limit));
}

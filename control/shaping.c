/* shaping.c -- see shaping.h. */
#include "control/shaping.h"

#include <assert.h>
#include <math.h>

#include "control/moments.h"

#define SHAPING_Z_85    1.0364333894937898 /* of the standard normal: 85 % lie below */
#define SHAPING_STD_MIN 1e-5

const char *shaping_name(enum shaping_kind kind)
{
    switch (kind) {
#define X(name, word) \
    case SHAPING_##name: return word;
        SHAPING_KIND_MAP(X)
#undef X
    }
    return "?";
}

static bool shaping_is_centered(enum shaping_kind kind)
{
    switch (kind) {
    case SHAPING_CENTERED:
    case SHAPING_PAR:
    case SHAPING_LSC:
    case SHAPING_TANH_CENTERED:
    case SHAPING_ARCTAN:
    case SHAPING_POLYNOMIAL_CENTERED:
    case SHAPING_SGFC: return true;
    case SHAPING_NONE:
    case SHAPING_CEILING:
    case SHAPING_CLIP:
    case SHAPING_MEANSTD:
    case SHAPING_MINMAX:
    case SHAPING_SIGMOID:
    case SHAPING_TANH:
    case SHAPING_POLYNOMIAL: break;
    }
    return false;
}

uint32_t shaping_references(const struct shaping_params *params)
{
    return shaping_is_centered(params->kind) ? params->references : 0;
}

bool shaping_is_running(const struct shaping_params *params)
{
    return params->kind == SHAPING_MEANSTD || params->kind == SHAPING_CLIP ||
           params->kind == SHAPING_MINMAX;
}

enum err_code shaping_check(const struct shaping_params *params, struct err *err)
{
    const char *name = shaping_name(params->kind);
    const bool sloped = params->kind == SHAPING_PAR || params->kind == SHAPING_SIGMOID ||
                        params->kind == SHAPING_SGFC;
    if (shaping_is_centered(params->kind) && params->references == 0)
        return err_set(err, ERR_USAGE, "shaping: %s needs at least 1 reference a prompt", name);
    if (params->kind == SHAPING_LSC && params->references < 2)
        return err_set(err, ERR_USAGE,
                       "shaping: lsc needs at least 2 references a prompt: it measures how far "
                       "they lie apart");
    if (sloped && !(isfinite(params->slope) && params->slope > 0.0))
        return err_set(err, ERR_USAGE, "shaping: %s's slope is %g, must be above 0", name,
                       params->slope);
    if (params->kind == SHAPING_CEILING && !isfinite(params->ceiling))
        return err_set(err, ERR_USAGE, "shaping: the ceiling is %g", params->ceiling);
    if (params->kind == SHAPING_SGFC && !isfinite(params->shift))
        return err_set(err, ERR_USAGE, "shaping: sgfc's shift is %g", params->shift);
    return ERR_OK;
}

void shaping_init(const struct shaping_params *params, struct shaping_state *state)
{
    (void)params;
    *state = (struct shaping_state){0};
}

/* --- the curves ----------------------------------------------------------------------- */

/* Both branches keep the exponent at or below 0: a large margin goes to 0 or 1, not to inf. */
static double shaping_sigmoid(double x)
{
    if (x >= 0.0)
        return 1.0 / (1.0 + exp(-x));
    const double e = exp(x);
    return e / (1.0 + e);
}

/* -softplus(-x): log of the above would be -inf where that rounds to 0. */
static double shaping_log_sigmoid(double x)
{
    return x >= 0.0 ? -log1p(exp(-x)) : x - log1p(exp(x));
}

/* The even coefficients but the constant are 0: sigma - 1/2 is odd. */
static double shaping_polynomial(double x)
{
    if (x <= -5.0)
        return 0.0;
    if (x >= 5.0)
        return 1.0;
    const double square = x * x;
    return 0.5 + x * (2.287895041e-1 + square * (-1.01310810e-2 + square * 2.0267490e-4));
}

static double shaping_curve(const struct shaping_params *params, double x)
{
    switch (params->kind) {
    case SHAPING_PAR:
    case SHAPING_SIGMOID: return shaping_sigmoid(params->slope * x);
    case SHAPING_SGFC: return shaping_sigmoid(params->slope * (x - params->shift));
    case SHAPING_TANH:
    case SHAPING_TANH_CENTERED: return tanh(x);
    case SHAPING_ARCTAN: return atan(x);
    case SHAPING_POLYNOMIAL:
    case SHAPING_POLYNOMIAL_CENTERED: return shaping_polynomial(x);
    case SHAPING_CEILING: return x < params->ceiling ? x : params->ceiling;
    case SHAPING_NONE:
    case SHAPING_CENTERED:
    case SHAPING_CLIP:
    case SHAPING_MEANSTD:
    case SHAPING_MINMAX:
    case SHAPING_LSC: break;
    }
    return x;
}

static double shaping_lsc(double raw, const double *refs, uint32_t n)
{
    struct moments moments = {0};
    for (uint32_t m = 0; m < n; m++)
        moments_add(&moments, refs[m]);
    const double std = sqrt(moments_variance(&moments, true)) + SHAPING_STD_MIN;
    return shaping_log_sigmoid(raw - (moments.mean + SHAPING_Z_85 * std));
}

static double shaping_running(enum shaping_kind kind, const struct shaping_state *state,
                              double raw)
{
    if (state->count == 0.0)
        return raw;
    double std = shaping_std(state);
    if (std == 0.0)
        std = 1.0;
    if (kind == SHAPING_MEANSTD)
        return (raw - state->mean) / std;
    if (kind == SHAPING_CLIP) {
        const double low = state->mean - std, high = state->mean + std;
        return raw < low ? low : raw > high ? high : raw;
    }
    const double width = state->max - state->min;
    return (raw - state->min) / (width == 0.0 ? 1.0 : width);
}

static enum err_code shaping_check_input(const struct shaping_params *params, double raw,
                                         const double *refs, size_t n_refs, struct err *err)
{
    const uint32_t needed = shaping_references(params);
    if (n_refs < needed)
        return err_set(err, ERR_STATE,
                       "shaping: %s needs %u reference scores, the prompt has %zu",
                       shaping_name(params->kind), (unsigned)needed, n_refs);
    if (!isfinite(raw))
        return err_set(err, ERR_VALUE, "shaping: the score is %g", raw);
    for (uint32_t m = 0; m < needed; m++) {
        if (!isfinite(refs[m]))
            return err_set(err, ERR_VALUE, "shaping: reference score %u is %g", (unsigned)m,
                           refs[m]);
    }
    return ERR_OK;
}

enum err_code shaping_apply(const struct shaping_params *params,
                            const struct shaping_state *state, double raw, const double *refs,
                            size_t n_refs, double *shaped, struct err *err)
{
    const enum err_code rc = shaping_check_input(params, raw, refs, n_refs, err);
    if (rc)
        return rc;
    double result;
    if (shaping_is_running(params)) {
        result = shaping_running(params->kind, state, raw);
    } else if (!shaping_is_centered(params->kind)) {
        result = shaping_curve(params, raw);
    } else if (params->kind == SHAPING_LSC) {
        assert(params->references > 0);
        result = shaping_lsc(raw, refs, params->references);
    } else {
        assert(params->references > 0);
        double sum = 0.0;
        for (uint32_t m = 0; m < params->references; m++)
            sum += shaping_curve(params, raw - refs[m]);
        result = sum / params->references;
    }
    if (!isfinite(result))
        return err_set(err, ERR_VALUE, "shaping: a score of %g came to %g under %s", raw,
                       result, shaping_name(params->kind));
    *shaped = result;
    return ERR_OK;
}

/* --- the statistics ------------------------------------------------------------------- */

static struct moments shaping_moments(const struct shaping_state *state)
{
    return (struct moments){.n = state->count, .mean = state->mean, .m2 = state->m2};
}

static void shaping_set(struct shaping_state *state, const struct moments *moments, double min,
                        double max)
{
    const bool first = state->count == 0.0;
    *state = (struct shaping_state){
        .count = moments->n,
        .mean = moments->mean,
        .m2 = moments->m2,
        .min = first || min < state->min ? min : state->min,
        .max = first || max > state->max ? max : state->max,
    };
}

void shaping_add(struct shaping_state *batch, double raw)
{
    struct moments moments = shaping_moments(batch);
    moments_add(&moments, raw);
    shaping_set(batch, &moments, raw, raw);
}

enum err_code shaping_update(const struct shaping_params *params, struct shaping_state *state,
                             const struct shaping_state *batch, struct err *err)
{
    if (!shaping_is_running(params) || batch->count == 0.0)
        return ERR_OK;
    struct moments moments = shaping_moments(state);
    const struct moments added = shaping_moments(batch);
    moments_merge(&moments, &added);
    if (!isfinite(moments.mean) || !isfinite(moments.m2))
        return err_set(err, ERR_VALUE,
                       "shaping: the running mean comes to %g, the sum of squares to %g",
                       moments.mean, moments.m2);
    shaping_set(state, &moments, batch->min, batch->max);
    return ERR_OK;
}

double shaping_std(const struct shaping_state *state)
{
    const struct moments moments = shaping_moments(state);
    return sqrt(moments_variance(&moments, false));
}

void shaping_state_write(const struct shaping_state *state, double out[SHAPING_STATE_N])
{
    out[0] = state->count;
    out[1] = state->mean;
    out[2] = state->m2;
    out[3] = state->min;
    out[4] = state->max;
}

void shaping_state_read(struct shaping_state *state, const double in[SHAPING_STATE_N])
{
    *state = (struct shaping_state){
        .count = in[0], .mean = in[1], .m2 = in[2], .min = in[3], .max = in[4]};
}

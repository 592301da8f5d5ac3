/* shaping.c -- see shaping.h. */
#include "control/shaping.h"

#include <assert.h>
#include <math.h>

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

uint32_t shaping_references(const struct shaping_params *params)
{
    return params->kind == SHAPING_NONE ? 0 : params->references;
}

enum err_code shaping_check(const struct shaping_params *params, struct err *err)
{
    if (params->kind == SHAPING_NONE)
        return ERR_OK;
    if (params->references == 0)
        return err_set(err, ERR_USAGE, "shaping: %s needs at least 1 reference a prompt",
                       shaping_name(params->kind));
    if (params->kind == SHAPING_PAR && !(isfinite(params->slope) && params->slope > 0.0))
        return err_set(err, ERR_USAGE, "shaping: par's slope is %g, must be above 0",
                       params->slope);
    return ERR_OK;
}

void shaping_init(const struct shaping_params *params, struct shaping_state *state)
{
    (void)params;
    *state = (struct shaping_state){0};
}

/* Both branches keep the exponent at or below 0: a large margin goes to 0 or 1, not to inf. */
static double shaping_sigmoid(double x)
{
    if (x >= 0.0)
        return 1.0 / (1.0 + exp(-x));
    const double e = exp(x);
    return e / (1.0 + e);
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
    (void)state;
    const enum err_code rc = shaping_check_input(params, raw, refs, n_refs, err);
    if (rc)
        return rc;
    if (params->kind == SHAPING_NONE) {
        *shaped = raw;
        return ERR_OK;
    }

    assert(params->references > 0);
    double sum = 0.0;
    for (uint32_t m = 0; m < params->references; m++) {
        const double margin = raw - refs[m];
        sum += params->kind == SHAPING_PAR ? shaping_sigmoid(params->slope * margin) : margin;
    }
    const double mean = sum / params->references;
    if (!isfinite(mean))
        return err_set(err, ERR_VALUE, "shaping: a score of %g came to %g under %s", raw, mean,
                       shaping_name(params->kind));
    *shaped = mean;
    return ERR_OK;
}

/* gae.c -- see gae.h for what is computed. */
#include "control/gae.h"

#include <assert.h>
#include <math.h>

static enum err_code gae_check_row(const struct gae_batch *in, size_t b, struct err *err)
{
    assert(in->offset[b] <= in->offset[b + 1]);
    if (in->bootstrap && !isfinite(in->bootstrap[b]))
        return err_set(err, ERR_VALUE, "gae: response %zu has bootstrap %g", b,
                       (double)in->bootstrap[b]);
    for (size_t i = in->offset[b]; i < in->offset[b + 1]; i++) {
        if (in->mask && !in->mask[i])
            continue;
        if (!isfinite(in->reward[i]) || !isfinite(in->value[i]))
            return err_set(err, ERR_VALUE,
                           "gae: response %zu token %zu has reward %g, value %g", b,
                           i - in->offset[b], (double)in->reward[i], (double)in->value[i]);
    }
    return ERR_OK;
}

/* One response, last token first: each step needs only what the step after it left. */
static void gae_compute_row(const struct gae_batch *in, size_t b, struct gae_params params,
                            float *adv, float *ret)
{
    double next_value = in->bootstrap ? (double)in->bootstrap[b] : 0.0;
    double next_adv = 0.0;
    for (size_t i = in->offset[b + 1]; i-- > in->offset[b];) {
        adv[i] = ret[i] = 0.0f;
        if (in->mask && !in->mask[i])
            continue;
        const double value = (double)in->value[i];
        const double delta = (double)in->reward[i] + params.gamma * next_value - value;
        next_adv = delta + params.gamma * params.lambda * next_adv;
        next_value = value;
        adv[i] = (float)next_adv;
        ret[i] = (float)(next_adv + value);
    }
}

enum err_code gae_compute(const struct gae_batch *in, struct gae_params params, float *adv,
                          float *ret, struct err *err)
{
    assert(in && adv && ret);
    assert(params.gamma >= 0.0 && params.gamma <= 1.0);
    assert(params.lambda >= 0.0 && params.lambda <= 1.0);

    for (size_t b = 0; b < in->rows; b++) {
        const enum err_code rc = gae_check_row(in, b, err);
        if (rc)
            return rc;
        gae_compute_row(in, b, params, adv, ret);
    }
    return ERR_OK;
}

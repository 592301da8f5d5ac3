/*
 * sampler.h -- one token from one row of logits.
 *
 * Order, as in the field: logits / temperature; top-k; top-p (smallest set of the most
 * probable whose sum reaches p); min-p (p >= min_p * greatest p); draw by inverse CDF in
 * id order with one uniform number.  temperature 0: argmax, lowest id on a tie.
 * The log-prob reported is that of the full distribution at this temperature (before
 * truncation), which is what PPO optimises; temperature 0 reports it at temperature 1.
 */
#ifndef ENGINE_SAMPLER_H
#define ENGINE_SAMPLER_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/rng.h"

#define SAMPLER_STOPS_MAX  8
#define SAMPLER_STOP_BYTES 64

/* Below the least, logits / temperature overflow; above the greatest, every model is noise. */
#define SAMPLER_TEMPERATURE_MIN 1e-3f
#define SAMPLER_TEMPERATURE_MAX 100.0f

struct sampler_params {
    float temperature; /* 0, or SAMPLER_TEMPERATURE_MIN .. _MAX */
    uint32_t top_k;    /* 0: off */
    float top_p;       /* (0,1]; 1: off */
    float min_p;       /* [0,1); 0: off */
};

/* ERR_VALUE names the parameter that is out of range. */
enum err_code sampler_params_check(const struct sampler_params *params, struct err *err);

/* The temperature at which log-probs are taken: params->temperature, or 1 where that is 0. */
float sampler_logprob_temperature(const struct sampler_params *params);

/* One token.  weight (V), overwritten: e^((logit - greatest logit) / temperature), as
 * logprob_weigh writes it; `best`: the token of the greatest logit, drawn where the temperature
 * is 0 or nothing has a weight.  u in [0,1); index (V) is scratch.  Weights are summed in blocks
 * of 256 (lanes_sum_double), the blocks in order; inside the block that u falls into, one after
 * the other. */
int32_t sampler_draw(const struct sampler_params *params, float *weight, int32_t best, size_t V,
                     double u, uint32_t *index);

#endif

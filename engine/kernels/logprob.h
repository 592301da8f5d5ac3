/*
 * logprob.h -- log-probability of a token, entropy and argmax from a row of logits, and back.
 *
 * With s[v] = logits[v] * inv_temperature (one rounding) and p = softmax(s):
 *     logp = s[target] - log sum_v e^s[v]        nats
 *     entropy = - sum_v p[v] log p[v]            nats
 *     argmax = the lowest id of the greatest logit
 *
 * Backward, from d loss / d logp and d loss / d entropy:
 *     dlogits[v] = inv_temperature ( dlogp ([v = target] - p[v])
 *                                    - dentropy p[v] (log p[v] + entropy) )
 *
 * Shapes: logits, dlogits (rows, V), `stride` floats from row to row; the rest (rows).
 * Sums run in 16 lanes of float over blocks of 256, blocks added in double: one fixed order, so
 * the bits of a row depend on the row alone, and sampler and learner agree exactly.
 */
#ifndef ENGINE_KERNELS_LOGPROB_H
#define ENGINE_KERNELS_LOGPROB_H

#include <stddef.h>
#include <stdint.h>

#include "engine/pool.h"

struct logprob {
    float logp;    /* nats */
    float entropy; /* nats */
    float max;     /* greatest s */
    float log_sum; /* log sum_v e^(s[v] - max): log p[v] = s[v] - max - log_sum */
    int32_t argmax;
};

/* out (rows).  target[i] in [0,V).  A row that is not finite gives a logp that is NaN. */
void logprob_forward(struct pool *pool, struct logprob *out, const float *logits, size_t stride,
                     const int32_t *target, float inv_temperature, size_t rows, size_t V);

/* The same for one row, on the caller's thread. */
struct logprob logprob_row(const float *logits, int32_t target, float inv_temperature,
                           size_t V);

/* Of a row that has no target yet: logp is 0.  weight (V), which the sampler draws from, gets
 * e^(s - max), or is NULL.  Then the log-prob of a token, from its logit: the logp of
 * logprob_row. */
struct logprob logprob_weigh(float *weight, const float *logits, float inv_temperature,
                             size_t V);
float logprob_of(const struct logprob *row, float logit, float inv_temperature);

/* Write (not add) dlogits; it may be logits itself (in place).  `of` is what logprob_forward
 * gave for these logits; dentropy may be NULL. */
void logprob_backward(struct pool *pool, float *dlogits, const float *logits, size_t stride,
                      const struct logprob *of, const int32_t *target, const float *dlogp,
                      const float *dentropy, float inv_temperature, size_t rows, size_t V);

#endif

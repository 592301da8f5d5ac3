/*
 * gae.h -- generalized advantage estimation over a ragged batch of responses.
 *
 * For the tokens t = 0 .. T-1 of one response that the policy chose (mask not 0), with t' the
 * next such token after t:
 *
 *     delta[t] = reward[t] + gamma * value[t'] - value[t]
 *     adv[t]   = delta[t] + gamma * lambda * adv[t']
 *     ret[t]   = adv[t] + value[t]
 *
 * After the last one adv is 0 and value is the bootstrap.  (Schulman et al., arXiv:1506.02438,
 * equations 11 and 16.)  A token with mask 0, such as what a tool put into the response, is
 * stepped over: its reward and value are not read, its adv and ret are 0, and it costs no
 * factor of gamma or lambda.
 *
 * Pure arithmetic: double inside, float outside; no allocation, no I/O; safe from any thread.
 * Each response is its own: the bits do not depend on what else is in the batch.
 */
#ifndef CONTROL_GAE_H
#define CONTROL_GAE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct gae_params {
    double gamma;  /* discount per token, 0..1; RLHF usually takes 1 */
    double lambda; /* 0: one-step TD, low variance; 1: Monte Carlo, no bias */
};

/* Responses packed without padding, N = offset[rows] tokens.  Every array belongs to the
 * caller. */
struct gae_batch {
    size_t rows;
    const uint32_t *offset; /* (rows+1) response b is tokens offset[b] .. offset[b+1]-1 */
    const float *reward;    /* (N)    of token t, KL penalty already inside */
    const float *value;     /* (N)    the critic's estimate before token t */
    const uint8_t *mask;    /* (N)    0: not the policy's choice; may be NULL: all are */
    const float *bootstrap; /* (rows) the critic's estimate after the last token where the
                             *        length limit cut the response, else 0; may be NULL */
};

/*
 * Write adv and ret, both (N).  Neither may overlap an input.  ERR_VALUE, and adv and ret
 * unspecified, where an input is not finite; the text names the response and the token.
 */
enum err_code gae_compute(const struct gae_batch *in, struct gae_params params, float *adv,
                          float *ret, struct err *err);

#endif

/*
 * bradley_terry.h -- weights under which known features explain which answer was preferred.
 *
 *     P(chosen over rejected) = sigmoid(w . (c - r))
 *     minimise  - mean over pairs of log P + ridge |w|^2 / 2
 *
 * (Bradley and Terry 1952; logistic regression without an intercept.)  The loss is convex, so
 * Newton's method with halved steps finds its only minimum.  Arithmetic in double, in the order
 * of the pairs; pure: no allocation, no state.
 */
#ifndef CONTROL_BRADLEY_TERRY_H
#define CONTROL_BRADLEY_TERRY_H

#include <stddef.h>

#include "base/err.h"

#define BRADLEY_TERRY_FEATURES_MAX 16

/* Write w (k) from features chosen and rejected (n, k), n > 0, 0 < k <= the maximum, all finite
 * (asserted); ridge > 0.  ERR_VALUE where it does not converge: w is then zero. */
enum err_code bradley_terry_fit(const float *chosen, const float *rejected, size_t n, size_t k,
                                double ridge, double *w, struct err *err);

/* The loss above at w. */
double bradley_terry_loss(const float *chosen, const float *rejected, size_t n, size_t k,
                          double ridge, const double *w);

#endif

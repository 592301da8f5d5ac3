/* bradley_terry.c -- see bradley_terry.h. */
#include "control/bradley_terry.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "control/preference.h"

#define BRADLEY_TERRY_STEPS 100
#define BRADLEY_TERRY_TINY  1e-10 /* a step that moves no weight further than this is the last */

enum { K = BRADLEY_TERRY_FEATURES_MAX };

/* w . (chosen - rejected) of pair i; the difference itself into x (k). */
static double bradley_terry_logit(const float *chosen, const float *rejected, size_t i,
                                  size_t k, const double *w, double *x)
{
    double logit = 0.0;
    for (size_t j = 0; j < k; j++) {
        x[j] = (double)chosen[i * k + j] - (double)rejected[i * k + j];
        assert(isfinite(x[j]));
        logit += w[j] * x[j];
    }
    return logit;
}

double bradley_terry_loss(const float *chosen, const float *rejected, size_t n, size_t k,
                          double ridge, const double *w)
{
    double loss = 0.0, square = 0.0, x[K];
    for (size_t i = 0; i < n; i++)
        loss -= preference_log_sigmoid(bradley_terry_logit(chosen, rejected, i, k, w, x));
    for (size_t j = 0; j < k; j++)
        square += w[j] * w[j];
    return loss / (double)n + ridge * 0.5 * square;
}

static void bradley_terry_derive(const float *chosen, const float *rejected, size_t n, size_t k,
                                 double ridge, const double *w, double gradient[K],
                                 double hessian[K][K])
{
    memset(gradient, 0, K * sizeof *gradient);
    memset(hessian, 0, K * sizeof *hessian);
    for (size_t i = 0; i < n; i++) {
        double x[K];
        const double logit = bradley_terry_logit(chosen, rejected, i, k, w, x);
        const double wrong = exp(preference_log_sigmoid(-logit)); /* 1 - P */
        const double curve = wrong * exp(preference_log_sigmoid(logit));
        for (size_t a = 0; a < k; a++) {
            gradient[a] -= wrong * x[a] / (double)n;
            for (size_t b = 0; b <= a; b++)
                hessian[a][b] += curve * x[a] * x[b] / (double)n;
        }
    }
    for (size_t a = 0; a < k; a++) {
        gradient[a] += ridge * w[a];
        hessian[a][a] += ridge;
    }
}

/* x = hessian^-1 gradient by Cholesky, in place of the lower triangle; it is positive definite,
 * for ridge is. */
static void bradley_terry_solve(double hessian[K][K], const double gradient[K], size_t k,
                                double x[K])
{
    for (size_t a = 0; a < k; a++) {
        for (size_t b = 0; b <= a; b++) {
            double sum = hessian[a][b];
            for (size_t c = 0; c < b; c++)
                sum -= hessian[a][c] * hessian[b][c];
            hessian[a][b] = a == b ? sqrt(sum) : sum / hessian[b][b];
        }
    }
    for (size_t a = 0; a < k; a++) {
        x[a] = gradient[a];
        for (size_t c = 0; c < a; c++)
            x[a] -= hessian[a][c] * x[c];
        x[a] /= hessian[a][a];
    }
    for (size_t a = k; a-- > 0;) {
        for (size_t c = a + 1; c < k; c++)
            x[a] -= hessian[c][a] * x[c];
        x[a] /= hessian[a][a];
    }
}

/* One Newton step, halved until the loss does not rise; the furthest any weight moved, or NAN. */
static double bradley_terry_step(const float *chosen, const float *rejected, size_t n, size_t k,
                                 double ridge, double *w)
{
    double gradient[K], hessian[K][K], move[K], next[K];
    const double before = bradley_terry_loss(chosen, rejected, n, k, ridge, w);
    bradley_terry_derive(chosen, rejected, n, k, ridge, w, gradient, hessian);
    bradley_terry_solve(hessian, gradient, k, move);
    for (double part = 1.0; part > 1e-12; part *= 0.5) {
        double furthest = 0.0;
        for (size_t j = 0; j < k; j++) {
            next[j] = w[j] - part * move[j];
            furthest = fmax(furthest, fabs(part * move[j]));
        }
        if (furthest < BRADLEY_TERRY_TINY ||
            bradley_terry_loss(chosen, rejected, n, k, ridge, next) <= before) {
            memcpy(w, next, k * sizeof *w);
            return furthest;
        }
    }
    return (double)NAN;
}

enum err_code bradley_terry_fit(const float *chosen, const float *rejected, size_t n, size_t k,
                                double ridge, double *w, struct err *err)
{
    assert(n > 0 && k > 0 && k <= K && ridge > 0.0);
    memset(w, 0, k * sizeof *w);
    for (size_t step = 0; step < BRADLEY_TERRY_STEPS; step++) {
        const double moved = bradley_terry_step(chosen, rejected, n, k, ridge, w);
        if (moved < BRADLEY_TERRY_TINY)
            return ERR_OK;
        if (!isfinite(moved))
            break;
    }
    memset(w, 0, k * sizeof *w);
    return err_set(err, ERR_VALUE, "weights for %zu features over %zu pairs did not converge",
                   k, n);
}

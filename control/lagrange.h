/*
 * lagrange.h -- the multiplier that weighs cost against reward, and what moves it.
 *
 * Training is to raise the reward while the mean cost J stays at or below a limit d.  The
 * multiplier lambda >= 0 goes into A = (A_r - lambda A_c) / (1 + lambda) (advantage.h), and
 * once a step moves after the costs that were seen (ALGORITHMS, sections 2 and 4):
 *
 *     none        lambda 0: costs are watched, and train nothing
 *     fixed       lambda stays
 *     lagrangian  l += lr * lambda * (J - d);  lambda = exp(l)
 *                 (PPO-Lagrangian: Dai et al., arXiv:2310.12773; safe-rlhf)
 *     pid         lambda is the output of a controller of pid.h that is given J: OmniSafe's
 *                 (Stooke et al., arXiv:2007.03964), with the smoothing .95 and the delay 10
 *                 that it has there, and I within the bounds of lambda
 *
 * lambda stays within multiplier_min and multiplier_max, and so do l and I.  A least one is for
 * lagrangian: its moves are in proportion to lambda, so that one that has come near 0 takes
 * log(lambda wanted / lambda) / (lr * lambda * (J - d)) steps and more to be of use again.
 * safe-rlhf has none.
 *
 * J is the mean over all responses of the last `window` steps, this one among them; or, where
 * `pessimistic`, the bound of pessimism.h on it, from the sums of squares that are kept beside
 * the sums.
 *
 * Pure arithmetic in double, libm's exp and log among it: the coordinator alone computes
 * lambda and records it, so no two machines have to agree on the last bit.
 */
#ifndef CONTROL_LAGRANGE_H
#define CONTROL_LAGRANGE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "control/pessimism.h"
#include "control/pid.h"

#define LAGRANGE_WINDOW_MAX 16 /* steps */

#define LAGRANGE_CONTROLLER_MAP(X) \
    X(NONE, "none") X(FIXED, "fixed") X(LAGRANGIAN, "lagrangian") X(PID, "pid")

enum lagrange_controller {
#define X(name, word) LAGRANGE_##name,
    LAGRANGE_CONTROLLER_MAP(X)
#undef X
};

struct lagrange_params {
    enum lagrange_controller controller;
    double limit;          /* d, in the unit of the costs */
    double multiplier;     /* lambda at the start, >= 0; LAGRANGIAN: > 0 */
    double multiplier_min; /* 0 .. multiplier */
    double multiplier_max; /* >= multiplier; 0: no bound */
    double lr;             /* LAGRANGIAN: > 0 */
    double kp, ki, kd;     /* PID: >= 0, one of them above */
    uint32_t window;       /* steps, 1..LAGRANGE_WINDOW_MAX */
    uint64_t delay;        /* steps before the first move; the window fills meanwhile */
    bool pessimistic;      /* J is a bound on the mean */
    struct pessimism_params pessimism;
};

/* The costs of a step's responses; all zero: none. */
struct lagrange_sums {
    double n, sum, squares;
};

/* Doubles alone, in the order in which they are written down. */
struct lagrange_state {
    double steps;                                     /* how often lagrange_step has run */
    double multiplier;                                /* lambda */
    double log_multiplier;                            /* LAGRANGIAN: l */
    struct lagrange_sums window[LAGRANGE_WINDOW_MAX]; /* newest first */
    struct pid_state pid;                             /* PID; else all zero */
};
#define LAGRANGE_STATE_MAX (sizeof(struct lagrange_state) / sizeof(double)) /* doubles */

/* "lagrangian"; "?" for a number that is none.  A constant string. */
const char *lagrange_controller_name(enum lagrange_controller controller);

/* ERR_USAGE, naming the setting, where the ranges above do not hold.  The functions below
 * assert what this checks. */
enum err_code lagrange_params_check(const struct lagrange_params *params, struct err *err);

void lagrange_init(const struct lagrange_params *params, struct lagrange_state *state);

/* Count one response's cost into its step, in the order of slots. */
void lagrange_add(struct lagrange_sums *step, double cost);

/* The mean cost over the window; 0 where nothing was seen. */
double lagrange_cost(const struct lagrange_state *state);

/* `pessimistic`: what the window comes to; J is its upper, and pessimism_cost takes it.  ERR_STATE
 * below 2 costs. */
enum err_code lagrange_bound(const struct lagrange_params *params,
                             const struct lagrange_state *state, struct pessimism_bound *bound,
                             struct err *err);

/*
 * Advance by one step whose responses cost `step`.  ERR_VALUE where there was none, or lambda
 * left what is finite and above 0 (LAGRANGIAN cannot come back from either); *state is then
 * untouched.  NONE counts the step and does nothing else.
 */
enum err_code lagrange_step(const struct lagrange_params *params, struct lagrange_state *state,
                            const struct lagrange_sums *step, struct err *err);

/* A state that was read back: ERR_VALUE where it cannot have come from lagrange_init and
 * lagrange_step. */
enum err_code lagrange_check(const struct lagrange_params *params,
                             const struct lagrange_state *state, struct err *err);

/* The state as lagrange_state_n doubles, and back: the same bits.  0 of them for NONE, else as
 * many as the window asks for, at most LAGRANGE_STATE_MAX. */
uint32_t lagrange_state_n(const struct lagrange_params *params);
void lagrange_state_write(const struct lagrange_params *params,
                          const struct lagrange_state *state, double *out);
void lagrange_state_read(const struct lagrange_params *params, struct lagrange_state *state,
                         const double *in);

#endif

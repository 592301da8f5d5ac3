/*
 * pid.h -- a controller that holds a measured value J at its target d.
 *
 * The output u is what acts against J: a Lagrange multiplier against a cost, the coefficient
 * beta against a KL.  Each step measures J once and gives the u of the next:
 *
 *     e = clip(J - d, -error_max, error_max)  in units of J, as is d
 *     P = smooth_p * P + (1 - smooth_p) * e
 *     I = clip(I + ki * e, low, high)         in units of u
 *     S = smooth_d * S + (1 - smooth_d) * J
 *     D = S - (S of `delay` steps ago)        where `rising`, at least 0
 *     u = clip(kp * P + I + kd * D, low, high)
 *
 * (Stooke, Achiam and Abbeel, "Responsive Safety in RL by PID Lagrangian Methods",
 * arXiv:2007.03964, algorithm 2; with the smoothing and the delay of OmniSafe's
 * pid_lagrange.py; ALGORITHMS, section 4.)  Its settings there: kp .1, ki .01, kd .01, smooth
 * .95, delay 10, no error_max, rising, low 0, high 100, start .001; its I has no upper bound.
 * Without smoothing, with delay 1, it is the paper's controller, whose K_I is inside I here.
 *
 * Before the first step P is 0, I is `start`, and S has always been `before`.
 *
 * Start.  Where J begins far from d and takes its time, as a KL that begins at 0, P pushes with
 * all its might from the first step on, and I winds up on top of it: J then passes d.  With
 * `bumpless`, P is what a J of `before` makes it, and I is start - kp * P.  So u begins at
 * `start` and P takes back what it gave, as J comes near, while I gives: where J follows with a
 * time constant of kp / ki steps the two cancel, and u moves only by what `start` was wrong
 * (the same as an I-P controller, setpoint weight 0: Astrom and Hagglund, "Advanced PID
 * Control", 2006, sections 3.4 and 3.6).  I may then stand kp * error_max beyond the bounds of
 * u, as P may pull that far.
 *
 * Wind-up.  Bounds on I alone let it run to `high` while u is cut off there, and u then stays
 * there for as long after J has come back.  With `hold`, I stays as it is in a step that finds
 * kp * P + I + kd * D past a bound, by the I from before, and e pushing it further out
 * (conditional integration; Astrom and Hagglund, "Advanced PID Control", 2006, section 3.5).
 *
 * `error_max` bounds what a single J that is far off can do to P and I.
 *
 * Pure arithmetic in double.
 */
#ifndef CONTROL_PID_H
#define CONTROL_PID_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define PID_DELAY_MAX 16 /* steps */

struct pid_params {
    double kp, ki, kd;         /* >= 0, and one above 0; in units of u per unit of J */
    double target;             /* d */
    double error_max;          /* the greatest |e|; 0: no bound */
    double smooth_p, smooth_d; /* the weight of the past, [0, 1); 0: none */
    uint32_t delay;            /* steps, 1 .. PID_DELAY_MAX */
    bool rising;               /* D counts a J that rises, not one that falls */
    bool hold;                 /* see above */
    bool bumpless;             /* see above; needs an error_max */
    double low, high;          /* bounds of u, low < high; high may be INFINITY: none */
    double start;              /* of u: low .. high */
    double before;             /* J before the first step: 0 for a KL */
};

/* Doubles alone, so that it can be written down as it is. */
struct pid_state {
    double output;                 /* u for the next step */
    double proportional;           /* P */
    double integral;               /* I */
    double value;                  /* S */
    double history[PID_DELAY_MAX]; /* S of 1, 2, ... steps ago; those past `delay` are 0 */
    double steps;                  /* how often pid_step has run */
};

/* ERR_USAGE, naming the setting, where the ranges above do not hold. */
enum err_code pid_params_check(const struct pid_params *params, struct err *err);

void pid_init(const struct pid_params *params, struct pid_state *state);

/* Advance by one step that measured `value`, J; state->output is then the new u.  ERR_VALUE
 * where value, or what it would leave, is not finite; *state is then untouched. */
enum err_code pid_step(const struct pid_params *params, struct pid_state *state, double value,
                       struct err *err);

/* A state that was read back: ERR_VALUE where it cannot have come from pid_init and
 * pid_step. */
enum err_code pid_check(const struct pid_params *params, const struct pid_state *state,
                        struct err *err);

#endif

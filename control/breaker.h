/*
 * breaker.h -- when training is to leave out a batch, go back, or stop: the decisions alone.
 *
 * Once a step it sees what the step measured, before the step's update counts, and answers
 *
 *     NONE      go on
 *     SKIP      do not train on this batch, and keep it aside (quarantine)
 *     ROLLBACK  go back to the weights of `version` or older, and on from there with learning
 *               rate and KL coefficient scaled
 *     HALT      stop, and wait for a person
 *
 * A signal breaks a limit where it
 *
 *     finite      is NaN or infinite
 *     low, high   is below, above a fixed number
 *     ratio       is above ratio times its median, where that is above 0
 *     deviations  is further from its median than deviations * 1.4826 * MAD, where MAD, the
 *                 median distance from the median, is above 0 (1.4826 MAD estimates the
 *                 standard deviation of normal numbers: Hampel 1974)
 *
 * Medians are over the last `window` steps that broke no limit, and say nothing before `warmup`
 * of them measured the signal.  Each limit has its own outcome; where several are broken the
 * severest decides, and of equals the first in the order of signals and limits.
 *
 *                  a limit is broken
 *     CLOSED ----------------------------> COOLING ---+
 *       ^                                   | |  ^    | a limit is broken
 *       |   `cooldown` clean steps in a row | |  +----+
 *       +-----------------------------------+ |
 *       |                                     | the outcome is HALT, or more than `trips_max`
 *       |   breaker_resume                    v trips without having been CLOSED between, or
 *       +---------------------------------- HALTED   more than `total_max` in the run
 *
 * (CLOSED goes to HALTED directly where the first trip is a HALT.)  What each phase promises
 * (breaker_check):
 *
 *     CLOSED   trips == 0, clean == 0; both scales are 1
 *     COOLING  1 <= trips <= trips_max; clean < cooldown; the scales are those of the rollbacks
 *              since it was CLOSED, and go back to 1 when it is again
 *     HALTED   every step is answered by HALT, with the cause it halted for
 *
 * Each trip is counted, whatever its outcome.  More than `skips_max` SKIPs in a row are a
 * ROLLBACK: it is not the batch.  A ROLLBACK with nowhere to go, before the first clean step, is
 * a HALT.  A run in which each step is a pure function of what came before would do after a
 * rollback what it did before it, so a rollback has to change a scale: breaker_params_check
 * wants one.
 *
 * Pure arithmetic in double, no clock: the same samples have the same decisions, whenever they
 * are fed again.
 */
#ifndef CONTROL_BREAKER_H
#define CONTROL_BREAKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define BREAKER_WINDOW_MAX 32 /* steps */
#define BREAKER_WINDOW_MIN 3  /* a median of fewer is no measure */
#define BREAKER_TRIPS_MAX  64 /* so that the scales stay far from 0 and infinity */
#define BREAKER_FACTOR_MAX 100.0
#define BREAKER_TEXT_MAX   160 /* bytes, NUL inside */

// clang-format off
#define BREAKER_SIGNAL_MAP(X) \
    X(LOSS, "loss") X(GRAD_NORM, "grad_norm") X(KL, "kl") X(ENTROPY, "entropy")           \
    X(COST, "cost") X(REWARD, "reward")
#define BREAKER_LIMIT_MAP(X) \
    X(FINITE, "finite") X(LOW, "low") X(HIGH, "high") X(RATIO, "ratio")                   \
    X(DEVIATIONS, "deviations")
#define BREAKER_OUTCOME_MAP(X) /* in order of severity */ \
    X(NONE, "none") X(SKIP, "skip") X(ROLLBACK, "rollback") X(HALT, "halt")
#define BREAKER_PHASE_MAP(X) \
    X(CLOSED, "closed") X(COOLING, "cooling") X(HALTED, "halted")
// clang-format on

enum breaker_signal {
#define X(name, word) BREAKER_SIGNAL_##name,
    BREAKER_SIGNAL_MAP(X)
#undef X
};
#define BREAKER_SIGNALS (BREAKER_SIGNAL_REWARD + 1)

enum breaker_limit {
#define X(name, word) BREAKER_LIMIT_##name,
    BREAKER_LIMIT_MAP(X)
#undef X
};
enum breaker_outcome {
#define X(name, word) BREAKER_##name,
    BREAKER_OUTCOME_MAP(X)
#undef X
};
enum breaker_phase {
#define X(name, word) BREAKER_PHASE_##name,
    BREAKER_PHASE_MAP(X)
#undef X
};

/* The limits of one signal, in its unit. */
struct breaker_limits {
    double low, high;              /* low < high; -INFINITY, INFINITY: none */
    double ratio;                  /* > 1; 0: none */
    double deviations;             /* > 0; 0: none */
    enum breaker_outcome absolute; /* of low and high; not NONE where one is set */
    enum breaker_outcome relative; /* of ratio and deviations; likewise */
};

struct breaker_params {
    struct breaker_limits limit[BREAKER_SIGNALS];
    enum breaker_outcome not_finite; /* of any signal; not NONE */
    uint32_t window, warmup; /* steps: BREAKER_WINDOW_MIN <= warmup <= window <= .._MAX */
    uint32_t skips_max;      /* in a row; 0: any number */
    uint32_t cooldown;       /* clean steps in a row, >= 1 */
    uint32_t trips_max;      /* <= BREAKER_TRIPS_MAX; 0: the first halts */
    uint32_t total_max;      /* 0: any number */
    double lr_factor; /* of the learning rate, for each rollback: 1 / BREAKER_FACTOR_MAX .. 1 */
    double beta_factor; /* of the KL coefficient: 1 .. BREAKER_FACTOR_MAX */
};

/* What one step measured. */
struct breaker_sample {
    double version;                 /* of the weights it was measured on, >= 0 */
    bool measured[BREAKER_SIGNALS]; /* a run without costs has no cost */
    double value[BREAKER_SIGNALS];
};

struct breaker_decision {
    enum breaker_outcome outcome;
    enum breaker_signal signal; /* what broke which limit; nothing where NONE */
    enum breaker_limit limit;
    double value, bound;         /* the signal, and what it was held to; 0 for FINITE */
    double version;              /* ROLLBACK: the last that broke no limit */
    double lr_scale, beta_scale; /* in force from now on, 1 where CLOSED */
};

/* Doubles alone, so that it can be written down as it is. */
struct breaker_state {
    double phase;                /* an enum breaker_phase */
    double trips;                /* since it was CLOSED */
    double total;                /* trips of the run */
    double skips;                /* in a row */
    double clean;                /* clean steps in a row while COOLING */
    double good;                 /* the newest version that broke no limit; -1: none yet */
    double lr_scale, beta_scale; /* in force */
    double signal, limit, value, bound;                 /* of the last trip */
    double seen[BREAKER_SIGNALS];                       /* how many numbers its window holds */
    double window[BREAKER_SIGNALS][BREAKER_WINDOW_MAX]; /* newest first; 0 past `seen` */
};
#define BREAKER_STATE_N (sizeof(struct breaker_state) / sizeof(double))

/* "grad_norm", "ratio", "rollback", "cooling"; "?" for a number that is none.  Constant
 * strings. */
const char *breaker_signal_name(enum breaker_signal signal);
const char *breaker_limit_name(enum breaker_limit limit);
const char *breaker_outcome_name(enum breaker_outcome outcome);
const char *breaker_phase_name(enum breaker_phase phase);

/* No limit but that all is finite, else SKIP; window 32, warm-up 16, 3 skips in a row, a
 * cool-down of 20 steps, 5 trips, learning rate halved and KL coefficient doubled. */
void breaker_params_init(struct breaker_params *params);

/* ERR_USAGE, naming the signal and the setting, where the ranges above do not hold, or where a
 * rollback can happen and would change neither scale. */
enum err_code breaker_params_check(const struct breaker_params *params, struct err *err);

void breaker_init(struct breaker_state *state);

/* See one step, and decide.  A sample that is not usable as such (nothing measured, a version
 * below 0 or not finite) is a programming error. */
struct breaker_decision breaker_step(const struct breaker_params *params,
                                     struct breaker_state *state,
                                     const struct breaker_sample *sample);

/* What this signal was until now is no measure of what it will be: its medians say nothing before
 * `warmup` more steps. */
void breaker_forget(struct breaker_state *state, enum breaker_signal signal);

/* A person says: go on.  HALTED becomes CLOSED, with the windows and the count of the run as
 * they are.  ERR_STATE where it is not HALTED. */
enum err_code breaker_resume(struct breaker_state *state, struct err *err);

/* A state that was read back: ERR_VALUE where it breaks what its phase promises, or cannot have
 * come from breaker_step with these settings. */
enum err_code breaker_check(const struct breaker_params *params,
                            const struct breaker_state *state, struct err *err);

/* The cause as a person reads it: "grad_norm is 50, above 20 (ratio)".  "" for NONE. */
void breaker_explain(const struct breaker_decision *decision, char text[BREAKER_TEXT_MAX]);

#endif

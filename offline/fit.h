/*
 * fit.h -- the loop every training without a coordinator shares: order, steps, micro-batches,
 * gradients, AdamW, schedule, tests on what is held out, early stop, checkpoints.
 *
 * What is learned is a struct fit_task: items 0 .. n-1 (examples, pairs), each with a length in
 * tokens and a weight, and a function that gives the gradient of some of them.  An epoch visits
 * the items in a seeded order, cut into steps of up to `step_tokens` tokens (one item may be
 * longer), and each step into micro-batches of up to `micro_tokens`, whose gradients are added
 * in the tree of control/summation.h:
 *
 *     loss of a step = sum of its items' losses / sum of their weights
 *
 * So the result is a pure function of data, parameters and start: the same bits for any number
 * of threads, and for any number of kills where checkpoints are written.  micro_tokens decides
 * no step, only the rounding of its sum.
 *
 * Nothing is allocated within a step.  Calls block; one thread.
 */
#ifndef OFFLINE_FIT_H
#define OFFLINE_FIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/hash.h"
#include "base/rng.h"
#include "engine/adamw.h"
#include "engine/model.h"
#include "engine/pool.h"

#define FIT_METRICS_MAX 64

struct fit_params {
    uint64_t seed;          /* of the order of items */
    enum rng_stream stream; /* a = epoch; a task may use a >= 2^40 */
    uint64_t epochs;
    size_t step_tokens; /* tokens of a step, at most (one item may be longer) */
    size_t micro_tokens;
    double lr, lr_floor; /* peak; the fraction of it at the end */
    uint64_t warmup_steps;
    enum schedule_kind schedule;
    struct adamw_params adamw;
    double grad_clip;    /* greatest norm of a step's gradient; 0: no limit */
    uint64_t eval_every; /* steps between tests on what is held out; 0: at the end alone */
    uint64_t patience;   /* tests in a row without a better one that end the training, after
                          * which the best weights are put back; 0: never, the last remain */

    /* Checkpoints (offline/fit_state.h). */
    uint64_t checkpoint_every;  /* steps; 0: none */
    const char *checkpoint_dir; /* exists; where the newest whole state is kept */
    struct hash identity;       /* of data, start and settings: a state of another is refused */
};

struct fit_task {
    void *ctx;
    size_t items; /* > 0 */
    size_t (*tokens)(const void *ctx,
                     uint32_t item); /* 1 .. micro_tokens (the caller checks) */
    size_t (*weight)(const void *ctx, uint32_t item); /* > 0: target tokens; pairs: 1 */

    /* Forward and backward over one micro-batch of n items: add their losses to *loss, and
     * write to grad (the model's layout) the gradient of their sum divided by `weight`. */
    enum err_code (*gradient)(void *ctx, const uint32_t *items, size_t n, double weight,
                              float *grad, double *loss, struct err *err);

    /* What is measured on the data held out; [0] is the loss that early stopping watches, NaN
     * where nothing is held out. */
    const char *const *metric; /* (metrics) names */
    size_t metrics;            /* 1 .. FIT_METRICS_MAX */
    enum err_code (*evaluate)(void *ctx, double *metric, struct err *err);
};

/* What is remembered of a training: a row a step, a row a test. */
struct fit_step {
    uint64_t step;          /* from 1 */
    uint64_t epoch, tokens; /* from 1; of this step */
    double loss;            /* before the update */
    double lr, grad_norm;   /* before clipping */
};
struct fit_test {
    uint64_t step; /* after this update */
    double metric[FIT_METRICS_MAX];
};
struct fit_history {
    struct fit_step *step; /* (steps) */
    struct fit_test *test; /* (tests) */
    uint64_t steps, tests;
    uint64_t steps_max, tests_max; /* of the whole training */
    uint64_t best;                 /* index into test of the lowest loss; UINT64_MAX: none */
    bool stopped;                  /* before the last epoch, for want of patience */
};
void fit_history_release(struct fit_history *history);

/* Told after each step; `test` is NULL where there was none.  Borrowed for the call. */
struct fit_progress {
    uint64_t steps; /* in all, unless it stops early */
    const struct fit_step *step;
    const struct fit_test *test;
    const struct fit_task *task;
};

/*
 * Train `model` in place.  *history is written anew; the caller releases it, also on failure.
 * ERR_VALUE where a loss or gradient is not finite: nothing of that step is applied, the
 * sentence names it.  ERR_USAGE where checkpoint_dir holds the state of another training,
 * ERR_FORMAT where it is damaged, ERR_NOMEM, ERR_IO.
 */
enum err_code fit_run(struct model *model, struct pool *pool, const struct fit_task *task,
                      const struct fit_params *params,
                      void (*progress)(void *arg, const struct fit_progress *progress),
                      void *arg, struct fit_history *history, struct err *err);

/* Pick a step's items apart: the end of the run of items from `k` on that fits into `tokens`;
 * one always does.  order[k] is the item at place k. */
size_t fit_cut(const struct fit_task *task, const uint32_t *order, size_t k, size_t end,
               size_t tokens);

#endif

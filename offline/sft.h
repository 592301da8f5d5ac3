/*
 * sft.h -- supervised fine-tuning: maximum likelihood of given answers.
 *
 *     loss = - 1/M sum over the step's M target tokens of log p(token | before)      nats
 *
 * Targets are the tokens of responses (all but the first of a plain text).  An epoch visits
 * the training examples in a seeded order, cut into steps of up to `step_tokens` tokens, and
 * each step into micro-batches of up to `micro_tokens`, whose gradients are added in the tree
 * of control/summation.h.  So the result is a pure function of data, parameters and start:
 * the same bits for any number of threads.
 */
#ifndef OFFLINE_SFT_H
#define OFFLINE_SFT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "data/encode.h"
#include "data/reader.h"
#include "engine/adamw.h"
#include "engine/model.h"
#include "engine/pool.h"

/* Examples, packed: number i is tokens offset[i] .. offset[i+1]-1, its targets those from
 * offset[i] + first[i] (and never the very first token). */
struct sft_data {
    struct tokens ids;
    uint64_t *offset; /* (n+1) */
    uint32_t *first;  /* (n) */
    size_t n, cap;
};

/* Read a data set: of each record the answer that data_record_best names.  ERR_FORMAT,
 * ERR_VALUE name FILE:LINE, and which lines may be bad is said by `options`
 * (data/reader.h); ERR_VALUE also where there is not one example.  *bad, unless NULL, is the
 * number of lines passed over.  The caller releases it with sft_data_release, also on failure. */
enum err_code sft_data_read(struct sft_data *data, const struct encode *how,
                            const struct reader_options *options, const char *path,
                            uint64_t *bad, struct err *err);
void sft_data_release(struct sft_data *data);

struct sft_params {
    uint64_t seed;      /* order of examples, which are held out */
    uint64_t epochs;
    size_t step_tokens; /* tokens of a step, at most (one example may be longer) */
    size_t micro_tokens;
    double lr, lr_floor; /* peak; the fraction of it at the end */
    uint64_t warmup_steps;
    enum schedule_kind schedule;
    struct adamw_params adamw;
    double grad_clip; /* greatest norm of a step's gradient; 0: no limit */
    double held_out;  /* fraction of the examples never trained on, [0, 0.5] */
    uint64_t eval_every; /* steps between held-out losses; 0: at the end alone */
};

struct sft_progress {
    uint64_t step, steps;  /* from 1 */
    uint64_t epoch;        /* from 1 */
    size_t tokens;         /* of this step */
    double loss;           /* nats a target token, before the update */
    double lr, grad_norm;  /* before clipping */
    double held_out_loss;  /* NaN where it was not computed at this step */
};

/*
 * Train `model` in place, telling `progress` of each step.  ERR_VALUE where a loss or gradient
 * is not finite (the weights before that step remain), or an example exceeds micro_tokens;
 * ERR_NOMEM.
 */
enum err_code sft_train(struct model *model, struct pool *pool, const struct sft_data *data,
                        const struct sft_params *params,
                        void (*progress)(void *arg, const struct sft_progress *progress),
                        void *arg, struct err *err);

#endif

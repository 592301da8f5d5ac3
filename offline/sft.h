/*
 * sft.h -- supervised fine-tuning: maximum likelihood of given answers.
 *
 *     loss = - 1/M sum over the step's M target tokens of log p(token | before)      nats
 *
 * Targets are the tokens of responses (all but the first of a plain text).  offline/fit.h says
 * how the examples become steps and what that promises.
 */
#ifndef OFFLINE_SFT_H
#define OFFLINE_SFT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "data/encode.h"
#include "data/reader.h"
#include "engine/model.h"
#include "engine/pool.h"
#include "offline/fit.h"

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

/*
 * Train `model` in place, telling `progress` of each step; the one metric of a test is
 * "held_out_loss".  The fraction held_out of the examples, [0, 0.5], is never trained on.
 * params->stream is not used.  *history is released by the caller, also on failure.
 * ERR_VALUE where a loss or gradient is not finite (the weights before that step remain), or
 * an example exceeds micro_tokens; ERR_NOMEM.
 */
enum err_code sft_train(struct model *model, struct pool *pool, const struct sft_data *data,
                        const struct fit_params *params, double held_out,
                        void (*progress)(void *arg, const struct fit_progress *progress),
                        void *arg, struct fit_history *history, struct err *err);

#endif

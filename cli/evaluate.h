/*
 * evaluate.h -- how good a model's answers are: sampled on a list of prompts and scored by a
 * run's scorers, in one process without daemons.
 *
 *     prompt i, sample k ---model----> answer ---scorers---> scores \
 *                        \--against--> answer ---scorers---> scores / win: 1, 1/2 or 0
 *
 * Token t of sample k of prompt i is drawn with Philox(seed; stream, i, k, t), by both
 * models: what comes out is a pure function of models, config, prompts and seed, whatever the
 * threads and rows.
 *
 * Statistics.  Samples of one prompt are not independent, so a prompt counts once:
 *
 *     x[i]  = mean of the quantity over the prompt's samples
 *     mean  = sum x[i] / n
 *     error = sqrt(sum (x[i] - mean)^2 / (n - 1) / n)       NAN where n < 2
 *
 * Winning is such a quantity: 1 where the model's score is greater than that of the other one's
 * sample k of the same prompt, 1/2 where they are equal, 0 where it is less.  A score that could
 * not be had is left out and counted as missing; it is never 0.  A scorer with a prompt_kind is
 * asked about prompts of that kind alone, and its mean is over these.
 *
 * Scores are told one by one.  What reward.combine makes of them is not: with a tree it would
 * need references, with maxmin it is a step's.
 */
#ifndef CLI_EVALUATE_H
#define CLI_EVALUATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/rng.h"
#include "control/score.h"
#include "node/run_config.h"

#define EVALUATE_SAMPLES_MAX 256u /* of a prompt */

/* What is measured of an answer, beside the scores 0 .. scorers - 1 of the config. */
enum {
    EVALUATE_KL = RUN_SCORERS_MAX, /* nats: sum over tokens of log-prob less the reference's */
    EVALUATE_TOKENS,               /* of the response */
    EVALUATE_TRUNCATED,            /* 1 where it was cut at max_new_tokens, else 0 */
    EVALUATE_QUANTITIES
};

struct evaluate_params {
    const char *against;  /* directory of the model to compare with; NULL: none */
    uint32_t prompts_max; /* the first so many; 0: all */
    uint32_t samples;     /* of each prompt, 1 .. EVALUATE_SAMPLES_MAX */
    uint32_t sample_first; /* their numbers begin here */
    enum rng_stream stream;
    uint64_t seed;
    uint32_t threads;
    void (*progress)(void *ctx, uint32_t prompts, uint32_t all); /* NULL: not told */
    /* Each answer of the model's, in order: score [scorers].  NULL: not told. */
    void (*scored)(void *ctx, uint32_t prompt, const struct score *score);
    void *ctx;
};

struct evaluate_mean {
    double mean, error; /* NAN: of nothing; of less than two prompts */
    uint32_t n;         /* prompts in it */
};

/* Of one model. */
struct evaluate_side {
    struct evaluate_mean of[EVALUATE_QUANTITIES];
    uint64_t missing[RUN_SCORERS_MAX]; /* answers the scorer could not score */
    char why[256];                     /* the first reason; "": none is missing */
};

struct evaluate_result {
    uint32_t prompts, samples;
    bool compared;                /* side[1] and win are filled */
    struct evaluate_side side[2]; /* of the model, of the one it is compared with */
    struct evaluate_mean win[RUN_SCORERS_MAX];
};

/*
 * Evaluate config->policy on config->prompts with the config's scorers, reference, template and
 * sampling; nothing else of it is looked at but prompt_tokens_max and actor_rows.  A JSON line
 * a sample is appended to `lines`.  The errors of what is read, naming the file; ERR_USAGE where
 * the models do not fit together; ERR_VALUE where a log-prob is not finite.
 */
enum err_code evaluate_run(const struct run_config *config,
                           const struct evaluate_params *params, struct buf *lines,
                           struct evaluate_result *result, struct err *err);

/* The result as one JSON object with what it was made from (format: docs/EXPERIMENTS.md), and
 * as a table for a person. */
void evaluate_write_json(const struct run_config *config, const struct evaluate_params *params,
                         const struct evaluate_result *result, struct buf *out);
void evaluate_write_table(const struct run_config *config, const struct evaluate_result *result,
                          struct buf *out);

#endif

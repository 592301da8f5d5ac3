/* bench_train.h -- a training step without a run around it. */
#ifndef BENCH_BENCH_TRAIN_H
#define BENCH_BENCH_TRAIN_H

#include "bench/bench_model.h"
#include "engine/adamw.h"
#include "engine/pass.h"

/* Everything that a step needs. */
struct train_bench {
    const struct bench *bench;
    struct bench_model *model; /* of which a step needs bench, shape and model */
    struct pass *pass;
    struct adamw adamw;
    float *grad;
    size_t N;
    uint32_t *offset, *at;
    int32_t *ids, *target;
    float *logp, *dlogp;
};

/* Random sequences of the model's shape; ends the program where memory is out. */
void train_bench_batch(struct train_bench *t, size_t seqs, size_t tokens);

/* Log-probs, their gradient, its norm, the update; the next step packs the new weights. */
void train_bench_step(void *train_bench);

#endif

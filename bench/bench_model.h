/*
 * bench_model.h -- models of known shapes with random weights, and their products alone.
 *
 * The ceiling of a whole step is the time of its matrix products, by the same kernels over the
 * same weights, with nothing in between: bench_model_forward and bench_model_backward.
 */
#ifndef BENCH_BENCH_MODEL_H
#define BENCH_BENCH_MODEL_H

#include "bench/bench.h"
#include "engine/block.h"
#include "engine/model.h"

struct bench_shape {
    const char *name;
    struct model_config config;
    size_t seqs, tokens; /* of a training step: sequences, and tokens of each */
};

#define BENCH_SHAPES 5
extern const struct bench_shape bench_shapes[BENCH_SHAPES];

/* One of them. */
const struct bench_shape *bench_shape_named(const char *name);

struct bench_model {
    const struct bench *bench;
    const struct bench_shape *shape;
    struct model *model;
    struct block *block;
    size_t rows, head_rows; /* of the products */
    float *x, *y, *dx;      /* (rows, the widest input or output) */
    float *logits;          /* (a chunk of rows, V) */
    float *grad;            /* (params), or NULL (with dx): no backward */
};

/* Ends the program where memory is out.  The caller frees it with bench_model_free. */
struct bench_model *bench_model_new(const struct bench *bench, const struct bench_shape *shape,
                                    size_t rows, size_t head_rows, bool backward);
void bench_model_free(struct bench_model *model);

/* The products of a forward pass over `rows` rows, the head over `head_rows` of them. */
void bench_model_forward(void *model);

/* bench_model_forward, and both gradients of each product. */
void bench_model_backward(void *model);

/* Read all packed weights once. */
void bench_model_read(void *model);

/* One product of OpenBLAS, 4096 cubed: what people measure a machine by. */
struct bench_sgemm {
    const struct bench *bench;
    float *a, *b, *c;
};
#define BENCH_SGEMM_FLOP (2.0 * 4096.0 * 4096.0 * 4096.0)
#define BENCH_SETTLE     0.1 /* seconds until its threads sleep */
struct bench_sgemm bench_sgemm_new(const struct bench *bench);
void bench_sgemm_free(struct bench_sgemm *sgemm);
void bench_sgemm_run(void *sgemm);

#endif

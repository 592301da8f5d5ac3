/* bench_model.c -- see bench_model.h. */
#include "bench/bench_model.h"

#include <stdlib.h>
#include <string.h>

#include <cblas.h>

#include "bench/bench_memory.h"

enum { BENCH_HEAD_ROWS = 256 }; /* rows of logits that exist at a time */

#define BENCH_LLAMA(v, c, l, h, g, d, f, t)                                                   \
    {                                                                                         \
        .family = MODEL_LLAMA, .model_type = "llama", .V = v, .C = c, .L = l, .H = h, .G = g, \
        .D = d, .F = f, .T = t, .norm_eps = 1e-5f, .tied = true, .rope_theta = 10000.0f,      \
        .bos = -1, .eos = -1, .pad = -1                                                       \
    }
#define BENCH_GPT2(v, c, l, h, d, f, t)                                                     \
    {                                                                                       \
        .family = MODEL_GPT2, .model_type = "gpt2", .V = v, .C = c, .L = l, .H = h, .G = h, \
        .D = d, .F = f, .T = t, .norm_eps = 1e-5f, .tied = true, .bos = -1, .eos = -1,      \
        .pad = -1                                                                           \
    }

const struct bench_shape bench_shapes[BENCH_SHAPES] = {
    {"gpt2-124m", BENCH_GPT2(50257, 768, 12, 12, 64, 3072, 1024), 8, 128},
    {"llama-135m", BENCH_LLAMA(49152, 576, 30, 9, 3, 64, 1536, 2048), 8, 128},
    {"llama-10m", BENCH_LLAMA(4096, 256, 12, 8, 4, 32, 704, 1024), 16, 128},
    {"llama-1.3m", BENCH_LLAMA(1024, 128, 6, 8, 8, 16, 344, 1024), 32, 128},
    {"stories-260k", BENCH_LLAMA(512, 64, 5, 8, 4, 8, 172, 512), 32, 128},
};

const struct bench_shape *bench_shape_named(const char *name)
{
    size_t i = 0;
    while (strcmp(bench_shapes[i].name, name) != 0)
        i++;
    return &bench_shapes[i];
}

struct bench_model *bench_model_new(const struct bench *bench, const struct bench_shape *shape,
                                    size_t rows, size_t head_rows, bool backward)
{
    struct err err = {0};
    struct bench_model *m = calloc(1, sizeof *m);
    struct model *model = model_new(&shape->config, &err);
    if (!m || !model)
        bench_fail(shape->name, &err);
    model_init_random(model, 1, 0.02f);
    model->precision = bench->precision;
    struct block *block = block_new(model, bench->pool, shape->config.T, backward, &err);
    if (!block)
        bench_fail(shape->name, &err);
    const size_t wide = block->up_width > block->qkv_width ? block->up_width : block->qkv_width;
    const size_t chunk = head_rows < BENCH_HEAD_ROWS ? head_rows : BENCH_HEAD_ROWS;
    *m = (struct bench_model){.bench = bench,
                              .shape = shape,
                              .model = model,
                              .block = block,
                              .rows = rows,
                              .head_rows = head_rows,
                              .x = bench_floats(rows * wide),
                              .y = bench_floats(rows * wide),
                              .dx = backward ? bench_floats(rows * wide) : NULL,
                              .logits = bench_floats(chunk * shape->config.V),
                              .grad = backward ? bench_floats(model->params) : NULL};
    return m;
}

void bench_model_free(struct bench_model *m)
{
    block_free(m->block);
    model_free(m->model);
    free(m->x);
    free(m->y);
    free(m->dx);
    free(m->logits);
    free(m->grad);
    free(m);
}

static void bench_product(const struct bench_model *m, const struct block_linear *linear,
                          float *y, size_t rows)
{
    block_linear_forward(m->block, linear, y, linear->N, m->x, rows);
    if (!m->grad)
        return;
    block_linear_dw(m->block, linear, m->grad, y, linear->N, m->x, rows, GEMM_SET);
    block_linear_dx(m->block, linear, m->dx, y, linear->N, rows, GEMM_SET);
}

static void bench_products(const struct bench_model *m)
{
    for (uint32_t l = 0; l < m->shape->config.L; l++) {
        const struct block_layer *layer = &m->block->layers[l];
        for (size_t i = 0; i < layer->qkvs; i++)
            bench_product(m, &layer->qkv[i], m->y, m->rows);
        bench_product(m, &layer->out, m->y, m->rows);
        for (size_t i = 0; i < layer->ups; i++)
            bench_product(m, &layer->up[i], m->y, m->rows);
        bench_product(m, &layer->down, m->y, m->rows);
    }
    for (size_t row = 0; row < m->head_rows; row += BENCH_HEAD_ROWS) {
        const size_t left = m->head_rows - row;
        bench_product(m, &m->block->head, m->logits,
                      left < BENCH_HEAD_ROWS ? left : BENCH_HEAD_ROWS);
    }
}

void bench_model_forward(void *model)
{
    struct bench_model forward = *(const struct bench_model *)model;
    forward.grad = NULL;
    bench_products(&forward);
}

void bench_model_backward(void *model)
{
    bench_products(model);
}

/* ---- reading ---- */

void bench_model_read(void *model)
{
    const struct bench_model *m = model;
    const struct arena *arena = &m->block->arena;
    struct bench_memory weights = {.bench = m->bench,
                                   .n = arena->used_bytes / sizeof(float),
                                   .in = {(const float *)(const void *)arena->base}};
    bench_memory_run(&weights);
}

/* ---- sgemm ---- */

struct bench_sgemm bench_sgemm_new(const struct bench *bench)
{
    const size_t n = 4096 * 4096;
    return (struct bench_sgemm){bench, bench_floats(n), bench_floats(n), bench_floats(n)};
}

void bench_sgemm_free(struct bench_sgemm *sgemm)
{
    free(sgemm->a);
    free(sgemm->b);
    free(sgemm->c);
}

void bench_sgemm_run(void *arg)
{
    const struct bench_sgemm *g = arg;
    openblas_set_num_threads((int)g->bench->threads);
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, 4096, 4096, 4096, 1.0f, g->a, 4096,
                g->b, 4096, 0.0f, g->c, 4096);
}

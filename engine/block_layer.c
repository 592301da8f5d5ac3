/* block_layer.c -- the arithmetic of block.h.  Many rows of a small layer go through a half of
 * it a piece at a time, so that what one function writes is still in the second-level cache
 * when the next reads it. */
#include <assert.h>
#include <stdatomic.h>
#include <string.h>

#include "engine/block.h"
#include "engine/kernels/embedding.h"
#include "engine/kernels/gelu.h"
#include "engine/kernels/layernorm.h"
#include "engine/kernels/residual.h"
#include "engine/kernels/rmsnorm.h"
#include "engine/kernels/rope.h"
#include "engine/kernels/swiglu.h"

enum {
    BLOCK_PIECE = 112, /* rows: whole tiles of gemm.h and of bgemm.h */
    /* Of a half's weights, at most.  Twice a second-level cache: to read them again for each piece
     * costs less than rows that leave the cache. */
    BLOCK_PIECE_BYTES = 4096 * 1024,
    BLOCK_BACK_BYTES = 1024 * 1024, /* the same on the way back, where gradients go by, too */
    BLOCK_PIECE_SHARES = 2,         /* pieces a thread, at least */
    BLOCK_PIECE_BACK = 224,         /* rows a thread: a multiple of BGEMM_STEP */
};

static const float *block_weight(const struct block *block, size_t at)
{
    return at == BLOCK_NONE ? NULL : block->model->w + at;
}

/* y = norm(x); mean and r may be NULL. */
void block_norm_forward(const struct block *block, const struct block_norm *norm, float *y,
                        float *mean, float *r, const float *x, size_t M)
{
    const struct model_config *c = &block->model->config;
    if (c->family == MODEL_GPT2)
        layernorm_forward(block->pool, y, mean, r, x, block_weight(block, norm->w_at),
                          block_weight(block, norm->bias_at), M, c->C, c->norm_eps);
    else
        rmsnorm_forward(block->pool, y, c->C, r, x, c->C, block_weight(block, norm->w_at), M,
                        c->C, c->norm_eps);
}

/* x_mid, the attention's part so far, += x; norm is the norm of it. */
static void block_norm_mid(const struct block *block, const struct block_norm *norm,
                           const struct block_rows *rows)
{
    const struct model_config *c = &block->model->config;
    if (c->family == MODEL_GPT2)
        layernorm_residual_forward(block->pool, rows->norm, rows->mean2, rows->r2, rows->x_mid,
                                   rows->x, block_weight(block, norm->w_at),
                                   block_weight(block, norm->bias_at), rows->M, c->C,
                                   c->norm_eps);
    else
        rmsnorm_residual_forward(block->pool, rows->norm, rows->r2, rows->x_mid, rows->x,
                                 block_weight(block, norm->w_at), rows->M, c->C, c->norm_eps);
}

/* y, `width` floats a row, is filled by the linears side by side. */
static void block_products(const struct block *block, const struct block_linear *linear,
                           size_t n, float *y, size_t width, const float *x, size_t M)
{
    size_t column = 0;
    for (size_t i = 0; i < n; column += linear[i].N, i++)
        block_linear_forward(block, &linear[i], y + column, width, x, M);
    assert(column == width);
}

/* Qwen3: each head of q and k is normalized over its D channels. */
static void block_head_norms(const struct block *block, const struct block_layer *layer,
                             const struct block_rows *rows)
{
    const struct attention *a = &block->attention;
    const size_t raw = (a->H + a->G) * a->D, S = block->qkv_width;
    for (size_t m = 0; m < rows->M; m++)
        memcpy(rows->qk_raw + m * raw, rows->qkv + m * S, raw * sizeof(float));
    for (size_t h = 0; h < a->H + a->G; h++)
        rmsnorm_forward(block->pool, rows->qkv + h * a->D, S,
                        rows->r_qk ? rows->r_qk + h * rows->r_qk_stride : NULL,
                        rows->qk_raw + h * a->D, raw,
                        block_weight(block, h < a->H ? layer->q_norm_at : layer->k_norm_at),
                        rows->M, a->D, block->model->config.norm_eps);
}

static void block_activate(const struct block *block, float *act, const float *up, size_t M)
{
    const size_t F = block->model->config.F;
    if (block->model->config.family == MODEL_GPT2)
        gelu_forward(block->pool, act, up, M * F);
    else
        swiglu_forward(block->pool, act, up, up + F, block->up_width, M, F);
}

/* A half of a layer, over all rows that it is given. */
typedef void block_half(const struct block *block, const struct block_layer *layer,
                        const struct block_rows *rows);

static void block_half_in(const struct block *block, const struct block_layer *layer,
                          const struct block_rows *rows)
{
    const struct attention *a = &block->attention;
    block_norm_forward(block, &layer->norm1, rows->norm, rows->mean1, rows->r1, rows->x,
                       rows->M);
    block_products(block, layer->qkv, layer->qkvs, rows->qkv, block->qkv_width, rows->norm,
                   rows->M);
    if (layer->q_norm_at != BLOCK_NONE)
        block_head_norms(block, layer, rows);
    if (block->cos_table) /* q and k lie side by side: one rotation of H + G heads */
        rope_forward(block->pool, rows->qkv, block->qkv_width, rows->position, block->cos_table,
                     block->sin_table, rows->M, a->H + a->G, a->D);
}

static void block_half_out(const struct block *block, const struct block_layer *layer,
                           const struct block_rows *rows)
{
    const size_t C = block->model->config.C;
    /* The product first, the residual after: adding many small terms to a large one would
     * round each of them to it. */
    block_products(block, &layer->out, 1, rows->x_mid, C, rows->att, rows->M);
    block_norm_mid(block, &layer->norm2, rows);
    block_products(block, layer->up, layer->ups, rows->up, block->up_width, rows->norm,
                   rows->M);
    block_activate(block, rows->act, rows->up, rows->M);
    block_products(block, &layer->down, 1, rows->x_out, C, rows->act, rows->M);
    residual_add(block->pool, rows->x_out, rows->x_mid, rows->M * C);
}

/* ---- in pieces ---- */

struct block_pieces {
    struct block block; /* the caller's, without its threads: a piece runs on one */
    const struct block_layer *layer;
    const struct block_rows *rows;
    block_half *half;
    size_t pieces;
    atomic_size_t next;
};

static float *block_from(float *array, size_t floats)
{
    return array ? array + floats : NULL;
}

/* Rows begin .. begin+M-1; what nobody reads later lies where the thread's piece before had
 * it. */
static struct block_rows block_piece(const struct block_pieces *job, size_t begin, size_t M,
                                     size_t thread)
{
    const struct block *block = &job->block;
    const struct model_config *c = &block->model->config;
    const struct attention *a = &block->attention;
    const size_t scratch = thread * BLOCK_PIECE;
    struct block_rows part = *job->rows;
    const size_t kept = part.keep ? begin : scratch;
    part.M = M;
    part.position += begin;
    part.x += begin * c->C;
    part.x_mid += kept * c->C;
    part.x_out += begin * c->C;
    part.norm += scratch * c->C;
    part.qkv += begin * block->qkv_width;
    part.qk_raw = block_from(part.qk_raw, begin * (a->H + a->G) * a->D);
    part.att += begin * a->H * a->D;
    part.up += kept * block->up_width;
    part.act += scratch * c->F;
    part.mean1 = block_from(part.mean1, begin);
    part.r1 = block_from(part.r1, begin);
    part.mean2 = block_from(part.mean2, begin);
    part.r2 = block_from(part.r2, begin);
    part.r_qk = block_from(part.r_qk, begin);
    return part;
}

/* Task: one piece after the other, as there are any. */
static void block_pieces_task(void *arg, size_t thread)
{
    struct block_pieces *job = arg;
    const size_t M = job->rows->M;
    for (;;) {
        const size_t i = atomic_fetch_add_explicit(&job->next, 1, memory_order_relaxed);
        if (i >= job->pieces)
            return;
        const size_t begin = i * BLOCK_PIECE;
        const struct block_rows part =
            block_piece(job, begin, M - begin < BLOCK_PIECE ? M - begin : BLOCK_PIECE, thread);
        job->half(&job->block, job->layer, &part);
    }
}

/* True where the weights of the larger half, the second, take no more. */
static bool block_in_pieces(const struct block *block, size_t bytes)
{
    const struct model_config *c = &block->model->config;
    const size_t weights = (block->attention.out_stride + block->up_width + c->F) * c->C;
    return weights * sizeof(float) <= bytes;
}

size_t block_piece_rows(const struct block *block, size_t M)
{
    return block_in_pieces(block, BLOCK_BACK_BYTES)
               ? BLOCK_PIECE_BACK * pool_threads(block->pool)
               : M;
}

static void block_run(const struct block *block, size_t layer, const struct block_rows *rows,
                      block_half *half)
{
    struct block_pieces job = {.block = *block,
                               .layer = &block->layers[layer],
                               .rows = rows,
                               .half = half,
                               .pieces = (rows->M + BLOCK_PIECE - 1) / BLOCK_PIECE};
    const size_t threads = pool_threads(block->pool);
    if (!block_in_pieces(block, BLOCK_PIECE_BYTES) ||
        job.pieces < BLOCK_PIECE_SHARES * threads) {
        half(block, job.layer, rows);
        return;
    }
    job.block.pool = NULL;
    pool_run(block->pool, threads, block_pieces_task, &job);
}

void block_attention_in(const struct block *block, size_t layer, const struct block_rows *rows)
{
    block_run(block, layer, rows, block_half_in);
}

void block_attention_out(const struct block *block, size_t layer, const struct block_rows *rows)
{
    block_run(block, layer, rows, block_half_out);
}

/* ---- before and after the layers ---- */

void block_embed(const struct block *block, float *x, const int32_t *ids,
                 const uint32_t *position, size_t M)
{
    embedding_forward(block->pool, x, ids, block_weight(block, block->wte_at), position,
                      block_weight(block, block->wpe_at), M, block->model->config.C);
}

void block_final(const struct block *block, float *y, float *mean, float *r, const float *x,
                 size_t M)
{
    block_norm_forward(block, &block->final, y, mean, r, x, M);
}

void block_head(const struct block *block, float *out, size_t out_stride, const float *hidden,
                size_t M)
{
    block_linear_forward(block, &block->head, out, out_stride, hidden, M);
}

/* block_layer.c -- the arithmetic of block.h. */
#include <assert.h>
#include <string.h>

#include "engine/block.h"
#include "engine/block_half.h"
#include "engine/kernels/embedding.h"
#include "engine/kernels/gelu.h"
#include "engine/kernels/layernorm.h"
#include "engine/kernels/residual.h"
#include "engine/kernels/rmsnorm.h"
#include "engine/kernels/rope.h"
#include "engine/kernels/swiglu.h"

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

void block_half_in(const struct block *block, const struct block_layer *layer,
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

void block_half_out(const struct block *block, const struct block_layer *layer,
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

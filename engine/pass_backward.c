/* pass_backward.c -- the trunk backwards; see pass.h.  d followed by a name is the gradient
 * of the loss with respect to it.
 *
 * Many rows of a small layer go through a half of it a piece at a time, as on the way forward
 * (engine/block_pieces.c).  The chain of each sum goes on from piece to piece, in ascending rows:
 * the bits are those of all rows at once. */
#include <assert.h>
#include <string.h>

#include "engine/kernels/attention.h"
#include "engine/kernels/embedding.h"
#include "engine/kernels/gelu.h"
#include "engine/kernels/layernorm.h"
#include "engine/kernels/rmsnorm.h"
#include "engine/kernels/rope.h"
#include "engine/kernels/swiglu.h"
#include "engine/pass_state.h"

/* True where the tensor at `at` is the linear's weight, or part of it: linears may be joined. */
static bool pass_linear_has(const struct block_linear *linear, size_t at)
{
    return at >= linear->w_at && at - linear->w_at < linear->N * linear->K;
}

/* True where a product is the first to give this tensor its gradient, and so may write it. */
static bool pass_product_writes(const struct block *block, uint32_t layers, size_t at)
{
    bool writes = pass_linear_has(&block->head, at);
    for (uint32_t l = 0; l < layers && !writes; l++) {
        const struct block_layer *layer = &block->layers[l];
        writes = pass_linear_has(&layer->out, at) || pass_linear_has(&layer->down, at);
        for (size_t i = 0; i < layer->qkvs; i++)
            writes = writes || pass_linear_has(&layer->qkv[i], at);
        for (size_t i = 0; i < layer->ups; i++)
            writes = writes || pass_linear_has(&layer->up[i], at);
    }
    return writes;
}

/* Zeros wherever no product writes, between tensors too: most of a gradient is then touched
 * once less. */
static void pass_clear_grad(const struct pass *pass)
{
    const struct model *model = pass->model;
    size_t clear = 0; /* from here on */
    for (size_t k = 0; k <= model->tensors_n; k++) {
        const struct model_tensor *tensor = k < model->tensors_n ? &model->tensors[k] : NULL;
        if (tensor && !pass_product_writes(pass->block, model->config.L, tensor->at))
            continue;
        const size_t end = tensor ? tensor->at : model->params;
        memset(pass->grad + clear, 0, (end - clear) * sizeof(float));
        clear = tensor ? end + (size_t)tensor->rows * tensor->cols : end;
    }
}

void pass_backward_begin(struct pass *pass, float *grad, enum gemm_into into)
{
    assert(pass->training && pass->N > 0 && !pass->grad && grad);
    assert(pass->block->generation == pass->model->generation);
    pass->grad = grad;
    pass->layers_into = pass->head_into = into;
    pass->final = NULL;
    if (into == GEMM_SET)
        pass_clear_grad(pass);
    memset(pass->dhidden, 0, pass->N * pass->model->config.C * sizeof(float));
}

void pass_backward_watch(struct pass *pass, void (*final)(void *ctx, size_t first), void *ctx)
{
    assert(pass->grad);
    pass->final = final;
    pass->final_ctx = ctx;
}

/* Elements from `first` on are final. */
static void pass_tell(const struct pass *pass, size_t first)
{
    if (pass->final)
        pass->final(pass->final_ctx, first);
}

static float *pass_grad(const struct pass *pass, size_t at)
{
    return at == BLOCK_NONE ? NULL : pass->grad + at;
}

/* Rows begin .. begin+rows-1.  What a half hands on within itself lies in the first rows of its
 * arrays, whichever they are of: dact, dup, dnorm, act and norm are scratch. */
struct pass_piece {
    size_t begin, rows;
};

/* The rows of the piece after `piece` (at first, of no rows from 0 on); false after the last.
 * With norms of heads all rows are one: their weight's chain goes over all rows of one head,
 * then over those of the next. */
static bool pass_next(const struct pass *pass, struct pass_piece *piece)
{
    piece->begin += piece->rows;
    piece->rows = pass->N - piece->begin;
    const size_t most = block_piece_rows(pass->block, pass->N);
    if (!pass->model->config.qk_norm && piece->rows > most)
        piece->rows = most;
    return piece->rows > 0;
}

/* dx += , and the norm's own gradients.  All but dy are of the whole batch. */
static void pass_norm_backward(const struct pass *pass, const struct block_norm *norm,
                               const struct pass_piece *piece, float *dx, const float *dy,
                               const float *x, const float *mean, const float *r)
{
    const size_t C = pass->model->config.C, begin = piece->begin;
    const float *w = pass->model->w + norm->w_at;
    float *dw = pass_grad(pass, norm->w_at), *db = pass_grad(pass, norm->bias_at);
    if (pass->model->config.family == MODEL_GPT2)
        layernorm_backward(pass->pool, dx + begin * C, dw, db, dy, x + begin * C, w,
                           mean + begin, r + begin, piece->rows, C);
    else
        rmsnorm_backward(pass->pool, dx + begin * C, C, dw, dy, C, x + begin * C, C, w,
                         r + begin, piece->rows, C);
}

/* The gradient of a linear's weight and bias, from dy, `width` floats a row, and its input. */
static void pass_linear_dw(const struct pass *pass, const struct block_linear *linear,
                           const struct pass_piece *piece, const float *dy, size_t width,
                           const float *x)
{
    const enum gemm_into into = piece->begin == 0 ? pass->layers_into : GEMM_ADD;
    if (linear->bias_at != BLOCK_NONE)
        gemm_db(pass->pool, pass->grad + linear->bias_at, dy, width, piece->rows, linear->N);
    block_linear_dw(pass->block, linear, pass->grad, dy, width, x, piece->rows, into);
}

/* The linears whose outputs fill dy side by side, `width` floats a row, and whose input is x:
 * their gradients, and dx (written). */
static void pass_linears_backward(const struct pass *pass, const struct block_linear *linear,
                                  size_t n, const struct pass_piece *piece, float *dx,
                                  const float *dy, size_t width, const float *x)
{
    size_t column = 0;
    for (size_t i = 0; i < n; column += linear[i].N, i++) {
        const struct block_linear *one = &linear[i];
        pass_linear_dw(pass, one, piece, dy + column, width, x);
        block_linear_dx(pass->block, one, dx, dy + column, width, piece->rows,
                        i == 0 ? GEMM_SET : GEMM_ADD);
    }
}

/* pass->dx: on entry that of the layer's output, on return that of x_mid. */
static void pass_feed_forward_backward(struct pass *pass, uint32_t l,
                                       const struct pass_piece *piece)
{
    const struct block *block = pass->block;
    const struct block_layer *weights = &block->layers[l];
    const struct pass_layer *layer = &pass->layers[l];
    const size_t C = pass->model->config.C, F = pass->model->config.F, U = block->up_width;
    const size_t rows = piece->rows;
    const float *up = layer->up + piece->begin * U, *dx = pass->dx + piece->begin * C;
    /* Before the gradient of its weight: the activation comes again with its slope. */
    block_linear_dx(block, &weights->down, pass->dact, dx, C, rows, GEMM_SET);
    if (pass->model->config.family == MODEL_GPT2)
        gelu_backward(pass->pool, pass->dup, pass->act, pass->dact, up, rows * F);
    else
        swiglu_backward(pass->pool, pass->dup, pass->dup + F, pass->act, pass->dact, up, up + F,
                        U, rows, F);
    pass_linear_dw(pass, &weights->down, piece, dx, C, pass->act);
    block_norm_forward(block, &weights->norm2, pass->norm, NULL, NULL,
                       layer->x_mid + piece->begin * C, rows);
    pass_linears_backward(pass, weights->up, weights->ups, piece, pass->dnorm, pass->dup, U,
                          pass->norm);
    /* The residual passes dx on as it is; the norm's part is added to it. */
    pass_norm_backward(pass, &weights->norm2, piece, pass->dx, pass->dnorm, layer->x_mid,
                       layer->mean2, layer->r2);
}

/* From the gradient of the normalized q and k in dqkv to that of the raw ones, in place. */
static void pass_head_norms_backward(struct pass *pass, uint32_t l)
{
    const struct block_layer *weights = &pass->block->layers[l];
    const struct pass_layer *layer = &pass->layers[l];
    const struct attention *a = &pass->block->attention;
    const size_t raw = (a->H + a->G) * a->D, S = pass->block->qkv_width;
    for (size_t n = 0; n < pass->N; n++) {
        memcpy(pass->dqk + n * raw, pass->dqkv + n * S, raw * sizeof(float));
        memset(pass->dqkv + n * S, 0, raw * sizeof(float));
    }
    for (size_t h = 0; h < a->H + a->G; h++) {
        const size_t at = h < a->H ? weights->q_norm_at : weights->k_norm_at;
        rmsnorm_backward(pass->pool, pass->dqkv + h * a->D, S, pass->grad + at,
                         pass->dqk + h * a->D, raw, layer->qk_raw + h * a->D, raw,
                         pass->model->w + at, layer->r_qk + h * pass->N, pass->N, a->D);
    }
}

/* From the gradient of q, k and v in pass->dqkv to that of the layer's input in pass->dx, which
 * holds what the residual passes on. */
static void pass_qkv_backward(struct pass *pass, uint32_t l, const struct pass_piece *piece)
{
    const struct block *block = pass->block;
    const struct block_layer *weights = &block->layers[l];
    const struct pass_layer *layer = &pass->layers[l];
    const struct attention *a = &block->attention;
    const size_t C = pass->model->config.C, rows = piece->rows;
    float *dqkv = pass->dqkv + piece->begin * block->qkv_width;
    if (block->cos_table)
        rope_backward(pass->pool, dqkv, block->qkv_width, pass->position + piece->begin,
                      block->cos_table, block->sin_table, rows, a->H + a->G, a->D);
    if (weights->q_norm_at != BLOCK_NONE)
        pass_head_norms_backward(pass, l);
    block_norm_forward(block, &weights->norm1, pass->norm, NULL, NULL,
                       layer->x + piece->begin * C, rows);
    pass_linears_backward(pass, weights->qkv, weights->qkvs, piece, pass->dnorm, dqkv,
                          block->qkv_width, pass->norm);
    pass_norm_backward(pass, &weights->norm1, piece, pass->dx, pass->dnorm, layer->x,
                       layer->mean1, layer->r1);
}

/* pass->dx: on entry that of the layer's output, on return that of its input. */
static void pass_layer_backward(struct pass *pass, uint32_t l)
{
    const struct block_layer *weights = &pass->block->layers[l];
    const struct pass_layer *layer = &pass->layers[l];
    const struct attention *a = &pass->block->attention;
    const size_t k = a->H * a->D, v = k + a->G * a->D;
    struct pass_piece piece = {0};
    while (pass_next(pass, &piece)) {
        const size_t C = weights->out.N, att = piece.begin * weights->out.K;
        pass_feed_forward_backward(pass, l, &piece);
        pass_linears_backward(pass, &weights->out, 1, &piece, pass->datt + att,
                              pass->dx + piece.begin * C, C, layer->att + att);
    }
    attention_backward(pass->pool, a, pass->dqkv, pass->dqkv + k, pass->dqkv + v, pass->datt,
                       layer->qkv, layer->qkv + k, layer->qkv + v, layer->att, layer->lse,
                       pass->batch.offset, pass->batch.seqs);
    piece = (struct pass_piece){0};
    while (pass_next(pass, &piece))
        pass_qkv_backward(pass, l, &piece);
}

void pass_backward_end(struct pass *pass)
{
    assert(pass->grad);
    const struct model_config *c = &pass->model->config;
    const struct block_linear *head = &pass->block->head;
    if (pass->head_into == GEMM_SET) /* nothing was asked of it */
        memset(pass->grad + head->w_at, 0, head->N * head->K * sizeof(float));
    memset(pass->dx, 0, pass->N * c->C * sizeof(float));
    const struct pass_piece all = {0, pass->N};
    pass_norm_backward(pass, &pass->block->final, &all, pass->dx, pass->dhidden, pass->x_last,
                       pass->mean, pass->r);
    pass_tell(pass, pass->block->final.w_at);
    for (uint32_t l = c->L; l-- > 0;) {
        pass_layer_backward(pass, l);
        pass_tell(pass, pass->block->layers[l].norm1.w_at);
    }
    embedding_backward(pass->pool, pass->grad + pass->block->wte_at,
                       pass_grad(pass, pass->block->wpe_at), pass->dx, pass->batch.ids,
                       pass->position, pass->N, c->C);
    pass_tell(pass, 0);
    pass->grad = NULL;
}

/*
 * block.h -- a model's layers over M rows, packed for speed: what training and generation
 * share.
 *
 * engine/pass.c runs whole sequences through these functions, engine/generate.c the newest
 * tokens of many sequences, and does the attention between the two halves of a layer, because
 * only it knows where the keys lie:
 *
 *     block_embed(block, x, ids, position, M)
 *     for each layer:
 *         block_attention_in(block, layer, &rows)     norm, q k v, their norms, rotation
 *         att = attention of rows.qkv                 attention_decode
 *         block_attention_out(block, layer, &rows)    projection, residual, feed-forward
 *     block_final(block, hidden, NULL, NULL, x, M)
 *     block_head(block, logits, V, hidden, M)
 *
 * Of whole sequences the three are one: block_sequences_forward.
 *
 * A row's results depend on that row (and the keys its attention saw) alone: they have the
 * same bits for every M and every number of threads.
 *
 * The weights are packed copies of model->w, renewed by block_refresh when model->generation
 * has changed.  Nothing allocates after block_new.  Calls on one block from one thread at a
 * time: they use its pool.
 */
#ifndef ENGINE_BLOCK_H
#define ENGINE_BLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "engine/kernels/attention.h"
#include "engine/kernels/bgemm.h"
#include "engine/kernels/gemm.h"
#include "engine/model.h"
#include "engine/pool.h"

#define BLOCK_NONE SIZE_MAX /* in place of an offset: there is no such tensor */

/* y = x w^T + bias; offsets are into model->w. */
struct block_linear {
    size_t w_at, bias_at;             /* bias_at may be BLOCK_NONE */
    size_t N, K;                      /* outputs, inputs */
    struct gemm_packed packed;        /* PRECISION_FP32 */
    struct bgemm_packed bf16, turned; /* PRECISION_BF16; turned for training alone */
};

struct block_norm {
    size_t w_at, bias_at; /* bias_at is BLOCK_NONE for RMSNorm */
};

/* Neighbouring weights with the same input are one product where they lie without a gap in
 * the flat array, so the counts are 1 or as many as there are tensors. */
struct block_layer {
    struct block_norm norm1, norm2;
    struct block_linear qkv[3]; /* side by side they fill a row of qkv */
    size_t qkvs;
    size_t q_norm_at, k_norm_at; /* Qwen3; else BLOCK_NONE */
    struct block_linear out;
    struct block_linear up[2]; /* gate and up; in GPT-2 one, c_fc */
    size_t ups;
    struct block_linear down;
};

struct block {
    const struct model *model; /* borrowed, as is the pool */
    struct pool *pool;
    enum precision precision; /* the model's when the block was made */
    bool training;            /* blocks without it have no block_linear_dx */
    uint64_t generation;      /* of the packed weights */
    size_t positions;         /* of the rotation tables; position[] must be below */

    struct block_layer *layers; /* (L) */
    struct block_norm final;
    struct block_linear head; /* (V,C), or (labels,C) of a score head; has no bias */
    size_t wte_at, wpe_at;    /* wpe_at is BLOCK_NONE without learned positions */

    size_t qkv_width;             /* S = (H + 2G) D floats: q of all heads, then k, then v */
    size_t up_width;              /* U = 2F (gate, then up), or F */
    float *cos_table, *sin_table; /* (positions, D/2); NULL without rotation */

    /* q at qkv, k at qkv + H*D, v at qkv + (H+G)*D, all strides S; out stride H*D. */
    struct attention attention;
    struct arena arena;
};

/* The caller frees it with block_free.  `positions`: greatest sequence length that will come
 * (at most the model's T).  The weights are packed, in bf16 for training a second time, for
 * the products of the backward pass.  NULL, and ERR_NOMEM, where there is no memory. */
struct block *block_new(const struct model *model, struct pool *pool, size_t positions,
                        bool training, struct err *err);
void block_free(struct block *block);

/* Pack again if the model's weights have changed; else return at once. */
void block_refresh(struct block *block);

/*
 * A linear layer in the block's precision (engine/block_linear.c).  Rows of x, y, dx, dy are
 * M; of y and dy they are `stride` floats apart, those of x and dx dense.
 *     y = x w^T + bias        dx = dy w        grad of w = dy^T x
 * The gradients += with GEMM_ADD; grad is the whole flat array.
 */
void block_linear_forward(const struct block *block, const struct block_linear *linear,
                          float *y, size_t stride, const float *x, size_t M);
void block_linear_dx(const struct block *block, const struct block_linear *linear, float *dx,
                     const float *dy, size_t stride, size_t M, enum gemm_into into);
void block_linear_dw(const struct block *block, const struct block_linear *linear, float *grad,
                     const float *dy, size_t stride, const float *x, size_t M,
                     enum gemm_into into);

/* For block_new and block_refresh: bytes of the packed copies; take their memory from the
 * arena; pack the weight into them. */
size_t block_linear_bytes(const struct block *block, const struct block_linear *linear);
void block_linear_take(struct block *block, struct block_linear *linear);
void block_linear_pack(const struct block *block, struct block_linear *linear);

/*
 * M rows on their way through one layer.  All arrays are the caller's, dense, 64-byte aligned
 * for speed, and distinct, except that x_out may be x.
 */
struct block_rows {
    size_t M;
    bool keep;                /* x_mid and up are read later; else they are scratch too */
    const uint32_t *position; /* (M) of the row in its sequence, from 0 */
    const float *x;           /* (M,C) the residual stream as it enters */
    float *x_mid;             /* (M,C) after attention */
    float *x_out;             /* (M,C) after the layer */
    float *norm;              /* (M,C) scratch: the normalized input of a product */
    float *qkv;               /* (M,S) */
    float *qk_raw;            /* (M,(H+G)D) q and k before their norms; NULL without them */
    float *att;               /* (M,H*D) the caller's attention output */
    float *up;                /* (M,U) */
    float *act;               /* (M,F) scratch: the activation of `up` */
    float *mean1, *r1;        /* (M) of the two norms, for the backward pass; all may be */
    float *mean2, *r2;        /* NULL; means are LayerNorm's */
    float *r_qk;              /* (H+G,r_qk_stride); may be NULL */
    size_t r_qk_stride;       /* M or more */
};

/* Write rows->qkv (and norm, qk_raw, mean1, r1, r_qk). */
void block_attention_in(const struct block *block, size_t layer, const struct block_rows *rows);

/* From rows->x and rows->att write x_out (and x_mid, norm, up, act, mean2, r2). */
void block_attention_out(const struct block *block, size_t layer,
                         const struct block_rows *rows);

/* Sequence s is at rows offset[s] .. offset[s+1]-1 of the rows; none is empty. */
struct block_sequences {
    const uint32_t *offset; /* (seqs+1) */
    size_t seqs;
    float *lse; /* (M,H) of the attention, for the backward pass, or NULL */
};

/* A whole layer of packed sequences, with attention_forward between its halves.  Without
 * rows->keep, qkv and att are scratch, too. */
void block_sequences_forward(const struct block *block, size_t layer,
                             const struct block_rows *rows,
                             const struct block_sequences *sequences);

/* How many of M rows go through a half of a layer together on the way back: all, or where the
 * weights are small as many as fit into the second-level cache with what is made of them. */
size_t block_piece_rows(const struct block *block, size_t M);

/* A part of the above, for the backward pass, which computes it again: y = norm(x) (mean and r
 * may be NULL). */
void block_norm_forward(const struct block *block, const struct block_norm *norm, float *y,
                        float *mean, float *r, const float *x, size_t M);

/* x (M,C) = embeddings of ids (and of positions, where learned).  Ids were checked. */
void block_embed(const struct block *block, float *x, const int32_t *ids,
                 const uint32_t *position, size_t M);

/* y (M,C) = the final norm of x; mean and r (M) for the backward pass, or NULL. */
void block_final(const struct block *block, float *y, float *mean, float *r, const float *x,
                 size_t M);

/* out (M, V or labels), out_stride apart = hidden (M,C) times the head.  Log-probs are
 * logprob_row(logits, target, block_inverse(temperature), V). */
void block_head(const struct block *block, float *out, size_t out_stride, const float *hidden,
                size_t M);

/* The factor that stands for a temperature, rounded once: the same for all who use it. */
static inline float block_inverse(float temperature)
{
    return 1.0f / temperature;
}

#endif

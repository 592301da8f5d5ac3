/*
 * pass_state.h -- what a pass holds; for engine/pass*.c only.
 *
 * Kept for backward: of each layer what a product or the attention made.  What an elementwise
 * function or a norm made of it is computed again.
 */
#ifndef ENGINE_PASS_STATE_H
#define ENGINE_PASS_STATE_H

#include "base/arena.h"
#include "engine/block.h"
#include "engine/kernels/logprob.h"
#include "engine/pass.h"

/* Rows of logits that are computed at a time: while they fit the second-level cache few, for
 * what reads them next; else many, for each chunk goes through the head's weights and their
 * gradient.  Whole steps of bgemm.h, so that a gradient does not depend on where one ends. */
#define PASS_CHUNK_BYTES  ((size_t)64 << 20)
#define PASS_CHUNK_MIN    32u
#define PASS_CHUNK_MAX    1024u
#define PASS_CHUNK_CACHED 256u
#define PASS_CACHE_BYTES  ((size_t)2 << 20)

/* A training pass keeps the logits of its log-probs for their gradient, where all tokens' take
 * no more than this: a product over the vocabulary less. */
#define PASS_KEEP_BYTES ((size_t)256 << 20)

struct pass_layer {
    float *x;          /* (N,C) as it enters */
    float *x_mid;      /* (N,C) after attention */
    float *qkv;        /* (N,S) rotated */
    float *qk_raw;     /* (N,(H+G)D) or NULL */
    float *r_qk;       /* (H+G,N) or NULL */
    float *att;        /* (N,H*D) */
    float *lse;        /* (N,H), or NULL without training */
    float *up;         /* (N,U) */
    float *mean1, *r1; /* (N); means NULL without LayerNorm */
    float *mean2, *r2;
};

struct pass {
    const struct model *model;
    struct pool *pool;
    struct block *block;
    size_t tokens_max;
    bool training;

    struct pass_batch batch; /* of the last forward pass */
    size_t N;
    struct pass_layer *layers; /* (L); without training all the same */
    float *x_last;             /* (N,C) after the last layer */
    float *hidden;             /* (N,C) */
    float *mean, *r;           /* (N) of the final norm */
    float *norm, *act;         /* (N,C), (N,F) scratch */
    uint32_t *position;        /* (N) */

    size_t chunk;                        /* rows of logits at a time */
    float *chunk_hidden, *chunk_dhidden; /* (chunk,C) */
    size_t logit_rows;                   /* chunk, or all that are kept */
    float *logits;                       /* (logit_rows, V or labels) */
    struct logprob *logprob;             /* (logit_rows) */
    size_t kept;                         /* requests whose logits are there; 0: none */
    float kept_temperature;
    uint32_t *kept_at; /* (logit_rows) their rows; NULL without training */

    float *grad;    /* the caller's; NULL outside a backward pass */
    float *dhidden; /* (N,C) */
    float *dx;      /* (N,C) of the residual stream */
    float *dnorm, *dqkv, *datt, *dqk, *dup, *dact; /* as their namesakes */
    /* What products do to grad: the layers', and the head's, which after its first chunk add. */
    enum gemm_into layers_into, head_into;
    void (*final)(void *ctx, size_t first); /* NULL: nobody wants to know */
    void *final_ctx;
    struct arena arena;
};

#endif

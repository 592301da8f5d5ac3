/*
 * attention.h -- causal grouped-query attention over ragged sequences, forward and backward.
 *
 * For query head h at row i of its sequence, with g = h / (H/G) its key/value head:
 *     s[j] = scale q[i,h] . k[j,g]      j = 0 .. i
 *     p = softmax(s)        out[i,h] = sum_j p[j] v[j,g]        lse[i,h] = log sum_j e^s[j]
 *
 * Shapes: q, out, dq, dout (N, H*D)   k, v, dk, dv (N, G*D)   lse (N, H), all row-major; the
 * strides of struct attention are floats from one token to the next, so q, k and v may lie
 * interleaved.  N tokens of all sequences, sequence s at rows offset[s] .. offset[s+1]-1.
 *
 * A row goes over blocks of ATTENTION_BLOCK keys counted from the first key of its sequence, in
 * one fixed order, whether alone (attention_row) or with its neighbours in the batch.  So
 * a token decoded over a cache has the bits of the same token in a packed training batch.
 * Nothing allocates; no array may overlap another that is written.
 */
#ifndef ENGINE_KERNELS_ATTENTION_H
#define ENGINE_KERNELS_ATTENTION_H

#include <stddef.h>
#include <stdint.h>

#include "engine/pool.h"

#define ATTENTION_BLOCK 64 /* keys */
#define ATTENTION_D_MAX 512

struct attention {
    size_t H, G, D;    /* query heads, key/value heads (G divides H), head size <= D_MAX */
    float scale;       /* > 0, usually 1 / sqrt(D) */
    size_t q_stride;   /* of q and dq */
    size_t kv_stride;  /* of k, v, dk, dv */
    size_t out_stride; /* of out and dout */
};

/* One query of one head against `keys` keys: out (D) from q (D), k and v at their head's first
 * key, kv_stride apart.  Returns the log of the sum of e^s.  keys >= 1. */
float attention_row(float *out, const float *q, const float *k, const float *v,
                    size_t kv_stride, size_t keys, size_t D, float scale);

/* One new token for each of `rows` sequences, over their caches: row r has keys[r] keys, its
 * own included, at k[r] and v[r] (tokens kv_stride apart, heads D apart).  q (rows, H*D),
 * out (rows, H*D). */
void attention_decode(struct pool *pool, const struct attention *shape, float *out,
                      const float *q, const float *const *k, const float *const *v,
                      const uint32_t *keys, size_t rows);

/* All rows of packed sequences; out and lse are written (lse may be NULL). */
void attention_forward(struct pool *pool, const struct attention *shape, float *out, float *lse,
                       const float *q, const float *k, const float *v, const uint32_t *offset,
                       size_t seqs);

/* Write (not add) dq, dk, dv.  q, k, v, out, lse are those of the forward pass.  Parallel over
 * (sequence, key/value head); the bits do not depend on the threads. */
void attention_backward(struct pool *pool, const struct attention *shape, float *dq, float *dk,
                        float *dv, const float *dout, const float *q, const float *k,
                        const float *v, const float *out, const float *lse,
                        const uint32_t *offset, size_t seqs);

#endif

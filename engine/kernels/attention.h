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
 * one fixed order, whether alone over a cache or with its neighbours in the batch.  A score
 * is one chain of fused multiply-adds over ascending channels; the values of a block are summed
 * in one over ascending keys, and the blocks' sums in another.  So a token decoded over a
 * cache has the bits of the same token in a packed batch.
 * Nothing allocates; each thread uses up to 1.5 MiB of stack; no array may overlap another
 * that is written.
 */
#ifndef ENGINE_KERNELS_ATTENTION_H
#define ENGINE_KERNELS_ATTENTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/pool.h"

#define ATTENTION_BLOCK 64 /* keys */
#define ATTENTION_D_MAX 512

struct attention {
    size_t H, G, D;    /* query heads, key/value heads (G divides H), head size <= D_MAX */
    float scale;       /* > 0, usually 1 / sqrt(D) */
    size_t q_stride;   /* of q and dq */
    size_t kv_stride;  /* of k, v, dk, dv; not of a cache */
    size_t out_stride; /* of out and dout */
};

/*
 * A cache of keys and values of one sequence is in pieces of ATTENTION_PIECE positions, laid out as
 * the products read them: with P = ceil(D / GEMM_PANEL),
 *     k[g][d][t % 16]   (G, D, 16), and after it   v[g][p][t % 16][i]   (G, P, 16, 16),
 * channel 16 p + i of head g; that of small heads as attention_side.h has it, in 2 G D floats a
 * position.  Piece t / 16 begins `step` floats after the one before, so that the pieces of other
 * layers may lie between: a sequence then fills its memory from the front.
 */
#define ATTENTION_PIECE 16
size_t attention_piece_floats(const struct attention *shape);

/* Store the keys and values (G*D) of a token at a position. */
void attention_cache_put(const struct attention *shape, float *cache, size_t step,
                         size_t position, const float *k, const float *v);

/* Sequences that begin alike may share the cache of what is alike: the first `keys` positions,
 * whole pieces, are read from `cache`, and those of the sequence's own cache there are not.
 * keys may be 0; 0 it is for shapes that attention_shares refuses. */
struct attention_prefix {
    const float *cache;
    uint32_t keys;
};
bool attention_shares(const struct attention *shape);

/* New tokens of sequences, over their caches: token i sees the first keys[i] positions, its own
 * included, of cache[i], or of prefix[i] and then of cache[i]; prefix may be NULL.
 * q (tokens, H*D), out (tokens, H*D).  Neighbouring tokens of one cache without a prefix,
 * each seeing one position more, are computed together. */
void attention_decode(struct pool *pool, const struct attention *shape, float *out,
                      const float *q, const float *const *cache, size_t step,
                      const uint32_t *keys, const struct attention_prefix *prefix,
                      size_t tokens);

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

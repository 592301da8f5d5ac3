/*
 * attention_side.h -- attention over caches with small heads, whose groups lie side by side.
 *
 * A group is a key/value head and the query heads that read it, a line LANES (16) floats.  A line
 * holds, of W neighbouring groups, one channel of 16 / W keys, or 16 / W channels of one key: so
 * lines are full whatever the head size, and the softmax of a head is a lane.  A piece of a cache
 * (attention.h) is laid out for it as
 *
 *     k[b][d][t % 16][w]   (G/W, D, 16, W), and after it   v[b][t % 16][d][w]   (G/W, 16, D, W)
 *
 * for group b W + w.  The order of the sums is that of attention.h.  Nothing allocates; runs on
 * the caller.
 */
#ifndef ENGINE_KERNELS_ATTENTION_SIDE_H
#define ENGINE_KERNELS_ATTENTION_SIDE_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/kernels/attention_block.h"
#include "engine/kernels/lanes.h"

enum {
    ATTENTION_SIDE_D_MAX = 32, /* larger heads fill lines by themselves */
    ATTENTION_SIDE_MAX = 8,    /* W; 4 is the least */
    ATTENTION_SIDE_PIECES = ATTENTION_KEYS / ATTENTION_PIECE, /* of a block */
};

/* W of a shape; 0 where its caches are laid out as attention.h has it. */
size_t attention_side_groups(const struct attention *shape);

/* Store the keys and values (G*D) of position `line` of a piece. */
void attention_side_put(const struct attention *shape, float *piece, size_t line,
                        const float *k, const float *v);

/* Neighbouring tokens of a sequence, and where their keys are: the first `shared` of them in
 * `prefix`, the others in `cache`. */
struct attention_side_tokens {
    float *out;     /* (tokens, H*D), as the strides of the shape have it */
    const float *q; /* likewise */
    size_t tokens;  /* 1 .. attention_side_together() */
    size_t keys;    /* of the first; each further one sees one more */
    const float *cache, *prefix;
    size_t step; /* floats from a piece to the next */
    size_t shared;
    /* What is read after this: positions next_begin .. next_end-1 of another cache. */
    const float *next;
    size_t next_begin, next_end;
};

/* How many tokens read a line together. */
size_t attention_side_together(const struct attention *shape);

/* The bunches [begin, end) of W groups. */
void attention_side_run(const struct attention *shape, const struct attention_side_tokens *t,
                        size_t begin, size_t end);

/* Some query heads of each of W groups against a block of keys; a query is a head of a token. */
struct attention_side {
    size_t W, D;
    size_t queries;     /* 1, 2 or 4, at most 16 / W */
    const float *q;     /* (queries, D, W) */
    float *p;           /* (queries, ATTENTION_KEYS, W): scores, then weights */
    float *sum;         /* (queries, D, W) */
    float *max, *total; /* (queries, LANES): of W heads, 16 / W times */
    /* The block's pieces from the bunch on, and what is fetched meanwhile. */
    const float *k[ATTENTION_SIDE_PIECES], *v[ATTENTION_SIDE_PIECES];
    const float *k_next[ATTENTION_SIDE_PIECES], *v_next[ATTENTION_SIDE_PIECES];
    size_t keys;            /* of the block that some query sees, 1 or more */
    size_t seen[LANES / 4]; /* that each sees */
    float scale;
};

/* Take the block into the softmax and the sums, by AVX-512 (attention_side_lanes.c). */
void attention_side_lanes(const struct attention_side *side);

#endif

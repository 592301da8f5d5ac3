/*
 * attention_chain.h -- the small products of one token over a cache, several side by side.
 *
 * A chain is 16 neighbouring sums, each one of fused multiply-adds over ascending d from 0:
 *
 *     s[i] = sum_d a[d] panel[d][i]        d = 0 .. depth-1
 *     c[i] = s[i],   or with `join`   c[i] keep + s[i], fused
 *
 * They have the bits of gemm_part.  One alone would wait for its own sum at each step; here
 * those of several heads are under way together.
 */
#ifndef ENGINE_KERNELS_ATTENTION_CHAIN_H
#define ENGINE_KERNELS_ATTENTION_CHAIN_H

#include <stdbool.h>
#include <stddef.h>

struct attention_chain {
    const float *a;
    const float *panel; /* lines of GEMM_PANEL floats */
    float *c;           /* (GEMM_PANEL) */
    float keep;
    size_t ahead; /* bytes from a line to one worth fetching, wrapping; 0: none */
};

/* What all chains of a call share. */
struct attention_span {
    size_t depth; /* 1 or more */
    size_t lines; /* of a panel that follow each other */
    size_t step;  /* floats from the first of them to the first of the next so many */
    size_t bend;  /* a multiple of lines: where panels go on `leap` floats further, wrapping, */
    size_t leap;  /* and before which nothing is fetched; 0: nowhere */
    bool join;
};

void attention_chains(const struct attention_chain *chains, size_t n,
                      const struct attention_span *span);

#endif

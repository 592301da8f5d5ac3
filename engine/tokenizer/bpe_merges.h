/*
 * bpe_merges.h -- the hash table from a pair of ids to its merge, inside of bpe.
 */
#ifndef ENGINE_TOKENIZER_BPE_MERGES_H
#define ENGINE_TOKENIZER_BPE_MERGES_H

#include "engine/tokenizer/bpe.h"

#define BPE_NO_PAIR UINT64_MAX

/* The slot of a pair, or the free one where it belongs.  At least half of the slots are
 * free, so the search ends. */
static inline struct bpe_merge *bpe_merges_slot(const struct bpe *bpe, uint64_t pair)
{
    uint64_t h = pair * 0x9E3779B97F4A7C15u; /* 2^64 / golden ratio */
    h ^= h >> 32;
    size_t slot = h & (bpe->slots - 1);
    while (bpe->merges[slot].pair != pair && bpe->merges[slot].pair != BPE_NO_PAIR)
        slot = (slot + 1) & (bpe->slots - 1);
    return &bpe->merges[slot];
}

static inline uint64_t bpe_merges_pair(int32_t left, int32_t right)
{
    return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

/* NULL: the two do not merge. */
static inline const struct bpe_merge *bpe_merges_find(const struct bpe *bpe, int32_t left,
                                                      int32_t right)
{
    const struct bpe_merge *merge = bpe_merges_slot(bpe, bpe_merges_pair(left, right));
    return merge->pair == BPE_NO_PAIR ? NULL : merge;
}

#endif

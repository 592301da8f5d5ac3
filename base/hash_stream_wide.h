/*
 * hash_stream_wide.h -- the stripes of hash_stream.h in AVX-512, for who computes what is hashed in
 * the same registers.
 *
 *     if (hash_stream_can_widen(state, size))
 *         sum = hash_stream_widen(state)                    what was added before
 *         sum = hash_stream_stripe(state, sum, data)        64 bytes, any number of times
 *         hash_stream_narrow(state, sum, stripes)           goes on with hash_stream_add
 *
 * The stream must not end with a stripe, for XXH3 adds the last 64 bytes otherwise: at least 64
 * bytes more have to be added before its end.  Callers are HASH_STREAM_WIDE, and what they write
 * past the caches is theirs to order (_mm_sfence).  Stripes, secret and scrambling are those of
 * XXH3's specification; the names of the state's fields are the library's.
 */
#ifndef BASE_HASH_STREAM_WIDE_H
#define BASE_HASH_STREAM_WIDE_H

#include <stdbool.h>

#include "base/hash_stream.h"

#define XXH_STATIC_LINKING_ONLY /* for XXH3_state_t */
#include <xxh_x86dispatch.h>    /* the same numbers, by the widest vectors there are */

#define HASH_STREAM_STRIPE 64u   /* bytes that are added at once */
#define HASH_STREAM_KEYS   16u   /* stripes until the sums are scrambled */
#define HASH_STREAM_AHEAD  1024u /* bytes that are fetched ahead */
#define HASH_STREAM_LEAST  512u  /* what is shorter is not worth it */

/* The stream as the library sees it. */
static inline XXH3_state_t *hash_stream_state(struct hash_stream *stream)
{
    return (XXH3_state_t *)(void *)stream->state;
}

#if defined(__x86_64__)
#include <immintrin.h>

#define HASH_STREAM_WIDE __attribute__((target("avx512f")))

/* Where what is kept back is no stripe, or one and a part, the library has to go on. */
static inline bool hash_stream_can_widen(const XXH3_state_t *state, size_t size)
{
    const bool is_whole = state->bufferedSize == 0 || state->bufferedSize == HASH_STREAM_STRIPE;
    return is_whole && size >= HASH_STREAM_LEAST && __builtin_cpu_supports("avx512f");
}

/* Ask for what is read a while later. */
HASH_STREAM_WIDE static inline void hash_stream_fetch(const void *at)
{
    _mm_prefetch((const char *)((uintptr_t)at + HASH_STREAM_AHEAD), _MM_HINT_T0);
}

/* The eight sums after HASH_STREAM_KEYS stripes, as XXH3 has it. */
HASH_STREAM_WIDE static inline __m512i hash_stream_scramble(__m512i sum,
                                                            const unsigned char *key)
{
    const __m512i prime = _mm512_set1_epi64(0x9E3779B1); /* XXH_PRIME32_1 */
    const __m512i shifted = _mm512_xor_si512(sum, _mm512_srli_epi64(sum, 47));
    const __m512i mixed = _mm512_xor_si512(shifted, _mm512_loadu_si512(key));
    const __m512i high = _mm512_mul_epu32(_mm512_srli_epi64(mixed, 32), prime);
    return _mm512_add_epi64(_mm512_mul_epu32(mixed, prime), _mm512_slli_epi64(high, 32));
}

/* The stripe after those that the state has, added to the eight sums. */
HASH_STREAM_WIDE static inline __m512i hash_stream_stripe(XXH3_state_t *state, __m512i sum,
                                                          __m512i data)
{
    const __m512i key = _mm512_loadu_si512(state->extSecret + 8 * state->nbStripesSoFar);
    const __m512i mixed = _mm512_xor_si512(data, key);
    const __m512i product = _mm512_mul_epu32(mixed, _mm512_srli_epi64(mixed, 32));
    const __m512i swapped = _mm512_shuffle_epi32(data, _MM_PERM_BADC);
    sum = _mm512_add_epi64(sum, _mm512_add_epi64(product, swapped));
    if (++state->nbStripesSoFar < HASH_STREAM_KEYS)
        return sum;
    state->nbStripesSoFar = 0;
    return hash_stream_scramble(sum, state->extSecret + state->secretLimit);
}

/* The eight sums of a state, with the stripe that it may have kept back. */
HASH_STREAM_WIDE static inline __m512i hash_stream_widen(XXH3_state_t *state)
{
    const __m512i sum = _mm512_load_si512(state->acc);
    if (state->bufferedSize == 0)
        return sum;
    state->bufferedSize = 0;
    return hash_stream_stripe(state, sum, _mm512_loadu_si512(state->buffer));
}

/* The sums, and how far they are, go back to the library. */
HASH_STREAM_WIDE static inline void hash_stream_narrow(XXH3_state_t *state, __m512i sum,
                                                       size_t stripes)
{
    _mm512_store_si512(state->acc, sum);
    state->totalLen += stripes * HASH_STREAM_STRIPE;
}
#endif

#endif

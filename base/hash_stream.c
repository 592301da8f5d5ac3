/* hash_stream.c -- see hash_stream.h.  Stripes, secret and scrambling are those of XXH3's
 * specification; the names of the state's fields are the library's. */
#include "base/hash_stream.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>
#define XXH_STATIC_LINKING_ONLY /* for XXH3_state_t */
#include <xxh_x86dispatch.h>    /* the same numbers, by the widest vectors there are */

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define HASH_STREAM_STRIPE 64u   /* bytes that are added at once */
#define HASH_STREAM_KEYS   16u   /* stripes until the sums are scrambled */
#define HASH_STREAM_AHEAD  1024u /* bytes that are fetched ahead */
#define HASH_STREAM_LEAST  512u  /* a shorter piece is copied in two passes */
#define HASH_STREAM_BLOCK \
    ((size_t)(16u * 1024)) /* in two passes, what is between stays in L1 */

static_assert(HASH_STREAM_BYTES == sizeof(XXH3_state_t), "the state fits struct hash_stream");

static XXH3_state_t *hash_stream_state(struct hash_stream *stream)
{
    return (XXH3_state_t *)(void *)stream->state;
}

void hash_stream_begin(struct hash_stream *stream)
{
    XXH3_64bits_reset(hash_stream_state(stream));
}

void hash_stream_add(struct hash_stream *stream, const void *bytes, size_t size)
{
    XXH3_64bits_update(hash_stream_state(stream), bytes, size);
}

uint64_t hash_stream_end(const struct hash_stream *stream)
{
    return XXH3_64bits_digest((const XXH3_state_t *)(const void *)stream->state);
}

/* --- in one pass ------------------------------------------------------------------------- */

#if defined(__x86_64__)
#define HASH_STREAM_WIDE __attribute__((target("avx512f")))

/* n stripes that begin with this key's, added to the eight sums. */
HASH_STREAM_WIDE static inline __m512i hash_stream_sum(__m512i sum, const unsigned char *from,
                                                       const unsigned char *key, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const __m512i data = _mm512_loadu_si512(from + i * HASH_STREAM_STRIPE);
        const __m512i mixed = _mm512_xor_si512(data, _mm512_loadu_si512(key + 8 * i));
        const __m512i product = _mm512_mul_epu32(mixed, _mm512_srli_epi64(mixed, 32));
        const __m512i swapped = _mm512_shuffle_epi32(data, _MM_PERM_BADC);
        _mm_prefetch(
            (const char *)((uintptr_t)from + i * HASH_STREAM_STRIPE + HASH_STREAM_AHEAD),
            _MM_HINT_T0);
        sum = _mm512_add_epi64(sum, _mm512_add_epi64(product, swapped));
    }
    return sum;
}

HASH_STREAM_WIDE static inline __m512i hash_stream_scramble(__m512i sum,
                                                            const unsigned char *key)
{
    const __m512i prime = _mm512_set1_epi64(0x9E3779B1); /* XXH_PRIME32_1 */
    const __m512i shifted = _mm512_xor_si512(sum, _mm512_srli_epi64(sum, 47));
    const __m512i mixed = _mm512_xor_si512(shifted, _mm512_loadu_si512(key));
    const __m512i high = _mm512_mul_epu32(_mm512_srli_epi64(mixed, 32), prime);
    return _mm512_add_epi64(_mm512_mul_epu32(mixed, prime), _mm512_slli_epi64(high, 32));
}

/* Stripes after those that the state has. */
HASH_STREAM_WIDE static inline __m512i hash_stream_take(XXH3_state_t *state, __m512i sum,
                                                        const unsigned char *from, size_t n)
{
    sum = hash_stream_sum(sum, from, state->extSecret + 8 * state->nbStripesSoFar, n);
    state->nbStripesSoFar += n;
    if (state->nbStripesSoFar < HASH_STREAM_KEYS)
        return sum;
    state->nbStripesSoFar = 0;
    return hash_stream_scramble(sum, state->extSecret + state->secretLimit);
}

/* Whole lines of `to`, from its byte *moved on, of which the first n bytes are to be copied. */
HASH_STREAM_WIDE static inline void
hash_stream_lines(unsigned char *to, const unsigned char *from, size_t *moved, size_t n)
{
    for (; *moved + 64 <= n; *moved += 64)
        _mm512_stream_si512((void *)(to + *moved), _mm512_loadu_si512(from + *moved));
}

/* n stripes.  They are looked at as they lie in `from`, and copied as lines lie in `to`. */
HASH_STREAM_WIDE static void hash_stream_move(XXH3_state_t *state, unsigned char *to,
                                              const unsigned char *from, size_t n)
{
    size_t moved = -(uintptr_t)to % 64;
    __m512i sum = _mm512_load_si512(state->acc);
    if (state->bufferedSize > 0)
        sum = hash_stream_take(state, sum, state->buffer, 1);
    state->bufferedSize = 0;
    memcpy(to, from, moved);
    for (size_t i = 0; i < n;) {
        const size_t keys = HASH_STREAM_KEYS - state->nbStripesSoFar;
        const size_t some = n - i < keys ? n - i : keys;
        sum = hash_stream_take(state, sum, from + i * HASH_STREAM_STRIPE, some);
        i += some;
        hash_stream_lines(to, from, &moved, i * HASH_STREAM_STRIPE);
    }
    memcpy(to + moved, from + moved, n * HASH_STREAM_STRIPE - moved);
    _mm_sfence(); /* such stores are ordered by nothing else */
    _mm512_store_si512(state->acc, sum);
    state->totalLen += n * HASH_STREAM_STRIPE;
}

/* Where what is kept back is no stripe, or one and a part, the library has to go on. */
static bool hash_stream_can_move(const XXH3_state_t *state, size_t size)
{
    const bool is_whole = state->bufferedSize == 0 || state->bufferedSize == HASH_STREAM_STRIPE;
    return is_whole && size >= HASH_STREAM_LEAST && __builtin_cpu_supports("avx512f");
}

/* All but one or two stripes, the last of which may be short: they wait in the state, for the last of
 * all is added otherwise.  Returns how many bytes. */
static size_t hash_stream_copy_most(XXH3_state_t *state, unsigned char *to,
                                    const unsigned char *from, size_t size)
{
    if (!hash_stream_can_move(state, size))
        return 0;
    const size_t stripes = size / HASH_STREAM_STRIPE - 1;
    hash_stream_move(state, to, from, stripes);
    return stripes * HASH_STREAM_STRIPE;
}
#else
static size_t hash_stream_copy_most(XXH3_state_t *state, unsigned char *to,
                                    const unsigned char *from, size_t size)
{
    (void)state, (void)to, (void)from, (void)size;
    return 0;
}
#endif

void hash_stream_copy(struct hash_stream *stream, void *to, const void *from, size_t size)
{
    unsigned char *const place = to;
    const unsigned char *const bytes = from;
    size_t at = hash_stream_copy_most(hash_stream_state(stream), place, bytes, size);
    while (at < size) {
        const size_t n = size - at < HASH_STREAM_BLOCK ? size - at : HASH_STREAM_BLOCK;
        hash_stream_add(stream, bytes + at, n);
        memcpy(place + at, bytes + at, n);
        at += n;
    }
}

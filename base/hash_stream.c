/* hash_stream.c -- see hash_stream.h. */
#include "base/hash_stream.h"

#include <assert.h>
#include <string.h>

#include "base/hash_stream_wide.h"

#define HASH_STREAM_BLOCK \
    ((size_t)(16u * 1024)) /* in two passes, what is between stays in L1 */

static_assert(HASH_STREAM_BYTES == sizeof(XXH3_state_t), "the state fits struct hash_stream");

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
/* n stripes.  They are looked at as they lie in `from`, and copied as lines lie in `to`. */
HASH_STREAM_WIDE static void hash_stream_move(XXH3_state_t *state, unsigned char *to,
                                              const unsigned char *from, size_t n)
{
    size_t moved = -(uintptr_t)to % 64;
    __m512i sum = hash_stream_widen(state);
    memcpy(to, from, moved);
    for (size_t i = 0; i < n; i++) {
        const unsigned char *at = from + i * HASH_STREAM_STRIPE;
        sum = hash_stream_stripe(state, sum, _mm512_loadu_si512(at));
        hash_stream_fetch(at);
        for (; moved + 64 <= (i + 1) * HASH_STREAM_STRIPE; moved += 64)
            _mm512_stream_si512((void *)(to + moved), _mm512_loadu_si512(from + moved));
    }
    memcpy(to + moved, from + moved, n * HASH_STREAM_STRIPE - moved);
    _mm_sfence(); /* such stores are ordered by nothing else */
    hash_stream_narrow(state, sum, n);
}

/* All but one or two stripes, the last of which may be short: they wait in the state, for the last
 * of all is added otherwise.  Returns how many bytes. */
static size_t hash_stream_copy_most(XXH3_state_t *state, unsigned char *to,
                                    const unsigned char *from, size_t size)
{
    if (!hash_stream_can_widen(state, size))
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

/* exchange_add.c -- see exchange_add.h. */
#include "learner/exchange_add.h"

#include <stdbool.h>
#include <stdint.h>

#include "base/hash_stream_wide.h"
#include "engine/gradient.h"

#if defined(__x86_64__)
HASH_STREAM_WIDE static void exchange_add_stripes(const struct exchange_addition *add,
                                                  unsigned char *out, XXH3_state_t *sum,
                                                  XXH3_state_t *in, size_t n)
{
    __m512i of_sum = hash_stream_widen(sum), of_in = hash_stream_widen(in);
    for (size_t at = 0; at < n * HASH_STREAM_STRIPE; at += HASH_STREAM_STRIPE) {
        const __m512 from = _mm512_loadu_ps(add->from + at);
        const __m512 into = _mm512_loadu_ps(add->into + at);
        const __m512 both = _mm512_add_ps(from, into);
        hash_stream_fetch(add->from + at);
        hash_stream_fetch(add->into + at);
        _mm512_stream_ps((void *)(out + at), both);
        of_sum = hash_stream_stripe(sum, of_sum, _mm512_castps_si512(both));
        of_in = hash_stream_stripe(in, of_in, _mm512_loadu_si512(add->late + at));
    }
    _mm_sfence(); /* such stores are ordered by nothing else */
    hash_stream_narrow(sum, of_sum, n);
    hash_stream_narrow(in, of_in, n);
}

/* All but one or two stripes, which wait in the states: see hash_stream_wide.h.  Returns how many
 * bytes. */
static size_t exchange_add_most(const struct exchange_addition *add, unsigned char *out,
                                XXH3_state_t *sum, XXH3_state_t *in)
{
    const bool is_fit =
        add->kind == PRECISION_FP32 && add->into && add->late && (uintptr_t)out % 64 == 0;
    if (!is_fit || !hash_stream_can_widen(sum, add->size) ||
        !hash_stream_can_widen(in, add->size))
        return 0;
    const size_t stripes = add->size / HASH_STREAM_STRIPE - 1;
    exchange_add_stripes(add, out, sum, in, stripes);
    return stripes * HASH_STREAM_STRIPE;
}
#else
static size_t exchange_add_most(const struct exchange_addition *add, unsigned char *out,
                                XXH3_state_t *sum, XXH3_state_t *in)
{
    (void)add, (void)out, (void)sum, (void)in;
    return 0;
}
#endif

void exchange_add(const struct exchange_addition *add, unsigned char *out,
                  struct hash_stream *sum, struct hash_stream *in)
{
    const size_t at =
        exchange_add_most(add, out, hash_stream_state(sum), hash_stream_state(in));
    const size_t rest = add->size - at;
    const void *from = add->from + at;
    if (add->late)
        hash_stream_add(in, add->late + at, rest);
    if (add->into) {
        gradient_add_packed(add->kind, add->scratch + at, from, add->into + at,
                            rest / gradient_bytes(add->kind));
        from = add->scratch + at;
    }
    hash_stream_copy(sum, out + at, from, rest);
}

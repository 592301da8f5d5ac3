/* rng.c -- see rng.h. */
#include "base/rng.h"

#include <assert.h>
#include <math.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define RNG_M0 0xD2511F53u
#define RNG_M1 0xCD9E8D57u
#define RNG_W0 0x9E3779B9u
#define RNG_W1 0xBB67AE85u
#define RNG_PI 3.14159265358979323846

void rng_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4])
{
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        const uint64_t p0 = (uint64_t)RNG_M0 * c0, p1 = (uint64_t)RNG_M1 * c2;
        const uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        const uint32_t n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        c0 = n0;
        c2 = n2;
        k0 += RNG_W0;
        k1 += RNG_W1;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

void rng_block(uint64_t seed, enum rng_stream stream, uint64_t a, uint32_t b, uint32_t c,
               uint32_t out[4])
{
    assert((unsigned)stream < 256 && a >> 56 == 0);
    const uint64_t high = (uint64_t)stream << 56 | a;
    const uint32_t counter[4] = {(uint32_t)high, (uint32_t)(high >> 32), b, c};
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    rng_philox(counter, key, out);
}

#if defined(__x86_64__)
/* Philox of counters that differ in c3, one a lane.  A lane has 64 bits, whose lower 32 are a word:
 * `mul` looks at those alone. */
#define RNG_LANES(vector, mul, srl, set)                                       \
    do {                                                                       \
        vector c1 = set(counter[1]), c2 = set(counter[2]);                     \
        uint32_t k0 = key[0], k1 = key[1];                                     \
        c0 = set(counter[0]);                                                  \
        for (int round = 0; round < 10; round++, k0 += RNG_W0, k1 += RNG_W1) { \
            const vector p0 = mul(c0, set(RNG_M0)), p1 = mul(c2, set(RNG_M1)); \
            c0 = srl(p1, 32) ^ c1 ^ set(k0);                                   \
            c2 = srl(p0, 32) ^ c3 ^ set(k1);                                   \
            c1 = p1;                                                           \
            c3 = p0;                                                           \
        }                                                                      \
    } while (0)

/* Both return how many are done: what is left does not fill the lanes. */
__attribute__((target("avx512f"))) static size_t rng_first_avx512(const uint32_t counter[3],
                                                                  const uint32_t key[2],
                                                                  const uint32_t *c,
                                                                  uint32_t *out, size_t n)
{
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m512i c0, c3 = _mm512_cvtepu32_epi64(_mm256_loadu_si256((const void *)(c + i)));
        RNG_LANES(__m512i, _mm512_mul_epu32, _mm512_srli_epi64, _mm512_set1_epi64);
        _mm256_storeu_si256((void *)(out + i), _mm512_cvtepi64_epi32(c0));
    }
    return i;
}

__attribute__((target("avx2"))) static size_t rng_first_avx2(const uint32_t counter[3],
                                                             const uint32_t key[2],
                                                             const uint32_t *c, uint32_t *out,
                                                             size_t n)
{
    const __m256i lower = _mm256_setr_epi32(0, 2, 4, 6, 0, 2, 4, 6);
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        __m256i c0, c3 = _mm256_cvtepu32_epi64(_mm_loadu_si128((const void *)(c + i)));
        RNG_LANES(__m256i, _mm256_mul_epu32, _mm256_srli_epi64, _mm256_set1_epi64x);
        _mm_storeu_si128((void *)(out + i),
                         _mm256_castsi256_si128(_mm256_permutevar8x32_epi32(c0, lower)));
    }
    return i;
}
#endif

void rng_first(uint64_t seed, enum rng_stream stream, uint64_t a, uint32_t b, const uint32_t *c,
               uint32_t *out, size_t n)
{
    size_t i = 0;
    uint32_t word[4];
#if defined(__x86_64__)
    assert((unsigned)stream < 256 && a >> 56 == 0);
    const uint64_t high = (uint64_t)stream << 56 | a;
    const uint32_t counter[3] = {(uint32_t)high, (uint32_t)(high >> 32), b};
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    if (__builtin_cpu_supports("avx512f"))
        i = rng_first_avx512(counter, key, c, out, n);
    else if (__builtin_cpu_supports("avx2"))
        i = rng_first_avx2(counter, key, c, out, n);
#endif
    for (; i < n; i++) {
        rng_block(seed, stream, a, b, c[i], word);
        out[i] = word[0];
    }
}

/* The 53 high bits of two words as a fraction. */
static double rng_fraction(uint32_t high, uint32_t low)
{
    const uint64_t bits = ((uint64_t)high << 32 | low) >> 11;
    return (double)bits * 0x1p-53;
}

double rng_uniform(uint64_t seed, enum rng_stream stream, uint64_t a, uint32_t b, uint32_t c)
{
    uint32_t r[4];
    rng_block(seed, stream, a, b, c, r);
    return rng_fraction(r[0], r[1]);
}

uint64_t rng_below(uint64_t seed, enum rng_stream stream, uint64_t a, uint32_t b, uint32_t c,
                   uint64_t n)
{
    assert(n > 0);
    uint32_t r[4];
    rng_block(seed, stream, a, b, c, r);
    /* The high 64 bits of (64 random bits) * n, in 32-bit steps. */
    const uint64_t x1 = r[0], x0 = r[1], n1 = n >> 32, n0 = n & 0xffffffffu;
    const uint64_t low = x0 * n0;
    const uint64_t mid = x1 * n0 + (low >> 32);
    const uint64_t cross = x0 * n1 + (mid & 0xffffffffu);
    return x1 * n1 + (mid >> 32) + (cross >> 32);
}

double rng_normal(uint64_t seed, enum rng_stream stream, uint64_t a, uint32_t b, uint32_t c)
{
    uint32_t r[4];
    rng_block(seed, stream, a, b, c, r);
    const double u = 1.0 - rng_fraction(r[0], r[1]); /* in (0,1]: its log is finite */
    return sqrt(-2.0 * log(u)) * cos(2.0 * RNG_PI * rng_fraction(r[2], r[3]));
}

void rng_permutation(uint32_t *perm, size_t n, uint64_t seed, enum rng_stream stream,
                     uint64_t a, uint32_t b)
{
    assert(n < UINT32_MAX);
    for (size_t i = 0; i < n; i++)
        perm[i] = (uint32_t)i;
    for (size_t i = n; i-- > 1;) {
        const size_t j = (size_t)rng_below(seed, stream, a, b, (uint32_t)i, i + 1);
        const uint32_t swap = perm[i];
        perm[i] = perm[j];
        perm[j] = swap;
    }
}

/*
 * rng.h -- random numbers by position, not by order: Philox4x32-10.
 *
 * (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC 2011.)
 * A draw is a pure function of (key, counter), so token t of slot i of step s has its own
 * number whoever computes it, whenever, in whatever batch:
 *
 *     key     = the run's seed, low word first
 *     counter = four 32-bit words of (stream, a, b, c), no two alike:
 *
 *         word 0   bits 0..31 of a
 *         word 1   stream << 24 | bits 32..55 of a
 *         word 2   b
 *         word 3   c
 *
 * Pure: no state, no allocation, safe from any thread.
 */
#ifndef BASE_RNG_H
#define BASE_RNG_H

#include <stddef.h>
#include <stdint.h>

/* What a number is for.  Streams never share a counter. */
enum rng_stream {
    RNG_STREAM_ROLLOUT = 1,   /* a = step, b = slot, c = token */
    RNG_STREAM_REFERENCE = 2, /* a = prompt index, b = reference m, c = token */
    RNG_STREAM_PLAN = 3,      /* a = epoch over the data, b, c free */
    RNG_STREAM_INIT = 4,      /* a = tensor, b = 0, c = element / 4 */
    RNG_STREAM_MINIBATCH = 5, /* a = step, b = PPO epoch, c = position */
    RNG_STREAM_WORLD = 6,     /* the built-in world */
    RNG_STREAM_SFT = 7,       /* a = epoch, b, c free */
    RNG_STREAM_CLI = 8,       /* rlhf generate: a = prompt, b = sample, c = token */
    RNG_STREAM_PREFERENCE = 9, /* training on pairs: a = epoch, b, c free */
    RNG_STREAM_GATE = 10,     /* a = held-out prompt, b = candidate, c = token */
};

/* One Philox4x32-10 block. */
void rng_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

/* Four 32-bit numbers for (seed, stream, a, b, c).  stream < 2^8; a < 2^56. */
void rng_block(uint64_t seed, enum rng_stream stream, uint64_t a, uint32_t b, uint32_t c,
               uint32_t out[4]);

/* out[i] = the first number of rng_block(seed, stream, a, b, c[i]), for n of them: several side by
 * side where the CPU can.  out may be c. */
void rng_first(uint64_t seed, enum rng_stream stream, uint64_t a, uint32_t b, const uint32_t *c,
               uint32_t *out, size_t n);

/* In [0,1): the upper 53 of the 64 bits that words 0 (high) and 1 (low) of the block make. */
double rng_uniform(uint64_t seed, enum rng_stream stream, uint64_t a, uint32_t b, uint32_t c);

/* In [0, n): the upper 64 bits of n times the same 64 bits, so that the bias is below
 * n / 2^64; n > 0. */
uint64_t rng_below(uint64_t seed, enum rng_stream stream, uint64_t a, uint32_t b, uint32_t c,
                   uint64_t n);

/* Standard normal, Box-Muller in double on one block.  It takes log and cos from libm, so
 * its last bit may differ between two C libraries; the others here are exact everywhere. */
double rng_normal(uint64_t seed, enum rng_stream stream, uint64_t a, uint32_t b, uint32_t c);

/*
 * perm[0..n-1] = a permutation of 0..n-1 by Fisher-Yates, a pure function of
 * (seed, stream, a, b): position i, from n - 1 down to 1, changes places with
 * rng_below(c = i, n = i + 1).  n < 2^32 - 1.
 */
void rng_permutation(uint32_t *perm, size_t n, uint64_t seed, enum rng_stream stream,
                     uint64_t a, uint32_t b);

#endif

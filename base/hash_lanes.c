/* hash_lanes.c -- see hash_lanes.h.  BLAKE2b is RFC 7693; names of variables are its. */
#include "base/hash_lanes.h"

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define HASH_LANES_BLOCK  128u /* bytes */
#define HASH_LANES_ROUNDS 12
#define HASH_LANES_AHEAD  1024u /* bytes of each lane */

typedef uint64_t hash_lanes_word __attribute__((vector_size(8 * HASH_LANES)));

static const uint64_t hash_lanes_iv[8] = {
    0x6a09e667f3bcc908, 0xbb67ae8584caa73b, 0x3c6ef372fe94f82b, 0xa54ff53a5f1d36f1,
    0x510e527fade682d1, 0x9b05688c2b3e6c1f, 0x1f83d9abfb41bd6b, 0x5be0cd19137e2179};

static const unsigned char hash_lanes_sigma[HASH_LANES_ROUNDS][16] = {
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
    {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
    {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4},
    {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
    {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13},
    {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
    {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11},
    {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
    {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5},
    {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0},
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
    {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3}};

#define ROTATE(x, n) (((x) >> (n)) | ((x) << (64 - (n))))
#define MIX(a, b, c, d, x, y)           \
    do {                                \
        v[a] = v[a] + v[b] + m[x];      \
        v[d] = ROTATE(v[d] ^ v[a], 32); \
        v[c] = v[c] + v[d];             \
        v[b] = ROTATE(v[b] ^ v[c], 24); \
        v[a] = v[a] + v[b] + m[y];      \
        v[d] = ROTATE(v[d] ^ v[a], 16); \
        v[c] = v[c] + v[d];             \
        v[b] = ROTATE(v[b] ^ v[c], 63); \
    } while (0)

/* The compression function F on a block of each lane, of which `done` bytes have come with it;
 * `last`: all bits where it is a lane's last, else none. */
static inline __attribute__((always_inline)) void
hash_lanes_compress(hash_lanes_word h[8], const unsigned char *const at[HASH_LANES],
                    const hash_lanes_word *done, const hash_lanes_word *last)
{
    hash_lanes_word m[16], v[16];
    for (size_t i = 0; i < 16; i++) {
        for (size_t lane = 0; lane < HASH_LANES; lane++) {
            uint64_t word;
            memcpy(&word, at[lane] + 8 * i, sizeof word);
            m[i][lane] = word;
        }
    }
    for (size_t i = 0; i < 8; i++) {
        v[i] = h[i];
        v[i + 8] = (hash_lanes_word){0} + hash_lanes_iv[i];
    }
    v[12] ^= *done;
    v[14] ^= *last;
#pragma GCC unroll 12
    for (size_t round = 0; round < HASH_LANES_ROUNDS; round++) {
        const unsigned char *s = hash_lanes_sigma[round];
        MIX(0, 4, 8, 12, s[0], s[1]);
        MIX(1, 5, 9, 13, s[2], s[3]);
        MIX(2, 6, 10, 14, s[4], s[5]);
        MIX(3, 7, 11, 15, s[6], s[7]);
        MIX(0, 5, 10, 15, s[8], s[9]);
        MIX(1, 6, 11, 12, s[10], s[11]);
        MIX(2, 7, 8, 13, s[12], s[13]);
        MIX(3, 4, 9, 14, s[14], s[15]);
    }
    for (size_t i = 0; i < 8; i++)
        h[i] ^= v[i] ^ v[i + 8];
}

/* Eight streams are more than a processor fetches ahead by itself. */
static inline __attribute__((always_inline)) void hash_lanes_fetch(const unsigned char *at)
{
    for (size_t i = 0; i < HASH_LANES_BLOCK; i += 64)
        __builtin_prefetch((const void *)((uintptr_t)at + HASH_LANES_AHEAD + i));
}

/* A block, which may stay where it is. */
static inline __attribute__((always_inline)) void hash_lanes_move(unsigned char *to,
                                                                  const unsigned char *from)
{
    hash_lanes_word half[HASH_LANES_BLOCK / sizeof(hash_lanes_word)];
    memcpy(half, from, sizeof half);
    memcpy(to, half, sizeof half);
}

static inline __attribute__((always_inline)) void hash_lanes_begin(hash_lanes_word h[8])
{
    for (size_t i = 0; i < 8; i++)
        h[i] = (hash_lanes_word){0} + hash_lanes_iv[i];
    h[0] ^= 0x01010000u ^ HASH_BYTES;
}

static inline __attribute__((always_inline)) void hash_lanes_end(struct hash out[HASH_LANES],
                                                                 const hash_lanes_word h[8])
{
    for (size_t lane = 0; lane < HASH_LANES; lane++) {
        for (size_t i = 0; i < HASH_BYTES / 8; i++) {
            const uint64_t word = h[i][lane];
            memcpy(out[lane].bytes + 8 * i, &word, sizeof word);
        }
    }
}

static inline __attribute__((always_inline)) void
hash_lanes_body(struct hash out[HASH_LANES], unsigned char *const *to,
                const unsigned char *const *from, size_t size)
{
    hash_lanes_word h[8];
    const unsigned char *at[HASH_LANES];
    unsigned char tail[HASH_LANES][HASH_LANES_BLOCK] = {{0}};
    const hash_lanes_word none = {0};
    size_t done = 0;
    hash_lanes_begin(h);
    for (size_t lane = 0; lane < HASH_LANES; lane++)
        at[lane] = from[lane];
    while (size - done > HASH_LANES_BLOCK) {
        for (size_t lane = 0; lane < HASH_LANES; lane++)
            hash_lanes_fetch(at[lane]);
        const hash_lanes_word come = none + (done + HASH_LANES_BLOCK);
        hash_lanes_compress(h, at, &come, &none);
        for (size_t lane = 0; lane < HASH_LANES; lane++) {
            if (to)
                hash_lanes_move(to[lane] + done, at[lane]);
            at[lane] += HASH_LANES_BLOCK;
        }
        done += HASH_LANES_BLOCK;
    }
    for (size_t lane = 0; lane < HASH_LANES; lane++) {
        memcpy(tail[lane], at[lane], size - done);
        if (to)
            memcpy(to[lane] + done, tail[lane], size - done);
        at[lane] = tail[lane];
    }
    const hash_lanes_word come = none + size, all = ~none;
    hash_lanes_compress(h, at, &come, &all);
    hash_lanes_end(out, h);
}

/* Lanes of any lengths: a lane that is over goes on with the others, and what that makes of it is
 * thrown away. */
static inline __attribute__((always_inline)) void
hash_lanes_each_body(struct hash out[HASH_LANES], const unsigned char *const from[HASH_LANES],
                     const size_t size[HASH_LANES], size_t size_max)
{
    hash_lanes_word h[8];
    unsigned char tail[HASH_LANES][HASH_LANES_BLOCK] = {{0}};
    hash_lanes_begin(h);
    for (size_t begin = 0; begin == 0 || begin < size_max; begin += HASH_LANES_BLOCK) {
        const unsigned char *at[HASH_LANES];
        hash_lanes_word done = {0}, last = {0}, over = {0}, next[8];
        for (size_t lane = 0; lane < HASH_LANES; lane++) {
            const size_t left = size[lane] > begin ? size[lane] - begin : 0;
            over[lane] = begin > 0 && left == 0 ? UINT64_MAX : 0;
            last[lane] = left <= HASH_LANES_BLOCK ? UINT64_MAX : 0;
            done[lane] = last[lane] ? size[lane] : begin + HASH_LANES_BLOCK;
            at[lane] = last[lane] ? tail[lane] : from[lane] + begin;
            if (last[lane] && left > 0)
                memcpy(tail[lane], from[lane] + begin, left);
        }
        memcpy(next, h, sizeof next);
        hash_lanes_compress(next, at, &done, &last);
        for (size_t i = 0; i < 8; i++)
            h[i] = (h[i] & over) | (next[i] & ~over);
    }
    hash_lanes_end(out, h);
}

#if defined(__x86_64__)
__attribute__((target("avx512f"))) static void
hash_lanes_each_avx512(struct hash out[HASH_LANES], const unsigned char *const from[HASH_LANES],
                       const size_t size[HASH_LANES], size_t size_max)
{
    hash_lanes_each_body(out, from, size, size_max);
}

__attribute__((target("avx2"))) static void
hash_lanes_each_avx2(struct hash out[HASH_LANES], const unsigned char *const from[HASH_LANES],
                     const size_t size[HASH_LANES], size_t size_max)
{
    hash_lanes_each_body(out, from, size, size_max);
}

__attribute__((target("avx512f"))) static void
hash_lanes_avx512(struct hash out[HASH_LANES], unsigned char *const *to,
                  const unsigned char *const *from, size_t size)
{
    hash_lanes_body(out, to, from, size);
}

__attribute__((target("avx2"))) static void hash_lanes_avx2(struct hash out[HASH_LANES],
                                                            unsigned char *const *to,
                                                            const unsigned char *const *from,
                                                            size_t size)
{
    hash_lanes_body(out, to, from, size);
}
#endif

/* Fewer than these are faster one after the other; narrow lanes always are. */
static size_t hash_lanes_least(void)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f"))
        return 2;
    if (__builtin_cpu_supports("avx2"))
        return 4;
#endif
    return HASH_LANES + 1;
}

/* Lanes that nobody asked for do again what the first does. */
static void hash_lanes_fill(struct hash *out, unsigned char *const *to,
                            const unsigned char *const *from, size_t n, size_t size)
{
    struct hash got[HASH_LANES];
    unsigned char *all_to[HASH_LANES];
    const unsigned char *all_from[HASH_LANES];
    for (size_t lane = 0; lane < HASH_LANES; lane++) {
        all_from[lane] = from[lane < n ? lane : 0];
        all_to[lane] = to ? to[lane < n ? lane : 0] : NULL;
    }
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f"))
        hash_lanes_avx512(got, to ? all_to : NULL, all_from, size);
    else
        hash_lanes_avx2(got, to ? all_to : NULL, all_from, size);
#endif
    memcpy(out, got, n * sizeof *out);
}

void hash_lanes_copy(struct hash *out, unsigned char *const *to,
                     const unsigned char *const *from, size_t n, size_t size)
{
    assert(n <= HASH_LANES);
    if (n >= hash_lanes_least()) {
        hash_lanes_fill(out, to, from, n, size);
        return;
    }
    for (size_t lane = 0; lane < n; lane++) {
        hash_blake2b(&out[lane], from[lane], size);
        if (to)
            memmove(to[lane], from[lane], size);
    }
}

void hash_lanes_each(struct hash *out, const void *const *from, const size_t *size, size_t n)
{
    assert(n <= HASH_LANES);
    if (n < hash_lanes_least()) {
        for (size_t lane = 0; lane < n; lane++)
            hash_blake2b(&out[lane], from[lane], size[lane]);
        return;
    }
    struct hash got[HASH_LANES];
    const unsigned char *all_from[HASH_LANES] = {NULL};
    size_t all_size[HASH_LANES] = {0}, size_max = 0;
    for (size_t lane = 0; lane < n; lane++) {
        all_from[lane] = from[lane];
        all_size[lane] = size[lane];
        size_max = size[lane] > size_max ? size[lane] : size_max;
    }
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f"))
        hash_lanes_each_avx512(got, all_from, all_size, size_max);
    else
        hash_lanes_each_avx2(got, all_from, all_size, size_max);
#endif
    memcpy(out, got, n * sizeof *out);
}

void hash_lanes_chunk(struct hash *out, unsigned char *to, const unsigned char *from,
                      size_t size)
{
    assert(size > 0 && size <= HASH_LANES_CHUNK_BYTES);
    struct hash hash[HASH_LANES];
    unsigned char *to_piece[HASH_LANES] = {NULL};
    const unsigned char *piece[HASH_LANES] = {NULL};
    const size_t whole = size / HASH_LANES_PIECE_BYTES, rest = size % HASH_LANES_PIECE_BYTES;
    const size_t n = whole + (rest != 0);
    for (size_t i = 0; i < n; i++) {
        piece[i] = from + i * HASH_LANES_PIECE_BYTES;
        to_piece[i] = to ? to + i * HASH_LANES_PIECE_BYTES : NULL;
    }
    hash_lanes_copy(hash, to ? to_piece : NULL, piece, whole, HASH_LANES_PIECE_BYTES);
    if (rest)
        hash_lanes_copy(&hash[whole], to ? &to_piece[whole] : NULL, &piece[whole], 1, rest);
    hash_lanes_root(out, hash, n);
}

void hash_lanes_cut(struct hash *out, const void *bytes, size_t size, size_t chunk_bytes)
{
    const unsigned char *at = bytes;
    for (; size > chunk_bytes; size -= chunk_bytes, at += chunk_bytes)
        hash_lanes_chunk(out++, NULL, at, chunk_bytes);
    if (size > 0)
        hash_lanes_chunk(out, NULL, at, size);
}

void hash_lanes_root(struct hash *out, const struct hash *hashes, size_t n)
{
    hash_blake2b(out, hashes, n * sizeof *hashes);
}

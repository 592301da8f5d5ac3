/*
 * test_base_hash_lanes.c -- eight hashes at once, and the hash of a chunk.
 *
 * Oracle: libsodium's BLAKE2b, called here and in tests/chunk_hash.h, one array after another.
 */
#include <stdlib.h>

#include "base/hash_lanes.h"
#include "tests/chunk_hash.h"
#include "tests/test.h"

#define SIZE_MAX_TESTED 1100u

static unsigned char bytes[HASH_LANES][SIZE_MAX_TESTED];

static int group_setup(void **state)
{
    (void)state;
    uint32_t x = 5;
    for (size_t i = 0; i < HASH_LANES; i++)
        for (size_t k = 0; k < SIZE_MAX_TESTED; k++)
            bytes[i][k] = (unsigned char)((x = x * 1664525u + 1013904223u) >> 24);
    return sodium_init() < 0 ? -1 : 0;
}

static void check_is_hash(const struct hash *got, const void *of, size_t size)
{
    unsigned char want[HASH_BYTES];
    crypto_generichash(want, sizeof want, of, size, NULL, 0);
    assert_memory_equal(got->bytes, want, sizeof want);
}

/* Blocks are of 128 bytes: every remainder, and the numbers of blocks that begin a chain. */
static void lanes_hash_as_one_does_at_any_size(void **state)
{
    (void)state;
    const unsigned char *at[HASH_LANES];
    for (size_t i = 0; i < HASH_LANES; i++)
        at[i] = bytes[HASH_LANES - 1 - i]; /* in any order */
    for (size_t size = 0; size <= SIZE_MAX_TESTED; size++) {
        struct hash out[HASH_LANES];
        hash_lanes_copy(out, NULL, at, HASH_LANES, size);
        for (size_t i = 0; i < HASH_LANES; i++)
            check_is_hash(&out[i], at[i], size);
    }
}

/* Any number of lanes, those in place too; nothing beside them is written. */
static void lanes_copy_what_they_hash(void **state)
{
    (void)state;
    static unsigned char copies[HASH_LANES][SIZE_MAX_TESTED + 1];
    for (size_t n = 0; n <= HASH_LANES; n++) {
        for (size_t size = 0; size <= SIZE_MAX_TESTED; size += size < 130 ? 1 : 97) {
            struct hash out[HASH_LANES];
            const unsigned char *from[HASH_LANES] = {NULL};
            unsigned char *to[HASH_LANES] = {NULL};
            memset(copies, 0x5a, sizeof copies);
            memset(out, 0x5a, sizeof out);
            for (size_t i = 0; i < n; i++) {
                to[i] = copies[i];
                from[i] = bytes[i];
                if (i == n / 2) /* in place */
                    from[i] = memcpy(copies[i], bytes[i], size);
            }
            hash_lanes_copy(out, to, from, n, size);
            for (size_t i = 0; i < n; i++) {
                check_is_hash(&out[i], bytes[i], size);
                assert_memory_equal(copies[i], bytes[i], size);
                assert_int_equal(copies[i][size], 0x5a);
            }
            for (size_t i = n; i < HASH_LANES; i++)
                assert_int_equal(out[i].bytes[0], 0x5a);
        }
    }
}

/* One length goes through all remainders while the others stand elsewhere, and nobody has any. */
static void lanes_of_different_lengths_hash_as_one_does(void **state)
{
    (void)state;
    for (size_t n = 0; n <= HASH_LANES; n++) {
        for (size_t longest = 0; longest <= 400; longest += n < HASH_LANES ? 17 : 1) {
            struct hash out[HASH_LANES];
            const void *from[HASH_LANES] = {NULL};
            size_t size[HASH_LANES] = {0};
            memset(out, 0x5a, sizeof out);
            for (size_t i = 0; i < n; i++) {
                size[i] = i == n / 2 ? longest : (i * 128 + 7 * i * i + longest / 5) % 500;
                size[i] = i == 1 ? 0 : i == 6 ? 256 : size[i];
                from[i] = size[i] > 0 ? bytes[i] : NULL;
            }
            hash_lanes_each(out, from, size, n);
            for (size_t i = 0; i < n; i++)
                check_is_hash(&out[i], from[i], size[i]);
            for (size_t i = n; i < HASH_LANES; i++)
                assert_int_equal(out[i].bytes[0], 0x5a);
        }
    }
}

static void the_hash_of_all_is_that_of_their_hashes(void **state)
{
    (void)state;
    struct hash chunks[3], root;
    for (size_t n = 1; n <= COUNT(chunks); n++) {
        hash_lanes_cut(chunks, bytes[1], n * 100 - 1, 100);
        hash_lanes_root(&root, chunks, n);
        check_is_hash(&root, chunks, n * HASH_BYTES);
    }
}

static void check_is_chunk(const struct hash *got, const unsigned char *of, size_t size)
{
    const struct hash want = chunk_hash(of, size);
    assert_memory_equal(got, &want, sizeof want);
}

/* Any number of pieces, whole ones and a last that is short, from and to any place; nothing behind
 * is written. */
static void the_hash_of_a_chunk_is_that_of_its_pieces(void **state)
{
    (void)state;
    static unsigned char from[HASH_LANES_CHUNK_BYTES + 8], to[HASH_LANES_CHUNK_BYTES + 8];
    const size_t piece = HASH_LANES_PIECE_BYTES;
    const size_t sizes[] = {1,         127,           128,           129,           piece - 1,
                            piece,     piece + 1,     2 * piece,     3 * piece - 5, 4 * piece,
                            5 * piece, 7 * piece + 3, 8 * piece - 1, 8 * piece};
    for (size_t i = 0; i < sizeof from; i++)
        from[i] = (unsigned char)(bytes[i % 7][i % 1009] + i / 4096);
    for (size_t k = 0; k < COUNT(sizes); k++) {
        struct hash got, copied;
        memset(to, 0x5a, sizeof to);
        hash_lanes_chunk(&got, NULL, from + k % 3, sizes[k]);
        check_is_chunk(&got, from + k % 3, sizes[k]);
        hash_lanes_chunk(&copied, to + k % 5, from + k % 3, sizes[k]);
        assert_memory_equal(&copied, &got, sizeof got);
        assert_memory_equal(to + k % 5, from + k % 3, sizes[k]);
        assert_int_equal(to[k % 5 + sizes[k]], 0x5a);
    }
}

static void chunks_are_hashed_each_by_itself(void **state)
{
    (void)state;
    const size_t chunk = 64;
    const size_t sizes[] = {1, 63, 64, 65, 511, 512, 513, 1024, 1100, 8 * 64 + 7 * 64 + 1};
    for (size_t k = 0; k < COUNT(sizes); k++) {
        const size_t size = sizes[k], n = (size + chunk - 1) / chunk;
        struct hash out[SIZE_MAX_TESTED / 64 + 2];
        assert_int_equal(hash_lanes_chunks(size, chunk), n);
        memset(out, 0x5a, sizeof out);
        hash_lanes_cut(out, bytes[2], size, chunk);
        for (size_t i = 0; i < n; i++)
            check_is_chunk(&out[i], bytes[2] + i * chunk,
                           size - i * chunk < chunk ? size - i * chunk : chunk);
        for (size_t i = 0; i < HASH_BYTES; i++)
            assert_int_equal(out[n].bytes[i], 0x5a);
    }
    assert_int_equal(hash_lanes_chunks(0, chunk), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lanes_hash_as_one_does_at_any_size),
        cmocka_unit_test(lanes_copy_what_they_hash),
        cmocka_unit_test(lanes_of_different_lengths_hash_as_one_does),
        cmocka_unit_test(the_hash_of_all_is_that_of_their_hashes),
        cmocka_unit_test(the_hash_of_a_chunk_is_that_of_its_pieces),
        cmocka_unit_test(chunks_are_hashed_each_by_itself),
    };
    return cmocka_run_group_tests_name("base/hash_lanes", tests, group_setup, NULL);
}

/*
 * test_base_hash_lanes.c -- eight hashes at once.
 *
 * Oracle: libsodium's BLAKE2b, called here, one array after another.
 */
#include <sodium.h>
#include <stdlib.h>

#include "base/hash_lanes.h"
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
    const void *at[HASH_LANES];
    for (size_t i = 0; i < HASH_LANES; i++)
        at[i] = bytes[HASH_LANES - 1 - i]; /* in any order */
    for (size_t size = 0; size <= SIZE_MAX_TESTED; size++) {
        struct hash out[HASH_LANES];
        hash_lanes_blake2b(out, at, size);
        for (size_t i = 0; i < HASH_LANES; i++)
            check_is_hash(&out[i], at[i], size);
    }
}

static void pieces_are_hashed_each_by_itself(void **state)
{
    (void)state;
    const size_t piece = 64;
    const size_t sizes[] = {1, 63, 64, 65, 511, 512, 513, 1024, 1100, 8 * 64 + 7 * 64 + 1};
    for (size_t k = 0; k < COUNT(sizes); k++) {
        const size_t size = sizes[k], n = (size + piece - 1) / piece;
        struct hash out[SIZE_MAX_TESTED / 64 + 2];
        assert_int_equal(hash_lanes_pieces(size, piece), n);
        memset(out, 0x5a, sizeof out);
        hash_lanes_cut(out, bytes[2], size, piece);
        for (size_t i = 0; i < n; i++)
            check_is_hash(&out[i], bytes[2] + i * piece,
                          size - i * piece < piece ? size - i * piece : piece);
        for (size_t i = 0; i < HASH_BYTES; i++)
            assert_int_equal(out[n].bytes[i], 0x5a);
    }
    assert_int_equal(hash_lanes_pieces(0, piece), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lanes_hash_as_one_does_at_any_size),
        cmocka_unit_test(pieces_are_hashed_each_by_itself),
    };
    return cmocka_run_group_tests_name("base/hash_lanes", tests, group_setup, NULL);
}

/*
 * test_node_weights_hashes.c -- hashes by two threads.
 *
 * Oracle: libsodium's BLAKE2b, called here, one piece after another.
 */
#include <sodium.h>
#include <stdlib.h>

#include "node/weights_hashes.h"
#include "tests/test.h"

#define PIECE  96u
#define PIECES 70u

static unsigned char bytes[PIECES * PIECE];

static int group_setup(void **state)
{
    (void)state;
    uint32_t x = 9;
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)((x = x * 1664525u + 1013904223u) >> 24);
    return sodium_init() < 0 ? -1 : 0;
}

/* `out` has the hashes of `size` bytes, and nothing behind them was written. */
static void check_hashes(const struct hash *out, size_t size)
{
    const size_t n = (size + PIECE - 1) / PIECE;
    for (size_t i = 0; i < n; i++) {
        unsigned char want[HASH_BYTES];
        crypto_generichash(want, sizeof want, bytes + i * PIECE,
                           size - i * PIECE < PIECE ? size - i * PIECE : PIECE, NULL, 0);
        assert_memory_equal(out[i].bytes, want, sizeof want);
    }
    assert_int_equal(out[n].bytes[0], 0x5a);
}

/* Few pieces, for which there is no thread; halves of whole groups of lanes, and not; a last piece
 * that is short. */
static void hashes_are_those_of_the_pieces(void **state)
{
    (void)state;
    for (size_t n = 1; n <= PIECES; n++) {
        for (size_t cut = 0; cut < 2; cut++) {
            struct hash out[PIECES + 1];
            const size_t size = n * PIECE - cut * 17;
            memset(out, 0x5a, sizeof out);
            weights_hashes_cut(out, bytes, size, PIECE);
            check_hashes(out, size);
        }
    }
}

static void hashes_are_there_at_the_end(void **state)
{
    (void)state;
    for (size_t n = 1; n <= PIECES; n += 23) {
        struct hash out[PIECES + 1];
        struct weights_hashes hashes;
        memset(out, 0x5a, sizeof out);
        weights_hashes_begin(&hashes, out, bytes, n * PIECE, PIECE);
        weights_hashes_end(&hashes);
        weights_hashes_end(&hashes); /* harmless */
        check_hashes(out, n * PIECE);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hashes_are_those_of_the_pieces),
        cmocka_unit_test(hashes_are_there_at_the_end),
    };
    return cmocka_run_group_tests_name("node/weights_hashes", tests, group_setup, NULL);
}

/*
 * test_node_weights_hashes.c -- hashes by two threads.
 *
 * Oracle: tests/chunk_hash.h, one chunk after another.
 */
#include <stdlib.h>

#include "node/weights_hashes.h"
#include "tests/chunk_hash.h"
#include "tests/test.h"

#define CHUNK  96u
#define CHUNKS 70u

static unsigned char bytes[CHUNKS * CHUNK];

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
    const size_t n = (size + CHUNK - 1) / CHUNK;
    for (size_t i = 0; i < n; i++) {
        const size_t rest = size - i * CHUNK;
        const struct hash want = chunk_hash(bytes + i * CHUNK, rest < CHUNK ? rest : CHUNK);
        assert_memory_equal(&out[i], &want, sizeof want);
    }
    assert_int_equal(out[n].bytes[0], 0x5a);
}

/* Few chunks, for which there is no thread; halves that are equal, and not; a last chunk that is
 * short. */
static void hashes_are_those_of_the_chunks(void **state)
{
    (void)state;
    for (size_t n = 1; n <= CHUNKS; n++) {
        for (size_t cut = 0; cut < 2; cut++) {
            struct hash out[CHUNKS + 1];
            const size_t size = n * CHUNK - cut * 17;
            memset(out, 0x5a, sizeof out);
            weights_hashes_cut(out, bytes, size, CHUNK);
            check_hashes(out, size);
        }
    }
}

static void hashes_are_there_at_the_end(void **state)
{
    (void)state;
    for (size_t n = 1; n <= CHUNKS; n += 23) {
        struct hash out[CHUNKS + 1];
        struct weights_hashes hashes;
        memset(out, 0x5a, sizeof out);
        weights_hashes_begin(&hashes, out, bytes, n * CHUNK, CHUNK);
        weights_hashes_end(&hashes);
        weights_hashes_end(&hashes); /* harmless */
        check_hashes(out, n * CHUNK);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hashes_are_those_of_the_chunks),
        cmocka_unit_test(hashes_are_there_at_the_end),
    };
    return cmocka_run_group_tests_name("node/weights_hashes", tests, group_setup, NULL);
}

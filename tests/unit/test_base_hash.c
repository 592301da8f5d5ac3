/*
 * test_base_hash.c -- published vectors, a file hashed in pieces, hex both ways.
 *
 * The oracles: FIPS 180-4's examples for SHA-256; for BLAKE2b with 32 bytes of output, what
 * Python's hashlib.blake2b(digest_size=32) gives; for XXH3 the table and the buffer of
 * xxHash's own sanity check, seed 0.
 */
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/hash_stream.h"
#include "tests/processor.h"
#include "tests/test.h"
#include "tests/told.h"

#define ABC_SHA256 "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

static void check_hex(const struct hash *hash, const char *want)
{
    char hex[HASH_HEX_BYTES];
    hash_hex(hash, hex);
    assert_string_equal(hex, want);
}

static void hash_sha256_gives_the_published_sums(void **state)
{
    (void)state;
    struct hash hash;
    hash_sha256(&hash, "abc", 3);
    check_hex(&hash, ABC_SHA256);
    hash_sha256(&hash, "", 0);
    check_hex(&hash, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

static void hash_blake2b_gives_the_published_sums(void **state)
{
    (void)state;
    struct hash hash;
    hash_blake2b(&hash, "abc", 3);
    check_hex(&hash, "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319");
    hash_blake2b(&hash, "", 0);
    check_hex(&hash, "0e5751c026e543b2e8ab2eb06099daa1d1e5df47778f7787faab45cdf12fe3a8");
    char thousand[1000];
    memset(thousand, 'a', sizeof thousand);
    hash_blake2b(&hash, thousand, sizeof thousand);
    check_hex(&hash, "e00b0ddbf1e2cdaf5c898e1a5e8826ea3a2c339bcf2a478da2e5fca9ff126672");
}

static void hash_xxh3_gives_the_published_sums(void **state)
{
    (void)state;
    static const struct {
        size_t size;
        uint64_t want;
    } known[] = {
        {0, 0x2d06800538d394c2},    {1, 0xc44bdff4074eecdb},    {6, 0x27b56a84cd2d7325},
        {12, 0xa713daf0dfbb77e7},   {24, 0xa3fe70bf9d3510eb},   {48, 0x397da259ecba1f11},
        {80, 0xbcdefbbb2c47c90a},   {195, 0xcd94217ee362ec3a},  {403, 0xcdeb804d65c6dea4},
        {512, 0x617e49599013cb6b},  {2048, 0xdd59e2c3a5f038e0}, {2240, 0x6e73a90539cf2948},
        {2367, 0xcb37aeb9e5d361ed},
    };
    unsigned char bytes[2367];
    uint64_t generator = 2654435761u;
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (unsigned char)(generator >> 56);
        generator *= 11400714785074694797u;
    }
    for (size_t i = 0; i < COUNT(known); i++)
        assert_true(hash_xxh3(bytes, known[i].size) == known[i].want);
}

/* In pieces of every size around the library's own blocks. */
static void hash_stream_gives_the_sum_of_the_whole(void **state)
{
    (void)state;
    static unsigned char bytes[5000];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)(i * 7 + i / 251);
    for (size_t piece = 1; piece < 1100; piece += piece < 300 ? 1 : 37) {
        struct hash_stream stream;
        hash_stream_begin(&stream);
        for (size_t at = 0; at < sizeof bytes; at += piece)
            hash_stream_add(&stream, bytes + at,
                            sizeof bytes - at < piece ? sizeof bytes - at : piece);
        assert_true(hash_stream_end(&stream) == hash_xxh3(bytes, sizeof bytes));
    }
}

/* Pieces that are copied and pieces that are not, in turns, at every alignment of either end. */
static void hash_stream_copies_what_it_sums(void **state)
{
    (void)state;
    enum { SIZE = 9000, PAD = 64 };
    static unsigned char bytes[SIZE + PAD], copy[SIZE + 2 * PAD];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)(i * 13 + i / 241);
    for (size_t piece = 1; piece <= SIZE; piece += piece < 1200 ? 11 : 1024 - piece % 64) {
        const unsigned char *from = bytes + piece % PAD;
        unsigned char *to = copy + PAD + piece / 11 % PAD;
        struct hash_stream stream;
        hash_stream_begin(&stream);
        memset(copy, 0xA5, sizeof copy);
        for (size_t at = 0, n; at < SIZE; at += n) {
            n = SIZE - at < piece ? SIZE - at : piece;
            hash_stream_copy(&stream, to + at, from + at, n);
            at += n;
            n = SIZE - at < piece / 2 ? SIZE - at : piece / 2;
            hash_stream_add(&stream, from + at, n);
            memcpy(to + at, from + at, n);
        }
        assert_true(hash_stream_end(&stream) == hash_xxh3(from, SIZE));
        assert_memory_equal(to, from, SIZE);
        for (unsigned char *at = copy; at < copy + sizeof copy; at++)
            assert_true((at >= to && at < to + SIZE) || *at == 0xA5);
    }
}

/* As the exchange does: pieces of a multiple of the stripe, the last of any length. */
static void hash_stream_copies_in_even_pieces(void **state)
{
    (void)state;
    static _Alignas(64) unsigned char bytes[40000], copy[40000];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)(i * 31 + i / 239);
    for (size_t size = sizeof bytes - 2200; size <= sizeof bytes; size += 37) {
        for (size_t piece = 512; piece <= 16384; piece *= 2) {
            struct hash_stream stream;
            hash_stream_begin(&stream);
            memset(copy, 0, size);
            for (size_t at = 0; at < size; at += piece)
                hash_stream_copy(&stream, copy + at, bytes + at,
                                 size - at < piece ? size - at : piece);
            assert_true(hash_stream_end(&stream) == hash_xxh3(bytes, size));
            assert_memory_equal(copy, bytes, size);
        }
    }
}

static _Alignas(64) unsigned char told_from[1024], told_to[1024];

static void hash_stream_copy_value(void *ctx, unsigned char value)
{
    (void)ctx;
    struct hash_stream stream;
    memset(told_from, value, sizeof told_from);
    hash_stream_begin(&stream);
    hash_stream_copy(&stream, told_to, told_from, sizeof told_from);
}

static void hash_stream_copy_is_seen_by_a_thread_that_is_told(void **state)
{
    (void)state;
    check_told(told_to, sizeof told_to, hash_stream_copy_value, NULL);
}

static void hash_file_sha256_sums_a_file_larger_than_its_pieces(void **state)
{
    (void)state;
    char dir[] = "/tmp/rlhf-hash-XXXXXX";
    assert_non_null(mkdtemp(dir));
    char path[FILE_PATH_MAX];
    check_ok(file_join(path, dir, "million", &err));
    char *million = malloc(1000000);
    assert_non_null(million);
    memset(million, 'a', 1000000);
    check_ok(file_write(path, million, 1000000, &err));
    free(million);

    struct hash hash;
    check_ok(hash_file_sha256(&hash, path, &err));
    check_hex(&hash, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    check_ok(file_write(path, "", 0, &err));
    check_ok(hash_file_sha256(&hash, path, &err));
    check_hex(&hash, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");

    check_fails(hash_file_sha256(&hash, dir, &err), ERR_IO, "is not a regular file");
    check_ok(file_remove_tree(dir, &err));
    check_fails(hash_file_sha256(&hash, path, &err), ERR_IO, path);
}

static void hash_hex_goes_there_and_back(void **state)
{
    (void)state;
    struct hash hash;
    check_ok(hash_from_hex(&hash, ABC_SHA256, &err));
    check_hex(&hash, ABC_SHA256);
    check_ok(hash_from_hex(
        &hash, "BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD", &err));
    check_hex(&hash, ABC_SHA256);
}

static void hash_from_hex_refuses_anything_else_and_leaves_the_hash(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "",
        "ba78",
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015a",
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015adf",
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ag",
        "0xba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015",
        "ba7816bf8f01cfea414140de5dae2223 b00361a396177a9cb410ff61f20015a",
    };
    struct hash hash;
    hash_sha256(&hash, "abc", 3);
    for (size_t i = 0; i < COUNT(wrong); i++) {
        check_fails(hash_from_hex(&hash, wrong[i], &err), ERR_FORMAT, "is not 64 hex digits");
        check_hex(&hash, ABC_SHA256);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hash_sha256_gives_the_published_sums),
        cmocka_unit_test(hash_blake2b_gives_the_published_sums),
        cmocka_unit_test(hash_xxh3_gives_the_published_sums),
        cmocka_unit_test(hash_stream_gives_the_sum_of_the_whole),
        cmocka_unit_test(hash_stream_copies_what_it_sums),
        cmocka_unit_test(hash_stream_copies_in_even_pieces),
        cmocka_unit_test(hash_stream_copy_is_seen_by_a_thread_that_is_told),
        cmocka_unit_test(hash_file_sha256_sums_a_file_larger_than_its_pieces),
        cmocka_unit_test(hash_hex_goes_there_and_back),
        cmocka_unit_test(hash_from_hex_refuses_anything_else_and_leaves_the_hash),
    };
    const int failed = cmocka_run_group_tests_name("base/hash", tests, NULL, NULL);
    return failed + cmocka_run_group_tests_name("base/hash without AVX-512", tests,
                                                processor_without_avx512, NULL);
}

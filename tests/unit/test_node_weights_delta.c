/*
 * test_node_weights_delta.c -- a chunk as its difference from an older one.
 *
 * Oracle: the bytes themselves: what is made and undone is what it was made of.
 */
#include <stdlib.h>

#include "node/weights_delta.h"
#include "tests/test.h"
#include "tests/wire_messages.h"

#define SIZE WEIGHTS_DELTA_BYTES_MAX

static struct weights_delta *delta;
static unsigned char *base, *bytes, *out, *undone; /* (SIZE) */

static int group_setup(void **state)
{
    (void)state;
    delta = weights_delta_new();
    base = malloc(SIZE);
    bytes = malloc(SIZE);
    out = malloc(SIZE);
    undone = malloc(SIZE);
    return delta && base && bytes && out && undone ? 0 : -1;
}

static int group_teardown(void **state)
{
    (void)state;
    weights_delta_free(delta);
    weights_delta_free(NULL);
    free(base);
    free(bytes);
    free(out);
    free(undone);
    return 0;
}

/* Weights, and weights after a step of this relative size. */
static void draw(uint64_t seed, float step)
{
    for (size_t i = 0; i < SIZE / 4; i++) {
        const float unit = (float)wire_test_below(&seed, 1u << 24) / (float)(1u << 23) - 1.0f;
        const float was = 0.05f * unit;
        const float is = was + step * ((wire_test_next(&seed) & 1) ? 1.0f : -1.0f);
        memcpy(base + 4 * i, &was, 4);
        memcpy(bytes + 4 * i, &is, 4);
    }
}

static size_t check_there_and_back(size_t size)
{
    const size_t n = weights_delta_make(delta, base, bytes, size, out);
    assert_in_range(n, 0, size - 1);
    if (n == 0)
        return 0;
    memcpy(undone, base, size);
    check_ok(weights_delta_apply(delta, undone, size, out, n, &err));
    assert_memory_equal(undone, bytes, size);
    return n;
}

static void differences_of_steps_are_smaller_and_exact(void **state)
{
    (void)state;
    draw(1, 1e-6f);
    assert_in_range(check_there_and_back(SIZE), 1, SIZE * 45 / 100);
    draw(2, 1e-5f);
    assert_in_range(check_there_and_back(SIZE), 1, SIZE * 55 / 100);
    draw(3, 1e-3f);
    assert_in_range(check_there_and_back(SIZE), 1, SIZE * 80 / 100);
    memcpy(bytes, base, SIZE);
    assert_in_range(check_there_and_back(SIZE), 1, SIZE / 1000);
}

/* Signs, zeros, infinities, NaNs: bits are bits. */
static void any_bits_come_back(void **state)
{
    (void)state;
    static const uint32_t words[] = {0,           0x80000000u, 0x7f800000u,
                                     0xff800000u, 0x7fc00001,  0xffffffffu,
                                     1,           0x80000001u, 0x7fffffffu};
    size_t at = 0;
    for (size_t i = 0; i < COUNT(words); i++)
        for (size_t k = 0; k < COUNT(words); k++, at += 4) {
            memcpy(base + at, &words[i], 4);
            memcpy(bytes + at, &words[k], 4);
        }
    memset(base + at, 0, 4000); /* else it is too little to become smaller */
    memset(bytes + at, 0, 4000);
    assert_true(check_there_and_back(at + 4000) > 0);
}

static void any_size_comes_back(void **state)
{
    (void)state;
    draw(4, 1e-6f);
    for (size_t size = 1; size < 300; size++)
        check_there_and_back(size);
    for (size_t size = 4096; size < 4104; size++)
        assert_true(check_there_and_back(size) > 0);
    assert_true(check_there_and_back(SIZE - 1) > 0);
}

static void what_would_not_be_smaller_is_none(void **state)
{
    (void)state;
    uint64_t seed = 5;
    for (size_t i = 0; i < SIZE; i++)
        bytes[i] = (unsigned char)wire_test_next(&seed);
    assert_int_equal(weights_delta_make(delta, base, bytes, SIZE, out), 0);
    assert_int_equal(weights_delta_make(delta, base, bytes, 1, out), 0);
}

static void what_is_no_difference_is_refused_and_changes_nothing(void **state)
{
    (void)state;
    draw(6, 1e-5f);
    const size_t n = weights_delta_make(delta, base, bytes, SIZE, out);
    memcpy(undone, base, SIZE);
    check_fails(weights_delta_apply(delta, undone, SIZE, out, n - 1, &err), ERR_FORMAT,
                "are no difference");
    check_fails(weights_delta_apply(delta, undone, SIZE, base, 1000, &err), ERR_FORMAT,
                "1000 bytes are no difference");
    check_fails(weights_delta_apply(delta, undone, SIZE - 4, out, n, &err), ERR_FORMAT,
                "are no difference"); /* it is for more */
    const size_t less = weights_delta_make(delta, base, bytes, SIZE - 4, out);
    check_fails(weights_delta_apply(delta, undone, SIZE, out, less, &err), ERR_FORMAT,
                "a difference of 1048572 bytes, not 1048576");
    assert_memory_equal(undone, base, SIZE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(differences_of_steps_are_smaller_and_exact),
        cmocka_unit_test(any_bits_come_back),
        cmocka_unit_test(any_size_comes_back),
        cmocka_unit_test(what_would_not_be_smaller_is_none),
        cmocka_unit_test(what_is_no_difference_is_refused_and_changes_nothing),
    };
    return cmocka_run_group_tests_name("node/weights_delta", tests, group_setup,
                                       group_teardown);
}

/*
 * test_base_arena.c -- pieces that lie apart, in line, within the capacity, and come back.
 *
 * The oracle is what arena.h promises of each piece: written over from end to end, no
 * other piece changes; the sanitizer build watches the edges.
 */
#include "base/arena.h"
#include "tests/test.h"

static void arena_pieces_are_aligned_zero_and_apart(void **state)
{
    (void)state;
    enum { N = 100 };
    struct arena arena;
    check_ok(arena_init(&arena, N * 256, "a test", &err));
    unsigned char *pieces[N];
    for (size_t i = 0; i < N; i++) {
        pieces[i] = arena_alloc(&arena, i * 2 + 1);
        assert_non_null(pieces[i]);
        assert_int_equal((uintptr_t)pieces[i] % ARENA_ALIGN, 0);
        for (size_t k = 0; k < i * 2 + 1; k++)
            assert_int_equal(pieces[i][k], 0);
        memset(pieces[i], (int)i + 1, i * 2 + 1);
    }
    for (size_t i = 0; i < N; i++)
        for (size_t k = 0; k < i * 2 + 1; k++)
            assert_int_equal(pieces[i][k], i + 1);
    arena_release(&arena);
}

static void arena_gives_its_whole_capacity_and_no_more(void **state)
{
    (void)state;
    struct arena arena;
    check_ok(arena_init(&arena, 5000, "a test", &err));
    assert_true(arena.capacity_bytes >= 5000);
    const size_t capacity = arena.capacity_bytes;
    assert_null(arena_alloc(&arena, capacity + 1));
    assert_null(arena_alloc(&arena, SIZE_MAX));
    unsigned char *all = arena_alloc(&arena, capacity);
    assert_non_null(all);
    memset(all, 1, capacity);
    assert_null(arena_alloc(&arena, 1));
    assert_int_equal(arena.used_bytes, capacity);
    arena_release(&arena);
}

static void arena_array_refuses_a_product_that_overflows(void **state)
{
    (void)state;
    struct arena arena;
    check_ok(arena_init(&arena, 1 << 16, "a test", &err));
    assert_null(arena_array(&arena, SIZE_MAX / 4 + 2, 4)); /* 4 bytes, were it to wrap */
    assert_null(arena_array(&arena, SIZE_MAX, SIZE_MAX));
    assert_int_equal(arena.used_bytes, 0);
    assert_non_null(arena_array(&arena, 100, 4));
    assert_int_equal(arena.used_bytes, 448); /* 400 in cache lines */
    assert_non_null(arena_array(&arena, 100, 0));
    arena_release(&arena);
}

static void arena_reset_gives_the_same_memory_again_and_keeps_the_peak(void **state)
{
    (void)state;
    struct arena arena;
    check_ok(arena_init(&arena, 1 << 16, "a test", &err));
    unsigned char *kept = arena_alloc(&arena, 100);
    memset(kept, 7, 100);
    const size_t mark = arena_mark(&arena);
    const void *first = arena_alloc(&arena, 1000);
    arena_reset(&arena, mark);
    assert_ptr_equal(arena_alloc(&arena, 500), first);
    for (size_t i = 0; i < 100; i++)
        assert_int_equal(kept[i], 7);
    assert_int_equal(arena.used_bytes, 128 + 512);
    assert_int_equal(arena.peak_bytes, 128 + 1024);
    arena_release(&arena);
}

static void arena_names_what_the_system_has_no_room_for(void **state)
{
    (void)state;
    struct arena arena;
    check_fails(arena_init(&arena, SIZE_MAX / 4, "the optimizer", &err), ERR_NOMEM,
                "bytes for the optimizer");
    check_fails(arena_init(&arena, SIZE_MAX, "the optimizer", &err), ERR_NOMEM,
                "bytes for the optimizer");
    assert_null(arena.base);
    arena_release(&arena);
}

static void arena_may_be_empty_and_released_twice(void **state)
{
    (void)state;
    struct arena arena;
    check_ok(arena_init(&arena, 0, "nothing", &err));
    assert_non_null(arena.base);
    arena_release(&arena);
    arena_release(&arena);
    assert_null(arena.base);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arena_pieces_are_aligned_zero_and_apart),
        cmocka_unit_test(arena_gives_its_whole_capacity_and_no_more),
        cmocka_unit_test(arena_array_refuses_a_product_that_overflows),
        cmocka_unit_test(arena_reset_gives_the_same_memory_again_and_keeps_the_peak),
        cmocka_unit_test(arena_names_what_the_system_has_no_room_for),
        cmocka_unit_test(arena_may_be_empty_and_released_twice),
    };
    return cmocka_run_group_tests_name("base/arena", tests, NULL, NULL);
}

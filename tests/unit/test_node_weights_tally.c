/*
 * test_node_weights_tally.c -- what fetches come to.
 *
 * Oracle: each fetch of SIZE bytes that was whole adds SIZE to the bytes that are told, whichever
 * way they came; medians by hand.
 */
#include "node/weights_tally.h"
#include "tests/test.h"

#define SIZE 1000u

static void check_sum(const struct wire_weights *sum)
{
    assert_int_equal(sum->server_bytes + sum->relay_bytes + sum->saved_bytes +
                         sum->mapped_bytes,
                     SIZE * sum->fetches);
}

static void note(struct weights_tally *tally, struct weights_traffic traffic, uint64_t ms)
{
    const struct weights_view view = {.ms = ms, .traffic = traffic};
    weights_tally_note(tally, &view, SIZE, true);
    check_sum(&tally->sum);
}

static void bytes_of_whole_fetches_add_up_whichever_way_they_came(void **state)
{
    (void)state;
    struct weights_tally tally = {0};
    note(&tally, (struct weights_traffic){.server_bytes = 600, .relay_bytes = 400}, 3);
    note(&tally, (struct weights_traffic){.server_bytes = 250, .saved_bytes = 750}, 5);
    const struct weights_view mapped = {.memory.bytes = &tally, .traffic.wasted_bytes = 70};
    weights_tally_note(&tally, &mapped, SIZE, true);
    check_sum(&tally.sum);
    assert_int_equal(tally.sum.fetches, 3);
    assert_int_equal(tally.sum.server_bytes, 850);
    assert_int_equal(tally.sum.relay_bytes, 400);
    assert_int_equal(tally.sum.saved_bytes, 750);
    assert_int_equal(tally.sum.mapped_bytes, SIZE);
    assert_int_equal(tally.sum.wasted_bytes, 70);
    assert_int_equal(tally.sum.sent_bytes, 0);
}

static void a_fetch_that_failed_is_none_and_its_bytes_are_wasted(void **state)
{
    (void)state;
    struct weights_tally tally = {0};
    note(&tally, (struct weights_traffic){.server_bytes = SIZE}, 3);
    const struct weights_view view = {.ms = 90, .traffic = {.wasted_bytes = 300, .refused = 2}};
    weights_tally_note(&tally, &view, SIZE, false);
    check_sum(&tally.sum);
    assert_int_equal(tally.sum.fetches, 1);
    assert_int_equal(tally.sum.wasted_bytes, 300);
    assert_int_equal(tally.sum.refused, 2);
    assert_int_equal(tally.sum.fetch_ms, 3);
}

static void the_median_is_of_the_last_fetches(void **state)
{
    (void)state;
    struct weights_tally tally = {0};
    const struct weights_traffic all = {.server_bytes = SIZE};
    note(&tally, all, 9);
    assert_int_equal(tally.sum.fetch_ms, 9);
    note(&tally, all, 1);
    note(&tally, all, 5);
    assert_int_equal(tally.sum.fetch_ms, 5);
    for (uint32_t i = 0; i < WEIGHTS_TALLY_MAX; i++)
        note(&tally, all, 100 + i);
    assert_int_equal(tally.sum.fetch_ms, 100 + WEIGHTS_TALLY_MAX / 2);
    for (uint32_t i = 0; i < WEIGHTS_TALLY_MAX / 2 + 1; i++)
        note(&tally, all, 2);
    assert_int_equal(tally.sum.fetch_ms, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_of_whole_fetches_add_up_whichever_way_they_came),
        cmocka_unit_test(a_fetch_that_failed_is_none_and_its_bytes_are_wasted),
        cmocka_unit_test(the_median_is_of_the_last_fetches),
    };
    return cmocka_run_group_tests_name("node/weights_tally", tests, NULL, NULL);
}

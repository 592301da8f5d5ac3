/*
 * test_node_weights_choice.c -- differences or not, by the time that fetches took.
 *
 * Oracle: the table in weights_choice.h, played with a network whose speed the test sets.
 */
#include "node/weights_choice.h"
#include "tests/test.h"

#define MIB  (1024u * 1024u)
#define SIZE (1000u * (size_t)MIB)

static struct weights_choice choice;

static int setup(void **state)
{
    (void)state;
    choice = (struct weights_choice){0};
    return 0;
}

/* A fetch at so many MiB of weights a second; was it by differences? */
static bool fetch(uint64_t whole_mib_s, uint64_t difference_mib_s)
{
    const bool differs = choice.differs;
    const uint64_t mib_s = differs ? difference_mib_s : whole_mib_s;
    weights_choice_note(&choice, differs, SIZE, SIZE / MIB * 1000 / mib_s);
    return differs;
}

static size_t count(size_t fetches, uint64_t whole_mib_s, uint64_t difference_mib_s)
{
    size_t n = 0;
    for (size_t i = 0; i < fetches; i++)
        n += fetch(whole_mib_s, difference_mib_s);
    return n;
}

static void a_fast_network_never_has_differences(void **state)
{
    (void)state;
    assert_int_equal(count(100, 401, 1000), 0);
}

static void a_slow_network_has_differences_from_the_second_fetch_on(void **state)
{
    (void)state;
    assert_false(fetch(100, 250));
    assert_int_equal(count(15, 100, 250), 15);
    assert_false(fetch(100, 250)); /* the look */
    assert_int_equal(count(160, 100, 250), 150);
}

/* Differences come at what the learner makes them, 300 MiB/s here: that is not the network's. */
static void a_network_that_has_become_fast_is_noticed(void **state)
{
    (void)state;
    assert_int_equal(count(5, 100, 250), 4);
    assert_in_range(count(16, 2000, 300), 1, 15);
    assert_int_equal(count(100, 2000, 300), 0);
}

static void a_network_between_the_limits_stays_as_it_was(void **state)
{
    (void)state;
    assert_int_equal(count(50, 450, 600), 0);
    assert_false(fetch(390, 600));
    assert_true(choice.differs);
    assert_int_equal(count(160, 450, 600), 150);
    count(16, 510, 600);
    assert_int_equal(count(50, 450, 600), 0);
}

static void differences_that_take_longer_are_left_alone_for_a_while(void **state)
{
    (void)state;
    assert_false(fetch(300, 200));
    assert_true(fetch(300, 200)); /* tried once */
    assert_int_equal(count(16, 300, 200), 0);
    assert_true(fetch(300, 200)); /* and again */
    assert_int_equal(count(16, 300, 290), 0);
    assert_int_equal(count(10, 300, 290), 10); /* about as long: kept */
}

static void a_fetch_of_no_time_is_fast(void **state)
{
    (void)state;
    weights_choice_note(&choice, false, MIB, 0);
    assert_false(choice.differs);
    weights_choice_note(&choice, false, 1000, 0);
    assert_true(choice.differs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_fast_network_never_has_differences, setup),
        cmocka_unit_test_setup(a_slow_network_has_differences_from_the_second_fetch_on, setup),
        cmocka_unit_test_setup(a_network_that_has_become_fast_is_noticed, setup),
        cmocka_unit_test_setup(a_network_between_the_limits_stays_as_it_was, setup),
        cmocka_unit_test_setup(differences_that_take_longer_are_left_alone_for_a_while, setup),
        cmocka_unit_test_setup(a_fetch_of_no_time_is_fast, setup),
    };
    return cmocka_run_group_tests_name("node/weights_choice", tests, NULL, NULL);
}

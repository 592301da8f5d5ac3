/*
 * test_cli_chart.c -- ticks by their definition; the drawing by what must stand in it.
 */
#include <math.h>

#include "cli/chart.h"
#include "tests/test.h"

static void chart_ticks_are_one_two_or_five_times_a_power_of_ten(void **state)
{
    (void)state;
    for (double range = 1e-6; range < 1e6; range *= 1.37) {
        const double step = chart_tick(range, 6);
        const double digit = step / pow(10, floor(log10(step) + 1e-9));
        assert_true(fabs(digit - 1) < 1e-6 || fabs(digit - 2) < 1e-6 || fabs(digit - 5) < 1e-6);
        assert_true(range / step <= 6 + 1e-6); /* few enough */
        assert_true(range / step > 2);         /* and not too few */
    }
}

static void chart_leaves_a_gap_where_a_value_is_missing(void **state)
{
    (void)state;
    const double x[] = {0, 1, 2, 3}, y[] = {1, NAN, 3, 4};
    const struct chart_series series[] = {{"a<b", y}, {"c", x}};
    const struct chart chart = {"t & u", "step", "nats", x, COUNT(x), series, COUNT(series)};
    struct buf out;
    buf_init(&out, 1 << 20);
    chart_write(&chart, &out);
    check_ok(buf_check(&out, "chart", &err));
    const char *path = strstr(out.data, " d=\"");
    assert_non_null(path);
    int moves = 0;
    for (const char *c = path + 4; *c != '"'; c++)
        moves += *c == 'M';
    assert_int_equal(moves, 2);
    assert_null(strstr(out.data, "nan"));
    assert_non_null(strstr(out.data, "a&lt;b"));
    assert_non_null(strstr(out.data, "t &amp; u"));
    buf_release(&out);
}

static void chart_of_nothing_and_of_a_constant_is_drawn(void **state)
{
    (void)state;
    const double x[] = {5}, y[] = {2};
    const struct chart_series series[] = {{"y", y}};
    struct chart chart = {"t", "x", "y", x, 0, series, 1};
    struct buf out;
    buf_init(&out, 1 << 20);
    chart_write(&chart, &out);
    chart.n = 1;
    chart_write(&chart, &out);
    check_ok(buf_check(&out, "chart", &err));
    assert_null(strstr(out.data, "nan"));
    assert_null(strstr(out.data, "inf"));
    buf_release(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chart_ticks_are_one_two_or_five_times_a_power_of_ten),
        cmocka_unit_test(chart_leaves_a_gap_where_a_value_is_missing),
        cmocka_unit_test(chart_of_nothing_and_of_a_constant_is_drawn),
    };
    return cmocka_run_group_tests_name("cli/chart", tests, NULL, NULL);
}

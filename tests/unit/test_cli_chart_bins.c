/*
 * test_cli_chart_bins.c -- bins of a histogram.
 *
 * Oracle: widths worked out by hand from the definition; counts by a plain scan.
 */
#include <stdlib.h>

#include "cli/chart_bins.h"
#include "tests/test.h"

static void bins_have_the_width_of_freedman_and_diaconis(void **state)
{
    (void)state;
    /* Quartiles 2 and 6: the width is 2 * 4 / 9^(1/3) = 3.85, so three bins cover 8. */
    double values[] = {8, 1, 6, 3, 4, 5, 2, 7, 0};
    struct chart_bins bins = chart_bins_of(values, COUNT(values));
    assert_int_equal(bins.n, 3);
    assert_true(bins.edge[0] == 0 && fabs(bins.edge[1] - 8.0 / 3) < 1e-12 && bins.edge[3] == 8);
    /* Quartiles between two values: 0.75 and 5; the width is 2 * 4.25 / 4^(1/3) = 5.36. */
    double four[] = {17, 0, 1, 1};
    bins = chart_bins_of(four, COUNT(four));
    assert_int_equal(bins.n, 4);
}

static void bins_of_odd_samples_are_sane(void **state)
{
    (void)state;
    struct chart_bins bins = chart_bins_of(NULL, 0);
    assert_true(bins.n == 1 && bins.edge[0] == 0 && bins.edge[1] == 1);
    static const double constants[] = {0, 3, -1e300, 5e-324};
    for (size_t i = 0; i < COUNT(constants); i++) {
        double same[] = {constants[i], constants[i]}, counts[1];
        bins = chart_bins_of(same, 2);
        assert_int_equal(bins.n, 1);
        chart_bins_count(&bins, same, 2, counts);
        assert_true(bins.edge[0] < same[0] && same[0] < bins.edge[1] && counts[0] == 2);
    }
    double middle[] = {0, 5, 5, 5, 5, 5, 5, 9}; /* no spread in the middle half: log2 8 + 1 */
    assert_int_equal(chart_bins_of(middle, 8).n, 4);
    double far[1000];
    for (size_t i = 0; i < 1000; i++)
        far[i] = (double)i;
    far[999] = 1e9;
    assert_int_equal(chart_bins_of(far, 1000).n, CHART_BINS_MAX);
}

static void each_value_falls_into_one_bin(void **state)
{
    (void)state;
    const struct chart_bins bins = chart_bins_even(-1, 2, 6);
    double values[500], counts[6], want[6] = {0};
    srand(1);
    for (size_t i = 0; i < 500; i++)
        values[i] = -1.2 + 3.4 * rand() / RAND_MAX;
    values[0] = -1, values[1] = 2, values[2] = NAN, values[3] = INFINITY, values[4] = 0.5;
    for (size_t i = 0; i < 500; i++)
        for (size_t b = 0; b < 6; b++)
            want[b] += values[i] >= bins.edge[b] &&
                       (values[i] < bins.edge[b + 1] || (b == 5 && values[i] == 2));
    chart_bins_count(&bins, values, 500, counts);
    for (size_t b = 0; b < 6; b++)
        assert_true(counts[b] == want[b]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bins_have_the_width_of_freedman_and_diaconis),
        cmocka_unit_test(bins_of_odd_samples_are_sane),
        cmocka_unit_test(each_value_falls_into_one_bin),
    };
    return cmocka_run_group_tests_name("cli/chart_bins", tests, NULL, NULL);
}

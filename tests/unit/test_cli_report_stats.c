/*
 * test_cli_report_stats.c -- what a report says about curves.
 *
 * Oracle: sums worked out by hand, and a plain scan over all windows.
 */
#include <stdlib.h>

#include "cli/report_stats.h"
#include "tests/test.h"

static void a_mean_leaves_out_what_is_missing(void **state)
{
    (void)state;
    const double y[] = {1, NAN, 3, INFINITY, 8};
    const struct report_mean mean = report_stats_mean(y, 5);
    assert_int_equal(mean.n, 3);
    assert_true(mean.mean == 4);
    /* deviations -3, -1, 4: variance 26 / 2, of the mean 13 / 3 */
    assert_true(fabs(mean.error - sqrt(13.0 / 3)) < 1e-12);
    const struct report_mean one = report_stats_mean(y, 1), none = report_stats_mean(y + 1, 1);
    assert_true(one.mean == 1 && isnan(one.error) && isnan(none.mean) && none.n == 0);
}

static void a_tenth_is_one_step_at_least(void **state)
{
    (void)state;
    assert_int_equal(report_stats_tenth(1), 1);
    assert_int_equal(report_stats_tenth(19), 1);
    assert_int_equal(report_stats_tenth(29), 2);
    const double y[] = {5};
    assert_true(report_stats_first(y, 1).at.mean == 5 && report_stats_last(y, 1).from == 0);
}

static void the_best_window_is_the_one_that_a_scan_finds(void **state)
{
    (void)state;
    enum { N = 57 };
    double y[N];
    srand(3);
    for (int round = 0; round < 200; round++) {
        for (size_t i = 0; i < N; i++)
            y[i] = rand() % 8 == 0 ? NAN : (double)(rand() % 100) / 7;
        const int sense = round % 2 ? 1 : -1;
        double want = NAN;
        size_t at = 0;
        for (size_t from = 0; from + 5 <= N; from++) {
            const double mean = report_stats_mean(y + from, 5).mean;
            if (!isnan(mean) && (isnan(want) || sense * (mean - want) > 1e-9)) {
                want = mean;
                at = from;
            }
        }
        const struct report_window best = report_stats_best(y, N, sense);
        assert_int_equal(best.steps, 5);
        assert_int_equal(best.from, at);
        assert_true(fabs(best.at.mean - want) < 1e-9);
        assert_int_equal(report_stats_last(y, N).from, N - 5);
    }
}

enum { STEPS = 40 };

/* A curve that goes to `peak` at step 20 and on to `end`, with a ripple for a spread. */
static void curve(double y[STEPS], double peak, double end)
{
    for (int i = 0; i < STEPS; i++)
        y[i] = (i <= 20 ? peak * i / 20 : peak + (end - peak) * (i - 20) / 19) +
               (i % 2 ? 0.01 : -0.01);
}

static void a_gap_is_named_where_the_proxy_rises_as_the_monitor_falls(void **state)
{
    (void)state;
    double proxy[STEPS], gold[STEPS];
    curve(proxy, 1, 2);
    curve(gold, 1, 0.3);
    struct report_gap gap = report_stats_gap(proxy, gold, STEPS, 1);
    assert_int_equal(gap.verdict, REPORT_HACKED);
    assert_true(gap.best.from >= 18 && gap.best.from <= 20 && gap.last.from == 36);
    assert_true(gap.monitor_change < -0.55 && gap.proxy_change > 0.8);

    curve(proxy, 1, 1); /* the proxy stands still */
    assert_int_equal(report_stats_gap(proxy, gold, STEPS, 1).verdict, REPORT_FELL);
    curve(proxy, 1, 0.2);
    assert_int_equal(report_stats_gap(proxy, gold, STEPS, 1).verdict, REPORT_FELL);
    curve(proxy, 1, 2);
    curve(gold, 1, 1.5); /* the monitor rises, too */
    gap = report_stats_gap(proxy, gold, STEPS, 1);
    assert_int_equal(gap.verdict, REPORT_HELD);
    assert_true(gap.monitor_change == 0);
}

static void a_monitor_that_is_better_when_lower_is_hacked_as_it_rises(void **state)
{
    (void)state;
    double proxy[STEPS], harm[STEPS];
    curve(proxy, 1, 2);
    curve(harm, 1, 1.5);
    struct report_gap gap = report_stats_gap(proxy, harm, STEPS, -1);
    assert_int_equal(gap.verdict, REPORT_HACKED);
    assert_true(gap.monitor_change > 0.3);
    for (int i = 0; i < STEPS; i++)
        harm[i] = -harm[i];
    gap = report_stats_gap(proxy, harm, STEPS, -1);
    assert_int_equal(gap.verdict, REPORT_HELD);
    assert_true(gap.monitor_change == 0);
}

static void what_cannot_be_judged_is_not(void **state)
{
    (void)state;
    double proxy[STEPS], gold[STEPS];
    curve(proxy, 1, 2);
    curve(gold, 1, 0);
    assert_int_equal(report_stats_gap(proxy, gold, 0, 1).verdict, REPORT_UNKNOWN);
    assert_int_equal(report_stats_gap(proxy, gold, 19, 1).verdict, REPORT_UNKNOWN);
    for (int i = 36; i < STEPS; i++)
        gold[i] = NAN;
    assert_int_equal(report_stats_gap(proxy, gold, STEPS, 1).verdict, REPORT_UNKNOWN);
    for (int i = 0; i < STEPS; i++)
        gold[i] = 1; /* without any spread */
    assert_int_equal(report_stats_gap(proxy, gold, STEPS, 1).verdict, REPORT_HELD);
    gold[36] = gold[37] = gold[38] = gold[39] = 0.5;
    assert_int_equal(report_stats_gap(proxy, gold, STEPS, 1).verdict, REPORT_HACKED);
}

/* Noise about a level, while the proxy climbs: the best of its windows is no peak. */
static void noise_is_rarely_taken_for_a_fall(void **state)
{
    (void)state;
    enum { N = 200, ROUNDS = 500 };
    double proxy[N], gold[N];
    int alarms = 0;
    srand(5);
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < N; i++) {
            proxy[i] = i;
            gold[i] = 0;
            for (int k = 0; k < 12; k++) /* nearly normal */
                gold[i] += (double)rand() / RAND_MAX - 0.5;
        }
        alarms += report_stats_gap(proxy, gold, N, 1).verdict == REPORT_HACKED;
    }
    if (alarms > ROUNDS / 20)
        fail_msg("%d of %d alarms are false", alarms, ROUNDS);
}

static void blocks_cover_each_step_once(void **state)
{
    (void)state;
    double x[103], y[103], bx[10], by[10], error[10], sum = 0;
    for (int i = 0; i < 103; i++) {
        x[i] = i;
        y[i] = 2 * i;
    }
    assert_int_equal(report_stats_blocks(x, y, 103, 10, bx, by, error), 10);
    for (int b = 0; b < 10; b++) {
        const int from = b * 103 / 10, to = (b + 1) * 103 / 10;
        assert_true(bx[b] == (from + to - 1) / 2.0 && by[b] == from + to - 1 && error[b] > 0);
        sum += by[b] * (to - from);
    }
    assert_true(fabs(sum - 103 * 102) < 1e-6);
    assert_int_equal(report_stats_blocks(x, y, 4, 10, bx, by, error), 4);
    assert_true(by[3] == 6 && isnan(error[3]));
    assert_int_equal(report_stats_blocks(x, y, 0, 10, bx, by, error), 0);
}

/* 40 steps: windows of 2, tenths of 4, seven of which begin after step 8. */
static void a_hold_is_measured_in_parts_of_the_target(void **state)
{
    (void)state;
    double y[40];
    for (size_t i = 0; i < 40; i++)
        y[i] = i < 7 ? 1.0 : i % 2 ? 4.2 : 3.8;
    y[10] = 6.0; /* with one of 4.2 beside it */
    y[36] = 2.4, y[37] = 2.8, y[38] = 2.8, y[39] = 2.8;
    struct report_hold hold = report_stats_hold(y, 40, 4.0);
    assert_true(hold.reached == 9); /* of steps 7 and 8 */
    assert_true(fabs(hold.overshoot - (5.1 / 4 - 1)) < 1e-12);
    assert_true(fabs(hold.error - 0.325) < 1e-12); /* steps 36 to 39 */
    assert_true(fabs(hold.held - 6.0 / 7) < 1e-12 && hold.throughout == 0);
    /* squares from the means: six times 4 * 0.2^2, once 3 * 0.1^2 + 0.3^2; each has three
     * degrees of freedom */
    assert_true(fabs(hold.noise - sqrt((6 * 0.16 + 0.12) / 21) / 4) < 1e-12);
    y[36] = 4.4, y[37] = 4.8;
    hold = report_stats_hold(y, 40, 4.0);
    assert_true(fabs(hold.error - 0.075) < 1e-12 && hold.held == 1 && hold.throughout == 1);
    hold = report_stats_hold(y, 40, 40.0);
    assert_true(isnan(hold.reached) && hold.overshoot < -0.8 && isnan(hold.error));
    assert_true(hold.held == 0 && hold.throughout == 0);
    y[2] = NAN; /* left out; from the arrival on nothing can be said of it */
    assert_true(report_stats_hold(y, 40, 4.0).reached == 9);
    y[9] = NAN;
    assert_true(isnan(report_stats_hold(y, 40, 4.0).error));
    assert_true(isnan(report_stats_hold(y, 19, 4.0).held));
    assert_true(isnan(report_stats_hold(y, 20, 0.0).held));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_mean_leaves_out_what_is_missing),
        cmocka_unit_test(a_tenth_is_one_step_at_least),
        cmocka_unit_test(the_best_window_is_the_one_that_a_scan_finds),
        cmocka_unit_test(a_gap_is_named_where_the_proxy_rises_as_the_monitor_falls),
        cmocka_unit_test(a_monitor_that_is_better_when_lower_is_hacked_as_it_rises),
        cmocka_unit_test(what_cannot_be_judged_is_not),
        cmocka_unit_test(noise_is_rarely_taken_for_a_fall),
        cmocka_unit_test(blocks_cover_each_step_once),
        cmocka_unit_test(a_hold_is_measured_in_parts_of_the_target),
    };
    return cmocka_run_group_tests_name("cli/report_stats", tests, NULL, NULL);
}

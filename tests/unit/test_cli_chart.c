/*
 * test_cli_chart.c -- drawings read back.
 *
 * Oracle: where a value stands is told from the labels of the ticks (svg_read.h), which are
 * checked against their definition; how many marks there are, from the data.
 */
#include "base/buf.h"
#include "cli/chart.h"
#include "cli/chart_axis.h"
#include "tests/unit/svg_read.h"

static struct buf out;

static const char *draw(const struct chart *chart)
{
    buf_release(&out);
    buf_init(&out, 1 << 22);
    chart_write(chart, &out);
    check_ok(buf_check(&out, "chart", &err));
    svg_check_inside(out.data);
    return out.data;
}

/* --- axes --------------------------------------------------------------------------------- */

static void steps_are_one_two_or_five_times_a_power_of_ten(void **state)
{
    (void)state;
    for (double range = 1e-6; range < 1e6; range *= 1.37) {
        const double step = chart_axis_step(range, 6);
        const double digit = step / pow(10, floor(log10(step) + 1e-9));
        assert_true(fabs(digit - 1) < 1e-6 || fabs(digit - 2) < 1e-6 || fabs(digit - 5) < 1e-6);
        assert_true(range / step <= 6 + 1e-6); /* few enough */
        assert_true(range / step > 2);         /* and not too few */
    }
}

/* Each label, read as a number, must stand where the axis has that number, and no two may be
 * the same text. */
static void check_ticks(const struct chart_axis *axis, size_t least)
{
    struct chart_tick ticks[CHART_AXIS_TICKS_MAX];
    const size_t n = chart_axis_ticks(axis, 6, ticks);
    size_t named = 0;
    const char *before = "";
    for (size_t i = 0; i < n; i++) {
        assert_true(ticks[i].at >= fmin(axis->from, axis->to) - 1e-6 &&
                    ticks[i].at <= fmax(axis->from, axis->to) + 1e-6);
        if (ticks[i].label[0] == '\0')
            continue;
        named++;
        assert_string_not_equal(ticks[i].label, before);
        before = ticks[i].label;
        double v = strtod(ticks[i].label, NULL);
        v = axis->log ? log10(v) : v;
        const double want =
            axis->from + (v - axis->low) / (axis->high - axis->low) * (axis->to - axis->from);
        if (!(fabs(ticks[i].at - want) < 0.01 * fabs(axis->to - axis->from)))
            fail_msg("the tick \"%s\" stands at %g, not %g", ticks[i].label, ticks[i].at, want);
    }
    if (named < least || named > 16)
        fail_msg("%zu ticks have a label", named);
}

static void ticks_say_where_they_stand(void **state)
{
    (void)state;
    static const double ranges[][2] = {{0, 1},         {-3, 4},           {1e-7, 3e-7},
                                       {1e9, 1.5e9},   {-1e300, 1e300},   {123456, 123457},
                                       {-0.001, 0.02}, {99999.5, 100000}, {1e-300, 1}};
    for (size_t i = 0; i < COUNT(ranges); i++) {
        const struct chart_range range = {ranges[i][0], ranges[i][1]};
        const struct chart_axis axis = chart_axis_over(range, false, 0, 200, 20);
        check_ticks(&axis, 3);
    }
    static const double decades[][2] = {{1, 10},      {0.3, 40},  {30, 1e5}, {1e-300, 1e300},
                                        {2000, 9000}, {100, 103}, {1, 1e12}};
    for (size_t i = 0; i < COUNT(decades); i++) {
        const struct chart_range range = {decades[i][0], decades[i][1]};
        const struct chart_axis axis = chart_axis_over(range, true, 0, 20, 200);
        check_ticks(&axis, 2);
    }
}

static void an_axis_over_one_value_or_none_is_widened(void **state)
{
    (void)state;
    static const double values[] = {0, 5, -5, 1e-9, 1e300, 5e-324};
    for (size_t i = 0; i < COUNT(values); i++) {
        const struct chart_range range = {values[i], values[i]};
        const struct chart_axis axis = chart_axis_over(range, false, 0.05, 0, 100);
        assert_true(axis.low < axis.high);
        const double at = chart_axis_at(&axis, values[i]);
        assert_true(fabs(values[i]) < 1e-300 ? at < 1e-9 : at > 20 && at < 80);
    }
    const struct chart_axis none = chart_axis_over(CHART_RANGE_EMPTY, false, 0, 0, 100);
    assert_true(none.low == 0 && none.high == 1);
    const struct chart_axis log = chart_axis_over(CHART_RANGE_EMPTY, true, 0, 0, 100);
    assert_true(log.low == 0 && log.high == 1);
}

static void a_margin_does_not_cross_zero(void **state)
{
    (void)state;
    struct chart_axis axis =
        chart_axis_over((struct chart_range){0.1, 10.1}, false, 0.05, 0, 100);
    assert_true(axis.low == 0 && axis.high == 10.1 + 0.5);
    axis = chart_axis_over((struct chart_range){-10.1, -0.1}, false, 0.05, 0, 100);
    assert_true(axis.low == -10.1 - 0.5 && axis.high == 0);
    axis = chart_axis_over((struct chart_range){-1, 9}, false, 0.05, 0, 100);
    assert_true(axis.low == -1.5 && axis.high == 9.5);
}

/* --- lines -------------------------------------------------------------------------------- */

static void a_line_goes_through_its_points(void **state)
{
    (void)state;
    const double x1[] = {0, 1, 4, 10}, y1[] = {-1, 0.5, 7, 3};
    const double x2[] = {2, 20}, y2[] = {-3, -2}; /* a series of its own x */
    const struct chart_series series[] = {{.name = "a", .x = x1, .y = y1, .n = 4},
                                          {.name = "b", .x = x2, .y = y2, .n = 2}};
    const char *svg = draw(&(struct chart){
        .title = "t", .x_label = "step", .y_label = "nats", .series = series, .series_n = 2});
    const struct svg_scale x = svg_axis(svg, 'x', false), y = svg_axis(svg, 'y', false);
    assert_true(x.at[1] > x.at[0] && y.at[1] < y.at[0]); /* y grows upwards */
    for (int s = 0; s < 2; s++) {
        struct svg_vertex vertex[8];
        const char *end, *group = svg_series(svg, s, &end);
        assert_int_equal(svg_path(group, vertex, 8), series[s].n);
        for (size_t i = 0; i < series[s].n; i++) {
            assert_int_equal(vertex[i].command, i == 0 ? 'M' : 'L');
            svg_check_at(&x, series[s].x[i], vertex[i].x);
            svg_check_at(&y, series[s].y[i], vertex[i].y);
        }
    }
}

static void a_line_over_a_logarithmic_axis_stands_at_the_logarithm(void **state)
{
    (void)state;
    const double x[] = {0, 10, 30, 1000, 20000}, y[] = {9, 1, 2, 3, 4};
    const struct chart_series series[] = {{.name = "a", .x = x, .y = y, .n = 5}};
    const char *svg = draw(&(struct chart){.title = "t",
                                           .x_label = "pairs",
                                           .y_label = "share",
                                           .series = series,
                                           .series_n = 1,
                                           .x_log = true});
    const struct svg_scale axis = svg_axis(svg, 'x', true);
    struct svg_vertex vertex[8];
    const char *end, *group = svg_series(svg, 0, &end);
    assert_int_equal(svg_path(group, vertex, 8), 4); /* 0 has no logarithm */
    for (size_t i = 0; i < 4; i++)
        svg_check_at(&axis, x[i + 1], vertex[i].x);
}

static void a_missing_value_leaves_a_gap(void **state)
{
    (void)state;
    const double x[] = {0, 1, 2, 3, 4, 5}, y[] = {1, NAN, 3, 4, INFINITY, 6};
    const struct chart_series series[] = {{.name = "a<b", .x = x, .y = y, .n = 6},
                                          {.name = "c", .x = x, .y = x, .n = 6}};
    const char *svg = draw(&(struct chart){.title = "t & \"u\"",
                                           .x_label = "step\x1b",
                                           .y_label = "nats\xff",
                                           .series = series,
                                           .series_n = 2});
    struct svg_vertex vertex[8];
    const char *end, *group = svg_series(svg, 0, &end);
    assert_int_equal(svg_path(group, vertex, 8), 4);
    assert_memory_equal(
        ((char[]){vertex[0].command, vertex[1].command, vertex[2].command, vertex[3].command}),
        "MMLM", 4);
    assert_int_equal(svg_count(group, end, "h0"), 2); /* the two that stand alone are dots */
    assert_non_null(strstr(svg, ">a&lt;b</text>"));
    assert_non_null(strstr(svg, "<title>t &amp; &quot;u&quot;</title>"));
    assert_non_null(strstr(svg, ">step\xef\xbf\xbd</text>"));
    assert_non_null(strstr(svg, ">nats\xef\xbf\xbd</text>"));
}

static void a_band_runs_a_spread_above_and_below_its_line(void **state)
{
    (void)state;
    const double x[] = {0, 1, 2}, y[] = {1, 5, 2}, spread[] = {0.5, 2, NAN};
    const struct chart_series series[] = {
        {.name = "a", .x = x, .y = y, .n = 3, .spread = spread}};
    const char *svg = draw(&(struct chart){
        .title = "t", .x_label = "x", .y_label = "y", .series = series, .series_n = 1});
    const struct svg_scale axis = svg_axis(svg, 'y', false);
    struct svg_vertex vertex[8];
    const char *end, *group = svg_series(svg, 0, &end);
    assert_int_equal(svg_path(group, vertex, 8), 6);
    const double want[] = {1.5, 7, 2, 2, 3, 0.5};
    for (size_t i = 0; i < 6; i++)
        svg_check_at(&axis, want[i], vertex[i].y);
    assert_true(vertex[2].x == vertex[3].x && vertex[0].x == vertex[5].x);
}

/* 100,000 steps, with one peak and one dip that must not get lost. */
static void a_long_line_is_thinned_and_keeps_its_extremes(void **state)
{
    (void)state;
    enum { N = 100000 };
    static double x[N], y[N], spread[N];
    for (size_t i = 0; i < N; i++) {
        x[i] = (double)i;
        y[i] = sin((double)i / 5000);
        spread[i] = 0.1;
    }
    y[33333] = 9;
    y[66666] = -9;
    const struct chart_series series[] = {
        {.name = "a", .x = x, .y = y, .n = N, .spread = spread}};
    const char *svg = draw(&(struct chart){
        .title = "t", .x_label = "x", .y_label = "y", .series = series, .series_n = 1});
    assert_true(strlen(svg) < 40000);
    const struct svg_scale ys = svg_axis(svg, 'y', false), xs = svg_axis(svg, 'x', false);
    static struct svg_vertex vertex[2048];
    const char *end, *group = svg_series(svg, 0, &end);
    const size_t n = svg_path(strstr(group + 1, "fill=\"none\""), vertex, COUNT(vertex));
    size_t low = 0, high = 0;
    for (size_t i = 1; i < n; i++) {
        assert_true(vertex[i].x >= vertex[i - 1].x);
        low = vertex[i].y > vertex[low].y ? i : low;
        high = vertex[i].y < vertex[high].y ? i : high;
    }
    svg_check_at(&ys, 9, vertex[high].y);
    svg_check_at(&xs, 33333, vertex[high].x);
    svg_check_at(&ys, -9, vertex[low].y);
    svg_check_at(&xs, 66666, vertex[low].x);
}

/* --- points, bars, guides ----------------------------------------------------------------- */

static void points_have_error_bars_counts_and_the_diagonal(void **state)
{
    (void)state;
    const double x[] = {0.2, 0.5, 0.8, 0.9}, y[] = {0.1, 0.55, NAN, 0.95};
    const double spread[] = {0.05, 0, 1, 0.02}, counts[] = {12, 3000, 7, NAN};
    const struct chart_series series[] = {{.name = "model",
                                           .x = x,
                                           .y = y,
                                           .n = 4,
                                           .mark = CHART_POINTS,
                                           .spread = spread,
                                           .counts = counts}};
    const char *svg = draw(&(struct chart){.title = "reliability",
                                           .x_label = "confidence",
                                           .y_label = "accuracy",
                                           .series = series,
                                           .series_n = 1,
                                           .diagonal = "calibrated"});
    const struct svg_scale xs = svg_axis(svg, 'x', false), ys = svg_axis(svg, 'y', false);
    const char *end, *group = svg_series(svg, 0, &end), *at = group;
    assert_int_equal(svg_count(group, end, "<circle"), 3);
    assert_int_equal(svg_count(group, end, "<path"), 2); /* a spread of 0 has no bar */
    assert_int_equal(svg_count(group, end, ">12</text>"), 1);
    assert_int_equal(svg_count(group, end, ">3000</text>"), 1);
    assert_int_equal(svg_count(group, end, "<text"), 2);
    for (size_t i = 0; i < 4; i += i == 1 ? 2 : 1) {
        at = strstr(at + 1, "<circle");
        svg_check_at(&xs, x[i], svg_number(at, "cx"));
        svg_check_at(&ys, y[i], svg_number(at, "cy"));
    }
    struct svg_vertex vertex[2];
    svg_path(strstr(group, "<path"), vertex, 2);
    svg_check_at(&ys, y[0] - spread[0], vertex[0].y);
    const char *upper = strchr(strstr(group, " d=\""), 'V');
    svg_check_at(&ys, y[0] + spread[0], strtod(upper + 1, NULL));
    const char *guide = strstr(svg, "stroke-dasharray=\"2 3\"");
    while (strncmp(guide, "<line", 5) != 0)
        guide--;
    for (double v = 0.1; v < 1; v += 0.8) { /* two points of y = x lie on the guide */
        const double share = (svg_at(&xs, v) - svg_number(guide, "x1")) /
                             (svg_number(guide, "x2") - svg_number(guide, "x1"));
        svg_check_at(&ys, v,
                     svg_number(guide, "y1") +
                         share * (svg_number(guide, "y2") - svg_number(guide, "y1")));
    }
    assert_non_null(strstr(svg, ">calibrated</text>"));
}

static void bars_stand_on_zero_between_their_edges(void **state)
{
    (void)state;
    const double edges[] = {-1, 0, 2, 3}, one[] = {4, 0, 10}, two[] = {-2, NAN, 1};
    const struct chart_series series[] = {
        {.name = "chosen", .x = edges, .y = one, .n = 3, .mark = CHART_BARS},
        {.name = "rejected", .x = edges, .y = two, .n = 3, .mark = CHART_BARS}};
    const char *svg = draw(&(struct chart){
        .title = "t", .x_label = "score", .y_label = "pairs", .series = series, .series_n = 2});
    const struct svg_scale xs = svg_axis(svg, 'x', false), ys = svg_axis(svg, 'y', false);
    for (int s = 0; s < 2; s++) {
        const char *end, *group = svg_series(svg, s, &end), *at = group;
        assert_int_equal(svg_count(group, end, "<rect"), s == 0 ? 3 : 2);
        for (size_t i = 0; i < 3; i++) {
            const double v = series[s].y[i];
            if (isnan(v))
                continue;
            at = strstr(at + 1, "<rect");
            const double left = svg_number(at, "x"), top = svg_number(at, "y");
            svg_check_at(&xs, edges[i], left);
            svg_check_at(&xs, edges[i + 1], left + svg_number(at, "width"));
            svg_check_at(&ys, fmax(v, 0), top);
            svg_check_at(&ys, fmin(v, 0), top + svg_number(at, "height"));
        }
    }
}

/* Zero belongs to the axis, however far it is from the bars. */
static void high_bars_reach_down_to_zero(void **state)
{
    (void)state;
    const double edges[] = {0, 1, 2}, y[] = {0.98, 1};
    const struct chart_series series[] = {
        {.name = "pairs", .x = edges, .y = y, .n = 2, .mark = CHART_BARS}};
    const char *svg = draw(&(struct chart){
        .title = "t", .x_label = "x", .y_label = "y", .series = series, .series_n = 1});
    const struct svg_scale ys = svg_axis(svg, 'y', false);
    assert_true(ys.value[0] == 0);
    const char *bar = strstr(svg, "<rect");
    svg_check_at(&ys, 0.98, svg_number(bar, "y"));
    svg_check_at(&ys, 0, svg_number(bar, "y") + svg_number(bar, "height"));
}

static void a_level_is_drawn_across_and_named_with_its_value(void **state)
{
    (void)state;
    const double x[] = {0, 1}, y[] = {1, 2};
    const struct chart_series series[] = {{.name = "cost", .x = x, .y = y, .n = 2}};
    const struct chart_level levels[] = {{"limit", 5}, {"none", NAN}};
    const char *svg = draw(&(struct chart){.title = "t",
                                           .x_label = "x",
                                           .y_label = "y",
                                           .series = series,
                                           .series_n = 1,
                                           .levels = levels,
                                           .levels_n = 2});
    const struct svg_scale ys = svg_axis(svg, 'y', false), xs = svg_axis(svg, 'x', false);
    const char *line = strstr(svg, "stroke-dasharray");
    while (strncmp(line, "<line", 5) != 0)
        line--;
    svg_check_at(&ys, 5, svg_number(line, "y1"));
    svg_check_at(&ys, 5, svg_number(line, "y2"));
    svg_check_at(&xs, 0, svg_number(line, "x1"));
    svg_check_at(&xs, 1, svg_number(line, "x2"));
    assert_non_null(strstr(svg, ">limit: 5</text>"));
    assert_null(strstr(svg, ">none"));
}

/* --- the whole ---------------------------------------------------------------------------- */

static void what_cannot_be_drawn_gives_an_empty_chart(void **state)
{
    (void)state;
    const double x[] = {5, 6, 7}, y[] = {2, 2, 2}, none[] = {NAN, NAN, NAN};
    const double huge[] = {-1e308, 1e300, 1e308}, tiny[] = {5e-324, 0, 1e-310};
    const double *const columns[] = {y, none, huge, tiny, x};
    for (size_t c = 0; c < COUNT(columns); c++) {
        for (size_t n = 0; n <= 3; n++) {
            for (int mark = CHART_LINE; mark <= CHART_BARS; mark++) {
                const struct chart_series series[] = {
                    {.name = "y",
                     .x = x,
                     .y = columns[c],
                     .n = mark == CHART_BARS && n > 0 ? n - 1 : n,
                     .mark = (enum chart_mark)mark,
                     .spread = mark == CHART_BARS ? NULL : columns[c]}};
                draw(&(struct chart){.title = "t",
                                     .x_label = "x",
                                     .y_label = "y",
                                     .series = series,
                                     .series_n = 1,
                                     .x_log = n % 2 == 0});
            }
        }
    }
    draw(&(struct chart){.title = "t", .x_label = "x", .y_label = "y"});
}

static void a_long_legend_takes_rows_of_its_own(void **state)
{
    (void)state;
    const double x[] = {0, 1};
    struct chart_series series[CHART_SERIES_MAX];
    for (size_t s = 0; s < CHART_SERIES_MAX; s++)
        series[s] = (struct chart_series){
            .name = "a name as long as a scorer may have", .x = x, .y = x, .n = 2};
    const struct chart chart = {.title = "t",
                                .x_label = "x",
                                .y_label = "y",
                                .series = series,
                                .series_n = CHART_SERIES_MAX};
    const char *svg = draw(&chart);
    double lowest = 0, left = 0;
    for (const char *at = svg; (at = strstr(at, "start\">a name")); at++) {
        const char *element = at;
        while (strncmp(element, "<text", 5) != 0)
            element--;
        const double from = svg_number(element, "x"), y = svg_number(element, "y");
        assert_true(y >= lowest &&
                    (y > lowest || from > left + 35 * 5)); /* none over another */
        lowest = y;
        left = from;
        assert_true(from + 35 * 6 < 640);
    }
    struct svg_vertex vertex[2]; /* the greatest value stands below the legend */
    const char *end;
    svg_path(svg_series(svg, 0, &end), vertex, 2);
    assert_true(vertex[1].y > lowest);
}

static int release(void **state)
{
    (void)state;
    buf_release(&out);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_are_one_two_or_five_times_a_power_of_ten),
        cmocka_unit_test(ticks_say_where_they_stand),
        cmocka_unit_test(an_axis_over_one_value_or_none_is_widened),
        cmocka_unit_test(a_margin_does_not_cross_zero),
        cmocka_unit_test(a_line_goes_through_its_points),
        cmocka_unit_test(a_line_over_a_logarithmic_axis_stands_at_the_logarithm),
        cmocka_unit_test(a_missing_value_leaves_a_gap),
        cmocka_unit_test(a_band_runs_a_spread_above_and_below_its_line),
        cmocka_unit_test(a_long_line_is_thinned_and_keeps_its_extremes),
        cmocka_unit_test(points_have_error_bars_counts_and_the_diagonal),
        cmocka_unit_test(bars_stand_on_zero_between_their_edges),
        cmocka_unit_test(high_bars_reach_down_to_zero),
        cmocka_unit_test(a_level_is_drawn_across_and_named_with_its_value),
        cmocka_unit_test(what_cannot_be_drawn_gives_an_empty_chart),
        cmocka_unit_test(a_long_legend_takes_rows_of_its_own),
    };
    return cmocka_run_group_tests_name("cli/chart", tests, NULL, release);
}

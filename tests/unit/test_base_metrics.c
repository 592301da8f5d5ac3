/*
 * test_base_metrics.c -- what a Prometheus server would read.
 *
 * The oracle is the definition of the text format, version 0.0.4: exact pages written by
 * hand from it, and a reader of it below, which knows nothing of metrics.c and holds each
 * line against the rules for HELP, TYPE, order, escapes and histograms.
 */
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/metrics.h"
#include "tests/test.h"

static struct metrics *metrics;
static struct buf page;

static int set_up(void **state)
{
    (void)state;
    metrics = metrics_new();
    buf_init(&page, 1 << 20);
    return metrics ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    metrics_free(metrics);
    buf_release(&page);
    return 0;
}

static const char *render(void)
{
    buf_clear(&page);
    metrics_render(metrics, &page);
    check_ok(buf_check(&page, "the page", &err));
    return page.data;
}

static void metrics_of_nothing_are_an_empty_page(void **state)
{
    (void)state;
    assert_string_equal(render(), "");
    metrics_free(NULL);
}

static void metrics_show_counters_and_gauges_as_the_format_says(void **state)
{
    (void)state;
    struct metric *steps =
        metrics_counter(metrics, "rlhfd_steps_total", "Steps trained.", NULL, NULL);
    struct metric *kl = metrics_gauge(metrics, "rlhfd_kl_nats", "KL to the reference, nats.",
                                      "estimator", "k1");
    metrics_gauge(metrics, "rlhfd_kl_nats", "KL to the reference, nats.", "estimator", "k3");
    metric_add(steps, 1.0);
    metric_add(steps, 2.0);
    metric_set(kl, 5.0);
    metric_add(kl, -4.75);
    assert_true(metric_value(steps) == 3.0);
    assert_true(metric_value(kl) == 0.25);
    assert_string_equal(render(), "# HELP rlhfd_steps_total Steps trained.\n"
                                  "# TYPE rlhfd_steps_total counter\n"
                                  "rlhfd_steps_total 3\n"
                                  "# HELP rlhfd_kl_nats KL to the reference, nats.\n"
                                  "# TYPE rlhfd_kl_nats gauge\n"
                                  "rlhfd_kl_nats{estimator=\"k1\"} 0.25\n"
                                  "rlhfd_kl_nats{estimator=\"k3\"} 0\n");
}

static void metrics_show_a_histogram_cumulatively_with_sum_and_count(void **state)
{
    (void)state;
    const double bounds[] = {-1.0, 0.1, 2.5};
    struct metric *h = metrics_histogram(metrics, "rlhfd_score_nats", "Scores.", bounds, 3);
    const double seen[] = {-2.0, -1.0, -0.5, 0.1, 2.0, 2.5, 2.75, 100.0};
    for (size_t i = 0; i < COUNT(seen); i++)
        metric_observe(h, seen[i]);
    assert_string_equal(render(), "# HELP rlhfd_score_nats Scores.\n"
                                  "# TYPE rlhfd_score_nats histogram\n"
                                  "rlhfd_score_nats_bucket{le=\"-1\"} 2\n"
                                  "rlhfd_score_nats_bucket{le=\"0.1\"} 4\n"
                                  "rlhfd_score_nats_bucket{le=\"2.5\"} 6\n"
                                  "rlhfd_score_nats_bucket{le=\"+Inf\"} 8\n"
                                  "rlhfd_score_nats_sum 103.85\n"
                                  "rlhfd_score_nats_count 8\n");
}

static void metrics_show_a_histogram_without_bounds_or_observations(void **state)
{
    (void)state;
    struct metric *h = metrics_histogram(metrics, "h", "H.", NULL, 0);
    const char *empty = "# HELP h H.\n# TYPE h histogram\nh_bucket{le=\"+Inf\"} 0\n"
                        "h_sum 0\nh_count 0\n";
    assert_string_equal(render(), empty);
    assert_ptr_equal(metrics_histogram(metrics, "h", "H.", NULL, 0), h);
    metric_observe(h, (double)NAN); /* in no bucket but the last */
    assert_non_null(strstr(render(), "h_bucket{le=\"+Inf\"} 1\nh_sum NaN\nh_count 1\n"));
}

static void metrics_write_what_is_not_finite_as_the_format_does(void **state)
{
    (void)state;
    struct metric *g = metrics_gauge(metrics, "g", "G.", NULL, NULL);
    metric_set(g, (double)NAN);
    assert_non_null(strstr(render(), "\ng NaN\n"));
    metric_set(g, HUGE_VAL);
    assert_non_null(strstr(render(), "\ng +Inf\n"));
    metric_set(g, -HUGE_VAL);
    assert_non_null(strstr(render(), "\ng -Inf\n"));
}

static void metrics_escape_help_and_label_values(void **state)
{
    (void)state;
    metrics_gauge(metrics, "g", "A \"help\"\nof C:\\two lines.", "path", "a\"b\\c\nd{}=, ");
    assert_string_equal(render(), "# HELP g A \"help\"\\nof C:\\\\two lines.\n# TYPE g gauge\n"
                                  "g{path=\"a\\\"b\\\\c\\nd{}=, \"} 0\n");
}

static void metrics_give_the_same_series_for_the_same_names(void **state)
{
    (void)state;
    struct metric *a = metrics_gauge(metrics, "g", "G.", "peer", "a");
    char value[300], name[] = "g", label[] = "peer"; /* copied: they may go away */
    memset(value, 'v', sizeof value - 1);
    value[sizeof value - 1] = '\0';
    struct metric *b = metrics_gauge(metrics, name, "G.", label, value);
    value[sizeof value - 2] = 'w'; /* alike but for the last of 299 bytes */
    struct metric *c = metrics_gauge(metrics, name, "G.", label, value);
    name[0] = label[0] = value[0] = '?';
    assert_ptr_equal(metrics_gauge(metrics, "g", "G.", "peer", "a"), a);
    assert_true(a != b && b != c && a != c);
    metric_set(metrics_gauge(metrics, "g", "G.", "peer", ""), 4.0);
    assert_non_null(strstr(render(), "\ng{peer=\"\"} 4\n"));
    assert_null(strchr(render(), '?'));
}

static void metrics_put_what_is_past_the_most_series_into_other(void **state)
{
    (void)state;
    struct metric *first = metrics_counter(metrics, "c_total", "C.", "peer", "0");
    for (int i = 1; i < 3 * METRICS_SERIES_MAX; i++) {
        char value[16];
        snprintf(value, sizeof value, "%d", i);
        metric_add(metrics_counter(metrics, "c_total", "C.", "peer", value), 1.0);
    }
    /* One that was there before the family was full is still found. */
    assert_ptr_equal(metrics_counter(metrics, "c_total", "C.", "peer", "0"), first);
    const char *text = render();
    int lines = 0;
    for (const char *at = text; (at = strchr(at, '\n')); at++)
        lines++;
    assert_int_equal(lines, 2 + METRICS_SERIES_MAX);
    char other[64];
    snprintf(other, sizeof other, "c_total{peer=\"other\"} %d\n",
             3 * METRICS_SERIES_MAX - (METRICS_SERIES_MAX - 1));
    assert_non_null(strstr(text, other));
}

static void metrics_do_nothing_with_a_series_there_was_no_memory_for(void **state)
{
    (void)state;
    metric_add(NULL, 1.0);
    metric_set(NULL, 1.0);
    metric_observe(NULL, 1.0);
    assert_true(metric_value(NULL) == 0.0);
}

/* --- a reader of the format ------------------------------------------------------------ */

struct reader {
    char family[64], kind[16]; /* of the last TYPE line */
    char seen[16][64];         /* families that were begun */
    size_t n_seen, n_samples;
    double le;        /* of the last bucket */
    double in_bucket; /* its count; -1: none yet */
};

/* Up to the closing quote, unescaped; returns what follows it. */
static const char *read_quoted(const char *at, char *out, size_t size)
{
    size_t n = 0;
    for (; *at != '"'; at++) {
        assert_true(*at != '\0' && *at != '\n' && n + 1 < size);
        if (*at == '\\') {
            at++;
            assert_true(*at == '\\' || *at == '"' || *at == 'n');
            out[n++] = *at == 'n' ? '\n' : *at;
        } else {
            out[n++] = *at;
        }
    }
    out[n] = '\0';
    return at + 1;
}

static void read_type(struct reader *reader, const char *line)
{
    char family[64], kind[16];
    assert_int_equal(sscanf(line, "# TYPE %63s %15s", family, kind), 2);
    assert_string_equal(family, reader->family); /* HELP came just before */
    strcpy(reader->kind, kind);
}

static void read_help(struct reader *reader, const char *line)
{
    assert_int_equal(sscanf(line, "# HELP %63s", reader->family), 1);
    for (size_t i = 0; i < reader->n_seen; i++) /* once a family, all of it together */
        assert_string_not_equal(reader->seen[i], reader->family);
    strcpy(reader->seen[reader->n_seen++], reader->family);
    reader->kind[0] = '\0';
    reader->le = -HUGE_VAL;
    reader->in_bucket = -1.0;
}

static void read_sample(struct reader *reader, const char *line)
{
    char name[64] = "", label[64] = "", value[64] = "";
    const size_t n = strcspn(line, "{ ");
    assert_true(n < sizeof name);
    memcpy(name, line, n);
    const char *at = line + n;
    if (*at == '{') {
        const size_t m = strcspn(at + 1, "=");
        memcpy(label, at + 1, m < sizeof label ? m : 0);
        assert_int_equal(strncmp(at + 1 + m, "=\"", 2), 0);
        at = read_quoted(at + 3 + m, value, sizeof value);
        assert_int_equal(*at++, '}');
    }
    assert_int_equal(*at, ' ');
    char *end;
    const double number = strtod(at, &end);
    assert_int_equal(*end, '\n');
    reader->n_samples++;

    const size_t family_len = strlen(reader->family);
    assert_int_equal(strncmp(name, reader->family, family_len), 0);
    const char *suffix = name + family_len;
    if (strcmp(reader->kind, "histogram") != 0) {
        assert_string_equal(suffix, "");
        assert_true(strcmp(reader->kind, "counter") != 0 || number >= 0.0);
    } else if (strcmp(suffix, "_bucket") == 0) {
        assert_string_equal(label, "le");
        const double le = strtod(value, &end);
        assert_true(*end == '\0' && le > reader->le && number >= reader->in_bucket);
        reader->le = le;
        reader->in_bucket = number;
    } else if (strcmp(suffix, "_count") == 0) {
        assert_true(isinf(reader->le) && number == reader->in_bucket);
    } else {
        assert_string_equal(suffix, "_sum");
    }
}

static void metrics_page_keeps_every_rule_of_the_format(void **state)
{
    (void)state;
    const double bounds[] = {1e-9, 0.001, 0.1, 1.0 / 3.0, 1e6, 1e21};
    struct metric *h1 = metrics_histogram(metrics, "h_seconds", "H.", bounds, COUNT(bounds));
    struct metric *h2 = metrics_histogram(metrics, "rlhfd:h", "H.", bounds, 2);
    for (int i = 0; i < 200; i++) {
        char value[32];
        snprintf(value, sizeof value, "\\%c\"\n%d", 32 + i % 90, i % 50);
        metric_add(metrics_counter(metrics, "a_total", "A\nB\\", "x", value), i * 0.1);
        metric_set(metrics_gauge(metrics, "A_gauge_9", "", "y", value), 1.0 / (i - 77.5));
        metric_observe(h1, exp(i * 0.4 - 25.0));
        metric_observe(h2, exp(i * 0.4 - 25.0));
    }
    struct reader reader = {0};
    const char *text = render();
    for (const char *line = text; *line; line = strchr(line, '\n') + 1) {
        if (strncmp(line, "# HELP ", 7) == 0)
            read_help(&reader, line);
        else if (strncmp(line, "# TYPE ", 7) == 0)
            read_type(&reader, line);
        else
            read_sample(&reader, line);
    }
    assert_int_equal(reader.n_seen, 4);
    assert_int_equal(reader.n_samples, 2 * 200 + (7 + 2) + (3 + 2));
}

/* --- what a programmer may not do ------------------------------------------------------- */

static void bad_name(void)
{
    metrics_gauge(metrics, "a-b", "", NULL, NULL);
}
static void bad_digit(void)
{
    metrics_gauge(metrics, "9a", "", NULL, NULL);
}
static void bad_empty(void)
{
    metrics_gauge(metrics, "", "", NULL, NULL);
}
static void bad_label(void)
{
    metrics_gauge(metrics, "g", "", "a:b", "x");
}
static void bad_reserved(void)
{
    metrics_gauge(metrics, "g", "", "__x", "x");
}
static void bad_half_label(void)
{
    metrics_gauge(metrics, "g", "", "x", NULL);
}
static void bad_counter(void)
{
    metrics_counter(metrics, "steps", "", NULL, NULL);
}
static void bad_kind(void)
{
    metrics_gauge(metrics, "old_total", "", NULL, NULL);
}
static void bad_other_label(void)
{
    metrics_counter(metrics, "old_total", "", "x", "y");
}
static void bad_bounds(void)
{
    metrics_histogram(metrics, "h", "", (const double[]){1.0, 1.0}, 2);
}
static void bad_infinite_bound(void)
{
    metrics_histogram(metrics, "h", "", (const double[]){1.0, HUGE_VAL}, 2);
}
static void bad_decrease(void)
{
    metric_add(metrics_counter(metrics, "old_total", "", NULL, NULL), -1.0);
}
static void bad_set(void)
{
    metric_set(metrics_counter(metrics, "old_total", "", NULL, NULL), 1.0);
}

static void metrics_assert_what_a_programmer_may_not_do(void **state)
{
    (void)state;
    static void (*const mistakes[])(void) = {
        bad_name,           bad_digit,    bad_empty, bad_label,       bad_reserved,
        bad_half_label,     bad_counter,  bad_kind,  bad_other_label, bad_bounds,
        bad_infinite_bound, bad_decrease, bad_set,
    };
    metrics_counter(metrics, "old_total", "", NULL, NULL);
    for (size_t i = 0; i < COUNT(mistakes); i++) {
        const pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            signal(SIGABRT, SIG_DFL);
            close(STDERR_FILENO); /* what assert says is not for the test's report */
            mistakes[i]();
            _exit(0);
        }
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT)
            fail_msg("mistake %zu was let through", i);
    }
}

static void metrics_that_nobody_tells_of_are_swept(void **state)
{
    (void)state;
    static const char *const names[] = {"a", "b", "c"};
    for (size_t i = 0; i < COUNT(names); i++)
        metric_add(metrics_counter(metrics, "rlhfd_items_total", "Items.", "peer", names[i]),
                   1.0);
    metric_set(metrics_gauge(metrics, "rlhfd_up", "Up.", "state", "old"), 1.0);
    metrics_sweep(metrics, "peer");
    metric_add(metrics_counter(metrics, "rlhfd_items_total", "Items.", "peer", "b"), 0.0);
    metrics_sweep(metrics, "peer");
    metric_add(metrics_counter(metrics, "rlhfd_items_total", "Items.", "peer", "d"), 4.0);
    assert_string_equal(render(), "# HELP rlhfd_items_total Items.\n"
                                  "# TYPE rlhfd_items_total counter\n"
                                  "rlhfd_items_total{peer=\"b\"} 1\n"
                                  "rlhfd_items_total{peer=\"d\"} 4\n"
                                  "# HELP rlhfd_up Up.\n"
                                  "# TYPE rlhfd_up gauge\n"
                                  "rlhfd_up{state=\"old\"} 1\n");
}

#define on_registry(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        on_registry(metrics_of_nothing_are_an_empty_page),
        on_registry(metrics_show_counters_and_gauges_as_the_format_says),
        on_registry(metrics_show_a_histogram_cumulatively_with_sum_and_count),
        on_registry(metrics_show_a_histogram_without_bounds_or_observations),
        on_registry(metrics_write_what_is_not_finite_as_the_format_does),
        on_registry(metrics_escape_help_and_label_values),
        on_registry(metrics_give_the_same_series_for_the_same_names),
        on_registry(metrics_put_what_is_past_the_most_series_into_other),
        on_registry(metrics_that_nobody_tells_of_are_swept),
        on_registry(metrics_do_nothing_with_a_series_there_was_no_memory_for),
        on_registry(metrics_page_keeps_every_rule_of_the_format),
        on_registry(metrics_assert_what_a_programmer_may_not_do),
    };
    return cmocka_run_group_tests_name("base/metrics", tests, NULL, NULL);
}

/* metrics.c -- see metrics.h. */
#include "base/metrics.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define METRICS_OTHER "other" /* the label value of what is past METRICS_SERIES_MAX */

enum metrics_kind { METRICS_COUNTER, METRICS_GAUGE, METRICS_HISTOGRAM };

struct metric {
    struct metrics_family *family;
    struct metric *next;
    char *label_value; /* NULL: no label */
    double value;      /* counter, gauge */
    bool told;         /* since the last metrics_sweep */
    double sum;        /* histogram */
    uint64_t *counts;  /* histogram: observations per bucket, the last one's bound is +Inf */
};

struct metrics_family {
    struct metrics_family *next;
    enum metrics_kind kind;
    char *name;
    char *help;
    char *label; /* NULL: one series without a label */
    double *bounds;
    size_t n_bounds;
    struct metric *first;
    struct metric **last; /* where the next series is linked in */
    struct metric *at;    /* the one after the last that was found */
    size_t n_series;
};

struct metrics {
    struct metrics_family *first;
    struct metrics_family **last;
};

struct metrics *metrics_new(void)
{
    struct metrics *metrics = calloc(1, sizeof *metrics);
    if (metrics)
        metrics->last = &metrics->first;
    return metrics;
}

static void metrics_free_series(struct metric *metric)
{
    free(metric->label_value);
    free(metric->counts);
    free(metric);
}

static void metrics_free_family(struct metrics_family *family)
{
    if (!family)
        return;
    while (family->first) {
        struct metric *metric = family->first;
        family->first = metric->next;
        metrics_free_series(metric);
    }
    free(family->name);
    free(family->help);
    free(family->label);
    free(family->bounds);
    free(family);
}

void metrics_free(struct metrics *metrics)
{
    if (!metrics)
        return;
    while (metrics->first) {
        struct metrics_family *family = metrics->first;
        metrics->first = family->next;
        metrics_free_family(family);
    }
    free(metrics);
}

static bool metrics_is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

/* [a-zA-Z_][a-zA-Z0-9_]*, and colons where they are allowed: the data model's own rule. */
static bool metrics_name_is_legal(const char *name, bool colons)
{
    if (name[0] == '\0')
        return false;
    for (const char *at = name; *at != '\0'; at++) {
        const bool digit = *at >= '0' && *at <= '9' && at > name;
        if (!metrics_is_letter(*at) && !digit && !(colons && *at == ':'))
            return false;
    }
    return true;
}

static bool metrics_ends_in(const char *text, const char *end)
{
    const size_t text_len = strlen(text), end_len = strlen(end);
    return text_len >= end_len && strcmp(text + text_len - end_len, end) == 0;
}

static bool metrics_same(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

static struct metrics_family *metrics_find_family(const struct metrics *metrics,
                                                  const char *name)
{
    for (struct metrics_family *family = metrics->first; family; family = family->next)
        if (strcmp(family->name, name) == 0)
            return family;
    return NULL;
}

static void metrics_check_family(const char *name, const char *help, const char *label,
                                 enum metrics_kind kind)
{
    assert(metrics_name_is_legal(name, true));
    assert(help);
    assert(kind != METRICS_COUNTER || metrics_ends_in(name, "_total"));
    assert(!label || (metrics_name_is_legal(label, false) && strncmp(label, "__", 2) != 0));
}

/* The family, created where it is new; NULL: out of memory. */
static struct metrics_family *metrics_family(struct metrics *metrics, enum metrics_kind kind,
                                             const char *name, const char *help,
                                             const char *label)
{
    struct metrics_family *family = metrics_find_family(metrics, name);
    if (family) {
        assert(family->kind == kind);
        assert(metrics_same(family->label, label));
        return family;
    }
    metrics_check_family(name, help, label, kind);
    family = calloc(1, sizeof *family);
    if (!family)
        return NULL;
    family->kind = kind;
    family->last = &family->first;
    family->name = strdup(name);
    family->help = strdup(help);
    family->label = label ? strdup(label) : NULL;
    if (!family->name || !family->help || (label && !family->label)) {
        metrics_free_family(family);
        return NULL;
    }
    *metrics->last = family;
    metrics->last = &family->next;
    return family;
}

/* They are mostly asked for in the order in which they were made: then the first look finds. */
static struct metric *metrics_find_series(struct metrics_family *family, const char *value)
{
    struct metric *metric = family->at;
    if (!metric || !metrics_same(metric->label_value, value))
        for (metric = family->first; metric; metric = metric->next)
            if (metrics_same(metric->label_value, value))
                break;
    if (metric)
        family->at = metric->next;
    return metric;
}

/* The series, created where it is new; NULL: out of memory. */
static struct metric *metrics_series(struct metrics_family *family, const char *value)
{
    struct metric *metric = metrics_find_series(family, value);
    if (metric)
        return metric;
    if (family->n_series >= METRICS_SERIES_MAX - 1) { /* the last place is for the others */
        value = METRICS_OTHER;
        metric = metrics_find_series(family, value);
        if (metric)
            return metric;
    }
    metric = calloc(1, sizeof *metric);
    if (!metric)
        return NULL;
    metric->family = family;
    metric->label_value = value ? strdup(value) : NULL;
    if (value && !metric->label_value) {
        free(metric);
        return NULL;
    }
    *family->last = metric;
    family->last = &metric->next;
    family->n_series++;
    return metric;
}

static struct metric *metrics_number(struct metrics *metrics, enum metrics_kind kind,
                                     const char *name, const char *help, const char *label,
                                     const char *value)
{
    assert(!label == !value);
    struct metrics_family *family = metrics_family(metrics, kind, name, help, label);
    return family ? metrics_series(family, value) : NULL;
}

struct metric *metrics_counter(struct metrics *metrics, const char *name, const char *help,
                               const char *label, const char *value)
{
    return metrics_number(metrics, METRICS_COUNTER, name, help, label, value);
}

struct metric *metrics_gauge(struct metrics *metrics, const char *name, const char *help,
                             const char *label, const char *value)
{
    return metrics_number(metrics, METRICS_GAUGE, name, help, label, value);
}

/* Bounds are the family's, and set once; a later call must name the same ones. */
static bool metrics_set_bounds(struct metrics_family *family, const double *bounds, size_t n)
{
    if (family->bounds) {
        assert(family->n_bounds == n);
        for (size_t i = 0; i < n; i++)
            assert(family->bounds[i] == bounds[i]);
        return true;
    }
    assert(n < SIZE_MAX / sizeof *bounds);
    for (size_t i = 0; i < n; i++) {
        assert(isfinite(bounds[i]));
        assert(i == 0 || bounds[i - 1] < bounds[i]);
    }
    family->bounds = malloc((n + 1) * sizeof *bounds);
    if (!family->bounds)
        return false;
    if (n > 0)
        memcpy(family->bounds, bounds, n * sizeof *bounds);
    family->n_bounds = n;
    return true;
}

struct metric *metrics_histogram(struct metrics *metrics, const char *name, const char *help,
                                 const double *bounds, size_t n)
{
    struct metrics_family *family =
        metrics_family(metrics, METRICS_HISTOGRAM, name, help, NULL);
    if (!family || !metrics_set_bounds(family, bounds, n))
        return NULL;
    struct metric *metric = metrics_series(family, NULL);
    if (!metric)
        return NULL;
    if (!metric->counts)
        metric->counts = calloc(n + 1, sizeof *metric->counts);
    return metric->counts ? metric : NULL;
}

void metric_add(struct metric *metric, double amount)
{
    if (!metric)
        return;
    assert(metric->family->kind != METRICS_HISTOGRAM);
    assert(metric->family->kind == METRICS_GAUGE || amount >= 0.0);
    metric->value += amount;
    metric->told = true;
}

void metric_set(struct metric *metric, double value)
{
    if (!metric)
        return;
    assert(metric->family->kind == METRICS_GAUGE);
    metric->value = value;
    metric->told = true;
}

void metric_observe(struct metric *metric, double value)
{
    if (!metric)
        return;
    const struct metrics_family *family = metric->family;
    assert(family->kind == METRICS_HISTOGRAM);
    size_t bucket = 0;
    while (bucket < family->n_bounds && !(value <= family->bounds[bucket]))
        bucket++;
    metric->counts[bucket]++;
    metric->sum += value;
}

double metric_value(const struct metric *metric)
{
    if (!metric)
        return 0.0;
    assert(metric->family->kind != METRICS_HISTOGRAM);
    return metric->value;
}

static void metrics_sweep_family(struct metrics_family *family)
{
    struct metric **at = &family->first;
    family->at = NULL;
    while (*at) {
        struct metric *metric = *at;
        if (metric->told) {
            metric->told = false;
            at = &metric->next;
        } else {
            *at = metric->next;
            family->n_series--;
            metrics_free_series(metric);
        }
    }
    family->last = at;
}

void metrics_sweep(struct metrics *metrics, const char *label)
{
    for (struct metrics_family *family = metrics->first; family; family = family->next)
        if (metrics_same(family->label, label))
            metrics_sweep_family(family);
}

/* With backslash and newline escaped, and in a label value the quote too. */
static void metrics_render_text(struct buf *out, const char *text, bool quotes)
{
    for (const char *at = text; *at != '\0'; at++) {
        if (*at == '\n')
            buf_puts(out, "\\n");
        else if (*at == '\\' || (quotes && *at == '"'))
            buf_printf(out, "\\%c", *at);
        else
            buf_putc(out, *at);
    }
}

static void metrics_render_number(struct buf *out, double value)
{
    if (isnan(value))
        buf_puts(out, "NaN");
    else if (isinf(value))
        buf_puts(out, value > 0 ? "+Inf" : "-Inf");
    else
        buf_json_number(out, value);
}

static void metrics_render_value(struct buf *out, const struct metric *metric)
{
    const struct metrics_family *family = metric->family;
    buf_puts(out, family->name);
    if (family->label) {
        buf_printf(out, "{%s=\"", family->label);
        metrics_render_text(out, metric->label_value, true);
        buf_puts(out, "\"}");
    }
    buf_putc(out, ' ');
    metrics_render_number(out, metric->value);
    buf_putc(out, '\n');
}

static void metrics_render_histogram(struct buf *out, const struct metric *metric)
{
    const struct metrics_family *family = metric->family;
    uint64_t count = 0; /* a bucket counts those below it too */
    for (size_t i = 0; i <= family->n_bounds; i++) {
        count += metric->counts[i];
        buf_printf(out, "%s_bucket{le=\"", family->name);
        metrics_render_number(out, i < family->n_bounds ? family->bounds[i] : HUGE_VAL);
        buf_printf(out, "\"} %" PRIu64 "\n", count);
    }
    buf_printf(out, "%s_sum ", family->name);
    metrics_render_number(out, metric->sum);
    buf_printf(out, "\n%s_count %" PRIu64 "\n", family->name, count);
}

void metrics_render(const struct metrics *metrics, struct buf *out)
{
    static const char *const kinds[] = {"counter", "gauge", "histogram"};
    for (const struct metrics_family *family = metrics->first; family; family = family->next) {
        buf_printf(out, "# HELP %s ", family->name);
        metrics_render_text(out, family->help, false);
        buf_printf(out, "\n# TYPE %s %s\n", family->name, kinds[family->kind]);
        for (const struct metric *metric = family->first; metric; metric = metric->next) {
            if (family->kind != METRICS_HISTOGRAM)
                metrics_render_value(out, metric);
            else if (metric->counts)
                metrics_render_histogram(out, metric);
        }
    }
}

/* metrics.c -- see metrics.h. */
#include "base/metrics.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define METRICS_FAMILIES_MAX 256
#define METRICS_NAME_MAX     128
#define METRICS_BOUNDS_MAX   32

enum metrics_kind { METRICS_COUNTER, METRICS_GAUGE, METRICS_HISTOGRAM };

struct metrics_family {
    enum metrics_kind kind;
    char name[METRICS_NAME_MAX];
    char label[METRICS_NAME_MAX]; /* "": none */
    char *help;
    double bounds[METRICS_BOUNDS_MAX];
    size_t bounds_n;
    struct metric *first, **last;
    size_t series;
};

struct metric {
    const struct metrics_family *family;
    struct metric *next;
    char label_value[METRICS_NAME_MAX];
    double value; /* histogram: sum */
    uint64_t count;
    uint64_t buckets[METRICS_BOUNDS_MAX]; /* not cumulative */
};

struct metrics {
    struct metrics_family *families[METRICS_FAMILIES_MAX];
    size_t families_n;
    struct metric spill; /* takes what memory was not there for, and is never shown */
};

struct metrics *metrics_new(void)
{
    return calloc(1, sizeof(struct metrics));
}

void metrics_free(struct metrics *metrics)
{
    if (!metrics)
        return;
    for (size_t i = 0; i < metrics->families_n; i++) {
        struct metrics_family *family = metrics->families[i];
        for (struct metric *series = family->first, *next; series; series = next) {
            next = series->next;
            free(series);
        }
        free(family->help);
        free(family);
    }
    free(metrics);
}

static bool metrics_name_ok(const char *name)
{
    if (name[0] == '\0' || (name[0] >= '0' && name[0] <= '9') ||
        strlen(name) >= METRICS_NAME_MAX)
        return false;
    for (const char *c = name; *c; c++)
        if (!((*c >= 'a' && *c <= 'z') || (*c >= '0' && *c <= '9') || *c == '_'))
            return false;
    return true;
}

static bool metrics_ends_in_total(const char *name)
{
    const size_t n = strlen(name);
    return n > 6 && strcmp(name + n - 6, "_total") == 0;
}

static struct metrics_family *metrics_family(struct metrics *metrics, enum metrics_kind kind,
                                             const char *name, const char *help,
                                             const char *label)
{
    assert(metrics_name_ok(name) && (!label || metrics_name_ok(label)));
    assert((kind == METRICS_COUNTER) == metrics_ends_in_total(name));
    for (size_t i = 0; i < metrics->families_n; i++) {
        struct metrics_family *family = metrics->families[i];
        if (strcmp(family->name, name) == 0) {
            assert(family->kind == kind && strcmp(family->label, label ? label : "") == 0);
            return family;
        }
    }
    assert(metrics->families_n < METRICS_FAMILIES_MAX);
    struct metrics_family *family = calloc(1, sizeof *family);
    char *copy = strdup(help);
    if (!family || !copy) {
        free(family);
        free(copy);
        return NULL;
    }
    family->kind = kind;
    family->help = copy;
    family->last = &family->first;
    memcpy(family->name, name, strlen(name) + 1);
    if (label)
        memcpy(family->label, label, strlen(label) + 1);
    metrics->families[metrics->families_n++] = family;
    return family;
}

static struct metric *metrics_series(struct metrics *metrics, struct metrics_family *family,
                                     const char *value)
{
    if (!family)
        return &metrics->spill;
    const char *text = value ? value : "";
    if (family->series >= METRICS_SERIES_MAX - 1)
        text = "other";
    for (struct metric *series = family->first; series; series = series->next)
        if (strncmp(series->label_value, text, METRICS_NAME_MAX - 1) == 0)
            return series;
    struct metric *series = calloc(1, sizeof *series);
    if (!series)
        return &metrics->spill;
    series->family = family;
    strncpy(series->label_value, text, sizeof series->label_value - 1);
    *family->last = series;
    family->last = &series->next;
    family->series += 1;
    return series;
}

struct metric *metrics_counter(struct metrics *metrics, const char *name, const char *help,
                               const char *label, const char *value)
{
    return metrics_series(metrics, metrics_family(metrics, METRICS_COUNTER, name, help, label),
                          value);
}

struct metric *metrics_gauge(struct metrics *metrics, const char *name, const char *help,
                             const char *label, const char *value)
{
    return metrics_series(metrics, metrics_family(metrics, METRICS_GAUGE, name, help, label),
                          value);
}

struct metric *metrics_histogram(struct metrics *metrics, const char *name, const char *help,
                                 const double *bounds, size_t n)
{
    assert(n <= METRICS_BOUNDS_MAX);
    struct metrics_family *family =
        metrics_family(metrics, METRICS_HISTOGRAM, name, help, NULL);
    if (family && family->bounds_n == 0) {
        memcpy(family->bounds, bounds, n * sizeof *bounds);
        family->bounds_n = n;
    }
    return metrics_series(metrics, family, NULL);
}

void metric_add(struct metric *metric, double amount)
{
    assert(!metric->family || metric->family->kind == METRICS_GAUGE || amount >= 0);
    metric->value += amount;
}

void metric_set(struct metric *metric, double value)
{
    assert(!metric->family || metric->family->kind == METRICS_GAUGE);
    metric->value = value;
}

void metric_observe(struct metric *metric, double value)
{
    const struct metrics_family *family = metric->family;
    if (!family)
        return;
    assert(family->kind == METRICS_HISTOGRAM);
    metric->value += value;
    metric->count += 1;
    for (size_t i = 0; i < family->bounds_n; i++) {
        if (value <= family->bounds[i]) {
            metric->buckets[i] += 1;
            break;
        }
    }
}

double metric_value(const struct metric *metric)
{
    return metric->value;
}

static void metrics_number(struct buf *out, double value)
{
    if (isnan(value))
        buf_puts(out, "NaN");
    else if (isinf(value))
        buf_puts(out, value > 0 ? "+Inf" : "-Inf");
    else
        buf_json_number(out, value);
}

/* HELP escapes backslash and newline; a label value the double quote too. */
static void metrics_text(struct buf *out, const char *text, bool quotes)
{
    for (const char *c = text; *c; c++) {
        if (*c == '\\')
            buf_puts(out, "\\\\");
        else if (*c == '\n')
            buf_puts(out, "\\n");
        else if (*c == '"' && quotes)
            buf_puts(out, "\\\"");
        else
            buf_putc(out, *c);
    }
}

static void metrics_render_histogram(const struct metric *series, struct buf *out)
{
    const struct metrics_family *family = series->family;
    uint64_t below = 0;
    for (size_t i = 0; i < family->bounds_n; i++) {
        below += series->buckets[i];
        buf_printf(out, "%s_bucket{le=\"", family->name);
        metrics_number(out, family->bounds[i]);
        buf_printf(out, "\"} %llu\n", (unsigned long long)below);
    }
    buf_printf(out, "%s_bucket{le=\"+Inf\"} %llu\n%s_sum ", family->name,
               (unsigned long long)series->count, family->name);
    metrics_number(out, series->value);
    buf_printf(out, "\n%s_count %llu\n", family->name, (unsigned long long)series->count);
}

static void metrics_render_series(const struct metric *series, struct buf *out)
{
    const struct metrics_family *family = series->family;
    buf_puts(out, family->name);
    if (family->label[0]) {
        buf_printf(out, "{%s=\"", family->label);
        metrics_text(out, series->label_value, true);
        buf_puts(out, "\"}");
    }
    buf_putc(out, ' ');
    metrics_number(out, series->value);
    buf_putc(out, '\n');
}

void metrics_render(const struct metrics *metrics, struct buf *out)
{
    static const char *const kinds[] = {"counter", "gauge", "histogram"};
    for (size_t i = 0; i < metrics->families_n; i++) {
        const struct metrics_family *family = metrics->families[i];
        buf_printf(out, "# HELP %s ", family->name);
        metrics_text(out, family->help, false);
        buf_printf(out, "\n# TYPE %s %s\n", family->name, kinds[family->kind]);
        for (const struct metric *series = family->first; series; series = series->next) {
            if (family->kind == METRICS_HISTOGRAM)
                metrics_render_histogram(series, out);
            else
                metrics_render_series(series, out);
        }
    }
}

/*
 * scrape.h -- for tests of real runs: what /metrics says, read by the rules of Prometheus' text
 * format 0.0.4, and by nothing that wrote it.
 */
#ifndef TESTS_E2E_SCRAPE_H
#define TESTS_E2E_SCRAPE_H

#include <ctype.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/file.h"
#include "tests/test.h"

#define SCRAPE_SERIES_MAX 1024

struct scrape_series {
    char key[160]; /* with its label */
    double value;
    bool counter;
};

struct scrape {
    struct scrape_series series[SCRAPE_SERIES_MAX];
    size_t n;
};

static inline bool scrape_is_name(const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!islower((unsigned char)text[i]) && text[i] != '_' &&
            (i == 0 || !isdigit((unsigned char)text[i])))
            return false;
    return n > 0;
}

static inline bool scrape_ends_in(const char *text, size_t n, const char *end)
{
    return n >= strlen(end) && strncmp(text + n - strlen(end), end, strlen(end)) == 0;
}

/* `name{label="value"} number`; the label's value has no space here. */
static inline void scrape_read_sample(struct scrape *scrape, const char *line, size_t n,
                                      const char *family, bool counter)
{
    const char *blank = memchr(line, ' ', n);
    assert_non_null(blank);
    const size_t key = (size_t)(blank - line), name = strcspn(line, "{ ");
    if (name != strlen(family) || strncmp(line, family, name) != 0)
        fail_msg("a sample of another family than %s: %.*s", family, (int)n, line);
    if (key > name)
        assert_true(line[name] == '{' && strncmp(blank - 2, "\"}", 2) == 0);
    char *end;
    const double value = strtod(blank + 1, &end);
    if (end != line + n)
        fail_msg("no number: %.*s", (int)n, line);
    assert_true(scrape->n < SCRAPE_SERIES_MAX && key < sizeof scrape->series[0].key);
    struct scrape_series *series = &scrape->series[scrape->n];
    snprintf(series->key, sizeof series->key, "%.*s", (int)key, line);
    series->value = value;
    series->counter = counter;
    for (size_t i = 0; i < scrape->n; i++)
        assert_string_not_equal(scrape->series[i].key, series->key);
    scrape->n++;
}

static inline void scrape_read(struct scrape *scrape, const struct buf *text)
{
    char family[96] = "", help[96] = "";
    bool counter = false;
    const char *from = text->data, *line;
    size_t n;
    scrape->n = 0;
    assert_true(text->len > 0 && text->data[text->len - 1] == '\n');
    while (file_next_line(&from, text->data + text->len, &line, &n)) {
        const size_t name = n > 7 ? strcspn(line + 7, " ") : 0;
        if (strncmp(line, "# HELP ", 7) == 0) {
            assert_true(scrape_is_name(line + 7, name) && n > 7 + name + 1);
            snprintf(help, sizeof help, "%.*s", (int)name, line + 7);
            family[0] = '\0';
        } else if (strncmp(line, "# TYPE ", 7) == 0) {
            snprintf(family, sizeof family, "%.*s", (int)name, line + 7);
            assert_string_equal(family, help);
            counter = scrape_ends_in(line, n, " counter");
            assert_true(counter || scrape_ends_in(line, n, " gauge"));
            assert_int_equal(counter, scrape_ends_in(family, strlen(family), "_total"));
        } else {
            scrape_read_sample(scrape, line, n, family, counter);
        }
    }
}

static inline double scrape_value(const struct scrape *scrape, const char *key)
{
    for (size_t i = 0; i < scrape->n; i++)
        if (strcmp(scrape->series[i].key, key) == 0)
            return scrape->series[i].value;
    fail_msg("there is no %s", key);
    return NAN;
}

static inline void scrape_check_counters(const struct scrape *before,
                                         const struct scrape *after)
{
    for (size_t i = 0; i < before->n; i++)
        if (before->series[i].counter &&
            scrape_value(after, before->series[i].key) < before->series[i].value)
            fail_msg("%s went back from %g", before->series[i].key, before->series[i].value);
}

#endif

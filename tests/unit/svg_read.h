/*
 * svg_read.h -- for tests of charts: an SVG read back, as far as chart.h writes it.
 *
 * What a reader of the chart sees is the oracle: positions are told from the axes' tick labels,
 * not from the drawing's own constants.
 */
#ifndef TESTS_UNIT_SVG_READ_H
#define TESTS_UNIT_SVG_READ_H

#include <stdio.h>
#include <stdlib.h>

#include "tests/test.h"

/* The value of an attribute of the element that begins at `element`. */
static inline double svg_number(const char *element, const char *name)
{
    char key[32];
    const char *end = strchr(element, '>');
    snprintf(key, sizeof key, " %s=\"", name);
    const char *at = strstr(element, key);
    if (!end || !at || at > end)
        fail_msg("no \"%s\" in %.80s", name, element);
    return strtod(at + strlen(key), NULL);
}

static inline size_t svg_count(const char *from, const char *to, const char *what)
{
    size_t n = 0;
    for (const char *at = from; (at = strstr(at, what)) && at < to; at++)
        n++;
    return n;
}

/* The marks of series s: from *from up to the end of its group. */
static inline const char *svg_series(const char *svg, int s, const char **end)
{
    char key[32];
    snprintf(key, sizeof key, "<g class=\"s%d\"", s);
    const char *from = strstr(svg, key);
    assert_non_null(from);
    *end = strstr(from, "</g>");
    assert_non_null(*end);
    return from;
}

struct svg_vertex {
    char command;
    double x, y;
};

/* The vertices M and L of the path whose d="..." comes next, at most `max`; how many. */
static inline size_t svg_path(const char *element, struct svg_vertex *vertex, size_t max)
{
    const char *at = strstr(element, " d=\"");
    assert_non_null(at);
    size_t n = 0;
    for (at += 4; *at != '"'; at++) {
        if (*at != 'M' && *at != 'L')
            continue;
        assert_true(n < max);
        vertex[n].command = *at;
        char *next;
        vertex[n].x = strtod(at + 1, &next);
        vertex[n].y = strtod(next, NULL);
        n++;
    }
    return n;
}

/* A line of values against pixels, through the first and the last tick of an axis. */
struct svg_scale {
    double value[2], at[2];
    size_t ticks;
    bool log;
};

/* Ticks of the y axis are texts with their end beside it, those of the x axis have their middle
 * under it: the only numbers anchored so. */
static inline struct svg_scale svg_axis(const char *svg, char axis, bool log)
{
    struct svg_scale scale = {.log = log};
    const char *anchor = axis == 'y' ? "text-anchor=\"end\">" : "text-anchor=\"middle\">";
    for (const char *at = svg; (at = strstr(at, anchor)); at++) {
        const char *element = at;
        while (strncmp(element, "<text", 5) != 0)
            element--;
        char *end;
        const double value = strtod(at + strlen(anchor), &end);
        if (*end != '<' || end == at + strlen(anchor))
            continue; /* a label of the axis */
        const size_t i = scale.ticks++ > 0;
        scale.value[i] = log ? log10(value) : value;
        scale.at[i] = svg_number(element, axis == 'y' ? "y" : "x") - (axis == 'y' ? 4 : 0);
    }
    assert_true(scale.ticks >= 2);
    return scale;
}

static inline double svg_at(const struct svg_scale *scale, double value)
{
    const double v = scale->log ? log10(value) : value;
    return scale->at[0] + (v - scale->value[0]) / (scale->value[1] - scale->value[0]) *
                              (scale->at[1] - scale->at[0]);
}

/* Both were rounded to tenths of a pixel. */
#define svg_check_at(scale, value, got)                                                    \
    do {                                                                                   \
        const double want_ = svg_at(scale, value), got_ = (got);                           \
        if (!(fabs(got_ - want_) <= 0.25))                                                 \
            fail_msg("%g is drawn at %g, the ticks say %g", (double)(value), got_, want_); \
    } while (0)

/* Every coordinate lies inside the viewBox, and no number is one that cannot be drawn. */
static inline void svg_check_inside(const char *svg)
{
    const double width = svg_number(svg, "width"), height = svg_number(svg, "height");
    assert_null(strstr(svg, "nan"));
    assert_null(strstr(svg, "inf"));
    for (const char *path = svg; (path = strstr(path, "<path")); path++) {
        static struct svg_vertex vertex[8192];
        const size_t n = svg_path(path, vertex, COUNT(vertex));
        for (size_t i = 0; i < n; i++)
            assert_true(vertex[i].x >= 0 && vertex[i].x <= width && vertex[i].y >= 0 &&
                        vertex[i].y <= height);
    }
    static const struct {
        const char *element, *x, *y;
    } kinds[] = {{"<circle", "cx", "cy"},
                 {"<rect", "x", "y"},
                 {"<line", "x1", "y1"},
                 {"<line", "x2", "y2"}};
    for (size_t k = 0; k < COUNT(kinds); k++)
        for (const char *at = svg; (at = strstr(at, kinds[k].element)); at++) {
            const double x = svg_number(at, kinds[k].x), y = svg_number(at, kinds[k].y);
            assert_true(x >= 0 && x <= width && y >= 0 && y <= height);
        }
}

#endif

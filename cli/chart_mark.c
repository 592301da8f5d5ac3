/* chart_mark.c -- see chart_mark.h. */
#include "cli/chart_mark.h"

#include <assert.h>
#include <math.h>

#define CHART_MARK_RADIUS 3.0
#define CHART_MARK_CAP    3.0 /* half the width of an error bar's ends */

double chart_mark_spread(const struct chart_series *series, size_t i)
{
    const double spread = series->spread ? series->spread[i] : 0;
    const double far = fabs(series->y[i]) + spread;
    return spread > 0 && chart_axis_has(far, false) ? spread : 0;
}

bool chart_mark_has(const struct chart_frame *frame, const struct chart_series *series,
                    size_t i)
{
    return chart_axis_has(series->x[i], frame->x.log) && chart_axis_has(series->y[i], false);
}

/* --- lines -------------------------------------------------------------------------------- */

/* From point i, which has a place: the points up to the one returned share a column of pixels.
 * The least and the greatest of them, in their order. */
static size_t chart_mark_column(const struct chart_frame *frame,
                                const struct chart_series *series, size_t i, size_t *first,
                                size_t *second)
{
    const double column = floor(chart_axis_at(&frame->x, series->x[i]));
    size_t least = i, greatest = i;
    size_t end = i + 1;
    for (; end < series->n && chart_mark_has(frame, series, end); end++) {
        if (floor(chart_axis_at(&frame->x, series->x[end])) != column)
            break;
        least = series->y[end] < series->y[least] ? end : least;
        greatest = series->y[end] > series->y[greatest] ? end : greatest;
    }
    *first = least < greatest ? least : greatest;
    *second = least < greatest ? greatest : least;
    return end;
}

static void chart_mark_vertex(const struct chart_frame *frame,
                              const struct chart_series *series, size_t i, double off,
                              char command, struct buf *out)
{
    buf_printf(out, "%c%.1f %.1f", command, chart_axis_at(&frame->x, series->x[i]),
               chart_axis_at(&frame->y, series->y[i] + off));
}

/* A point between two gaps is a line of no length, which round ends make a dot. */
static void chart_mark_stroke(const struct chart_frame *frame,
                              const struct chart_series *series, struct buf *out)
{
    buf_puts(out, "<path fill=\"none\" stroke=\"currentColor\" stroke-width=\"1.6\" "
                  "stroke-linejoin=\"round\" stroke-linecap=\"round\" d=\"");
    bool pen_down = false;
    for (size_t i = 0; i < series->n;) {
        if (!chart_mark_has(frame, series, i)) {
            pen_down = false;
            i++;
            continue;
        }
        size_t first, second;
        const size_t end = chart_mark_column(frame, series, i, &first, &second);
        chart_mark_vertex(frame, series, first, 0, pen_down ? 'L' : 'M', out);
        if (second != first)
            chart_mark_vertex(frame, series, second, 0, 'L', out);
        const bool alone = !pen_down && second == first &&
                           (end == series->n || !chart_mark_has(frame, series, end));
        if (alone)
            buf_puts(out, "h0");
        pen_down = true;
        i = end;
    }
    buf_puts(out, "\"/>\n");
}

/* The band over points [from, to), all of which have a place: there above, and back below.  It
 * is thinned by a stride, as its edges are smooth beside the line. */
static void chart_mark_band(const struct chart_frame *frame, const struct chart_series *series,
                            size_t from, size_t to, struct buf *out)
{
    const double columns = fabs(frame->x.to - frame->x.from);
    const size_t stride = 1 + (size_t)((double)(to - from) / columns);
    for (size_t i = from; i < to; i += stride)
        chart_mark_vertex(frame, series, i, chart_mark_spread(series, i), i == from ? 'M' : 'L',
                          out);
    for (size_t left = (to - from + stride - 1) / stride; left > 0; left--) {
        const size_t i = from + (left - 1) * stride;
        chart_mark_vertex(frame, series, i, -chart_mark_spread(series, i), 'L', out);
    }
    buf_putc(out, 'Z');
}

static void chart_mark_bands(const struct chart_frame *frame, const struct chart_series *series,
                             struct buf *out)
{
    buf_puts(out, "<path fill=\"currentColor\" fill-opacity=\"0.2\" d=\"");
    for (size_t i = 0; i < series->n;) {
        size_t end = i;
        while (end < series->n && chart_mark_has(frame, series, end))
            end++;
        if (end > i)
            chart_mark_band(frame, series, i, end, out);
        i = end + 1;
    }
    buf_puts(out, "\"/>\n");
}

void chart_mark_line(const struct chart_frame *frame, const struct chart_series *series,
                     struct buf *out)
{
    if (series->spread)
        chart_mark_bands(frame, series, out);
    chart_mark_stroke(frame, series, out);
}

/* --- points ------------------------------------------------------------------------------- */

static void chart_mark_error(const struct chart_frame *frame, const struct chart_series *series,
                             size_t i, struct buf *out)
{
    const double spread = chart_mark_spread(series, i);
    const double x = chart_axis_at(&frame->x, series->x[i]);
    const double low = chart_axis_at(&frame->y, series->y[i] - spread);
    const double high = chart_axis_at(&frame->y, series->y[i] + spread);
    if (spread > 0)
        buf_printf(out,
                   "<path fill=\"none\" stroke=\"currentColor\" "
                   "d=\"M%.1f %.1fh%.1fm%.1f 0V%.1fm%.1f 0h%.1f\"/>\n",
                   x - CHART_MARK_CAP, low, 2 * CHART_MARK_CAP, -CHART_MARK_CAP, high,
                   -CHART_MARK_CAP, 2 * CHART_MARK_CAP);
}

void chart_mark_points(const struct chart_frame *frame, const struct chart_series *series,
                       struct buf *out)
{
    for (size_t i = 0; i < series->n; i++) {
        if (!chart_mark_has(frame, series, i))
            continue;
        const double x = chart_axis_at(&frame->x, series->x[i]);
        const double y = chart_axis_at(&frame->y, series->y[i]);
        chart_mark_error(frame, series, i, out);
        buf_printf(out, "<circle fill=\"currentColor\" cx=\"%.1f\" cy=\"%.1f\" r=\"%g\"/>\n", x,
                   y, CHART_MARK_RADIUS);
        if (series->counts && isfinite(series->counts[i]))
            buf_printf(out,
                       "<text fill=\"currentColor\" font-size=\"9\" x=\"%.1f\" y=\"%.1f\">"
                       "%.6g</text>\n",
                       x + 6, y + 10, series->counts[i]);
    }
}

/* --- bars --------------------------------------------------------------------------------- */

void chart_mark_bars(const struct chart_frame *frame, const struct chart_series *series,
                     struct buf *out)
{
    const double zero = chart_axis_at(&frame->y, 0);
    for (size_t i = 0; i < series->n; i++) {
        if (!chart_mark_has(frame, series, i) ||
            !chart_axis_has(series->x[i + 1], frame->x.log))
            continue;
        const double left = chart_axis_at(&frame->x, series->x[i]);
        const double right = chart_axis_at(&frame->x, series->x[i + 1]);
        const double y = chart_axis_at(&frame->y, series->y[i]);
        buf_printf(out,
                   "<rect fill=\"currentColor\" fill-opacity=\"0.45\" stroke=\"currentColor\" "
                   "stroke-width=\"0.7\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" "
                   "height=\"%.1f\"/>\n",
                   left, fmin(y, zero), right - left, fabs(y - zero));
    }
}

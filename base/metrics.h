/*
 * metrics.h -- counters, gauges and histograms of one process, in Prometheus text format.
 *
 * A registry holds families; a family holds one series a label set (at most one label).
 * Names follow rlhfd_<noun>_<unit>[_total].  Series are created at the start, so that a
 * counter is 0 before its first event.  Handles stay valid until metrics_free or metrics_sweep.
 * Not thread-safe: one thread owns a registry.
 */
#ifndef BASE_METRICS_H
#define BASE_METRICS_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

struct metrics;
struct metric; /* one series */

struct metrics *metrics_new(void); /* NULL: out of memory */
void metrics_free(struct metrics *metrics);

/*
 * The series of family `name` with label `label`="value" (both NULL: no label), created on
 * first use.  `help` is one sentence with the unit.  Asserts that the name and the label
 * name are legal, that a counter ends in _total and that the kind stays the same.  At most
 * METRICS_SERIES_MAX series a family: past that the value becomes "other".  The strings are
 * copied.  NULL where memory ran out; the calls below do nothing with a NULL series.
 */
#define METRICS_SERIES_MAX 4096
/* A sum that only grows. */
struct metric *metrics_counter(struct metrics *, const char *name, const char *help,
                               const char *label, const char *value);
/* A value that is set, and may fall. */
struct metric *metrics_gauge(struct metrics *, const char *name, const char *help,
                             const char *label, const char *value);
/* bounds: ascending upper bounds, each within its bucket, without +Inf; copied. */
struct metric *metrics_histogram(struct metrics *, const char *name, const char *help,
                                 const double *bounds, size_t n);

void metric_add(struct metric *, double amount);     /* counter (amount >= 0) or gauge */
void metric_set(struct metric *, double value);      /* gauge */
void metric_observe(struct metric *, double value);  /* histogram; a NaN is in +Inf alone */
double metric_value(const struct metric *);          /* counter or gauge */

/* Remove the series with this label that nobody has set or added to, even 0, since the last call:
 * what they were of is no more.  Handles of them end here. */
void metrics_sweep(struct metrics *, const char *label);

/* The text exposition, version 0.0.4, families in order of creation. */
void metrics_render(const struct metrics *, struct buf *out);

#endif

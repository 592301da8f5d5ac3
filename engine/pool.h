/*
 * pool.h -- the engine's threads: one budget, set in the config, shared by every kernel.
 *
 * A kernel cuts its work into tasks that write disjoint outputs; which thread runs which
 * task never changes a bit of the result.  A pool of 1 thread runs everything on the caller.
 * Every thread of the pool, the caller included, has flush-to-zero and denormals-are-zero on.
 */
#ifndef ENGINE_POOL_H
#define ENGINE_POOL_H

#include <stddef.h>

#include "base/err.h"

#define POOL_THREADS_MAX 64

struct pool;

/* threads >= 1; the caller counts as one.  The caller frees it with pool_free, which joins.  NULL,
 * and ERR_VALUE past POOL_THREADS_MAX, ERR_NOMEM where a thread cannot be had. */
struct pool *pool_new(size_t threads, struct err *err);
void pool_free(struct pool *pool);
size_t pool_threads(const struct pool *pool);

/* Run task(arg, i) for i = 0 .. tasks-1 and return when all are done.  Not reentrant: one
 * caller at a time, and no pool_run from within a task.  `pool` NULL: all on the caller. */
void pool_run(struct pool *pool, size_t tasks, void (*task)(void *arg, size_t i), void *arg);

/* Put the calling thread into the engine's floating-point mode (FTZ, DAZ, round to nearest).
 * Each thread that calls a kernel does it once first. */
void pool_thread_init(void);

#endif

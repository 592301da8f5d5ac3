/* pool.c -- see pool.h.  A job is open while tasks remain; a worker enters it under the lock,
 * so one that wakes late finds it closed and nobody waits for a sleeper. */
#include "engine/pool.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

/* Looks at the job counter before sleeping: 10 to 40 microseconds, about the gap between two
 * kernels of a layer and the price of one wake-up. */
enum { POOL_SPINS = 1000 };

struct pool {
    pthread_mutex_t lock;
    pthread_cond_t work;  /* a job opened, or closing */
    pthread_cond_t idle;  /* the last worker left the job */
    atomic_uint opened;   /* jobs opened so far, what a spinning worker watches */
    bool open, closing;   /* under the lock */
    atomic_size_t inside; /* workers in the job; changed under the lock */

    void (*task)(void *arg, size_t i); /* the job; written while nobody is inside */
    void *arg;
    size_t tasks;
    atomic_size_t next;

    size_t threads; /* the caller included */
    pthread_t worker[POOL_THREADS_MAX];
};

void pool_thread_init(void)
{
#if defined(__x86_64__)
    const unsigned flush = 0x8040u, rounding = 0x6000u; /* FTZ and DAZ; RC 0 is to nearest */
    _mm_setcsr((_mm_getcsr() & ~rounding) | flush);
#elif defined(__aarch64__) && defined(__GNUC__) && !defined(__clang__)
    const unsigned flush = 1u << 24, rounding = 3u << 22;
    __builtin_aarch64_set_fpcr((__builtin_aarch64_get_fpcr() & ~rounding) | flush);
#endif
}

static void pool_relax(void)
{
#if defined(__x86_64__)
    _mm_pause();
#endif
}

static void pool_work(struct pool *pool)
{
    for (;;) {
        const size_t i = atomic_fetch_add_explicit(&pool->next, 1, memory_order_relaxed);
        if (i >= pool->tasks)
            return;
        pool->task(pool->arg, i);
    }
}

/* Look for a job after number *seen without sleeping. */
static void pool_watch(struct pool *pool, unsigned *seen)
{
    for (int spin = 0; spin < POOL_SPINS; spin++) {
        const unsigned opened = atomic_load_explicit(&pool->opened, memory_order_relaxed);
        if (opened != *seen) {
            *seen = opened;
            return;
        }
        pool_relax();
    }
}

/* Wait for the next job; false when the pool closes.  Returns inside the job. */
static bool pool_enter(struct pool *pool, unsigned *seen)
{
    for (;;) {
        const unsigned before = *seen;
        pool_watch(pool, seen);
        pthread_mutex_lock(&pool->lock);
        /* One wait, no loop: who wakes to a job that is over watches for the next awake. */
        if (*seen == before && !pool->closing && !pool->open)
            pthread_cond_wait(&pool->work, &pool->lock);
        const bool closing = pool->closing, entered = pool->open && !closing;
        if (entered) {
            pool->inside++;
            *seen = atomic_load_explicit(&pool->opened, memory_order_relaxed);
        }
        pthread_mutex_unlock(&pool->lock);
        if (entered || closing)
            return entered;
    }
}

static void *pool_worker(void *arg)
{
    struct pool *pool = arg;
    pool_thread_init();
    unsigned seen = 0;
    while (pool_enter(pool, &seen)) {
        pool_work(pool);
        pthread_mutex_lock(&pool->lock);
        pool->open = false; /* nothing is left to take */
        if (--pool->inside == 0)
            pthread_cond_signal(&pool->idle);
        pthread_mutex_unlock(&pool->lock);
    }
    return NULL;
}

struct pool *pool_new(size_t threads, struct err *err)
{
    assert(threads >= 1);
    if (threads > POOL_THREADS_MAX) {
        err_set(err, ERR_VALUE, "%zu threads; the most is %d", threads, POOL_THREADS_MAX);
        return NULL;
    }
    struct pool *pool = calloc(1, sizeof *pool);
    if (!pool) {
        err_set(err, ERR_NOMEM, "out of memory for a pool of %zu threads", threads);
        return NULL;
    }
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->work, NULL);
    pthread_cond_init(&pool->idle, NULL);
    for (pool->threads = 1; pool->threads < threads; pool->threads++) {
        const int rc = pthread_create(&pool->worker[pool->threads], NULL, pool_worker, pool);
        if (rc) {
            err_set(err, ERR_NOMEM, "cannot start thread %zu of %zu: %s", pool->threads + 1,
                    threads, strerror(rc));
            pool_free(pool);
            return NULL;
        }
    }
    return pool;
}

void pool_free(struct pool *pool)
{
    if (!pool)
        return;
    pthread_mutex_lock(&pool->lock);
    pool->closing = true;
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->lock);
    for (size_t i = 1; i < pool->threads; i++)
        pthread_join(pool->worker[i], NULL);
    pthread_cond_destroy(&pool->idle);
    pthread_cond_destroy(&pool->work);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}

size_t pool_threads(const struct pool *pool)
{
    return pool ? pool->threads : 1;
}

void pool_run(struct pool *pool, size_t tasks, void (*task)(void *arg, size_t i), void *arg)
{
    if (!pool || pool->threads == 1 || tasks < 2) {
        for (size_t i = 0; i < tasks; i++)
            task(arg, i);
        return;
    }
    pthread_mutex_lock(&pool->lock);
    assert(!pool->open && pool->inside == 0); /* not reentrant */
    pool->task = task;
    pool->arg = arg;
    pool->tasks = tasks;
    atomic_store_explicit(&pool->next, 0, memory_order_relaxed);
    pool->open = true;
    atomic_fetch_add_explicit(&pool->opened, 1, memory_order_relaxed);
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->lock);

    pool_work(pool);

    pthread_mutex_lock(&pool->lock);
    pool->open = false;
    pthread_mutex_unlock(&pool->lock);
    /* Workers still inside hold a task each, most often about as long as a spin. */
    for (int spin = 0; pool->inside > 0 && spin < POOL_SPINS; spin++)
        pool_relax();
    pthread_mutex_lock(&pool->lock);
    while (pool->inside > 0)
        pthread_cond_wait(&pool->idle, &pool->lock);
    pthread_mutex_unlock(&pool->lock);
}

/* test_pool.c -- each task runs exactly once, on however many threads, job after job. */
#include <stdatomic.h>
#include <time.h>

#include "engine/pool.h"
#include "tests/test.h"

enum { TASKS_MAX = 1000 };

struct counts {
    atomic_int ran[TASKS_MAX];
};

static void count(void *arg, size_t i)
{
    struct counts *counts = arg;
    atomic_fetch_add(&counts->ran[i], 1);
}

static void check_once(struct pool *pool, size_t tasks)
{
    static struct counts counts;
    memset(&counts, 0, sizeof counts);
    pool_run(pool, tasks, count, &counts);
    for (size_t i = 0; i < TASKS_MAX; i++)
        assert_int_equal(counts.ran[i], i < tasks);
}

static void every_task_runs_once(void **state)
{
    (void)state;
    for (size_t threads = 1; threads <= 5; threads++) {
        struct pool *pool = pool_new(threads, NULL);
        assert_non_null(pool);
        assert_int_equal(pool_threads(pool), threads);
        for (size_t job = 0; job < 300; job++)
            check_once(pool, job % 7 == 0 ? TASKS_MAX : job % 20);
        pool_free(pool);
    }
}

static void without_a_pool_the_caller_runs_all(void **state)
{
    (void)state;
    assert_int_equal(pool_threads(NULL), 1);
    check_once(NULL, 10);
    check_once(NULL, 0);
}

/* Long enough between jobs for the workers to fall asleep. */
static void sleeping_workers_are_woken(void **state)
{
    (void)state;
    struct pool *pool = pool_new(3, NULL);
    assert_non_null(pool);
    for (int job = 0; job < 20; job++) {
        nanosleep(&(struct timespec){.tv_nsec = 3000000}, NULL);
        check_once(pool, 50);
    }
    pool_free(pool);
}

static void add_one(void *arg, size_t i)
{
    int *n = arg;
    n[i * 16]++;
}

/* What a task wrote is seen by the caller after pool_run, without atomics. */
static void results_are_visible_to_the_caller(void **state)
{
    (void)state;
    struct pool *pool = pool_new(2, NULL);
    assert_non_null(pool);
    int n[4 * 16] = {0};
    for (int job = 1; job <= 20000; job++) {
        pool_run(pool, 4, add_one, n);
        for (size_t i = 0; i < 4; i++)
            assert_int_equal(n[i * 16], job);
    }
    pool_free(pool);
}

static void halve_the_smallest(void *arg, size_t i)
{
    volatile float x = 1.17549435e-38f;
    x *= 0.5f;
    ((float *)arg)[i] = x;
}

static void every_thread_flushes_denormals(void **state)
{
    (void)state;
#if defined(__x86_64__)
    pool_thread_init();
    struct pool *pool = pool_new(4, NULL);
    assert_non_null(pool);
    float out[64];
    memset(out, 1, sizeof out);
    pool_run(pool, 64, halve_the_smallest, out);
    for (size_t i = 0; i < 64; i++)
        assert_true(out[i] == 0.0f);
    pool_free(pool);
#else
    skip();
#endif
}

static void too_many_threads_are_refused(void **state)
{
    (void)state;
    struct err err = {0};
    assert_null(pool_new(POOL_THREADS_MAX + 1, &err));
    assert_int_equal(err.code, ERR_VALUE);
    assert_non_null(strstr(err.text, "65 threads"));
    pool_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_task_runs_once),
        cmocka_unit_test(without_a_pool_the_caller_runs_all),
        cmocka_unit_test(sleeping_workers_are_woken),
        cmocka_unit_test(results_are_visible_to_the_caller),
        cmocka_unit_test(every_thread_flushes_denormals),
        cmocka_unit_test(too_many_threads_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* exchange_behind.c -- a sum behind the caller's back: see exchange.h. */
#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "engine/pool.h"
#include "learner/exchange_state.h"

static void *exchange_behind_thread(void *ctx)
{
    struct exchange *x = ctx;
    struct exchange_behind *b = &x->behind;
    pool_thread_init(); /* the bits of a sum depend on the mode */
    pthread_mutex_lock(&b->mutex);
    while (b->state != EXCHANGE_BEHIND_QUIT) {
        if (b->state != EXCHANGE_BEHIND_ASKED) {
            pthread_cond_wait(&b->changed, &b->mutex);
            continue;
        }
        pthread_mutex_unlock(&b->mutex);
        b->rc = exchange_sum_final(x, b->kind, b->leaves, b->node, b->P, b->sum, &b->err);
        atomic_store(&b->failed, b->rc != ERR_OK);
        pthread_mutex_lock(&b->mutex);
        b->state = EXCHANGE_BEHIND_DONE;
        pthread_cond_broadcast(&b->changed);
    }
    pthread_mutex_unlock(&b->mutex);
    return NULL;
}

enum err_code exchange_behind_open(struct exchange *x, struct err *err)
{
    struct exchange_behind *b = &x->behind;
    sigset_t all, before; /* signals are for the main thread */
    b->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (b->wake < 0)
        return err_errno(err, "make an eventfd for an exchange of gradients");
    pthread_mutex_init(&b->mutex, NULL);
    pthread_cond_init(&b->changed, NULL);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int rc = pthread_create(&b->thread, NULL, exchange_behind_thread, x);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc == 0)
        return ERR_OK;
    close(b->wake);
    pthread_cond_destroy(&b->changed);
    pthread_mutex_destroy(&b->mutex);
    return err_set(err, ERR_NOMEM, "no thread for an exchange of gradients: %s", strerror(rc));
}

static void exchange_behind_tell(struct exchange_behind *b, enum exchange_behind_state state)
{
    pthread_mutex_lock(&b->mutex);
    b->state = state;
    pthread_cond_broadcast(&b->changed);
    pthread_mutex_unlock(&b->mutex);
}

static void exchange_behind_wait(struct exchange_behind *b)
{
    pthread_mutex_lock(&b->mutex);
    while (b->state != EXCHANGE_BEHIND_DONE)
        pthread_cond_wait(&b->changed, &b->mutex);
    b->state = EXCHANGE_BEHIND_IDLE;
    pthread_mutex_unlock(&b->mutex);
    b->is_under_way = false;
}

void exchange_behind_close(struct exchange *x)
{
    struct exchange_behind *b = &x->behind;
    exchange_behind_cancel(x, "it is being closed");
    exchange_behind_tell(b, EXCHANGE_BEHIND_QUIT);
    pthread_join(b->thread, NULL);
    pthread_cond_destroy(&b->changed);
    pthread_mutex_destroy(&b->mutex);
    close(b->wake);
}

enum err_code exchange_sum_begin(struct exchange *x, enum precision kind, uint32_t leaves,
                                 const void *const *node, size_t P, size_t first, void *sum,
                                 struct err *err)
{
    struct exchange_behind *b = &x->behind;
    assert(!b->is_under_way && first <= P);
    const enum err_code rc = exchange_check_joined(x, err);
    if (rc)
        return rc;
    b->kind = kind;
    b->leaves = leaves;
    b->node = node;
    b->P = P;
    b->sum = sum;
    b->chunk_numbers =
        exchange_cut(P * gradient_bytes(kind), x->group.ranks, 0).chunk / gradient_bytes(kind);
    atomic_store(&b->first, first);
    b->err = (struct err){0};
    b->is_under_way = true;
    atomic_store(&b->failed, false);
    exchange_behind_tell(b, EXCHANGE_BEHIND_ASKED);
    return ERR_OK;
}

void exchange_sum_ready(struct exchange *x, size_t first)
{
    struct exchange_behind *b = &x->behind;
    const size_t before = atomic_load(&b->first), chunk = b->chunk_numbers;
    assert(b->is_under_way && first <= before);
    atomic_store(&b->first, first);
    if ((first + chunk - 1) / chunk < (before + chunk - 1) / chunk) /* a chunk more is final */
        eventfd_write(b->wake, 1); /* full: it has not been heard of yet, and will be */
}

void exchange_behind_hear(struct exchange *x)
{
    eventfd_t count;
    eventfd_read(x->behind.wake, &count); /* mostly there is nothing */
}

bool exchange_sum_failed(const struct exchange *x)
{
    return atomic_load(&x->behind.failed);
}

enum err_code exchange_sum_end(struct exchange *x, struct err *err)
{
    struct exchange_behind *b = &x->behind;
    assert(b->is_under_way);
    const uint64_t before_us = clock_mono_us();
    exchange_behind_wait(b);
    atomic_fetch_add(&x->waited_us, clock_mono_us() - before_us);
    atomic_store(&b->failed, false);
    return b->rc ? err_set(err, b->rc, "%s", b->err.text) : ERR_OK;
}

void exchange_behind_cancel(struct exchange *x, const char *why)
{
    struct exchange_behind *b = &x->behind;
    if (!b->is_under_way)
        return;
    snprintf(b->why, sizeof b->why, "%.*s", (int)sizeof b->why - 1, why);
    atomic_store(&b->cancelled, true);
    exchange_behind_wait(b);
    atomic_store(&b->cancelled, false);
    atomic_store(&b->failed, false);
}

/* mailbox.c -- see mailbox.h. */
#include "node/mailbox.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"

static void mailbox_init_cond(pthread_cond_t *cond)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &attributes);
    pthread_condattr_destroy(&attributes);
}

/* False once until_ms (CLOCK_MONOTONIC, as clock_mono_ms) has passed; < 0: never. */
static bool mailbox_wait(struct mailbox *mailbox, pthread_cond_t *cond, int64_t until_ms)
{
    if (until_ms < 0) {
        pthread_cond_wait(cond, &mailbox->mutex);
        return true;
    }
    const struct timespec until = {.tv_sec = until_ms / 1000,
                                   .tv_nsec = (long)(until_ms % 1000) * 1000000};
    return pthread_cond_timedwait(cond, &mailbox->mutex, &until) != ETIMEDOUT;
}

void mailbox_init(struct mailbox *mailbox)
{
    memset(mailbox, 0, sizeof *mailbox);
    pthread_mutex_init(&mailbox->mutex, NULL);
    mailbox_init_cond(&mailbox->lease_came);
    mailbox_init_cond(&mailbox->room_came);
}

static struct mailbox_result *mailbox_result(struct mailbox *mailbox, uint32_t i)
{
    return &mailbox->outbox[(mailbox->outbox_first + i) % WORKER_OUTBOX_MAX];
}

static void mailbox_drop_first_result(struct mailbox *mailbox)
{
    struct mailbox_result *first = mailbox_result(mailbox, 0);
    mailbox->outbox_bytes -= wire_packet_bytes(first->packet);
    wire_packet_free(first->packet);
    *first = (struct mailbox_result){0};
    mailbox->outbox_first = (mailbox->outbox_first + 1) % WORKER_OUTBOX_MAX;
    mailbox->outbox_n--;
}

static void mailbox_drop_first_lease(struct mailbox *mailbox)
{
    mailbox->inbox[mailbox->inbox_first] = (struct message){0};
    mailbox->inbox_first = (mailbox->inbox_first + 1) % WORKER_INBOX_MAX;
    mailbox->inbox_n--;
}

void mailbox_release(struct mailbox *mailbox)
{
    mailbox_drop_leases(mailbox);
    while (mailbox->outbox_n > 0)
        mailbox_drop_first_result(mailbox);
    pthread_cond_destroy(&mailbox->lease_came);
    pthread_cond_destroy(&mailbox->room_came);
    pthread_mutex_destroy(&mailbox->mutex);
}

bool mailbox_put_lease(struct mailbox *mailbox, struct message *lease)
{
    pthread_mutex_lock(&mailbox->mutex);
    const bool room = mailbox->inbox_n < WORKER_INBOX_MAX && !mailbox->stopping;
    if (room) {
        const uint32_t at = (mailbox->inbox_first + mailbox->inbox_n++) % WORKER_INBOX_MAX;
        mailbox->inbox[at] = *lease;
        *lease = (struct message){0};
        pthread_cond_signal(&mailbox->lease_came);
    }
    pthread_mutex_unlock(&mailbox->mutex);
    return room;
}

void mailbox_drop_leases(struct mailbox *mailbox)
{
    pthread_mutex_lock(&mailbox->mutex);
    while (mailbox->inbox_n > 0) {
        message_release(&mailbox->inbox[mailbox->inbox_first]);
        mailbox_drop_first_lease(mailbox);
    }
    pthread_mutex_unlock(&mailbox->mutex);
}

bool mailbox_has_lease(struct mailbox *mailbox)
{
    pthread_mutex_lock(&mailbox->mutex);
    const bool has = mailbox->inbox_n > 0;
    pthread_mutex_unlock(&mailbox->mutex);
    return has;
}

bool mailbox_take_lease(struct mailbox *mailbox, struct message *lease, int64_t timeout_ms)
{
    const int64_t until_ms = timeout_ms < 0 ? -1 : (int64_t)clock_mono_ms() + timeout_ms;
    pthread_mutex_lock(&mailbox->mutex);
    while (timeout_ms != 0 && mailbox->inbox_n == 0 && !mailbox->stopping)
        if (!mailbox_wait(mailbox, &mailbox->lease_came, until_ms))
            break;
    const bool taken = mailbox->inbox_n > 0 && !mailbox->stopping;
    if (taken) {
        *lease = mailbox->inbox[mailbox->inbox_first];
        mailbox_drop_first_lease(mailbox);
    }
    pthread_mutex_unlock(&mailbox->mutex);
    return taken;
}

/* One result larger than all the room has it for itself. */
static bool mailbox_has_room(const struct mailbox *mailbox, size_t bytes)
{
    return mailbox->outbox_n == 0 ||
           (mailbox->outbox_n < WORKER_OUTBOX_MAX && bytes <= WORKER_OUTBOX_BYTES_MAX &&
            mailbox->outbox_bytes <= WORKER_OUTBOX_BYTES_MAX - bytes);
}

enum err_code mailbox_put_result(struct mailbox *mailbox, struct wire_packet *packet,
                                 bool wants_ack, struct err *err)
{
    const size_t bytes = wire_packet_bytes(packet);
    pthread_mutex_lock(&mailbox->mutex);
    bool waits = true;
    while (waits && !mailbox->aborted && !mailbox_has_room(mailbox, bytes))
        waits = mailbox_wait(
            mailbox, &mailbox->room_came,
            mailbox->stopping ? (int64_t)mailbox->stop_ms + (int64_t)WORKER_FLUSH_MS : -1);
    const bool room = !mailbox->aborted && mailbox_has_room(mailbox, bytes);
    if (room) {
        *mailbox_result(mailbox, mailbox->outbox_n++) =
            (struct mailbox_result){.packet = packet, .wants_ack = wants_ack};
        mailbox->outbox_bytes += bytes;
        mailbox->results++;
    }
    const uint32_t waiting = mailbox->outbox_n;
    pthread_mutex_unlock(&mailbox->mutex);
    if (room)
        return ERR_OK;
    wire_packet_free(packet);
    return err_set(
        err, ERR_UNAVAILABLE,
        "a result is given up: the worker stops and %u before it are not acknowledged",
        waiting);
}

void mailbox_begin_session(struct mailbox *mailbox)
{
    pthread_mutex_lock(&mailbox->mutex);
    for (uint32_t i = 0; i < mailbox->outbox_n; i++)
        mailbox_result(mailbox, i)->seq = 0;
    pthread_mutex_unlock(&mailbox->mutex);
}

/* With the mutex held: what is done with at the front goes. */
static void mailbox_trim(struct mailbox *mailbox, uint64_t acked_seq)
{
    bool freed = false;
    while (mailbox->outbox_n > 0) {
        const struct mailbox_result *first = mailbox_result(mailbox, 0);
        if (first->seq == 0 || (first->wants_ack && first->seq > acked_seq))
            break;
        mailbox->acked += first->wants_ack;
        mailbox_drop_first_result(mailbox);
        freed = true;
    }
    if (freed)
        pthread_cond_signal(&mailbox->room_came);
}

bool mailbox_flush(struct mailbox *mailbox,
                   uint64_t (*send)(void *ctx, const struct wire_packet *packet), void *ctx)
{
    bool sent = false;
    pthread_mutex_lock(&mailbox->mutex);
    for (uint32_t i = 0; i < mailbox->outbox_n; i++) {
        struct mailbox_result *result = mailbox_result(mailbox, i);
        if (result->seq != 0)
            continue;
        result->seq = send(ctx, result->packet);
        if (result->seq == 0)
            break;
        mailbox->resent += result->was_sent;
        result->was_sent = sent = true;
    }
    mailbox_trim(mailbox, 0);
    pthread_mutex_unlock(&mailbox->mutex);
    return sent;
}

void mailbox_ack(struct mailbox *mailbox, uint64_t seq)
{
    pthread_mutex_lock(&mailbox->mutex);
    mailbox_trim(mailbox, seq);
    pthread_mutex_unlock(&mailbox->mutex);
}

void mailbox_stop(struct mailbox *mailbox, bool abort)
{
    pthread_mutex_lock(&mailbox->mutex);
    if (!mailbox->stopping)
        mailbox->stop_ms = clock_mono_ms();
    mailbox->stopping = true;
    mailbox->aborted = mailbox->aborted || abort;
    pthread_cond_broadcast(&mailbox->lease_came);
    pthread_cond_broadcast(&mailbox->room_came);
    pthread_mutex_unlock(&mailbox->mutex);
}

bool mailbox_is_stopping(struct mailbox *mailbox)
{
    pthread_mutex_lock(&mailbox->mutex);
    const bool stopping = mailbox->stopping;
    pthread_mutex_unlock(&mailbox->mutex);
    return stopping;
}

bool mailbox_is_flushed(struct mailbox *mailbox)
{
    pthread_mutex_lock(&mailbox->mutex);
    const bool flushed = mailbox->outbox_n == 0;
    pthread_mutex_unlock(&mailbox->mutex);
    return flushed;
}

void mailbox_count(struct mailbox *mailbox, struct worker_counters *out)
{
    pthread_mutex_lock(&mailbox->mutex);
    out->results = mailbox->results;
    out->results_acked = mailbox->acked;
    out->results_resent = mailbox->resent;
    out->outbox = mailbox->outbox_n;
    out->outbox_bytes = mailbox->outbox_bytes;
    pthread_mutex_unlock(&mailbox->mutex);
}

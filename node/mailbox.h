/*
 * mailbox.h -- what lies between a worker's two threads: leases in, results out.
 *
 *      loop thread                                             compute thread
 *      mailbox_put_lease    --> inbox,  at most WORKER_INBOX_MAX  --> mailbox_take_lease
 *      mailbox_flush, _ack  <-- outbox, at most WORKER_OUTBOX_MAX <-- mailbox_put_result
 *
 * A result is in the outbox until it was acknowledged: sent once a session, in order.  All
 * functions are safe from any thread; only the compute thread's two block.
 */
#ifndef NODE_MAILBOX_H
#define NODE_MAILBOX_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "node/worker.h"
#include "wire/socket.h"

struct mailbox_result {
    struct wire_packet *packet;
    uint64_t seq;   /* in this session; 0: not sent in it */
    bool was_sent;  /* in any */
    bool wants_ack; /* else it is done with when sent */
};

struct mailbox {
    pthread_mutex_t mutex;
    pthread_cond_t lease_came, room_came; /* or stopping */
    bool stopping;
    bool aborted; /* stopping, and nothing is sent any more */
    uint64_t stop_ms;

    struct message inbox[WORKER_INBOX_MAX]; /* a ring */
    uint32_t inbox_first, inbox_n;

    struct mailbox_result outbox[WORKER_OUTBOX_MAX]; /* a ring */
    uint32_t outbox_first, outbox_n;
    uint64_t outbox_bytes;
    uint64_t results, acked, resent; /* counters */
};

void mailbox_init(struct mailbox *mailbox);
void mailbox_release(struct mailbox *mailbox);

/* Moves *lease in; false, and *lease untouched, where the inbox is full or stopping. */
bool mailbox_put_lease(struct mailbox *mailbox, struct message *lease);

/* Forget the leases that were not taken. */
void mailbox_drop_leases(struct mailbox *mailbox);

/* The oldest lease, moved to *lease.  Blocks up to timeout_ms (0: not, < 0: for ever); false
 * on timeout and when stopping. */
bool mailbox_take_lease(struct mailbox *mailbox, struct message *lease, int64_t timeout_ms);

bool mailbox_has_lease(struct mailbox *mailbox);

/* Takes ownership of the packet, also on failure.  Blocks while the outbox is full;
 * ERR_UNAVAILABLE where it stayed full for WORKER_FLUSH_MS after mailbox_stop, or aborted. */
enum err_code mailbox_put_result(struct mailbox *mailbox, struct wire_packet *packet,
                                 bool wants_ack, struct err *err);

/* A new session: everything is to be sent again. */
void mailbox_begin_session(struct mailbox *mailbox);

/* Offer what was not sent in this session to `send`, in order, until it returns 0; otherwise it
 * returns the seq it was sent under.  True where at least one was sent. */
bool mailbox_flush(struct mailbox *mailbox,
                   uint64_t (*send)(void *ctx, const struct wire_packet *packet), void *ctx);

/* Forget results sent under a seq up to this one. */
void mailbox_ack(struct mailbox *mailbox, uint64_t seq);

/* Wake the compute thread and let it see that it is to stop. */
void mailbox_stop(struct mailbox *mailbox, bool abort);
bool mailbox_is_stopping(struct mailbox *mailbox);
bool mailbox_is_flushed(struct mailbox *mailbox); /* the outbox is empty */

/* Fills the counters that are the mailbox's. */
void mailbox_count(struct mailbox *mailbox, struct worker_counters *out);

#endif

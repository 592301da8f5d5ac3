/* guard_thread.c -- who connects, and may; what of it fails; and KEYS/peers read again: the guard's
 * thread.  See guard.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#include "base/clock.h"
#include "base/log.h"
#include "wire/guard_state.h"

#define GUARD_FRAME_MAX 256 /* bytes of a frame of ZAP, or of an event, that are looked at */
#define GUARD_FRAMES \
    7 /* of a question: version, id, domain, address, identity, mechanism, key */

struct guard_frame {
    char bytes[GUARD_FRAME_MAX];
    size_t len;
};

/* Count, and whether it is time to tell of it. */
static bool guard_thread_refused(struct guard *guard, enum wire_refused reason)
{
    pthread_mutex_lock(&guard->mutex);
    guard->refused[reason]++;
    const bool proved = guard->proved;
    pthread_mutex_unlock(&guard->mutex);
    const uint64_t now = clock_mono_ms();
    if (!proved || (guard->told_ms[reason] && now - guard->told_ms[reason] < GUARD_TELL_MS))
        return false;
    guard->told_ms[reason] = now ? now : 1;
    return true;
}

/* --- ZAP: RFC 27 of ZeroMQ ---------------------------------------------------------------- */

/* A message, as far as n frames go.  The number of frames; 0: no message waits. */
static size_t guard_thread_recv(void *socket, struct guard_frame *frame, size_t n)
{
    size_t count = 0;
    int more = 1;
    while (more) {
        zmq_msg_t msg;
        zmq_msg_init(&msg);
        if (zmq_msg_recv(&msg, socket, ZMQ_DONTWAIT) < 0) {
            zmq_msg_close(&msg);
            return 0;
        }
        if (count < n) {
            frame[count].len = zmq_msg_size(&msg) < GUARD_FRAME_MAX - 1 ? zmq_msg_size(&msg)
                                                                        : GUARD_FRAME_MAX - 1;
            memcpy(frame[count].bytes, zmq_msg_data(&msg), frame[count].len);
            frame[count].bytes[frame[count].len] = '\0';
        }
        count++;
        more = zmq_msg_more(&msg);
        zmq_msg_close(&msg);
    }
    return count;
}

/* libzmq puts `user` on each message of the connection: the key itself, as a name may get
 * another. */
static void guard_thread_answer(struct guard *guard, const struct guard_frame *id, bool may,
                                const char *user)
{
    const char *const words[] = {may ? "200" : "400", may ? "OK" : "unknown key", user};
    zmq_send(guard->zap, "1.0", 3, ZMQ_SNDMORE);
    zmq_send(guard->zap, id->bytes, id->len, ZMQ_SNDMORE);
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        zmq_send(guard->zap, words[i], strlen(words[i]), ZMQ_SNDMORE);
    zmq_send(guard->zap, "", 0, 0);
}

static void guard_thread_on_question(struct guard *guard)
{
    struct guard_frame frame[GUARD_FRAMES];
    struct keys_peer user;
    struct hash key;
    char hex[HASH_HEX_BYTES] = "";
    const size_t n = guard_thread_recv(guard->zap, frame, GUARD_FRAMES);
    if (n == 0)
        return;
    const bool may = n == GUARD_FRAMES && strcmp(frame[5].bytes, "CURVE") == 0 &&
                     frame[6].len == KEYS_BYTES &&
                     guard_knows(guard, (const unsigned char *)frame[6].bytes, &user);
    static const struct guard_frame none = {.len = 0};
    if (may) {
        memcpy(key.bytes, frame[6].bytes, sizeof key.bytes);
        hash_hex(&key, hex);
    }
    guard_thread_answer(guard, n > 1 ? &frame[1] : &none, may, hex);
    if (!may && guard_thread_refused(guard, WIRE_REFUSED_KEY))
        log_warn("KEY-REFUSED", "a connection from %s: its key is not in %s",
                 n > 3 ? frame[3].bytes : "?", guard->path);
}

/* --- monitors ----------------------------------------------------------------------------- */

#define GUARD_EVENTS                                                              \
    (ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | \
     ZMQ_EVENT_HANDSHAKE_FAILED_AUTH | ZMQ_EVENT_MONITOR_STOPPED)

/* The address of a monitor is in its events; its PAIR is handed to the guard's thread. */
void guard_thread_watch(struct guard *guard, void *socket, bool serves, const char *endpoint)
{
    pthread_mutex_lock(&guard->mutex);
    if (guard->monitors < GUARD_MONITORS_MAX) {
        char name[48];
        snprintf(name, sizeof name, "inproc://guard-%u", guard->number++);
        struct guard_monitor *monitor = &guard->monitor[guard->monitors];
        void *events = zmq_socket(guard->zmq, ZMQ_PAIR);
        const int none = 0; /* else libzmq's I/O thread would wait for a monitor not read */
        if (events && zmq_setsockopt(events, ZMQ_RCVHWM, &none, sizeof none) == 0 &&
            zmq_socket_monitor(socket, name, GUARD_EVENTS) == 0 &&
            zmq_connect(events, name) == 0) {
            *monitor = (struct guard_monitor){.events = events, .serves = serves};
            snprintf(monitor->endpoint, sizeof monitor->endpoint, "%s", endpoint);
            guard->monitors++;
        } else if (events) {
            zmq_close(events);
        }
    }
    pthread_mutex_unlock(&guard->mutex);
}

/* Which of two ends gives up first is chance, so what each sees is not told apart. */
static void guard_thread_tell(struct guard *guard, uint16_t event,
                              const struct guard_monitor *monitor)
{
    if (event == ZMQ_EVENT_HANDSHAKE_FAILED_AUTH) {
        if (!monitor->serves &&
            guard_thread_refused(guard, WIRE_REFUSED_KEY)) /* else ZAP counts it */
            log_error("KEY-REFUSED", "%s does not know the key of %s: its peers lack it",
                      monitor->endpoint, guard->own.name);
    } else if (guard_thread_refused(guard, WIRE_REFUSED_HANDSHAKE)) {
        log_warn("HANDSHAKE",
                 monitor->serves ? "a connection to %s showed no key: it has none, or one for "
                                   "a server with another key than %s"
                                 : "%s has no key, or another than %s says",
                 monitor->endpoint, monitor->serves ? guard->key : guard->path);
    }
}

/* One event, two frames: number and value, address.  False: the monitor is to be closed. */
static bool guard_thread_on_event(struct guard *guard, const struct guard_monitor *monitor)
{
    struct guard_frame frame[2];
    uint16_t event;
    if (guard_thread_recv(monitor->events, frame, 2) == 0 || frame[0].len < sizeof event)
        return true;
    memcpy(&event, frame[0].bytes, sizeof event);
    if (event == ZMQ_EVENT_MONITOR_STOPPED)
        return false;
    guard_thread_tell(guard, event, monitor);
    return true;
}

static void guard_thread_unwatch(struct guard *guard, const void *events)
{
    pthread_mutex_lock(&guard->mutex);
    for (size_t i = 0; i < guard->monitors; i++)
        if (guard->monitor[i].events == events) {
            zmq_close(guard->monitor[i].events);
            guard->monitor[i] = guard->monitor[--guard->monitors];
            break;
        }
    pthread_mutex_unlock(&guard->mutex);
}

/* --- the thread --------------------------------------------------------------------------- */

static void guard_thread_look(struct guard *guard)
{
    struct keys_peers *peers = NULL;
    struct err err;
    if (!guard_peers_changed(guard))
        return;
    guard->unreadable = guard_read_peers(guard, &peers, &err) != ERR_OK;
    if (guard->unreadable) {
        log_error("KEYS", "%s; the keys known before stay", err.text);
        return;
    }
    pthread_mutex_lock(&guard->mutex);
    struct keys_peers *old = guard->peers;
    guard->peers = peers;
    pthread_mutex_unlock(&guard->mutex);
    log_info("KEYS", "%s: %zu keys, %zu before", guard->path, peers->n, old->n);
    free(old);
}

/* What there is to be waited for: the questions, and each monitor.  Returns how many. */
static int guard_thread_items(struct guard *guard, zmq_pollitem_t *items,
                              struct guard_monitor *monitors)
{
    int n = 1;
    items[0] = (zmq_pollitem_t){.socket = guard->zap, .events = ZMQ_POLLIN};
    pthread_mutex_lock(&guard->mutex);
    for (size_t i = 0; i < guard->monitors; i++) {
        monitors[n] = guard->monitor[i];
        items[n++] = (zmq_pollitem_t){.socket = guard->monitor[i].events, .events = ZMQ_POLLIN};
    }
    pthread_mutex_unlock(&guard->mutex);
    return n;
}

void *guard_thread_main(void *ctx)
{
    struct guard *guard = ctx;
    zmq_pollitem_t items[1 + GUARD_MONITORS_MAX];
    struct guard_monitor monitors[1 + GUARD_MONITORS_MAX];
    for (;;) {
        const int n = guard_thread_items(guard, items, monitors);
        if (zmq_poll(items, n, GUARD_LOOK_MS) < 0 && errno != EINTR)
            break; /* ETERM: the context ends */
        if (items[0].revents)
            guard_thread_on_question(guard);
        for (int i = 1; i < n; i++)
            if (items[i].revents && !guard_thread_on_event(guard, &monitors[i]))
                guard_thread_unwatch(guard, monitors[i].events);
        guard_thread_look(guard);
    }
    while (guard->monitors > 0)
        guard_thread_unwatch(guard, guard->monitor[0].events);
    zmq_close(guard->zap);
    return NULL;
}

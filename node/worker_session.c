/* worker_session.c -- the session with the coordinator, in the loop's thread: see worker.h. */
#include <assert.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "node/worker_state.h"

#define WORKER_WELCOME_MS     3000u /* a HELLO unanswered for so long is said again */
#define WORKER_CONNECT_MS     7000u /* longer than a connection and its handshake may take */
#define WORKER_BACKOFF_MAX_MS 2000u
#define WORKER_LINGER_MS      500 /* for BYE */

/* ++ of a counter that other threads read. */
static void worker_session_bump(struct worker *w, uint64_t *counter)
{
    pthread_mutex_lock(&w->mutex);
    ++*counter;
    pthread_mutex_unlock(&w->mutex);
}

void worker_session_enter(struct worker *w, enum worker_state state)
{
    pthread_mutex_lock(&w->mutex);
    w->state = state;
    pthread_mutex_unlock(&w->mutex);
}

/* Say something in the present session, or HELLO in none. */
static bool worker_session_say(struct worker *w, struct message *message)
{
    if (!w->socket)
        return false;
    message->epoch = w->epoch;
    message->session = atomic_load(&w->session);
    message->seq = w->seq + 1;
    struct err err = {0};
    const enum wire_send sent =
        wire_socket_send(loop_socket_wire(w->socket), (struct wire_peer){0}, message, &err);
    if (sent == WIRE_SEND_BAD)
        log_error("WORKER-SEND", "%s cannot say %s: %s", w->name,
                  message_type_name(message->type), err.text);
    if (sent != WIRE_SEND_OK)
        return false;
    w->seq++;
    w->said_ms = clock_mono_ms();
    return true;
}

static void worker_session_say_untried(struct worker *w, uint64_t lease, const char *reason)
{
    struct message m = {.type = MESSAGE_LEASE_FAILED, .lease = lease, .untried = true};
    message_set_text(&m, reason);
    worker_session_say(w, &m);
}

static uint64_t worker_session_send_packet(void *ctx, const struct wire_packet *packet)
{
    struct worker *w = ctx;
    struct err err = {0};
    const enum wire_send sent =
        wire_socket_send_packet(loop_socket_wire(w->socket), (struct wire_peer){0}, packet,
                                w->epoch, atomic_load(&w->session), w->seq + 1, &err);
    fault_at(FAULT_worker_result_sent);
    return sent == WIRE_SEND_OK ? ++w->seq : 0;
}

static struct wire_weights worker_session_weights(struct worker *w)
{
    pthread_mutex_lock(&w->mutex);
    struct wire_weights weights = w->tally.sum;
    pthread_mutex_unlock(&w->mutex);
    weights.sent_bytes = w->server ? weights_server_sent_bytes(w->server) : 0;
    return weights;
}

static void worker_session_beat(struct worker *w, const struct wire_weights *weights)
{
    struct message m = {.type = MESSAGE_HEARTBEAT,
                        .progress = atomic_load(&w->progress),
                        .held = atomic_load(&w->held),
                        .weights = *weights};
    if (!worker_session_say(w, &m))
        return;
    w->beat_ms = w->said_ms;
    w->told = *weights;
}

/* Where nothing else was said for so long; and results do not tell of weights. */
static void worker_session_live(struct worker *w, uint64_t now_ms)
{
    if (now_ms - w->beat_ms + WORKER_TICK_MS <= w->heartbeat_ms)
        return;
    const struct wire_weights weights = worker_session_weights(w);
    if (now_ms - w->said_ms + WORKER_TICK_MS > w->heartbeat_ms ||
        memcmp(&weights, &w->told, sizeof weights) != 0)
        worker_session_beat(w, &weights);
}

static void worker_session_flush(struct worker *w)
{
    if (w->state == WORKER_READY && mailbox_flush(&w->mailbox, worker_session_send_packet, w))
        w->said_ms = clock_mono_ms();
}

/* Leave the session, if any, and come back later. */
static void worker_session_drop(struct worker *w, const char *why)
{
    if (w->state == WORKER_READY)
        log_warn("SESSION-LOST", "%s: session with %s ended: %s", w->name, w->control, why);
    loop_socket_close(w->socket, 0);
    w->socket = NULL;
    atomic_store(&w->session, 0);
    mailbox_drop_leases(&w->mailbox);
    w->retry_ms = clock_mono_ms() + w->backoff_ms;
    w->backoff_ms *= 2;
    if (w->backoff_ms > WORKER_BACKOFF_MAX_MS)
        w->backoff_ms = WORKER_BACKOFF_MAX_MS;
    worker_session_enter(w, WORKER_BACKOFF);
}

static void worker_session_on_welcome(struct worker *w, const struct message *m)
{
    if (w->state != WORKER_CONNECTING || !w->hello_sent || m->session == 0)
        return;
    w->epoch = m->epoch;
    w->heartbeat_ms = m->heartbeat_ms;
    w->dead_ms = m->dead_ms;
    w->backoff_ms = WORKER_BACKOFF_MS;
    w->seq = 0;
    w->beat_ms = clock_mono_ms();
    w->told = (struct wire_weights){0};
    atomic_store(&w->session, m->session);
    mailbox_begin_session(&w->mailbox);
    worker_session_bump(w, &w->counters.sessions);
    worker_session_enter(w, WORKER_READY);
    fault_at(FAULT_worker_welcomed);
    log_info("SESSION-OPEN", "%s: session %016llx with %s, epoch %llu", w->name,
             (unsigned long long)m->session, w->control, (unsigned long long)m->epoch);
    worker_session_flush(w);
}

/* w->refusal says why: compute is to end, and nothing that it sent can go anywhere. */
static void worker_session_refuse(struct worker *w)
{
    w->refused = true;
    log_error("WORKER-REFUSED", "%s", w->refusal.text);
    mailbox_stop(&w->mailbox, true);
}

static void worker_session_on_reset(struct worker *w, const struct message *m)
{
    worker_session_bump(w, &w->counters.resets);
    if (m->refused) {
        err_set(&w->refusal, ERR_USAGE, "the coordinator at %s refused %s: %s", w->control,
                w->name, m->text);
        worker_session_refuse(w);
    }
    worker_session_drop(w, m->text[0] ? m->text : "RESET");
}

static enum message_type worker_session_lease_type(enum wire_role role)
{
    switch (role) {
    case WIRE_ROLE_ACTOR: return MESSAGE_GENERATE_LEASE;
    case WIRE_ROLE_REWARD: return MESSAGE_SCORE_LEASE;
    case WIRE_ROLE_LEARNER: return MESSAGE_TRAIN_LEASE;
    case WIRE_ROLE_NONE: break;
    }
    return MESSAGE_NONE;
}

static void worker_session_on_lease(struct worker *w, struct message *m)
{
    const uint64_t lease = m->lease;
    if (m->type != worker_session_lease_type(w->role)) {
        worker_session_bump(w, &w->counters.protocol_errors);
        worker_session_say_untried(w, lease, "not a lease for this role");
        return;
    }
    fault_at(FAULT_worker_lease);
    if (mailbox_put_lease(&w->mailbox, m)) {
        worker_session_bump(w, &w->counters.leases);
        return;
    }
    worker_session_bump(w, &w->counters.leases_refused);
    worker_session_say_untried(w, lease,
                               mailbox_is_stopping(&w->mailbox) ? "the worker is stopping"
                                                                : "the worker's inbox is full");
}

static void worker_session_on_message(void *ctx, struct wire_peer peer, struct message *m)
{
    (void)peer;
    struct worker *w = ctx;
    w->heard_ms = clock_mono_ms();
    if (m->type == MESSAGE_WELCOME || m->type == MESSAGE_RESET) {
        if (m->type == MESSAGE_WELCOME)
            worker_session_on_welcome(w, m);
        else
            worker_session_on_reset(w, m);
        return;
    }
    if (w->state != WORKER_READY || m->session != atomic_load(&w->session) ||
        m->epoch != w->epoch) {
        log_debug("WORKER-STALE", "%s: %s of another session", w->name,
                  message_type_name(m->type));
        return;
    }
    switch (m->type) {
    case MESSAGE_HEARTBEAT: break;
    case MESSAGE_ACK:
        mailbox_ack(&w->mailbox, m->ack_seq);
        fault_at(FAULT_worker_result_acked);
        break;
    case MESSAGE_GENERATE_LEASE:
    case MESSAGE_SCORE_LEASE:
    case MESSAGE_TRAIN_LEASE: worker_session_on_lease(w, m); break;
    case MESSAGE_BYE:
        log_info("RUN-OVER", "%s: the coordinator says: %s", w->name, m->text);
        w->flush_until_ms = clock_mono_ms(); /* nobody will acknowledge what is left */
        worker_stop(w);
        break;
    default:
        worker_session_bump(w, &w->counters.protocol_errors);
        log_warn("WORKER-PROTOCOL", "%s: the coordinator sent %s", w->name,
                 message_type_name(m->type));
    }
}

static void worker_session_on_protocol_error(void *ctx, struct wire_peer peer,
                                             const struct err *err)
{
    (void)peer;
    struct worker *w = ctx;
    worker_session_bump(w, &w->counters.protocol_errors);
    log_warn("WORKER-PROTOCOL", "%s: from %s: %s", w->name, w->control, err->text);
}

static void worker_session_hello(struct worker *w)
{
    struct message m = {
        .type = MESSAGE_HELLO,
        .role = w->role,
        .config_hash = w->config_hash,
        .capacity = w->capacity,
        .pid = (uint64_t)getpid(),
    };
    memcpy(m.name, w->name, sizeof m.name);
    memcpy(m.text, w->bulk, sizeof m.text);
    pthread_mutex_lock(&w->mutex);
    m.version = w->version;
    m.has_hash = w->has_hash;
    m.hash = w->hash;
    pthread_mutex_unlock(&w->mutex);
    const int rc = uv_random(NULL, NULL, m.nonce, sizeof m.nonce, 0, NULL);
    assert(rc == 0); /* getrandom() */
    (void)rc;
    w->epoch = 0;
    w->seq = 0;
    fault_at(FAULT_worker_hello);
    if (worker_session_say(w, &m)) {
        fault_at(FAULT_worker_hello_said);
        w->hello_sent = true;
        w->since_ms = clock_mono_ms();
    }
}

/* Where is the coordinator now?  A disk that makes this wait holds up no session: there is none.
 * Once found it is looked for without end: it comes back. */
static bool worker_session_find(struct worker *w)
{
    char control[WIRE_ENDPOINT_MAX];
    struct err err = {0};
    if (w->rendezvous[0] == '\0')
        return true;
    if (rendezvous_read(w->rendezvous, w->job, control, &err) == ERR_OK) {
        if (strcmp(control, w->control) != 0)
            log_info("RENDEZVOUS", "%s: the coordinator of job %s is at %s", w->name, w->job,
                     control);
        strcpy(w->control, control);
        return true;
    }
    if (w->control[0] == '\0' && w->backoff_ms == WORKER_BACKOFF_MS)
        log_info("RENDEZVOUS", "%s looks for the coordinator: %s", w->name, err.text);
    if (w->control[0] == '\0' && clock_mono_ms() >= w->find_until_ms) {
        err_set(&w->refusal, ERR_UNAVAILABLE, "%s finds no coordinator: %.400s", w->name,
                err.text);
        worker_session_refuse(w);
    }
    worker_session_drop(w, err.text);
    return false;
}

/* A socket of its own for each session: what an older one still brings can reach nobody. */
static void worker_session_connect(struct worker *w)
{
    static const struct loop_socket_ops ops = {worker_session_on_message,
                                               worker_session_on_protocol_error};
    struct err err = {0};
    if (!worker_session_find(w))
        return;
    struct wire_socket *wire;
    enum err_code rc =
        wire_socket_connect(&wire, w->context, w->control, WIRE_LIMITS_CONTROL, &err);
    if (!rc)
        rc = loop_socket_open(&w->socket, w->loop, wire, &ops, w, &err);
    if (rc) {
        log_error("WORKER-SOCKET", "%s: %s", w->name, err.text);
        w->socket = NULL;
        worker_session_drop(w, err.text);
        return;
    }
    w->hello_sent = false;
    w->since_ms = clock_mono_ms();
    worker_session_enter(w, WORKER_CONNECTING);
    worker_session_hello(w);
}

void worker_session_tick(struct worker *w, uint64_t now_ms)
{
    switch (w->state) {
    case WORKER_BACKOFF:
        if (now_ms >= w->retry_ms && !w->refused)
            worker_session_connect(w);
        break;
    case WORKER_CONNECTING:
        if (!w->hello_sent) {
            worker_session_hello(w);
            /* libzmq connects no more, for good, once a stranger at that address has answered. */
            if (!w->hello_sent && now_ms - w->since_ms >= WORKER_CONNECT_MS)
                worker_session_drop(w, "no connection");
        } else if (now_ms - w->since_ms >= WORKER_WELCOME_MS) {
            worker_session_bump(w, &w->counters.silences);
            log_warn("SESSION-NONE", "%s: no answer to HELLO from %s for %u ms", w->name,
                     w->control, WORKER_WELCOME_MS);
            worker_session_drop(w, "no answer to HELLO");
        }
        break;
    case WORKER_READY:
        if (now_ms - w->heard_ms >= w->dead_ms) {
            worker_session_bump(w, &w->counters.silences);
            worker_session_drop(w, "silence");
            break;
        }
        worker_session_flush(w);
        worker_session_live(w, now_ms);
        break;
    case WORKER_STOPPING:
    case WORKER_STOPPED: break;
    }
}

void worker_session_end(struct worker *w, const char *reason)
{
    struct message bye = {.type = MESSAGE_BYE};
    message_set_text(&bye, reason);
    if (w->state == WORKER_READY) {
        const struct wire_weights weights = worker_session_weights(w);
        if (memcmp(&weights, &w->told, sizeof weights) != 0)
            worker_session_beat(w, &weights);
        worker_session_say(w, &bye);
    }
    loop_socket_close(w->socket, WORKER_LINGER_MS);
    w->socket = NULL;
    atomic_store(&w->session, 0);
}

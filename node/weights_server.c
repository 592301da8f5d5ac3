/* weights_server.c -- see weights.h. */
#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "base/fault.h"
#include "base/log.h"
#include "node/loop.h"
#include "node/weights.h"
#include "node/weights_version.h"

struct weights_server {
    pthread_t thread;
    char endpoint[WIRE_ENDPOINT_MAX];
    uint32_t versions; /* held at most */

    /* the publisher's */
    bool shares;
    bool told; /* that there is no shared memory to be had */

    /* the server thread's */
    uv_loop_t loop;
    uv_async_t stop, wake;
    struct loop_socket *socket;
    struct weights_delta *delta;

    atomic_uint_fast64_t sent_bytes;
    pthread_mutex_t mutex; /* of what follows */
    struct weights_version *held[WEIGHTS_VERSIONS_MAX];
    uint32_t held_n;
    char relay[WEIGHTS_RELAYS_MAX][WIRE_TEXT_MAX]; /* the newest of those that asked */
    uint64_t relays;                               /* how many there were */
    struct weights_guest guest; /* all NULL: none */
};

/* With the mutex held. */
static struct weights_version *weights_server_find(struct weights_server *server,
                                                   uint64_t version)
{
    for (uint32_t i = 0; i < server->held_n; i++)
        if (server->held[i]->version == version)
            return server->held[i];
    return NULL;
}

static void weights_server_answer(struct weights_server *server, struct wire_peer peer,
                                  const struct message *answer)
{
    struct err err = {0};
    const enum wire_send sent =
        wire_socket_send(loop_socket_wire(server->socket), peer, answer, &err);
    /* FULL and GONE: the client asks again, or is no more. */
    if (sent == WIRE_SEND_BAD)
        log_error("WEIGHTS-SEND", "%s: %s", server->endpoint, err.text);
}

static void weights_server_manifest(struct weights_server *server, struct wire_peer peer,
                                    uint64_t version)
{
    fault_at(FAULT_weights_serve_manifest);
    const struct weights_version *held = weights_server_find(server, version);
    struct message answer = {.type = MESSAGE_WEIGHTS_MANIFEST, .version = version};
    if (held) {
        answer.bytes = held->size;
        answer.chunk_bytes = WIRE_CHUNK_BYTES;
        answer.hash = held->hash;
        answer.has_hash = true;
        answer.frames_n = 1;
        answer.frame[0] =
            (struct wire_bytes){held->chunk_hash, held->chunks * sizeof *held->chunk_hash};
    }
    if (held && held->memory.fd >= 0) {
        answer.pid = (uint64_t)getpid();
        answer.fd = (uint32_t)held->memory.fd;
    }
    weights_server_answer(server, peer, &answer);
}

/* What was given to the relay of this number is with nobody who is remembered. */
static void weights_server_forget(struct weights_server *server, uint32_t number)
{
    for (uint32_t i = 0; i < server->held_n; i++) {
        struct weights_version *held = server->held[i];
        for (uint32_t index = 0; index < held->chunks; index++)
            if (held->given[index] == 1 + number)
                held->given[index] = 0;
    }
}

/* The number of the relay at this endpoint; a new one takes the oldest's place. */
static uint32_t weights_server_number(struct weights_server *server, const char *endpoint)
{
    for (uint32_t i = 0; i < WEIGHTS_RELAYS_MAX; i++)
        if (strcmp(server->relay[i], endpoint) == 0)
            return i;
    const uint32_t number = (uint32_t)(server->relays++ % WEIGHTS_RELAYS_MAX);
    if (server->relay[number][0])
        weights_server_forget(server, number);
    snprintf(server->relay[number], sizeof server->relay[number], "%s", endpoint);
    return number;
}

/* Who else was sent this chunk, for one that asks for it; NULL: it is to come from here. */
static const char *weights_server_elsewhere(const struct weights_server *server,
                                            const struct weights_version *held,
                                            const struct message *ask)
{
    const uint32_t given = held->given[ask->chunk_index];
    if (ask->insist || given == 0 || strcmp(server->relay[given - 1], ask->text) == 0)
        return NULL;
    return server->relay[given - 1];
}

static void weights_server_say_elsewhere(struct weights_server *server, struct wire_peer peer,
                                         const struct message *ask, const char *endpoint)
{
    struct message answer = {.type = MESSAGE_CHUNK_ELSEWHERE,
                             .version = ask->version,
                             .chunk_index = ask->chunk_index};
    snprintf(answer.text, sizeof answer.text, "%s", endpoint);
    weights_server_answer(server, peer, &answer);
}

/* libzmq has sent it. */
static void weights_server_on_sent(void *bytes, void *held)
{
    (void)bytes;
    weights_version_release(held);
}

/* As a difference, for one that has what it is from; false: nothing was sent. */
static bool weights_server_send_delta(struct weights_server *server, struct wire_peer peer,
                                      struct weights_version *held, const struct message *ask)
{
    const struct weights_version *base =
        ask->base ? weights_server_find(server, ask->base) : NULL;
    struct message answer = {.type = MESSAGE_CHUNK,
                             .version = held->version,
                             .chunk_index = ask->chunk_index,
                             .base = ask->base,
                             .frames_n = 1};
    if (!base)
        return false;
    answer.frame[0].data = weights_version_delta(held, base, ask->chunk_index, server->delta,
                                                 &answer.frame[0].size);
    if (!answer.frame[0].data)
        return false;
    server->sent_bytes += answer.frame[0].size;
    weights_server_answer(server, peer, &answer);
    return true;
}

static void weights_server_send(struct weights_server *server, struct wire_peer peer,
                                struct weights_version *held, const struct message *ask)
{
    const uint32_t index = ask->chunk_index;
    if (weights_server_send_delta(server, peer, held, ask))
        return;
    const size_t size = weights_version_chunk_bytes(held, index);
    struct message answer = {
        .type = MESSAGE_CHUNK, .version = held->version, .chunk_index = index, .frames_n = 1};
    answer.frame[0] = (struct wire_bytes){held->bytes + (size_t)index * WIRE_CHUNK_BYTES, size};
    server->sent_bytes += size;
    if (held->here) {
        fault_at(FAULT_weights_relay);
        weights_server_answer(server, peer, &answer);
        return;
    }
    struct err err = {0};
    if (wire_socket_send_lent(loop_socket_wire(server->socket), peer, &answer,
                              weights_server_on_sent, weights_version_retain(held),
                              &err) == WIRE_SEND_BAD)
        log_error("WEIGHTS-SEND", "%s: %s", server->endpoint, err.text);
}

static void weights_server_chunk(struct weights_server *server, struct wire_peer peer,
                                 const struct message *ask)
{
    fault_at(FAULT_weights_serve_chunk);
    struct weights_version *held = weights_server_find(server, ask->version);
    const uint32_t index = ask->chunk_index;
    if (!held || index >= held->chunks) {
        weights_server_manifest(server, peer, ask->version); /* says what there is */
        return;
    }
    if (held->here && !held->here[index]) {
        weights_server_say_elsewhere(server, peer, ask, "");
        return;
    }
    const char *endpoint = held->here ? NULL : weights_server_elsewhere(server, held, ask);
    if (endpoint) {
        weights_server_say_elsewhere(server, peer, ask, endpoint);
        return;
    }
    weights_server_send(server, peer, held, ask);
    if (ask->text[0])
        held->given[index] = (uint16_t)(1 + weights_server_number(server, ask->text));
}

static void weights_server_on_message(void *ctx, struct wire_peer peer, struct message *m)
{
    struct weights_server *server = ctx;
    pthread_mutex_lock(&server->mutex);
    if (m->type == MESSAGE_WEIGHTS_ASK)
        weights_server_manifest(server, peer, m->version);
    else if (m->type == MESSAGE_CHUNK_ASK)
        weights_server_chunk(server, peer, m);
    else if (server->guest.on_message)
        server->guest.on_message(server->guest.ctx, loop_socket_wire(server->socket), peer, m);
    else
        log_warn("WEIGHTS-PROTOCOL", "%s: somebody sent %s", server->endpoint,
                 message_type_name(m->type));
    pthread_mutex_unlock(&server->mutex);
}

static void weights_server_on_error(void *ctx, struct wire_peer peer, const struct err *err)
{
    (void)peer;
    const struct weights_server *server = ctx;
    log_warn("WEIGHTS-PROTOCOL", "%s: %s", server->endpoint, err->text);
}

static void weights_server_on_stop(uv_async_t *stop)
{
    struct weights_server *server = stop->data;
    loop_socket_close(server->socket, 0);
    uv_close((uv_handle_t *)&server->wake, NULL);
    uv_close((uv_handle_t *)stop, NULL);
}

static void weights_server_on_wake(uv_async_t *wake)
{
    struct weights_server *server = wake->data;
    pthread_mutex_lock(&server->mutex);
    if (server->guest.on_wake)
        server->guest.on_wake(server->guest.ctx, loop_socket_wire(server->socket));
    pthread_mutex_unlock(&server->mutex);
}

void weights_server_attach(struct weights_server *server, const struct weights_guest *guest)
{
    pthread_mutex_lock(&server->mutex);
    server->guest = guest ? *guest : (struct weights_guest){0};
    pthread_mutex_unlock(&server->mutex);
}

void weights_server_wake(struct weights_server *server)
{
    uv_async_send(&server->wake);
}

static void *weights_server_thread(void *ctx)
{
    struct weights_server *server = ctx;
    loop_run(&server->loop); /* until stop has closed everything */
    return NULL;
}

static int weights_server_start_thread(struct weights_server *server)
{
    sigset_t all, before; /* signals are for the main thread */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int rc = pthread_create(&server->thread, NULL, weights_server_thread, server);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}

static void weights_server_release(struct weights_server *server)
{
    loop_release(&server->loop);
    weights_delta_free(server->delta);
    for (uint32_t i = 0; i < server->held_n; i++)
        weights_version_release(server->held[i]);
    pthread_mutex_destroy(&server->mutex);
    free(server);
}

/* The socket is made here and used in the thread that is started last: pthread_create orders
 * the two. */
enum err_code weights_server_open(struct weights_server **out, struct wire_context *context,
                                  const char *endpoint, uint32_t versions, struct err *err)
{
    static const struct loop_socket_ops ops = {weights_server_on_message,
                                               weights_server_on_error};
    assert(versions >= 1 && versions <= WEIGHTS_VERSIONS_MAX);
    struct wire_socket *wire;
    enum err_code rc = wire_socket_bind(&wire, context, endpoint, WIRE_LIMITS_BULK, err);
    if (rc)
        return rc;
    struct weights_server *server = calloc(1, sizeof *server);
    struct weights_delta *delta = weights_delta_new();
    if (!server || !delta || uv_loop_init(&server->loop) != 0) {
        wire_socket_close(wire, 0);
        weights_delta_free(delta);
        free(server);
        return err_set(err, ERR_NOMEM, "no memory for a weights server at %s", endpoint);
    }
    server->delta = delta;
    server->versions = versions;
    server->shares = true;
    strcpy(server->endpoint, wire_socket_endpoint(wire));
    pthread_mutex_init(&server->mutex, NULL);
    rc = loop_socket_open(&server->socket, &server->loop, wire, &ops, server, err);
    if (rc)
        goto fail;
    server->stop.data = server->wake.data = server;
    const bool stops = uv_async_init(&server->loop, &server->stop, weights_server_on_stop) == 0;
    const bool wakes = uv_async_init(&server->loop, &server->wake, weights_server_on_wake) == 0;
    if (stops && wakes && weights_server_start_thread(server) == 0) {
        *out = server;
        return ERR_OK;
    }
    if (stops)
        uv_close((uv_handle_t *)&server->stop, NULL);
    if (wakes)
        uv_close((uv_handle_t *)&server->wake, NULL);
    rc = err_set(err, ERR_IO, "cannot start the weights server at %s", endpoint);
    loop_socket_close(server->socket, 0);

fail:
    weights_server_release(server);
    return rc;
}

void weights_server_close(struct weights_server *server)
{
    if (!server)
        return;
    uv_async_send(&server->stop);
    pthread_join(server->thread, NULL);
    if (server->sent_bytes > 0)
        log_info("WEIGHTS-SENT", "%s: %llu bytes in chunks", server->endpoint,
                 (unsigned long long)server->sent_bytes);
    weights_server_release(server);
}

const char *weights_server_endpoint(const struct weights_server *server)
{
    return server->endpoint;
}

void weights_server_share(struct weights_server *server, bool shares)
{
    server->shares = shares;
}

/* With the mutex held: it is the caller's to release. */
static struct weights_version *weights_server_take_out(struct weights_server *server,
                                                       uint64_t version)
{
    for (uint32_t i = 0; i < server->held_n; i++) {
        if (server->held[i]->version != version)
            continue;
        struct weights_version *taken = server->held[i];
        server->held[i] = server->held[--server->held_n];
        return taken;
    }
    return NULL;
}

static uint64_t weights_server_oldest(const struct weights_server *server)
{
    uint64_t oldest = server->held[0]->version;
    for (uint32_t i = 1; i < server->held_n; i++)
        if (server->held[i]->version < oldest)
            oldest = server->held[i]->version;
    return oldest;
}

/* Hold it, in the place of the same version, or of the oldest where there are too many. */
static void weights_server_put(struct weights_server *server, struct weights_version *fresh)
{
    pthread_mutex_lock(&server->mutex);
    struct weights_version *old = weights_server_take_out(server, fresh->version);
    if (!old && server->held_n == server->versions)
        old = weights_server_take_out(server, weights_server_oldest(server));
    server->held[server->held_n++] = fresh;
    pthread_mutex_unlock(&server->mutex);
    weights_version_release(old);
}

enum err_code weights_server_publish(struct weights_server *server, uint64_t version,
                                     const void *bytes, size_t size, struct hash *hash,
                                     struct err *err)
{
    if (size == 0)
        return err_set(err, ERR_VALUE, "weights: version %llu has no bytes",
                       (unsigned long long)version);
    struct weights_version *fresh = NULL;
    struct err why = {0}, unshared = {0};
    const enum err_code rc =
        weights_version_new(&fresh, version, bytes, size, server->shares, &unshared, &why);
    if (rc)
        return err_set(err, rc, "weights: version %llu: %s", (unsigned long long)version,
                       why.text);
    if (unshared.code && !server->told)
        log_warn("WEIGHTS-UNSHARED", "%s: %s; served in chunks alone", server->endpoint,
                 unshared.text);
    server->told = server->told || unshared.code;
    if (hash)
        *hash = fresh->hash;
    fault_at(FAULT_weights_publish);
    weights_server_put(server, fresh);
    fault_at(FAULT_weights_published);
    return ERR_OK;
}

enum err_code weights_server_relay(struct weights_server *server, uint64_t version,
                                   const void *bytes, size_t size, const struct hash *hash,
                                   const struct hash *chunk_hash, struct err *err)
{
    struct weights_version *fresh = NULL;
    const enum err_code rc =
        weights_version_new_relay(&fresh, version, bytes, size, hash, chunk_hash, err);
    if (rc == ERR_OK)
        weights_server_put(server, fresh);
    return rc;
}

void weights_server_relay_chunk(struct weights_server *server, uint64_t version, uint32_t index)
{
    pthread_mutex_lock(&server->mutex);
    const struct weights_version *held = weights_server_find(server, version);
    assert(held && held->here && index < held->chunks);
    held->here[index] = true;
    pthread_mutex_unlock(&server->mutex);
}

void weights_server_drop(struct weights_server *server, uint64_t version)
{
    pthread_mutex_lock(&server->mutex);
    struct weights_version *old = weights_server_take_out(server, version);
    pthread_mutex_unlock(&server->mutex);
    weights_version_release(old);
}

uint64_t weights_server_sent_bytes(struct weights_server *server)
{
    return atomic_load(&server->sent_bytes);
}

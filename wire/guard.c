/* guard.c -- see guard.h. */
#include "wire/guard.h"

#include <errno.h>
#include <pthread.h>
#include <sodium.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <zmq.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"

#define GUARD_ZAP       "inproc://zeromq.zap.01"
#define GUARD_DOMAIN    "rlhfd"
#define GUARD_PROVE_MS  5000
#define GUARD_FRAME_MAX 256 /* bytes of a frame of ZAP, or of an event, that are looked at */
#define GUARD_FRAMES \
    7 /* of a question: version, id, domain, address, identity, mechanism, key */

struct guard_monitor {
    void *events; /* PAIR; the guard's thread has it */
    bool serves;  /* of a bound socket */
    char endpoint[WIRE_ENDPOINT_MAX];
};

/* A file as it was when it was looked at. */
struct guard_stamp {
    ino_t inode;
    off_t bytes;
    time_t s; /* of its last change, be it of the mode alone */
    long ns;
};

struct guard {
    void *zmq, *zap;
    char dir[FILE_PATH_MAX], path[FILE_PATH_MAX]; /* KEYS, KEYS/peers */
    struct keys_own own;
    char key[HASH_HEX_BYTES];
    pthread_t thread;
    bool runs;

    pthread_mutex_t mutex; /* of all below */
    struct keys_peers *peers;
    struct guard_monitor monitor[GUARD_MONITORS_MAX];
    size_t monitors;
    unsigned number; /* of the next monitor */
    uint64_t refused[WIRE_REFUSED];
    bool proved; /* what is refused now is not its own trial */

    /* the thread's own */
    struct guard_stamp read; /* KEYS/peers */
    bool unreadable;
    uint64_t told_ms[WIRE_REFUSED]; /* 0: never */
};

struct guard_frame {
    char bytes[GUARD_FRAME_MAX];
    size_t len;
};

/* --- who may ------------------------------------------------------------------------------ */

static bool guard_knows(struct guard *guard, const unsigned char key[KEYS_BYTES],
                        struct keys_peer *user)
{
    pthread_mutex_lock(&guard->mutex);
    const struct keys_peer *peer = keys_find(guard->peers, key);
    if (peer)
        *user = *peer;
    pthread_mutex_unlock(&guard->mutex);
    return peer != NULL;
}

/* The key of a bare role is for any process of it. */
static bool guard_is_of(const struct keys_peer *user, const struct message *hello)
{
    return user->role == hello->role &&
           (!strchr(user->name, '-') || strcmp(user->name, hello->name) == 0);
}

enum err_code guard_check(struct guard *guard, const char *user, const struct message *message,
                          struct err *err)
{
    pthread_mutex_lock(&guard->mutex);
    struct hash key;
    const struct keys_peer *peer =
        hash_from_hex(&key, user, NULL) == ERR_OK ? keys_find(guard->peers, key.bytes) : NULL;
    const bool known = peer != NULL;
    char name[WIRE_NAME_MAX] = "";
    if (known)
        memcpy(name, peer->name, sizeof name);
    const bool is_other =
        known && message->type == MESSAGE_HELLO && !guard_is_of(peer, message);
    if (!known)
        guard->refused[WIRE_REFUSED_KEY]++;
    if (is_other)
        guard->refused[WIRE_REFUSED_IDENTITY]++;
    pthread_mutex_unlock(&guard->mutex);
    if (!known)
        return err_set(err, ERR_STATE, "the key %s was taken out of %s", user, guard->path);
    if (is_other)
        return err_set(err, ERR_STATE, "with the key of %s, a HELLO of %s (%s)", name,
                       message->name, keys_role_name(message->role));
    return ERR_OK;
}

void guard_count(struct guard *guard, uint64_t refused[WIRE_REFUSED])
{
    pthread_mutex_lock(&guard->mutex);
    memcpy(refused, guard->refused, sizeof guard->refused);
    pthread_mutex_unlock(&guard->mutex);
}

/* Count, and whether it is time to tell of it. */
static bool guard_refused(struct guard *guard, enum wire_refused reason)
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
static size_t guard_recv(void *socket, struct guard_frame *frame, size_t n)
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
static void guard_answer(struct guard *guard, const struct guard_frame *id, bool may,
                         const char *user)
{
    const char *const words[] = {may ? "200" : "400", may ? "OK" : "unknown key", user};
    zmq_send(guard->zap, "1.0", 3, ZMQ_SNDMORE);
    zmq_send(guard->zap, id->bytes, id->len, ZMQ_SNDMORE);
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        zmq_send(guard->zap, words[i], strlen(words[i]), ZMQ_SNDMORE);
    zmq_send(guard->zap, "", 0, 0);
}

static void guard_on_question(struct guard *guard)
{
    struct guard_frame frame[GUARD_FRAMES];
    struct keys_peer user;
    struct hash key;
    char hex[HASH_HEX_BYTES] = "";
    const size_t n = guard_recv(guard->zap, frame, GUARD_FRAMES);
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
    guard_answer(guard, n > 1 ? &frame[1] : &none, may, hex);
    if (!may && guard_refused(guard, WIRE_REFUSED_KEY))
        log_warn("KEY-REFUSED", "a connection from %s: its key is not in %s",
                 n > 3 ? frame[3].bytes : "?", guard->path);
}

/* --- monitors ----------------------------------------------------------------------------- */

#define GUARD_EVENTS                                                              \
    (ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | \
     ZMQ_EVENT_HANDSHAKE_FAILED_AUTH | ZMQ_EVENT_MONITOR_STOPPED)

/* The address of a monitor is in its events; its PAIR is handed to the guard's thread. */
static void guard_watch(struct guard *guard, void *socket, bool serves, const char *endpoint)
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
static void guard_tell(struct guard *guard, uint16_t event, const struct guard_monitor *monitor)
{
    if (event == ZMQ_EVENT_HANDSHAKE_FAILED_AUTH) {
        if (!monitor->serves && guard_refused(guard, WIRE_REFUSED_KEY)) /* else ZAP counts it */
            log_error("KEY-REFUSED", "%s does not know the key of %s: its peers lack it",
                      monitor->endpoint, guard->own.name);
    } else if (guard_refused(guard, WIRE_REFUSED_HANDSHAKE)) {
        log_warn("HANDSHAKE",
                 monitor->serves ? "a connection to %s showed no key: it has none, or one for "
                                   "a server with another key than %s"
                                 : "%s has no key, or another than %s says",
                 monitor->endpoint, monitor->serves ? guard->key : guard->path);
    }
}

/* One event, two frames: number and value, address.  False: the monitor is to be closed. */
static bool guard_on_event(struct guard *guard, const struct guard_monitor *monitor)
{
    struct guard_frame frame[2];
    uint16_t event;
    if (guard_recv(monitor->events, frame, 2) == 0 || frame[0].len < sizeof event)
        return true;
    memcpy(&event, frame[0].bytes, sizeof event);
    if (event == ZMQ_EVENT_MONITOR_STOPPED)
        return false;
    guard_tell(guard, event, monitor);
    return true;
}

static void guard_unwatch(struct guard *guard, const void *events)
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

static bool guard_has_changed(struct guard *guard)
{
    struct stat is;
    if (stat(guard->path, &is) != 0)
        return !guard->unreadable;
    const struct guard_stamp now = {is.st_ino, is.st_size, is.st_ctim.tv_sec,
                                    is.st_ctim.tv_nsec};
    const bool same = now.inode == guard->read.inode && now.bytes == guard->read.bytes &&
                      now.s == guard->read.s && now.ns == guard->read.ns;
    guard->read = now;
    return !same;
}

/* A list without a coordinator was not written to its end, or is of nothing that could run. */
static enum err_code guard_read(const struct guard *guard, struct keys_peers **out,
                                struct err *err)
{
    const enum err_code rc = keys_read_peers(out, guard->dir, err);
    if (rc || keys_find_role(*out, WIRE_ROLE_NONE))
        return rc;
    free(*out);
    *out = NULL;
    return err_set(err, ERR_FORMAT, "%s has no key of a coordinator", guard->path);
}

static void guard_look(struct guard *guard)
{
    struct keys_peers *peers = NULL;
    struct err err;
    if (!guard_has_changed(guard))
        return;
    guard->unreadable = guard_read(guard, &peers, &err) != ERR_OK;
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
static int guard_items(struct guard *guard, zmq_pollitem_t *items,
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

static void *guard_main(void *ctx)
{
    struct guard *guard = ctx;
    zmq_pollitem_t items[1 + GUARD_MONITORS_MAX];
    struct guard_monitor monitors[1 + GUARD_MONITORS_MAX];
    for (;;) {
        const int n = guard_items(guard, items, monitors);
        if (zmq_poll(items, n, GUARD_LOOK_MS) < 0 && errno != EINTR)
            break; /* ETERM: the context ends */
        if (items[0].revents)
            guard_on_question(guard);
        for (int i = 1; i < n; i++)
            if (items[i].revents && !guard_on_event(guard, &monitors[i]))
                guard_unwatch(guard, monitors[i].events);
        guard_look(guard);
    }
    while (guard->monitors > 0)
        guard_unwatch(guard, guard->monitor[0].events);
    zmq_close(guard->zap);
    return NULL;
}

/* --- sockets ------------------------------------------------------------------------------ */

static enum err_code guard_option(void *socket, int option, const void *value, size_t size,
                                  struct err *err)
{
    return zmq_setsockopt(socket, option, value, size) == 0
               ? ERR_OK
               : err_set(err, ERR_STATE, "this libzmq has no CURVE: %s", zmq_strerror(errno));
}

enum err_code guard_serve(struct guard *guard, void *socket, const char *endpoint,
                          struct err *err)
{
    const int yes = 1;
    enum err_code rc = guard_option(socket, ZMQ_CURVE_SERVER, &yes, sizeof yes, err);
    if (!rc)
        rc = guard_option(socket, ZMQ_CURVE_SECRETKEY, guard->own.secret_key, KEYS_BYTES, err);
    if (!rc)
        rc = guard_option(socket, ZMQ_ZAP_DOMAIN, GUARD_DOMAIN, sizeof GUARD_DOMAIN - 1, err);
    if (!rc)
        guard_watch(guard, socket, true, endpoint);
    return rc;
}

/* The server's key: the one its endpoint names, or the coordinator's. */
static enum err_code guard_server(struct guard *guard, const char *endpoint, const char *key,
                                  unsigned char server[KEYS_BYTES], struct err *err)
{
    struct keys_peer peer;
    struct hash named;
    if (key && hash_from_hex(&named, key, NULL) != ERR_OK)
        return err_set(err, ERR_USAGE, "%s: its key is not 64 hex digits", endpoint);
    if (key && !guard_knows(guard, named.bytes, &peer))
        return err_set(err, ERR_STATE, "%s: its key is not in %s", endpoint, guard->path);
    if (!key) {
        pthread_mutex_lock(&guard->mutex);
        peer = *keys_find_role(guard->peers, WIRE_ROLE_NONE);
        pthread_mutex_unlock(&guard->mutex);
    }
    memcpy(server, peer.public_key, KEYS_BYTES);
    return ERR_OK;
}

enum err_code guard_trust(struct guard *guard, void *socket, const char *endpoint,
                          const char *key, struct err *err)
{
    unsigned char server[KEYS_BYTES];
    enum err_code rc = guard_server(guard, endpoint, key, server, err);
    if (!rc)
        rc = guard_option(socket, ZMQ_CURVE_SERVERKEY, server, sizeof server, err);
    if (!rc)
        rc = guard_option(socket, ZMQ_CURVE_PUBLICKEY, guard->own.public_key, KEYS_BYTES, err);
    if (!rc)
        rc = guard_option(socket, ZMQ_CURVE_SECRETKEY, guard->own.secret_key, KEYS_BYTES, err);
    if (!rc)
        guard_watch(guard, socket, false, endpoint);
    return rc;
}

const char *guard_key(const struct guard *guard)
{
    return guard->key;
}

/* --- beginning and end -------------------------------------------------------------------- */

/* A client with a key nobody knows, at the door of a server of our own. */
static enum err_code guard_knock(struct guard *guard, void *server, void *client,
                                 struct err *err)
{
    const int none = 0;
    char endpoint[WIRE_ENDPOINT_MAX], secret[41], public_key[41];
    size_t size = sizeof endpoint;
    enum err_code rc = guard_serve(guard, server, "a trial of the guard", err);
    if (rc)
        return rc;
    if (zmq_bind(server, "tcp://127.0.0.1:*") != 0 ||
        zmq_getsockopt(server, ZMQ_LAST_ENDPOINT, endpoint, &size) != 0 ||
        zmq_curve_keypair(public_key, secret) != 0 ||
        zmq_setsockopt(client, ZMQ_LINGER, &none, sizeof none) != 0 ||
        zmq_setsockopt(client, ZMQ_CURVE_SERVERKEY, guard->own.public_key, KEYS_BYTES) != 0 ||
        zmq_setsockopt(client, ZMQ_CURVE_PUBLICKEY, public_key, sizeof public_key) != 0 ||
        zmq_setsockopt(client, ZMQ_CURVE_SECRETKEY, secret, sizeof secret) != 0 ||
        zmq_connect(client, endpoint) != 0)
        return err_set(err, ERR_STATE, "the guard of TCP connections cannot be tried: %s",
                       zmq_strerror(errno));
    return ERR_OK;
}

/* ZAP that nobody answers lets everybody in: so look that it does not. */
static enum err_code guard_prove(struct guard *guard, struct err *err)
{
    void *server = zmq_socket(guard->zmq, ZMQ_ROUTER);
    void *client = zmq_socket(guard->zmq, ZMQ_DEALER);
    uint64_t refused[WIRE_REFUSED] = {0};
    enum err_code rc = server && client
                           ? guard_knock(guard, server, client, err)
                           : err_set(err, ERR_NOMEM, "no socket to try the guard with");
    const uint64_t begin = clock_mono_ms();
    while (!rc && refused[WIRE_REFUSED_KEY] == 0) {
        if (clock_mono_ms() - begin > GUARD_PROVE_MS)
            rc = err_set(err, ERR_STATE,
                         "a key that is not in %s was not refused: nothing is served",
                         guard->path);
        nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
        guard_count(guard, refused);
    }
    if (client)
        zmq_close(client);
    if (server)
        zmq_close(server);
    pthread_mutex_lock(&guard->mutex);
    memset(guard->refused, 0, sizeof guard->refused);
    guard->proved = true;
    pthread_mutex_unlock(&guard->mutex);
    return rc;
}

static enum err_code guard_bind(struct guard *guard, struct err *err)
{
    const int none = 0;
    guard->zap = zmq_socket(guard->zmq, ZMQ_REP);
    if (!guard->zap || zmq_setsockopt(guard->zap, ZMQ_LINGER, &none, sizeof none) != 0 ||
        zmq_bind(guard->zap, GUARD_ZAP) != 0)
        return err_set(err, ERR_STATE, "nobody can say who may connect: " GUARD_ZAP ": %s",
                       zmq_strerror(errno));
    if (pthread_create(&guard->thread, NULL, guard_main, guard) != 0)
        return err_set(err, ERR_NOMEM, "no thread to say who may connect");
    guard->runs = true;
    return ERR_OK;
}

static enum err_code guard_load(struct guard *guard, const char *keys, const char *name,
                                struct err *err)
{
    struct hash public_key;
    enum err_code rc = file_join(guard->path, keys, KEYS_PEERS, err);
    if (rc)
        return rc;
    snprintf(guard->dir, sizeof guard->dir, "%s", keys); /* shorter than path */
    guard_has_changed(guard); /* what is read next is what there was then, or newer */
    rc = guard_read(guard, &guard->peers, err);
    if (!rc)
        rc = keys_read_own(&guard->own, keys, name, guard->peers, err);
    memcpy(public_key.bytes, guard->own.public_key, sizeof public_key.bytes);
    hash_hex(&public_key, guard->key);
    return rc;
}

enum err_code guard_new(struct guard **out, void *zmq, const char *keys, const char *name,
                        struct err *err)
{
    struct guard *guard = calloc(1, sizeof *guard);
    if (!guard)
        return err_set(err, ERR_NOMEM, "no memory for the guard of TCP connections");
    guard->zmq = zmq;
    pthread_mutex_init(&guard->mutex, NULL);
    enum err_code rc = guard_load(guard, keys, name, err);
    if (!rc)
        rc = guard_bind(guard, err);
    if (!rc)
        rc = guard_prove(guard, err);
    *out = guard; /* also on failure: its sockets end with the context */
    return rc;
}

void guard_free(struct guard *guard)
{
    if (!guard)
        return;
    if (guard->runs)
        pthread_join(guard->thread, NULL);
    else if (guard->zap)
        zmq_close(guard->zap);
    pthread_mutex_destroy(&guard->mutex);
    sodium_memzero(&guard->own, sizeof guard->own);
    free(guard->peers);
    free(guard);
}

/* guard.c -- keys for sockets, who is who, and the trial of it all: see guard.h. */
#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <zmq.h>

#include "base/clock.h"
#include "wire/guard_state.h"

#define GUARD_ZAP      "inproc://zeromq.zap.01"
#define GUARD_DOMAIN   "rlhfd"
#define GUARD_PROVE_MS 5000

/* --- who may ------------------------------------------------------------------------------ */

bool guard_knows(struct guard *guard, const unsigned char key[KEYS_BYTES],
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

/* --- KEYS/peers --------------------------------------------------------------------------- */

bool guard_peers_changed(struct guard *guard)
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
enum err_code guard_read_peers(const struct guard *guard, struct keys_peers **out,
                               struct err *err)
{
    const enum err_code rc = keys_read_peers(out, guard->dir, err);
    if (rc || keys_find_role(*out, WIRE_ROLE_NONE))
        return rc;
    free(*out);
    *out = NULL;
    return err_set(err, ERR_FORMAT, "%s has no key of a coordinator", guard->path);
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
        guard_thread_watch(guard, socket, true, endpoint);
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
        guard_thread_watch(guard, socket, false, endpoint);
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
    if (pthread_create(&guard->thread, NULL, guard_thread_main, guard) != 0)
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
    guard_peers_changed(guard); /* what is read next is what there was then, or newer */
    rc = guard_read_peers(guard, &guard->peers, err);
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

/* guard_state.h -- what the guard's two files share; nobody else includes it. */
#ifndef WIRE_GUARD_STATE_H
#define WIRE_GUARD_STATE_H

#include <pthread.h>
#include <stdbool.h>
#include <sys/types.h>

#include "base/file.h"
#include "base/hash.h"
#include "wire/guard.h"

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

/* --- guard.c */

/* The peer that has this key, where one of KEYS/peers has it.  From any thread. */
bool guard_knows(struct guard *guard, const unsigned char key[KEYS_BYTES],
                 struct keys_peer *user);

/* KEYS/peers as it is now.  Errors of keys_read_peers; ERR_FORMAT where it has no coordinator. */
enum err_code guard_read_peers(const struct guard *guard, struct keys_peers **out,
                               struct err *err);

/* Is the file another than at the last look?  For the guard's thread, and before it begins. */
bool guard_peers_changed(struct guard *guard);

/* --- guard_thread.c */

/* The thread that says who may connect: a pthread's function, ctx is the guard.  It ends with the
 * context. */
void *guard_thread_main(void *ctx);

/* Have the thread watch a socket for handshakes that fail.  From the socket's thread. */
void guard_thread_watch(struct guard *guard, void *socket, bool serves, const char *endpoint);

#endif

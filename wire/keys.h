/*
 * keys.h -- who may connect over TCP: a directory of Curve25519 keys, as libzmq's CURVE has them.
 *
 *     KEYS/NAME.key    the secret key of NAME: 64 hex digits; for nobody but its process
 *     KEYS/peers       a line a key that is trusted: NAME ROLE PUBLIC-KEY
 *
 * A NAME with something behind its role ("actor-3") is one process; a bare one ("actor") is any
 * process of the role.  A process takes NAME.key, or else the key of its role.  The coordinator's
 * host needs no secret but its own; a worker needs its own, and `peers` for the public keys of
 * those it connects to.  A line taken out of `peers` shuts its key out of a running run (guard.h).
 *
 * All calls block on the disk.
 */
#ifndef WIRE_KEYS_H
#define WIRE_KEYS_H

#include <stddef.h>

#include "base/err.h"
#include "base/file.h"
#include "wire/message.h"

#define KEYS_BYTES     32   /* a key, secret or public */
#define KEYS_PEERS_MAX 4096 /* lines of peers */
#define KEYS_PEERS     "peers"

/* Which role a key has: of a worker, or WIRE_ROLE_NONE: the coordinator. */
struct keys_peer {
    char name[WIRE_NAME_MAX];
    enum wire_role role;
    unsigned char public_key[KEYS_BYTES];
};

struct keys_peers {
    size_t n;
    struct keys_peer peer[];
};

struct keys_own {
    char name[WIRE_NAME_MAX]; /* of the key: of the process, or of its role */
    unsigned char secret_key[KEYS_BYTES], public_key[KEYS_BYTES];
};

/* "coordinator" for WIRE_ROLE_NONE, else wire_role_name. */
const char *keys_role_name(enum wire_role role);

/* The role a name begins with: "actor-3" and "actor" are actors.  ERR_USAGE where it begins with
 * none, or has letters that a file's name should not have. */
enum err_code keys_role_of(enum wire_role *role, const char *name, struct err *err);

/* KEYS/peers, sorted by key.  The caller frees it with free().  ERR_FORMAT names the line at
 * fault: no key, a name or a key twice; ERR_IO, ERR_NOMEM. */
enum err_code keys_read_peers(struct keys_peers **out, const char *dir, struct err *err);

/* NULL where there is none; of several with a role, the one with the first name. */
const struct keys_peer *keys_find(const struct keys_peers *peers,
                                  const unsigned char public_key[KEYS_BYTES]);
const struct keys_peer *keys_find_name(const struct keys_peers *peers, const char *name);
const struct keys_peer *keys_find_role(const struct keys_peers *peers, enum wire_role role);

/* The secret key of the process `name`.  ERR_IO where there is none; ERR_STATE where it may be
 * read by everybody, or `peers` has another public key under its name; ERR_FORMAT where the file
 * holds no key. */
enum err_code keys_read_own(struct keys_own *out, const char *dir, const char *name,
                            const struct keys_peers *peers, struct err *err);

/*
 * Make a key: KEYS/NAME.key (mode 0600, not overwritten: ERR_STATE) and its line in KEYS/peers.
 * The directory is made where it is not there.  One at a time a directory.  ERR_USAGE where the
 * name is none, ERR_IO; of a `peers` that is there, errors of keys_read_peers.
 */
enum err_code keys_make(const char *dir, const char *name, struct err *err);

#endif

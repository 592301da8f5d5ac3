/*
 * guard.h -- nobody connects over TCP who is not in KEYS/peers (keys.h), and what passes is
 * encrypted: CURVE and ZAP of libzmq.
 *
 *     sockets of a context --secure--> guard <--ZAP-- libzmq's I/O thread: may this key connect?
 *                                        ^ looks at KEYS/peers, and at its monitors
 *
 * libzmq admits every key where nobody answers its question.  So the guard answers from before
 * the first socket until the context ends, and proves when it is made that a key it does not
 * know is refused.
 *
 * It has a thread of its own, which looks at KEYS/peers every GUARD_LOOK_MS: a key that is added
 * may connect, one that is taken out is turned away at its next message (guard_check).  Where
 * the file cannot be read any more the keys known so far stay, and the log says so.  The log
 * says too who was refused, at most once in GUARD_TELL_MS a reason.
 */
#ifndef WIRE_GUARD_H
#define WIRE_GUARD_H

#include <stdint.h>

#include "base/err.h"
#include "wire/keys.h"
#include "wire/message.h"
#include "wire/socket.h"

#define GUARD_LOOK_MS      250
#define GUARD_TELL_MS      10000
#define GUARD_MONITORS_MAX 64 /* sockets watched at once; more are guarded, but not told of */

struct guard;

/* Of the process `name`, with the key it has in `keys`.  `zmq` is a context without sockets.
 * Errors as of keys_read_peers and keys_read_own; ERR_FORMAT where KEYS/peers has no coordinator,
 * ERR_STATE where a strange key is not refused, or somebody else says who may connect; ERR_NOMEM.
 * The caller ends it with guard_free, also on failure. */
enum err_code guard_new(struct guard **out, void *zmq, const char *keys, const char *name,
                        struct err *err);

/* After zmq_ctx_shutdown, which ends its thread, and before zmq_ctx_term.  NULL does nothing. */
void guard_free(struct guard *guard);

/*
 * Before a socket is bound: only who has a key of KEYS/peers may connect.  Before it connects:
 * the other end must have the public key `key`, hexadecimal, or the coordinator's where that is
 * NULL; ERR_USAGE where that is no key, ERR_STATE where KEYS/peers does not have it.  Both:
 * ERR_STATE where this libzmq has no CURVE.  `endpoint` is for the log.
 */
enum err_code guard_serve(struct guard *guard, void *socket, const char *endpoint,
                          struct err *err);
enum err_code guard_trust(struct guard *guard, void *socket, const char *endpoint,
                          const char *key, struct err *err);

/* The public key of this process, in hexadecimal. */
const char *guard_key(const struct guard *guard);

/*
 * Whether a message may be heard that came from the key `user`, hexadecimal (libzmq's User-Id).
 * ERR_STATE, and counted, where the key was taken out of KEYS/peers, or where the message is a
 * HELLO of another role, or of another name than a key of one process has.
 */
enum err_code guard_check(struct guard *guard, const char *user, const struct message *message,
                          struct err *err);

/* Connections refused so far. */
void guard_count(struct guard *guard, uint64_t refused[WIRE_REFUSED]);

#endif

/*
 * weights.h -- policy weights from the learner to whoever asks: mapped on its host, elsewhere
 * pulled in chunks.
 *
 *      client (actor)                                   server (learner, a thread of its own)
 *      WEIGHTS_ASK version   ------------------------>
 *                            <------------------------  WEIGHTS_MANIFEST size, BLAKE2b, pid, fd
 *      maps the memory of that process (node/weights_memory.h) and is done, or
 *      CHUNK_ASK 0 .. 7      ------------------------>
 *                            <------------------------  CHUNK 0
 *      CHUNK_ASK 8           ------------------------>  ...
 *
 * The client asks for WEIGHTS_WINDOW chunks and for one more with each that comes, so nothing piles
 * up and nothing is dropped; what does not come is asked for again, also from a server that was
 * restarted in between.  The manifest has a hash for each chunk (base/hash_lanes.h), and the
 * BLAKE2b of those, which is the hash of the version.  A chunk has no other checksum on its way: it
 * counts when it has its hash, and one of the server's that does not is asked for again, twice.
 * What comes is hashed and copied into its place at once.  A version is a byte string to both:
 * the model's flat float32 parameters, little-endian, as engine/model lays them out.
 *
 * So that a learner sends each chunk once, however many actors there are, an actor may be a
 * relay, which serves what it has:
 *
 *      actor B                        learner                        actor A, a relay
 *                                        <---- CHUNK_ASK 5, relay A ----
 *                                        ----- CHUNK 5 ---------------->
 *      CHUNK_ASK 5 -------------------->
 *      <-- CHUNK_ELSEWHERE 5, A -------
 *      CHUNK_ASK 5 ------------------------------------------------->
 *      <---------------------------------------------------- CHUNK 5    (or: not here yet)
 *
 * Relays begin at different chunks, and so have some for each other from the start.  The learner
 * remembers the last relay that it sent a chunk to, and sends it again to one that insists.
 *
 * A server that owes a chunk and is silent for WEIGHTS_SILENT_MS may be another by now: it is asked
 * for its manifest, that often, and for at most a window of what is missing once that is here.  It
 * answers in order, so one that is only slow has sent by then what it was asked for, which counts,
 * and sends nothing twice.  The patience of the fetch bounds all of it.
 *
 * A chunk of the server's may come as its difference from an older version that the client has
 * (node/weights_delta.h), and then becomes the chunk where that lies.
 */
#ifndef NODE_WEIGHTS_H
#define NODE_WEIGHTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/hash.h"
#include "node/weights_memory.h"
#include "wire/socket.h"

#define WEIGHTS_WINDOW       8u    /* chunks asked for and not yet here */
#define WEIGHTS_ABSENT_MS    2000u /* ask so long again for a version that is not held (yet) */
#define WEIGHTS_SILENT_MS    500u  /* of a server that owes a chunk: it is asked again */
#define WEIGHTS_RELAY_MS     2000u /* a relay may be silent so long, or lack a chunk it is to get */
#define WEIGHTS_VERSIONS_MAX 16u
#define WEIGHTS_RELAYS_MAX   64u /* that a server remembers; what older ones have is sent anew */
#define WEIGHTS_SOURCES_MAX  8u  /* the server, and relays, that one fetch asks */

struct weights_server;

/*
 * Bind a ROUTER at `endpoint` and serve from a thread of its own, so that training delays
 * nobody.  Holds the `versions` newest published (1..WEIGHTS_VERSIONS_MAX); the memory is
 * versions x size, and as much again at most where differences are asked for.  Errors as of
 * wire_socket_bind, ERR_NOMEM.
 */
enum err_code weights_server_open(struct weights_server **out, struct wire_context *context,
                                  const char *endpoint, uint32_t versions, struct err *err);
void weights_server_close(struct weights_server *server); /* NULL does nothing */

/* The endpoint as bound, with its port: for HELLO.  Valid until close. */
const char *weights_server_endpoint(const struct weights_server *server);

/* Whether what is published from now on can be mapped by others on this host; at first it can. */
void weights_server_share(struct weights_server *server, bool shares);

/*
 * Serve these bytes as `version` from now on; they are copied.  The same version again replaces it;
 * the oldest version goes where there are too many.  *hash (may be NULL) becomes the hash of the
 * version.  From one thread at a time.  Where there is no shared memory to be had, or no room in
 * it, that is logged once and the version is served in chunks alone.  ERR_VALUE for size 0,
 * ERR_NOMEM (then everything is as before).
 */
enum err_code weights_server_publish(struct weights_server *server, uint64_t version,
                                     const void *bytes, size_t size, struct hash *hash,
                                     struct err *err);

/*
 * What else the bulk endpoint serves, in the server's thread: messages that are not about
 * weights, and a look round after weights_server_wake.  Both may send with wire_socket_send
 * and must not block for long, nor call this server.
 */
struct weights_guest {
    void (*on_message)(void *ctx, struct wire_socket *socket, struct wire_peer peer,
                       const struct message *message);
    void (*on_wake)(void *ctx, struct wire_socket *socket);
    void *ctx;
};

/* From any thread; NULL: none any more.  The former's callbacks have returned then. */
void weights_server_attach(struct weights_server *server, const struct weights_guest *guest);

/* Have the guest's on_wake called soon; several calls may become one.  From any thread. */
void weights_server_wake(struct weights_server *server);

/* Stop serving `version`; not held is fine.  A relay's buffer is not read any more on return. */
void weights_server_drop(struct weights_server *server, uint64_t version);

/* Bytes of chunks sent (or queued) since it was opened.  From any thread. */
uint64_t weights_server_sent_bytes(struct weights_server *server);

/*
 * A server as a relay: it serves the chunks of a version that come to this process from others,
 * each as soon as it is known to be right; weights_fetch does all this.  `bytes`, borrowed until
 * weights_server_drop, is what they are put into; the hashes are copied.  ERR_NOMEM, ERR_VALUE.
 */
enum err_code weights_server_relay(struct weights_server *server, uint64_t version,
                                   const void *bytes, size_t size, const struct hash *hash,
                                   const struct hash *chunk_hash, struct err *err);
void weights_server_relay_chunk(struct weights_server *server, uint64_t version,
                                uint32_t index);

/* How long somebody waits for weights. */
struct weights_patience {
    uint32_t silent_ms;  /* without any answer: the server's thread does nothing else, so one
                                that is silent has died, was stopped, or is not reached */
    uint32_t timeout_ms; /* for all of them */
    bool (*stop)(void *ctx); /* asked a few times a second: true gives up.  NULL: never */
    void *ctx;
};

/* A fair timeout_ms for weights of this size: a minute, and what they take at 16 MiB/s. */
uint32_t weights_timeout_ms(size_t size);

/* How the bytes of a fetch came.  Of one that is whole and was not mapped, the first three are its
 * size together. */
struct weights_traffic {
    uint64_t server_bytes, relay_bytes; /* that were of use */
    uint64_t saved_bytes;               /* by differences */
    uint64_t wasted_bytes;              /* wrong, twice, or of no use as the fetch failed */
    uint64_t refused;                   /* chunks that were not what the manifest says */
};

/* Weights that are here. */
struct weights_view {
    const void *bytes; /* mapped, or the buffer of weights_fetch */
    struct hash hash;  /* of the version; what is here was held against it */
    struct weights_memory memory; /* the mapping; none where they are in the buffer */
    uint64_t ms;                  /* it took */
    uint64_t came_bytes;          /* in chunks: fewer than `size` where differences came */
    struct weights_traffic traffic; /* also of a fetch that failed */
    struct err unmapped; /* why they are not mapped; ERR_OK: they are, or nobody offered */
};

struct weights_request {
    struct wire_context *context;
    const char *endpoint; /* the server's */
    uint64_t version;
    void *buffer; /* (size) not touched where they can be mapped */
    size_t size;
    uint64_t base; /* the buffer holds this version: differences from it will do; 0: none */
    struct weights_server *relay; /* of one version: serves others what comes; NULL: none */
    uint32_t relay_ms;            /* in the place of WEIGHTS_RELAY_MS; 0: that */
    const struct weights_patience *patience;
};

/*
 * Have a version: mapped where its server runs on this host and shares it, else fetched into the
 * buffer, chunks from relays where the server names any.  Blocks while the patience lasts.
 * Sockets are made, used and closed in the calling thread.  The caller ends *view with
 * weights_release, which keeps the buffer; the relay serves it until the next fetch begins to
 * fill it, or weights_server_drop.  On failure the buffer is unspecified, nothing is held, and err
 * names server and version:
 *
 *   ERR_UNAVAILABLE  the server does not hold the version, or `stop`
 *   ERR_TIMEOUT      no answer for silent_ms, or not all of them within timeout_ms
 *   ERR_FORMAT       its size is not `size`, the manifest contradicts itself, or a chunk of the
 *                    server's does not have its hash three times
 *   ERR_USAGE        the endpoint is none
 *
 * A chunk of the server's that does not have its hash is named in the log (WEIGHTS-CHUNK) and asked
 * for again.  A relay that is silent, lacks what it was sent, or sends what the manifest does not
 * say, is named there (WEIGHTS-RELAY) and asked no more; what it was asked for, the server is.  One
 * whose endpoint is a name, or of another transport, is not asked at all.
 */
enum err_code weights_fetch(const struct weights_request *request, struct weights_view *view,
                            struct err *err);
void weights_release(struct weights_view *view); /* harmless twice, and on a zeroed one */

/* The same into `bytes`, never mapped, without a relay of one's own.  *hash may be NULL. */
enum err_code weights_pull(struct wire_context *context, const char *endpoint, uint64_t version,
                           void *bytes, size_t size, struct hash *hash,
                           const struct weights_patience *patience, struct err *err);

#endif

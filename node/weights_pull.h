/*
 * weights_pull.h -- one fetch under way: for node/weights_*.c alone; see node/weights.h.
 *
 *      MISSING --asked--> ASKED --it came, and is right--> HERE
 *         ^                 |  \
 *         |                 |   --"not here yet"--> LATER --> ASKED
 *         +---- nobody answers, it was wrong -------+
 *
 * A chunk is asked for at the server, which may name a relay that has it; then there.  Where the
 * relay does not come up with it, the server is asked again and must give it.  A relay that did not
 * come up with WEIGHTS_WINDOW of them is avoided.
 */
#ifndef NODE_WEIGHTS_PULL_H
#define NODE_WEIGHTS_PULL_H

#include "base/hash_lanes.h"
#include "node/weights.h"
#include "node/weights_version.h"

struct weights_chunk {
    enum weights_chunk_state {
        WEIGHTS_CHUNK_MISSING,
        WEIGHTS_CHUNK_ASKED,
        WEIGHTS_CHUNK_LATER,
        WEIGHTS_CHUNK_HERE
    } state : 8;
    unsigned source : 8; /* who is asked, or gave it */
    unsigned tries : 16; /* at a relay */
    bool insist : 1;    /* the server is to give it */
    bool plain : 1;     /* itself, no difference: the buffer does not hold the base's any more */
    unsigned wrong : 2; /* times that the server sent something else */
};

struct weights_source {
    struct wire_socket *socket; /* NULL: avoided */
    char endpoint[WIRE_TEXT_MAX];
    uint64_t heard_ms; /* a relay's last answer that was one, or since when it is asked */
    uint32_t asked;    /* chunks, ASKED and LATER */
    uint32_t lacked;   /* chunks that it did not come up with */
    bool avoided;
};

struct weights_pull {
    const struct weights_request *request;
    struct weights_source source[WEIGHTS_SOURCES_MAX]; /* [0]: the server */
    uint32_t sources;
    struct weights_view *view; /* to map into; NULL: that is not wanted */
    bool is_mapped;

    bool has_manifest; /* the present server's */
    struct hash hash;
    uint32_t chunks;
    struct weights_chunk *chunk; /* (chunks) NULL before the first manifest */
    struct hash *chunk_hash;     /* (chunks) */
    uint32_t first, next; /* the order begins at `first`; none before `next` is MISSING */
    uint32_t asked, later, here; /* asked: ASKED and LATER */
    uint64_t base;               /* version that the buffer held; 0: none */
    struct weights_delta *delta; /* NULL: no base */
    uint64_t came_bytes; /* in chunks, and differences as they are */
    uint64_t arrived_bytes;         /* the same, with those that nobody waited for any more */
    struct weights_traffic traffic; /* wasted_bytes: at the end */
    uint64_t later_ms;   /* when those that are LATER are asked for */

    uint64_t asked_ms;   /* last WEIGHTS_ASK; 0: none */
    uint64_t heard_ms;   /* last message of the server, last chunk, or moment that the server
                            owed none */
    uint64_t resumed_ms; /* last of the server, or resumption */
    uint64_t absent_ms;  /* first of the answers that it is not held; 0: the last was another */
    char bad[160];       /* what was wrong with the last message that was none */
    struct err *err;
};

/* Set err, naming version and server. */
__attribute__((format(printf, 3, 4))) enum err_code
weights_pull_fail(const struct weights_pull *p, enum err_code code, const char *format, ...);

/* Chunks: weights_chunks.c. */

/* As the manifest has them, all MISSING. */
enum err_code weights_chunks_begin(struct weights_pull *p, const struct message *manifest);
void weights_chunks_ask(struct weights_pull *p); /* as many as may be under way */
/* Put it into the buffer, held against its hash.  ERR_FORMAT where the server's own is wrong again
 * and again. */
enum err_code weights_chunks_on_chunk(struct weights_pull *p, uint32_t source,
                                      const struct message *m, uint64_t now_ms);
void weights_chunks_on_elsewhere(struct weights_pull *p, uint32_t source,
                                 const struct message *m, uint64_t now_ms);
/* Ask once more for those that are LATER, where it is time. */
void weights_chunks_ask_later(struct weights_pull *p, uint64_t now_ms);
/* What is asked of this source is MISSING: the server is asked again. */
void weights_chunks_take_back(struct weights_pull *p, uint32_t source);

/* Sources: weights_sources.c. */

/* May a relay of this server be there?  Whoever says it is one names its endpoint: TCP at a numeric
 * address, no name to be looked up; ipc:// where the server has it too. */
bool weights_sources_is_endpoint(const char *endpoint, const char *server);
/* The relay at this endpoint; 0 where it is not to be asked. */
uint32_t weights_sources_find(struct weights_pull *p, const char *endpoint, uint64_t now_ms);
/* Ask this relay no more, in this fetch. */
void weights_sources_avoid(struct weights_pull *p, uint32_t source, const char *why);
/* How long a relay may be silent, or lack a chunk that it is to get. */
uint32_t weights_sources_patience(const struct weights_pull *p);
/* Avoid relays that have been silent for so long. */
void weights_sources_look(struct weights_pull *p, uint64_t now_ms);
/* For a message of any, and for the server to be reached where it was not asked yet. */
bool weights_sources_wait(const struct weights_pull *p, int timeout_ms);
void weights_sources_close(struct weights_pull *p);

#endif

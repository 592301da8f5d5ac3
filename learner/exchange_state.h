/*
 * exchange_state.h -- what the parts of the exchange share; nobody else includes it.
 *
 *     exchange.c        open, close, groups; a round begins, ends, is given up
 *     exchange_serve.c  the others' asks, in the weights server's thread
 *     exchange_pull.c   this rank's asks, and waiting
 *     exchange_cut.c    which chunks are whose
 *     exchange_sum.c    the two kinds of round
 *     exchange_behind.c a thread for a sum while the caller computes
 */
#ifndef LEARNER_EXCHANGE_STATE_H
#define LEARNER_EXCHANGE_STATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/arena.h"
#include "control/summation.h"
#include "learner/exchange.h"

#define EXCHANGE_VERSION 2u /* of what an ask means */

/* Parts of a round: node sums or blocks from 0, then these. */
#define EXCHANGE_PART_SUM  (WIRE_PARTS_MAX - 2u) /* the sum; a rank has its own chunks of it */
#define EXCHANGE_PART_DONE (WIRE_PARTS_MAX - 1u) /* a byte: needs nothing more in this round */

/* Walked along the tree, and held against a checksum, at once: what is between stays in the
 * first-level cache. */
#define EXCHANGE_BLOCK_BYTES (16u * 1024u)

#define EXCHANGE_ASKS_MAX    (2u * EXCHANGE_WINDOW + 1u) /* of one rank under way */
#define EXCHANGE_PARKED_MAX  (EXCHANGE_RANKS_MAX * EXCHANGE_ASKS_MAX)
#define EXCHANGE_STREAMS_MAX (2u * EXCHANGE_RANKS_MAX)
#define EXCHANGE_TREE_MAX    (EXCHANGE_RANKS_MAX * EXCHANGE_NODES_MAX)
#define EXCHANGE_KNOWN_MAX   4096u /* finished chunks whose checksums are kept */

/* What may be asked for.  Filled from the back: bytes from `from` on are there, which falls while a
 * round is open. */
struct exchange_part {
    const unsigned char *bytes;
    size_t size; /* 0: there is no such part */
    atomic_size_t from;
};

/* Chunks rank, rank + ranks, ... of an array, counted from its front; taken from the last to the
 * first, of which the last of all may be short. */
struct exchange_cut {
    size_t size, chunk; /* bytes */
    uint32_t ranks, rank;
};

/* An ask that cannot be answered yet. */
struct exchange_parked {
    struct wire_peer peer;
    uint64_t step;
    struct wire_gradient ask;
};

enum exchange_state {
    EXCHANGE_BETWEEN,  /* the round is over, and the next has not begun */
    EXCHANGE_OPEN,     /* parts may be asked for */
    EXCHANGE_ABANDONED /* until the next attempt; `why` says why */
};

/* Chunks of one array, or of several in turn, that come from one rank. */
struct exchange_stream {
    uint32_t rank;
    uint32_t part, parts; /* chunk i is the cut's chunk i / parts of part + i % parts */
    struct exchange_cut cut;
    unsigned char *to; /* the whole array; NULL: chunks are held for the tree */
    uint64_t total;    /* chunks */
    uint64_t base;     /* all before it are here */
    uint64_t next;     /* the next to ask for */
    uint64_t here;     /* bit j: chunk base + j is here */
    bool unsent;       /* the last ask could not be sent */
};

/* A received chunk: its message's memory, and the numbers in it. */
struct exchange_held {
    void *owned; /* NULL: not here */
    const unsigned char *data;
};

/* An addition of the tree: of a node of all ranks, or of what was added before (from
 * EXCHANGE_TREE_MAX on, the scratch there). */
struct exchange_step {
    uint32_t from, into;
    uint32_t to; /* scratch, but for the last */
};

/* The reduction of this rank's chunks. */
struct exchange_tree {
    uint32_t nodes;                         /* of all ranks, in leaf order */
    uint32_t first[EXCHANGE_RANKS_MAX + 1]; /* of each rank's nodes */
    uint32_t steps;
    struct exchange_step step[EXCHANGE_TREE_MAX];
    const void *const *node;                /* this rank's */
    unsigned char *sum;
    enum precision kind;
    struct exchange_cut cut;
    size_t from; /* this rank's nodes are final from this byte on */
    uint64_t chunks, done;
    uint64_t known[EXCHANGE_KNOWN_MAX]; /* XXH3 of the first chunks done; each stays until the
                                           round is over, so that the server's thread may look */
    struct exchange_held held[EXCHANGE_AHEAD][EXCHANGE_TREE_MAX];
    const unsigned char *data[EXCHANGE_TREE_MAX]; /* the nodes in the chunk that is added */
};

/* What is known of a rank in this round. */
struct exchange_watch {
    uint64_t heard_ms, moved_ms; /* last message; last chunk */
    uint64_t asked_ms;           /* last time everything was asked for again */
    uint32_t bad, bad_seen;      /* messages that were none; when all was asked for again */
    char text[160];              /* the last of them */
};

enum exchange_behind_state {
    EXCHANGE_BEHIND_IDLE,
    EXCHANGE_BEHIND_ASKED, /* the rest of the exchange is the thread's meanwhile */
    EXCHANGE_BEHIND_DONE,  /* rc and err say how */
    EXCHANGE_BEHIND_QUIT
};

/* A sum behind the caller's back. */
struct exchange_behind {
    pthread_t thread;
    pthread_mutex_t mutex; /* of state */
    pthread_cond_t changed;
    enum exchange_behind_state state;
    bool is_under_way; /* the caller's: it has begun one and not ended it */
    atomic_bool failed, cancelled;
    int wake;                /* an eventfd: more is final */
    atomic_size_t first;     /* numbers from this one on are final, of all nodes */
    size_t chunk_numbers;    /* of a chunk */
    char why[WIRE_TEXT_MAX]; /* it is cancelled */
    enum precision kind;     /* from here on as exchange_sum has them */
    uint32_t leaves;
    const void *const *node;
    size_t P;
    void *sum;
    enum err_code rc;
    struct err err;
};

struct exchange {
    struct exchange_options options;
    struct exchange_behind behind;
    struct exchange_group group;
    struct wire_socket *socket[EXCHANGE_RANKS_MAX]; /* to each other rank */
    struct arena arena;
    void *scratch[SUMMATION_LEVELS]; /* a block each */
    struct exchange_tree *tree;
    struct exchange_stream stream[EXCHANGE_STREAMS_MAX];
    uint32_t streams;
    struct exchange_watch watch[EXCHANGE_RANKS_MAX];

    pthread_mutex_t mutex; /* of what follows; held while an ask is answered */
    enum exchange_state state;
    uint64_t step, attempt, shape;
    uint32_t round;
    struct exchange_part part[WIRE_PARTS_MAX];
    char why[WIRE_TEXT_MAX];
    struct exchange_parked parked[EXCHANGE_PARKED_MAX];
    uint32_t parked_n;

    atomic_ullong rounds, waited_us, bytes_sent, bytes_received, stale, repeated, bad;
};

/* --- exchange.c ------------------------------------------------------------------------- */

/* ERR_STATE where no attempt is under way. */
enum err_code exchange_check_joined(const struct exchange *x, struct err *err);

/* Offer a part of the round to come: its bytes from `from` on. */
void exchange_offer(struct exchange *x, uint32_t part, const void *bytes, size_t size,
                    size_t from);

/* More of a part of the open round is there. */
void exchange_ready(struct exchange *x, uint32_t part, size_t from);

/*
 * A whole round: offered parts and streams were set up before.  Fetch the streams, wait until
 * the others have what they need, end the round; or give the attempt up.  `shape` is what both
 * ends of an ask must agree on.
 */
enum err_code exchange_round(struct exchange *x, uint64_t shape, struct err *err);

/* --- exchange_serve.c: a weights_guest --------------------------------------------------- */

void exchange_on_message(void *ctx, struct wire_socket *socket, struct wire_peer peer,
                         const struct message *message);
void exchange_on_wake(void *ctx, struct wire_socket *socket);

/* --- exchange_cut.c --------------------------------------------------------------------- */

/* What is rank's of an array of `size` > 0 bytes: chunks of at most EXCHANGE_CHUNK_BYTES, as many
 * for each rank as for another where they are not very small. */
struct exchange_cut exchange_cut(size_t size, uint32_t ranks, uint32_t rank);
struct exchange_cut exchange_cut_whole(size_t size); /* all of it, one rank's; size may be 0 */
uint64_t exchange_cut_count(const struct exchange_cut *cut);

/* Chunk i < count in the order in which they are taken: its first byte, and how many. */
size_t exchange_cut_first(const struct exchange_cut *cut, uint64_t i);
size_t exchange_cut_bytes(const struct exchange_cut *cut, uint64_t i);

/* The chunk that begins at this byte; false: there is none. */
bool exchange_cut_find(const struct exchange_cut *cut, uint64_t first, uint64_t *i);

/* --- exchange_pull.c -------------------------------------------------------------------- */

/* A stream of this round; `to` NULL: for the tree. */
void exchange_stream_add(struct exchange *x, const struct exchange_stream *stream);

/* Until all streams and the tree are complete; they are none afterwards. */
enum err_code exchange_pull(struct exchange *x, struct err *err);

/* --- exchange_behind.c ------------------------------------------------------------------ */

enum err_code exchange_behind_open(struct exchange *x, struct err *err);
void exchange_behind_close(struct exchange *x);

/* The sum under way, if there is one, ends at once: its round is given up for this reason. */
void exchange_behind_cancel(struct exchange *x, const char *why);

/* What the caller has called final since is no news any more. */
void exchange_behind_hear(struct exchange *x);

/* --- exchange_sum.c --------------------------------------------------------------------- */

/* exchange_sum of nodes of which behind.first says what is final. */
enum err_code exchange_sum_final(struct exchange *x, enum precision kind, uint32_t leaves,
                                 const void *const *node, size_t P, void *sum, struct err *err);

/* Add what is here and final; tells the others of both. */
void exchange_tree_advance(struct exchange *x);
bool exchange_tree_is_done(const struct exchange *x);

/* A chunk of a node, counted over all ranks.  Takes the message's memory, and leaves *m empty;
 * false, and nothing taken, where its bytes are not those that its checksum is of. */
bool exchange_tree_take(struct exchange *x, uint32_t node, uint64_t chunk, struct message *m);

/* True where a chunk of the sum is asked for that is this rank's. */
bool exchange_tree_owns(const struct exchange *x, const struct wire_gradient *ask);

/* The XXH3 of what is asked for where it is known, else 0. */
uint64_t exchange_tree_known(const struct exchange *x, const struct wire_gradient *ask);

/* Let go of what is held; nothing is left to do. */
void exchange_tree_release(struct exchange_tree *tree);

#endif

/*
 * exchange.h -- what the ranks of a group of learners send each other while they train a step.
 *
 * Each rank owns consecutive micro-batches, the leaves of control/summation.h, and has added
 * their gradients up to its aligned nodes.  exchange_sum finishes the tree: afterwards every
 * rank has the same P numbers, to the bit, that one rank alone would have.  Numbers are packed as
 * engine/gradient.h says, of s = 4 or 2 bytes each, in memory and on the wire.
 *
 *     6 leaves on 3 ranks:  ((0 1) (2 3)) (4 5)        a node of two leaves on each rank
 *
 *     rank 0   | 0 | 1 | 2 | 3 | 4 | 5 |   chunks of P numbers; c is rank c mod 3's
 *     rank 1   |   |   |   |   |   |   |
 *     rank 2   |   |   |   |   |   |   |
 *
 *     reduce-scatter   rank r fetches its chunks of the others' nodes and adds along the tree
 *     all-gather       and fetches the others' finished chunks, while they are finished
 *
 * All go from the last chunk to the first, for so a backward pass finishes its numbers: those of
 * the head and the last layer first, the embeddings last (engine/pass.h).  So the exchange of a
 * model need not wait for the last backward pass: exchange_sum_begin before it, exchange_sum_ready
 * in it.  What is asked for and not final yet waits for it.
 *
 * Bytes are read from memory once where that can be: a chunk's checksum is looked at block by block
 * while it is added or copied, and that of a finished chunk is taken while it is in the cache.  The
 * sum is written past the caches (base/hash_stream.h): it is not read here before it is complete.
 *
 * Which nodes are added in which order is fixed by the tree; what has arrived first only waits.
 * exchange_gather gives every rank the blocks of all, in the order of ranks: losses, values and
 * statistics of micro-batches, which each rank then merges in leaf order by itself.
 *
 * The wire.  Whoever needs something asks; nothing is sent unasked.
 *
 *     GRADIENT_ASK  run, step, attempt, round, part, bytes       EXCHANGE_WINDOW of an array's
 *                                                                chunks at once, then the next
 *     GRADIENT_CHUNK    the bytes, with their XXH3               as soon as they are there
 *     GRADIENT_WAIT     alive, not there yet                     to an ask that was repeated
 *     GRADIENT_REFUSED  the attempt or round is over here, or was given up, and why
 *
 * Asks are answered by the thread of node/weights.h, at the learner's one bulk endpoint, also
 * while this rank computes.  Ranks count their calls of exchange_sum and exchange_gather in an
 * attempt: the round.  An ask for a later round waits for it; one for an earlier round or
 * attempt is refused and counted.  A call returns when this rank has everything and every
 * other rank has what it needs from this one, so that the arrays are the caller's to fill again.
 * They are sent from where they lie: their memory must stay until the server is closed.
 *
 * What may fail.  A rank that answers nothing for silent_ms, or answers but has nothing for
 * late_ms, is named; so is one that refuses, or sends what is no message.  Who waits for sums
 * alone, as a rank without a chunk does, can name one that waits for a third, and says so.  After
 * a failure the attempt is over for this rank: it refuses the others' asks with its reason, so
 * that they fail at once too, and the caller applies nothing.  A new attempt begins with
 * exchange_join.  Between two ranks the last answer can be lost: one may have finished a round
 * that another gives up.  What follows from that is for whoever applies the result; see learner.h.
 *
 * Cost of exchange_sum on rank r, with k[q] nodes on rank q of R (1 each where R and the leaves
 * are powers of two; at most 2 log2 of a rank's leaves):
 *     memory      s P (k[r] + 1) bytes of nodes and result, the caller's; and here
 *                 EXCHANGE_AHEAD chunks of each other rank's nodes, and 2 MiB
 *     received    s P/R (sum of k[q], q != r)  +  s P (R-1)/R      bytes, to a cache line a chunk
 *     sent        s P (R-1)/R k[r]             +  s P (R-1)/R
 * Every rank then holds the whole gradient and makes the same update, rather than a shard of
 * it: the optimizer's 8P bytes are held R times, but the norm needs no further exchange, any
 * rank can write a checkpoint or serve weights, and any can be lost.
 *
 * exchange_sum_begin .. exchange_sum_end is exchange_sum in a thread of the exchange's own, so that
 * the caller computes meanwhile: the rest of these gradients, then the next model's.  Of its own
 * model's passes an exchange can have one beside it, the last micro-batch's backward, and of that
 * what comes before the embeddings: the other micro-batches give every number a new value.
 *
 * One thread calls; it is the one that made the exchange.  Allocates nothing after
 * exchange_open but the sockets of a new group; ZeroMQ allocates each message.
 */
#ifndef LEARNER_EXCHANGE_H
#define LEARNER_EXCHANGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "engine/gradient.h"
#include "node/weights.h"
#include "wire/socket.h"

#define EXCHANGE_RANKS_MAX   WIRE_RANKS_MAX
#define EXCHANGE_NODES_MAX   (WIRE_PARTS_MAX - 2u) /* of one rank; 62 come to pass */
#define EXCHANGE_CHUNK_BYTES (1024u * 1024u)       /* at most */
#define EXCHANGE_WINDOW      4u /* asks under way for one array of one rank */
#define EXCHANGE_AHEAD       4u /* chunks held for the tree */

struct exchange;

struct exchange_options {
    struct wire_context *context;  /* borrowed */
    struct weights_server *server; /* borrowed: answers the others; has no other guest */
    uint64_t run;                  /* the same number on all ranks of a run */
    uint32_t silent_ms;            /* without any answer: the rank is gone */
    uint32_t late_ms;              /* with answers, but nothing of what was asked for */
    bool (*stop)(void *ctx);       /* may be NULL; asked 20 times a second while waiting */
    void *ctx;
};

struct exchange_peer {
    char name[WIRE_NAME_MAX];         /* for errors */
    char endpoint[WIRE_ENDPOINT_MAX]; /* its weights server's */
};

/* Who trains a step together.  Attempts grow through the whole run, whatever the step. */
struct exchange_group {
    uint64_t step, attempt;
    uint32_t ranks, rank; /* rank: this one */
    struct exchange_peer peer[EXCHANGE_RANKS_MAX];
};

struct exchange_counts {
    uint64_t rounds;
    uint64_t waited_us; /* the caller, until another rank had something to say */
    uint64_t bytes_sent, bytes_received; /* payload */
    uint64_t stale;    /* asks refused, and answers ignored, of an earlier round or attempt */
    uint64_t repeated; /* chunks that came twice */
    uint64_t bad;      /* messages that were none: a checksum, a bound */
};

/* Attach to the server.  ERR_NOMEM.  The caller closes it with exchange_close, before the
 * server. */
enum err_code exchange_open(struct exchange **out, const struct exchange_options *options,
                            struct err *err);
void exchange_close(struct exchange *x); /* NULL does nothing */

/*
 * Begin an attempt; the group is copied, connections to ranks known before are kept.  Blocks on
 * nobody: a rank that is not there is noticed in the first round.  ERR_STATE for an attempt
 * that is not later than the one before, ERR_USAGE for an endpoint that is none.
 */
enum err_code exchange_join(struct exchange *x, const struct exchange_group *group,
                            struct err *err);

/* Give the attempt up: the other ranks' asks are refused with `why`.  For what goes wrong
 * between two rounds, or beside a sum under way, which ends; a round that fails has done it
 * already. */
void exchange_abandon(struct exchange *x, const char *why);

/* The aligned nodes of `rank`: their levels, in leaf order, at most EXCHANGE_NODES_MAX; returns
 * how many.  The first begins at summation_first(leaves, ranks, rank), each at the end of the
 * one before. */
uint32_t exchange_nodes(uint32_t leaves, uint32_t ranks, uint32_t rank,
                        uint32_t level[EXCHANGE_NODES_MAX]);

/*
 * node[k], P > 0 packed numbers each, is the sum of this rank's k-th node.  `sum` (P), none of
 * them, becomes the whole sum, packed.  kind, leaves > 0 and P are the same on all ranks; a rank
 * without leaves has no node and still helps.  Blocks.  Errors, after which `sum` is unspecified:
 *
 *   ERR_TIMEOUT      a rank was silent or late: named
 *   ERR_UNAVAILABLE  a rank refused, or `stop`
 *   ERR_FORMAT       a rank sent too much that was no message
 *   ERR_STATE        no attempt is under way
 */
enum err_code exchange_sum(struct exchange *x, enum precision kind, uint32_t leaves,
                           const void *const *node, size_t P, void *sum, struct err *err);

/*
 * The same in two: what is passed is the exchange's until the end, and nothing but these and
 * exchange_abandon may be called meanwhile.  begin: ERR_STATE; then end blocks, and returns what
 * exchange_sum would.  failed: it has ended so already, and the caller need not go on.
 *
 * Numbers `first` .. P-1 of all nodes are final, those before them still the caller's to write:
 * ready says that more are, and is cheap.  The end is for when all are (first 0).
 */
enum err_code exchange_sum_begin(struct exchange *x, enum precision kind, uint32_t leaves,
                                 const void *const *node, size_t P, size_t first, void *sum,
                                 struct err *err);
void exchange_sum_ready(struct exchange *x, size_t first);
bool exchange_sum_failed(const struct exchange *x);
enum err_code exchange_sum_end(struct exchange *x, struct err *err);

/*
 * `all` is the ranks' blocks one after the other, of bytes[rank] each (may be 0); this rank's
 * is filled, the others are when it returns.  bytes is the same on all ranks.  Blocks; errors
 * as above.
 */
enum err_code exchange_gather(struct exchange *x, const size_t *bytes, void *all,
                              struct err *err);

/* From the calling thread, at any time. */
struct exchange_counts exchange_counts(const struct exchange *x);

#endif

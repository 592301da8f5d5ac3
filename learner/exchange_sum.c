/* exchange_sum.c -- the two kinds of round, and the tree over a rank's chunks: see exchange.h. */
#include <assert.h>
#include <string.h>

#include "base/hash.h"
#include "base/hash_stream.h"
#include "learner/exchange_add.h"
#include "learner/exchange_state.h"

uint32_t exchange_nodes(uint32_t leaves, uint32_t ranks, uint32_t rank,
                        uint32_t level[EXCHANGE_NODES_MAX])
{
    const uint32_t end = summation_first(leaves, ranks, rank + 1);
    uint32_t n = 0;
    for (uint32_t at = summation_first(leaves, ranks, rank); at < end;) {
        assert(n < EXCHANGE_NODES_MAX);
        level[n] = summation_node(at, end);
        at += (uint32_t)1 << level[n++];
    }
    return n;
}

/* --- the tree ---------------------------------------------------------------------------- */

/* The additions of `leaves` leaves of which the nodes have these levels, in order. */
static void exchange_tree_plan(struct exchange_tree *tree, uint32_t leaves,
                               const uint32_t *level)
{
    uint32_t buffer[SUMMATION_LEVELS]; /* what is in each */
    struct summation_merge merges[SUMMATION_LEVELS];
    struct summation sum;
    summation_init(&sum, leaves);
    tree->steps = 0;
    for (uint32_t i = 0; i < tree->nodes; i++) {
        buffer[summation_work(&sum)] = i;
        const uint32_t count = summation_commit(&sum, level[i], merges);
        for (uint32_t k = 0; k < count; k++) {
            const struct summation_merge m = merges[k];
            tree->step[tree->steps++] =
                (struct exchange_step){buffer[m.from], buffer[m.into], m.into};
            buffer[m.into] = EXCHANGE_TREE_MAX + m.into;
        }
    }
}

static void exchange_tree_init(struct exchange *x, enum precision kind, uint32_t leaves,
                               const void *const *node, size_t P, void *sum)
{
    struct exchange_tree *tree = x->tree;
    const uint32_t ranks = x->group.ranks;
    uint32_t level[EXCHANGE_TREE_MAX];
    tree->nodes = 0;
    for (uint32_t rank = 0; rank < ranks; rank++) {
        tree->first[rank] = tree->nodes;
        tree->nodes += exchange_nodes(leaves, ranks, rank, level + tree->nodes);
    }
    tree->first[ranks] = tree->nodes;
    exchange_tree_plan(tree, leaves, level);
    tree->node = node;
    tree->sum = sum;
    tree->kind = kind;
    tree->cut = exchange_cut(P * gradient_bytes(kind), ranks, x->group.rank);
    tree->from =
        tree->first[x->group.rank + 1] > tree->first[x->group.rank] ? tree->cut.size : 0;
    tree->chunks = exchange_cut_count(&tree->cut);
    tree->done = 0;
}

/* Node i in a chunk of this rank; NULL: not here, or not final. */
static const unsigned char *exchange_tree_data(const struct exchange *x, uint32_t i,
                                               uint64_t chunk)
{
    const struct exchange_tree *tree = x->tree;
    const uint32_t own = tree->first[x->group.rank];
    if (i < own || i >= tree->first[x->group.rank + 1])
        return tree->held[chunk % EXCHANGE_AHEAD][i].data;
    const size_t first = exchange_cut_first(&tree->cut, chunk);
    return first >= tree->from ? (const unsigned char *)tree->node[i - own] + first : NULL;
}

static bool exchange_tree_has(const struct exchange *x, uint64_t chunk)
{
    for (uint32_t i = 0; i < x->tree->nodes; i++)
        if (!exchange_tree_data(x, i, chunk))
            return false;
    return true;
}

static const unsigned char *exchange_tree_operand(const struct exchange *x, uint32_t i,
                                                  size_t at)
{
    return i < EXCHANGE_TREE_MAX ? x->tree->data[i] + at : x->scratch[i - EXCHANGE_TREE_MAX];
}

/* Bytes at .. at+size-1 of the chunk along the tree, up to the last addition, which is returned.
 * Nodes are read where they are, sums are made in scratch. */
static struct exchange_addition exchange_tree_walk(struct exchange *x, size_t at, size_t size)
{
    const struct exchange_tree *tree = x->tree;
    struct exchange_addition last = {
        .kind = tree->kind, .from = tree->data[0] + at, .size = size};
    for (uint32_t i = 0; i < tree->steps; i++) {
        if (i > 0)
            gradient_add_packed(tree->kind, last.scratch, last.from, last.into,
                                size / gradient_bytes(tree->kind));
        last.from = exchange_tree_operand(x, tree->step[i].from, at);
        last.into = exchange_tree_operand(x, tree->step[i].into, at);
        last.scratch = x->scratch[tree->step[i].to];
    }
    return last;
}

static void exchange_tree_drop(struct exchange_tree *tree, uint64_t chunk)
{
    for (uint32_t i = 0; i < tree->nodes; i++) {
        struct exchange_held *held = &tree->held[chunk % EXCHANGE_AHEAD][i];
        struct message m = {.owned = held->owned};
        message_release(&m);
        *held = (struct exchange_held){0};
    }
}

/* A chunk of this rank.  `late`, whose checksum nobody has looked at yet, and the result are
 * hashed block by block while these are in the cache; returns the hash of `late`. */
static uint64_t exchange_tree_add(struct exchange *x, uint64_t chunk,
                                  const struct exchange_held *late)
{
    struct exchange_tree *tree = x->tree;
    const size_t size = exchange_cut_bytes(&tree->cut, chunk);
    unsigned char *out = tree->sum + exchange_cut_first(&tree->cut, chunk);
    struct hash_stream in, result;
    for (uint32_t i = 0; i < tree->nodes; i++)
        tree->data[i] = exchange_tree_data(x, i, chunk);
    hash_stream_begin(&in);
    hash_stream_begin(&result);
    for (size_t at = 0; at < size; at += EXCHANGE_BLOCK_BYTES) {
        const size_t block =
            size - at < EXCHANGE_BLOCK_BYTES ? size - at : EXCHANGE_BLOCK_BYTES;
        struct exchange_addition last = exchange_tree_walk(x, at, block);
        last.late = late ? late->data + at : NULL;
        exchange_add(&last, out + at, &result, &in);
    }
    if (chunk < EXCHANGE_KNOWN_MAX)
        tree->known[chunk] = hash_stream_end(&result);
    return hash_stream_end(&in);
}

/* The chunk that comes next is added: let go of its nodes, and tell the others. */
static void exchange_tree_next(struct exchange *x)
{
    struct exchange_tree *tree = x->tree;
    const size_t from = exchange_cut_first(&tree->cut, tree->done);
    exchange_tree_drop(tree, tree->done++);
    exchange_ready(x, EXCHANGE_PART_SUM, from);
}

/* More of this rank's nodes may be final. */
static void exchange_tree_look(struct exchange *x)
{
    struct exchange_tree *tree = x->tree;
    const size_t from = atomic_load(&x->behind.first) * gradient_bytes(tree->kind);
    if (from >= tree->from)
        return;
    tree->from = from;
    for (uint32_t i = tree->first[x->group.rank]; i < tree->first[x->group.rank + 1]; i++)
        exchange_ready(x, i - tree->first[x->group.rank], from);
}

bool exchange_tree_is_done(const struct exchange *x)
{
    return x->tree->done == x->tree->chunks;
}

void exchange_tree_advance(struct exchange *x)
{
    struct exchange_tree *tree = x->tree;
    exchange_tree_look(x);
    while (tree->done < tree->chunks && exchange_tree_has(x, tree->done)) {
        exchange_tree_add(x, tree->done, NULL);
        exchange_tree_next(x);
    }
}

bool exchange_tree_take(struct exchange *x, uint32_t node, uint64_t chunk, struct message *m)
{
    struct exchange_tree *tree = x->tree;
    struct exchange_held *held = &tree->held[chunk % EXCHANGE_AHEAD][node];
    assert(!held->owned && chunk < tree->done + EXCHANGE_AHEAD);
    *held = (struct exchange_held){m->owned, m->frame[0].data};
    const bool is_last = chunk == tree->done && exchange_tree_has(x, chunk);
    const uint64_t xxh3 = is_last ? exchange_tree_add(x, chunk, held)
                                  : hash_xxh3(m->frame[0].data, m->frame[0].size);
    if (xxh3 != m->payload_xxh3) {
        *held = (struct exchange_held){0}; /* what was added to it will be added anew */
        return false;
    }
    *m = (struct message){0};
    if (is_last)
        exchange_tree_next(x);
    exchange_tree_advance(x);
    return true;
}

bool exchange_tree_owns(const struct exchange *x, const struct wire_gradient *ask)
{
    uint64_t chunk;
    return exchange_cut_find(&x->tree->cut, ask->first, &chunk) &&
           ask->bytes == exchange_cut_bytes(&x->tree->cut, chunk);
}

uint64_t exchange_tree_known(const struct exchange *x, const struct wire_gradient *ask)
{
    uint64_t chunk;
    if (ask->part != EXCHANGE_PART_SUM ||
        !exchange_cut_find(&x->tree->cut, ask->first, &chunk) || chunk >= EXCHANGE_KNOWN_MAX)
        return 0;
    return x->tree->known[chunk];
}

void exchange_tree_release(struct exchange_tree *tree)
{
    for (uint64_t chunk = 0; chunk < EXCHANGE_AHEAD; chunk++)
        exchange_tree_drop(tree, chunk);
    tree->chunks = tree->done = 0;
    tree->from = 0;
}

/* --- rounds ------------------------------------------------------------------------------ */

/* What both ends of an ask have to agree on; of a gather, numbers are of no bytes.  The version
 * tells how an array is cut: learners that cut otherwise refuse each other. */
static uint64_t exchange_shape(const struct exchange *x, uint64_t number_bytes, uint64_t a,
                               uint64_t b)
{
    const uint64_t words[] = {EXCHANGE_VERSION, x->step, x->group.ranks, number_bytes, a, b};
    return hash_xxh3(words, sizeof words);
}

static void exchange_add_streams(struct exchange *x)
{
    const struct exchange_tree *tree = x->tree;
    for (uint32_t rank = 0; rank < x->group.ranks; rank++)
        if (rank != x->group.rank && tree->first[rank + 1] > tree->first[rank])
            exchange_stream_add(
                x, &(struct exchange_stream){.rank = rank,
                                             .parts = tree->first[rank + 1] - tree->first[rank],
                                             .cut = tree->cut});
    for (uint32_t rank = 0; rank < x->group.ranks; rank++)
        if (rank != x->group.rank)
            exchange_stream_add(x,
                                &(struct exchange_stream){
                                    .rank = rank,
                                    .part = EXCHANGE_PART_SUM,
                                    .parts = 1,
                                    .cut = exchange_cut(tree->cut.size, x->group.ranks, rank),
                                    .to = tree->sum});
}

enum err_code exchange_sum_final(struct exchange *x, enum precision kind, uint32_t leaves,
                                 const void *const *node, size_t P, void *sum, struct err *err)
{
    assert(leaves > 0 && P > 0);
    enum err_code rc = exchange_check_joined(x, err);
    if (rc)
        return rc;
    exchange_tree_init(x, kind, leaves, node, P, sum);
    const struct exchange_tree *tree = x->tree;
    const uint32_t own = tree->first[x->group.rank];
    for (uint32_t i = own; i < tree->first[x->group.rank + 1]; i++)
        exchange_offer(x, i - own, node[i - own], tree->cut.size, tree->cut.size);
    exchange_offer(x, EXCHANGE_PART_SUM, tree->sum, tree->cut.size, tree->cut.size);
    exchange_add_streams(x);
    exchange_tree_advance(x); /* what is final, and the sum where no other rank has a node */
    rc = exchange_round(x, exchange_shape(x, gradient_bytes(kind), leaves, P), err);
    exchange_tree_release(x->tree);
    return rc;
}

enum err_code exchange_sum(struct exchange *x, enum precision kind, uint32_t leaves,
                           const void *const *node, size_t P, void *sum, struct err *err)
{
    assert(!x->behind.is_under_way);
    atomic_store(&x->behind.first, 0);
    return exchange_sum_final(x, kind, leaves, node, P, sum, err);
}

enum err_code exchange_gather(struct exchange *x, const size_t *bytes, void *all,
                              struct err *err)
{
    assert(!x->behind.is_under_way);
    const enum err_code rc = exchange_check_joined(x, err);
    if (rc)
        return rc;
    unsigned char *at = all;
    uint64_t digest = 0;
    for (uint32_t rank = 0; rank < x->group.ranks; rank++) {
        digest = exchange_shape(x, 0, digest, bytes[rank]);
        if (rank == x->group.rank)
            exchange_offer(x, 0, at, bytes[rank], 0);
        else
            exchange_stream_add(
                x, &(struct exchange_stream){.rank = rank,
                                             .parts = 1,
                                             .cut = exchange_cut_whole(bytes[rank]),
                                             .to = at});
        at += bytes[rank];
    }
    return exchange_round(x, digest, err);
}

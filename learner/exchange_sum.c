/* exchange_sum.c -- the two kinds of round, and the tree over a shard: see exchange.h. */
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

/* Rank's shard of P numbers: *size bytes from *first on. */
static void exchange_shard(enum precision kind, size_t P, uint32_t ranks, uint32_t rank,
                           size_t *first, size_t *size)
{
    const size_t bytes = gradient_bytes(kind);
    *first = (P / ranks * rank + (rank < P % ranks ? rank : P % ranks)) * bytes;
    *size = (P / ranks + (rank < P % ranks ? 1 : 0)) * bytes;
}

static void exchange_tree_init(struct exchange *x, enum precision kind, uint32_t leaves,
                               const void *const *node, size_t P, void *sum)
{
    struct exchange_tree *tree = x->tree;
    const uint32_t ranks = x->group.ranks;
    tree->leaves = leaves;
    tree->nodes = 0;
    for (uint32_t rank = 0; rank < ranks; rank++) {
        tree->first[rank] = tree->nodes;
        tree->nodes += exchange_nodes(leaves, ranks, rank, tree->level + tree->nodes);
    }
    tree->first[ranks] = tree->nodes;
    tree->node = node;
    tree->sum = sum;
    tree->kind = kind;
    exchange_shard(kind, P, ranks, x->group.rank, &tree->shard, &tree->shard_size);
    tree->chunks = (tree->shard_size + EXCHANGE_CHUNK_BYTES - 1) / EXCHANGE_CHUNK_BYTES;
    tree->done = 0;
}

/* Node i in a chunk of the shard; NULL: not here. */
static const unsigned char *exchange_tree_data(const struct exchange *x, uint32_t i,
                                               uint64_t chunk)
{
    const struct exchange_tree *tree = x->tree;
    const uint32_t own = tree->first[x->group.rank];
    if (i >= own && i < tree->first[x->group.rank + 1])
        return (const unsigned char *)tree->node[i - own] + tree->shard +
               chunk * EXCHANGE_CHUNK_BYTES;
    return tree->held[chunk % EXCHANGE_AHEAD][i].data;
}

static size_t exchange_tree_bytes(const struct exchange_tree *tree, uint64_t chunk)
{
    const size_t rest = tree->shard_size - (size_t)chunk * EXCHANGE_CHUNK_BYTES;
    return rest < EXCHANGE_CHUNK_BYTES ? rest : EXCHANGE_CHUNK_BYTES;
}

static bool exchange_tree_has(const struct exchange *x, uint64_t chunk)
{
    for (uint32_t i = 0; i < x->tree->nodes; i++)
        if (!exchange_tree_data(x, i, chunk))
            return false;
    return true;
}

/* Bytes at .. at+size-1 of a chunk along the tree, up to the last addition, which is returned.  Nodes
 * are read where they are, sums are made in scratch. */
static struct exchange_addition exchange_tree_walk(struct exchange *x, uint64_t chunk,
                                                   size_t at, size_t size)
{
    const struct exchange_tree *tree = x->tree;
    const size_t n = size / gradient_bytes(tree->kind);
    const unsigned char *buffer[SUMMATION_LEVELS];
    struct summation_merge merges[SUMMATION_LEVELS];
    struct summation sum;
    struct exchange_addition last = {
        .kind = tree->kind, .from = exchange_tree_data(x, 0, chunk) + at, .size = size};
    summation_init(&sum, tree->leaves);
    for (uint32_t i = 0; i < tree->nodes; i++) {
        buffer[summation_work(&sum)] = exchange_tree_data(x, i, chunk) + at;
        const uint32_t count = summation_commit(&sum, tree->level[i], merges);
        for (uint32_t k = 0; k < count; k++) {
            const struct summation_merge m = merges[k];
            if (last.into)
                gradient_add_packed(tree->kind, last.scratch, last.from, last.into, n);
            last.from = buffer[m.from];
            last.into = buffer[m.into];
            last.scratch = x->scratch[m.into];
            buffer[m.into] = last.scratch;
        }
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

/* A chunk of the shard.  `late`, whose checksum nobody has looked at yet, and the result are
 * hashed block by block while these are in the cache; returns the hash of `late`. */
static uint64_t exchange_tree_add(struct exchange *x, uint64_t chunk,
                                  const struct exchange_held *late)
{
    struct exchange_tree *tree = x->tree;
    const size_t size = exchange_tree_bytes(tree, chunk);
    unsigned char *out = tree->sum + tree->shard + chunk * EXCHANGE_CHUNK_BYTES;
    struct hash_stream in, result;
    hash_stream_begin(&in);
    hash_stream_begin(&result);
    for (size_t at = 0; at < size; at += EXCHANGE_BLOCK_BYTES) {
        const size_t block =
            size - at < EXCHANGE_BLOCK_BYTES ? size - at : EXCHANGE_BLOCK_BYTES;
        struct exchange_addition last = exchange_tree_walk(x, chunk, at, block);
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
    const size_t done =
        (size_t)tree->done * EXCHANGE_CHUNK_BYTES + exchange_tree_bytes(tree, tree->done);
    exchange_tree_drop(tree, tree->done++);
    exchange_ready(x, EXCHANGE_PART_SUM, done);
}

void exchange_tree_advance(struct exchange *x)
{
    struct exchange_tree *tree = x->tree;
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

uint64_t exchange_tree_known(const struct exchange *x, const struct wire_gradient *ask)
{
    const uint64_t chunk = ask->first / EXCHANGE_CHUNK_BYTES;
    if (ask->part != EXCHANGE_PART_SUM || ask->first % EXCHANGE_CHUNK_BYTES != 0 ||
        chunk >= EXCHANGE_KNOWN_MAX || ask->bytes != exchange_tree_bytes(x->tree, chunk))
        return 0;
    return x->tree->known[chunk];
}

void exchange_tree_release(struct exchange_tree *tree)
{
    for (uint64_t chunk = 0; chunk < EXCHANGE_AHEAD; chunk++)
        exchange_tree_drop(tree, chunk);
}

/* --- rounds ------------------------------------------------------------------------------ */

/* What both ends of an ask have to agree on; of a gather, numbers are of no bytes. */
static uint64_t exchange_shape(const struct exchange *x, uint64_t number_bytes, uint64_t a,
                               uint64_t b)
{
    const uint64_t words[] = {x->step, x->group.ranks, number_bytes, a, b};
    return hash_xxh3(words, sizeof words);
}

static void exchange_add_streams(struct exchange *x, size_t P)
{
    const struct exchange_tree *tree = x->tree;
    for (uint32_t rank = 0; rank < x->group.ranks; rank++)
        if (rank != x->group.rank && tree->first[rank + 1] > tree->first[rank])
            exchange_stream_add(
                x, &(struct exchange_stream){.rank = rank,
                                             .parts = tree->first[rank + 1] - tree->first[rank],
                                             .first = tree->shard,
                                             .size = tree->shard_size});
    for (uint32_t rank = 0; rank < x->group.ranks; rank++) {
        size_t first, size;
        exchange_shard(tree->kind, P, x->group.ranks, rank, &first, &size);
        if (rank != x->group.rank)
            exchange_stream_add(x, &(struct exchange_stream){.rank = rank,
                                                             .part = EXCHANGE_PART_SUM,
                                                             .parts = 1,
                                                             .size = size,
                                                             .to = tree->sum + first});
    }
}

enum err_code exchange_sum(struct exchange *x, enum precision kind, uint32_t leaves,
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
        exchange_offer(x, i - own, node[i - own], P * gradient_bytes(kind),
                       P * gradient_bytes(kind));
    exchange_offer(x, EXCHANGE_PART_SUM, tree->sum + tree->shard, tree->shard_size, 0);
    exchange_add_streams(x, P);
    exchange_tree_advance(x); /* where no other rank has a node */
    rc = exchange_round(x, exchange_shape(x, gradient_bytes(kind), leaves, P), err);
    exchange_tree_release(x->tree);
    return rc;
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
            exchange_offer(x, 0, at, bytes[rank], bytes[rank]);
        else
            exchange_stream_add(x,
                                &(struct exchange_stream){
                                    .rank = rank, .parts = 1, .size = bytes[rank], .to = at});
        at += bytes[rank];
    }
    return exchange_round(x, digest, err);
}

/* bpe.c -- see bpe.h for the rule.  bpe_load.c reads the file. */
#include "engine/tokenizer/bpe.h"

#include <assert.h>
#include <stdlib.h>

#include "base/utf8.h"
#include "engine/tokenizer/bpe_merges.h"

#define BPE_END UINT32_MAX /* no neighbour on this side */

struct bpe_symbol {
    int32_t id; /* -1: merged into the symbol before it */
    uint32_t prev, next;
};

struct bpe_candidate {
    uint32_t rank;
    uint32_t at; /* the left symbol */
    int32_t id;
};

void bpe_scratch_release(struct bpe_scratch *scratch)
{
    free(scratch->symbols);
    free(scratch->heap);
    *scratch = (struct bpe_scratch){0};
}

static bool bpe_before(struct bpe_candidate a, struct bpe_candidate b)
{
    return a.rank != b.rank ? a.rank < b.rank : a.at < b.at;
}

static void bpe_heap_push(struct bpe_scratch *scratch, struct bpe_candidate candidate)
{
    struct bpe_candidate *heap = scratch->heap;
    assert(scratch->heap_n < scratch->heap_cap);
    size_t i = scratch->heap_n++;
    while (i > 0 && bpe_before(candidate, heap[(i - 1) / 2])) {
        heap[i] = heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    heap[i] = candidate;
}

static struct bpe_candidate bpe_heap_pop(struct bpe_scratch *scratch)
{
    struct bpe_candidate *heap = scratch->heap;
    const struct bpe_candidate top = heap[0];
    const struct bpe_candidate last = heap[--scratch->heap_n];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= scratch->heap_n)
            break;
        if (child + 1 < scratch->heap_n && bpe_before(heap[child + 1], heap[child]))
            child++;
        if (!bpe_before(heap[child], last))
            break;
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = last;
    return top;
}

static void bpe_add_symbol(struct bpe_scratch *scratch, int32_t id)
{
    assert(scratch->n < scratch->symbols_cap);
    const uint32_t at = (uint32_t)scratch->n++;
    if (at > 0)
        scratch->symbols[at - 1].next = at;
    scratch->symbols[at] = (struct bpe_symbol){id, at > 0 ? at - 1 : BPE_END, BPE_END};
}

/* The <0xHH> tokens of a character, where the vocabulary has each of them. */
static bool bpe_add_bytes(const struct bpe *bpe, struct bpe_scratch *scratch, const char *c,
                          size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (bpe->byte_ids[(unsigned char)c[i]] < 0)
            return false;
    for (size_t i = 0; i < size; i++)
        bpe_add_symbol(scratch, bpe->byte_ids[(unsigned char)c[i]]);
    return true;
}

/* One symbol a character.  An unknown one is held back until the next known character, so
 * that a run can become one; byte tokens pass it, as they do in the reference. */
static void bpe_cut(const struct bpe *bpe, const char *word, size_t n,
                    struct bpe_scratch *scratch)
{
    bool pending = false;
    for (size_t at = 0; at < n;) {
        const size_t size = utf8_size(word + at);
        const int32_t id = vocab_find(&bpe->vocab, word + at, size);
        if (id >= 0) {
            if (pending)
                bpe_add_symbol(scratch, bpe->unknown_id);
            pending = false;
            bpe_add_symbol(scratch, id);
        } else if (bpe->byte_fallback && bpe_add_bytes(bpe, scratch, word + at, size)) {
            /* nothing is pending that was not before */
        } else if (bpe->unknown_id >= 0) {
            if (pending && !bpe->fuse_unknown)
                bpe_add_symbol(scratch, bpe->unknown_id);
            pending = true;
        }
        at += size;
    }
    if (pending)
        bpe_add_symbol(scratch, bpe->unknown_id);
}

/* The merge of the symbols at `left` and after it; NULL: none. */
static const struct bpe_merge *bpe_merge_at(const struct bpe *bpe, const bool *banned,
                                            const struct bpe_scratch *scratch, uint32_t left)
{
    if (left == BPE_END || scratch->symbols[left].next == BPE_END)
        return NULL;
    const int32_t a = scratch->symbols[left].id;
    const int32_t b = scratch->symbols[scratch->symbols[left].next].id;
    const struct bpe_merge *merge = bpe_merges_find(bpe, a, b);
    return merge && banned && banned[merge->id] ? NULL : merge;
}

static void bpe_consider(const struct bpe *bpe, const bool *banned, struct bpe_scratch *scratch,
                         uint32_t left)
{
    const struct bpe_merge *merge = bpe_merge_at(bpe, banned, scratch, left);
    if (merge)
        bpe_heap_push(scratch, (struct bpe_candidate){merge->rank, left, merge->id});
}

static void bpe_merge_all(const struct bpe *bpe, const bool *banned,
                          struct bpe_scratch *scratch)
{
    struct bpe_symbol *symbols = scratch->symbols;
    scratch->heap_n = 0;
    for (uint32_t i = 0; i + 1 < scratch->n; i++)
        bpe_consider(bpe, banned, scratch, i);
    while (scratch->heap_n > 0) {
        const struct bpe_candidate top = bpe_heap_pop(scratch);
        if (symbols[top.at].id < 0)
            continue;
        /* A candidate is stale where its neighbours changed since it was found. */
        const struct bpe_merge *now = bpe_merge_at(bpe, banned, scratch, top.at);
        if (!now || now->id != top.id)
            continue;
        const uint32_t right = symbols[top.at].next;
        symbols[top.at].id = top.id;
        symbols[top.at].next = symbols[right].next;
        symbols[right].id = -1;
        if (symbols[right].next != BPE_END)
            symbols[symbols[right].next].prev = top.at;
        bpe_consider(bpe, banned, scratch, symbols[top.at].prev);
        bpe_consider(bpe, banned, scratch, top.at);
    }
}

/* Room for a word of n bytes: a symbol a byte at most, and a candidate for each pair to
 * begin with and two more for each merge. */
static enum err_code bpe_reserve(struct bpe_scratch *scratch, size_t n, struct err *err)
{
    scratch->n = 0;
    if (n <= scratch->symbols_cap)
        return ERR_OK;
    const size_t cap = n < 64 ? 64 : n + n / 2;
    free(scratch->symbols);
    free(scratch->heap);
    scratch->symbols = calloc(cap, sizeof *scratch->symbols);
    scratch->heap = calloc(cap * 3, sizeof *scratch->heap);
    if (!scratch->symbols || !scratch->heap) {
        bpe_scratch_release(scratch);
        return err_set(err, ERR_NOMEM, "no memory to encode a word of %zu bytes", n);
    }
    scratch->symbols_cap = cap;
    scratch->heap_cap = cap * 3;
    return ERR_OK;
}

enum err_code bpe_encode(const struct bpe *bpe, const char *word, size_t n, const bool *banned,
                         struct bpe_scratch *scratch, struct tokens *out, struct err *err)
{
    if (bpe->ignore_merges) {
        const int32_t id = vocab_find(&bpe->vocab, word, n);
        if (id >= 0 && !(banned && banned[id]))
            return tokens_append(out, &id, 1, err);
    }
    enum err_code rc = bpe_reserve(scratch, n, err);
    if (rc != ERR_OK)
        return rc;
    bpe_cut(bpe, word, n, scratch);
    bpe_merge_all(bpe, banned, scratch);
    for (uint32_t i = 0; rc == ERR_OK && scratch->n > 0 && i != BPE_END;
         i = scratch->symbols[i].next)
        rc = tokens_append(out, &scratch->symbols[i].id, 1, err);
    return rc;
}

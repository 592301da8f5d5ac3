/* vocab.c -- see vocab.h. */
#include "engine/tokenizer/vocab.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

enum err_code vocab_init(struct vocab *vocab, size_t n, int32_t id_max, struct err *err)
{
    assert(id_max >= 0 && id_max <= VOCAB_ID_MAX);
    *vocab = (struct vocab){0};
    buf_init(&vocab->bytes, VOCAB_BYTES_MAX);
    vocab->cap = n;
    vocab->ids = (size_t)id_max + 1;
    vocab->slots = 16;
    while (vocab->slots < n * 2)
        vocab->slots *= 2;
    vocab->entries = calloc(n + 1, sizeof *vocab->entries);
    vocab->table = calloc(vocab->slots, sizeof *vocab->table);
    vocab->by_id = calloc(vocab->ids, sizeof *vocab->by_id);
    if (!vocab->entries || !vocab->table || !vocab->by_id) {
        vocab_release(vocab);
        return err_set(err, ERR_NOMEM, "no memory for a vocabulary of %zu tokens", n);
    }
    return ERR_OK;
}

void vocab_release(struct vocab *vocab)
{
    buf_release(&vocab->bytes);
    free(vocab->entries);
    free(vocab->table);
    free(vocab->by_id);
    *vocab = (struct vocab){0};
}

/* The slot that holds this content, or the free one where it belongs. */
static size_t vocab_slot(const struct vocab *vocab, const char *content, size_t n)
{
    size_t slot = hash_xxh3(content, n) & (vocab->slots - 1);
    while (vocab->table[slot]) {
        const struct vocab_entry *entry = &vocab->entries[vocab->table[slot] - 1];
        if (entry->size == n && memcmp(vocab->bytes.data + entry->begin, content, n) == 0)
            break;
        slot = (slot + 1) & (vocab->slots - 1);
    }
    return slot;
}

enum err_code vocab_add(struct vocab *vocab, const char *content, size_t n, int32_t id,
                        const char *where, struct err *err)
{
    assert(vocab->n < vocab->cap && id >= 0 && (size_t)id < vocab->ids);
    const size_t slot = vocab_slot(vocab, content, n);
    if (vocab->table[slot])
        return err_set(err, ERR_FORMAT, "%s: token \"%.*s\" is there twice", where,
                       (int)(n < 80 ? n : 80), content);
    if (vocab->by_id[id])
        return err_set(err, ERR_FORMAT, "%s: id %d of token \"%.*s\" is that of another token",
                       where, (int)id, (int)(n < 80 ? n : 80), content);
    const size_t begin = vocab->bytes.len;
    buf_append(&vocab->bytes, content, n);
    if (vocab->bytes.failed)
        return buf_check(&vocab->bytes, where, err);
    vocab->entries[vocab->n++] = (struct vocab_entry){(uint32_t)begin, (uint32_t)n, id};
    vocab->table[slot] = vocab->by_id[id] = (uint32_t)vocab->n;
    return ERR_OK;
}

int32_t vocab_find(const struct vocab *vocab, const char *content, size_t n)
{
    if (vocab->n == 0)
        return -1;
    const uint32_t entry = vocab->table[vocab_slot(vocab, content, n)];
    return entry ? vocab->entries[entry - 1].id : -1;
}

const char *vocab_content(const struct vocab *vocab, int32_t id, size_t *n)
{
    if (id < 0 || (size_t)id >= vocab->ids || !vocab->by_id[id])
        return NULL;
    const struct vocab_entry *entry = &vocab->entries[vocab->by_id[id] - 1];
    *n = entry->size;
    return vocab->bytes.data + entry->begin;
}

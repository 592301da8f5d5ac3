/* seen.c -- see seen.h.  Open addressing, linear probing: the hashes are uniform already. */
#include "data/seen.h"

#include <assert.h>
#include <stdlib.h>

#define SEEN_SLOTS_FIRST 4096

void seen_init(struct seen *seen, size_t max)
{
    assert(max <= SEEN_MAX);
    *seen = (struct seen){.max = max};
}

void seen_release(struct seen *seen)
{
    free(seen->entry);
    seen_init(seen, seen->max);
}

/* The entry of the hash, or the free one where it belongs. */
static struct seen_entry *seen_find(struct seen_entry *entry, size_t slots, uint64_t hash)
{
    size_t i = (size_t)hash & (slots - 1);
    while (entry[i].files && entry[i].hash != hash)
        i = (i + 1) & (slots - 1);
    return &entry[i];
}

static enum err_code seen_grow(struct seen *seen, struct err *err)
{
    const size_t slots = seen->slots ? 2 * seen->slots : SEEN_SLOTS_FIRST;
    struct seen_entry *entry = calloc(slots, sizeof *entry);
    if (!entry)
        return err_set(err, ERR_NOMEM, "no memory to remember %zu hashes", slots / 2);
    for (size_t i = 0; i < seen->slots; i++)
        if (seen->entry[i].files)
            *seen_find(entry, slots, seen->entry[i].hash) = seen->entry[i];
    free(seen->entry);
    seen->entry = entry;
    seen->slots = slots;
    return ERR_OK;
}

enum err_code seen_put(struct seen *seen, uint64_t hash, unsigned file, uint64_t line,
                       struct seen_entry *before, struct err *err)
{
    assert(file < SEEN_FILES_MAX);
    if (2 * (seen->n + 1) > seen->slots && seen->n < seen->max) {
        const enum err_code rc = seen_grow(seen, err);
        if (rc)
            return rc;
    }
    struct seen_entry *entry = seen_find(seen->entry, seen->slots, hash);
    *before = *entry;
    if (!entry->files && seen->n == seen->max) {
        seen->full = true;
        return ERR_OK;
    }
    if (!entry->files) {
        *entry = (struct seen_entry){.hash = hash, .line = line & ((1ull << 48) - 1)};
        entry->file = file & 0xff;
        seen->n++;
    }
    entry->files = (entry->files | 1u << file) & 0xff;
    return ERR_OK;
}

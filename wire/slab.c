/* slab.c -- see slab.h. */
#include "wire/slab.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define SLAB_ALIGN       16u   /* also what a piece's size costs in front of it */
#define SLAB_FIRST_BYTES 2048u /* a heartbeat fits; later blocks double */

struct slab_block {
    struct slab_block *next;
    size_t bytes, used; /* of what follows the block, after alignment */
};

#define SLAB_BLOCK_HEAD ((sizeof(struct slab_block) + SLAB_ALIGN - 1) / SLAB_ALIGN * SLAB_ALIGN)

static struct slab_block *slab_grow(struct slab *slab, size_t need)
{
    size_t bytes = slab->blocks ? slab->blocks->bytes * 2 : SLAB_FIRST_BYTES;
    if (bytes < need)
        bytes = need;
    struct slab_block *block = malloc(SLAB_BLOCK_HEAD + bytes);
    if (!block)
        return NULL;
    *block = (struct slab_block){.next = slab->blocks, .bytes = bytes};
    slab->blocks = block;
    return block;
}

static void *slab_alloc(void *data, size_t size)
{
    struct slab *slab = data;
    const size_t room = slab->cap_bytes - slab->used_bytes;
    if (size > slab->cap_bytes || room < 2 * SLAB_ALIGN || size > room - 2 * SLAB_ALIGN) {
        slab->full = true;
        return NULL;
    }
    const size_t need = SLAB_ALIGN + (size + SLAB_ALIGN - 1) / SLAB_ALIGN * SLAB_ALIGN;
    struct slab_block *block = slab->blocks;
    if (!block || block->bytes - block->used < need)
        block = slab_grow(slab, need);
    if (!block)
        return NULL;
    unsigned char *at = (unsigned char *)block + SLAB_BLOCK_HEAD + block->used;
    memcpy(at, &size, sizeof size);
    block->used += need;
    slab->used_bytes += need;
    return at + SLAB_ALIGN;
}

static void slab_free(void *data, void *piece)
{
    (void)data;
    (void)piece; /* goes with the rest */
}

void slab_init(struct slab *slab, size_t cap_bytes)
{
    *slab = (struct slab){
        .allocator = {.alloc = slab_alloc, .free = slab_free, .allocator_data = slab},
        .cap_bytes = cap_bytes,
    };
}

void slab_release(struct slab *slab)
{
    while (slab->blocks) {
        struct slab_block *next = slab->blocks->next;
        free(slab->blocks);
        slab->blocks = next;
    }
}

size_t slab_piece_bytes(const void *piece)
{
    size_t size;
    memcpy(&size, (const unsigned char *)piece - SLAB_ALIGN, sizeof size);
    return size;
}
